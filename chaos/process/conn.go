package process

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	pieceSize = 16 << 10 // bytes that are taken at once
	pieces    = 64       // that are on their way in one direction at most
	// dialTimeout bounds the connect to a process on this machine.
	dialTimeout = 2 * time.Second
)

// conn is one connection of from to node to.
type conn struct {
	from, to    string
	near        net.Conn
	there, back *link
	jitter      func(time.Duration) time.Duration
	refused     func()          // told when nothing listens where it leads
	ctx         context.Context //nolint:containedctx // the life of the connection
	cancel      context.CancelFunc

	nearEnded atomic.Bool // whoever dialled has closed
	mu        sync.Mutex
	far       net.Conn // nil until it is made
}

// abort closes a connection in such a way that the other end sees a reset.
func abort(c net.Conn) {
	if tc, ok := c.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
	_ = c.Close()
}

// reset ends the connection with a reset at both ends.
func (c *conn) reset() {
	c.cancel()
	abort(c.near)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.far != nil {
		abort(c.far)
	}
}

// piece is something on its way: bytes, or the end of one direction.
type piece struct {
	data []byte
	due  time.Time
	end  error // io.EOF: an orderly end; other: a broken connection
}

// run carries until both directions ended or one broke.
func (c *conn) run(addr string) {
	var takers sync.WaitGroup
	defer takers.Wait()
	defer c.reset() // ends the takers
	out, in := make(chan piece, pieces), make(chan piece, pieces)
	takers.Go(func() { c.take(c.near, c.there, out) })
	far, ok := c.open(addr)
	if !ok {
		return
	}
	takers.Go(func() { c.take(far, c.back, in) })
	var givers sync.WaitGroup
	givers.Go(func() { c.give(far, c.there, out) })
	givers.Go(func() { c.give(c.near, c.back, in) })
	givers.Wait()
}

// open connects to the node as soon as neither direction is cut: over a
// network that loses packets one way no connection is made either.
func (c *conn) open(addr string) (net.Conn, bool) {
	for waited := false; ; waited = true {
		there, ch1 := c.there.state()
		back, ch2 := c.back.state()
		if !there.Cut && !back.Cut {
			if waited && c.nearEnded.Load() {
				return nil, false // a connect that was given up leaves nothing
			}
			break
		}
		select {
		case <-ch1:
		case <-ch2:
		case <-c.ctx.Done():
			return nil, false
		}
	}
	d := net.Dialer{Timeout: dialTimeout}
	far, err := d.DialContext(c.ctx, "tcp", addr)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			c.refused()
		}
		c.passes(c.back, false) // that it failed is no news behind a cut
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		abort(far)
		return nil, false
	}
	c.far = far
	return far, true
}

// take reads from src and sends what it reads on its way.
func (c *conn) take(src net.Conn, l *link, ch chan<- piece) {
	var last time.Time
	buf := make([]byte, pieceSize)
	for {
		n, err := src.Read(buf)
		s, _ := l.state()
		due := time.Now()
		if d := s.Latency + c.jitter(s.Jitter); d > 0 {
			due = due.Add(d)
		}
		if due.Before(last) { // nothing overtakes
			due = last
		}
		last = due
		if err != nil && src == c.near {
			c.nearEnded.Store(true)
		}
		p := piece{data: slices.Clone(buf[:n]), due: due, end: err}
		select {
		case ch <- p:
		case <-c.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// give writes to dst what is on its way, when it is due and the path lets it
// through.
func (c *conn) give(dst net.Conn, l *link, ch <-chan piece) {
	for {
		var p piece
		select {
		case p = <-ch:
		case <-c.ctx.Done():
			return
		}
		if !c.pause(time.Until(p.due)) || !c.passes(l, len(p.data) > 0) || !c.write(dst, l, p.data) {
			c.reset()
			return
		}
		switch {
		case p.end == nil:
		case errors.Is(p.end, io.EOF):
			if tc, ok := dst.(*net.TCPConn); ok {
				_ = tc.CloseWrite()
			}
			return
		default:
			c.reset()
			return
		}
	}
}

// passes waits while the path is cut. false: the connection is over.
func (c *conn) passes(l *link, bytes bool) bool {
	for {
		s, changed := l.state()
		if !s.Cut {
			return !s.Sever || !bytes
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return false
		}
	}
}

// write writes b, in drops when the path is narrow.
func (c *conn) write(dst net.Conn, l *link, b []byte) bool {
	const perSecond = 20 // drops
	for len(b) > 0 {
		s, _ := l.state()
		n := len(b)
		if s.BytesPerSecond > 0 {
			n = min(n, max(1, s.BytesPerSecond/perSecond))
			wait := time.Duration(n) * time.Second / time.Duration(s.BytesPerSecond)
			if !c.pause(wait) {
				return false
			}
		}
		if _, err := dst.Write(b[:n]); err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}

// pause waits for d. false: the connection is over.
func (c *conn) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}
