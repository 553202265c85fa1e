// Package process runs a belfry cluster of real processes for the chaos suite:
// it builds the binary, starts, kills and pauses nodes, stands between them on
// the network, and keeps their data on disks that can lose what was not synced
// and can fail.
//
// There are two networks. With proxies nodes run with --dev on loopback. Every
// node advertises a listener of this process in place of its own, so that all
// traffic between nodes passes through Net. Net knows which node dials by
// looking up who owns the other end of a connection; every ordered pair of
// nodes has a path of its own that can be cut, delayed and narrowed. No
// privileges are needed for that. A cut keeps bytes back and gives them on when
// it is lifted.
//
// With Options.Namespaces every node has a network namespace, joined to the
// others by a bridge, and runs as in production, with TLS between nodes. A cut
// loses packets, one way if need be, so it shows what the kernel's TCP does
// then: retransmission, acknowledgements that are lost, connects that time out.
// Nothing but cuts is possible. It needs Linux, root and a process that RunApart
// started, for nothing is changed in the network of the machine.
//
// Clients come through a proxy in both.
//
// Disks that lose what was not synced need Linux, root and /dev/fuse. Wall
// clocks cannot be moved: a statically linked program takes its time from the
// kernel, which has one clock for all.
package process
