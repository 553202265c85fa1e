package console

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

func healthScreens() []screen {
	return []screen{{path: "/profiles/{id}/health", file: "health.html", title: "Health", scope: model.ScopeEventsRead, scripts: chartScripts, get: showHealth}}
}

// healthWindows are the spans of time that the figures can be of; the first is
// the default.
var healthWindows = []option{{"5m", "5 minutes"}, {"15m", "15 minutes"}, {"1h", "An hour"}}

// healthMost is how many deliveries each list of the page shows.
const healthMost = 10

// healthView is how the deliveries of one profile fare.
type healthView struct {
	ProfileID string
	// Profile is nil when the caller may not see profiles.
	Profile *client.Profile
	Windows []option
	// Window and Span are the chosen one, as value and in words.
	Window, Span string
	State, Tone  string
	Tiles        []tile
	Outcomes     []outcomeShare
	Charts       []chart
	Waiting      []waiting
	Dead         []client.DeadLetter
	// Now is what the node knows that delivers to it; nil: nothing.
	Now *destinationState
	// NowKnown: the nodes were asked with success.
	NowKnown bool
	// Missing says what could not be read, and why.
	Missing []string
}

// outcomeShare is how many attempts ended in one way.
type outcomeShare struct {
	Name, Tone string
	Count      int64
	Percent    float64
}

// waiting is a delivery that was tried and waits for its next attempt.
type waiting struct {
	EventID, Channel, Name string
	client.DeliverySummary
	Words string
}

func showHealth(v *visit) (*answer, error) {
	h := healthView{ProfileID: v.param("id"), Windows: healthWindows, Window: v.query("window")}
	if !has(healthWindows, h.Window) {
		h.Window = healthWindows[0].Value
	}
	h.Span = healthWindows[slices.IndexFunc(healthWindows, func(o option) bool { return o.Value == h.Window })].Label
	if v.can(model.ScopeSubscriptionsRead) {
		p, err := v.api.Profile(v.ctx(), h.ProfileID, client.Read{})
		if err != nil {
			return nil, err
		}
		h.Profile = &p
	}
	window, err := time.ParseDuration(h.Window)
	if err != nil {
		return nil, fmt.Errorf("the window of a page: %w", err)
	}
	stats := ahead(func() (client.Stats, error) {
		return v.api.Stats(v.ctx(), window, client.StatsFilter{ProfileID: h.ProfileID})
	})
	series := ahead(func() (event.Series, error) { return v.api.Series(v.ctx(), h.ProfileID, 0) })
	waiting := ahead(func() (client.EventList, error) {
		return v.api.SearchEvents(v.ctx(), event.Filter{ProfileID: h.ProfileID, Status: event.StatusRetrying}, client.Part{Limit: healthMost})
	})
	dead := ahead(func() (client.DeadLetterList, error) {
		return v.api.DeadLetters(v.ctx(), event.DeadFilter{ProfileID: h.ProfileID}, client.Part{Limit: healthMost})
	})
	h.addNow(v)
	h.addStats(v, stats)
	h.addCharts(series)
	h.addWaiting(waiting)
	h.addDead(dead)
	a := v.show(h).under("Notification profiles", at("/profiles"))
	return a.under(h.ProfileID, at("/profiles/{}", h.ProfileID)), nil
}

func (h *healthView) missing(what string, err error) bool {
	if err != nil {
		h.Missing = append(h.Missing, what+": "+err.Error())
	}
	return err == nil
}

// addStats adds the figures; a profile that nothing was sent to has none, and
// that is fine too.
func (h *healthView) addStats(v *visit, read func() (client.Stats, error)) {
	st, err := read()
	if !h.missing("the figures", err) {
		return
	}
	var p event.ProfileStats
	if i := slices.IndexFunc(st.Profiles, func(p event.ProfileStats) bool { return p.ProfileID == h.ProfileID }); i >= 0 {
		p = st.Profiles[i]
	}
	h.Tiles = healthTiles(p, v.c.now())
	h.State, h.Tone = h.state(p)
	for name, n := range p.Outcomes {
		if n == 0 {
			continue
		}
		words, tone := outcome(name)
		h.Outcomes = append(h.Outcomes, outcomeShare{words, tone, n, 100 * float64(n) / float64(max(p.Attempts, 1))})
	}
	slices.SortFunc(h.Outcomes, func(a, b outcomeShare) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) })
	if n := len(st.Unreachable); n > 0 {
		h.Missing = append(h.Missing, fmt.Sprintf("the figures of %s: not reachable", plural(n, "node", "nodes")))
	}
}

// state says in words how the destination is, by what it answered.
func (h *healthView) state(p event.ProfileStats) (words, tone string) {
	ok := p.Outcomes["ok"]
	switch {
	case h.Profile != nil && h.Profile.Enabled != nil && !*h.Profile.Enabled:
		return "Disabled: what it is owed waits until it is enabled again.", "warn"
	case p.Attempts == 0 && p.Backlog == 0:
		return "Nothing was sent, and nothing waits.", "info"
	case p.Attempts == 0:
		return "Nothing was tried, though deliveries wait for their time.", "warn"
	case ok == 0:
		return "Every attempt failed. belfry keeps what is owed, and tries again by the retry policy.", "bad"
	case ok < p.Attempts && rateTone(p.SuccessRate) != "ok":
		return "A part of the attempts failed. What failed is tried again by the retry policy.", "warn"
	}
	return "It takes what it is sent.", "ok"
}

func (h *healthView) addNow(v *visit) {
	states, missing := destinationStates(v, []string{h.ProfileID})
	if missing != "" {
		h.Missing = append(h.Missing, missing)
	}
	h.NowKnown = states != nil
	if s, ok := states[h.ProfileID]; ok {
		h.Now = &s
	}
}

func (h *healthView) addCharts(read func() (event.Series, error)) {
	s, err := read()
	if h.missing("the figures over time", err) {
		h.Charts = chartsOf(s, false)
	}
}

func (h *healthView) addWaiting(read func() (client.EventList, error)) {
	list, err := read()
	if !h.missing("the deliveries that wait", err) {
		return
	}
	for _, e := range list.Events {
		for _, d := range e.Deliveries {
			if d.ProfileID != h.ProfileID || d.Status != event.StatusRetrying {
				continue
			}
			words, _ := outcome(d.LastOutcome)
			if d.LastStatusCode != 0 {
				words = fmt.Sprintf("answered %d", d.LastStatusCode)
			}
			h.Waiting = append(h.Waiting, waiting{EventID: e.ID, Channel: e.Channel, Name: e.Name, DeliverySummary: d, Words: words})
		}
	}
}

func (h *healthView) addDead(read func() (client.DeadLetterList, error)) {
	list, err := read()
	if h.missing("the dead letters", err) {
		h.Dead = list.DeadLetters
	}
}
