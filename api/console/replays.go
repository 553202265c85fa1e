package console

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

func replayScreens() []screen {
	return []screen{
		{
			path: "/replays", file: "replays.html", title: "Replays", scope: model.ScopeEventsRead,
			nav: &navItem{group: navEvents, label: "Replays", icon: "replay", key: 'r', order: 4}, get: listReplays,
		},
		{path: "/new-replay", file: "new_replay.html", title: "Replay dead letters", scope: model.ScopeEventsWrite, get: newReplay, post: startReplay},
		{path: "/replays/{id}", file: "replay.html", title: "Replay", scope: model.ScopeEventsRead, get: showReplay},
		{path: "/replays/{id}/cancel", file: "confirm.html", title: "Cancel", scope: model.ScopeEventsWrite, get: askCancelReplay, post: cancelReplay},
	}
}

// replayRow is a replay with its progress.
type replayRow struct {
	event.ReplayJob
	// What it replays, in words; Percent of it is done.
	What    string
	Percent int
	Tone    string
	Running bool
	// Left is an estimate from the rate; empty: none.
	Left string
}

func replayRowOf(j event.ReplayJob) replayRow {
	r := replayRow{ReplayJob: j, What: filterWords(j.Filter), Percent: 100, Running: j.State == event.ReplayRunning, Tone: "ok"}
	switch {
	case j.Total > 0:
		r.Percent = min(100, j.Replayed*100/j.Total)
	case r.Running:
		r.Percent = 0
	}
	switch j.State {
	case event.ReplayRunning:
		r.Tone = "info"
		if left := j.Total - j.Replayed; left > 0 && j.Rate > 0 {
			r.Left = duration(time.Duration(left) * time.Second / time.Duration(j.Rate))
		}
	case event.ReplayCancelled:
		r.Tone = "warn"
	case event.ReplayDone:
	}
	return r
}

// filterWords says what a filter selects.
func filterWords(f event.DeadFilter) string {
	var parts []string
	add := func(label, value string) {
		if value != "" {
			parts = append(parts, label+" "+value)
		}
	}
	add("profile", f.ProfileID)
	add("channel", f.Channel)
	add("event", f.Name)
	add("id", f.EventID)
	if !f.From.IsZero() {
		add("from", f.From.UTC().Format(shownTime)+" UTC")
	}
	if !f.To.IsZero() {
		add("to", f.To.UTC().Format(shownTime)+" UTC")
	}
	if len(parts) == 0 {
		return "every dead letter"
	}
	return strings.Join(parts, ", ")
}

// replaysView lists the replays that are remembered.
type replaysView struct {
	Replays []replayRow
	Running int
}

func listReplays(v *visit) (*answer, error) {
	jobs, err := v.api.Replays(v.ctx())
	if err != nil {
		return nil, err
	}
	var view replaysView
	for _, j := range jobs {
		row := replayRowOf(j)
		if row.Running {
			view.Running++
		}
		view.Replays = append(view.Replays, row)
	}
	return v.show(view), nil
}

func showReplay(v *visit) (*answer, error) {
	j, err := v.api.Replay(v.ctx(), v.param("id"))
	if err != nil {
		return nil, err
	}
	return v.show(replayRowOf(j)).titled("Replay %s", j.ID).under("Replays", at("/replays")), nil
}

// newReplayView is the form that starts a replay.
type newReplayView struct {
	Form       *form
	Channels   []option
	EventNames []string
	// Count says how many dead letters the filter selects now; empty: it was
	// not asked, or could not be known.
	Count string
}

// replayFields are the fields of the form.
var replayFields = []string{"filter.profileId", "filter.channel", "filter.event", "filter.eventId", "filter.from", "filter.to", "rate", "all"}

func newReplay(v *visit) (*answer, error) {
	f := v.filters(replayFields...)
	if f.Text("rate") == "" {
		f.set("rate", strconv.Itoa(event.DefaultReplayRate))
	}
	view := v.replayForm(f)
	req := v.replayRequest(f)
	if !f.Failed() && req.Filter != (event.DeadFilter{}) && v.can(model.ScopeEventsRead) {
		view.Count = v.countDead(req.Filter)
	}
	return v.show(view).under("Replays", at("/replays")), nil
}

func (v *visit) replayForm(f *form) *newReplayView {
	return &newReplayView{Form: f, Channels: channelOptions("Every channel"), EventNames: eventNames(f.Text("filter.channel"))}
}

// countMost is how many dead letters are counted for a preview.
const countMost = 200

// countDead says how many dead letters fit now.
func (v *visit) countDead(filter event.DeadFilter) string {
	list, err := v.api.DeadLetters(v.ctx(), filter, client.Part{Limit: countMost})
	switch {
	case err != nil:
		return ""
	case list.NextCursor != "":
		return "At least " + plural(len(list.DeadLetters), "dead letter fits", "dead letters fit") + " now."
	case len(list.DeadLetters) == 0:
		return "No dead letter fits now."
	}
	return plural(len(list.DeadLetters), "dead letter fits", "dead letters fit") + " now."
}

// replayRequest reads the form and notes at its fields what is wrong.
func (v *visit) replayRequest(f *form) client.ReplayRequest {
	req := client.ReplayRequest{Filter: deadFilter(f, "filter."), All: f.Has("all", "true")}
	req.Filter.From, req.Filter.To = v.timeRange(f, "filter.from", "filter.to")
	if s := f.Text("rate"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > event.MaxReplayRate {
			f.bad("rate", fmt.Sprintf("This must be a whole number between 1 and %d.", event.MaxReplayRate))
		}
		req.Rate = n
	}
	return req
}

func startReplay(v *visit) (*answer, error) {
	f := v.form()
	view := v.replayForm(f)
	req := v.replayRequest(f)
	switch empty := req.Filter == (event.DeadFilter{}); {
	case empty && !req.All:
		f.bad("all", "Choose something above, or say here that every dead letter is meant.")
	case !empty && req.All:
		f.bad("all", "This does not go together with a choice above: leave the fields empty, or take this away.")
	}
	if f.Failed() {
		return v.show(view).with(http.StatusUnprocessableEntity).under("Replays", at("/replays")), nil
	}
	job, err := v.api.StartReplay(v.ctx(), req)
	if err != nil {
		return v.invalid(view, f, err, replayFields...)
	}
	return v.done(at("/replays/{}", job.ID), "The replay has begun."), nil
}

func (v *visit) cancelQuestion() confirmation {
	id := v.param("id")
	return confirmation{
		Question: "Cancel the replay " + id + "?", Verb: "Cancel the replay", Cancel: at("/replays/{}", id),
		Effects: []string{"What it has sent again so far stays so.", "The other dead letters stay where they are, and can be replayed later."},
	}
}

func askCancelReplay(v *visit) (*answer, error) {
	j, err := v.api.Replay(v.ctx(), v.param("id"))
	if err != nil {
		return nil, err
	}
	k := v.cancelQuestion()
	if j.State != event.ReplayRunning {
		k.Refused = "It is over already."
	}
	return v.confirm(k).under("Replays", at("/replays")), nil
}

func cancelReplay(v *visit) (*answer, error) {
	k := v.cancelQuestion()
	if again, yes := v.confirmed(k); !yes {
		return again, nil
	}
	j, err := v.api.CancelReplay(v.ctx(), v.param("id"))
	if err != nil {
		return v.refused(k, err)
	}
	if j.State == event.ReplayDone {
		return v.done(at("/replays/{}", j.ID), "The replay was done before it could be cancelled."), nil
	}
	return v.done(at("/replays/{}", j.ID), "The replay was cancelled."), nil
}
