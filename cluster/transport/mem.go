package transport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Mem is a network in memory for tests in virtual time. Links between hosts
// are cut, slowed and broken by direction; what was sent over a cut link is
// held and arrives when the link heals, as TCP would send it again. A
// connection keeps its order whatever happens, as a stream does; only what goes
// over different connections may overtake. It blocks only on channels and
// timers, so it may be used in a testing/synctest bubble.
type Mem struct {
	mu        sync.Mutex
	rng       *rand.Rand
	listeners map[string]*memListener
	hosts     map[string]string // address to host
	lives     map[string]int    // how often a host was reset
	links     map[[2]string]memLink
	latency   time.Duration
	jitter    time.Duration
	changed   chan struct{} // closed and replaced when a link changes
	conns     map[*memConn]struct{}
	nextPort  int
}

// memLink is what is wrong with a link, in one direction.
type memLink struct {
	cut             bool
	latency, jitter time.Duration // on top of those of the network
	resets          float64       // chance that a write breaks the connection
	bandwidth       int           // bytes per second of each connection; 0: any number
}

// NewMem makes a network without faults or latency.
func NewMem(seed uint64) *Mem {
	return &Mem{
		rng:       rand.New(rand.NewPCG(seed, seed)), //nolint:gosec // simulation, must be repeatable
		listeners: map[string]*memListener{}, hosts: map[string]string{}, lives: map[string]int{}, links: map[[2]string]memLink{},
		changed: make(chan struct{}), conns: map[*memConn]struct{}{}, nextPort: 10000,
	}
}

// Host gives the network as the named host sees it, until its next Reset: what
// is left of the process then reaches nobody.
func (m *Mem) Host(name string) Network {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memHost{m, name, m.lives[name]}
}

// Latency sets the one-way delay of everything sent from now on: base plus up
// to jitter.
func (m *Mem) Latency(base, jitter time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latency, m.jitter = base, jitter
}

// Delay adds base and up to jitter to what is sent from now on from one host
// to another, in this direction only. With a large jitter connections overtake
// each other.
func (m *Mem) Delay(from, to string, base, jitter time.Duration) {
	m.link(from, to, func(l *memLink) { l.latency, l.jitter = base, jitter })
}

// Throttle lets each connection of a link carry so many bytes per second.
func (m *Mem) Throttle(from, to string, bytes int) {
	m.link(from, to, func(l *memLink) { l.bandwidth = bytes })
}

// Unreliable gives every write from one host to another a chance, from 0 to 1,
// to break its connection; see Break.
func (m *Mem) Unreliable(from, to string, chance float64) {
	m.link(from, to, func(l *memLink) { l.resets = chance })
}

// Cut stops everything from one host to another, in this direction only.
func (m *Mem) Cut(from, to string) { m.link(from, to, func(l *memLink) { l.cut = true }) }

// Isolate cuts a host off in both directions from the given others.
func (m *Mem) Isolate(host string, others ...string) {
	for _, o := range others {
		if o != host {
			m.Cut(host, o)
			m.Cut(o, host)
		}
	}
}

// Heal mends every link.
func (m *Mem) Heal() { m.update(func() { clear(m.links) }) }

// Join mends every link of one host, in both directions.
func (m *Mem) Join(host string) {
	m.update(func() {
		for l := range m.links {
			if l[0] == host || l[1] == host {
				delete(m.links, l)
			}
		}
	})
}

// Break breaks every connection between two hosts as a firewall that forgets
// them does: what was on its way is lost, both ends get an error, and neither
// knows what the other has read. They may dial again at once.
func (m *Mem) Break(a, b string) {
	m.mu.Lock()
	var broken []*memConn
	for c := range m.conns {
		if c.from == a && c.to == b || c.from == b && c.to == a {
			broken = append(broken, c)
		}
	}
	m.mu.Unlock()
	for _, c := range broken {
		c.abort()
	}
}

// Reset breaks every connection of a host and its listeners, as the end of
// its process does.
func (m *Mem) Reset(host string) {
	m.mu.Lock()
	m.lives[host]++
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

func (m *Mem) link(from, to string, f func(l *memLink)) {
	m.update(func() {
		l := m.links[[2]string{from, to}]
		f(&l)
		m.links[[2]string{from, to}] = l
	})
}

func (m *Mem) state(from, to string) (isCut bool, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.links[[2]string{from, to}].cut, m.changed
}

// send says when n bytes that are sent now arrive, or that they break their
// connection.
func (m *Mem) send(from, to string, n int) (at time.Time, breaks bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.links[[2]string{from, to}]
	d := m.latency + l.latency
	if j := m.jitter + l.jitter; j > 0 {
		d += time.Duration(m.rng.Int64N(int64(j)))
	}
	if l.bandwidth > 0 {
		d += time.Duration(n) * time.Second / time.Duration(l.bandwidth)
	}
	return time.Now().Add(d), l.resets > 0 && m.rng.Float64() < l.resets
}

type memHost struct {
	m    *Mem
	name string
	life int
}

// gone reports whether the host was reset. h.m.mu is held.
func (h *memHost) gone() bool { return h.life != h.m.lives[h.name] }

// Listen listens on addr; port 0 picks one.
func (h *memHost) Listen(addr string) (net.Listener, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.gone() {
		return nil, fmt.Errorf("listen %s: %w", addr, net.ErrClosed)
	}
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
		isCut := h.m.links[[2]string{h.name, to}].cut || h.m.links[[2]string{to, h.name}].cut
		gone := h.gone()
		h.m.mu.Unlock()
		if gone || !known || (l == nil && !isCut) {
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
