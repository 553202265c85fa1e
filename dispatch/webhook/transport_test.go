package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/dispatch/dispatchtest"
)

// secure starts a receiver with TLS in memory.
func secure(tb testing.TB, ca *dispatchtest.CA, http1 bool, change ...func(*tls.Config)) *dispatchtest.Receiver {
	tb.Helper()
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.Server(tb, dispatchtest.MemoryAddress)}}
	for _, c := range change {
		c(cfg)
	}
	return dispatchtest.New(tb, dispatchtest.Options{Memory: true, TLS: cfg, HTTP1: http1})
}

func trust(ca *dispatchtest.CA) func(*SenderOptions) {
	return func(o *SenderOptions) { o.RootCAs = ca.Pool }
}

func TestTransport_reuse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		tls, http1 bool
		proto      string
	}{
		{"plain", false, true, "HTTP/1.1"},
		{"tls", true, true, "HTTP/1.1"},
		{"http2", true, false, "HTTP/2.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var r *dispatchtest.Receiver
				ca := dispatchtest.NewCA(t)
				if tt.tls {
					r = secure(t, ca, tt.http1)
				} else {
					r = newMemory(t)
				}
				s := newSender(t, r, trust(ca))
				for i := range 5 {
					d := destination(r)
					d.ProfileID = strconv.Itoa(i) // another profile, the same identity
					wantClass(t, send(t, s, d), ClassOK)
					if a := r.Next(t); a.Conn != 1 || a.Proto != tt.proto || string(a.Body) != `{"test": 2432232314}` {
						t.Fatalf("request %d came over connection %d as %s", i, a.Conn, a.Proto)
					}
					// Longer than readTimeout: it does not end a connection
					// that waits for work.
					time.Sleep(30 * time.Second)
				}
				if n := count(s.metrics.connections.WithLabelValues("true")); n != 4 {
					t.Errorf("used again %d times, want 4", n)
				}
				time.Sleep(idleTimeout)
				wantClass(t, send(t, s, destination(r)), ClassOK)
				if a := r.Next(t); a.Conn != 2 {
					t.Errorf("after the idle timeout: connection %d, want 2", a.Conn)
				}
			})
		})
	}
}

// An answer with more than drainLimit of body costs the connection.
func TestTransport_drainLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newMemory(t)
		s := newSender(t, r)
		r.Script(answerOf{BodySize: drainLimit}, answerOf{BodySize: drainLimit + 1}, answerOf{})
		for i, conn := range []int{1, 1, 2} {
			wantClass(t, send(t, s, destination(r)), ClassOK)
			if a := r.Next(t); a.Conn != conn {
				t.Errorf("request %d came over connection %d, want %d", i, a.Conn, conn)
			}
		}
	})
}

// INV webhook-9.
func TestTransports_keys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := dispatchtest.NewCA(t)
		one, two := ca.Client(t, "one"), ca.Client(t, "two")
		other := dispatchtest.NewCA(t)
		r := secure(t, ca, true, func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequestClientCert, other.Pool })
		s := newSender(t, r, trust(ca))
		conns := map[int]string{}
		for i := range 2 {
			for name, change := range map[string]func(*Destination){
				"none":           func(*Destination) {},
				"one":            func(d *Destination) { d.Certificate, d.CertificateKey = &one, "acme/one/7" },
				"two":            func(d *Destination) { d.Certificate, d.CertificateKey = &two, "acme/two/8" },
				"one, new":       func(d *Destination) { d.Certificate, d.CertificateKey = &one, "acme/one/9" },
				"one, unnamed":   func(d *Destination) { d.Certificate = &one },
				"two, unnamed":   func(d *Destination) { d.Certificate = &two },
				"tls 1.2":        func(d *Destination) { d.MaxTLS = tls.VersionTLS12 },
				"tls 1.3":        func(d *Destination) { d.MinTLS = tls.VersionTLS13 },
				"connectTimeout": func(d *Destination) { d.ConnectTimeout = time.Second },
			} {
				d := destination(r)
				change(d)
				wantClass(t, send(t, s, d), ClassOK)
				a := r.Next(t)
				if was, ok := conns[a.Conn]; ok && was != name || i == 1 && !ok {
					t.Errorf("%q uses connection %d, which is that of %q", name, a.Conn, was)
				}
				conns[a.Conn] = name
				// The certificate is sent although the receiver names another
				// authority than its issuer (INV webhook-3).
				cn := ""
				if len(a.Certificates) > 0 {
					cn = a.Certificates[0].Subject.CommonName
				}
				if want := name[:min(3, len(name))]; (want == "one" || want == "two" || cn != "") && cn != want {
					t.Errorf("%q is sent as %q", name, cn)
				}
			}
		}
	})
}

func TestTransports_bounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = 3
		r := newMemory(t)
		var open atomic.Int32
		s := newSender(t, r, func(o *SenderOptions) {
			o.MaxTransports = most
			o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := r.Dial(ctx, network, address)
				open.Add(1)
				return &counted{Conn: c, open: &open}, err
			}
		})
		use := func(i int) int {
			d := destination(r)
			d.ConnectTimeout = time.Duration(i+1) * time.Second
			wantClass(t, send(t, s, d), ClassOK)
			return r.Next(t).Conn
		}
		for i := range most {
			use(i)
		}
		if use(0) != 1 || s.transports.size() != most {
			t.Errorf("at the limit: %d transports", s.transports.size())
		}
		use(most) // pushes out 1, which was used longest ago
		if n := s.transports.size(); n != most {
			t.Errorf("above the limit: %d transports, want %d", n, most)
		}
		if use(0) != 1 || use(2) != 3 {
			t.Error("the wrong one was pushed out")
		}
		if c := use(1); c != most+2 {
			t.Errorf("what was pushed out uses connection %d again", c)
		}
		synctest.Wait()
		if n := open.Load(); n != most {
			t.Errorf("%d connections are open, want %d", n, most)
		}
		if err := s.Close(); err != nil || open.Load() != 0 || s.transports.size() != 0 {
			t.Errorf("after Close: %d connections are open, %v", open.Load(), err)
		}
	})
}

// counted is a connection that counts itself out.
type counted struct {
	net.Conn
	open *atomic.Int32
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

func TestTransport_versions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := dispatchtest.NewCA(t)
		var offered atomic.Int32
		r := secure(t, ca, true, func(c *tls.Config) {
			certificate := c.Certificates
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				v := uint16(offered.Load())
				return &tls.Config{Certificates: certificate, MinVersion: v, MaxVersion: v}, nil
			}
		})
		s := newSender(t, r, trust(ca))
		for _, tt := range []struct {
			server, from, to uint16
			ok               bool
		}{
			{tls.VersionTLS12, 0, 0, true},
			{tls.VersionTLS13, 0, 0, true},
			{tls.VersionTLS11, 0, 0, false},
			{tls.VersionTLS10, tls.VersionTLS10, 0, false}, // TLS 1.2 is the least, whatever is configured
			{tls.VersionTLS12, tls.VersionTLS13, tls.VersionTLS13, false},
			{tls.VersionTLS13, tls.VersionTLS12, tls.VersionTLS12, false},
			{tls.VersionTLS13, tls.VersionTLS12, tls.VersionTLS13, true},
		} {
			offered.Store(int32(tt.server))
			d := destination(r)
			d.MinTLS, d.MaxTLS = tt.from, tt.to
			d.ConnectTimeout += time.Duration(offered.Load()) // a transport of its own
			res := send(t, s, d)
			if (res.Class == ClassOK) != tt.ok {
				t.Errorf("%+v: %+v", tt, res)
			}
			if !tt.ok && res.Error != "TLS: the receiver refused: protocol version not supported" {
				t.Errorf("%+v: error %q", tt, res.Error)
			}
		}
	})
}

// Connecting and the handshake share connectTimeout.
func TestTransport_connectTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newMemory(t)
		wait := 300 * time.Millisecond
		s := newSender(t, r, func(o *SenderOptions) {
			o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				time.Sleep(wait)
				return deaf(ctx, network, address)
			}
		})
		d := &Destination{URL: "https://hooks.example/", ConnectTimeout: 500 * time.Millisecond}
		res := send(t, s, d)
		wantError(t, res, ClassTemporary, "timeout while connecting")
		if res.Duration != 500*time.Millisecond {
			t.Errorf("took %s", res.Duration)
		}
	})
}

func TestTransport_serverCertificate(t *testing.T) {
	t.Parallel()
	ca, other := dispatchtest.NewCA(t), dispatchtest.NewCA(t)
	expired := ca.Issue(t, &x509.Certificate{
		DNSNames: []string{"hooks.example"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
	})
	for name, tt := range map[string]struct {
		cert tls.Certificate
		want string
	}{
		"good":    {ca.Server(t, "hooks.example"), ""},
		"name":    {ca.Server(t, "other.example"), "TLS: the certificate of the receiver is for another host name"},
		"unknown": {other.Server(t, "hooks.example"), "TLS: the certificate of the receiver is signed by an unknown authority"},
		"expired": {expired, "TLS: the certificate of the receiver has expired or is not valid yet"},
		"usage":   {ca.Issue(t, &x509.Certificate{DNSNames: []string{"hooks.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}), "TLS: the certificate of the receiver is not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := dispatchtest.New(t, dispatchtest.Options{TLS: &tls.Config{Certificates: []tls.Certificate{tt.cert}}})
			s := newSender(t, r, local, trust(ca), func(o *SenderOptions) {
				o.LookupNetIP = func(context.Context, string, string) ([]netip.Addr, error) {
					return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
				}
			})
			d := &Destination{URL: strings.Replace(r.URL, "127.0.0.1", "hooks.example.", 1)}
			if res := send(t, s, d); res.Error != tt.want || (res.Class == ClassOK) != (tt.want == "") {
				t.Errorf("%+v", res)
			}
			if ct := s.TestConnection(t.Context(), d); ct.Success != (tt.want == "") || !ct.Success && (ct.FailReasons[0] != tt.want || ct.Hint == "") {
				t.Errorf("%+v", ct)
			}
		})
	}
}

// breaking is a connection that takes a number of bytes more and then none.
type breaking struct {
	net.Conn
	left *atomic.Int64 // negative: all
}

func (c breaking) Write(p []byte) (int, error) {
	left := c.left.Load()
	if left < 0 {
		return c.Conn.Write(p)
	}
	n := min(int(left), len(p))
	c.left.Add(-int64(n))
	return n, &net.OpError{Op: "write", Err: syscall.EPIPE}
}

// INV webhook-4: a request is repeated where nothing of it can have arrived,
// and nowhere else, whatever its headers say about repeating it.
func TestExchange_repeats(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		left     int64 // bytes that the used connection still takes
		repeated bool
	}{{0, true}, {minRequestBytes - 1, true}, {minRequestBytes, false}, {1000, false}} {
		t.Run(fmt.Sprint(tt.left), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newMemory(t)
				var left atomic.Int64
				left.Store(-1)
				dials := 0
				s := newSender(t, r, func(o *SenderOptions) {
					o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
						c, err := r.Dial(ctx, network, address)
						if dials++; dials == 1 {
							return breaking{c, &left}, err
						}
						return c, err
					}
				})
				d := destination(r)
				d.Headers = map[string]string{"Idempotency-Key": "k", "X-Idempotency-Key": "k"}
				wantClass(t, send(t, s, d), ClassOK)
				left.Store(tt.left)
				res := send(t, s, d)
				if tt.repeated {
					wantClass(t, res, ClassOK)
				} else {
					wantError(t, res, ClassTemporary, "connection reset by the receiver")
				}
				if want := map[bool]int{true: 2, false: 1}[tt.repeated]; len(r.Arrivals()) != want || dials != want {
					t.Errorf("%d arrived over %d connections, want %d", len(r.Arrivals()), dials, want)
				}
			})
		})
	}
}

// INV webhook-4: a receiver that read the request and closed the connection
// gets it once, also over a connection that was used before.
func TestExchange_onceWhenRead(t *testing.T) {
	t.Parallel()
	for _, http1 := range []bool{true, false} {
		t.Run(fmt.Sprint("http1=", http1), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ca := dispatchtest.NewCA(t)
				r := secure(t, ca, http1)
				s := newSender(t, r, trust(ca))
				for _, body := range []string{"{}", ""} {
					req := request(destination(r))
					req.Destination.Headers = map[string]string{"Idempotency-Key": "k"}
					req.Body = []byte(body)
					before := len(r.Arrivals())
					r.Script(answerOf{}, answerOf{Close: true}, answerOf{})
					wantClass(t, s.Send(t.Context(), req), ClassOK)
					wantClass(t, s.Send(t.Context(), req), ClassTemporary)
					if n := len(r.Arrivals()) - before; n != 2 {
						t.Errorf("body %q: %d requests arrived, want 2", body, n)
					}
					wantClass(t, s.Send(t.Context(), req), ClassOK)
				}
			})
		})
	}
}

// The limits of time hold for a stream of HTTP/2 by itself.
func TestExchange_http2(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := dispatchtest.NewCA(t)
		r := secure(t, ca, false)
		s := newSender(t, r, trust(ca))
		r.On("/hang", answerOf{Hang: true})
		r.On("/drip", answerOf{Drip: time.Second, Body: []byte("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxok")})
		r.On("/endless", answerOf{Drip: time.Second})
		at := func(path, expr string) *Destination {
			d := destination(r)
			d.URL, d.ResponseBodyRegex = r.URL+path, expr
			return d
		}
		wantClass(t, send(t, s, at("/", "")), ClassOK)
		results := make(chan Result, 2)
		go func() { results <- s.Send(context.Background(), request(at("/drip", "ok"))) }()
		go func() { results <- s.Send(context.Background(), request(at("/endless", "ok"))) }()
		// Others move on the same connection; this stream does not.
		res := send(t, s, at("/hang", ""))
		wantError(t, res, ClassTemporary, "timeout while waiting for an answer")
		if res.Duration != 10*time.Second {
			t.Errorf("took %s", res.Duration)
		}
		wantClass(t, <-results, ClassOK)
		wantError(t, <-results, ClassTemporary, "the attempt took too long")
		for _, a := range r.Arrivals() {
			if a.Conn != 1 {
				t.Errorf("%s came over connection %d", a.Path, a.Conn)
			}
		}
	})
}
