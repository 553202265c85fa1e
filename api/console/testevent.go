package console

import (
	"encoding/json"
	"net/http"
	"strings"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/event/sample"
	"example.com/belfry/fsm/model"
)

func testEventScreens() []screen {
	const one = "/test-event/{channel}/{event}"
	return []screen{
		{
			path: "/test-event", file: "catalogue.html", title: "Send a test event", scope: model.ScopeEventsWrite, form: true,
			nav: &navItem{group: navEvents, label: "Send a test event", icon: "send", key: 'x', order: 5}, get: showCatalogue,
		},
		{path: one, file: "test_event.html", title: "Test event", scope: model.ScopeEventsWrite, get: showTestEvent, post: publishTestEvent},
		{path: one + "/preview", scope: model.ScopeEventsRead, anytime: true, get: backToTestEvent, post: previewTestEvent},
		{path: one + "/profile", scope: model.ScopeEventsWrite, anytime: true, get: backToTestEvent, post: tryProfile},
	}
}

// catalogueView has the events that there are samples of, by channel.
type catalogueView struct {
	Channels []catalogueChannel
	Found    int
}

type catalogueChannel struct {
	Name     string
	Reserved bool
	Events   []string
}

func showCatalogue(v *visit) (*answer, error) {
	words := strings.Fields(strings.ToUpper(v.query("q")))
	var view catalogueView
	for _, c := range model.Channels() {
		row := catalogueChannel{Name: c.Name, Reserved: c.Reserved}
		for _, e := range c.Events {
			if fitsWords(strings.ToUpper(c.Name+" "+e+" "+human(e)), words) {
				row.Events = append(row.Events, e)
			}
		}
		if view.Found += len(row.Events); len(row.Events) > 0 {
			view.Channels = append(view.Channels, row)
		}
	}
	return v.show(view), nil
}

func fitsWords(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// testEventView is the form for one event of the catalogue.
type testEventView struct {
	Form           *form
	Channel, Event string
	// Reserved: the node itself tells it, so it cannot be published.
	Reserved bool
	Profiles []option
	// Report and Tested are the answers to a preview and to a test.
	Report *matchReport
	Tested *testedProfile
}

// testedProfile is what came of a test event to a profile.
type testedProfile struct {
	ProfileID string
	URL       string
	Body      shownBody
	Report    attemptReport
}

// testFields are the fields of the form.
var testFields = []string{"applicationId", "entityId", "callsConfigurationId", "resource", "user", "format", "orderingKey", "payload", "profileId"}

func showTestEvent(v *visit) (*answer, error) {
	f := v.filters(testFields...)
	view, err := v.testEvent(f)
	if err != nil {
		return nil, err
	}
	if f.Value("payload") == "" {
		f.set("payload", prettyJSON(sample.Payload(view.Channel, view.Event)))
	}
	return v.testPage(view), nil
}

// testEvent begins the view of the event in the address.
func (v *visit) testEvent(f *form) (*testEventView, error) {
	c, ok := model.ChannelByName(v.param("channel"))
	if !ok || !c.Has(v.param("event")) {
		return nil, model.Errorf(model.CodeNotFound, "the catalogue has no such event")
	}
	view := &testEventView{Form: f, Channel: c.Name, Event: v.param("event"), Reserved: c.Reserved}
	f.set("channel", view.Channel)
	f.set("event", view.Event)
	if v.can(model.ScopeSubscriptionsRead) {
		// Where the list is longer or cannot be read, an id can be typed.
		if p, err := v.api.Profiles(v.ctx(), client.ProfileFilter{}, client.Read{Size: model.MaxPageSize}); err == nil && p.Paging.TotalPages < 2 {
			for _, it := range p.Results {
				view.Profiles = append(view.Profiles, option{it.ProfileID, it.ProfileID})
			}
		}
	}
	return view, nil
}

func (v *visit) testPage(view *testEventView) *answer {
	a := v.show(view)
	a.file = "test_event.html"
	return a.titled("%s %s", view.Channel, view.Event).under("Send a test event", at("/test-event"))
}

// badTest answers with the form and what is wrong with it.
func (v *visit) badTest(view *testEventView, err error) (*answer, error) {
	a, err := v.invalid(view, view.Form, err, testFields...)
	if err != nil {
		return nil, err
	}
	return v.testPage(view).with(a.status), nil
}

func backToTestEvent(v *visit) (*answer, error) {
	return v.redirect(at("/test-event/{}/{}", v.param("channel"), v.param("event"))), nil
}

// previewTestEvent says what the event would be owed.
func previewTestEvent(v *visit) (*answer, error) {
	view, err := v.testEvent(v.form())
	if err != nil {
		return nil, err
	}
	if view.Report, err = v.match(view.Form); err != nil {
		return v.badTest(view, err)
	}
	return v.testPage(view), nil
}

// publishTestEvent publishes the event. One that nobody subscribes to leads to
// the page that says why.
func publishTestEvent(v *visit) (*answer, error) {
	f := v.form()
	view, err := v.testEvent(f)
	if err != nil {
		return nil, err
	}
	payload := f.Text("payload")
	if !json.Valid([]byte(payload)) {
		f.bad("payload", "This is not JSON.")
		return v.testPage(view).with(http.StatusUnprocessableEntity), nil
	}
	e := eventOf(f)
	e.Payload = json.RawMessage(payload)
	body, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	// One object, so that the API's complaints name its members.
	receipts, err := v.api.PublishRaw(v.ctx(), event.ContentTypeJSON, body, false)
	if err != nil {
		return v.badTest(view, err)
	}
	if len(receipts) != 1 {
		return nil, model.Errorf(model.CodeUnknownOutcome, "the node answered for %d events in place of one", len(receipts))
	}
	r := receipts[0]
	if r.Deliveries == 0 {
		return v.done(matchAddress(&event.Event{
			Channel: e.Channel, Name: e.Event, ApplicationID: e.ApplicationID, EntityID: e.EntityID, CallsConfigurationID: e.CallsConfigurationID, Resource: e.Resource, User: e.User,
		}), "The event %s was taken, but no subscription fits it, so it goes nowhere. Here is why.", r.EventID), nil
	}
	return v.done(at("/events/{}", r.EventID), "The event was taken; it is owed to %s.", plural(r.Deliveries, "webhook", "webhooks")), nil
}

// tryProfile sends a sample of the event to one profile, past its
// subscriptions.
func tryProfile(v *visit) (*answer, error) {
	f := v.form()
	view, err := v.testEvent(f)
	if err != nil {
		return nil, err
	}
	id := f.Text("profileId")
	if id == "" {
		f.bad("profileId", "Choose a profile.")
		return v.testPage(view).with(http.StatusUnprocessableEntity), nil
	}
	if f.Value("payload") == "" {
		f.set("payload", prettyJSON(sample.Payload(view.Channel, view.Event)))
	}
	rep, err := v.api.TestProfile(v.ctx(), id, view.Channel, view.Event)
	if err != nil {
		return v.badTest(view, err)
	}
	view.Tested = &testedProfile{ProfileID: id, URL: rep.URL, Body: testBody(view.Channel, view.Event, rep), Report: reportOf(rep.Attempt)}
	return v.testPage(view), nil
}
