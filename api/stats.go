package api

import (
	"cmp"
	"slices"
	"strings"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// statsSort is an order of the profiles in the figures; the id decides between
// equal ones.
type statsSort string

const (
	sortName      statsSort = "name" // the default
	sortFailing   statsSort = "failing"
	sortBacklog   statsSort = "backlog"
	sortDelivered statsSort = "delivered"
	sortLatency   statsSort = "latency"
)

// compare has what is greatest first.
func (s statsSort) compare(a, b event.ProfileStats) int {
	failing := func(p *event.ProfileStats) int64 { return p.Attempts - p.Outcomes["ok"] }
	p99 := func(p *event.ProfileStats) float64 {
		if p.LatencyMs == nil {
			return 0
		}
		return p.LatencyMs.P99
	}
	by := 0
	switch s {
	case sortFailing:
		by = cmp.Or(cmp.Compare(failing(&b), failing(&a)), cmp.Compare(b.Backlog, a.Backlog))
	case sortBacklog:
		by = cmp.Compare(b.Backlog, a.Backlog)
	case sortDelivered:
		by = cmp.Compare(b.Delivered, a.Delivered)
	case sortLatency:
		by = cmp.Compare(p99(&b), p99(&a))
	case sortName:
	}
	return cmp.Or(by, cmp.Compare(a.ProfileID, b.ProfileID))
}

// statsChoice says which profiles of the figures an answer has.
type statsChoice struct {
	profileID, search string
	sort              statsSort
	// size is 0 for all of them.
	page, size int
}

// statsChoice reads the parameters of a choice.
func (p *queryReader) statsChoice() statsChoice {
	p.knows("profileId", "search", "page", "size")
	c := statsChoice{
		profileID: p.r.idFilter("profileId", &p.v), search: strings.ToLower(p.r.search(&p.v)),
		sort: choice(p, "sort", sortName, sortFailing, sortBacklog, sortDelivered, sortLatency),
		page: p.r.intParam("page", 0, 0, 1<<31-1, &p.v), size: p.r.intParam("size", 0, 1, model.MaxPageSize, &p.v),
	}
	if c.size == 0 && p.r.query.Has("page") && !p.r.query.Has("size") {
		p.v.Add("page", "goes together with size")
	}
	return c
}

// statsWire are the figures as they are sent.
type statsWire struct {
	event.Stats
	// ProfilesFound counts the profiles that were asked for, ProfilesTotal all
	// that have figures.
	ProfilesFound int `json:"profilesFound"`
	ProfilesTotal int `json:"profilesTotal"`
}

// of takes what was chosen; what came is not changed.
func (c statsChoice) of(st event.Stats) statsWire {
	w := statsWire{Stats: st, ProfilesTotal: len(st.Profiles)}
	w.Total = profileStatsWire(st.Total)
	w.Profiles = []event.ProfileStats{}
	for _, p := range st.Profiles {
		if (c.profileID == "" || p.ProfileID == c.profileID) && (c.search == "" || strings.Contains(strings.ToLower(p.ProfileID), c.search)) {
			w.Profiles = append(w.Profiles, p)
		}
	}
	w.ProfilesFound = len(w.Profiles)
	slices.SortFunc(w.Profiles, c.sort.compare)
	if c.size > 0 {
		from := min(c.page, len(w.Profiles)/c.size+1) * c.size // page may be large
		from = min(from, len(w.Profiles))
		w.Profiles = w.Profiles[from:min(from+c.size, len(w.Profiles))]
	}
	for i := range w.Profiles {
		w.Profiles[i] = profileStatsWire(w.Profiles[i])
	}
	return w
}
