package transport

import (
	"context"
	"net"
	"sync"
	"testing"

	"example.com/belfry/fsm/model"
)

// book is the addresses of a test's nodes.
type book struct {
	mu    sync.Mutex
	addrs map[string]string
}

func newBook() *book { return &book{addrs: map[string]string{}} }

func (b *book) resolve(id string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.addrs[id]
	return a, ok
}

func (b *book) set(id, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addrs[id] = addr
}

// open opens a node of the book on loopback, or where change says.
func (b *book) open(t *testing.T, id string, change ...func(*Options)) *Transport {
	t.Helper()
	o := Options{NodeID: id, ServerID: id + ".0", Listen: "127.0.0.1:0", Groups: []string{"g"}, Resolve: b.resolve}
	for _, f := range change {
		f(&o)
	}
	tr, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeOf(t, tr) })
	b.set(id, tr.Addr())
	return tr
}

func closeOf(t *testing.T, tr *Transport) {
	t.Helper()
	if err := tr.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// on puts a node on a network in memory.
func on(m *Mem, host string) func(*Options) {
	return func(o *Options) { o.Network, o.Listen = m.Host(host), host+":1" }
}

func echo(_ context.Context, from string, body []byte) ([]byte, error) {
	return append([]byte(from+" says "), body...), nil
}

// networks are what every promise of a call is checked on.
func networks() map[string]func(host string) func(*Options) {
	m := NewMem(1)
	return map[string]func(string) func(*Options){
		"tcp": func(string) func(*Options) { return func(*Options) {} },
		"mem": func(host string) func(*Options) { return on(m, host) },
	}
}

func wantCode(t *testing.T, what string, err error, want model.Code) {
	t.Helper()
	if got := model.CodeOf(err); got != want {
		t.Errorf("%s: got code %q (%v), want %q", what, got, err, want)
	}
}

// rude is a peer port that serves connections with f.
func rude(t *testing.T, f func(net.Conn)) (addr string) {
	t.Helper()
	ln, err := TCP{}.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}
