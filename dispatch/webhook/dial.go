package webhook

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxAddresses is how many addresses of one name are tried.
	maxAddresses = 8
	// fallbackDelay is the head start of one address before the next
	// (RFC 8305, section 5).
	fallbackDelay = 300 * time.Millisecond
)

// dialer makes every outgoing connection of the package.
type dialer struct {
	guard   *Guard
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	blocked prometheus.Counter
}

// systemDial connects to an address that the guard has permitted. The guard is
// asked once more by the socket itself, should anything on the way turn the
// address into another one.
func systemDial(g *Guard) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || !g.permits(ap) {
			return errBlocked
		}
		return nil
	}}
	return d.DialContext
}

// connect resolves address, has the guard judge what came out, and connects to
// a permitted one. Nothing is cached: a name is judged by what it means now.
func (d *dialer) connect(ctx context.Context, address string) (*meteredConn, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errBlocked
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, errBlocked
	}
	began := time.Now()
	addrs, err := d.resolve(ctx, host)
	resolved := time.Now()
	if err != nil {
		return nil, err
	}
	var permitted []netip.AddrPort
	for _, a := range addrs {
		// A resolver may hand IPv4 addresses out in their mapped form.
		if ap := netip.AddrPortFrom(a.Unmap(), uint16(port)); d.guard.permits(ap) && len(permitted) < maxAddresses {
			permitted = append(permitted, ap)
		}
	}
	if len(permitted) == 0 {
		d.blocked.Inc()
		return nil, errBlocked
	}
	c, err := d.race(ctx, permitted)
	if err != nil {
		f := describe(ctx, err, connecting)
		if f.class == ClassBlocked {
			d.blocked.Inc()
		}
		return nil, f
	}
	born := time.Now()
	return &meteredConn{Conn: c, born: born, resolving: resolved.Sub(began), connecting: born.Sub(resolved)}, nil
}

func (d *dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	a, msg := literal(host)
	if msg != "" {
		return nil, errBlocked
	}
	if a.IsValid() {
		return []netip.Addr{a}, nil
	}
	addrs, err := d.lookup(ctx, "ip", host)
	switch {
	case ctx.Err() != nil:
		return nil, describe(ctx, err, connecting).during(ErrorDNS)
	case err != nil || len(addrs) == 0:
		return nil, describeDNS(err)
	}
	return addrs, nil
}

type dialed struct {
	conn net.Conn
	err  error
}

// race tries the addresses in order, each with a head start before the next,
// and returns the first connection. The error is that of the first address.
func (d *dialer) race(ctx context.Context, addrs []netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan dialed, len(addrs)) // one for each, so that no dial is left waiting
	started, ended := 0, 0
	defer func() {
		cancel()
		if left := started - ended; left > 0 {
			go func() {
				for range left {
					if r := <-results; r.err == nil {
						_ = r.conn.Close()
					}
				}
			}()
		}
	}()
	start := func() {
		address := addrs[started].String()
		started++
		go func() {
			c, err := d.dial(ctx, "tcp", address)
			results <- dialed{c, err}
		}()
	}
	start()
	timer := time.NewTimer(fallbackDelay)
	defer timer.Stop()
	var firstErr error
	for {
		select {
		case r := <-results:
			ended++
			if r.err == nil {
				return r.conn, nil
			}
			if firstErr == nil {
				firstErr = r.err
			}
			if started == ended && started == len(addrs) {
				return nil, firstErr
			}
			if started == len(addrs) {
				continue
			}
		case <-timer.C:
			if started == len(addrs) {
				continue
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		start()
		timer.Reset(fallbackDelay)
	}
}

// connectTLS connects and shakes hands.
func (d *dialer) connectTLS(ctx context.Context, address string, cfg *tls.Config) (*tls.Conn, error) {
	raw, err := d.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(address) // connect has done it
	cfg = cfg.Clone()                        // shares the session cache
	cfg.ServerName = strings.TrimSuffix(host, ".")
	c := tls.Client(raw, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, describeHandshake(ctx, err)
	}
	raw.handshake = time.Since(raw.born)
	return c, nil
}

// meteredConn counts what is written and knows when something moved last.
type meteredConn struct {
	net.Conn
	born time.Time
	// How long the steps to the connection took; constant once it is in use.
	resolving, connecting, handshake time.Duration

	written atomic.Int64
	moved   atomic.Int64 // since born, by the monotonic clock
	// gate is asked once, by the next Write; false: it writes nothing.
	gate atomic.Pointer[func() bool]
}

// Read implements net.Conn.
func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.moved.Store(int64(time.Since(c.born)))
	}
	return n, err
}

// Write implements net.Conn.
func (c *meteredConn) Write(p []byte) (int, error) {
	if ask := c.gate.Swap(nil); ask != nil && !(*ask)() {
		return 0, errCutOff
	}
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.written.Add(int64(n))
		c.moved.Store(int64(time.Since(c.born)))
	}
	return n, err
}

// lastMoved is when bytes went over the connection last.
func (c *meteredConn) lastMoved() time.Time { return c.born.Add(time.Duration(c.moved.Load())) }
