package client

import (
	"context"
	"errors"
	"math"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/fsm/model"
)

// The kinds of calls: what may be sent again and what may not.
var (
	readCall = func(ctx context.Context, c *Client) error { _, err := c.Account(ctx, "a", Read{}); return err }
	putCall  = func(ctx context.Context, c *Client) error {
		_, err := c.UpdateAccount(ctx, "a", AccountUpdate{})
		return err
	}
	deleteCall   = func(ctx context.Context, c *Client) error { return c.DeleteAccount(ctx, "a") }
	createCall   = func(ctx context.Context, c *Client) error { _, err := c.CreateAccount(ctx, "a", ""); return err }
	transferCall = func(ctx context.Context, c *Client) error { return c.TransferLeadership(ctx) }
	sessionCall  = func(ctx context.Context, c *Client) error { _, err := c.OpenSession(ctx, "u", "p"); return err }
	tokenCall    = func(ctx context.Context, c *Client) error {
		_, err := c.IssueToken(ctx, "k", model.NewSecret("s"))
		return err
	}
	namedEvents = func(ctx context.Context, c *Client) error {
		_, err := c.Publish(ctx, Event{EventID: "a"}, Event{EventID: "b"})
		return err
	}
	unnamedEvent = func(ctx context.Context, c *Client) error {
		_, err := c.Publish(ctx, Event{EventID: "a"}, Event{})
		return err
	}
	rawNamed = func(ctx context.Context, c *Client) error {
		_, err := c.PublishRaw(ctx, "application/json", []byte("{}"), true)
		return err
	}
	rawUnnamed = func(ctx context.Context, c *Client) error {
		_, err := c.PublishRaw(ctx, "application/json", []byte("{}"), false)
		return err
	}
)

var (
	repeatable = map[string]func(context.Context, *Client) error{
		"GET": readCall, "PUT": putCall, "DELETE": deleteCall, "session": sessionCall, "token": tokenCall, "events with ids": namedEvents, "raw with ids": rawNamed,
	}
	onceOnly = map[string]func(context.Context, *Client) error{
		"create": createCall, "transfer": transferCall, "an event without an id": unnamedEvent, "raw without ids": rawUnnamed,
	}
)

func coded(status int, code model.Code, retryAfter int) reply {
	r := reply{status: status, body: `{"code":"` + string(code) + `","detail":"d"}`, header: map[string]string{"Belfry-Error-Code": string(code)}}
	if retryAfter > 0 {
		r.header["Retry-After"] = strconv.Itoa(retryAfter)
	}
	return r
}

var (
	fine    = reply{status: 200, body: `{}`}
	dead    = reply{err: errDial}
	cut     = reply{err: errCut}
	down    = coded(503, model.CodeUnavailable, 0)
	unclear = coded(503, model.CodeUnknownOutcome, 0)
	proxied = reply{status: 502, body: "<html>"}
)

// INV client-1: what a node provably did not do goes to the next node, what it
// may have done only if that is safe.
func TestFailover(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		first reply
		// again: the next node is asked, by repeatable calls and by others.
		repeatable, others bool
		code               model.Code // when nobody else is asked
	}{
		"dead node":       {dead, true, true, model.CodeUnavailable},
		"no leader":       {down, true, true, model.CodeUnavailable},
		"answer lost":     {cut, true, false, model.CodeUnknownOutcome},
		"outcome unknown": {unclear, true, false, model.CodeUnknownOutcome},
		"proxy":           {proxied, true, false, model.CodeUnknownOutcome},
		"refused":         {coded(400, model.CodeInvalid, 0), false, false, model.CodeInvalid},
		"not there":       {coded(404, model.CodeNotFound, 0), false, false, model.CodeNotFound},
		"conflict":        {coded(409, model.CodeConflict, 0), false, false, model.CodeConflict},
		"too many":        {coded(429, model.CodeLimit, 1), false, false, model.CodeLimit},
		"inner error":     {coded(500, model.CodeInternal, 0), false, false, model.CodeInternal},
	} {
		try := func(what string, call func(context.Context, *Client) error, again bool) {
			c, s := newScripted(t, Retry{}, []reply{tt.first}, []reply{fine})
			asked, code := "a", tt.code
			if again {
				asked, code = "a b", ""
			}
			if err := call(t.Context(), c); model.CodeOf(err) != code || s.hosts() != asked {
				t.Errorf("%s, %s: asked %s, %v", name, what, s.hosts(), err)
			}
			if len(s.seen) == 2 && (s.seen[0].line != s.seen[1].line || s.seen[0].body != s.seen[1].body) {
				t.Errorf("%s, %s: the second request is another: %+v", name, what, s.seen)
			}
		}
		for what, call := range repeatable {
			try(what, call, tt.repeatable)
		}
		for what, call := range onceOnly {
			try(what, call, tt.others)
		}
	}
}

// Without Retry each node is asked once; the last error stands. A call that
// must not be repeated ends at the first node that may have done it.
func TestFailover_rounds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		replies [][]reply
		call    func(context.Context, *Client) error
		asked   string
		code    model.Code
	}{
		"all dead":               {[][]reply{{dead}, {dead}, {dead}}, createCall, "a b c", model.CodeUnavailable},
		"all without a leader":   {[][]reply{{down}, {down}, {down}}, createCall, "a b c", model.CodeUnavailable},
		"all cut, read":          {[][]reply{{cut}, {cut}, {cut}}, readCall, "a b c", model.CodeUnknownOutcome},
		"dead, cut, fine, once":  {[][]reply{{dead}, {cut}, {fine}}, createCall, "a b", model.CodeUnknownOutcome},
		"dead, cut, fine, again": {[][]reply{{dead}, {cut}, {fine}}, namedEvents, "a b c", ""},
		"dead, refused":          {[][]reply{{dead}, {coded(400, model.CodeInvalid, 0)}, {fine}}, createCall, "a b", model.CodeInvalid},
	} {
		c, s := newScripted(t, Retry{}, tt.replies...)
		if err := tt.call(t.Context(), c); model.CodeOf(err) != tt.code || s.hosts() != tt.asked {
			t.Errorf("%s: asked %s, %v; want %s", name, s.hosts(), err, tt.asked)
		}
	}
}

// The node that answered last is asked first.
func TestFailover_remembersTheLast(t *testing.T) {
	t.Parallel()
	c, s := newScripted(t, Retry{}, []reply{dead, fine}, []reply{fine, coded(404, model.CodeNotFound, 0), dead}, []reply{dead, fine})
	for range 4 {
		_ = readCall(t.Context(), c)
	}
	// b answers; b says no, which is an answer; b is dead, c is dead, a answers; a.
	if got := s.hosts(); got != "a b b b c a a" {
		t.Errorf("asked %s", got)
	}
}

// Rounds over the nodes wait for what the node asks, or twice as long each
// time, but never longer than MaxWait.
func TestRetry_waits(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	tooMany := func(after int) []reply { return []reply{coded(429, model.CodeLimit, after), fine} }
	for name, tt := range map[string]struct {
		retry   Retry
		replies [][]reply
		call    func(context.Context, *Client) error
		asked   string
		took    time.Duration
		code    model.Code
	}{
		"dead, then back":         {Retry{Attempts: 3}, [][]reply{{dead, dead, fine}}, createCall, "a a a", 300 * ms, ""},
		"doubled":                 {Retry{Attempts: 9}, [][]reply{{down}}, readCall, "a a a a a a a a a", (100+200+400+800+1600+3200)*ms + 2*5*time.Second, model.CodeUnavailable},
		"doubled for ever":        {Retry{Attempts: 80, MaxWait: ms}, [][]reply{{down}}, readCall, "", 79 * ms, model.CodeUnavailable},
		"no retry":                {Retry{}, [][]reply{{dead}}, readCall, "a", 0, model.CodeUnavailable},
		"one attempt":             {Retry{Attempts: 1}, [][]reply{{coded(429, model.CodeLimit, 1)}}, readCall, "a", 0, model.CodeLimit},
		"as asked":                {Retry{Attempts: 2}, [][]reply{tooMany(3)}, createCall, "a a", 3 * time.Second, ""},
		"no longer than MaxWait":  {Retry{Attempts: 2}, [][]reply{tooMany(6)}, createCall, "a a", 5 * time.Second, ""},
		"at MaxWait":              {Retry{Attempts: 2, MaxWait: 7 * time.Second}, [][]reply{tooMany(7)}, createCall, "a a", 7 * time.Second, ""},
		"above MaxWait":           {Retry{Attempts: 2, MaxWait: 7500 * ms}, [][]reply{tooMany(8)}, createCall, "a a", 7500 * ms, ""},
		"more than time can hold": {Retry{Attempts: 2}, [][]reply{tooMany(math.MaxInt64)}, createCall, "a a", 5 * time.Second, ""},
		"refused at once":         {Retry{Attempts: 9}, [][]reply{{coded(400, model.CodeInvalid, 0)}}, readCall, "a", 0, model.CodeInvalid},
		"unclear, once only":      {Retry{Attempts: 9}, [][]reply{{unclear}, {fine}}, createCall, "a", 0, model.CodeUnknownOutcome},
		"cut, once only":          {Retry{Attempts: 9}, [][]reply{{dead, cut}, {dead, fine}}, createCall, "a b a", 100 * ms, model.CodeUnknownOutcome},
		"unclear, again":          {Retry{Attempts: 2}, [][]reply{{unclear, fine}, {unclear}}, namedEvents, "a b a", 100 * ms, ""},
		"two rounds of two":       {Retry{Attempts: 2}, [][]reply{{dead}, {down}}, createCall, "a b a b", 100 * ms, model.CodeUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			c, s := newScripted(t, tt.retry, tt.replies...)
			err := tt.call(t.Context(), c)
			if took := time.Since(start); took != tt.took || model.CodeOf(err) != tt.code || tt.asked != "" && s.hosts() != tt.asked {
				t.Errorf("%s: asked %s for %v, %v; want %s, %v", name, s.hosts(), took, err, tt.asked, tt.took)
			}
		})
	}
}

// The end of the caller's context ends a wait, and no node is asked after it.
func TestRetry_contextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		c, s := newScripted(t, Retry{Attempts: 99}, []reply{down})
		err := readCall(ctx, c)
		if took := time.Since(start); took != 250*time.Millisecond || model.CodeOf(err) != model.CodeUnavailable || s.hosts() != "a a" {
			t.Errorf("asked %s for %v, %v", s.hosts(), took, err)
		}
		c, s = newScripted(t, Retry{Attempts: 99}, []reply{{err: context.DeadlineExceeded}}, []reply{fine})
		if err := readCall(ctx, c); !errors.Is(err, context.DeadlineExceeded) || s.hosts() != "" && s.hosts() != "a" {
			t.Errorf("after the end: asked %s, %v", s.hosts(), err)
		}
	})
}
