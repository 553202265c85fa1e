package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

func written(write func(io.Writer) error) (any, error) {
	var b strings.Builder
	err := write(&b)
	return b.String(), err
}

// A file of which a part is written is not asked for once more, and one that is
// refused is an error like any other.
func TestExport_failures(t *testing.T) {
	t.Parallel()
	refused, _ := newScripted(t, Retry{}, []reply{{status: 403, body: `{"code":"forbidden","detail":"no"}`}})
	var b strings.Builder
	if err := refused.ExportEvents(t.Context(), event.Filter{}, CSV, "", &b); model.CodeOf(err) != model.CodeForbidden || b.Len() > 0 {
		t.Errorf("%v, wrote %q", err, b.String())
	}
	full := errors.New("the disk is full")
	c, s := newScripted(t, Retry{}, []reply{{status: 200, body: "a,b"}}, []reply{{status: 200, body: "a,b"}})
	if err := c.ExportEvents(t.Context(), event.Filter{}, CSV, "", failing{full}); !errors.Is(err, full) || len(s.seen) != 1 {
		t.Errorf("%v after %d requests", err, len(s.seen))
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// watchMethods are those that look at events and dead letters.
func watchMethods() map[string]method {
	const events, dead, replays = "GET /events/1/events", "/events/1/dead-letters", "/events/1/replays"
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	const job = `{"replayId":"r","filter":{"channel":"SMS"},"rate":5,"state":"RUNNING","createdAt":"2026-11-23T10:00:00Z","createdBy":"key:k","total":9,"replayed":2}`
	wantJob := event.ReplayJob{ID: "r", Filter: event.DeadFilter{Channel: "SMS"}, Rate: 5, State: event.ReplayRunning, CreatedAt: at, CreatedBy: "key:k", Total: 9, Replayed: 2}
	return map[string]method{
		"SearchEvents": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.SearchEvents(ctx, event.Filter{Channel: "SMS", Name: "CLICK", Status: event.StatusDead, From: at}, Part{Limit: 7, Cursor: "c"}))
		}, events + "?channel=SMS&cursor=c&event=CLICK&from=2026-11-23T10%3A00%3A00Z&limit=7&status=DEAD", "", `{"events":[{"eventId":"e","acceptedAt":"2026-11-23T10:00:00Z","deliveries":[{"deliveryId":"d","attempts":3}]}],"nextCursor":"n","unreachableNodes":["n2"]}`, EventList{
			Events: []EventSummary{{Event: event.Event{ID: "e"}, AcceptedAt: at, Deliveries: []DeliverySummary{{DeliveryID: "d", Attempts: 3}}}}, NextCursor: "n", Unreachable: []string{"n2"},
		}},
		"SearchEvents/all": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.SearchEvents(ctx, event.Filter{}, Part{}))
		}, events, "", "", nil},
		"ExportEvents": {func(ctx context.Context, c *Client) (any, error) {
			return written(func(w io.Writer) error { return c.ExportEvents(ctx, event.Filter{OrderingKey: "+1"}, CSV, "c", w) })
		}, events + "?cursor=c&orderingKey=%2B1", "", "a,b\r\n", "a,b\r\n"},
		"ExportDeadLetters": {func(ctx context.Context, c *Client) (any, error) {
			return written(func(w io.Writer) error { return c.ExportDeadLetters(ctx, event.DeadFilter{}, NDJSON, "", w) })
		}, "GET " + dead, "", "{}\n", "{}\n"},
		"ExportAudit": {func(ctx context.Context, c *Client) (any, error) {
			return written(func(w io.Writer) error { return c.ExportAudit(ctx, "a/b", CSV, w) })
		}, "GET /accounts/1/accounts/a%2Fb/audit", "", "a,b\r\n", "a,b\r\n"},
		"DeadLetters": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.DeadLetters(ctx, event.DeadFilter{EventID: "e/1", To: at}, Part{Limit: 1}))
		}, "GET " + dead + "?eventId=e%2F1&limit=1&to=2026-11-23T10%3A00%3A00Z", "", `{"deadLetters":[{"deliveryId":"d","failure":{"outcome":"gone"}}]}`, DeadLetterList{DeadLetters: []DeadLetter{{DeliveryID: "d", Failure: event.Failure{Outcome: "gone"}}}}},
		"DeadLetter":       {func(ctx context.Context, c *Client) (any, error) { return with(c.DeadLetter(ctx, "d/1")) }, "GET " + dead + "/d%2F1", "", `{"deliveryId":"d/1","deadAt":"2026-11-23T10:00:00Z"}`, DeadLetter{DeliveryID: "d/1", DeadAt: at}},
		"ReplayDeadLetter": {func(ctx context.Context, c *Client) (any, error) { return alone(c.ReplayDeadLetter(ctx, "d/1")) }, "POST " + dead + "/d%2F1/replay", "", "", nil},
		"StartReplay": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.StartReplay(ctx, ReplayRequest{Filter: event.DeadFilter{Channel: "SMS", From: at}, Rate: 5}))
		}, "POST " + replays, `{"filter":{"channel":"SMS","from":"2026-11-23T10:00:00Z"},"rate":5}`, job, wantJob},
		"StartReplay/all": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.StartReplay(ctx, ReplayRequest{All: true}))
		}, "POST " + replays, `{"all":true}`, job, wantJob},
		"Replays":      {func(ctx context.Context, c *Client) (any, error) { return with(c.Replays(ctx)) }, "GET " + replays, "", `{"replays":[` + job + `]}`, []event.ReplayJob{wantJob}},
		"Replay":       {func(ctx context.Context, c *Client) (any, error) { return with(c.Replay(ctx, "r")) }, "GET " + replays + "/r", "", job, wantJob},
		"CancelReplay": {func(ctx context.Context, c *Client) (any, error) { return with(c.CancelReplay(ctx, "r")) }, "POST " + replays + "/r/cancel", "", job, wantJob},
		"Match": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.Match(ctx, Event{Channel: "SMS", Event: "CLICK"}))
		}, "POST /events/1/match", `{"channel":"SMS","event":"CLICK","payload":null}`, `{"matched":[{"subscriptionId":"s"}],"more":true}`, MatchReport{Matched: []event.MatchedSubscription{{SubscriptionID: "s"}}, More: true}},
		"TestProfile": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.TestProfile(ctx, "p/1", "SMS", "CLICK"))
		}, "POST /events/1/profiles/p%2F1/test", `{"channel":"SMS","event":"CLICK"}`, `{"attempt":{"attempt":1,"outcome":"ok"},"url":"https://x/","payload":{}}`, event.TestReport{Attempt: event.Attempt{Attempt: 1, Outcome: "ok"}, URL: "https://x/", Payload: []byte(`{}`)}},
		"Stats": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.Stats(ctx, time.Hour, StatsFilter{ProfileID: "p/1", Search: "s", Sort: "failing", Page: 2, Size: 8}))
		}, "GET /events/1/stats?page=2&profileId=p%2F1&search=s&size=8&sort=failing&window=1h0m0s", "", `{"total":{"delivered":3},"profilesFound":2,"profilesTotal":9}`, Stats{Stats: event.Stats{Total: event.ProfileStats{Delivered: 3}}, ProfilesFound: 2, ProfilesTotal: 9}},
		"Series":         {func(ctx context.Context, c *Client) (any, error) { return with(c.Series(ctx, "p/1", time.Hour)) }, "GET /events/1/stats/series?profileId=p%2F1&window=1h0m0s", "", `{"stepSeconds":60,"points":[{"accepted":3}]}`, event.Series{StepSeconds: 60, Points: []event.SeriesPoint{{Accepted: 3}}}},
		"Destinations":   {func(ctx context.Context, c *Client) (any, error) { return with(c.Destinations(ctx, "p", "q")) }, "GET /events/1/destinations?profileId=p&profileId=q", "", `{"destinations":[{"profileId":"p","breaker":"open"}],"unreachableNodes":["n2"]}`, event.DestinationStates{Destinations: []event.DestinationState{{ProfileID: "p", Breaker: event.BreakerOpen}}, Unreachable: []string{"n2"}}},
		"Series/default": {func(ctx context.Context, c *Client) (any, error) { return with(c.Series(ctx, "", 0)) }, "GET /events/1/stats/series", "", "", nil},
		"Stats/default":  {func(ctx context.Context, c *Client) (any, error) { return with(c.Stats(ctx, 0, StatsFilter{})) }, "GET /events/1/stats", "", "", nil},
		"Tail": {func(ctx context.Context, c *Client) (any, error) {
			var got []event.TailBatch
			err := c.Tail(ctx, event.TailFilter{Kind: event.TailAttempt, ProfileID: "p"}, func(b event.TailBatch) error { got = append(got, b); return nil })
			return got, err
		}, "GET /events/1/tail?kind=attempt&profileId=p", "", ": keep-alive\n\nevent: nodes\ndata: {\"unreachableNodes\":[\"n2\"]}\n\nevent: accepted\ndata: {\"kind\":\"accepted\",\"eventId\":\"e\"}\n\nevent: later\ndata: x\nid: 7\n\nevent: dropped\ndata: {\"dropped\":4}\n\nevent: nodes\ndata: {\"unreachableNodes\":[]}\n\n", []event.TailBatch{
			{Unreachable: []string{"n2"}}, {Entries: []event.TailEntry{{Kind: event.TailAccepted, EventID: "e"}}, Unreachable: []string{"n2"}}, {Dropped: 4, Unreachable: []string{"n2"}}, {Unreachable: []string{}},
		}},
	}
}

// A tail is asked of the next node when one cannot give it, and not when the
// answer stands.
func TestTail_failover(t *testing.T) {
	t.Parallel()
	none := func(event.TailBatch) error { return nil }
	stream := []reply{{status: 200, body: ": keep-alive\n\n"}}
	for name, tt := range map[string]struct {
		replies [][]reply
		hosts   string
		code    model.Code
	}{
		"draining":     {[][]reply{{coded(503, model.CodeUnavailable, 1)}, stream}, "a b", ""},
		"down":         {[][]reply{{{err: errDial}}, {{err: errCut}}, stream}, "a b c", ""},
		"all down":     {[][]reply{{{err: errDial}}, {{err: errDial}}}, "a b", model.CodeUnavailable},
		"too many":     {[][]reply{{coded(429, model.CodeLimit, 1)}, stream}, "a", model.CodeLimit},
		"unauthorized": {[][]reply{{coded(401, model.CodeUnauthorized, 0)}, stream}, "a", model.CodeUnauthorized},
	} {
		c, s := newScripted(t, Retry{}, tt.replies...)
		err := c.Tail(t.Context(), event.TailFilter{}, none)
		if s.hosts() != tt.hosts || (err == nil) != (tt.code == "") || err != nil && model.CodeOf(err) != tt.code {
			t.Errorf("%s: asked %s, %v", name, s.hosts(), err)
		}
	}
}

// The error of take ends a tail and is returned; so is what is no stream of
// ours.
func TestTail_errors(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	const entry = "event: accepted\ndata: {\"eventId\":\"e\"}\n\n"
	c, _ := newScripted(t, Retry{}, []reply{{status: 200, body: entry + entry}})
	n := 0
	if err := c.Tail(t.Context(), event.TailFilter{}, func(event.TailBatch) error { n++; return enough }); !errors.Is(err, enough) || n != 1 {
		t.Errorf("%v after %d", err, n)
	}
	fits := `{"eventId":"` + strings.Repeat("x", maxTailLine-len("data: ")-len(`{"eventId":""}`)-1) + `"}`
	for body, want := range map[string]string{
		"event: accepted\ndata: {\n\n": "not what was expected", "event: accepted\ndata: " + fits + "\n\n": "", "event: accepted\ndata: " + fits + "x\n\n": "broke off",
	} {
		c, _ := newScripted(t, Retry{}, []reply{{status: 200, body: body}})
		err := c.Tail(t.Context(), event.TailFilter{}, func(event.TailBatch) error { return nil })
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", body, err, want)
		}
	}
}

// A stream outlives the timeout of the client, is given up when its node is
// silent, and ends with its context.
func TestTail_silenceAndEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := pipes{nodes: map[string]*pipeListener{}}
		p.serve(t, "a", func(w http.ResponseWriter, r *http.Request) {
			for range 4 {
				_, _ = w.Write([]byte(": keep-alive\n\n"))
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(tailSilence - time.Second):
				case <-r.Context().Done():
					return
				}
			}
			<-r.Context().Done()
		})
		c := p.client(t, time.Second, "http://a")
		none := func(event.TailBatch) error { return nil }
		start := time.Now()
		err := c.Tail(t.Context(), event.TailFilter{}, none)
		if took, want := time.Since(start), 3*(tailSilence-time.Second)+tailSilence; model.CodeOf(err) != model.CodeUnavailable || !strings.Contains(err.Error(), "silent") || took != want {
			t.Errorf("%v after %v, want %v", err, took, want)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start = time.Now()
		if err := c.Tail(ctx, event.TailFilter{}, none); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		c.CloseIdle()
	})
}
