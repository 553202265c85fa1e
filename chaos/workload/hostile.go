package workload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/belfry/chaos/history"
)

const (
	hostileRate        = 20 // events per second
	hostileReadTimeout = 1000
	hostileAttempts    = 4
	hugeBody           = 8 << 20  // bytes
	bombBody           = 32 << 20 // bytes when unpacked
	retrySeconds       = 2
)

// hostileSchedule is the waits of the destinations of W7, in seconds.
func hostileSchedule() []int64 { return []int64{1, 2, 1} }

// script is what a hostile receiver does at an attempt, counted from 1.
type script func(attempt int) behaviour

// times does b at the first n attempts and answers well from then on.
func times(n int, b behaviour) script {
	return func(attempt int) behaviour {
		if attempt <= n {
			return b
		}
		return behaviour{}
	}
}

func always(b behaviour) script { return func(int) behaviour { return b } }

// retryAfter is 429 with the header as it is given.
func retryAfter(name, value string, ms int64) behaviour {
	return behaviour{name: name, status: http.StatusTooManyRequests, header: map[string]string{"Retry-After": value}, retryMs: ms}
}

// scripts are the receivers of W7 by name. Most get better after an attempt or
// two, so that their breakers open rarely and the waits are those of the policy.
func scripts() map[string]script {
	status := func(code int) behaviour { return behaviour{name: fmt.Sprint(code), status: code} }
	dated := func(attempt int) behaviour {
		if attempt > 1 {
			return behaviour{}
		}
		// Dates are whole seconds, rounded down: what is asked for is less than this.
		at := time.Now().Add(retrySeconds * time.Second)
		return retryAfter("429-date", at.UTC().Format(http.TimeFormat), (retrySeconds-1)*1000)
	}
	redirect := behaviour{name: "302", status: http.StatusFound, header: map[string]string{"Location": "/redirected/redirected/0"}}
	moved := behaviour{name: "308", status: http.StatusPermanentRedirect, header: map[string]string{"Location": "/redirected/redirected/0"}}
	return map[string]script{
		"ok":               always(behaviour{}),
		"accepted":         always(status(http.StatusAccepted)),
		"redirect":         times(1, redirect),
		"redirect-forever": always(moved),
		"missing":          times(2, status(http.StatusNotFound)),
		"gone":             always(status(http.StatusGone)),
		"throttled":        times(1, retryAfter("429", fmt.Sprint(retrySeconds), retrySeconds*1000)),
		"throttled-date":   dated,
		"throttled-minus":  times(1, retryAfter("429-negative", "-5", 0)),
		"throttled-text":   times(1, retryAfter("429-text", "soon", 0)),
		"throttled-years":  always(retryAfter("429-absurd", strings.Repeat("9", 30), 0)),
		"error":            times(2, status(http.StatusInternalServerError)),
		"error-forever":    always(status(http.StatusInternalServerError)),
		"hang":             times(1, behaviour{name: "hang", hang: true}),
		"drip":             times(1, behaviour{name: "drip", drip: 100 * time.Millisecond, status: http.StatusInternalServerError}),
		"reset":            times(1, behaviour{name: "reset", reset: true, status: http.StatusInternalServerError}),
		"cut":              times(2, behaviour{name: "cut", abort: true}),
		"slow":             always(behaviour{name: "slow", delay: hostileReadTimeout / 2 * time.Millisecond}),
		"huge":             always(behaviour{name: "huge", size: hugeBody}),
		"bomb":             always(behaviour{name: "bomb", bomb: true, size: bombBody}),
	}
}

// destBadTLS is the destination that no handshake succeeds with.
const destBadTLS = "w7-bad-tls"

// hostile is W7: one destination for each way to answer badly, and events
// that go to one each.
type hostile struct {
	*env
	account Account
	sink    *sink
	scripts map[string]script
	good    switchable
}

func newHostile(e *env) Workload { return &hostile{env: e, scripts: scripts()} }

// SetUp implements Workload.
func (w *hostile) SetUp(ctx context.Context) error {
	var err error
	if w.sink, err = w.newSink(ctx, w.behave); err != nil {
		return err
	}
	badTLS, err := w.serveBadTLS(ctx)
	if err != nil {
		return err
	}
	if w.account, err = w.makeAccount(ctx, "w7", channelSMS); err != nil {
		return err
	}
	c := w.client("setup", 0, false, w.account)
	for _, name := range w.names() {
		dest := "w7-" + name
		p := &history.Profile{
			URL: w.sink.url(w.account.ID, dest, 0), Bucket: 1, ReadTimeout: hostileReadTimeout,
			Schedule: hostileSchedule(), MaxAttempts: hostileAttempts,
		}
		if dest == destBadTLS {
			p.URL = badTLS
		}
		if err := c.subscribe(ctx, w.account, channelSMS, dest, p, []string{name}); err != nil {
			return err
		}
	}
	return w.settle(ctx, w.account)
}

// names are the destinations without their prefix.
func (w *hostile) names() []string {
	return append(slices.Sorted(maps.Keys(w.scripts)), strings.TrimPrefix(destBadTLS, "w7-"))
}

func (w *hostile) behave(a history.Arrived) behaviour {
	if s := w.scripts[strings.TrimPrefix(a.Dest, "w7-")]; s != nil && !w.good.get("") {
		return s(max(1, a.Attempt))
	}
	return behaviour{}
}

// Run implements Workload.
func (w *hostile) Run(ctx context.Context) error {
	var producers []func()
	names := w.names()
	interval := every(len(names), w.rate(hostileRate))
	for i, name := range names {
		s := w.stream(w.account, name, i, false, channelSMS)
		s.app = name
		producers = append(producers, func() {
			for s.pace(ctx, interval) {
				s.post(ctx, 1)
			}
		})
	}
	all(producers...)
	return nil
}

// forever are the destinations that nothing would reach for long after the
// end, whatever they answer then: one asked for silence of years, one is
// disabled, the breakers of the others are open.
var forever = []string{"bad-tls", "error-forever", "gone", "redirect-forever", "throttled-years"}

// Finish implements Workload: from now on all answer well, and the
// subscriptions of those that are past help are deleted.
func (w *hostile) Finish(ctx context.Context) error {
	w.good.set("", true)
	c := w.client("finish", 0, false, w.account)
	for _, name := range forever {
		dest := "w7-" + name
		in := history.Config{Account: w.account.ID, Channel: channelSMS, Revokes: &history.Revocation{Dest: dest, All: true}}
		_ = c.insist(ctx, func() answer { return c.change(ctx, history.SubscriptionDelete, dest, in) }) // the history says what came of it
	}
	return w.settled(ctx)
}

// serveBadTLS listens with a certificate that ran out and that nobody signed.
// A connection is an arrival without anything in it.
func (w *hostile) serveBadTLS(ctx context.Context) (string, error) {
	cert, err := newCertificate(30 * time.Minute) // it began an hour ago
	if err != nil {
		return "", err
	}
	l, err := w.listen(ctx)
	if err != nil {
		return "", err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			w.handshake(ctx, tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))
		}
	}()
	w.onClose(func() error {
		err := l.Close()
		<-done
		if err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("receiver with bad TLS: %w", err)
		}
		return nil
	})
	return "https://" + l.Addr().String() + "/w7/" + destBadTLS + "/0", nil
}

// handshake records one connection. If the client took the certificate, the
// answer is OK: that must not happen.
func (w *hostile) handshake(ctx context.Context, c *tls.Conn) {
	op := history.Op{Process: "w7-tls", Kind: history.Arrival, Key: destBadTLS, Call: w.rec.Now(), Outcome: history.Unknown}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err := c.HandshakeContext(ctx)
	if err == nil { // in TLS 1.3 the client may refuse after the server is content
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, err = c.Read(make([]byte, 1))
	}
	_ = c.Close()
	if err == nil {
		op.Outcome, op.Status = history.OK, http.StatusOK
	} else {
		op.Error = err.Error()
	}
	op.Return = w.rec.Now()
	op.In = history.JSON(history.Arrived{Account: w.account.ID, Dest: destBadTLS, Behaviour: "bad-tls"})
	w.rec.Record(op)
}
