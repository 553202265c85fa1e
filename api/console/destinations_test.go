package console

import (
	"fmt"
	"net/http"
	"testing"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

func destinationFixtures() []fixture {
	list := func(name string, n int) func(*fakeAPI) {
		return func(f *fakeAPI) {
			st := event.Stats{Total: figures("", 1, 1), Profiles: []event.ProfileStats{}}
			for i := range n {
				st.Profiles = append(st.Profiles, figures(fmt.Sprintf("%s%d", name, i), 100+int64(i), 100))
			}
			f.set("GET /events/1/stats", statsOf(st))
			f.set("GET /events/1/destinations", event.DestinationStates{Destinations: []event.DestinationState{{ProfileID: name + "0", NodeID: "n2", Breaker: event.BreakerHalfOpen, Failed: 1}}})
		}
	}
	return []fixture{
		{screen: "/destinations", path: "/destinations", kind: "empty", api: list("", 0), want: []string{"Nothing was sent in this time", "curl"}},
		{screen: "/destinations", path: "/destinations", kind: "one", api: list("orders", 12), want: []string{"orders0", "100 %", "12 entries"}, not: []string{"100.00 %"}},
		{screen: "/destinations", path: "/destinations?q=none", kind: "nothing", api: list("orders", 2), want: []string{"No destination has such a name"}},
		{screen: "/destinations", path: "/destinations?sort=name&page=2", kind: "many", api: list("p", 10_000), want: []string{"51–100 of 10\u202f000"}},
		{screen: "/destinations", path: "/destinations", kind: "unicode", api: list(textUnicode, 2)},
		{screen: "/destinations", path: "/destinations", kind: "rtl", api: list(textRTL, 2)},
		{screen: "/destinations", path: "/destinations", kind: "long", api: list(longText, 2)},
		{screen: "/destinations", path: "/destinations?q=long", kind: "refused", status: http.StatusUnprocessableEntity, want: []string{`value="long"`, `id="f-q-error"`, "Must be shorter"}, not: []string{"Nothing was sent", `id="list" data-hx-get`}, api: func(f *fakeAPI) {
			f.set("GET /events/1/stats", model.Invalid("/search", "must be shorter"))
		}},
		{screen: "/destinations", path: "/destinations?page=9", kind: "beyond", api: list("orders", 2), want: []string{"There is nothing on this page"}, not: []string{"No destination has"}},
	}
}

// The page asks for what it shows; a window or an order that is not offered is
// the first one.
func TestDestinations_asks(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"": "page=0&size=50&sort=failing&window=5m0s", "?window=1h&sort=latency&q=or&page=3": "page=2&search=or&size=50&sort=latency&window=1h0m0s", "?window=99h&sort=no": "page=0&size=50&sort=failing&window=5m0s",
	} {
		api := newFakeAPI().set("GET /events/1/stats", event.Stats{})
		if res := get(t, newConsole(t, api), "/destinations"+query); res.Code != http.StatusOK {
			t.Fatalf("%d\n%s", res.Code, res.Body)
		}
		if got := api.seen("GET /events/1/stats"); len(got) != 1 || got[0].Query != want {
			t.Errorf("%s asks for %+v, want %s", query, got, want)
		}
	}
	if rateTone(nil) != "" {
		t.Error("no attempts have a tone")
	}
}
