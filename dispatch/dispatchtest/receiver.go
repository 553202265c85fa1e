// Package dispatchtest is a webhook for tests: it answers as it is told, well
// or badly, and records what arrived and when. It listens on a loopback socket
// or in memory; the second works in a testing/synctest bubble.
//
// It checks nothing of what arrives: that is up to the test.
package dispatchtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// maxBody is the size of the largest request body that is recorded.
	maxBody = 16 << 20
	// maxArrivals is how many requests a test may make.
	maxArrivals = 1 << 16
)

// Answer says how one request is answered. The zero value is an empty 200.
type Answer struct {
	Status int // 0: 200
	Header http.Header
	Body   []byte
	// BodySize pads the body with zeros up to this length.
	BodySize int64

	Delay time.Duration // before the answer
	// Drip is the pause before each byte of the body, and before the status
	// line with DripHeader. The body goes on for ever without Body and BodySize.
	Drip       time.Duration
	DripHeader bool // the bytes of the header drip, one by one, and never end

	Hang  bool   // there is no answer until the client goes away
	Reset bool   // the connection is reset after the request was read
	Close bool   // the connection is closed without an answer after the request was read
	Raw   string // written to the connection instead of an answer; it is closed then (HTTP/1)
	// Truncate closes the connection after the body, which is shorter than
	// Content-Length said.
	Truncate bool
}

// Arrival is a request as it came in.
type Arrival struct {
	Method, Path string // Path is the request target
	Host         string
	Header       http.Header
	Body         []byte
	At           time.Time
	Conn         int // number of the connection, from 1
	Proto        string
	Certificates []*x509.Certificate // of the client
}

// Options of New.
type Options struct {
	// Memory: no socket; connections come from Dial only.
	Memory bool
	// TLS serves https. Certificates must be set.
	TLS *tls.Config
	// HTTP1 turns HTTP/2 off.
	HTTP1 bool
}

// Receiver is a scriptable webhook. It is safe for concurrent use.
type Receiver struct {
	// URL is where it listens. In memory its host is a public address, which
	// Dial leads here.
	URL string

	srv      *http.Server
	pipes    *pipeListener // nil: a socket
	arrivals chan Arrival
	life     context.Context // of the test
	handlers sync.WaitGroup

	mu       sync.Mutex
	script   []Answer
	byPath   map[string]Answer
	fallback Answer
	conns    int
	all      []Arrival
}

type connNumber struct{}

// MemoryAddress is the address of every receiver in memory.
const MemoryAddress = "93.184.215.14"

// New starts a receiver, which ends with the test.
func New(tb testing.TB, o Options) *Receiver {
	tb.Helper()
	r := &Receiver{arrivals: make(chan Arrival, maxArrivals), byPath: map[string]Answer{}}
	var end context.CancelFunc
	r.life, end = context.WithCancel(context.Background())
	var l net.Listener
	host := MemoryAddress
	if o.Memory {
		r.pipes = newPipeListener()
		l = r.pipes
	} else {
		var lc net.ListenConfig
		var err error
		if l, err = lc.Listen(tb.Context(), "tcp", "127.0.0.1:0"); err != nil {
			tb.Fatal(err)
		}
		host = l.Addr().String()
	}
	r.srv = &http.Server{
		Handler:           r,
		ReadHeaderTimeout: time.Hour, // a test of slow clients brings its own
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.conns++
			return context.WithValue(ctx, connNumber{}, r.conns)
		},
		ErrorLog: hclog.NewNullLogger().StandardLogger(nil), // refused handshakes are what tests are about
	}
	r.URL = "http://" + host
	serve := func() error { return r.srv.Serve(l) }
	if o.TLS != nil {
		r.URL = "https://" + host
		r.srv.TLSConfig = o.TLS.Clone()
		if o.HTTP1 {
			r.srv.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
		}
		serve = func() error { return r.srv.ServeTLS(l, "", "") }
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			tb.Errorf("receiver: %v", err)
		}
	}()
	tb.Cleanup(func() {
		r.mu.Lock()
		end() // under the lock, so that no handler enters any more
		r.mu.Unlock()
		_ = r.srv.Close()
		<-done
		r.handlers.Wait()
	})
	return r
}

// Dial connects to a receiver in memory, whatever the address.
func (r *Receiver) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return r.pipes.dial(ctx)
}

// Script appends answers to give in order, one for each request. After them
// the answer of Always counts.
func (r *Receiver) Script(as ...Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script = append(r.script, as...)
}

// Always sets the answer where the script gives none.
func (r *Receiver) Always(a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fallback = a
}

// On sets the answer for a path, before the script.
func (r *Receiver) On(path string, a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byPath[path] = a
}

// Arrivals returns what has arrived so far.
func (r *Receiver) Arrivals() []Arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// Next waits for the next arrival.
func (r *Receiver) Next(tb testing.TB) Arrival {
	tb.Helper()
	select {
	case a := <-r.arrivals:
		return a
	case <-tb.Context().Done():
		tb.Fatal("nothing arrived before the end of the test")
		return Arrival{}
	}
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !r.enter() {
		return
	}
	defer r.handlers.Done()
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	req = req.WithContext(ctx)
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody))
	if err != nil {
		return // the client went away
	}
	a := Arrival{
		Method: req.Method, Path: req.URL.RequestURI(), Host: req.Host, Header: req.Header.Clone(), Body: body,
		At: time.Now(), Proto: req.Proto,
	}
	a.Conn, _ = req.Context().Value(connNumber{}).(int)
	if req.TLS != nil {
		a.Certificates = req.TLS.PeerCertificates
	}
	r.answer(w, req, r.record(a, req.URL.Path))
}

func (r *Receiver) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life.Err() != nil {
		return false
	}
	r.handlers.Add(1)
	return true
}

func (r *Receiver) record(a Arrival, path string) Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, a)
	select {
	case r.arrivals <- a:
	default: // the test does not wait for them
	}
	if ans, ok := r.byPath[path]; ok {
		return ans
	}
	if len(r.script) > 0 {
		ans := r.script[0]
		r.script = r.script[1:]
		return ans
	}
	return r.fallback
}

func (r *Receiver) answer(w http.ResponseWriter, req *http.Request, a Answer) {
	if !pause(req.Context(), a.Delay) {
		return
	}
	switch {
	case a.Hang:
		<-req.Context().Done()
		panic(http.ErrAbortHandler)
	case a.Reset, a.Close, a.Raw != "", a.DripHeader:
		takeOver(w, req, a)
		return
	}
	maps.Copy(w.Header(), a.Header)
	size := max(int64(len(a.Body)), a.BodySize)
	if a.Truncate {
		w.Header().Set("Content-Length", strconv.FormatInt(size+1, 10))
	}
	status := a.Status
	if status == 0 {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	if a.Drip > 0 {
		drip(w, req, a, size)
	} else {
		_, _ = w.Write(a.Body)
		_, _ = io.CopyN(w, zeros{}, size-int64(len(a.Body))) // fails when the client goes away
	}
	if a.Truncate {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// takeOver answers on the connection itself, past HTTP.
func takeOver(w http.ResponseWriter, req *http.Request, a Answer) {
	gone := req.Context()
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: the stream is reset
	}
	defer func() { _ = c.Close() }()
	if tc, ok := c.(*net.TCPConn); ok && a.Reset {
		_ = tc.SetLinger(0)
	}
	_, _ = io.WriteString(c, a.Raw)
	if a.DripHeader {
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Drip: "); err != nil {
			return
		}
		for pause(gone, a.Drip) {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
		}
	}
}

func drip(w http.ResponseWriter, req *http.Request, a Answer, size int64) {
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	for i := int64(0); size == 0 || i < size; i++ {
		if !pause(req.Context(), a.Drip) {
			return
		}
		b := []byte{'.'}
		if i < int64(len(a.Body)) {
			b[0] = a.Body[i]
		}
		if _, err := w.Write(b); err != nil {
			return
		}
		_ = rc.Flush()
	}
}

// pause reports whether the client is still there after d.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
