package webhook

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/belfry/dispatch/dispatchtest"
)

const testWebhookID = "msg_p5jXN8AQM9LWM0D4loKWxJek"

func newGuard(tb testing.TB, o GuardOptions) *Guard {
	tb.Helper()
	g, err := NewGuard(o)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// newSender makes a sender whose only way out is the receiver in memory.
func newSender(tb testing.TB, r *dispatchtest.Receiver, change ...func(*SenderOptions)) *Sender {
	tb.Helper()
	o := SenderOptions{
		Guard:       newGuard(tb, GuardOptions{}),
		DialContext: r.Dial,
		LookupNetIP: func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr(dispatchtest.MemoryAddress)}, nil
		},
	}
	for _, c := range change {
		c(&o)
	}
	s, err := NewSender(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func newMemory(tb testing.TB) *dispatchtest.Receiver {
	tb.Helper()
	return dispatchtest.New(tb, dispatchtest.Options{Memory: true})
}

// local makes a sender that may use the loopback, and real sockets.
func local(o *SenderOptions) {
	g, err := NewGuard(GuardOptions{AllowPrivate: true})
	if err != nil {
		panic(err)
	}
	o.Guard, o.DialContext, o.LookupNetIP = g, nil, nil
}

func destination(r *dispatchtest.Receiver) *Destination {
	return &Destination{
		Account: "acme", ProfileID: "hook", Version: 1, URL: r.URL + "/in", ContentType: "application/json",
		ConnectTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second,
	}
}

func request(d *Destination) *Request {
	return &Request{Destination: d, WebhookID: testWebhookID, Body: []byte(`{"test": 2432232314}`)}
}

func send(tb testing.TB, s *Sender, d *Destination) Result {
	tb.Helper()
	return s.Send(tb.Context(), request(d))
}

func wantClass(tb testing.TB, r Result, want Class) {
	tb.Helper()
	if r.Class != want {
		tb.Fatalf("class %q (status %d, error %q), want %q", r.Class, r.StatusCode, r.Error, want)
	}
}

func wantError(tb testing.TB, r Result, class Class, text string) {
	tb.Helper()
	if r.Class != class || r.Error != text {
		tb.Fatalf("class %q, status %d, error %q; want %q, %q", r.Class, r.StatusCode, r.Error, class, text)
	}
}

func count(c prometheus.Collector) int { return int(testutil.ToFloat64(c)) }

// deaf is a connection to somebody who never reads.
func deaf(context.Context, string, string) (net.Conn, error) {
	client, _ := net.Pipe()
	return client, nil
}
