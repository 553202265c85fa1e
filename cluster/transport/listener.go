package transport

import (
	"context"
	"net"
	"sync"
)

// conn is a tracked connection, so that Close can end it.
type conn struct {
	net.Conn
	t *Transport
}

func (t *Transport) track(raw net.Conn) *conn {
	c := &conn{Conn: raw, t: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = raw.Close()
		return nil
	}
	t.conns[c] = struct{}{}
	return c
}

// Close closes the connection and forgets it.
func (c *conn) Close() error {
	c.t.mu.Lock()
	delete(c.t.conns, c)
	c.t.mu.Unlock()
	return c.Conn.Close()
}

// listener is a net.Listener that is fed with connections.
type listener struct {
	addr  address
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newListener(a address) *listener {
	return &listener{addr: a, queue: make(chan net.Conn, acceptQueue), done: make(chan struct{})}
}

func (l *listener) give(ctx context.Context, c net.Conn) bool {
	select {
	case l.queue <- c:
		return true
	case <-l.done:
	case <-ctx.Done():
	}
	return false
}

// Accept gives the next connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. It may be called again.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func closed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// Addr is the address peers know.
func (l *listener) Addr() net.Addr { return l.addr }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
