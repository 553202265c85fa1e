package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// prefix makes the first bytes of a raft connection.
func prefix(group, target string) []byte {
	b := append([]byte{kindRaft, byte(len(group))}, group...)
	return append(append(b, byte(len(target))), target...)
}

// reader is a net.Conn of bytes.
type reader struct {
	net.Conn
	io.Reader
}

func (r reader) Read(b []byte) (int, error) { return r.Reader.Read(b) }

func TestReadPrefix(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, c := range map[string]struct {
		in            []byte
		kind          byte
		group, target string
		bad           bool
	}{
		"call":                    {in: []byte{kindCall}, kind: kindCall},
		"raft":                    {in: prefix("g", "n.0"), kind: kindRaft, group: "g", target: "n.0"},
		"raft for anybody":        {in: prefix("g", ""), kind: kindRaft, group: "g"},
		"longest names":           {in: prefix(long(MaxGroupName), long(MaxServerID)), kind: kindRaft, group: long(MaxGroupName), target: long(MaxServerID)},
		"group one too long":      {in: prefix(long(MaxGroupName+1), "n.0"), bad: true},
		"server one too long":     {in: prefix("g", long(MaxServerID+1)), bad: true},
		"nothing":                 {bad: true},
		"unknown kind 0":          {in: []byte{0}, bad: true},
		"unknown kind 3":          {in: []byte{3}, bad: true},
		"the start of HTTP":       {in: []byte("GET / HTTP/1.1\r\n"), bad: true},
		"the start of TLS":        {in: []byte{0x16, 3, 1}, bad: true},
		"ends after kind":         {in: prefix("g", "n.0")[:1], bad: true},
		"ends in the group":       {in: prefix("group", "n.0")[:4], bad: true},
		"ends before the server":  {in: prefix("g", "n.0")[:3], bad: true},
		"ends in the server name": {in: prefix("g", "n.0")[:5], bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := bytes.NewReader(bytes.Clone(c.in))
			if !c.bad {
				r = bytes.NewReader(append(bytes.Clone(c.in), "rest"...))
			}
			kind, group, target, err := readPrefix(reader{Reader: r})
			if (err != nil) != c.bad {
				t.Fatalf("got %v", err)
			}
			if kind != c.kind || group != c.group || target != c.target {
				t.Errorf("got %d %q %q, want %d %q %q", kind, group, target, c.kind, c.group, c.target)
			}
			if left, _ := io.ReadAll(r); !c.bad && string(left) != "rest" {
				t.Errorf("%q is left of what follows the prefix", left)
			}
		})
	}
}

// FuzzReadPrefix: any bytes give a prefix within the limits, made of exactly
// what was read, or an error.
func FuzzReadPrefix(f *testing.F) {
	f.Add([]byte{kindCall})
	f.Add(prefix("group", "n1.0123456789abcdef"))
	f.Add([]byte{kindRaft, 255})
	f.Add([]byte{kindRaft, 0, 129})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		kind, group, target, err := readPrefix(reader{Reader: r})
		if err != nil {
			if kind != 0 || group != "" || target != "" {
				t.Errorf("%d %q %q beside the error %v", kind, group, target, err)
			}
			return
		}
		if len(group) > MaxGroupName || len(target) > MaxServerID {
			t.Errorf("names of %d and %d bytes", len(group), len(target))
		}
		want := []byte{kindCall}
		if kind == kindRaft {
			want = prefix(group, target)
		}
		if got := in[:len(in)-r.Len()]; !bytes.Equal(got, want) {
			t.Errorf("read %x as %x", got, want)
		}
	})
}

// ends waits until the other side closes c.
func ends(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		t.Errorf("the connection is open: %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func streamOf(t *testing.T, tr *Transport) raft.StreamLayer {
	t.Helper()
	s, err := tr.Raft("g")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTransport_Raft_target: INV transport-1, a raft stream reaches the server
// it is meant for or none.
func TestTransport_Raft_target(t *testing.T) {
	t.Parallel()
	for name, where := range networks() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBook()
			server, client := b.open(t, "server", where("server")), b.open(t, "client", where("client"))
			dial := func(addr string) net.Conn {
				t.Helper()
				c, err := streamOf(t, client).Dial(raft.ServerAddress(addr), 5*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				return c
			}
			accepted := make(chan net.Conn, 8)
			s := streamOf(t, server)
			go func() {
				for {
					c, err := s.Accept()
					if err != nil {
						close(accepted)
						return
					}
					accepted <- c
				}
			}()
			for _, other := range []string{"server.1", "server", "server.00", "client.0", strings.Repeat("x", MaxServerID)} {
				ends(t, dial(RaftAddress(other, server.Addr())))
			}
			c := dial(RaftAddress("server.0", server.Addr()))
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			got := <-accepted
			hello := make([]byte, 5)
			if _, err := io.ReadFull(got, hello); err != nil || string(hello) != "hello" {
				t.Errorf("the stream begins with %q, %v", hello, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if c, err := s.Dial(raft.ServerAddress(RaftAddress("client.0", client.Addr())), time.Second); err == nil {
				t.Error("a closed group dials")
				_ = c.Close()
			}
			closeOf(t, server)
			for range accepted {
				t.Error("a stream for another server was accepted")
			}
			for _, bad := range []string{RaftAddress(strings.Repeat("x", MaxServerID+1), "a:1"), RaftAddress("", "a:1"), "a:1"} {
				if _, err := streamOf(t, client).Dial(raft.ServerAddress(bad), time.Second); err == nil {
					t.Errorf("dialled %q", bad)
				}
			}
		})
	}
}

// TestTransport_refuses: what is wrong with a connection ends it and nothing else.
func TestTransport_refuses(t *testing.T) {
	t.Parallel()
	b := newBook()
	server, client := b.open(t, "server"), b.open(t, "client")
	server.Handle("echo", echo)
	for name, first := range map[string][]byte{
		"an unknown kind":        {9},
		"HTTP without its kind":  []byte("POST /call/echo HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a group it has not":     prefix("h", "server.0"),
		"a group without name":   prefix("", "server.0"),
		"a group too long":       {kindRaft, MaxGroupName + 1},
		"a call that is no HTTP": append([]byte{kindCall}, "\x00\x00\r\n\r\n\r\n"...),
	} {
		c, err := TCP{}.Dial(t.Context(), server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(first); err != nil {
			t.Fatal(err)
		}
		t.Log(name)
		if first[0] == kindCall {
			_, _ = io.Copy(io.Discard, c) // a status of HTTP, then the end
		}
		ends(t, c)
		_ = c.Close()
	}
	if got, err := client.Call(t.Context(), "server", "echo", []byte("x")); err != nil || string(got) != "client says x" {
		t.Errorf("a good call among bad ones: %q, %v", got, err)
	}
	if _, err := client.Raft("h"); err == nil {
		t.Error("a stream layer of an unknown group")
	}
}

// TestTransport_handshake: a connection that does not say what it is for is
// closed after HandshakeTimeout; MaxPending of them may be open at a time.
func TestTransport_handshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, b := NewMem(1), newBook()
		server, client := b.open(t, "server", on(m, "server")), b.open(t, "client", on(m, "client"))
		server.Handle("echo", echo)
		begin := time.Now()
		var slow []net.Conn
		open := func() net.Conn {
			c, err := m.Host("rude").Dial(t.Context(), "server:1")
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return c
		}
		for range MaxPending {
			slow = append(slow, open())
		}
		for _, c := range slow[1:] { // none or one byte: neither is enough
			_, _ = c.Write([]byte{kindRaft})
		}
		ends(t, open()) // one above the limit
		if d := time.Since(begin); d != 0 {
			t.Errorf("refused after %s", d)
		}
		// As many as are accepted and wait for their first byte: a call needs a
		// place too, and gets one when the first of them is given up.
		if _, err := client.Call(t.Context(), "server", "echo", nil); err == nil {
			t.Error("a call was accepted above the limit")
		}
		for _, c := range slow {
			ends(t, c)
		}
		if d := time.Since(begin); d != HandshakeTimeout {
			t.Errorf("slow connections were closed after %s, want %s", d, HandshakeTimeout)
		}
		if got, err := client.Call(t.Context(), "server", "echo", []byte("x")); err != nil || string(got) != "client says x" {
			t.Errorf("a call afterwards: %q, %v", got, err)
		}
	})
}

// badListener fails for a while, as when no file descriptor is left.
type badListener struct {
	net.Listener
	failures int
}

func (l *badListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

type badNetwork struct{ Network }

func (n badNetwork) Listen(addr string) (net.Listener, error) {
	ln, err := n.Network.Listen(addr)
	return &badListener{ln, 5}, err
}

// TestTransport_acceptFails: the port is served again when accepting works again.
func TestTransport_acceptFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, b := NewMem(1), newBook()
		server := b.open(t, "server", on(m, "server"), func(o *Options) { o.Network = badNetwork{o.Network} })
		client := b.open(t, "client", on(m, "client"))
		server.Handle("echo", echo)
		if _, err := client.Call(t.Context(), "server", "echo", nil); err != nil {
			t.Error(err)
		}
	})
}
