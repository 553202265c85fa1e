package console

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// fixture is one page with what the API has behind it. Every screen has at
// least one, and every list has those of listKinds: TestPages_fixtures says
// which are missing.
type fixture struct {
	// screen is the path of the screen as registered; path is what is asked for.
	screen, path string
	// kind: empty, one, many (10,000), unicode, rtl, or another word.
	kind string
	api  func(*fakeAPI)
	// want and not must and must not be in the page.
	want, not []string
	// status; 0: 200.
	status int
}

// fixtures joins those of every area. A new area adds its line here.
func fixtures() []fixture {
	return slices.Concat(
		sessionFixtures(),
		overviewFixtures(),
		destinationFixtures(),
		setupFixtures(),
		eventFixtures(),
		clusterFixtures(),
		accountFixtures(), keyFixtures(), userFixtures(), auditFixtures(), healthFixtures(),
	)
}

// lookedAt are the fixtures that a browser looks at: all but those that are only
// long.
func lookedAt() []fixture {
	return slices.DeleteFunc(slices.Concat(publicFixtures(), fixtures()), func(f fixture) bool { return f.kind == "many" })
}

// publicFixtures are pages for somebody who is not signed in.
func publicFixtures() []fixture {
	return []fixture{{screen: "/sign-in", path: "/sign-in", kind: "one"}}
}

// everyLook reports whether the browser looks at the page in every look; at the
// others, which differ in content and not in colours, in a narrow one.
func (f fixture) everyLook() bool { return f.kind == "one" }

// Texts that break pages which do not escape, isolate or wrap.
const (
	textUnicode = `日本語 <script>alert(1)</script> "'&ä𝔘👩‍👩‍👧 Zürich`
	textRTL     = "مرحبا \u202Eevil\u202C שלום"
)

// longText has no place to break.
var longText = strings.Repeat("wide", 60)

func sessionFixtures() []fixture {
	may := func(scopes ...model.Scope) func(*fakeAPI) {
		return func(f *fakeAPI) { f.caller.Scopes = scopes }
	}
	return []fixture{
		{screen: "/users", path: "/users", kind: "forbidden", api: may(model.ScopeEventsRead), status: http.StatusForbidden, want: []string{"Not allowed", "accounts:manage"}},
		{screen: "/", path: "/nowhere", kind: "nowhere", status: http.StatusNotFound, want: []string{"There is no page at this address"}},
		{screen: "/settings", path: "/settings", kind: "one", want: []string{"Display settings", `value="dark"`}},
	}
}

// figures are those of a profile.
func figures(id string, attempts, ok int64) event.ProfileStats {
	rate := float64(ok) / float64(max(attempts, 1))
	at := now.Add(-3 * time.Minute)
	return event.ProfileStats{
		ProfileID: id, Attempts: attempts, Outcomes: map[string]int64{"ok": ok, "temporary": attempts - ok}, Delivered: ok, Retried: attempts - ok, RatePerSecond: float64(ok) / 300,
		SuccessRate: &rate, LatencyMs: &event.Quantile{P50: 12.4, P90: 80, P99: 412}, Backlog: int(attempts - ok), OldestPendingAt: &at,
	}
}

// series is an hour with about n events a minute, and a trouble in its middle.
func series(n int64) event.Series {
	s := event.Series{From: now.Add(-time.Hour), To: now, StepSeconds: 60}
	for i := range 61 {
		p := event.SeriesPoint{At: now.Add(time.Duration(i-60) * time.Minute), Accepted: n + n/10*int64(i%7) - n/20*int64(i%3)}
		p.Attempts, p.Delivered = p.Accepted, p.Accepted
		if n > 0 {
			p.LatencyMs = &event.Quantile{P50: 12 + float64(i%5), P90: 60 + float64(i%9)*4, P99: 180 + float64(i%13)*9}
		}
		if n > 0 && i > 28 && i < 36 {
			p.Failed, p.Delivered = p.Attempts/3, p.Attempts*2/3
			p.LatencyMs.P99 *= 2.5
		}
		s.Points = append(s.Points, p)
	}
	return s
}

func overviewFixtures() []fixture {
	base := func(f *fakeAPI) {
		f.set("GET /events/1/stats", event.Stats{From: now.Add(-5 * time.Minute), To: now, Total: event.ProfileStats{Outcomes: map[string]int64{}}, Profiles: []event.ProfileStats{}})
		f.set("GET /events/1/stats/series", series(0))
		f.set("GET /subscriptions/1/certificates", paged([]client.Certificate{}))
		f.set("GET /subscriptions/1/profiles", paged([]client.Profile{}))
		nodes := []client.Node{{NodeID: "n1", Role: "LEADER", Voter: true, Live: true, AppliedIndex: 10}}
		f.set("GET /cluster/1/nodes", map[string]any{"nodes": nodes}).set("GET /cluster/1/health", healthOfNodes(nodes))
		f.set("GET /cluster/1/partitions", map[string]any{"partitions": []client.Partition{{Partition: 0, Owner: "n1", Epoch: 1}}})
		f.set("GET /accounts/1/accounts/acme/audit", paged([]client.AuditRecord{}))
	}
	named := func(name string, n int) func(*fakeAPI) {
		return func(f *fakeAPI) {
			base(f)
			st := event.Stats{From: now.Add(-5 * time.Minute), To: now, Total: figures("", 31_234, 30_100)}
			for i := range n {
				st.Profiles = append(st.Profiles, figures(fmt.Sprintf("%s%d", name, i), 1000, int64(900+i%100)))
			}
			f.set("GET /events/1/stats", statsOf(st))
			f.set("GET /events/1/stats/series", series(5000))
			f.set("GET /subscriptions/1/profiles", paged([]client.Profile{{ProfileID: name}}))
			var certs []client.Certificate
			for i := range max(1, n/50) {
				certs = append(certs, client.Certificate{CertificateID: name, IssuedTo: "CN=" + name, ValidUntil: now.Add(9 * 24 * time.Hour).Add(time.Duration(i) * time.Hour).UnixMilli(), Status: "READY"})
			}
			f.set("GET /subscriptions/1/certificates", paged(certs))
			f.set("GET /accounts/1/accounts/acme/audit", paged([]client.AuditRecord{{Index: 7, At: now.Add(-time.Hour), Actor: "user:" + name, Action: "profile.update", Object: "profile/" + name}}))
		}
	}
	return []fixture{
		{screen: "/", path: "/", kind: "empty", api: base, want: []string{"Nothing is delivered yet", "curl"}},
		{screen: "/", path: "/", kind: "one", api: named("orders", 1), want: []string{"orders0", "expires in 9 d 0 h", "40.0 GiB of 100 GiB free", `<span class="tag info">profile update</span>`, "31\u202f234 attempts"}},
		{screen: "/", path: "/", kind: "many", api: named("p", 10_000), want: []string{"p0", "expires in 9 d 0 h", "And 180 more"}},
		{screen: "/", path: "/", kind: "unicode", api: named(textUnicode, 1)},
		{screen: "/", path: "/", kind: "rtl", api: named(textRTL, 1)},
		{screen: "/", path: "/", kind: "long", api: named(longText, 1)},
	}
}
