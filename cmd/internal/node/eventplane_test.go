package node

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/config"
)

// decode reads the body of an answer.
func decode[T any](tb testing.TB, a answer) T {
	tb.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		tb.Fatalf("%s: %v", a, err)
	}
	return v
}

type foundEvents struct {
	Events []struct {
		EventID    string `json:"eventId"`
		Deliveries []struct {
			Status   string `json:"status"`
			Attempts int    `json:"attempts"`
		} `json:"deliveries"`
	} `json:"events"`
	NextCursor       string   `json:"nextCursor"`
	UnreachableNodes []string `json:"unreachableNodes"`
}

// search reads all pages of a search at one node.
func search(c *testCluster, at *testNode, query string) (ids []string) {
	c.tb.Helper()
	cursor := ""
	for range 100 {
		p := decode[foundEvents](c.tb, c.must(at, http.MethodGet, "/events/1/events?limit=7&"+query+cursor, nil))
		if len(p.UnreachableNodes) > 0 {
			c.tb.Errorf("nodes did not answer: %v", p.UnreachableNodes)
		}
		for _, e := range p.Events {
			ids = append(ids, e.EventID)
		}
		if p.NextCursor == "" {
			return ids
		}
		cursor = "&cursor=" + p.NextCursor
	}
	c.tb.Fatal("the pages do not end")
	return nil
}

// refused is a hook that refuses everything.
func refused(tb testing.TB) *hook {
	tb.Helper()
	h := newHook(tb)
	for range cap(h.status) {
		h.status <- http.StatusBadRequest
	}
	return h
}

// Events go to destinations that different nodes own; every node finds all of
// them, page by page, newest first, whoever attempted them.
func TestNode_search(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	good, bad := newHook(t), refused(t)
	for i := range 6 {
		subscribe(c, c.nodes[0], "SMS", fmt.Sprint("good", i), good.URL, "DELIVERY")
	}
	c.must(c.nodes[0], http.MethodPost, "/subscriptions/1/subscription/SMS", map[string]any{
		"subscriptionId": "clicks", "events": []string{"CLICK"},
		"profile": map[string]any{
			"profileId": "bad", "webhook": map[string]any{"notifyUrl": bad.URL},
			"retry": map[string]any{"policy": "custom", "schedule": []int{1}, "maxAttempts": 1},
		},
	})
	var delivered, dead []string
	for i := range 20 {
		id := fmt.Sprintf("d-%02d", i)
		c.must(c.nodes[i%3], http.MethodPost, "/events/1/events", map[string]any{
			"eventId": id, "channel": "SMS", "event": "DELIVERY", "resource": fmt.Sprint("r", i%2), "payload": map[string]any{"i": i},
		})
		delivered = append([]string{id}, delivered...)
		if i%4 == 0 {
			id = fmt.Sprintf("c-%02d", i)
			c.must(c.nodes[i%3], http.MethodPost, "/events/1/events", map[string]any{"eventId": id, "channel": "SMS", "event": "CLICK", "payload": map[string]any{}})
			dead = append([]string{id}, dead...)
		}
	}
	for _, at := range c.nodes {
		c.eventually("all are found as delivered", func() bool { return slices.Equal(search(c, at, "status=DELIVERED"), delivered) })
		c.eventually("all refused ones are found as dead", func() bool { return slices.Equal(search(c, at, "status=DEAD"), dead) })
		if got := search(c, at, "channel=SMS&event=DELIVERY&resource=r1&profileId=good3-hook"); len(got) != 10 {
			t.Errorf("by resource and profile: %v, want 10", got)
		}
		if got := search(c, at, "status=PENDING"); len(got) != 0 {
			t.Errorf("pending: %v", got)
		}
	}
	// A node that is down is named, and what it attempted may be missing.
	c.stop(c.nodes[2])
	c.eventually("the search names the node that is down", func() bool {
		p := decode[foundEvents](t, c.must(c.nodes[0], http.MethodGet, "/events/1/events", nil))
		return slices.Equal(p.UnreachableNodes, []string{"n3"})
	})
}

// Dead letters are listed by every node, replayed one by one or by a job, and
// arrive under the webhook-id they had.
func TestNode_replay(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	h := refused(t)
	c.must(c.nodes[0], http.MethodPost, "/subscriptions/1/subscription/EMAIL", map[string]any{
		"subscriptionId": "opens", "events": []string{"OPEN"},
		"profile": map[string]any{"profileId": "p", "webhook": map[string]any{"notifyUrl": h.URL}, "retry": map[string]any{"policy": "custom", "schedule": []int{1}, "maxAttempts": 1}},
	})
	const events = 12
	first := map[string]bool{}
	for i := range events {
		c.must(c.nodes[i%3], http.MethodPost, "/events/1/events", map[string]any{"eventId": fmt.Sprint("e", i), "channel": "EMAIL", "event": "OPEN", "payload": map[string]any{"i": i}})
		first[h.next(t).header.Get("Webhook-Id")] = true
	}
	type deadLetters struct {
		DeadLetters []struct {
			DeliveryID string `json:"deliveryId"`
			Failure    struct{ StatusCode int }
		} `json:"deadLetters"`
	}
	list := func(at *testNode) deadLetters {
		return decode[deadLetters](t, c.must(at, http.MethodGet, "/events/1/dead-letters", nil))
	}
	for _, at := range c.nodes {
		c.eventually("every node lists all dead letters", func() bool { return len(list(at).DeadLetters) == events })
	}
	for len(h.status) > 0 {
		<-h.status // from now on everything is taken
	}
	one := list(c.nodes[1]).DeadLetters[3]
	if one.Failure.StatusCode != http.StatusBadRequest || !first[one.DeliveryID] {
		t.Errorf("dead letter: %+v", one)
	}
	c.must(c.nodes[2], http.MethodPost, "/events/1/dead-letters/"+one.DeliveryID+"/replay", map[string]any{})
	if got := h.next(t); got.header.Get("Webhook-Id") != one.DeliveryID || got.header.Get("Belfry-Attempt") != "2" {
		t.Errorf("replayed as %s, attempt %s", got.header.Get("Webhook-Id"), got.header.Get("Belfry-Attempt"))
	}
	if a := c.do(c.nodes[0], http.MethodPost, "/events/1/dead-letters/"+one.DeliveryID+"/replay", map[string]any{}); a.status != http.StatusNotFound {
		t.Errorf("replayed a second time: %s, want 404", a)
	}
	a := c.must(c.nodes[0], http.MethodPost, "/events/1/replays", map[string]any{"filter": map[string]any{"profileId": "p"}, "rate": 1000})
	at := a.header.Get("Location")
	for range events - 1 {
		if id := h.next(t).header.Get("Webhook-Id"); !first[id] {
			t.Errorf("arrived under the new webhook-id %s", id)
		}
	}
	for _, n := range c.nodes {
		c.eventually("every node shows the job done", func() bool {
			j := decode[struct {
				State           string
				Total, Replayed int
			}](t, c.must(n, http.MethodGet, at, nil))
			return j.State == "DONE" && j.Total == events-1 && j.Replayed == events-1
		})
		c.eventually("no dead letter is left", func() bool { return len(list(n).DeadLetters) == 0 })
	}
}

// tailClient has no time limit: a tail goes on.
var tailClient = &http.Client{}

// tailLines follows a node's tail and sends its lines until the test ends.
func tailLines(c *testCluster, at *testNode, query string) <-chan string {
	c.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.tb.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.APIAddr()+"/events/1/tail?"+query, nil)
	if err != nil {
		c.tb.Fatal(err)
	}
	req.Header.Set("Authorization", "App "+testKey)
	resp, err := tailClient.Do(req) //nolint:bodyclose // the goroutine below closes it
	if err != nil {
		c.tb.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		c.tb.Fatalf("tail: %s", resp.Status)
	}
	lines := make(chan string, 1000)
	go func() {
		defer func() { _ = resp.Body.Close() }()
		s := bufio.NewScanner(resp.Body)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			lines <- s.Text()
		}
		close(lines)
	}()
	return lines
}

// A tail at one node shows what every node takes and attempts.
func TestNode_tail(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	h := newHook(t)
	for i := range 8 {
		subscribe(c, c.nodes[0], "SMS", fmt.Sprint("s", i), h.URL, "DELIVERY")
	}
	lines := tailLines(c, c.nodes[0], "channel=SMS")
	seen := map[string]bool{}
	round := 0
	c.eventually("entries of all nodes", func() bool {
		for i, n := range c.nodes { // some come before a node is followed
			c.must(n, http.MethodPost, "/events/1/events", report(fmt.Sprintf("m-%d-%d", round, i)))
			c.must(n, http.MethodPost, "/events/1/events", map[string]any{"channel": "MMS", "event": "DELIVERY", "payload": map[string]any{}})
		}
		round++
		for {
			select {
			case l := <-lines:
				data, ok := strings.CutPrefix(l, "data: ")
				if !ok {
					continue
				}
				var e struct{ Kind, NodeID, Channel, Status string }
				if err := json.Unmarshal([]byte(data), &e); err != nil || e.Channel == "MMS" {
					t.Fatalf("line %q: %v", l, err)
				}
				seen[e.Kind+" "+e.NodeID] = true
			case <-time.After(20 * time.Millisecond):
				return len(seen) == 6
			}
		}
	})
	// A node that stops ends its tails, so that its stop is not held up.
	c.stop(c.nodes[0])
	for range lines {
	}
}

func TestNode_matchTestAndStats(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	h := newHook(t)
	subscribe(c, c.nodes[0], "SMS", "dlr", h.URL, "DELIVERY")
	subscribe(c, c.nodes[0], "SMS", "clicks", h.URL, "CLICK")
	m := decode[struct {
		Matched, Unmatched []struct {
			SubscriptionID string
			Reasons        []string
		}
		More bool
	}](t, c.must(c.nodes[0], http.MethodPost, "/events/1/match", map[string]any{"channel": "SMS", "event": "DELIVERY"}))
	if len(m.Matched) != 1 || m.Matched[0].SubscriptionID != "dlr" || len(m.Unmatched) != 1 || len(m.Unmatched[0].Reasons) != 1 || !strings.Contains(m.Unmatched[0].Reasons[0], "CLICK") {
		t.Errorf("match: %+v", m)
	}
	h.status <- http.StatusTeapot
	report := decode[struct {
		Attempt struct {
			StatusCode int
			Outcome    string
			Timing     *struct{ FirstByteMs float64 }
		}
		Payload json.RawMessage
	}](t, c.must(c.nodes[2], http.MethodPost, "/events/1/profiles/dlr-hook/test", map[string]any{"channel": "SMS", "event": "DELIVERY"}))
	got := h.next(t)
	if report.Attempt.StatusCode != http.StatusTeapot || report.Attempt.Timing == nil || got.header.Get(headerTestEvent) != "true" || !strings.Contains(string(got.body), string(report.Payload)) {
		t.Errorf("test event: %+v; arrived %s with %v", report, got.body, got.header)
	}
	if a := c.do(c.nodes[0], http.MethodPost, "/events/1/profiles/none/test", map[string]any{"channel": "SMS", "event": "DELIVERY"}); a.status != http.StatusNotFound {
		t.Errorf("test event to no profile: %s", a)
	}
	for i := range 9 {
		c.must(c.nodes[i%3], http.MethodPost, "/events/1/events", map[string]any{"channel": "SMS", "event": "DELIVERY", "payload": map[string]any{"i": i}})
	}
	for _, n := range c.nodes {
		c.eventually("every node counts all deliveries", func() bool {
			s := decode[struct {
				Total    struct{ Delivered, Backlog int }
				Profiles []struct{ ProfileID string }
			}](t, c.must(n, http.MethodGet, "/events/1/stats", nil))
			return s.Total.Delivered == 9 && s.Total.Backlog == 0 && len(s.Profiles) == 1
		})
		s := decode[struct {
			Points []struct{ Accepted, Delivered int }
		}](t, c.must(n, http.MethodGet, "/events/1/stats/series", nil))
		accepted, delivered := 0, 0
		for _, p := range s.Points {
			accepted, delivered = accepted+p.Accepted, delivered+p.Delivered
		}
		if accepted != 9 || delivered != 9 {
			t.Errorf("the series has %d events and %d deliveries, want 9 and 9", accepted, delivered)
		}
	}
}

// headerTestEvent marks a request with a sample event.
const headerTestEvent = "Belfry-Test"

// What happens to deliveries is told as events of channel BELFRY.
func TestNode_notices(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	ops, h := newHook(t), newHook(t)
	c.must(c.nodes[0], http.MethodPost, "/subscriptions/1/subscription/BELFRY", map[string]any{
		"subscriptionId": "ops", "events": []string{"profile.disabled", "delivery.dead"},
		"profile": map[string]any{"profileId": "ops", "webhook": map[string]any{"notifyUrl": ops.URL}},
	})
	subscribe(c, c.nodes[0], "SMS", "dlr", h.URL, "DELIVERY")
	h.status <- http.StatusGone
	c.must(c.nodes[0], http.MethodPost, "/events/1/events", report("m-1"))
	told := []string{ops.next(t).header.Get("Belfry-Event"), ops.next(t).header.Get("Belfry-Event")}
	slices.Sort(told)
	if !slices.Equal(told, []string{"delivery.dead", "profile.disabled"}) {
		t.Errorf("told: %v", told)
	}
	if a := c.do(c.nodes[0], http.MethodPost, "/events/1/events", map[string]any{"channel": "BELFRY", "event": "delivery.dead", "payload": map[string]any{}}); a.status != http.StatusBadRequest {
		t.Errorf("an event of channel BELFRY by a client: %s, want 400", a)
	}
}

// A full disk refuses events with 503; the configuration can still be changed.
func TestNode_fullDisk(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1, func(cfg *config.Config) { cfg.MinFreeDisk = 1 << 40 })
	a := c.do(c.nodes[0], http.MethodPost, "/events/1/events", report("m-1"))
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !strings.Contains(string(a.body), "min-free-disk") {
		t.Errorf("an event on a full disk: %s", a)
	}
	subscribe(c, c.nodes[0], "SMS", "dlr", "http://127.0.0.1:9/", "DELIVERY")
}
