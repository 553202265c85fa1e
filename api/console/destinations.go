package console

import (
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

func destinationScreens() []screen {
	return []screen{{
		path: "/destinations", file: "destinations.html", title: "Destinations", scope: model.ScopeEventsRead, get: listDestinations,
		nav: &navItem{group: navTop, label: "Destinations", icon: "chart", key: 'b', order: 1},
	}}
}

// windows are the lengths of time that figures can be looked at for.
var windows = []option{{"5m", "5 minutes"}, {"15m", "15 minutes"}, {"1h", "1 hour"}}

// window is what the address chose; the first of windows without.
func (v *visit) window() (string, time.Duration) {
	chosen := v.query("window")
	if !has(windows, chosen) {
		chosen = windows[0].Value
	}
	d, err := time.ParseDuration(chosen)
	if err != nil {
		return windows[0].Value, overviewWindow
	}
	return chosen, d
}

// destinationsView are the figures of every profile that has some.
type destinationsView struct {
	Filter  *form
	Windows []option
	Window  string
	Sort    string
	Sorts   []option
	Rows    []destination
	Pager   pager
	// All counts the destinations before the search.
	All     int
	Missing []string
	// States are what nodes know of destinations, by profile; StatesMissing is
	// what of it could not be read.
	States        map[string]destinationState
	StatesMissing string
}

var destinationSorts = []option{{"failing", "Failed attempts"}, {"backlog", "Backlog"}, {"delivered", "Delivered"}, {"latency", "Latency"}, {"name", "Name"}}

func listDestinations(v *visit) (*answer, error) {
	f := v.filters("q")
	view := destinationsView{Filter: f, Windows: windows, Sorts: destinationSorts, Sort: v.query("sort")}
	if !has(destinationSorts, view.Sort) {
		view.Sort = destinationSorts[0].Value
	}
	var d time.Duration
	view.Window, d = v.window()
	r := v.read()
	st, err := v.api.Stats(v.ctx(), d, client.StatsFilter{Search: f.Text("q"), Sort: view.Sort, Page: r.Page, Size: r.Size})
	if err != nil {
		return v.badFilter(&view, f, moved(err, "search", "q"), "q")
	}
	view.All, view.Missing = st.ProfilesTotal, st.Unreachable
	for _, p := range st.Profiles {
		view.Rows = append(view.Rows, rowOfStats(p, v.c.now()))
	}
	rows := client.Page[destination]{Results: view.Rows}
	rows.Paging.Page, rows.Paging.Size, rows.Paging.TotalResults = r.Page, r.Size, st.ProfilesFound
	rows.Paging.TotalPages = (st.ProfilesFound + r.Size - 1) / r.Size
	view.Pager = pagerOf(rows)
	var ids []string
	for _, r := range view.Rows {
		if r.ProfileID != "" {
			ids = append(ids, r.ProfileID)
		}
	}
	view.States, view.StatesMissing = destinationStates(v, ids)
	return v.show(&view), nil
}

func rowOfStats(p event.ProfileStats, now time.Time) destination {
	d := destination{ProfileStats: p, Tone: rateTone(p.SuccessRate), Failing: p.Attempts - p.Outcomes["ok"]}
	if p.OldestPendingAt != nil {
		d.Oldest = duration(now.Sub(*p.OldestPendingAt))
	}
	return d
}
