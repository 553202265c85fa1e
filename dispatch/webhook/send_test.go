package webhook

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/dispatch/dispatchtest"
)

type answerOf = dispatchtest.Answer

// INV webhook-6: whatever the receiver does, the attempt ends in time, with
// words for what happened.
func TestSend_badReceivers(t *testing.T) {
	t.Parallel()
	const gap = 10 * time.Second
	for _, tt := range []struct {
		name   string
		answer answerOf
		body   string // responseBodyRegex
		class  Class
		status int
		text   string
		after  time.Duration
	}{
		{name: "hangs", answer: answerOf{Hang: true}, class: ClassTemporary, text: "timeout while waiting for an answer", after: gap},
		{name: "just in time", answer: answerOf{Delay: gap - time.Millisecond}, class: ClassOK, status: 200, after: gap - time.Millisecond},
		{name: "too late", answer: answerOf{Delay: gap + time.Millisecond}, class: ClassTemporary, text: "timeout while waiting for an answer", after: gap},
		{name: "closes", answer: answerOf{Close: true}, class: ClassTemporary, text: "connection closed by the receiver before it answered"},
		{name: "speaks no HTTP", answer: answerOf{Raw: "220 mail.example ESMTP\r\n"}, class: ClassTemporary, text: "the answer is not valid HTTP, or its headers exceed 32 KiB"},
		{name: "headers within the limit", answer: answerOf{Header: http.Header{"X-Big": {strings.Repeat("x", maxHeaderBytes-200)}}}, class: ClassOK, status: 200},
		{name: "headers too large", answer: answerOf{Header: http.Header{"X-Big": {strings.Repeat("x", maxHeaderBytes)}}}, class: ClassTemporary, text: "the answer is not valid HTTP, or its headers exceed 32 KiB"},
		{name: "drips a header", answer: answerOf{DripHeader: true, Drip: time.Second}, class: ClassTemporary, text: "the attempt took too long", after: DefaultMaxAttemptDuration},
		{name: "drips a header too slowly", answer: answerOf{DripHeader: true, Drip: gap + time.Second}, class: ClassTemporary, text: "timeout while reading the answer", after: gap},
		{name: "drips a body that decides nothing", answer: answerOf{Drip: 100 * time.Millisecond}, class: ClassOK, status: 200, after: drainTimeout},
		{name: "drips a body that decides", answer: answerOf{Drip: time.Second}, body: "ok", class: ClassTemporary, status: 200, text: "the attempt took too long", after: DefaultMaxAttemptDuration},
		{name: "drips a body with long pauses", answer: answerOf{Drip: gap + time.Second}, body: "ok", class: ClassTemporary, status: 200, text: "timeout while reading the answer", after: gap},
		{name: "drips and gets through", answer: answerOf{Body: []byte("it is ok"), Drip: gap - time.Second}, body: "ok", class: ClassOK, status: 200, after: 8 * (gap - time.Second)},
		{name: "breaks off", answer: answerOf{Body: []byte("ok"), Truncate: true}, body: "ok", class: ClassTemporary, status: 200, text: "connection closed by the receiver in the middle of the answer"},
		{name: "breaks off where nobody looks", answer: answerOf{Body: []byte("ok"), Truncate: true}, class: ClassOK, status: 200},
		{name: "huge body that decides nothing", answer: answerOf{BodySize: 1 << 30}, class: ClassOK, status: 200},
		{name: "huge body that decides", answer: answerOf{Body: []byte("ok"), BodySize: 1 << 30}, body: "ok", class: ClassOK, status: 200},
		{name: "match at the limit", answer: answerOf{Body: []byte(strings.Repeat("x", bodyLimit-2) + "ok")}, body: "ok", class: ClassOK, status: 200},
		{name: "match beyond the limit", answer: answerOf{Body: []byte(strings.Repeat("x", bodyLimit-1) + "ok")}, body: "ok", class: ClassTemporary, status: 200, text: "the body of the answer does not match responseBodyRegex"},
		{name: "redirects", answer: answerOf{Status: 307, Header: http.Header{"Location": {"http://127.0.0.1/"}}}, class: ClassTemporary, status: 307, text: "the receiver answered 307: redirects are not followed"},
		{name: "redirects to a file", answer: answerOf{Status: 302, Header: http.Header{"Location": {"file:///etc/passwd"}}}, class: ClassTemporary, status: 302, text: "the receiver answered 302: redirects are not followed"},
		{name: "switches protocols", answer: answerOf{Raw: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"}, class: ClassTemporary, status: 101, text: "the receiver answered 101"},
		{name: "many early answers", answer: answerOf{Raw: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </"+strings.Repeat("x", 1000)+">\r\n\r\n", 100)}, class: ClassTemporary, text: "the answer is not valid HTTP, or its headers exceed 32 KiB"},
		{name: "compresses", answer: answerOf{Header: http.Header{"Content-Encoding": {"gzip"}}, Body: []byte("\x1f\x8bok")}, body: "^\x1f", class: ClassTemporary, status: 200, text: "the body of the answer does not match responseBodyRegex"},
		{name: "throttles", answer: answerOf{Status: 429, Header: http.Header{"Retry-After": {"30"}}}, class: ClassThrottled, status: 429, text: "the receiver answered 429"},
		{name: "is gone", answer: answerOf{Status: 410}, class: ClassGone, status: 410, text: "the receiver answered 410"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newMemory(t)
				r.Always(tt.answer)
				s := newSender(t, r)
				d := destination(r)
				d.ReadTimeout, d.ResponseBodyRegex = gap, tt.body
				if tt.name == "compresses" {
					d.ResponseBodyRegex = "^ok" // the bytes are not touched
				}
				res := send(t, s, d)
				if res.Class != tt.class || res.StatusCode != tt.status || res.Error != tt.text || res.Duration.Round(time.Millisecond) != tt.after {
					t.Errorf("got %q, %d, %q after %s; want %q, %d, %q after %s",
						res.Class, res.StatusCode, res.Error, res.Duration, tt.class, tt.status, tt.text, tt.after)
				}
				if n := len(r.Arrivals()); n != 1 {
					t.Errorf("%d requests arrived, want 1", n)
				}
				if len(res.Body) > keptBody {
					t.Errorf("kept %d bytes", len(res.Body))
				}
			})
		})
	}
}

// The limit of the whole attempt, at it and above.
func TestSend_maxAttemptDuration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newMemory(t)
		s := newSender(t, r, func(o *SenderOptions) { o.MaxAttemptDuration = 5 * time.Second })
		r.Script(answerOf{Delay: 5*time.Second - 1}, answerOf{Delay: 5*time.Second + 1})
		wantClass(t, send(t, s, destination(r)), ClassOK)
		wantError(t, send(t, s, destination(r)), ClassTemporary, "the attempt took too long")
	})
}

// The stop of the node ends an attempt at once, without a status.
func TestSend_cancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newMemory(t)
		r.Always(answerOf{Hang: true})
		s := newSender(t, r)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		res := s.Send(ctx, request(destination(r)))
		wantError(t, res, ClassTemporary, "the attempt was cut off")
		if res.StatusCode != 0 || res.Duration != time.Second || res.Started.IsZero() {
			t.Errorf("got %+v", res)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		wantError(t, send(t, s, destination(r)), ClassTemporary, "the sender is closed")
		if ct := s.TestConnection(t.Context(), destination(r)); ct.Success {
			t.Errorf("test on a closed sender: %+v", ct)
		}
	})
}

// The first KiB of the answer is kept, whatever the verdict.
func TestSend_keepsBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newMemory(t)
		s := newSender(t, r)
		for _, n := range []int{0, 1, keptBody, keptBody + 1} {
			r.Script(answerOf{Status: 500, Body: bytes.Repeat([]byte("x"), n)})
			if res := send(t, s, destination(r)); len(res.Body) != min(n, keptBody) {
				t.Errorf("of %d bytes %d are kept", n, len(res.Body))
			}
		}
	})
}

// A receiver that does not read holds an attempt no longer than readTimeout.
func TestSend_receiverDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newMemory(t)
		s := newSender(t, r, func(o *SenderOptions) { o.DialContext = deaf })
		res := s.Send(t.Context(), &Request{Destination: destination(r), WebhookID: "a", Body: bytes.Repeat([]byte("x"), 1<<20)})
		wantError(t, res, ClassTemporary, "timeout while waiting for an answer")
		if res.Duration != 10*time.Second {
			t.Errorf("took %s", res.Duration)
		}
	})
}

// Real sockets: what the kernel says reads the same.
func TestSend_sockets(t *testing.T) {
	t.Parallel()
	r := dispatchtest.New(t, dispatchtest.Options{})
	s := newSender(t, r, local)
	wantClass(t, send(t, s, destination(r)), ClassOK)
	r.Script(answerOf{Reset: true})
	wantError(t, send(t, s, destination(r)), ClassTemporary, "connection reset by the receiver")
	wantError(t, send(t, s, &Destination{URL: "http://127.0.0.1:1/"}), ClassTemporary, "connection refused")
	d := destination(r)
	d.URL = strings.Replace(d.URL, "http:", "https:", 1)
	wantError(t, send(t, s, d), ClassTemporary, "TLS: the receiver does not speak TLS on this port")
	d.URL = strings.Replace(r.URL, "127.0.0.1", "localhost", 1)
	wantClass(t, send(t, s, d), ClassOK)
}

func TestSend_concurrent(t *testing.T) {
	t.Parallel()
	r := dispatchtest.New(t, dispatchtest.Options{})
	reg := prometheus.NewRegistry()
	s := newSender(t, r, local, func(o *SenderOptions) { o.Registerer = reg })
	const workers, each = 8, 25
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if res := s.Send(t.Context(), request(destination(r))); res.Class != ClassOK {
					t.Errorf("%+v", res)
				}
			}
		})
	}
	wg.Wait()
	fresh, reused := count(s.metrics.connections.WithLabelValues("false")), count(s.metrics.connections.WithLabelValues("true"))
	if fresh > 2*workers || fresh+reused != workers*each {
		t.Errorf("%d connections, %d times used again", fresh, reused)
	}
	if families, err := reg.Gather(); err != nil || len(families) != 3 {
		t.Errorf("%d families of metrics, %v", len(families), err)
	}
}
