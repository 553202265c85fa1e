package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"example.com/belfry/fsm/model"
)

// TestTransport_Call_outcomes: what a handler answers is what the caller gets,
// on sockets and in memory.
func TestTransport_Call_outcomes(t *testing.T) {
	t.Parallel()
	full := &model.Error{
		Code: model.CodeLimit, Message: "slow down", Field: "a.b", RetryAfter: 7,
		Fields: []model.FieldError{{Field: "c", Message: "also wrong"}},
	}
	for name, where := range networks() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBook()
			server := b.open(t, "server", where("server"))
			var observed []model.Code
			client := b.open(t, "client", where("client"), func(o *Options) {
				o.Observe = func(c model.Code) { observed = append(observed, c) }
			})
			server.Handle("echo", echo)
			server.Handle("model", func(context.Context, string, []byte) ([]byte, error) {
				return nil, fmt.Errorf("wrapped: %w", full.WithCause(errors.New("cause")))
			})
			server.Handle("plain", func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("canary") })
			server.Handle("empty", func(context.Context, string, []byte) ([]byte, error) { return nil, nil })

			got, err := client.Call(t.Context(), "server", "echo", []byte("hello"))
			if err != nil || string(got) != "client says hello" {
				t.Errorf("got %q, %v", got, err)
			}
			if got, err = client.Call(t.Context(), "server", "empty", nil); err != nil || len(got) != 0 {
				t.Errorf("an empty answer: got %q, %v", got, err)
			}
			_, err = client.Call(t.Context(), "server", "model", nil)
			e, ok := errors.AsType[*model.Error](err)
			if !ok {
				t.Fatalf("got %T, want *model.Error", err)
			}
			if diff := cmp.Diff(full, e, cmpopts.IgnoreUnexported(model.Error{})); diff != "" {
				t.Errorf("an error changed on the wire (-sent +got):\n%s", diff)
			}
			if errors.Unwrap(e) != nil {
				t.Errorf("the cause crossed the wire: %v", errors.Unwrap(e))
			}
			_, err = client.Call(t.Context(), "server", "plain", nil)
			wantCode(t, "an error without a code", err, model.CodeInternal)
			if err == nil || bytes.Contains([]byte(err.Error()), []byte("canary")) {
				t.Errorf("the text of an internal error crossed the wire: %v", err)
			}
			_, err = client.Call(t.Context(), "server", "none", nil)
			wantCode(t, "an unknown method", err, model.CodeUnavailable)
			want := []model.Code{"", "", model.CodeLimit, model.CodeInternal, model.CodeUnavailable}
			if diff := cmp.Diff(want, observed); diff != "" {
				t.Errorf("observed outcomes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTransport_Call_nothingLeft: transport-2, CodeUnavailable when the request
// did not leave this node.
func TestTransport_Call_nothingLeft(t *testing.T) {
	t.Parallel()
	for name, where := range networks() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBook()
			client := b.open(t, "client", where("client"))
			_, err := client.Call(t.Context(), "nobody", "m", nil)
			wantCode(t, "Call of an unknown node", err, model.CodeUnavailable)
			_, err = client.Query(t.Context(), "nobody", "m", nil)
			wantCode(t, "Query of an unknown node", err, model.CodeUnavailable)

			gone := b.open(t, "gone", where("gone"))
			closeOf(t, gone)
			_, err = client.Call(t.Context(), "gone", "m", nil)
			wantCode(t, "a refused connection", err, model.CodeUnavailable)

			b.set("odd", "not an address\x7f")
			_, err = client.Call(t.Context(), "odd", "m", nil)
			wantCode(t, "a malformed address", err, model.CodeUnavailable)

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err = client.Call(ctx, "client", "m", nil)
			wantCode(t, "a context that has ended", err, model.CodeUnavailable)
		})
	}
}

// readRequest reads the greeting and one request of a call.
func readRequest(c net.Conn) error {
	r := bufio.NewReader(c)
	if kind, err := r.ReadByte(); err != nil || kind != kindCall {
		return fmt.Errorf("kind %d, %w", kind, err)
	}
	req, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err
}

// TestTransport_lostAnswer: transport-2, CodeUnknownOutcome when the answer is
// lost. Call is sent once, Query once more.
func TestTransport_lostAnswer(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"nothing":           "",
		"half a header":     "HTTP/1.1 200 OK\r\nContent-Le",
		"half a body":       "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"not HTTP":          "\x00\x01\x02\x03\r\n\r\n",
		"an odd status":     "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
		"an unread error":   "HTTP/1.1 422 X\r\nContent-Length: 3\r\n\r\n{..",
		"an error, no code": "HTTP/1.1 422 X\r\nContent-Length: 2\r\n\r\n{}",
	}
	lost := map[string]bool{"nothing": true, "half a header": true, "half a body": true, "not HTTP": true}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			addr := rude(t, func(c net.Conn) {
				if readRequest(c) == nil {
					requests.Add(1)
					_, _ = io.WriteString(c, answer)
				}
			})
			b := newBook()
			client := b.open(t, "client")
			b.set("rude", addr)
			_, err := client.Call(t.Context(), "rude", "m", []byte("x"))
			wantCode(t, "Call", err, model.CodeUnknownOutcome)
			if n := requests.Swap(0); n != 1 {
				t.Errorf("Call was sent %d times", n)
			}
			_, err = client.Query(t.Context(), "rude", "m", []byte("x"))
			wantCode(t, "Query", err, model.CodeUnknownOutcome)
			want := int32(1)
			if lost[name] {
				want = 2
			}
			if n := requests.Load(); n != want {
				t.Errorf("Query was sent %d times, want %d", n, want)
			}
		})
	}
}

// TestTransport_staleConnection: the peer is a new process at the same
// address, and the pooled connection to the old one is dead without a sign. A
// Query gets through, and a Call never arrives twice.
func TestTransport_staleConnection(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"Query", "Call"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var conns, requests atomic.Int32
			addr := rude(t, func(c net.Conn) {
				first := conns.Add(1) == 1
				r := bufio.NewReader(c)
				if _, err := r.ReadByte(); err != nil {
					return
				}
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					if requests.Add(1) == 2 && first {
						return // it took the request and died
					}
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			})
			b := newBook()
			client := b.open(t, "client")
			b.set("peer", addr)
			do := client.Call
			if kind == "Query" {
				do = client.Query
			}
			if _, err := do(t.Context(), "peer", "m", []byte("1")); err != nil {
				t.Fatal(err)
			}
			reply, err := do(t.Context(), "peer", "m", []byte("2"))
			if kind == "Query" {
				if err != nil || string(reply) != "ok" || conns.Load() != 2 || requests.Load() != 3 {
					t.Errorf("got %q, %v with %d connections and %d requests", reply, err, conns.Load(), requests.Load())
				}
				return
			}
			wantCode(t, "Call over a dead connection", err, model.CodeUnknownOutcome)
			if n := requests.Load(); n != 2 {
				t.Errorf("2 calls made %d requests", n)
			}
			if _, err := do(t.Context(), "peer", "m", []byte("3")); err != nil {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}

// TestTransport_restart: calls go on after a restart of the peer.
func TestTransport_restart(t *testing.T) {
	t.Parallel()
	b := newBook()
	client := b.open(t, "client")
	var addr string
	for i := range 3 {
		server := b.open(t, "server", func(o *Options) {
			if addr != "" {
				o.Listen = addr
			}
		})
		addr = server.Addr()
		server.Handle("echo", echo)
		if got, err := client.Query(t.Context(), "server", "echo", []byte("x")); err != nil || string(got) != "client says x" {
			t.Errorf("life %d: %q, %v", i+1, got, err)
		}
		closeOf(t, server)
	}
}

// TestTransport_bodyLimit: the limit and one above, in both directions.
func TestTransport_bodyLimit(t *testing.T) {
	t.Parallel()
	const limit = 1 << 10
	b := newBook()
	small := func(o *Options) { o.MaxBody = limit }
	server := b.open(t, "server", small)
	client := b.open(t, "client", small)
	big := b.open(t, "big") // with the default limit
	calls := 0
	server.Handle("size", func(_ context.Context, _ string, body []byte) ([]byte, error) {
		calls++
		return fmt.Append(nil, len(body)), nil
	})
	server.Handle("make", func(_ context.Context, _ string, body []byte) ([]byte, error) {
		return make([]byte, limit+len(body)), nil
	})
	got, err := client.Call(t.Context(), "server", "size", make([]byte, limit))
	if err != nil || string(got) != fmt.Sprint(limit) {
		t.Errorf("a call at the limit: %q, %v", got, err)
	}
	_, err = client.Call(t.Context(), "server", "size", make([]byte, limit+1))
	wantCode(t, "one byte above, refused by the caller", err, model.CodeTooLarge)
	_, err = big.Call(t.Context(), "server", "size", make([]byte, limit+1))
	wantCode(t, "one byte above, refused by the peer", err, model.CodeTooLarge)
	if calls != 1 {
		t.Errorf("the handler ran %d times", calls)
	}
	if got, err = client.Call(t.Context(), "server", "make", nil); err != nil || len(got) != limit {
		t.Errorf("a reply at the limit: %d bytes, %v", len(got), err)
	}
	_, err = client.Call(t.Context(), "server", "make", []byte("x"))
	wantCode(t, "a reply one byte above", err, model.CodeUnknownOutcome)
	if o := (Options{NodeID: "n", Listen: "l", Resolve: b.resolve}); o.validate() != nil || o.MaxBody != MaxBody {
		t.Errorf("the default limit is %d", o.MaxBody)
	}
}

// TestTransport_Call_timeout: a call without a deadline ends after CallTimeout,
// one that cannot connect after DialTimeout.
func TestTransport_Call_timeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, b := NewMem(1), newBook()
		server, client := b.open(t, "server", on(m, "server")), b.open(t, "client", on(m, "client"))
		server.Handle("hang", func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		begin := time.Now()
		_, err := client.Call(t.Context(), "server", "hang", nil)
		wantCode(t, "a call that hangs", err, model.CodeUnknownOutcome)
		if d := time.Since(begin); d != CallTimeout {
			t.Errorf("it took %s, want %s", d, CallTimeout)
		}
		m.Isolate("server", "client")
		begin = time.Now()
		_, err = client.Call(t.Context(), "server", "hang", nil)
		wantCode(t, "a call to a node that is cut off", err, model.CodeUnavailable)
		if d := time.Since(begin); d != DialTimeout {
			t.Errorf("it took %s, want %s", d, DialTimeout)
		}
	})
}

// TestTransport_connections: MaxConnsPerPeer calls to a peer at a time; one more
// waits for one of them.
func TestTransport_connections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, b := NewMem(1), newBook()
		server, client := b.open(t, "server", on(m, "server")), b.open(t, "client", on(m, "client"))
		release := make(chan struct{})
		server.Handle("hang", func(context.Context, string, []byte) ([]byte, error) {
			<-release
			return nil, nil
		})
		done := make(chan error)
		for i := range MaxConnsPerPeer {
			go func() {
				_, err := client.Call(t.Context(), "server", "hang", nil)
				done <- err
			}()
			if i%MaxPending == MaxPending/2 {
				synctest.Wait() // no more handshakes at a time than the peer allows
			}
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.Call(ctx, "server", "hang", nil)
		wantCode(t, "one call above", err, model.CodeUnavailable)
		close(release)
		for range MaxConnsPerPeer {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if _, err := client.Call(t.Context(), "server", "hang", nil); err != nil {
			t.Error(err)
		}
	})
}

// TestTransport_Close: it ends calls on both sides and waits for handlers; no
// goroutine is left (the bubble would not end).
func TestTransport_Close(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, b := NewMem(1), newBook()
		server, client := b.open(t, "server", on(m, "server")), b.open(t, "client", on(m, "client"))
		var running atomic.Int32
		server.Handle("hang", func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
			running.Add(1)
			defer running.Add(-1)
			<-ctx.Done()
			time.Sleep(time.Second) // it has something to finish
			return nil, ctx.Err()
		})
		stream, err := client.Raft("g")
		if err != nil {
			t.Fatal(err)
		}
		conn, err := stream.Dial("server.0@server:1", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := client.Call(t.Context(), "server", "hang", nil)
			done <- err
		}()
		synctest.Wait()
		if running.Load() != 1 {
			t.Fatal("the call has not arrived")
		}
		for range 2 {
			closeOf(t, server)
		}
		if n := running.Load(); n != 0 {
			t.Errorf("%d handlers run after Close", n)
		}
		wantCode(t, "a call to a node that closes", <-done, model.CodeUnknownOutcome)
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a raft connection is open after the other end was closed")
		}
		closeOf(t, client)
		_, err = client.Call(t.Context(), "server", "hang", nil)
		wantCode(t, "a call from a closed node", err, model.CodeUnavailable)
		if _, err := stream.Dial("server.0@server:1", time.Second); err == nil {
			t.Error("a closed node dials")
		}
		if _, err := stream.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a closed node accepts: %v", err)
		}
	})
}

func TestOptions_validate(t *testing.T) {
	t.Parallel()
	ok := func() Options {
		return Options{NodeID: "n", Listen: "127.0.0.1:0", Resolve: newBook().resolve, Groups: []string{"g"}}
	}
	long := func(n int) string { return string(bytes.Repeat([]byte("x"), n)) }
	for name, c := range map[string]struct {
		change func(*Options)
		bad    bool
	}{
		"good":                  {func(*Options) {}, false},
		"no node id":            {func(o *Options) { o.NodeID = "" }, true},
		"no listen address":     {func(o *Options) { o.Listen = "" }, true},
		"no resolver":           {func(o *Options) { o.Resolve = nil }, true},
		"empty group":           {func(o *Options) { o.Groups = []string{""} }, true},
		"longest group":         {func(o *Options) { o.Groups = []string{long(MaxGroupName)} }, false},
		"group one too long":    {func(o *Options) { o.Groups = []string{long(MaxGroupName + 1)} }, true},
		"longest server":        {func(o *Options) { o.ServerID = long(MaxServerID) }, false},
		"server one too long":   {func(o *Options) { o.ServerID = long(MaxServerID + 1) }, true},
		"no such port":          {func(o *Options) { o.Listen = "127.0.0.1:99999" }, true},
		"TLS without any file":  {func(o *Options) { o.TLS = &TLS{} }, true},
		"TLS with missing file": {func(o *Options) { o.TLS = &TLS{CertFile: "/none", KeyFile: "/none", CAFile: "/none"} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := ok()
			c.change(&o)
			tr, err := Open(o)
			if (err != nil) != c.bad {
				t.Fatalf("Open: %v", err)
			}
			if tr != nil {
				closeOf(t, tr)
			}
		})
	}
}
