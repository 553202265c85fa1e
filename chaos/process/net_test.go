package process

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// wire is a Net with one path: from the test, as n1, to the backend n2.
type wire struct {
	t       *testing.T
	net     *Net
	node    *Node
	backend net.Listener
}

var (
	request = Path{"n1", "n2"}
	reply   = Path{"n2", "n1"}
)

func newWire(t *testing.T) *wire {
	t.Helper()
	return newWireOf(t, func(*Net) func(net.Conn) (string, error) {
		return func(net.Conn) (string, error) { return "n1", nil }
	})
}

// newWireOf makes one with another way to tell who dials.
func newWireOf(t *testing.T, dialer func(*Net) func(net.Conn) (string, error)) *wire {
	t.Helper()
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &wire{t: t, net: newNet(1, nil), backend: backend}
	w.net.dialer = dialer(w.net)
	w.node = &Node{id: "n2", peer: backend.Addr().String(), api: backend.Addr().String()}
	must(t, w.net.attach(w.node))
	t.Cleanup(func() {
		_ = backend.Close()
		if err := w.net.close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *wire) dial() net.Conn { return w.dialTo(w.node.peerProxy) }

func (w *wire) dialTo(addr string) net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", addr)
	must(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *wire) accept() net.Conn {
	w.t.Helper()
	must(w.t, w.backend.(*net.TCPListener).SetDeadline(time.Now().Add(10*time.Second)))
	c, err := w.backend.Accept()
	must(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	_, err := io.WriteString(c, s)
	must(t, err)
}

func want(t *testing.T, c net.Conn, s string) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	b := make([]byte, len(s))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != s {
		t.Fatalf("read %q, %v; want %q", b, err, s)
	}
}

// wantSilence reads nothing for a moment.
func wantSilence(t *testing.T, c net.Conn) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v; want silence", n, err)
	}
}

func wantReset(t *testing.T, c net.Conn) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read %d bytes, %v; want a reset", n, err)
	}
}

func TestNet_carries(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a, b := w.dial(), w.accept()
	send(t, a, "ping")
	want(t, b, "ping")
	send(t, b, "pong")
	want(t, a, "pong")
	// The end of one direction leaves the other.
	must(t, a.(*net.TCPConn).CloseWrite())
	if rest, err := io.ReadAll(b); err != nil || len(rest) > 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
	send(t, b, "late")
	want(t, a, "late")
}

func TestNet_cutOneWay(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a, b := w.dial(), w.accept()
	undo := w.net.Change([]Path{reply}, func(s *Shape) { s.Cut = true })
	send(t, a, "ping")
	want(t, b, "ping")
	send(t, b, "pong")
	wantSilence(t, a)
	undo()
	want(t, a, "pong")
	if s := w.net.Shape(reply); s != (Shape{}) {
		t.Errorf("after undo the path is %+v", s)
	}
}

// The end of a process does not get through a cut either.
func TestNet_cutHidesEnd(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a, b := w.dial(), w.accept()
	w.net.Set(reply, Shape{Cut: true})
	abort(b)
	wantSilence(t, a)
	w.net.Heal()
	wantReset(t, a)
}

func TestNet_cutHoldsNewConnections(t *testing.T) {
	t.Parallel()
	for _, cut := range []Path{request, reply} {
		w := newWire(t)
		w.net.Set(cut, Shape{Cut: true})
		given := w.dial()
		send(t, given, "given up")
		must(t, given.Close())
		until(t, func() bool { return w.ended() == 1 })
		a := w.dial()
		send(t, a, "held")
		w.net.Heal()
		want(t, w.accept(), "held")
	}
}

// ended counts the connections whose dialler has closed.
func (w *wire) ended() int {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	n := 0
	for c := range w.net.conns {
		if c.nearEnded.Load() {
			n++
		}
	}
	return n
}

// until polls what only this process knows.
func until(t *testing.T, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("not in time")
		}
	}
}

func TestNet_sever(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a := w.dialTo(w.node.apiProxy)
	b := w.accept()
	w.net.Set(Path{"n2", Clients}, Shape{Sever: true})
	send(t, a, "request")
	want(t, b, "request")
	send(t, b, "answer")
	wantReset(t, a)
}

func TestNet_reset(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a, b := w.dial(), w.accept()
	if n := w.net.Reset("n1", "n3"); n != 0 {
		t.Errorf("reset %d connections of others", n)
	}
	send(t, a, "x")
	want(t, b, "x")
	if n := w.net.Reset("n2", "n1"); n != 1 {
		t.Errorf("reset %d connections, want 1", n)
	}
	wantReset(t, a)
	wantReset(t, b)
}

func TestNet_slow(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a, b := w.dial(), w.accept()
	w.net.Set(request, Shape{Latency: 60 * time.Millisecond, Jitter: 20 * time.Millisecond})
	begin := time.Now()
	send(t, a, "late")
	want(t, b, "late")
	if took := time.Since(begin); took < 60*time.Millisecond {
		t.Errorf("with 60 ms latency it took %s", took)
	}
	w.net.Set(request, Shape{BytesPerSecond: 10_000})
	begin = time.Now()
	big := string(bytes.Repeat([]byte("x"), 2000))
	send(t, a, big)
	want(t, b, big)
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("2000 bytes at 10000 a second took %s", took)
	}
}

// What is delayed arrives in order, however the delay changes.
func TestNet_order(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a, b := w.dial(), w.accept()
	var all bytes.Buffer
	for i := range 50 {
		w.net.Set(request, Shape{Jitter: time.Duration(i%3) * 10 * time.Millisecond})
		piece := string(rune('a'+i%26)) + "."
		all.WriteString(piece)
		send(t, a, piece)
	}
	want(t, b, all.String())
}

// wantRefused dials and is reset, at once or a moment later.
func (w *wire) wantRefused() {
	w.t.Helper()
	c, err := net.Dial("tcp", w.node.peerProxy)
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	must(w.t, err)
	defer func() { _ = c.Close() }()
	wantReset(w.t, c)
}

func TestNet_deadNode(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	must(t, w.backend.Close())
	w.wantRefused()
}

// While the process behind it is away a port refuses, so that who dials knows
// that nothing came of it; it opens when something listens again.
func TestNet_refusesWhileDown(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	refused := func() {
		t.Helper()
		for _, addr := range []string{w.node.apiProxy, w.node.peerProxy} {
			if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dial to a dead node: %v", err)
			}
		}
	}
	backend := w.backend.Addr().String()
	must(t, w.backend.Close())
	must(t, w.net.down(w.node))
	refused()
	ended := make(chan struct{})
	w.net.up(w.node, ended)
	refused() // it is there, and does not listen yet
	var err error
	w.backend, err = net.Listen("tcp", backend)
	must(t, err)
	w.awaitOpen()
	// One that closes its port before it ends.
	must(t, w.backend.Close())
	w.wantRefused() // this one finds out
	until(t, func() bool {
		_, err := net.Dial("tcp", w.node.peerProxy)
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	close(ended)
	must(t, w.net.down(w.node))
	refused()
}

// awaitOpen waits until a connection gets through.
func (w *wire) awaitOpen() {
	w.t.Helper()
	go func() { // also those that only look whether somebody listens
		for l := w.backend; ; {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	until(w.t, func() bool {
		c, err := net.Dial("tcp", w.node.peerProxy)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// Behind a cut nobody hears that a node is dead: the connection is neither made
// nor refused.
func TestNet_deadBehindCut(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	must(t, w.backend.Close())
	must(t, w.net.down(w.node))
	w.net.Set(reply, Shape{Cut: true})
	a := w.dial()
	send(t, a, "held")
	wantSilence(t, a)
	if _, err := net.Dial("tcp", w.node.apiProxy); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("clients are not behind the cut: %v", err)
	}
	w.net.Heal()
	wantReset(t, a)
	if _, err := net.Dial("tcp", w.node.peerProxy); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the cut the dead node says %v", err)
	}
}

func TestNet_unknownDialer(t *testing.T) {
	t.Parallel()
	// No node of it has a process.
	newWireOf(t, func(n *Net) func(net.Conn) (string, error) { return n.owner }).wantRefused()
}

func TestNet_detach(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a, b := w.dial(), w.accept()
	send(t, a, "x")
	want(t, b, "x")
	w.net.detach(w.node)
	wantReset(t, a)
	if c, err := net.Dial("tcp", w.node.peerProxy); err == nil {
		_ = c.Close()
		t.Error("a node that is gone is listened for")
	}
}
