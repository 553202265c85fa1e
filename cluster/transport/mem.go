package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// memBuffer is how many bytes one direction of a connection in memory holds
// before a write waits.
const memBuffer = 1 << 20

// Mem is a network in memory for tests in virtual time. Links between hosts
// are cut by direction; what was sent over a cut link is held and arrives when
// the link heals, as TCP would send it again. It blocks only on channels and
// timers, so it may be used in a testing/synctest bubble.
type Mem struct {
	mu        sync.Mutex
	rng       *rand.Rand
	listeners map[string]*memListener
	hosts     map[string]string // address to host
	cut       map[[2]string]bool
	latency   time.Duration
	jitter    time.Duration
	changed   chan struct{} // closed and replaced when a link changes
	conns     map[*memConn]struct{}
	nextPort  int
}

// NewMem makes a network without faults or latency.
func NewMem(seed uint64) *Mem {
	return &Mem{
		rng:       rand.New(rand.NewPCG(seed, seed)), //nolint:gosec // simulation, must be repeatable
		listeners: map[string]*memListener{}, hosts: map[string]string{}, cut: map[[2]string]bool{},
		changed: make(chan struct{}), conns: map[*memConn]struct{}{}, nextPort: 10000,
	}
}

// Host gives the network as the named host sees it.
func (m *Mem) Host(name string) Network { return &memHost{m, name} }

// Latency sets the one-way delay of everything sent from now on: base plus up
// to jitter.
func (m *Mem) Latency(base, jitter time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latency, m.jitter = base, jitter
}

// Cut stops everything from one host to another, in this direction only.
func (m *Mem) Cut(from, to string) { m.update(func() { m.cut[[2]string{from, to}] = true }) }

// Isolate cuts a host off in both directions from the given others.
func (m *Mem) Isolate(host string, others ...string) {
	m.update(func() {
		for _, o := range others {
			if o != host {
				m.cut[[2]string{host, o}], m.cut[[2]string{o, host}] = true, true
			}
		}
	})
}

// Heal mends every link.
func (m *Mem) Heal() { m.update(func() { clear(m.cut) }) }

// Reset breaks every connection of a host and its listeners, as the end of
// its process does.
func (m *Mem) Reset(host string) {
	m.mu.Lock()
	var broken []*memConn
	for c := range m.conns {
		if c.from == host || c.to == host {
			broken = append(broken, c)
		}
	}
	for a, l := range m.listeners {
		if l.host == host {
			l.closeLocked()
			delete(m.listeners, a)
		}
	}
	m.mu.Unlock()
	for _, c := range broken {
		_ = c.Close()
	}
}

func (m *Mem) update(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *Mem) state(from, to string) (isCut bool, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cut[[2]string{from, to}], m.changed
}

func (m *Mem) arrival() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.latency
	if m.jitter > 0 {
		d += time.Duration(m.rng.Int64N(int64(m.jitter)))
	}
	return time.Now().Add(d)
}

type memHost struct {
	m    *Mem
	name string
}

// Listen listens on addr; port 0 picks one.
func (h *memHost) Listen(addr string) (net.Listener, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if host, port, err := net.SplitHostPort(addr); err == nil && port == "0" {
		h.m.nextPort++
		addr = fmt.Sprintf("%s:%d", host, h.m.nextPort)
	}
	if h.m.listeners[addr] != nil {
		return nil, fmt.Errorf("listen %s: address in use", addr)
	}
	l := &memListener{m: h.m, host: h.name, addr: address(addr), queue: make(chan net.Conn, acceptQueue), done: make(chan struct{})}
	h.m.listeners[addr], h.m.hosts[addr] = l, h.name
	return l, nil
}

// Dial connects to addr. Over a cut link it waits for ctx.
func (h *memHost) Dial(ctx context.Context, addr string) (net.Conn, error) {
	for {
		h.m.mu.Lock()
		to, known := h.m.hosts[addr]
		l, changed := h.m.listeners[addr], h.m.changed
		isCut := h.m.cut[[2]string{h.name, to}] || h.m.cut[[2]string{to, h.name}]
		h.m.mu.Unlock()
		if !known || (l == nil && !isCut) {
			return nil, fmt.Errorf("dial %s: connection refused", addr)
		}
		if isCut {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil, fmt.Errorf("dial %s: %w", addr, ctx.Err())
			}
		}
		a, b := newMemPipe(h.m, h.name, to), newMemPipe(h.m, to, h.name)
		local := address(h.name + ":0")
		near := &memConn{m: h.m, from: h.name, to: to, out: a, in: b, local: local, remote: address(addr)}
		far := &memConn{m: h.m, from: to, to: h.name, out: b, in: a, local: address(addr), remote: local}
		h.m.mu.Lock()
		h.m.conns[near], h.m.conns[far] = struct{}{}, struct{}{}
		h.m.mu.Unlock()
		select {
		case l.queue <- far:
			if !closed(l.done) {
				return near, nil
			}
		case <-l.done:
		case <-ctx.Done():
		}
		_ = near.Close()
		_ = far.Close()
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
}

type memListener struct {
	m     *Mem
	host  string
	addr  address
	queue chan net.Conn
	done  chan struct{}
	shut  bool
}

// Accept gives the next connection.
func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close frees the address and breaks the connections that were not accepted.
func (l *memListener) Close() error {
	l.m.mu.Lock()
	if l.m.listeners[string(l.addr)] == l {
		delete(l.m.listeners, string(l.addr))
	}
	l.closeLocked()
	l.m.mu.Unlock()
	for {
		select {
		case c := <-l.queue:
			_ = c.Close()
		default:
			return nil
		}
	}
}

func (l *memListener) closeLocked() {
	if !l.shut {
		l.shut = true
		close(l.done)
	}
}

// Addr is the bound address.
func (l *memListener) Addr() net.Addr { return l.addr }

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
		case isCut:
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
		at := p.m.arrival()
		now := time.Now()
		p.mu.Lock()
		switch {
		case p.wclosed:
			p.mu.Unlock()
			return 0, net.ErrClosed
		case p.rclosed:
			p.mu.Unlock()
			return 0, errors.New("connection reset by peer")
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
	return c.out.write(b)
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
