package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"example.com/belfry/dispatch/event"
)

const (
	// drainLimit and drainTimeout bound what is read of a body that decides
	// nothing, so that its connection can be used again.
	drainLimit   = 16 << 10
	drainTimeout = time.Second
	// minRequestBytes is less than any request of ours takes on the wire, and
	// more than the alert with which TLS closes a connection.
	minRequestBytes = 64
)

// outgoing is one POST.
type outgoing struct {
	url    *url.URL
	header http.Header
	body   []byte
	gap    time.Duration // longest time without a byte
	// limit is how much of the body is read when decides; else drainLimit.
	limit   int
	decides bool
	permit  func() bool // nil: it may be written
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	// broken says why a body that decides ended early.
	broken *failure
	timing *event.Timing // nil: nothing was sent; also beside a failure
}

// exchange sends o and reads the answer. It sends again, once, where the
// connection had been used before and provably nothing of the request was
// received: a receiver may close a kept connection at any time.
//
// INV webhook-4: beyond that a request is put on the wire once. The body has
// no GetBody, so net/http cannot repeat it, whatever the headers say.
func (s *Sender) exchange(ctx context.Context, rt *http.Transport, o *outgoing) (answer, *failure) {
	for again := false; ; again = true {
		w := newWatch(ctx, o.gap)
		a, f := s.roundTrip(w, rt, o)
		repeat := f != nil && !again && w.unsent()
		w.stop()
		a.timing = w.timing()
		if !repeat {
			return a, f
		}
	}
}

func (s *Sender) roundTrip(w *watch, rt *http.Transport, o *outgoing) (answer, *failure) {
	ctx := httptrace.WithClientTrace(w.ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			s.metrics.connection(info.Reused)
			w.gotConn(info)
			w.gate(o.permit)
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { w.wroteRequest() },
		GotFirstResponseByte: w.firstByte,
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url.String(), nil)
	if err != nil {
		return answer{}, failed(ClassTemporary, "the request cannot be made")
	}
	// An empty body is set too: net/http takes a request without one, and with
	// an Idempotency-Key, for one that it may repeat.
	w.body.Reset(o.body)
	req.Header, req.Body, req.ContentLength = o.header, io.NopCloser(w), int64(len(o.body))
	// RoundTrip and not Client.Do: nothing follows a redirect (INV webhook-5).
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return answer{}, describe(w.ctx, err, w.stage())
	}
	defer func() { _ = resp.Body.Close() }()
	a := answer{status: resp.StatusCode, header: resp.Header}
	a.body, a.broken = w.readBody(resp.Body, o)
	return a, nil
}

// gate has permit decide whether the request is written; nil: it is. On HTTP/1
// it is asked in the call that writes the first bytes: a process that is stopped
// between an earlier look and the socket would send a request that nobody wants
// any more when it goes on. A connection of HTTP/2 is shared; there the context
// is looked at before the headers are written.
//
// INV webhook-13: without its permit nothing of a request is written.
func (w *watch) gate(permit func() bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if permit == nil {
		if w.conn != nil {
			w.conn.gate.Store(nil)
		}
		return
	}
	ask := func() bool {
		ok := permit()
		if !ok {
			w.cancel(errCutOff)
		}
		return ok
	}
	if w.conn == nil || w.shared {
		ask()
		return
	}
	w.conn.gate.Store(&ask)
}

// readBody reads what is needed of the body, and no more than that.
func (w *watch) readBody(body io.Reader, o *outgoing) ([]byte, *failure) {
	limit := o.limit
	if !o.decides {
		limit = drainLimit
		t := time.AfterFunc(drainTimeout, func() { w.cancel(errDrained) })
		defer t.Stop()
	}
	// One byte more, to see the end of a body that is just as long.
	b, err := io.ReadAll(io.LimitReader(touchingReader{body, w}, int64(limit)+1))
	if len(b) > limit {
		return b[:limit], nil
	}
	if err == nil || !o.decides {
		return b, nil
	}
	return b, describe(w.ctx, err, reading)
}

type touchingReader struct {
	io.Reader
	w *watch
}

func (r touchingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.w.touch()
	}
	return n, err
}

// watch cuts a request off when nothing has moved for longer than gap. It
// begins when there is a connection: until then the dialer's limit counts.
// HTTP/1 connections say themselves when bytes arrive, so that an answer whose
// headers come slowly is seen; one of HTTP/2 is shared, so there the steps of
// the request and the reads of its body count.
type watch struct {
	ctx    context.Context // it lives as long as the request
	cancel context.CancelCauseFunc
	gap    time.Duration

	taken atomic.Bool // the transport has read of the body

	mu        sync.Mutex
	body      bytes.Reader
	conn      *meteredConn // nil: none yet
	connected bool
	shared    bool // HTTP/2
	reused    bool
	before    int64 // bytes written on conn before
	answered  bool
	wrote     time.Time // the request; zero: not all of it
	first     time.Time // the first byte of the answer came
	last      time.Time
	timer     *time.Timer
	stopped   bool
}

func newWatch(ctx context.Context, gap time.Duration) *watch {
	w := &watch{gap: gap}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	return w
}

// Read hands the body out to the transport.
func (w *watch) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.body.Read(p)
	if n > 0 {
		w.taken.Store(true)
		w.last = time.Now()
	}
	return n, err
}

func (w *watch) gotConn(info httptrace.GotConnInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	raw := info.Conn
	if tc, ok := raw.(*tls.Conn); ok {
		w.shared = tc.ConnectionState().NegotiatedProtocol == "h2"
		raw = tc.NetConn()
	}
	if c, ok := raw.(*meteredConn); ok {
		w.conn, w.before = c, c.written.Load()
	}
	w.connected, w.reused = true, info.Reused
	w.last = time.Now()
	if w.timer == nil && !w.stopped {
		w.timer = time.AfterFunc(w.gap, w.expire)
	}
}

func (w *watch) touch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
}

func (w *watch) wroteRequest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrote = time.Now()
	w.last = w.wrote
}

func (w *watch) firstByte() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered = true
	w.first = time.Now()
	w.last = w.first
}

// timing says where the time went. The steps of a connection belong to the
// first request on it, whoever had it dialled.
func (w *watch) timing() *event.Timing {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.connected {
		return nil
	}
	t := &event.Timing{Reused: w.reused}
	if c := w.conn; c != nil && !w.reused {
		t.DNSMs, t.ConnectMs, t.TLSMs = millis(c.resolving), millis(c.connecting), millis(c.handshake)
	}
	// A receiver may answer before it has read everything: then there was no
	// time in between.
	if w.answered && !w.wrote.IsZero() && w.first.After(w.wrote) {
		t.FirstByteMs = millis(w.first.Sub(w.wrote))
	}
	return t
}

// millis has three decimals.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (w *watch) stage() stage {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.answered:
		return reading
	case w.conn != nil:
		return waiting
	}
	return connecting
}

// unsent reports whether the receiver cannot have got the request.
func (w *watch) unsent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil || !w.reused || w.answered || w.ctx.Err() != nil {
		return false
	}
	if w.shared {
		return w.body.Size() > 0 && !w.taken.Load()
	}
	// net/http ends its writing before it returns, so the count is final.
	return w.conn.written.Load()-w.before < minRequestBytes
}

func (w *watch) expire() {
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return
	}
	last := w.last
	if w.conn != nil && !w.shared {
		if t := w.conn.lastMoved(); t.After(last) {
			last = t
		}
	}
	if left := w.gap - time.Since(last); left > 0 {
		w.timer.Reset(left)
		w.mu.Unlock()
		return
	}
	cause := errNoAnswer
	if w.answered {
		cause = errSlowAnswer
	}
	w.mu.Unlock()
	w.cancel(cause)
}

func (w *watch) stop() {
	w.mu.Lock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	w.cancel(errCutOff)
}
