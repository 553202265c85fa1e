package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"code.dny.dev/ssrf"

	"example.com/belfry/fsm/model"
)

// maxURLLength bounds any URL; the callers of CheckURL know tighter limits.
const maxURLLength = 2048

// maxHostLength and maxLabelLength are those of DNS.
const (
	maxHostLength  = 253
	maxLabelLength = 63
)

// GuardOptions of NewGuard. The zero value permits public addresses on every
// port.
type GuardOptions struct {
	AllowPrivate bool             // --dev: loopback and private addresses are allowed
	Allow        []netip.Prefix   // the operator's allow-list
	Ports        []uint16         // empty: every port
	Deny         []netip.AddrPort // own API, peer and admin addresses: never, even if allowed
}

// Guard says which addresses may be connected to. It is safe for concurrent
// use.
type Guard struct {
	allowPrivate bool
	allow        []netip.Prefix
	ports        []uint16
	deny         []netip.AddrPort
	own          atomic.Pointer[func() []netip.AddrPort]
	public       *ssrf.Guardian
	// interfaces are the addresses of this machine.
	interfaces func() ([]netip.Addr, error)
}

// NewGuard makes a Guard. It refuses an allow-list that would switch the guard
// off or that names what is never permitted.
func NewGuard(o GuardOptions) (*Guard, error) {
	g := &Guard{
		allowPrivate: o.AllowPrivate,
		ports:        slices.Clone(o.Ports),
		// Ports and networks are this guard's own business.
		public:     ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork()),
		interfaces: interfaceAddrs,
	}
	for _, p := range o.Allow {
		switch {
		case !p.IsValid():
			return nil, errors.New("egress allow-list: a network is not valid")
		case p.Addr().Is4In6():
			return nil, fmt.Errorf("egress allow-list: write %s as an IPv4 network", p)
		case p.Bits() == 0:
			return nil, fmt.Errorf("egress allow-list: %s would permit everything; name the networks that webhooks need", p)
		case slices.ContainsFunc(never, func(n netip.Prefix) bool { return n.Bits() <= p.Bits() && n.Contains(p.Addr()) }):
			return nil, fmt.Errorf("egress allow-list: %s is never permitted", p)
		}
		g.allow = append(g.allow, p.Masked())
	}
	if slices.Contains(g.ports, 0) {
		return nil, errors.New("egress ports: 0 is not a port")
	}
	for _, d := range o.Deny {
		if !d.IsValid() {
			return nil, errors.New("own addresses: an address is not valid")
		}
		g.deny = append(g.deny, d)
	}
	return g, nil
}

func interfaceAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out, nil
}

// SetOwn gives a function that returns further own addresses, such as those of
// peers. It is called for every connection, so it must be quick. nil: none.
func (g *Guard) SetOwn(addrs func() []netip.AddrPort) {
	if addrs == nil {
		g.own.Store(nil)
		return
	}
	g.own.Store(&addrs)
}

// permits reports whether ap may be connected to.
//
// INV webhook-1: what is asked about is the address that is connected to, not
// the name it came from.
func (g *Guard) permits(ap netip.AddrPort) bool {
	if !ap.IsValid() || ap.Port() == 0 || ap.Addr().Zone() != "" {
		return false
	}
	if len(g.ports) > 0 && !slices.Contains(g.ports, ap.Port()) {
		return false
	}
	addr := ap.Addr().Unmap()
	// An address that carries an IPv4 address is a way to that one as well.
	for _, a := range append(embedded(addr), addr) {
		if g.isOwn(a, ap.Port()) || !g.permitsAddr(a) {
			return false
		}
	}
	return true
}

func (g *Guard) permitsAddr(a netip.Addr) bool {
	switch {
	case containedIn(never, a):
		return false
	case containedIn(g.allow, a), g.allowPrivate && containedIn(private, a):
		return true
	}
	return g.public.SafeAddr(a) == nil
}

// isOwn reports whether a:port is an address of the cluster itself.
//
// INV webhook-2: own addresses are refused even where their network is allowed.
func (g *Guard) isOwn(a netip.Addr, port uint16) bool {
	own := g.deny
	if more := g.own.Load(); more != nil {
		own = slices.Concat(own, (*more)())
	}
	for _, o := range own {
		if o.Port() != port {
			continue
		}
		oa := o.Addr().Unmap().WithZone("")
		if oa == a || oa.IsUnspecified() && g.isLocal(a) {
			return true
		}
	}
	return false
}

// isLocal reports whether a listener on the wildcard address would get what is
// sent to a. Interfaces come and go, so they are read each time.
func (g *Guard) isLocal(a netip.Addr) bool {
	if a.IsLoopback() || a.IsUnspecified() {
		return true
	}
	list, err := g.interfaces()
	return err != nil || slices.Contains(list, a) // fails closed
}

// CheckURL says whether a webhook or token URL may be saved: absolute, http or
// https, without user information and fragment, on a permitted port, and, when
// it names an address, a permitted one in its usual spelling. Names are
// resolved and judged at every connection, not here. The error is a
// *model.Error with CodeInvalid and without Field; it never repeats the URL.
func (g *Guard) CheckURL(raw string) error {
	if _, msg := g.parse(raw); msg != "" {
		return model.Errorf(model.CodeInvalid, "%s", msg)
	}
	return nil
}

// Messages of CheckURL that the tests know.
const (
	msgAddress = "must be an address that this node may reach: loopback, private, link-local and other special addresses are not permitted; the operator can allow networks"
	msgPort    = "must use one of the ports that the operator permits"
	msgIPv4    = "must write an IPv4 address as four decimal numbers"
	msgASCII   = "must name the host in ASCII letters, digits, hyphens and dots; write an international name in its xn-- form"
)

// parse returns the URL, or what is wrong with it.
func (g *Guard) parse(raw string) (*url.URL, string) {
	if msg := model.CheckURL(raw, maxURLLength); msg != "" {
		return nil, msg
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, "must be a URL" // the parser's text repeats the URL
	}
	port := portOf(u)
	if len(g.ports) > 0 && !slices.Contains(g.ports, port) {
		return nil, msgPort
	}
	host := u.Hostname()
	addr, msg := literal(host)
	if msg != "" {
		return nil, msg
	}
	switch {
	case addr.IsValid():
		if !g.permits(netip.AddrPortFrom(addr, port)) {
			return nil, msgAddress
		}
	case isLocalhost(host):
		if !g.permits(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)) && !g.permits(netip.AddrPortFrom(netip.IPv6Loopback(), port)) {
			return nil, msgAddress
		}
	}
	return u, ""
}

// portOf is the port that u leads to; model.CheckURL has seen it.
func portOf(u *url.URL) uint16 {
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return uint16(n)
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}

// literal returns the address that host spells, the zero Addr for a name, or
// what is wrong with the host. An address has one spelling here: some
// resolvers take 0x7f.1 and 2130706433 for 127.0.0.1, others do not.
func literal(host string) (netip.Addr, string) {
	if strings.Contains(host, ":") {
		a, err := netip.ParseAddr(host)
		switch {
		case err != nil || a.Zone() != "":
			return netip.Addr{}, "must name a valid IPv6 address, without a zone"
		case a.Is4In6():
			return netip.Addr{}, msgIPv4
		}
		return a, ""
	}
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > maxHostLength {
		return netip.Addr{}, fmt.Sprintf("must name a host of at most %d characters", maxHostLength)
	}
	last := ""
	for last = range strings.SplitSeq(name, ".") {
		if last == "" || len(last) > maxLabelLength {
			return netip.Addr{}, fmt.Sprintf("must name a host whose parts have between 1 and %d characters", maxLabelLength)
		}
		if strings.ContainsFunc(last, notHostRune) {
			return netip.Addr{}, msgASCII
		}
	}
	if !isNumber(last) {
		return netip.Addr{}, ""
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, msgIPv4
	}
	return a, ""
}

func notHostRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// isNumber reports whether a host that ends in this label is an IPv4 address
// in some spelling, as in the URL standard of the WHATWG.
func isNumber(label string) bool {
	if rest, ok := strings.CutPrefix(strings.ToLower(label), "0x"); ok {
		return !strings.ContainsFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') })
	}
	return !strings.ContainsFunc(label, func(r rune) bool { return r < '0' || r > '9' })
}

// isLocalhost follows RFC 6761, section 6.3.
func isLocalhost(host string) bool {
	h := strings.ToLower(strings.TrimSuffix(host, "."))
	return h == "localhost" || strings.HasSuffix(h, ".localhost")
}
