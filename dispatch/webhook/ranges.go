package webhook

import (
	"net/netip"
	"slices"
)

// never are addresses that no configuration opens.
var never = prefixes(
	"0.0.0.0/8", // "this network": Linux takes 0.0.0.0 for loopback
	"::/128",
	"224.0.0.0/4", "255.255.255.255/32", "ff00::/8", // to many
	"64:ff9b:1::/48", // NAT64 of a local prefix length: the IPv4 address in it cannot be found out (RFC 8215)
	// Metadata services of clouds, which hand out credentials to whoever asks.
	"169.254.169.254/32",                    // AWS, Azure, Google, Oracle, DigitalOcean, OpenStack
	"169.254.170.2/32", "169.254.170.23/32", // AWS: task roles of ECS, pod identities of EKS
	"168.63.129.16/32",                      // Azure: public space, and served by the host
	"100.100.100.200/32",                    // Alibaba
	"192.0.0.192/32",                        // Oracle
	"fd00:ec2::254/128", "fd00:ec2::23/128", // AWS over IPv6
	"fd20:ce::254/128", // Google over IPv6
)

// private is what AllowPrivate opens: loopback, RFC 1918 and unique local
// addresses. Link-local and shared address space (RFC 6598) are not in it.
var private = prefixes("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")

// Prefixes whose addresses carry an IPv4 address.
var (
	compatible = netip.MustParsePrefix("::/96")           // IPv4-compatible, RFC 4291 section 2.5.5.1
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // IPv4-translated, RFC 2765
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func containedIn(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// embedded returns the IPv4 addresses that a, unmapped, carries.
func embedded(a netip.Addr) []netip.Addr {
	if !a.Is6() || a.IsLoopback() || a.IsUnspecified() {
		return nil
	}
	b := a.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case compatible.Contains(a), nat64.Contains(a), translated.Contains(a):
		return []netip.Addr{at(12)}
	case sixToFour.Contains(a):
		return []netip.Addr{at(2)}
	case teredo.Contains(a):
		// The server, and the client with its bits turned over.
		return []netip.Addr{at(4), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP, RFC 5214
		return []netip.Addr{at(12)}
	}
	return nil
}
