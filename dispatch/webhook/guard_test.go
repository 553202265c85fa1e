package webhook

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"example.com/belfry/fsm/model"
)

func TestGuard_permits(t *testing.T) {
	t.Parallel()
	guards := map[string]*Guard{
		"default": newGuard(t, GuardOptions{}),
		"private": newGuard(t, GuardOptions{AllowPrivate: true}),
		"allowed": newGuard(t, GuardOptions{Allow: []netip.Prefix{
			netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fd00::/8"),
			netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("203.0.113.7/32"),
			netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1"),
		}}),
		"ports": newGuard(t, GuardOptions{Ports: []uint16{443, 8443}}),
	}
	for _, tt := range []struct {
		addr string
		in   string // the guards that permit it, port 443
	}{
		{"8.8.8.8", "default private allowed ports"},
		{"2606:4700::1111", "default private allowed ports"},
		{"::ffff:8.8.8.8", "default private allowed ports"}, // as resolvers write 8.8.8.8
		{"127.0.0.1", "private allowed"},
		{"127.255.255.254", "private allowed"},
		{"::ffff:127.0.0.1", "private allowed"},
		{"::1", "private"},
		{"10.0.0.0", "private allowed"},
		{"10.1.2.3", "private allowed"},
		{"10.255.255.255", "private allowed"},
		{"172.16.0.1", "private allowed"},
		{"172.31.255.255", "private allowed"},
		{"172.15.255.255", "default private allowed ports"},
		{"172.32.0.0", "default private allowed ports"},
		{"192.168.1.1", "private allowed"},
		{"fc00::1", "private"},
		{"fd12:3456::1", "private allowed"},
		{"100.64.0.1", "allowed"},
		{"100.100.100.200", ""},
		{"100.127.255.255", "allowed"},
		{"169.254.0.1", "allowed"},
		{"169.254.169.254", ""},
		{"169.254.170.2", ""},
		{"::ffff:169.254.169.254", ""},
		{"fd00:ec2::254", ""},
		{"fd20:ce::254", ""},
		{"168.63.129.16", ""},
		{"192.0.0.192", ""},
		{"fe80::1", ""},
		{"fec0::1", ""},
		{"0.0.0.0", ""},
		{"0.1.2.3", ""},
		{"::", ""},
		{"224.0.0.1", ""},
		{"239.255.255.250", ""},
		{"ff02::1", ""},
		{"255.255.255.255", ""},
		{"240.0.0.1", "allowed"},
		{"192.0.2.1", "allowed"},
		{"198.51.100.1", "allowed"},
		{"203.0.113.7", "allowed"},
		{"198.18.0.1", "allowed"},
		{"198.19.255.255", "allowed"},
		{"192.88.99.1", "allowed"},
		{"2001:db8::1", ""},
		{"3fff::1", ""},
		{"2001:2::1", ""},
		{"64:ff9b::8.8.8.8", "allowed"},
		{"64:ff9b::169.254.169.254", ""},
		{"64:ff9b::224.0.0.1", ""},
		{"64:ff9b:1::8.8.8.8", ""},
		{"2002:808:808::1", "allowed"}, // 6to4 of 8.8.8.8
		{"2002:a9fe:a9fe::1", ""},      // of 169.254.169.254
		{"2001:0:808:808::f7f7:f7f7", ""},
		{"::8.8.8.8", ""},
		{"::ffff:0:127.0.0.1", ""},
		{"2606:4700::5efe:8.8.8.8", "default private allowed ports"}, // ISATAP
		{"2606:4700::5efe:10.0.0.1", "private allowed"},
		{"2606:4700::200:5efe:169.254.169.254", ""},
	} {
		for name, g := range guards {
			want := strings.Contains(" "+tt.in+" ", " "+name+" ")
			if got := g.permits(netip.AddrPortFrom(netip.MustParseAddr(tt.addr), 443)); got != want {
				t.Errorf("guard %q permits %s: %t, want %t", name, tt.addr, got, want)
			}
		}
	}
	zoned := netip.MustParseAddr("2606:4700::1%eth0")
	for _, ap := range []netip.AddrPort{{}, netip.AddrPortFrom(zoned, 443), netip.MustParseAddrPort("8.8.8.8:0")} {
		if guards["default"].permits(ap) {
			t.Errorf("%v is permitted", ap)
		}
	}
	for port, want := range map[uint16]bool{442: false, 443: true, 8443: true, 80: false} {
		if got := guards["ports"].permits(netip.AddrPortFrom(netip.MustParseAddr("8.8.8.8"), port)); got != want {
			t.Errorf("port %d is permitted: %t, want %t", port, got, want)
		}
	}
}

// INV webhook-2.
func TestGuard_own(t *testing.T) {
	t.Parallel()
	all := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("::1/128")}
	g := newGuard(t, GuardOptions{AllowPrivate: true, Allow: all, Deny: []netip.AddrPort{
		netip.MustParseAddrPort("0.0.0.0:8600"), netip.MustParseAddrPort("10.0.0.5:8700"), netip.MustParseAddrPort("[::1]:6060"),
	}})
	g.interfaces = func() ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("2606:4700::5")}, nil
	}
	check := func(want bool, list ...string) {
		t.Helper()
		for _, ap := range list {
			if got := g.permits(netip.MustParseAddrPort(ap)); got != want {
				t.Errorf("%s is permitted: %t, want %t", ap, got, want)
			}
		}
	}
	check(false, "127.0.0.1:8600", "127.1.2.3:8600", "[::1]:8600", "10.0.0.5:8600", "[2606:4700::5]:8600", "[::ffff:10.0.0.5]:8600",
		"10.0.0.5:8700", "[64:ff9b::10.0.0.5]:8700", "[::1]:6060")
	check(true, "127.0.0.1:8601", "10.0.0.6:8600", "10.0.0.5:80", "127.0.0.1:8700", "127.0.0.1:6060", "8.8.8.8:8600")

	g.SetOwn(func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("10.0.0.6:8700")} })
	check(false, "10.0.0.6:8700", "10.0.0.5:8700")
	g.SetOwn(nil)
	check(true, "10.0.0.6:8700")

	g.interfaces = func() ([]netip.Addr, error) { return nil, errors.New("no netlink") }
	check(false, "8.8.8.8:8600") // it cannot be told whether that is this machine
	check(true, "8.8.8.8:443")
}

// The addresses of this machine are found.
func TestInterfaceAddrs(t *testing.T) {
	t.Parallel()
	addrs, err := interfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := net.InterfaceAddrs()
	if err != nil || len(addrs) != len(raw) {
		t.Errorf("%d of %d addresses, %v", len(addrs), len(raw), err)
	}
}

func TestNewGuard_refuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		o    GuardOptions
		want string // "": fine
	}{
		{GuardOptions{}, ""},
		{GuardOptions{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")}}, ""},
		{GuardOptions{Allow: []netip.Prefix{{}}}, "not valid"},
		{GuardOptions{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}, "everything"},
		{GuardOptions{Allow: []netip.Prefix{netip.MustParsePrefix("::/0")}}, "everything"},
		{GuardOptions{Allow: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}, "as an IPv4 network"},
		{GuardOptions{Allow: []netip.Prefix{netip.MustParsePrefix("169.254.169.254/32")}}, "never permitted"},
		{GuardOptions{Allow: []netip.Prefix{netip.MustParsePrefix("ff02::/16")}}, "never permitted"},
		{GuardOptions{Ports: []uint16{443, 0}}, "not a port"},
		{GuardOptions{Deny: []netip.AddrPort{{}}}, "not valid"},
	} {
		_, err := NewGuard(tt.o)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.want)
		}
	}
}

func TestGuard_CheckURL(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", maxLabelLength)
	name253 := strings.Repeat(long+".", 3) + strings.Repeat("b", maxHostLength-3*64)
	public := newGuard(t, GuardOptions{})
	for raw, want := range map[string]string{
		"https://hooks.example.com/in?x=1":                            "",
		"HTTP://Hooks.Example.com.:8080/":                             "",
		"https://xn--bcher-kva.example/":                              "",
		"http://8.8.8.8/":                                             "",
		"http://[2606:4700::1111]:8080/":                              "",
		"https://under_score.example":                                 "",
		"https://" + long + ".example/":                               "",
		"https://" + long + "a.example/":                              "parts",
		"https://" + name253 + "/":                                    "",
		"https://" + name253 + "b/":                                   "253",
		"https://example.com/" + strings.Repeat("a", maxURLLength-20): "",
		"https://example.com/" + strings.Repeat("a", maxURLLength-19): "2048",
		"":                             "must not be empty",
		"hooks.example.com":            "must begin with",
		"//hooks.example.com/":         "must begin with",
		"ftp://hooks.example.com/":     "must begin with",
		"file:///etc/passwd":           "must begin with",
		"https:hooks":                  "must name a host",
		"https:///in":                  "must name a host",
		"https://u:p@hooks.example/":   "user name",
		"https://hooks.example/#top":   "fragment",
		"https://hooks.example/ in":    "spaces",
		"https://hooks.example:0/":     "port",
		"https://hooks.example:65536/": "port",
		"https://bücher.example/":      msgASCII,
		"https://①②⑦.⓪.⓪.①/":           msgASCII,
		"https://ho%C3%A9.example/":    msgASCII,
		"https://a..b/":                "parts",
		"https://./":                   "host",
		"http://localhost/":            msgAddress,
		"http://LOCALHOST./":           msgAddress,
		"http://x.localhost/":          msgAddress,
		"http://127.0.0.1/":            msgAddress,
		"http://10.0.0.1/":             msgAddress,
		"http://[::1]/":                msgAddress,
		"http://[fe80::1%25eth0]/":     "IPv6",
		"http://[::ffff:8.8.8.8]/":     msgIPv4,
		"http://2130706433/":           msgIPv4,
		"http://0x7f.1/":               msgIPv4,
		"http://0x7f000001/":           msgIPv4,
		"http://0177.0.0.1/":           msgIPv4,
		"http://127.1/":                msgIPv4,
		"http://127.0.0.1./":           msgIPv4,
		"http://8.8.8.8.8/":            msgIPv4,
		"http://a.0x/":                 msgIPv4,
		"http://0xcafe.example/":       "",
		"http://a.0xzz/":               "",
	} {
		err := public.CheckURL(raw)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", raw, err, want)
		}
		if err != nil {
			checkURLError(t, raw, err)
		}
	}

	private := newGuard(t, GuardOptions{AllowPrivate: true, Ports: []uint16{80, 8080}, Deny: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8080")}})
	for raw, want := range map[string]string{
		"http://localhost/":      "",
		"http://127.0.0.1/":      "",
		"http://localhost:8080/": "", // [::1]:8080 is not its own
		"http://127.0.0.1:8080/": msgAddress,
		"https://localhost/":     msgPort,
		"http://hooks:81/":       msgPort,
		"http://hooks:8080/":     "",
	} {
		err := private.CheckURL(raw)
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%q: %v, want %q", raw, err, want)
		}
	}
}

// checkURLError: the code is invalid, there is no field, and the URL is not
// repeated.
func checkURLError(tb testing.TB, raw string, err error) {
	tb.Helper()
	e, ok := errors.AsType[*model.Error](err)
	if !ok || e.Code != model.CodeInvalid || e.Field != "" || len(e.Fields) != 0 {
		tb.Errorf("%q: %#v is not what a URL policy returns", raw, err)
	}
	if _, rest, ok := strings.Cut(raw, "://"); ok && len(rest) > 8 && strings.Contains(err.Error(), rest) {
		tb.Errorf("%q is repeated in %q", raw, err)
	}
}

func FuzzGuard_CheckURL(f *testing.F) {
	for _, s := range []string{
		"https://hooks.example.com/in?x=1", "http://[::ffff:127.0.0.1]/", "http://0x7f.1:80/", "http://a%41.example/", "http://[fe80::1%25a]/",
		"http://127.0.0.1./", "https://u@h/", "http://①.example", "http://8.8.8.8:443/#", "http://h:0", "http://2606:4700::1111/", "http://1.2.3.4%2f@8.8.8.8/",
	} {
		f.Add(s)
	}
	g := newGuard(f, GuardOptions{Ports: []uint16{80, 443}})
	f.Fuzz(func(t *testing.T, raw string) {
		if err := g.CheckURL(raw); err != nil {
			checkURLError(t, raw, err)
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Hostname() == "" {
			t.Fatalf("%q was taken", raw)
		}
		if port := portOf(u); port != 80 && port != 443 {
			t.Fatalf("%q was taken, its port is %d", raw, port)
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && !g.permits(netip.AddrPortFrom(a, portOf(u))) {
			t.Fatalf("%q was taken, its address is not permitted", raw)
		}
		// What a resolver could take for an address is one.
		host := strings.TrimSuffix(u.Hostname(), ".")
		if net.ParseIP(u.Hostname()) == nil && isNumber(host[strings.LastIndexByte(host, '.')+1:]) {
			t.Fatalf("%q was taken, its host ends in a number", raw)
		}
	})
}
