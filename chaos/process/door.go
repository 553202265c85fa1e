package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// door is where a node is listened for: its API or its port for peers. While
// the process behind it is not there the port refuses, as that of a host whose
// process is dead does. A proxy that accepted first would lie: who was accepted
// has sent, and cannot know any more that nothing came of it.
type door struct {
	node    string
	addr    *net.TCPAddr
	backend string
	who     func(net.Conn) (string, error)
	peers   bool // of the other nodes, or of clients

	// Guarded by Net.mu.
	listener net.Listener    // nil: it refuses
	dead     bool            // nothing listens behind it
	life     int             // how often that was found
	ended    <-chan struct{} // closed when the present process is over; nil: it never was
}

// attach listens for a node. In a namespace of its own its port for peers is
// reached as it is.
func (t *Net) attach(n *Node) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	clients := func(net.Conn) (string, error) { return Clients, nil }
	api, err := t.newDoor(n.id, n.api, clients)
	if err != nil {
		return err
	}
	n.apiProxy, n.peerProxy = api.addr.String(), n.peer
	t.doors[n.id] = []*door{api}
	if t.space == nil {
		peer, err := t.newDoor(n.id, n.peer, func(c net.Conn) (string, error) { return t.dialer(c) })
		if err != nil {
			api.shut()
			delete(t.doors, n.id)
			return err
		}
		peer.peers, n.peerProxy = true, peer.addr.String()
		t.doors[n.id] = append(t.doors[n.id], peer)
	}
	t.nodes = append(t.nodes, n)
	return nil
}

// suite is the address of this process that nodes and clients reach.
func (t *Net) suite() net.IP {
	if t.space != nil {
		return t.space.suite().AsSlice()
	}
	return loopback
}

// newDoor listens. t.mu is held.
func (t *Net) newDoor(node, backend string, who func(net.Conn) (string, error)) (*door, error) {
	l, err := listenLow(t.suite())
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", node, err)
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listen for %s: no TCP address", node), l.Close())
	}
	d := &door{node: node, addr: addr, backend: backend, who: who, listener: l}
	t.serve(d)
	return d, nil
}

// shut has a door refuse. Net.mu is held.
func (d *door) shut() {
	if d.listener != nil {
		_ = d.listener.Close()
		d.listener = nil
	}
}

// serve accepts until the listener is closed. t.mu is held.
func (t *Net) serve(d *door) {
	l := d.listener
	t.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return // closed; a listener within this machine has no other reason
			}
			t.wg.Go(func() { t.carry(near, d) })
		}
	})
}

// down has the doors of a node refuse. It returns what went wrong with a door so
// far.
func (t *Net) down(n *Node) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range t.doors[n.id] {
		d.dead, d.life = true, d.life+1
	}
	t.review(n.id)
	return t.err
}

// up opens each door of a node as soon as something listens behind it, unless
// the process has ended by then.
func (t *Net) up(n *Node, ended <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range t.doors[n.id] {
		d.ended = ended
		t.await(d)
	}
}

// refused is told that nothing listens behind a door, though the process is
// there: it is stopping, for example, and closes its ports first.
func (t *Net) refused(d *door) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d.dead || d.ended == nil || t.closed {
		return
	}
	d.dead, d.life = true, d.life+1
	t.review(d.node)
	t.await(d)
}

// await opens a door when something listens behind it. t.mu is held.
func (t *Net) await(d *door) {
	life, ended := d.life, d.ended
	t.wg.Go(func() {
		if !listens(d.backend, ended) {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if d.life == life {
			d.dead = false
			t.review(d.node)
		}
	})
}

// listens waits until addr accepts. false: the process has ended.
func listens(addr string, ended <-chan struct{}) bool {
	const every = 3 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	d := net.Dialer{Timeout: dialTimeout}
	for {
		select {
		case <-ended:
			return false
		case <-tick.C:
			if c, err := d.DialContext(context.Background(), "tcp", addr); err == nil {
				_ = c.Close()
				return true
			}
		}
	}
}

// review opens and shuts the doors of a node. Behind a cut nobody hears that a
// port refuses, so there a dead node's door is open and what comes is held back.
// t.mu is held.
func (t *Net) review(node string) {
	for _, d := range t.doors[node] {
		switch open := !t.closed && (!d.dead || t.behindCut(d)); {
		case !open:
			d.shut()
		case d.listener == nil:
			l, err := net.ListenTCP("tcp", d.addr)
			if err != nil {
				t.err = errors.Join(t.err, fmt.Errorf("listen for %s again: %w", node, err))
				continue
			}
			d.listener = l
			t.serve(d)
		}
	}
}

// behindCut reports whether a path through the door is cut. t.mu is held.
func (t *Net) behindCut(d *door) bool {
	for p, l := range t.links {
		other := p.From
		if other == d.node {
			other = p.To
		} else if p.To != d.node {
			continue
		}
		if s, _ := l.state(); s.Cut && d.peers == (other != Clients) {
			return true
		}
	}
	return false
}
