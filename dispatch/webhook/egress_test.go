package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/dispatch/dispatchtest"
	"example.com/belfry/fsm/model"
)

// wire records what is dialled, and connects to nothing.
type wire struct {
	mu    sync.Mutex
	zone  map[string][]string // name → addresses
	dials []string
}

func (w *wire) lookup(_ context.Context, _, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list, ok := w.zone[strings.TrimSuffix(host, ".")]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

func (w *wire) dial(_ context.Context, _, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials = append(w.dials, address)
	return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
}

func (w *wire) dialled() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials
}

// forbidden are spellings of what must not be reached: hosts, or whole URLs.
var forbidden = []string{
	// Loopback.
	"127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "127.255.255.254", "0x7f.0.0.1", "0x7f.1", "0x7f000001", "0X7F000001", "2130706433",
	"0177.0.0.1", "0177.1", "017700000001", "00000177.0.0.1", "127.0.0.01", "127.00.0.1", "localhost", "LOCALHOST", "localhost.",
	"a.localhost", "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "①②⑦.⓪.⓪.①", "１２７.0.0.1", "ⓛocalhost", "%6cocalhost", "%31%32%37.0.0.1",
	// The unspecified address, which Linux takes for loopback.
	"0", "0.0.0.0", "0x0", "[::]", "[0:0:0:0:0:0:0:0]",
	// Metadata and link-local.
	"169.254.169.254", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE", "2852039166", "0251.0376.0251.0376", "0251.254.169.254", "169.254.43518",
	"[fe80::1]", "[fe80::1%25eth0]", "[fd00:ec2::254]", "168.63.129.16", "100.100.100.200",
	// Private.
	"10.0.0.1", "167772161", "172.16.0.1", "192.168.0.1", "0300.0250.0.1", "[fc00::1]", "[fd12::1]", "100.64.0.1",
	// Addresses in addresses.
	"[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]",
	"[64:ff9b:1::10.0.0.1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001:0:7f00:1::]", "[2606:4700::5efe:10.0.0.1]", "[::ffff:0:10.0.0.1]",
	// To many, reserved, documentation, benchmark.
	"224.0.0.1", "[ff02::1]", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "[2001:db8::1]", "[3fff::1]",
	// Names that lead there.
	"loop.example", "v6loop.example", "mapped.example", "metadata.example", "private.example", "127.0.0.1.nip.example", "nat64.example",
	"sixtofour.example", "many.example", "own.example", "cname.example",
	// Own addresses, and where a URL leads elsewhere than it seems.
	"93.184.215.14:8600", "8.8.8.8:22",
	"http://8.8.8.8@127.0.0.1/", "http://127.0.0.1\\@8.8.8.8/", "http://8.8.8.8#@127.0.0.1/", "http:127.0.0.1", "http:///127.0.0.1",
	"//127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_x", "unix:///run/x.sock", "ftp://8.8.8.8/", "javascript:alert(1)",
	"http://127.0.0.1:80:80/", "http://[::1/", "http://::1/", "http:// 127.0.0.1/", "http://127.0.0.1\t/", "http://127.0.0.1%00.example/", "",
}

var forbiddenZone = map[string][]string{
	"loop.example":          {"127.0.0.1"},
	"v6loop.example":        {"::1"},
	"mapped.example":        {"::ffff:127.0.0.1"},
	"metadata.example":      {"169.254.169.254"},
	"private.example":       {"10.0.0.1", "192.168.7.7", "fd00::1"},
	"127.0.0.1.nip.example": {"127.0.0.1"},
	"nat64.example":         {"64:ff9b::7f00:1"},
	"sixtofour.example":     {"2002:7f00:1::"},
	"many.example":          {"224.0.0.1"},
	"own.example":           {"93.184.215.77"},
	"cname.example":         {"172.17.0.1"}, // what the chain ends in
	// A resolver that understands old spellings.
	"127.1": {"127.0.0.1"}, "2130706433": {"127.0.0.1"}, "0x7f.1": {"127.0.0.1"}, "localhost": {"127.0.0.1"}, "a.localhost": {"127.0.0.1"},
	"0": {"0.0.0.0"}, "0177.0.0.1": {"127.0.0.1"}, "127.0.0.1": {"127.0.0.1"},
}

// INV webhook-1, webhook-2: no spelling, through no feature that dials, leads
// to an address that is not permitted, and the texts do not tell one from
// another.
func TestEgress_spellings(t *testing.T) {
	t.Parallel()
	if len(forbidden) < 60 {
		t.Fatalf("%d spellings", len(forbidden))
	}
	w := &wire{zone: forbiddenZone}
	s := newSender(t, newMemory(t), func(o *SenderOptions) {
		o.Guard = newGuard(t, GuardOptions{Ports: []uint16{80, 443, 8600}, Deny: []netip.AddrPort{
			netip.MustParseAddrPort("93.184.215.14:8600"), netip.MustParseAddrPort("93.184.215.77:80"), netip.MustParseAddrPort("93.184.215.77:443"),
		}})
		o.LookupNetIP, o.DialContext = w.lookup, w.dial
	})
	features := map[string]func(url string) string{
		"send": func(url string) string {
			res := s.Send(t.Context(), request(&Destination{URL: url}))
			if res.Class != ClassBlocked || res.StatusCode != 0 {
				t.Errorf("send to %q: %+v", url, res)
			}
			return res.Error
		},
		"token": func(url string) string {
			res := s.Send(t.Context(), request(&Destination{
				Account: url, URL: "http://hooks.example/", Auth: &Auth{Type: model.CredentialsOAuth, GrantType: model.GrantClientCredentials, TokenURL: url},
			}))
			if res.Class != ClassAuth || res.StatusCode != 0 {
				t.Errorf("token from %q: %+v", url, res)
			}
			return res.Error
		},
		"test": func(url string) string {
			res := s.TestConnection(t.Context(), &Destination{URL: url})
			if res.Success || len(res.FailReasons) != 1 || res.Hint == "" {
				t.Errorf("test of %q: %+v", url, res)
				return ""
			}
			return res.FailReasons[0]
		},
	}
	for _, spelling := range forbidden {
		urls := []string{spelling}
		if spelling != "" && !strings.ContainsAny(spelling, "/:") || strings.HasPrefix(spelling, "[") || strings.Contains(spelling, ".14:") || strings.Contains(spelling, ".8:") {
			urls = []string{"http://" + spelling + "/in?q=secret", "https://" + spelling + "/"}
		}
		for _, url := range urls {
			for name, use := range features {
				text := use(url)
				if url == "" && name == "token" {
					continue // the setting lacks its token URL
				}
				if !strings.Contains(text, "destination is not permitted") {
					t.Errorf("%s %q: error %q", name, url, text)
				}
				for _, leak := range []string{"127.0.0.1", "169.254", "::1", "10.0.0.1", "secret", "172.17", "93.184"} {
					if strings.Contains(text, leak) {
						t.Errorf("%s %q: error %q tells where it leads", name, url, text)
					}
				}
			}
		}
	}
	for _, url := range []string{"http://127.0.0.1/", "http://8.8.8.8:22/", "http://2130706433/", "http://loop.example/", "http://own.example/"} {
		if text := features["send"](url); text != textBlocked {
			t.Errorf("%s: error %q", url, text)
		}
	}
	if d := w.dialled(); len(d) > 0 {
		t.Errorf("dialled %v", d)
	}
	if n := count(s.metrics.blocked); n < 3*len(forbidden) {
		t.Errorf("%d were counted as blocked", n)
	}
}

// INV webhook-1: a name is judged by what it means at the connection. The
// name server answers with a public address first and then with loopback.
func TestEgress_rebinding(t *testing.T) {
	t.Parallel()
	w := &wire{zone: map[string][]string{}}
	s := newSender(t, newMemory(t), func(o *SenderOptions) { o.LookupNetIP, o.DialContext = w.lookup, w.dial })
	turn := func(addrs ...string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.zone["rebind.example"], w.dials = addrs, nil
	}
	d := &Destination{URL: "http://rebind.example/"}
	for range 3 {
		turn("8.8.8.8")
		wantError(t, send(t, s, d), ClassTemporary, "connection refused")
		turn("127.0.0.1")
		wantError(t, send(t, s, d), ClassBlocked, textBlocked)
		if got := w.dialled(); len(got) > 0 {
			t.Fatalf("dialled %v", got)
		}
	}
	// Of several addresses only the permitted ones are tried, and of a long
	// list the first few.
	turn("127.0.0.1", "8.8.8.8", "::1", "::ffff:10.0.0.1", "2606:4700::1")
	wantError(t, send(t, s, d), ClassTemporary, "connection refused")
	if got := fmt.Sprint(w.dialled()); got != "[8.8.8.8:80 [2606:4700::1]:80]" {
		t.Errorf("dialled %s", got)
	}
	var many []string
	for i := range maxAddresses + 1 {
		many = append(many, fmt.Sprintf("8.8.8.%d", i))
	}
	for n, want := range map[int]int{maxAddresses: maxAddresses, maxAddresses + 1: maxAddresses} {
		turn(many[:n]...)
		wantError(t, send(t, s, d), ClassTemporary, "connection refused")
		if got := len(w.dialled()); got != want {
			t.Errorf("of %d addresses %d were tried, want %d", n, got, want)
		}
	}
}

// The socket itself asks the guard, should the address change on the way.
func TestSystemDial_guarded(t *testing.T) {
	t.Parallel()
	r := dispatchtest.New(t, dispatchtest.Options{})
	address := strings.TrimPrefix(r.URL, "http://")
	_, err := systemDial(newGuard(t, GuardOptions{}))(t.Context(), "tcp", address)
	if !errors.Is(err, errBlocked) {
		t.Errorf("public guard: %v", err)
	}
	c, err := systemDial(newGuard(t, GuardOptions{AllowPrivate: true}))(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// A dead first address costs a head start, not the attempt.
func TestDialer_race(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newMemory(t)
		late, end := net.Pipe()
		s := newSender(t, r, func(o *SenderOptions) {
			o.LookupNetIP = func(context.Context, string, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("2606:4700::1"), netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("8.8.4.4")}, nil
			}
			o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				switch address {
				case "[2606:4700::1]:80":
					<-ctx.Done()
					return late, nil // too late: must be closed
				case "8.8.8.8:80":
					return nil, &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}
				}
				return r.Dial(ctx, network, address)
			}
		})
		res := send(t, s, &Destination{URL: "http://hooks.example/"})
		wantClass(t, res, ClassOK)
		if res.Duration != fallbackDelay {
			t.Errorf("took %s", res.Duration)
		}
		if _, err := end.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the late connection: %v", err)
		}
	})
}

// Names that do not resolve, and hosts that do not answer.
func TestDialer_errors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newMemory(t)
		type fault struct {
			lookup, dial error
			hangs        bool
		}
		var now atomic.Pointer[fault]
		s := newSender(t, r, func(o *SenderOptions) {
			o.LookupNetIP = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
				if now.Load().hangs {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, now.Load().lookup
			}
			o.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				if err := now.Load().dial; err != nil {
					return nil, err
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}
		})
		d := &Destination{URL: "http://hooks.example/", ConnectTimeout: 300 * time.Millisecond}
		for _, tt := range []struct {
			fault fault
			want  string
			after time.Duration
		}{
			{fault: fault{lookup: &net.DNSError{IsNotFound: true, Name: "hooks.example", Server: "10.0.0.53"}}, want: "the name of the host cannot be resolved: it does not exist"},
			{fault: fault{lookup: &net.DNSError{IsTimeout: true, Server: "10.0.0.53"}}, want: "timeout while resolving the name of the host"},
			{fault: fault{lookup: errors.New("10.0.0.53 says no")}, want: "the name of the host cannot be resolved"},
			{fault: fault{hangs: true}, want: "timeout while connecting", after: 300 * time.Millisecond},
			{want: "timeout while connecting", after: 300 * time.Millisecond},
			{fault: fault{dial: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}, want: "connection refused"},
			{fault: fault{dial: &net.OpError{Op: "dial", Err: syscall.ENETUNREACH}}, want: "the host cannot be reached"},
			{fault: fault{dial: &net.OpError{Op: "dial", Err: syscall.ECONNRESET}}, want: "connection reset by the receiver"},
			{fault: fault{dial: errors.New("dial 8.8.8.8: strange")}, want: "connection failed"},
		} {
			now.Store(&tt.fault)
			res := send(t, s, d)
			wantError(t, res, ClassTemporary, tt.want)
			if res.Duration != tt.after {
				t.Errorf("%q after %s, want %s", tt.want, res.Duration, tt.after)
			}
			if ct := s.TestConnection(t.Context(), d); ct.Success || ct.FailReasons[0] != tt.want || ct.Hint == "" {
				t.Errorf("test: %+v, want %q", ct, tt.want)
			}
		}
	})
}
