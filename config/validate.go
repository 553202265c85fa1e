package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// minAdminKey is the least length of an admin key, in bytes.
const minAdminKey = 16

// ValidationErrors is what Validate found. Each entry begins with the name of a flag
// or variable and says what to do.
type ValidationErrors []string

// Error joins the findings in one line.
func (p ValidationErrors) Error() string { return strings.Join(p, "; ") }

var (
	nodeIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	headerPattern = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")
)

// Validate checks values and their combinations and reports all findings at
// once, as ValidationErrors. It opens no files. Addresses may have port 0, which lets
// the system choose.
func (c Config) Validate() error {
	v := &validator{c: &c}
	for i := range table {
		if err := table[i].inRange(&c); err != nil {
			v.add(table[i].name(), "%v", err)
		}
	}
	v.node()
	v.addresses()
	v.keysAndTLS()
	v.limits()
	v.egress()
	if len(v.found) > 0 {
		return v.found
	}
	return nil
}

type validator struct {
	c     *Config
	found ValidationErrors
}

func (v *validator) add(name, format string, args ...any) {
	v.found = append(v.found, name+" "+fmt.Sprintf(format, args...))
}

func (v *validator) node() {
	switch {
	case v.c.NodeID == "":
		v.add("--node-id", "is required: give every node a name of its own, such as n1")
	case !nodeIDPattern.MatchString(v.c.NodeID) || v.c.NodeID == "." || v.c.NodeID == "..":
		v.add("--node-id", "must be 1 to 64 of A-Z a-z 0-9 - _ .")
	}
	if v.c.DataDir == "" {
		v.add("--data-dir", "is required: name a directory that belongs to this node alone")
	}
	if v.c.Bootstrap && len(v.c.Join) > 0 {
		v.add("--bootstrap", "and --join exclude each other: --bootstrap makes a new cluster, --join enters an existing one")
	}
}

// splitAddr splits an address and says what is wrong with its form, or "".
func splitAddr(addr string) (host string, port int, msg string) {
	h, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, "must be HOST:PORT, such as 127.0.0.1:8600"
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, "must end in a port between 0 and 65535"
	}
	if strings.ContainsAny(h, " /?#@") {
		return "", 0, "must be HOST:PORT without a scheme or a path"
	}
	return h, int(n), ""
}

// loopback reports whether a host can only be reached from this machine. A
// name other than localhost is not looked up: it may change.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func wildcard(host string) bool {
	if host == "" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsUnspecified()
}

type namedAddr struct {
	name, addr string
	// dialled addresses are used by others: no port 0, no wildcard.
	dialled bool
}

func (v *validator) addresses() {
	c := v.c
	list := []namedAddr{{"--api-addr", c.APIAddr, false}, {"--peer-addr", c.PeerAddr, false}}
	if c.AdminAddr != "" {
		list = append(list, namedAddr{"--admin-addr", c.AdminAddr, false})
	}
	if c.APIAdvertise != "" {
		list = append(list, namedAddr{"--api-advertise", c.APIAdvertise, true})
	}
	if c.PeerAdvertise != "" {
		list = append(list, namedAddr{"--peer-advertise", c.PeerAdvertise, true})
	}
	for _, j := range c.Join {
		list = append(list, namedAddr{"--join", j, true})
	}
	taken := map[string]string{}
	for _, a := range list {
		host, port, msg := splitAddr(a.addr)
		switch {
		case msg != "":
			v.add(a.name, "%s; it is %q", msg, clip(a.addr))
			continue
		case a.dialled && (port == 0 || wildcard(host)):
			v.add(a.name, "must be an address that other nodes can dial, with a host and a port; it is %q", clip(a.addr))
			continue
		case c.Dev && !loopback(host): // INV config-3
			v.add(a.name, "must be a loopback address such as 127.0.0.1 with --dev, is %q: change it, or leave --dev away and configure TLS", clip(a.addr))
		}
		if a.dialled || port == 0 {
			continue
		}
		if other, dup := taken[a.addr]; dup {
			v.add(a.name, "and %s are both %s: give each a port of its own", other, a.addr)
		}
		taken[a.addr] = a.name
	}
	v.advertise("--api", c.APIAddr, c.APIAdvertise)
	v.advertise("--peer", c.PeerAddr, c.PeerAdvertise)
}

// advertise asks for an address that can be dialled when the bound one cannot.
func (v *validator) advertise(prefix, addr, advertise string) {
	host, _, msg := splitAddr(addr)
	if msg == "" && wildcard(host) && advertise == "" && !v.c.Dev { // --dev refuses wildcards anyway
		v.add(prefix+"-advertise", "is required when %s-addr is the wildcard %s: name the address under which others reach this node", prefix, addr)
	}
}

// together asks for all or none of some files.
func (v *validator) together(names []string, values ...string) {
	given := 0
	var missing []string
	for i, f := range values {
		if f != "" {
			given++
		} else {
			missing = append(missing, names[i])
		}
	}
	if given > 0 && given < len(values) {
		v.add(strings.Join(missing, " and "), "must be given too: %s belong together", strings.Join(names, ", "))
	}
}

func (v *validator) keysAndTLS() {
	c := v.c
	v.together([]string{"--api-tls-cert", "--api-tls-key"}, c.APITLSCert, c.APITLSKey)
	v.together([]string{"--peer-tls-cert", "--peer-tls-key", "--peer-tls-ca"}, c.PeerTLSCert, c.PeerTLSKey, c.PeerTLSCA)
	if k := c.AdminKey; !k.IsZero() {
		if n := len(k.Reveal()); n < minAdminKey {
			v.add("BELFRY_ADMIN_KEY", "must have at least %d characters, has %d", minAdminKey, n)
		}
		if strings.ContainsFunc(k.Reveal(), func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			v.add("BELFRY_ADMIN_KEY", "must be printable ASCII without spaces: it travels in a header")
		}
	}
	if c.Dev {
		return
	}
	if c.MasterKeyFile == "" {
		v.add("--master-key-file", `is required without --dev: make a file with "belfry keys create --out FILE", keep a copy, and give every node the same`)
	}
	if c.PeerTLSCert+c.PeerTLSKey+c.PeerTLSCA == "" && v.hasPeers() {
		v.add("--peer-tls-cert, --peer-tls-key and --peer-tls-ca", "are required without --dev when nodes talk to each other; only a single node with a loopback --peer-addr runs without")
	}
}

// hasPeers reports whether another node can be involved.
func (v *validator) hasPeers() bool {
	if len(v.c.Join) > 0 {
		return true
	}
	for _, a := range []string{v.c.PeerAddr, v.c.PeerAdvertise} {
		if host, _, msg := splitAddr(a); a != "" && msg == "" && !loopback(host) {
			return true
		}
	}
	return false
}

func (v *validator) limits() {
	c := v.c
	if c.ElectionTimeout < c.HeartbeatTimeout {
		v.add("--election-timeout", "(%s) must not be below --heartbeat-timeout (%s)", c.ElectionTimeout, c.HeartbeatTimeout)
	}
	if c.LeaseTTL < c.HeartbeatTimeout {
		v.add("--lease-ttl", "(%s) must not be below --heartbeat-timeout (%s)", c.LeaseTTL, c.HeartbeatTimeout)
	}
	if c.MaxBodyBytes < c.MaxEventBytes {
		v.add("--max-body-bytes", "(%s) must not be below --max-event-bytes (%s)", c.MaxBodyBytes, c.MaxEventBytes)
	}
}

// ownHeaders are set by every delivery; a signature cannot take their place.
var ownHeaders = []string{"authorization", "content-type", "content-length", "host", "transfer-encoding", "connection"}

func (v *validator) egress() {
	for _, n := range v.c.EgressAllow {
		p, err := netip.ParsePrefix(n)
		switch {
		case err != nil:
			v.add("--egress-allow", "must be a network such as 10.1.0.0/16, is %q", clip(n))
		case p != p.Masked():
			v.add("--egress-allow", "has bits behind its mask: %s must be written as %s", p, p.Masked())
		}
	}
	h := strings.ToLower(v.c.HMACHeader)
	if !headerPattern.MatchString(h) {
		v.add("--hmac-header", "must be the name of an HTTP header, 1 to 64 characters")
		return
	}
	for _, own := range ownHeaders {
		if h == own || strings.HasPrefix(h, "webhook-") {
			v.add("--hmac-header", "must not be %s: deliveries set it themselves", v.c.HMACHeader)
			return
		}
	}
}
