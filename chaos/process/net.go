package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Clients is the name of everybody who is not a node, for paths between
// clients and the API of a node.
const Clients = "clients"

// Path is one direction between two: what From sends To.
type Path struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Shape is what happens to bytes on a Path. The zero value is a good network.
type Shape struct {
	// Cut keeps bytes, ends of connections and new connections back until it is
	// lifted, as a network that loses every packet does. Between nodes in network
	// namespaces packets are lost, and nothing else of a Shape is possible.
	Cut bool
	// Latency is added to every piece, and up to Jitter at random on top.
	Latency, Jitter time.Duration
	// BytesPerSecond bounds the rate of each connection; 0: no bound.
	BytesPerSecond int
	// Sever resets a connection as soon as something should come through: what
	// was sent the other way has arrived, the answer never does.
	Sever bool
}

// Net is the network of a Cluster: listeners that the nodes advertise, and a
// path for every ordered pair. With Options.Namespaces the kernel carries what
// is between nodes, and the listeners are for clients only. It is safe for
// concurrent use.
type Net struct {
	watch *http.Transport // of those who watch; it goes past the network
	space *space          // nil: proxies between nodes

	// dialer says whose end of an accepted connection is the far one.
	dialer func(c net.Conn) (string, error)

	mu     sync.Mutex
	rng    *rand.Rand
	links  map[Path]*link
	doors  map[string][]*door // by node
	conns  map[*conn]struct{}
	nodes  []*Node
	err    error
	closed bool
	wg     sync.WaitGroup
}

// newNet makes a network of proxies, between nodes only where s is nil. It closes s.
func newNet(seed uint64, s *space) *Net {
	t := &Net{
		watch: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 10 * time.Second}, space: s,
		rng:   rand.New(rand.NewPCG(seed, 0x6e6574)), //nolint:gosec // jitter
		links: map[Path]*link{}, doors: map[string][]*door{}, conns: map[*conn]struct{}{},
	}
	t.dialer = t.owner
	return t
}

// link is the state of a Path.
type link struct {
	mu      sync.Mutex
	shape   Shape
	changed chan struct{} // closed at the next change
}

func (l *link) set(s Shape) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shape = s
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) state() (Shape, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shape, l.changed
}

// link finds or makes the state of a path.
func (t *Net) link(p Path) *link {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.links[p]
	if l == nil {
		l = &link{changed: make(chan struct{})}
		t.links[p] = l
	}
	return l
}

// Set gives a path another shape, for connections there are and new ones. It
// panics over one that a path between network namespaces cannot have. That the
// kernel refuses to lose packets is an error of Cluster.Close.
func (t *Net) Set(p Path, s Shape) {
	if t.kernels(p) && s != (Shape{Cut: s.Cut}) {
		panic(fmt.Sprintf("process: between network namespaces a path can be cut and nothing else: %v %+v", p, s))
	}
	t.link(p).set(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed(p)
}

// kernels reports whether the kernel carries what goes over a path.
func (t *Net) kernels(p Path) bool { return t.space != nil && p.From != Clients && p.To != Clients }

// changed has the network follow the state of a path. t.mu is held.
func (t *Net) changed(p Path) {
	if t.kernels(p) {
		s, _ := t.links[p].state()
		if err := t.space.lose(p, s.Cut); err != nil {
			t.err = errors.Join(t.err, fmt.Errorf("lose packets from %s to %s: %w", p.From, p.To, err))
		}
		return
	}
	t.review(p.From)
	t.review(p.To)
}

// Shape is that of a path.
func (t *Net) Shape(p Path) Shape {
	s, _ := t.link(p).state()
	return s
}

// Change gives several paths another shape, and returns what gives back those
// they had.
func (t *Net) Change(paths []Path, f func(*Shape)) (undo func()) {
	before := map[Path]Shape{}
	for _, p := range paths {
		before[p] = t.Shape(p)
		s := before[p]
		f(&s)
		t.Set(p, s)
	}
	return func() {
		for p, s := range before {
			t.Set(p, s)
		}
	}
}

// Heal makes all paths good.
func (t *Net) Heal() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.links {
		l.set(Shape{})
	}
	for p := range t.links {
		t.changed(p)
	}
}

// Reset breaks all connections there are between a and b, in whatever
// direction they were made, and returns how many those were. It panics where
// both are in network namespaces, for nobody can reset those connections.
func (t *Net) Reset(a, b string) int {
	if t.kernels(Path{a, b}) {
		panic("process: connections between network namespaces cannot be reset: " + a + ", " + b)
	}
	t.mu.Lock()
	var found []*conn
	for c := range t.conns {
		if c.from == a && c.to == b || c.from == b && c.to == a {
			found = append(found, c)
		}
	}
	t.mu.Unlock()
	for _, c := range found {
		c.reset()
	}
	return len(found)
}

// carry is one connection through a door, from begin to end.
func (t *Net) carry(near net.Conn, d *door) {
	from, err := d.who(near)
	if err != nil {
		abort(near) // its owner is dead already
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := &conn{
		from: from, to: d.node, near: near, ctx: ctx, cancel: cancel,
		there: t.link(Path{from, d.node}), back: t.link(Path{d.node, from}), jitter: t.jitter,
		refused: func() { t.refused(d) },
	}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		abort(near)
		return
	}
	t.conns[c] = struct{}{}
	t.mu.Unlock()
	c.run(d.backend)
	t.mu.Lock()
	delete(t.conns, c)
	t.mu.Unlock()
}

func (t *Net) jitter(up time.Duration) time.Duration {
	if up <= 0 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Duration(t.rng.Int64N(int64(up)))
}

// owner finds the node whose process has the far end of c.
func (t *Net) owner(c net.Conn) (string, error) {
	t.mu.Lock()
	nodes := slices.Clone(t.nodes)
	t.mu.Unlock()
	pids := map[int]string{}
	for _, n := range nodes {
		if pid := n.Pid(); pid != 0 {
			pids[pid] = n.id
		}
	}
	far, ok1 := c.RemoteAddr().(*net.TCPAddr)
	near, ok2 := c.LocalAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		return "", errors.New("not a TCP connection")
	}
	pid, err := socketOwner(far.AddrPort(), near.AddrPort(), pids)
	if err != nil {
		return "", err
	}
	return pids[pid], nil
}

// detach ends the listeners and connections of one node.
func (t *Net) detach(n *Node) {
	t.mu.Lock()
	for _, d := range t.doors[n.id] {
		d.shut()
	}
	delete(t.doors, n.id)
	t.nodes = slices.DeleteFunc(slices.Clone(t.nodes), func(x *Node) bool { return x == n })
	var cs []*conn
	for c := range t.conns {
		if c.from == n.id || c.to == n.id {
			cs = append(cs, c)
		}
	}
	t.mu.Unlock()
	for _, c := range cs {
		c.reset()
	}
}

// leave takes away the namespace of a node that is dead and detached.
func (t *Net) leave(n *Node) error {
	if n.host == nil {
		return nil
	}
	return t.space.remove(n.host)
}

// close ends everything and waits for it. It returns what went wrong with the
// network itself while it was there: a run over it is void.
func (t *Net) close() error {
	t.mu.Lock()
	t.closed = true
	for _, ds := range t.doors {
		for _, d := range ds {
			d.shut()
		}
	}
	var cs []*conn
	for c := range t.conns {
		cs = append(cs, c)
	}
	t.mu.Unlock()
	for _, c := range cs {
		c.reset()
	}
	t.wg.Wait()
	t.watch.CloseIdleConnections()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.space != nil {
		return errors.Join(t.err, t.space.close())
	}
	return t.err
}
