package console

import (
	"cmp"
	"slices"
	"strings"
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

var destinationSorts = []option{{"failing", "Failed attempts"}, {"backlog", "Backlog"}, {"rate", "Delivered"}, {"latency", "Latency"}, {"name", "Name"}}

// lessOf orders destinations: what needs attention is first.
func lessOf(sort string) func(a, b destination) int {
	p99 := func(d destination) float64 {
		if d.LatencyMs == nil {
			return 0
		}
		return d.LatencyMs.P99
	}
	by := map[string]func(a, b destination) int{
		"failing": func(a, b destination) int { return cmp.Compare(b.Failing, a.Failing) },
		"backlog": func(a, b destination) int { return cmp.Compare(b.Backlog, a.Backlog) },
		"rate":    func(a, b destination) int { return cmp.Compare(b.Delivered, a.Delivered) },
		"latency": func(a, b destination) int { return cmp.Compare(p99(b), p99(a)) },
		"name":    func(a, b destination) int { return 0 },
	}
	return func(a, b destination) int { return cmp.Or(by[sort](a, b), cmp.Compare(a.ProfileID, b.ProfileID)) }
}

func listDestinations(v *visit) (*answer, error) {
	view := destinationsView{Windows: windows, Sorts: destinationSorts, Sort: v.query("sort")}
	if !has(destinationSorts, view.Sort) {
		view.Sort = destinationSorts[0].Value
	}
	var d time.Duration
	view.Window, d = v.window()
	st, err := v.api.Stats(v.ctx(), d)
	if err != nil {
		return nil, err
	}
	view.All, view.Missing = len(st.Profiles), st.Unreachable
	for _, p := range st.Profiles {
		if strings.Contains(strings.ToLower(p.ProfileID), strings.ToLower(v.query("q"))) {
			view.Rows = append(view.Rows, rowOfStats(p))
		}
	}
	slices.SortFunc(view.Rows, lessOf(view.Sort))
	view.Rows, view.Pager = pageOfAll(view.Rows, v.read())
	var ids []string
	for _, r := range view.Rows {
		if r.ProfileID != "" {
			ids = append(ids, r.ProfileID)
		}
	}
	view.States, view.StatesMissing = destinationStates(v, ids)
	return v.show(view), nil
}

func rowOfStats(p event.ProfileStats) destination {
	return destination{ProfileStats: p, Tone: rateTone(p.SuccessRate), Failing: p.Attempts - p.Outcomes["ok"]}
}

// pageOfAll takes one page of a list that is there as a whole.
func pageOfAll[T any](all []T, r client.Read) ([]T, pager) {
	from := min(r.Page*r.Size, len(all))
	rows := all[from:min(from+r.Size, len(all))]
	p := client.Page[T]{Results: rows}
	p.Paging.Page, p.Paging.Size, p.Paging.TotalResults = r.Page, r.Size, len(all)
	p.Paging.TotalPages = (len(all) + r.Size - 1) / r.Size
	return rows, pagerOf(p)
}
