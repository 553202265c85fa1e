package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// pair is a connection in memory between hosts a and b.
func pair(t *testing.T, m *Mem) (a, b net.Conn) {
	t.Helper()
	ln, err := m.Host("b").Listen("b:0")
	if err != nil {
		t.Fatal(err)
	}
	if a, err = m.Host("a").Dial(t.Context(), ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// arrives tells after what time c can read want.
func arrives(t *testing.T, c net.Conn, want string) time.Duration {
	t.Helper()
	begin := time.Now()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("read %q, %v, want %q", got, err, want)
	}
	return time.Since(begin)
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if n, err := c.Write([]byte(s)); err != nil || n != len(s) {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
}

func TestMem_cut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMem(1)
		a, b := pair(t, m)
		m.Cut("a", "b")
		send(t, a, "held")
		send(t, b, "passes")
		if d := arrives(t, a, "passes"); d != 0 {
			t.Errorf("the other direction took %s", d)
		}
		if err := b.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read over a cut link: %v", err)
		}
		_ = b.SetReadDeadline(time.Time{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := m.Host("a").Dial(ctx, b.LocalAddr().String()); err == nil || ctx.Err() == nil {
			t.Errorf("dialled over a cut link: %v", err)
		}
		go func() {
			time.Sleep(time.Second)
			m.Heal()
		}()
		if d := arrives(t, b, "held"); d != time.Second {
			t.Errorf("what was held arrived after %s", d)
		}
	})
}

func TestMem_latency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMem(1)
		a, b := pair(t, m)
		m.Latency(10*time.Millisecond, 5*time.Millisecond)
		for range 100 {
			send(t, a, "x")
			if d := arrives(t, b, "x"); d < 10*time.Millisecond || d >= 15*time.Millisecond {
				t.Fatalf("it took %s", d)
			}
		}
		for _, s := range []string{"1", "2", "3", "4", "5"} {
			send(t, a, s)
		}
		arrives(t, b, "12345") // jitter keeps the order of a connection
	})
}

// TestMem_Reset: the end of a process ends its connections on both sides, also
// those that it had not accepted yet, and frees its address.
func TestMem_Reset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMem(1)
		ln, err := m.Host("b").Listen("b:1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Host("b").Listen("b:1"); err == nil {
			t.Error("an address was bound twice")
		}
		a, err := m.Host("a").Dial(t.Context(), "b:1")
		if err != nil {
			t.Fatal(err)
		}
		m.Reset("b")
		if _, err := a.Read(make([]byte, 1)); err == nil {
			t.Error("read from a process that has ended")
		}
		if _, err := a.Write([]byte("x")); err == nil {
			t.Error("wrote to a process that has ended")
		}
		for {
			c, err := ln.Accept()
			if err != nil {
				break
			}
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("the dead process reads")
			}
		}
		if _, err := m.Host("a").Dial(t.Context(), "b:1"); err == nil {
			t.Error("dialled a process that has ended")
		}
		if _, err := m.Host("b").Listen("b:1"); err != nil {
			t.Errorf("its address is not free: %v", err)
		}
	})
}

// TestMem_resetHost: what is left of a process that was reset reaches nobody,
// its next life does.
func TestMem_resetHost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMem(1)
		old := m.Host("a")
		ln, err := m.Host("b").Listen("b:1")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ln.Close() }()
		m.Reset("a")
		if _, err := old.Dial(t.Context(), "b:1"); err == nil {
			t.Error("a dead process dialled")
		}
		if _, err := old.Listen("a:1"); err == nil {
			t.Error("a dead process listens")
		}
		if _, err := m.Host("a").Dial(t.Context(), "b:1"); err != nil {
			t.Errorf("its next life cannot dial: %v", err)
		}
	})
}

// TestMem_Delay: one direction of one link is slow, and connections over it
// overtake each other while each keeps its order.
func TestMem_Delay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMem(1)
		m.Delay("a", "b", 10*time.Millisecond, time.Second)
		overtook := false
		for range 20 {
			a1, b1 := pair(t, m)
			a2, b2 := pair(t, m)
			send(t, b1, "x")
			if d := arrives(t, a1, "x"); d != 0 {
				t.Fatalf("the other direction took %s", d)
			}
			send(t, a1, "1")
			send(t, a1, "2")
			send(t, a2, "3")
			var first, second time.Duration
			done := make(chan struct{})
			go func() {
				defer close(done)
				second = arrives(t, b2, "3")
			}()
			first = arrives(t, b1, "12")
			<-done
			overtook = overtook || second < first
			if min(first, second) < 10*time.Millisecond {
				t.Fatalf("they took %s and %s", first, second)
			}
		}
		if !overtook {
			t.Error("no connection overtook another")
		}
		m.Join("b")
		a, b := pair(t, m)
		send(t, a, "x")
		if d := arrives(t, b, "x"); d != 0 {
			t.Errorf("it took %s after the link was mended", d)
		}
	})
}

// TestMem_Break: what was on its way is lost, and both ends hear of it.
func TestMem_Break(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]func(m *Mem, a net.Conn) error{
		"at once": func(m *Mem, _ net.Conn) error {
			m.Break("b", "a")
			return nil
		},
		"by a write": func(m *Mem, a net.Conn) error {
			m.Unreliable("a", "b", 1)
			defer m.Heal()
			if _, err := a.Write([]byte("x")); err == nil {
				return errors.New("the write went through")
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := NewMem(1)
				a, b := pair(t, m)
				m.Latency(time.Second, 0)
				send(t, a, "lost")
				if err := how(m, a); err != nil {
					t.Fatal(err)
				}
				for name, c := range map[string]net.Conn{"a": a, "b": b} {
					if n, err := c.Read(make([]byte, 4)); n != 0 || err == nil || errors.Is(err, io.EOF) {
						t.Errorf("%s reads %d bytes, %v", name, n, err)
					}
					if _, err := c.Write([]byte("x")); err == nil {
						t.Errorf("%s writes on", name)
					}
				}
				a, b = pair(t, m)
				send(t, a, "again")
				arrives(t, b, "again")
			})
		})
	}
}

// TestMem_closedListener: whoever was not accepted yet is told when the
// listener closes.
func TestMem_closedListener(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMem(1)
		ln, err := m.Host("b").Listen("b:1")
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.Host("a").Dial(t.Context(), "b:1")
		if err != nil {
			t.Fatal(err)
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection that nobody will accept: %v", err)
		}
	})
}

// TestMem_limit: a writer waits when memBuffer bytes are on the way.
func TestMem_limit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, NewMem(1))
		send(t, a, string(make([]byte, memBuffer)))
		if err := a.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("one byte above: %v", err)
		}
		_ = a.SetWriteDeadline(time.Time{})
		go func() { _, _ = io.CopyN(io.Discard, b, 1) }()
		send(t, a, "x")
		_ = a.Close()
		if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write after Close: %v", err)
		}
		if n, err := io.Copy(io.Discard, b); err != nil || n < memBuffer-1 {
			t.Errorf("%d bytes were left, %v", n, err)
		}
		if n, err := b.Write(nil); n != 0 || err != nil {
			t.Errorf("an empty write: %d, %v", n, err)
		}
	})
}
