package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/fsm/model"
)

// pipes is a network in memory: real HTTP over net.Pipe, by host and port.
type pipes struct {
	nodes map[string]*pipeListener
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// serve starts a node in the bubble of the test.
func (p *pipes) serve(t *testing.T, host string, h http.HandlerFunc) {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	p.nodes[host+":80"], p.nodes[host+":443"] = l, l
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		close(l.closed)
		_ = srv.Close()
		<-done
	})
}

// dial knows "hole", which never answers, and refuses every other host that
// nobody serves.
func (p *pipes) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	l, ok := p.nodes[addr]
	switch {
	case strings.HasPrefix(addr, "hole:"):
		<-ctx.Done()
		return nil, ctx.Err()
	case !ok:
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// silent takes a request and never answers. The server notices that the client
// has gone only when the body was read.
func silent(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func (p *pipes) client(t *testing.T, timeout time.Duration, bases ...string) *Client {
	t.Helper()
	tr := &http.Transport{DialContext: p.dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: time.Second}
	c, err := New(Options{BaseURLs: bases, HTTPClient: &http.Client{Transport: tr, Timeout: timeout}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

// INV client-1: over real HTTP, a request that found no connection goes on to
// the next node whatever it is; one that left does not.
func TestWire_sentOrNot(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		base  string
		again bool
		text  string
	}{
		"refused":        {"http://nobody", true, "no connection to http://nobody: connection refused"},
		"no answer":      {"http://hole", true, "no connection to http://hole: "},
		"no TLS":         {"https://plain", true, "no connection to https://plain: "},
		"cut":            {"http://cut", false, "no answer from http://cut; it may have done what was asked"},
		"cut in the end": {"http://half", false, "no answer from http://half; it may have done what was asked"},
		"silent":         {"http://silent", false, "no answer from http://silent; it may have done what was asked"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &pipes{nodes: map[string]*pipeListener{}}
			took := 0
			p.serve(t, "good", func(w http.ResponseWriter, _ *http.Request) { took++; _, _ = w.Write([]byte(`{"accountId":"a"}`)) })
			p.serve(t, "plain", func(http.ResponseWriter, *http.Request) { t.Error("a request in the clear") })
			p.serve(t, "cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
			p.serve(t, "half", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				_, _ = w.Write([]byte(`{"accountId":`))
			})
			p.serve(t, "silent", silent)
			code := model.CodeUnknownOutcome
			if tt.again {
				code = model.CodeUnavailable
			}
			_, err := p.client(t, 10*time.Second, tt.base).CreateAccount(t.Context(), "a", "")
			if e := asError(t, err); e.Code != code || !strings.HasPrefix(e.Message, tt.text) {
				t.Errorf("%s alone: %v", name, err)
			}
			_, err = p.client(t, 10*time.Second, tt.base, "http://good").CreateAccount(t.Context(), "a", "")
			if (err == nil) != tt.again || tt.again != (took == 1) {
				t.Errorf("%s, then a good node: %v, taken %d times", name, err, took)
			}
			// A read goes on in each case.
			if a, err := p.client(t, 10*time.Second, tt.base, "http://good").Account(t.Context(), "a", Read{}); err != nil || a.AccountID != "a" {
				t.Errorf("%s, a read: %v", name, err)
			}
		})
	}
}

// The end of the context is the end of the call, wherever it stands, and the
// error tells of it.
func TestWire_contextEnds(t *testing.T) {
	t.Parallel()
	for base, code := range map[string]model.Code{"http://hole": model.CodeUnavailable, "http://silent": model.CodeUnknownOutcome} {
		synctest.Test(t, func(t *testing.T) {
			p := &pipes{nodes: map[string]*pipeListener{}}
			p.serve(t, "silent", silent)
			p.serve(t, "good", func(http.ResponseWriter, *http.Request) { t.Error("asked after the end") })
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, err := p.client(t, 0, base, "http://good").Account(ctx, "a", Read{})
			if took := time.Since(start); took != 3*time.Second || model.CodeOf(err) != code || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: after %v: %v", base, took, err)
			}
		})
	}
}

// The client that New makes has a limit of time and connections of its own,
// and leaves the one it is given as it was.
func TestNew_httpClient(t *testing.T) {
	t.Parallel()
	c, err := New(Options{BaseURLs: []string{"http://a"}})
	if err != nil {
		t.Fatal(err)
	}
	if tr, ok := c.http.Transport.(*http.Transport); !ok || c.http.Timeout != DefaultTimeout || tr.Proxy != nil {
		t.Errorf("the client is %+v", c.http)
	}
	given := &http.Client{}
	if c, err = New(Options{BaseURLs: []string{"http://a"}, HTTPClient: given}); err != nil || given.CheckRedirect != nil || given.Transport != nil || c.http == given {
		t.Errorf("what was given was changed: %+v, %v", given, err)
	}
}
