package console

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

func healthFixtures() []fixture {
	base := func(id string) func(*fakeAPI) {
		return func(f *fakeAPI) {
			f.set("GET /subscriptions/1/profiles/"+id, client.Profile{ProfileID: id, Webhook: &client.Webhook{NotifyURL: "https:" + "//example.com/hook"}, WindowSize: 8, RateLimit: 50, MaxBucketSize: 10, Ordering: "KEY"})
			f.set("GET /events/1/stats", event.Stats{From: now.Add(-5 * time.Minute), To: now, Total: event.ProfileStats{}, Profiles: []event.ProfileStats{}})
			f.set("GET /events/1/stats/series", event.Series{StepSeconds: 60})
			f.set("GET /events/1/destinations", event.DestinationStates{Destinations: []event.DestinationState{{ProfileID: id, NodeID: "n2", Breaker: event.BreakerClosed, Window: 2, WindowSize: 8}}})
			f.set("GET /events/1/events", client.EventList{Events: []client.EventSummary{}})
			f.set("GET /events/1/dead-letters", client.DeadLetterList{DeadLetters: []client.DeadLetter{}})
		}
	}
	busy := func(id string, n int) func(*fakeAPI) {
		return func(f *fakeAPI) {
			base(id)(f)
			st := event.Stats{From: now.Add(-5 * time.Minute), To: now, Total: figures("", 1000, 940)}
			for i := range n {
				st.Profiles = append(st.Profiles, figures(strings.Repeat("x", 1+i%9), 10, 10))
			}
			st.Profiles = append(st.Profiles, figures(id, 1000, 940))
			f.set("GET /events/1/stats", statsOf(st))
			var s event.Series
			s.StepSeconds = 60
			for i := range 60 {
				s.Points = append(s.Points, event.SeriesPoint{At: now.Add(time.Duration(i-60) * time.Minute), Attempts: 200, Failed: int64(i % 7), Delivered: int64(150 + i*i%50), LatencyMs: &event.Quantile{P50: 12, P90: 80, P99: float64(300 + i)}})
			}
			f.set("GET /events/1/stats/series", s)
			next := now.Add(40 * time.Second)
			f.set("GET /events/1/events", client.EventList{Events: []client.EventSummary{{
				Event:      event.Event{ID: "ev-7", Channel: "SMS", Name: "DELIVERY"},
				Deliveries: []client.DeliverySummary{{DeliveryID: "d1", ProfileID: id, Status: event.StatusRetrying, Attempts: 3, LastStatusCode: 503, NextAttemptAt: &next}, {DeliveryID: "of-another", ProfileID: "other", Status: event.StatusRetrying}},
			}}})
			f.set("GET /events/1/dead-letters", client.DeadLetterList{DeadLetters: []client.DeadLetter{{
				DeliveryID: "d9", ProfileID: id, DeadAt: now.Add(-time.Hour), Attempts: 12, Failure: event.Failure{Outcome: "temporary", StatusCode: 500, Error: "the receiver answered 500 " + id}, Event: event.Event{ID: "ev-1", Channel: "SMS", Name: "DELIVERY"},
			}}})
		}
	}
	const path = "/profiles/{id}/health"
	return []fixture{
		{screen: path, path: "/profiles/orders/health", kind: "one", api: busy("orders", 0), want: []string{
			"A part of the attempts failed", "94.00 %", "answered 503", "/events/ev-7", "/dead-letters/d9", "the receiver answered 500 orders", "8 requests at a time", "at most 50 /s", "blf-chart",
		}, not: []string{"of-another"}},
		{screen: path, path: "/profiles/orders/health?window=1h", kind: "empty", api: base("orders"), want: []string{"Nothing was sent, and nothing waits", "No delivery was given up"}},
		{screen: path, path: "/profiles/orders/health?window=bad", kind: "many", api: busy("orders", 10_000)},
		{screen: path, path: at("/profiles/{}/health", textUnicode)[len(Prefix):], kind: "unicode", api: busy(textUnicode, 0)},
		{screen: path, path: at("/profiles/{}/health", textRTL)[len(Prefix):], kind: "rtl", api: busy(textRTL, 0)},
		{screen: path, path: at("/profiles/{}/health", longText)[len(Prefix):], kind: "long", api: busy(longText, 0)},
		{screen: path, path: "/profiles/none/health", kind: "missing", status: http.StatusNotFound},
	}
}

func TestHealth_state(t *testing.T) {
	t.Parallel()
	off := false
	tests := map[string]struct {
		profile *client.Profile
		stats   event.ProfileStats
		tone    string
	}{
		"quiet":       {nil, event.ProfileStats{}, "info"},
		"held":        {nil, event.ProfileStats{Backlog: 4}, "warn"},
		"down":        {nil, figures("p", 10, 0), "bad"},
		"shaky":       {nil, figures("p", 100, 95), "warn"},
		"one in 1000": {nil, figures("p", 1000, 999), "ok"},
		"well":        {nil, figures("p", 10, 10), "ok"},
		"disabled":    {&client.Profile{Enabled: &off}, figures("p", 10, 10), "warn"},
	}
	for name, tt := range tests {
		h := healthView{Profile: tt.profile}
		if words, tone := h.state(tt.stats); tone != tt.tone || words == "" {
			t.Errorf("%s: %q in the tone %q, want %q", name, words, tone, tt.tone)
		}
	}
}

// The window of the address is what the API is asked for; the profile is left
// out for who may not see it.
func TestHealth_asks(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	healthFixtures()[0].api(api)
	api.caller.Scopes = []model.Scope{model.ScopeEventsRead}
	res := get(t, newConsole(t, api), "/profiles/orders/health?window=15m")
	if res.Code != http.StatusOK || strings.Contains(res.Body.String(), "at most 50 /s") {
		t.Fatalf("%d\n%s", res.Code, res.Body)
	}
	calls := api.seen("GET /events/1/stats")
	if len(calls) == 0 || calls[0].Query != "profileId=orders&window=15m0s" {
		t.Errorf("the figures were asked for by %v", calls)
	}
	if n := len(api.seen("GET /subscriptions/1/profiles")); n != 0 {
		t.Errorf("the profile was read %d times without the scope", n)
	}
}

// The overview names the disk that is worst off: one that cannot be read before
// one that is nearly full, and that before one with less room of much.
func TestOverview_disk(t *testing.T) {
	t.Parallel()
	free := func(node string, free int64) client.NodeHealth {
		return client.NodeHealth{NodeID: node, Disk: client.DiskHealth{TotalBytes: 100 << 30, FreeBytes: free << 30, MinFreeBytes: 1 << 30}}
	}
	broken := client.NodeHealth{NodeID: "n4", Disk: client.DiskHealth{Error: "it cannot be read"}}
	for _, tt := range []struct {
		nodes []client.NodeHealth
		want  string
	}{
		{[]client.NodeHealth{free("n1", 60), free("n2", 40), free("n3", 50)}, "n2 ok"},
		{[]client.NodeHealth{free("n1", 5), free("n2", 40)}, "n1 warn"},
		{[]client.NodeHealth{free("n1", 5), broken, free("n2", 40)}, "n4 bad"},
		{nil, ""},
	} {
		var o overviewView
		o.addDisk(func() (client.ClusterHealth, error) { return client.ClusterHealth{Nodes: tt.nodes}, nil })
		got := ""
		if o.Disk != nil {
			got = o.Disk.NodeID + " " + o.Disk.Tone
		}
		if got != tt.want || len(o.Missing) > 0 {
			t.Errorf("%v: %q, want %q; missing: %v", tt.nodes, got, tt.want, o.Missing)
		}
	}
}

// Pages that ask all nodes several things ask for all of it at once: with a node
// that hangs they take as long as one answer.
func TestPages_askAtOnce(t *testing.T) {
	t.Parallel()
	for path, routes := range map[string][]string{
		"/":                       {"GET /events/1/stats", "GET /events/1/stats/series", "GET /cluster/1/health"},
		"/profiles/orders/health": {"GET /events/1/stats", "GET /events/1/stats/series", "GET /events/1/destinations", "GET /events/1/events", "GET /events/1/dead-letters"},
	} {
		api := newFakeAPI().set("GET /subscriptions/1/profiles/orders", client.Profile{ProfileID: "orders"})
		var together sync.WaitGroup
		together.Add(len(routes))
		for _, r := range routes {
			api.set(r, func(r *http.Request) any {
				together.Done()
				together.Wait() // each answers when all have been asked
				return model.Errorf(model.CodeUnavailable, "asked")
			})
		}
		if res := get(t, newConsole(t, api), path); res.Code != http.StatusOK || strings.Count(res.Body.String(), ": asked") != len(routes) {
			t.Errorf("%s: %d\n%s", path, res.Code, res.Body)
		}
	}
}
