package webhook

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/dispatchtest"
	"example.com/belfry/dispatch/event"
)

// slowly makes every step to a connection take its time.
func slowly(r *dispatchtest.Receiver, resolve, dial time.Duration) func(*SenderOptions) {
	return func(o *SenderOptions) {
		o.LookupNetIP = func(context.Context, string, string) ([]netip.Addr, error) {
			time.Sleep(resolve)
			return []netip.Addr{netip.MustParseAddr(dispatchtest.MemoryAddress)}, nil
		}
		o.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			time.Sleep(dial)
			return r.Dial(ctx, network, address)
		}
	}
}

// namedAs gives a receiver the certificate of a host.
func namedAs(tb testing.TB, ca *dispatchtest.CA, host string) func(*tls.Config) {
	tb.Helper()
	cert := ca.Server(tb, host)
	return func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} }
}

func TestSend_timing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		tls, http1 bool
	}{{"plain", false, true}, {"tls", true, true}, {"http2", true, false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ca := dispatchtest.NewCA(t)
				const host = "hooks.example"
				r := dispatchtest.New(t, dispatchtest.Options{Memory: true})
				scheme := "http://"
				if tt.tls {
					r = secure(t, ca, tt.http1, namedAs(t, ca, host))
					scheme = "https://"
				}
				r.Always(answerOf{Delay: 1234567 * time.Microsecond})
				s := newSender(t, r, trust(ca), slowly(r, 20*time.Millisecond, 30*time.Millisecond))
				d := destination(r)
				d.URL = scheme + host + "/in"
				first := &event.Timing{DNSMs: 20, ConnectMs: 30, FirstByteMs: 1234.567}
				if diff := cmp.Diff(first, send(t, s, d).Timing); diff != "" {
					t.Errorf("on a new connection (-want +got):\n%s", diff)
				}
				again := &event.Timing{FirstByteMs: 1234.567, Reused: true}
				if diff := cmp.Diff(again, send(t, s, d).Timing); diff != "" {
					t.Errorf("on a kept connection (-want +got):\n%s", diff)
				}
				r.Always(answerOf{Hang: true})
				if res := send(t, s, d); res.ErrorClass != ErrorTimeout || res.Timing == nil || *res.Timing != (event.Timing{Reused: true}) {
					t.Errorf("without an answer: %+v, %+v", res, res.Timing)
				}
			})
		})
	}
}

func TestSend_errorClasses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer answerOf
		change func(d *Destination)
		want   ErrorClass
		sent   bool
	}{
		{name: "success", want: ErrorNone, sent: true},
		{name: "status", answer: answerOf{Status: 500}, want: ErrorStatus, sent: true},
		{name: "gone", answer: answerOf{Status: 410}, want: ErrorStatus, sent: true},
		{name: "status regex", change: func(d *Destination) { d.ResponseRegex = "201" }, want: ErrorStatus, sent: true},
		{name: "body", change: func(d *Destination) { d.ResponseBodyRegex = "x" }, want: ErrorBody, sent: true},
		{name: "closed", answer: answerOf{Close: true}, want: ErrorReset, sent: true},
		{name: "cut body", answer: answerOf{Body: []byte("x"), Truncate: true}, change: func(d *Destination) { d.ResponseBodyRegex = "x" }, want: ErrorReset, sent: true},
		{name: "no HTTP", answer: answerOf{Raw: "220 ESMTP\r\n"}, want: ErrorProtocol, sent: true},
		{name: "silence", answer: answerOf{Hang: true}, want: ErrorTimeout, sent: true},
		{name: "auth", change: func(d *Destination) { d.Auth = &Auth{Type: "BASIC"} }, want: ErrorAuth},
		{name: "blocked", change: func(d *Destination) { d.URL = "http://127.0.0.1/" }, want: ErrorBlocked},
		{name: "regex", change: func(d *Destination) { d.ResponseRegex = "(" }, want: ErrorConfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newMemory(t)
				r.Always(tt.answer)
				d := destination(r)
				if tt.change != nil {
					tt.change(d)
				}
				if res := send(t, newSender(t, r), d); res.ErrorClass != tt.want || (res.Timing != nil) != tt.sent {
					t.Errorf("%q (%q), timing %+v; want %q", res.ErrorClass, res.Error, res.Timing, tt.want)
				}
			})
		})
	}
}

func TestSend_errorClassesOfConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newMemory(t)
		d := destination(r)
		d.URL, d.ConnectTimeout = "https://hooks.example/", time.Second
		hang := func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		for _, tt := range []struct {
			name   string
			change func(*SenderOptions)
			want   ErrorClass
		}{
			{"no name", func(o *SenderOptions) {
				o.LookupNetIP = func(context.Context, string, string) ([]netip.Addr, error) {
					return nil, &net.DNSError{IsNotFound: true}
				}
			}, ErrorDNS},
			{"slow resolver", func(o *SenderOptions) {
				o.LookupNetIP = func(ctx context.Context, _, _ string) ([]netip.Addr, error) { return nil, hang(ctx) }
			}, ErrorDNS},
			{"slow dial", func(o *SenderOptions) {
				o.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return nil, hang(ctx) }
			}, ErrorConnect},
			{"slow handshake", func(o *SenderOptions) { o.DialContext = deaf }, ErrorTLS},
			{"no TLS", func(*SenderOptions) {}, ErrorTLS},
		} {
			res := send(t, newSender(t, r, tt.change), d)
			if res.Class != ClassTemporary || res.ErrorClass != tt.want || res.Timing != nil {
				t.Errorf("%s: %q (%q), timing %+v; want %q", tt.name, res.ErrorClass, res.Error, res.Timing, tt.want)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r.Always(answerOf{Hang: true})
		if res := newSender(t, r).Send(ctx, request(destination(r))); res.ErrorClass != ErrorCut {
			t.Errorf("cut off: %q", res.ErrorClass)
		}
	})
}
