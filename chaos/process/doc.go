// Package process runs a belfry cluster of real processes for the chaos suite:
// it builds the binary, starts, kills and pauses nodes, stands between them on
// the network, and keeps their data on disks that can lose what was not synced
// and can fail.
//
// Nodes run with --dev on loopback. Every node advertises a listener of this
// process in place of its own, so that all traffic between nodes passes
// through Net, and so does that of clients. Net knows which node dials by
// looking up who owns the other end of a connection; every ordered pair of
// nodes has a path of its own that can be cut, delayed and narrowed. No
// privileges are needed for that. What it does not show is what the kernel's
// TCP does over a network that loses packets: retransmission and connects that
// time out. A cut here keeps bytes back and gives them on when it is lifted.
//
// Disks that lose what was not synced need Linux, root and /dev/fuse. Wall
// clocks cannot be moved: a statically linked program takes its time from the
// kernel, which has one clock for all.
package process
