package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// INV console-3: data comes from the public API only, by this RoundTripper.

// direct brings the requests of a client to the API of this node without a
// network. The API sees the address of the browser, for the rules that keys
// have about addresses and for its guard against guessing.
//
// A read of the config without a quorum is answered with what this node has,
// so that the pages work on every node during an outage. direct notes how old
// that may be.
type direct struct {
	api    http.Handler
	remote string
	agent  string
	// stale: reads do not ask the leader.
	stale bool
	// refuse is why nothing can be changed; empty: it can.
	refuse string

	mu   sync.Mutex
	age  time.Duration // the greatest of the answers that may be old
	old  bool          // there was such an answer
	node string        // that answered
}

const (
	headerStaleness = "Belfry-Staleness-Ms"
	headerCode      = "Belfry-Error-Code"
	headerNode      = "Belfry-Node"
)

// streams are the values of Accept that ask for an answer of no known length.
var streams = []string{"text/event-stream", string(client.CSV), string(client.NDJSON), client.BackupForm}

// RoundTrip makes one request. A stream is given back as soon as it begins, any
// other answer when it is complete.
func (d *direct) RoundTrip(req *http.Request) (*http.Response, error) {
	if slices.Contains(streams, req.Header.Get("Accept")) {
		return d.stream(req)
	}
	if d.refuse != "" && changes(req) {
		return d.refused(req)
	}
	stale := d.stale && readsConfig(req)
	resp, err := d.once(req, stale)
	if err == nil && !stale && readsConfig(req) && resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get(headerCode) == string(model.CodeUnavailable) {
		resp, err = d.once(req, true)
	}
	return resp, err
}

// changes reports whether a request needs a quorum because it changes something.
// A question that has a body does not.
func changes(req *http.Request) bool {
	return req.Method != http.MethodGet && req.URL.Path != matchPath
}

// matchPath asks where an event would go.
const matchPath = "/events/1/match"

// refused answers instead of the API. INV console-6.
func (d *direct) refused(req *http.Request) (*http.Response, error) {
	body, err := json.Marshal(map[string]any{"detail": d.refuse, "code": model.CodeUnavailable})
	if err != nil {
		return nil, fmt.Errorf("refuse a change: %w", err)
	}
	w := &buffer{header: http.Header{headerCode: {string(model.CodeUnavailable)}, "Content-Type": {"application/problem+json"}}}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write(body) // into memory
	return w.response(req), nil
}

// readsConfig reports whether the API knows ?consistency for a request.
func readsConfig(req *http.Request) bool {
	return req.Method == http.MethodGet && (strings.HasPrefix(req.URL.Path, "/subscriptions/1/") || strings.HasPrefix(req.URL.Path, "/accounts/1/"))
}

func (d *direct) once(req *http.Request, stale bool) (*http.Response, error) {
	in := d.incoming(req, stale)
	w := &buffer{header: http.Header{}}
	d.api.ServeHTTP(w, in)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	// What is always answered from this node counts too, once it may be old.
	d.note(w.header, stale || d.stale && w.header.Get(headerStaleness) != "")
	return w.response(req), nil
}

// incoming is the request as the API's server would see it; stale: it asks for
// what this node has.
func (d *direct) incoming(req *http.Request, stale bool) *http.Request {
	in := req.Clone(req.Context())
	if stale {
		q := in.URL.Query()
		q.Set("consistency", "stale")
		in.URL.RawQuery = q.Encode()
	}
	in.RequestURI, in.RemoteAddr = in.URL.RequestURI(), d.remote
	in.Header.Set("User-Agent", d.agent)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	return in
}

func (d *direct) note(h http.Header, stale bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.node = h.Get(headerNode)
	if !stale {
		return
	}
	d.old = true
	if ms, err := strconv.ParseInt(h.Get(headerStaleness), 10, 64); err == nil {
		d.age = max(d.age, time.Duration(ms)*time.Millisecond)
	} else {
		d.age = unknownAge
	}
}

// unknownAge: there is no bound of how old an answer is.
const unknownAge = time.Duration(1<<63 - 1)

// staleness says whether an answer may be old, and how old.
func (d *direct) staleness() (age time.Duration, old bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.age, d.old
}

// buffer is a ResponseWriter in memory.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffer) Header() http.Header { return b.header }

func (b *buffer) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}

func (b *buffer) response(req *http.Request) *http.Response {
	b.WriteHeader(http.StatusOK)
	return &http.Response{
		Status: strconv.Itoa(b.status) + " " + http.StatusText(b.status), StatusCode: b.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: b.header, Body: io.NopCloser(&b.body), ContentLength: int64(b.body.Len()), Request: req,
	}
}

// stream answers with what the handler writes while it writes. Closing the
// body ends the handler.
func (d *direct) stream(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	pr, pw := io.Pipe()
	w := &pipe{header: http.Header{}, out: pw, begun: make(chan struct{})}
	go func() {
		defer func() {
			if p := recover(); p != nil { // the handler gave up on a stream that had begun
				_ = pw.CloseWithError(errAborted)
			}
			w.begin(http.StatusOK)
		}()
		d.api.ServeHTTP(w, d.incoming(req.WithContext(ctx), d.stale && readsConfig(req)))
		_ = pw.Close()
	}()
	select {
	case <-w.begun:
	case <-ctx.Done():
		cancel()
		_ = pr.Close()
		return nil, context.Cause(ctx)
	}
	b := buffer{header: w.sent, status: w.status}
	resp := b.response(req)
	resp.ContentLength, resp.Body = -1, &streamBody{PipeReader: pr, cancel: cancel}
	return resp, nil
}

var errAborted = errors.New("the stream was aborted")

type streamBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close ends the handler.
func (b *streamBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// pipe is a ResponseWriter whose reader reads at the same time.
type pipe struct {
	header, sent http.Header
	status       int
	out          *io.PipeWriter
	once         sync.Once
	begun        chan struct{} // closed when status and headers are there
}

func (p *pipe) begin(status int) {
	p.once.Do(func() {
		p.status, p.sent = status, p.header.Clone()
		close(p.begun)
	})
}

func (p *pipe) Header() http.Header    { return p.header }
func (p *pipe) WriteHeader(status int) { p.begin(status) }

func (p *pipe) Write(b []byte) (int, error) {
	p.begin(http.StatusOK)
	return p.out.Write(b)
}

// Flush has nothing to do: the reader has everything already.
func (p *pipe) Flush() { p.begin(http.StatusOK) }

// probe remembers for a moment whether the node has a quorum.
type probe struct {
	mu     sync.Mutex
	until  time.Time
	reason string
}

// probeFor is how long the answer of a probe counts.
const probeFor = time.Second

// noQuorum says why writes cannot work now, or "" when they can. It asks the
// public readiness check.
func (c *Console) noQuorum(ctx context.Context) string {
	now := c.now()
	c.probe.mu.Lock()
	defer c.probe.mu.Unlock()
	if now.Before(c.probe.until) {
		return c.probe.reason
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/readyz", http.NoBody)
	if err != nil {
		return ""
	}
	req.Header.Set("Accept", "application/json")
	w := &buffer{header: http.Header{}}
	c.api.ServeHTTP(w, req)
	var out struct {
		Checks []struct {
			Name  string `json:"name"`
			OK    bool   `json:"ok"`
			Error string `json:"error"`
		} `json:"checks"`
	}
	c.probe.until, c.probe.reason = now.Add(probeFor), ""
	if json.Unmarshal(w.body.Bytes(), &out) == nil {
		for _, k := range out.Checks {
			if k.Name == "cluster" && !k.OK {
				c.probe.reason = k.Error
			}
		}
	}
	return c.probe.reason
}
