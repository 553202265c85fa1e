package process

import (
	"net"
	"net/netip"
)

// The addresses of a cluster in network namespaces, all in one network: the
// suite itself, with clients and receivers, and the nodes, each on a machine of
// its own so to speak. MAC addresses end as IP addresses do.
const (
	spaceNetwork = "10.77.0.0/24"
	suiteNumber  = 1  // 10.77.0.1
	hostsFrom    = 10 // the first node is 10.77.0.11
	// maxHosts is how many nodes there can be in the life of a cluster: those that
	// were dropped count too.
	maxHosts = 254 - hostsFrom
	// spaceAPI and spacePeer are the ports of every node.
	spaceAPI, spacePeer = 8600, 8700
)

// spaceAddr is the address of one machine.
func spaceAddr(number byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, number}) }

// spaceMAC is that of one machine, of those that are given out locally.
func spaceMAC(number byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 77, 0, number} }

// nobody is the MAC address of no machine: what is sent to it is lost.
var nobody = spaceMAC(0xff)
