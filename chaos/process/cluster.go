package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Crash is a process that ended though nobody had asked for it.
type Crash struct {
	Node string    `json:"node"`
	At   time.Time `json:"at"`
	// Status is how it ended, such as "exit status 1", and Output the end of its log.
	Status string `json:"status"`
	Output string `json:"output"`
}

// Cluster is some nodes and the network between them. It is safe for
// concurrent use.
type Cluster struct {
	o   Options
	net *Net
	ids *identity // nil: nodes run with --dev

	mu      sync.Mutex
	nodes   []*Node
	made    int  // nodes ever made
	formed  bool // n1 must not bootstrap again
	crashes []Crash
}

// Open starts a cluster and returns when all its nodes are ready voters, or
// with an error when ctx ends before. The caller must Close it; after an error
// nothing is left.
func Open(ctx context.Context, o Options) (_ *Cluster, err error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c := &Cluster{o: o}
	var s *space
	if o.Namespaces {
		if c.ids, err = newIdentity(o.Binary, filepath.Join(o.Dir, keysDir)); err != nil {
			return nil, err
		}
		if s, err = newSpace(); err != nil {
			return nil, err
		}
	}
	c.net = newNet(o.Seed, s)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	for range o.Nodes {
		if _, err := c.newNode(); err != nil {
			return nil, err
		}
	}
	for _, n := range c.Nodes() {
		if err := n.Start(); err != nil {
			return nil, err
		}
		if err := n.Ready(ctx); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	c.formed = true
	c.mu.Unlock()
	if _, err := c.Converge(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// newNode makes the next node without starting it.
func (c *Cluster) newNode() (*Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &Node{c: c, id: fmt.Sprintf("n%d", c.made+1)}
	n.dir = filepath.Join(c.o.Dir, n.id)
	n.log = filepath.Join(c.o.Dir, n.id+".log")
	err := os.Mkdir(n.dir, 0o700)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", n.id, err)
	}
	if c.o.Lossy {
		if n.disk, err = NewDisk(n.dir, n.dir+".disk"); err != nil {
			return nil, fmt.Errorf("make %s: %w", n.id, err)
		}
	}
	if err = c.place(n); err == nil {
		err = c.net.attach(n)
	}
	if err == nil {
		err = c.net.down(n) // until it is started
	}
	if err != nil {
		if n.disk != nil {
			err = errors.Join(err, n.disk.Close())
		}
		return nil, fmt.Errorf("make %s: %w", n.id, err)
	}
	c.made++
	c.nodes = append(c.nodes, n)
	return n, nil
}

// keysDir is in Options.Dir, for what nodes without --dev need.
const keysDir = "keys"

// place finds the addresses of a node, in a namespace of its own if nodes have
// such. The network takes that away again when it is closed.
func (c *Cluster) place(n *Node) (err error) {
	if c.net.space == nil {
		if n.api, err = freePort(); err == nil {
			n.peer, err = freePort()
		}
		return err
	}
	if n.host, err = c.net.space.add(n.id); err != nil {
		return err
	}
	n.api, n.peer = n.host.endpoint(spaceAPI), n.host.endpoint(spacePeer)
	return c.ids.node(n.id, n.host.addr)
}

// loopback is where everything listens without namespaces.
var loopback = net.IPv4(127, 0, 0, 1)

// freePort finds a port below those that systems hand out, so that nothing
// takes it while its process is down.
func freePort() (string, error) {
	l, err := listenLow(loopback)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// listenLow listens on such a port, anywhere among them: whoever else looks for
// one shall not find the same while it is let go.
func listenLow(at net.IP) (*net.TCPListener, error) {
	const first, count = 10_000, 20_000
	var last error
	for range 200 {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: at, Port: first + rand.IntN(count)}) //nolint:gosec // a port
		if err == nil {
			return l, nil
		}
		last = err
	}
	return nil, fmt.Errorf("no free port: %w", last)
}

// Nodes lists the nodes in the order they were made, dead ones included.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

// IDs lists the ids of Nodes.
func (c *Cluster) IDs() []string {
	var ids []string
	for _, n := range c.Nodes() {
		ids = append(ids, n.id)
	}
	return ids
}

// Node returns the node of that id, or nil.
func (c *Cluster) Node(id string) *Node {
	for _, n := range c.Nodes() {
		if n.id == id {
			return n
		}
	}
	return nil
}

// Net is the network between the nodes, and between clients and them.
func (c *Cluster) Net() *Net { return c.net }

// Lossy reports whether the nodes' disks can lose data and fail.
func (c *Cluster) Lossy() bool { return c.o.Lossy }

// Namespaces reports whether the nodes are in network namespaces.
func (c *Cluster) Namespaces() bool { return c.o.Namespaces }

// Host is the address of this process that nodes reach: receivers must listen
// there.
func (c *Cluster) Host() string { return c.net.suite().String() }

// AddNode starts a new node with an id of its own that joins the cluster. It
// does not wait for it to be ready.
func (c *Cluster) AddNode() (*Node, error) {
	n, err := c.newNode()
	if err != nil {
		return nil, err
	}
	return n, n.Start()
}

// DropNode kills a node for good and removes its data. That it is no member
// any more is the caller's business.
func (c *Cluster) DropNode(n *Node) error {
	n.Kill()
	c.net.detach(n)
	c.mu.Lock()
	c.nodes = slices.DeleteFunc(c.nodes, func(x *Node) bool { return x == n })
	c.mu.Unlock()
	return errors.Join(n.remove(), c.net.leave(n))
}

// Crashes lists the processes that ended by themselves so far.
func (c *Cluster) Crashes() []Crash {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.crashes)
}

func (c *Cluster) crashed(x Crash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crashes = append(c.crashes, x)
}

// Close kills all nodes, unmounts their disks and ends the network. Logs and
// data that are not on lossy disks stay in Options.Dir. It may be called again.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range c.Nodes() {
		n.Kill()
		if n.disk != nil {
			errs = append(errs, n.disk.Close())
		}
	}
	return errors.Join(append(errs, c.net.close())...)
}
