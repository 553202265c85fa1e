package workload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"example.com/belfry/chaos/history"
)

// adminAccount is the account of Options.AdminKey.
const adminAccount = "default"

// Codes of belfry's errors that the workloads look at.
const (
	codeExists  = "already_exists"
	codeUnknown = "unknown_outcome"
)

const (
	maxAnswer   = 16 << 20 // bytes of an answer that are read
	maxErrorLen = 200      // bytes of an answer that are kept of a refusal
)

// client is one process of a history: it makes one request at a time and never
// sends one twice. It is not safe for concurrent use.
type client struct {
	e       *env
	process string
	account string
	key     string // API key of the account
	http    *http.Client
	rng     *rand.Rand
	// node is the place of the node it talks to, modulo their number; a client
	// that is not pinned goes to the next when one does not serve it.
	node   int
	pinned bool
	seq    int
}

func (e *env) client(process string, node int, pinned bool, a Account) *client {
	process = e.name + "-" + process
	h := fnv.New64a()
	_, _ = h.Write([]byte(process))
	c := &client{
		e: e, process: process, account: a.ID, key: a.Key, node: node, pinned: pinned, http: newHTTP(e.o.Timeout),
		rng: rand.New(rand.NewPCG(e.o.Seed, h.Sum64())), //nolint:gosec // what is done shall be repeatable
	}
	e.onClose(func() error { c.http.CloseIdleConnections(); return nil })
	return c
}

// request is one HTTP request.
type request struct {
	method, path string
	body         any    // encoded as JSON; []byte is sent as it is; nil: none
	key          string // in place of the client's
	id           string // X-Request-Id
	change       bool   // it may leave something behind
}

// answer is what came of a request.
type answer struct {
	node       string
	call, done int64
	outcome    history.Outcome
	status     int // 0: no answer
	code       string
	text       string // why it is not OK
	header     http.Header
	body       []byte
}

func (a *answer) ok() bool { return a.outcome == history.OK }

// again reports whether the same request may succeed later: nothing that is
// wrong with it was found.
func (a *answer) again() bool {
	return a.status == 0 || a.status >= http.StatusInternalServerError || a.status == http.StatusTooManyRequests
}

// send makes one request to the client's node. The end of ctx does not cut it
// short, so that a run leaves no outcomes unknown that the cluster told.
func (c *client) send(ctx context.Context, r request) answer {
	nodes := c.e.o.Target.Nodes()
	node := nodes[c.node%len(nodes)]
	a := answer{node: node.ID}
	var sent atomic.Bool
	req, err := c.build(httptrace.WithClientTrace(context.WithoutCancel(ctx), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	}), node.URL, r)
	a.call = c.e.rec.Now()
	if err == nil {
		err = c.exchange(req, &a)
	}
	a.done = c.e.rec.Now()
	a.judge(r.change, sent.Load(), err)
	if !a.ok() && a.again() && !c.pinned {
		c.node++
	}
	return a
}

func (c *client) build(ctx context.Context, base string, r request) (*http.Request, error) {
	body, raw := r.body.([]byte)
	if !raw && r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, base+r.path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	key := c.key
	if r.key != "" {
		key = r.key
	}
	req.Header.Set("Authorization", "App "+key)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.id != "" {
		req.Header.Set("X-Request-Id", r.id)
	}
	return req, nil
}

func (c *client) exchange(req *http.Request, a *answer) error {
	resp, err := c.http.Do(req) //nolint:gosec // to the nodes that the suite runs
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return err
	}
	a.status, a.header, a.code = resp.StatusCode, resp.Header, resp.Header.Get("Belfry-Error-Code")
	return nil
}

// judge says what is known of a request. What did not reach a node for
// certain did nothing, a read never leaves anything behind, and docs/guarantees.md
// says the rest: 4xx is a refusal, and so is 503 from belfry itself unless it says
// that the outcome is unknown.
func (a *answer) judge(change, sent bool, err error) {
	switch {
	case err != nil && (!change || !sent):
		a.outcome = history.Fail
	case err != nil:
		a.outcome = history.Unknown
	case a.status >= 200 && a.status <= 299:
		a.outcome = history.OK
		return
	case a.status >= 400 && a.status <= 499, !change:
		a.outcome = history.Fail
	case a.status == http.StatusServiceUnavailable && a.code != "" && a.code != codeUnknown:
		a.outcome = history.Fail
	default:
		a.outcome = history.Unknown
	}
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the Op has what was asked
		}
		a.text = "no answer: " + err.Error()
		return
	}
	a.text = reason(a.body)
	if a.code != "" {
		a.text = a.code + ": " + a.text
	}
}

// reason is the text in an error of either surface, or the beginning of a body
// that is none.
func reason(body []byte) string {
	var w struct {
		Detail  string `json:"detail"`
		Request struct {
			Service struct {
				Text string `json:"text"`
			} `json:"serviceException"`
		} `json:"requestError"`
	}
	_ = json.Unmarshal(body, &w) // another form leaves it empty
	for _, s := range []string{w.Detail, w.Request.Service.Text, string(body)} {
		if s != "" {
			return s[:min(len(s), maxErrorLen)]
		}
	}
	return ""
}

// note writes the history of a. out counts only when it is OK.
func (c *client) note(kind, key string, in, out any, a answer) {
	op := history.Op{
		Process: c.process, Kind: kind, Node: a.node, Key: key, Call: a.call, Return: a.done,
		Outcome: a.outcome, Status: a.status, Error: a.text,
	}
	if in != nil {
		op.In = history.JSON(in)
	}
	if out != nil && a.ok() {
		op.Out = history.JSON(out)
	}
	c.e.rec.Record(op)
}

// decode reads the answer of what is OK. One that is not what was expected is
// kept in the history as text; the operation happened all the same.
func (a *answer) decode(out any) bool {
	if !a.ok() {
		return false
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		a.text = "answer: " + err.Error() + ": " + string(a.body[:min(len(a.body), maxErrorLen)])
		return false
	}
	return true
}

// requestID names the next change. It is unique in a run.
func (c *client) requestID() string {
	c.seq++
	return c.process + "." + strconv.Itoa(c.seq)
}

// waits between tries of what must be done.
const (
	firstWait = 50 * time.Millisecond
	lastWait  = 500 * time.Millisecond
)

// insist makes a request until it is OK, ctx ends or it is refused for good.
func (c *client) insist(ctx context.Context, f func() answer) error {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		a := f()
		switch {
		case a.ok():
			return nil
		case !a.again():
			return fmt.Errorf("status %d: %s", a.status, a.text)
		case !pause(ctx, wait):
			return fmt.Errorf("%s: %w", a.text, ctx.Err())
		}
	}
}

// pace waits for the client's next turn: half to one and a half times d. It
// reports whether there is one.
func (c *client) pace(ctx context.Context, d time.Duration) bool {
	return pause(ctx, time.Duration((0.5+c.rng.Float64())*float64(d)))
}

// pause waits for d and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// pick is one of the elements.
func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }
