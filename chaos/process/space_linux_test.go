package process

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// apart runs the test that calls it again, in a network namespace of its own,
// and passes on how it ended. There it returns true, and the test goes on. env
// is for that process.
func apart(t *testing.T, env ...string) bool {
	t.Helper()
	if Apart() {
		must(t, LoopbackUp())
		return true
	}
	needRoot(t)
	self, err := os.Executable()
	must(t, err)
	var out strings.Builder
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	code, err := RunApart(t.Context(), cmd)
	if errors.Is(err, os.ErrPermission) { // root of a container, for example
		t.Skip(err)
	}
	if code != 0 || err != nil || !strings.Contains(out.String(), "--- PASS: "+t.Name()) {
		t.Errorf("in a network namespace: exit code %d, %v", code, err)
	}
	t.Log(out.String())
	return false
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
}

func TestNamespaces_notInTheMachines(t *testing.T) {
	t.Parallel()
	if Apart() {
		t.Skip("this process has a network of its own")
	}
	o := Options{Binary: "belfry", Dir: t.TempDir(), Nodes: 3, AdminKey: strings.Repeat("k", 16), Namespaces: true}
	_, openErr := Open(t.Context(), o)
	_, spaceErr := newSpace()
	for what, err := range map[string]error{"Namespaces": Namespaces(), "Open": openErr, "newSpace": spaceErr, "LoopbackUp": LoopbackUp(), "ProbeNamespaces": ProbeNamespaces()} {
		if err == nil {
			t.Errorf("%s changes the network of the machine", what)
		}
	}
}

func TestRunApart(t *testing.T) {
	t.Parallel()
	needRoot(t)
	code, err := RunApart(t.Context(), exec.Command("sh", "-c", "exit 3"))
	if errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if code != 3 || err != nil {
		t.Errorf("exit 3: %d, %v", code, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, err := RunApart(ctx, exec.Command("sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.01; done")); err == nil && code != 4 {
		t.Errorf("asked to stop: %d", code)
	}
	if _, err := RunApart(t.Context(), exec.Command("sh", "-c", "kill -9 $$")); err == nil {
		t.Error("no error over a process that was killed")
	}
	if _, err := RunApart(t.Context(), exec.Command("/does/not/exist")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what does not exist: %v", err)
	}
}

// town is a space with two hosts and a connection between them, from a to b.
type town struct {
	t    *testing.T
	net  *Net
	a, b *host

	listeners map[*host]net.Listener
	ab, ba    net.Conn
}

func newTown(t *testing.T) *town {
	t.Helper()
	s, err := newSpace()
	must(t, err)
	w := &town{t: t, net: newNet(1, s), listeners: map[*host]net.Listener{}}
	t.Cleanup(func() {
		if err := w.net.close(); err != nil {
			t.Error(err)
		}
	})
	for id, h := range map[string]**host{"a": &w.a, "b": &w.b} {
		*h, err = s.add(id)
		must(t, err)
		must(t, (*h).within(func() (err error) {
			w.listeners[*h], err = net.Listen("tcp4", (*h).endpoint(spacePeer))
			return err
		}))
		t.Cleanup(func() { _ = w.listeners[*h].Close() })
	}
	w.ab, err = w.dial(w.a, w.b, 5*time.Second)
	must(t, err)
	w.ba, err = w.listeners[w.b].Accept()
	must(t, err)
	t.Cleanup(func() { _, _ = w.ab.Close(), w.ba.Close() })
	return w
}

// dial connects from one host to another.
func (w *town) dial(from, to *host, within time.Duration) (c net.Conn, err error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	err = from.within(func() error {
		var d net.Dialer
		c, err = d.DialContext(ctx, "tcp4", to.endpoint(spacePeer))
		return err
	})
	return c, err
}

// datagrams sends one from each host to the other and says which arrive.
func (w *town) datagrams() (toB, toA bool) {
	w.t.Helper()
	sockets := map[*host]*net.UDPConn{}
	for _, h := range []*host{w.a, w.b} {
		must(w.t, h.within(func() (err error) {
			sockets[h], err = net.ListenUDP("udp4", &net.UDPAddr{IP: h.addr.AsSlice(), Port: spaceAPI})
			return err
		}))
		defer func() { _ = sockets[h].Close() }()
	}
	for from, to := range map[*host]*host{w.a: w.b, w.b: w.a} {
		_, err := sockets[from].WriteToUDP([]byte("x"), &net.UDPAddr{IP: to.addr.AsSlice(), Port: spaceAPI})
		must(w.t, err)
	}
	arrived := func(h *host) bool {
		must(w.t, sockets[h].SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		_, err := sockets[h].Read(make([]byte, 8))
		return err == nil
	}
	return arrived(w.b), arrived(w.a)
}

// What one host sends is lost, connections that are there and new ones alike;
// what is sent to it arrives. After healing the connections go on.
func TestSpace_cutOneWay(t *testing.T) {
	if !apart(t) {
		return
	}
	w := newTown(t)
	path := Path{"a", "b"}
	for range 2 { // healing leaves nothing
		undo := w.net.Change([]Path{path}, func(s *Shape) { s.Cut = true })
		send(t, w.ab, "lost?")
		wantSilence(t, w.ba)
		send(t, w.ba, "heard")
		want(t, w.ab, "heard") // though it cannot say so
		if toB, toA := w.datagrams(); toB || !toA {
			t.Errorf("of datagrams arrived: from a to b %t, from b to a %t", toB, toA)
		}
		for _, ends := range [][2]*host{{w.a, w.b}, {w.b, w.a}} {
			c, err := w.dial(ends[0], ends[1], 200*time.Millisecond)
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("from %s to %s: %v, %v; a handshake needs both directions", ends[0].id, ends[1].id, c, err)
			}
		}
		undo()
		want(t, w.ba, "lost?")
	}
	if toB, toA := w.datagrams(); !toB || !toA {
		t.Errorf("after healing: from a to b %t, from b to a %t", toB, toA)
	}
	w.net.Set(path, Shape{Cut: true})
	w.net.Heal()
	c, err := w.dial(w.a, w.b, 5*time.Second)
	must(t, err)
	must(t, c.Close())
}

// The suite is reached, and reaches all, whatever is cut between them; what is
// not possible is a panic; hosts that were taken away leave no trace.
func TestSpace_hosts(t *testing.T) {
	if !apart(t) {
		return
	}
	must(t, ProbeNamespaces()) // it leaves nothing that would be in the way
	w := newTown(t)
	both := []Path{{"a", "b"}, {"b", "a"}}
	w.net.Change(both, func(s *Shape) { s.Cut = true })
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp4", w.a.endpoint(spacePeer))
	must(t, err)
	must(t, c.Close())

	refused := func(what string, f func()) {
		defer func() {
			if recover() == nil {
				t.Errorf("%s does nothing, and nobody hears of it", what)
			}
		}()
		f()
	}
	refused("latency", func() { w.net.Set(both[0], Shape{Latency: time.Second}) })
	refused("a narrow link", func() { w.net.Set(both[0], Shape{Cut: true, BytesPerSecond: 1}) })
	refused("a reset", func() { w.net.Reset("a", "b") })

	_, err = w.net.space.add("a")
	if err == nil {
		t.Error("two hosts have one name")
	}
	must(t, w.net.space.remove(w.b))
	must(t, w.net.space.remove(w.b)) // it is gone already
	w.net.Heal()                     // of paths that lead nowhere
	before, err := w.a.nl.NeighList(w.a.eth, 2)
	must(t, err)
	x, err := w.net.space.add("c")
	must(t, err)
	after, err := w.a.nl.NeighList(w.a.eth, 2)
	must(t, err)
	if len(before) != 1 || len(after) != 2 || x.addr == w.b.addr {
		t.Errorf("a knows %d machines without b and %d with c, which has the address %s; b had %s", len(before), len(after), x.addr, w.b.addr)
	}
	w.net.space.made = maxHosts
	if _, err := w.net.space.add("d"); err == nil {
		t.Errorf("there are more than %d hosts", maxHosts)
	}
	must(t, w.net.space.close())
	for _, name := range []string{bridgeName, "a", "b", "c"} {
		if l, err := net.InterfaceByName(name); err == nil {
			t.Errorf("after the end there is %+v", l)
		}
	}
	s, err := newSpace() // in place of the one before
	must(t, err)
	must(t, s.close())
}
