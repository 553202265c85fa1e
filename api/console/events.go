package console

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// eventScreens are the screens of the area Events.
func eventScreens() []screen {
	return slices.Concat([]screen{
		{
			path: "/events", file: "events.html", title: "Events", scope: model.ScopeEventsRead,
			nav: &navItem{group: navEvents, label: "Events", icon: "events", key: 'e', order: 1}, get: searchEvents,
		},
		{path: "/events/{id}", file: "event.html", title: "Event", scope: model.ScopeEventsRead, get: showEvent},
		{path: "/events/{id}/deliveries/{delivery}/{attempt}", file: "attempt.html", title: "Attempt", scope: model.ScopeEventsRead, scripts: signatureScripts, get: showAttempt},
		{
			path: "/signature", file: "signature.html", title: "Verify a signature", scope: model.ScopeEventsRead, scripts: signatureScripts, form: true,
			nav: &navItem{group: navEvents, label: "Verify a signature", icon: "shield", order: 7}, get: showSignature,
		},
	}, tailScreens(), exportScreens(), deadLetterScreens(), replayScreens(), testEventScreens(), matchScreens())
}

// searchNames are the filters of the list of events: the names of the API's
// parameters, the id of one event, and a range of time up to now.
var searchNames = []string{"q", "channel", "event", "status", "within", "profileId", "subscriptionId", "applicationId", "entityId", "resource", "user", "orderingKey", "from", "to"}

// moreFilters are those that are folded away until one of them is set.
var moreFilters = []string{"profileId", "subscriptionId", "applicationId", "entityId", "resource", "user", "orderingKey", "from", "to"}

// searchView is the list of events.
type searchView struct {
	Form                       *form
	Channels, Statuses, Within []option
	EventNames                 []string
	Events                     []eventRow
	Pager                      pager
	Unreachable                []string
	// More: one of the folded filters is set. Filtered: any filter is.
	More, Filtered bool
	// Export writes what fits into a file; empty: it is one event, or none.
	Export []exportLink
}

// eventRow is one event of the list.
type eventRow struct {
	client.EventSummary
	At time.Time
	// Counts are its deliveries by status, those that need a look first.
	Counts []statusCount
}

type statusCount struct {
	Status event.Status
	N      int
}

func searchEvents(v *visit) (*answer, error) {
	f := v.filters(searchNames...)
	view := searchView{
		Form: f, Channels: channelOptions("Every channel"), Statuses: statusOptions(), Within: withinOptions, EventNames: eventNames(f.Text("channel")),
		More: anySet(f, moreFilters...), Filtered: anySet(f, searchNames...),
	}
	filter := v.eventFilter(f)
	if f.Failed() {
		return v.show(&view).with(problems[model.CodeInvalid].status), nil
	}
	if id := f.Text("q"); id != "" {
		return v.searchID(&view, id)
	}
	list, err := v.api.SearchEvents(v.ctx(), filter, v.part())
	if err != nil {
		return v.badFilter(&view, f, err, searchNames...)
	}
	view.Pager, view.Unreachable = v.cursorPager(list.NextCursor), list.Unreachable
	for _, e := range list.Events {
		view.Events = append(view.Events, eventRowOf(e))
	}
	view.Export = exportLinks("events", f, searchNames[1:])
	return v.show(&view), nil
}

// eventFilter reads the filters of the form, but for the id, and notes at its
// fields what is wrong.
func (v *visit) eventFilter(f *form) event.Filter {
	filter := event.Filter{
		Channel: f.Text("channel"), Name: f.Text("event"), Resource: f.Text("resource"), ApplicationID: f.Text("applicationId"), EntityID: f.Text("entityId"),
		User: f.Text("user"), OrderingKey: f.Text("orderingKey"),
		Status: event.Status(f.Text("status")), ProfileID: f.Text("profileId"), SubscriptionID: f.Text("subscriptionId"),
	}
	filter.From, filter.To = v.timeRange(f, "from", "to")
	return filter
}

// searchID shows the one event with an id, whatever the other filters say.
func (v *visit) searchID(view *searchView, id string) (*answer, error) {
	rec, err := v.api.Event(v.ctx(), id)
	if model.CodeOf(err) == model.CodeNotFound {
		return v.show(view), nil
	}
	if err != nil {
		return v.badFilter(view, view.Form, moved(err, "eventId", "q"), "q")
	}
	e := client.EventSummary{Event: rec.Event, AcceptedAt: rec.AcceptedAt}
	for _, d := range rec.Deliveries {
		e.Deliveries = append(e.Deliveries, client.DeliverySummary{DeliveryID: d.DeliveryID, Status: d.Status})
	}
	view.Events, view.Unreachable = []eventRow{eventRowOf(e)}, rec.Unreachable
	return v.show(view), nil
}

// statuses are the states of deliveries, those that need a look first.
var statuses = []event.Status{event.StatusDead, event.StatusRetrying, event.StatusPending, event.StatusDropped, event.StatusDelivered}

func eventRowOf(e client.EventSummary) eventRow {
	row := eventRow{EventSummary: e, At: acceptedAt(&e.Event, e.AcceptedAt)}
	for _, s := range statuses {
		n := 0
		for _, d := range e.Deliveries {
			if d.Status == s {
				n++
			}
		}
		if n > 0 {
			row.Counts = append(row.Counts, statusCount{s, n})
		}
	}
	return row
}

// acceptedAt is when an event was taken. Where nothing was owed only the node
// that took it said when.
func acceptedAt(e *event.Event, at time.Time) time.Time {
	if at.IsZero() {
		return e.ReceivedAt
	}
	return at
}

// filters is a form with what the address says about names.
func (v *visit) filters(names ...string) *form {
	f := v.blank()
	q := v.r.URL.Query()
	for _, n := range names {
		if q.Has(n) {
			f.set(n, q.Get(n))
		}
	}
	return f
}

func anySet(f *form, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return f.Text(n) != "" })
}

// badFilter answers a filter that the API refuses with the page again, and
// gives back every other error.
func (v *visit) badFilter(view any, f *form, err error, fields ...string) (*answer, error) {
	if model.CodeOf(err) != model.CodeInvalid {
		return nil, err
	}
	return v.invalid(view, f, err, fields...)
}

// timeRange reads two fields with times and, where both are empty, the field
// "within" with a length of time up to now. What is shown again has the form
// that the browser's field takes.
func (v *visit) timeRange(f *form, from, to string) (begin, end time.Time) {
	begin, end = timeField(f, from), timeField(f, to)
	if !begin.IsZero() || !end.IsZero() {
		return begin, end
	}
	if d, err := time.ParseDuration(f.Text("within")); err == nil && d > 0 {
		begin = v.c.now().UTC().Add(-d)
	}
	return begin, end
}

// fieldTime is how a field of the type datetime-local writes a time.
const fieldTime = "2006-01-02T15:04"

// timeField reads a time in UTC: as a browser's field gives it, or RFC 3339.
func timeField(f *form, name string) time.Time {
	s := f.Text(name)
	if s == "" {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", fieldTime, "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil && t.UTC().Year() > 0 {
			f.set(name, t.UTC().Format(fieldTime))
			return t.UTC()
		}
	}
	f.bad(name, "This must be a time such as 2026-01-31 12:00, in UTC.")
	return time.Time{}
}

// withinOptions are the ranges of time of a list.
var withinOptions = []option{
	{"", "At any time"}, {"15m", "In the last 15 minutes"}, {"1h", "In the last hour"}, {"24h", "In the last day"}, {"168h", "In the last 7 days"},
}

// channelOptions are the channels of the catalogue behind a choice of none.
func channelOptions(none string) []option {
	out := []option{{"", none}}
	for _, c := range model.Channels() {
		out = append(out, option{c.Name, c.Name})
	}
	return out
}

func statusOptions() []option {
	out := []option{{"", "Every status"}}
	for _, s := range statuses {
		out = append(out, option{string(s), human(s)})
	}
	return out
}

// eventNames are the events of a channel, or of all when there is no such
// channel, in alphabetical order.
func eventNames(channel string) []string {
	if c, ok := model.ChannelByName(channel); ok {
		return c.Events
	}
	var all []string
	for _, c := range model.Channels() {
		all = append(all, c.Events...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// outcomes are the classes of attempts in words.
var outcomes = map[string]struct{ words, tone string }{
	"ok":        {"Taken", "ok"},
	"temporary": {"Failed, worth another attempt", "warn"},
	"throttled": {"The receiver asks for a pause", "warn"},
	"gone":      {"The receiver wants no more", "bad"},
	"auth":      {"No credentials to send", "bad"},
	"blocked":   {"The address is not allowed", "bad"},
	"expired":   {"Waited too long", "bad"},
}

// outcome gives the words and the tone of an attempt's class.
func outcome(class string) (words, tone string) {
	if o, ok := outcomes[class]; ok {
		return o.words, o.tone
	}
	return human(class), ""
}

// errorMeanings say what an error class means.
var errorMeanings = map[string]string{
	"dns":      "The name of the host has no address, or the resolver did not answer.",
	"connect":  "There was no TCP connection: it was refused, nothing answered, or it took too long.",
	"tls":      "The handshake failed. The certificate of either side may be the reason.",
	"timeout":  "There was a connection, but no answer in time.",
	"reset":    "The receiver closed the connection before its answer was complete.",
	"protocol": "What came back is not an answer in HTTP, or its headers are too large.",
	"status":   "The receiver answered with a status that is no success.",
	"body":     "The answer's body does not match the regular expression of the profile.",
	"auth":     "Credentials are missing or cannot be used, or no access token could be had.",
	"blocked":  "The node's rules do not allow this address.",
	"config":   "What the profile says cannot be sent or judged.",
	"cut":      "The node ended the attempt because it stopped. Another node goes on.",
}

// destinationOf names where a delivery goes.
func destinationOf(profileID string) string {
	if profileID == "" {
		return "URL of the submit"
	}
	return profileID
}

// countWords is "2 delivered, 1 dead" for a list of counts.
func countWords(counts []statusCount) string {
	var parts []string
	for _, c := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", c.N, strings.ToLower(string(c.Status))))
	}
	return strings.Join(parts, ", ")
}
