package console

import (
	"net/url"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

func deadLetterScreens() []screen {
	return []screen{
		{
			path: "/dead-letters", file: "deadletters.html", title: "Dead letters", scope: model.ScopeEventsRead,
			nav: &navItem{group: navEvents, label: "Dead letters", icon: "dead", key: 'd', order: 3}, get: listDeadLetters,
		},
		{path: "/dead-letters/{id}", file: "deadletter.html", title: "Dead letter", scope: model.ScopeEventsRead, get: showDeadLetter},
		{path: "/dead-letters/{id}/replay", scope: model.ScopeEventsRead, postScope: model.ScopeEventsWrite, get: backToDeadLetter, post: replayDeadLetter},
	}
}

// deadNames are the filters of dead letters: the names of the API's
// parameters, and a range of time up to now.
var deadNames = []string{"eventId", "channel", "event", "profileId", "within", "from", "to"}

// deadLettersView is the list of dead letters.
type deadLettersView struct {
	Form             *form
	Channels, Within []option
	EventNames       []string
	Letters          []deadRow
	Pager            pager
	More, Filtered   bool
	// Bulk is where those that fit are sent again together.
	Bulk string
	// Export writes what fits into a file.
	Export []exportLink
}

type deadRow struct {
	client.DeadLetter
	Name, Words string
}

func deadRowOf(d client.DeadLetter) deadRow {
	words, _ := outcome(d.Failure.Outcome)
	if d.Failure.Outcome == "temporary" {
		words = "Kept failing"
	}
	return deadRow{DeadLetter: d, Name: destinationOf(d.ProfileID), Words: words}
}

func listDeadLetters(v *visit) (*answer, error) {
	f := v.filters(deadNames...)
	view := deadLettersView{
		Form: f, Channels: channelOptions("Every channel"), Within: withinOptions, EventNames: eventNames(f.Text("channel")),
		More: anySet(f, "from", "to"), Filtered: anySet(f, deadNames...),
	}
	filter := v.deadFilter(f)
	if f.Failed() {
		return v.show(&view).with(problems[model.CodeInvalid].status), nil
	}
	list, err := v.api.DeadLetters(v.ctx(), filter, v.part())
	if err != nil {
		return v.badFilter(&view, f, err, deadNames...)
	}
	for _, d := range list.DeadLetters {
		view.Letters = append(view.Letters, deadRowOf(d))
	}
	view.Pager, view.Bulk, view.Export = v.cursorPager(list.NextCursor), bulkAddress(filter), exportLinks("dead-letters", f, deadNames)
	return v.show(&view), nil
}

// deadFilter reads the filters of the list and notes at its fields what is
// wrong.
func (v *visit) deadFilter(f *form) event.DeadFilter {
	filter := deadFilter(f, "")
	filter.From, filter.To = v.timeRange(f, "from", "to")
	return filter
}

// deadFilter reads the members of a filter whose fields begin with prefix, but
// for the times.
func deadFilter(f *form, prefix string) event.DeadFilter {
	return event.DeadFilter{
		ProfileID: f.Text(prefix + "profileId"), Channel: f.Text(prefix + "channel"), Name: f.Text(prefix + "event"), EventID: f.Text(prefix + "eventId"),
	}
}

// bulkAddress is the form that sends those of a filter again.
func bulkAddress(f event.DeadFilter) string {
	q := url.Values{}
	for name, value := range map[string]string{"profileId": f.ProfileID, "channel": f.Channel, "event": f.Name, "eventId": f.EventID} {
		if value != "" {
			q.Set("filter."+name, value)
		}
	}
	for name, t := range map[string]time.Time{"from": f.From, "to": f.To} {
		if !t.IsZero() {
			q.Set("filter."+name, t.UTC().Format(time.RFC3339))
		}
	}
	return address(at("/new-replay"), q)
}

// deadLetterView is one dead letter with the payload of its event.
type deadLetterView struct{ deadRow }

func showDeadLetter(v *visit) (*answer, error) {
	d, err := v.api.DeadLetter(v.ctx(), v.param("id"))
	if err != nil {
		return nil, err
	}
	return v.show(deadLetterView{deadRowOf(d)}).titled("Dead letter %s", d.DeliveryID).under("Dead letters", at("/dead-letters")), nil
}

// backToDeadLetter is for who reloads the answer to a replay.
func backToDeadLetter(v *visit) (*answer, error) {
	return v.redirect(at("/dead-letters/{}", v.param("id"))), nil
}

// replayDeadLetter sends one dead letter again and goes back to where it was
// asked for.
func replayDeadLetter(v *visit) (*answer, error) {
	id := v.param("id")
	if err := v.api.ReplayDeadLetter(v.ctx(), id); err != nil {
		return nil, err
	}
	back := at("/dead-letters")
	if s := v.form().Value("back"); s != "" {
		back = localPath(s)
	}
	return v.done(back, "The delivery %s is owed again, as the delivery that it was.", id), nil
}
