package api

import (
	"bytes"
	"errors"
	"net/http"
	"time"
)

const (
	// streamPatience is how long a reader may take for one part of a stream.
	streamPatience = 10 * time.Second
	// maxStreamBuffer is how much memory a stream may hold between two parts.
	maxStreamBuffer = 64 << 10
)

// stream writes an answer part by part. It is used by one goroutine at a time.
type stream struct {
	r      *request
	rc     *http.ResponseController
	buf    bytes.Buffer
	broken bool // the reader is gone or too slow
}

func newStream(r *request) stream { return stream{r: r, rc: http.NewResponseController(r.w)} }

// deadline gives the reader d from now, or as long as it likes for 0. A writer
// without a connection has no deadlines and needs none.
func (w *stream) deadline(d time.Duration) error {
	var at time.Time
	if d > 0 {
		at = time.Now().Add(d) // of the connection, which knows no other clock
	}
	if err := w.rc.SetWriteDeadline(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// end bounds what the server itself writes behind the stream.
func (w *stream) end() { _ = w.deadline(streamPatience) } // an error shows when it writes

// flush brings what is buffered to the client within streamPatience, and then
// waits without a limit for more: under HTTP/2 a deadline that passes ends a
// stream that is idle.
func (w *stream) flush() error {
	err := w.deadline(streamPatience)
	if err == nil {
		_, err = w.r.w.Write(w.buf.Bytes())
	}
	if err == nil {
		err = w.rc.Flush()
	}
	if err == nil {
		err = w.deadline(0)
	}
	w.buf.Reset()
	if w.buf.Cap() > maxStreamBuffer {
		w.buf = bytes.Buffer{}
	}
	w.broken = w.broken || err != nil
	return err
}
