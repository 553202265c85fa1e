package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// memBuffer is how many bytes one direction of a connection in memory holds
// before a write waits.
const memBuffer = 1 << 20

var (
	errReset  = errors.New("connection reset by peer")
	errBroken = fmt.Errorf("the network: %w", errReset)
)

type memChunk struct {
	at time.Time
	b  []byte
}

// memPipe is one direction of a connection.
type memPipe struct {
	m        *Mem
	from, to string

	mu       sync.Mutex
	queue    []memChunk
	size     int
	wclosed  bool // the writer has closed
	rclosed  bool // the reader has closed
	broken   bool // by the network
	rdead    time.Time
	wdead    time.Time
	changed  chan struct{}
	lastSent time.Time
}

func newMemPipe(m *Mem, from, to string) *memPipe {
	return &memPipe{m: m, from: from, to: to, changed: make(chan struct{})}
}

func (p *memPipe) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.wake()
}

func (p *memPipe) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *memPipe) read(b []byte) (int, error) {
	for {
		isCut, linkChanged := p.m.state(p.from, p.to)
		now := time.Now()
		p.mu.Lock()
		var wait time.Duration = -1
		switch {
		case p.rclosed:
			p.mu.Unlock()
			return 0, net.ErrClosed
		case !p.rdead.IsZero() && !now.Before(p.rdead):
			p.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case isCut: // nor does a reset arrive
		case p.broken:
			p.mu.Unlock()
			return 0, errReset
		case len(p.queue) > 0 && !now.Before(p.queue[0].at):
			n := copy(b, p.queue[0].b)
			if p.queue[0].b = p.queue[0].b[n:]; len(p.queue[0].b) == 0 {
				p.queue = p.queue[1:]
			}
			p.size -= n
			p.wake()
			p.mu.Unlock()
			return n, nil
		case len(p.queue) > 0:
			wait = p.queue[0].at.Sub(now)
		case p.wclosed:
			p.mu.Unlock()
			return 0, io.EOF
		}
		if !p.rdead.IsZero() {
			if d := p.rdead.Sub(now); wait < 0 || d < wait {
				wait = d
			}
		}
		changed := p.changed
		p.mu.Unlock()
		pause(wait, changed, linkChanged)
	}
}

func pause(wait time.Duration, a, b <-chan struct{}) {
	var timer <-chan time.Time
	if wait >= 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-a:
	case <-b:
	case <-timer:
	}
}

func (p *memPipe) write(b []byte) (int, error) {
	for {
		at, breaks := p.m.send(p.from, p.to, len(b))
		now := time.Now()
		p.mu.Lock()
		switch {
		case p.wclosed:
			p.mu.Unlock()
			return 0, net.ErrClosed
		case p.rclosed, p.broken:
			p.mu.Unlock()
			return 0, errReset
		case breaks:
			p.mu.Unlock()
			return 0, errBroken
		case !p.wdead.IsZero() && !now.Before(p.wdead):
			p.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case p.size < memBuffer:
			if at.Before(p.lastSent) {
				at = p.lastSent
			}
			p.lastSent = at
			p.queue = append(p.queue, memChunk{at, append([]byte(nil), b...)})
			p.size += len(b)
			p.wake()
			p.mu.Unlock()
			return len(b), nil
		}
		var wait time.Duration = -1
		if !p.wdead.IsZero() {
			wait = p.wdead.Sub(now)
		}
		changed := p.changed
		p.mu.Unlock()
		pause(wait, changed, nil)
	}
}

type memConn struct {
	m             *Mem
	from, to      string
	out, in       *memPipe
	local, remote address
}

// Read reads what the other end wrote.
func (c *memConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return c.in.read(b)
}

// Write queues b for the other end.
func (c *memConn) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := c.out.write(b)
	if errors.Is(err, errBroken) {
		c.abort()
	}
	return n, err
}

// abort breaks both directions; what was on its way is lost.
func (c *memConn) abort() {
	for _, p := range []*memPipe{c.out, c.in} {
		p.set(func() { p.broken, p.queue, p.size = true, nil, 0 })
	}
}

// Close ends both directions; the other end may read what was written.
func (c *memConn) Close() error {
	c.m.mu.Lock()
	delete(c.m.conns, c)
	c.m.mu.Unlock()
	c.out.set(func() { c.out.wclosed = true })
	c.in.set(func() { c.in.rclosed = true })
	return nil
}

func (c *memConn) LocalAddr() net.Addr  { return c.local }
func (c *memConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *memConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline wakes a waiting Read at t.
func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.set(func() { c.in.rdead = t })
	return nil
}

// SetWriteDeadline wakes a waiting Write at t.
func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.out.set(func() { c.out.wdead = t })
	return nil
}
