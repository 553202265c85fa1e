package workload

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// behaviour is how one request is answered. The zero value is an empty 200.
type behaviour struct {
	name    string
	status  int // 0: 200
	header  map[string]string
	retryMs int64         // what Retry-After asks for, for the history
	delay   time.Duration // before the answer
	hang    bool          // no answer until the client goes away
	reset   bool          // the connection is reset within the body of the answer
	abort   bool          // the connection ends without an answer
	drip    time.Duration // between the bytes of an endless body
	size    int64         // bytes of the body
	bomb    bool          // the body is size zeros, compressed
}

var (
	errNoAnswer = errors.New("no answer, on purpose")
	errBroken   = errors.New("the answer was broken off, on purpose")
)

// statusOf is the status that is sent, 0 when there is none.
func (b *behaviour) statusOf() int {
	switch {
	case b.hang, b.abort:
		return 0
	case b.status == 0:
		return http.StatusOK
	}
	return b.status
}

// answer writes the answer. An error means that the client did not get it
// whole, on purpose or not. It ends when the client goes away or life ends.
func (b *behaviour) answer(life context.Context, w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	if b.delay > 0 && !pause(ctx, b.delay) {
		return ctx.Err()
	}
	switch {
	case b.hang:
		<-ctx.Done()
		b.abort = true
		return errNoAnswer
	case b.abort:
		return errNoAnswer
	}
	for k, v := range b.header {
		w.Header().Set(k, v)
	}
	flush := http.NewResponseController(w).Flush
	switch {
	case b.drip > 0:
		w.WriteHeader(b.statusOf())
		return b.dripOn(ctx, w, flush)
	case b.reset:
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(b.statusOf())
		_, _ = io.WriteString(w, "begun")
		_ = flush()
		resetConn(w)
		return errBroken
	case b.bomb:
		w.Header().Set("Content-Encoding", "gzip")
	default: // the length makes the flush the end of an answer without a body
		w.Header().Set("Content-Length", strconv.FormatInt(b.size, 10))
	}
	w.WriteHeader(b.statusOf())
	err := flush()
	if b.size > 0 { // nobody has to read all of it: the status is what counts
		to := io.WriteCloser(nopCloser{w})
		if b.bomb {
			to = gzip.NewWriter(w)
		}
		_, _ = io.CopyN(to, zeros{}, b.size)
		_ = to.Close()
	}
	return err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func (b *behaviour) dripOn(ctx context.Context, w io.Writer, flush func() error) error {
	for pause(ctx, b.drip) {
		if _, err := io.WriteString(w, "."); err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
	}
	b.abort = true
	return ctx.Err()
}

// resetConn ends a connection with a reset in place of an orderly end.
func resetConn(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if t, ok := c.(*timedConn); ok {
		if tcp, ok := t.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	_ = c.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
