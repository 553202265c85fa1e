package console

import (
	"net/http"
	"slices"
	"strings"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// subscriptionForm is the page to make or change a subscription: one form with
// everything it needs, the profile and its authentication included.
type subscriptionForm struct {
	Form *form
	// Edit: the channel and the id stay.
	Edit        bool
	Channel, ID string
	// Known: a channel is chosen, so that there are Events.
	Known       bool
	FormatAware bool
	Channels    []option
	Events      []option
	Tuples      []tuple
	Profiles    choice
	Fields      profileFields
	Preview     *matchPreview
	CanMatch    bool
	Cancel      string
}

// tuple is one row of criteria as it was typed.
type tuple struct{ Application, Entity, Calls string }

// tuplesMore is how many empty rows there are to type into.
const tuplesMore = 1

// matchPreview says what an event that fits the form would go to now.
type matchPreview struct {
	Event  string
	With   []chip
	Report client.MatchReport
	// New is the subscription of the form, that does not exist yet.
	New   string
	Error string
}

// Modes are the ways to a profile.
func (s subscriptionForm) Modes() []option {
	return []option{{modeExisting, "One that exists"}, {modeNew, "A new one"}}
}

// The names of the rows of criteria.
const (
	nameApplication = "criteria.applicationId"
	nameEntity      = "criteria.entityId"
	nameCalls       = "criteria.callsConfigurationId"
)

// subscriptionFields are the fields for the API's errors.
func subscriptionFields() []string {
	return append([]string{"channel", "subscriptionId", "name", "events", "formats", "criteria", "resources", "users", "useProfile"}, profileFieldNames("profile.")...)
}

// subscriptionPage makes the page with what was typed.
func (v *visit) subscriptionPage(f *form, edit bool) (*subscriptionForm, error) {
	view := &subscriptionForm{
		Form: f, Edit: edit, ID: v.param("id"), Channel: f.Text("channel"), Channels: []option{{"", "Choose a channel"}}, Cancel: at("/subscriptions"), CanMatch: v.can(model.ScopeEventsRead),
		Fields: profileFields{Form: f, Prefix: "profile.", Inline: true},
	}
	if edit {
		view.Channel, view.Cancel = v.param("channel"), at("/subscriptions/{}/{}", v.param("channel"), view.ID)
	}
	for _, c := range model.Channels() {
		view.Channels = append(view.Channels, option{c.Name, channelTitle(c.Name)})
	}
	if c, ok := model.ChannelByName(view.Channel); ok {
		view.Known, view.FormatAware, view.Events = true, c.FormatAware, options(c.Events...)
	}
	view.Tuples = tuplesOf(f)
	r := v.reading()
	ps, err := v.api.Profiles(v.ctx(), client.ProfileFilter{}, r.part(0, model.MaxPageSize))
	if err != nil {
		return nil, err
	}
	view.Profiles = choiceOf(ps, f.Text("useProfile"), func(p client.Profile) option { return option{p.ProfileID, p.ProfileID + " · " + clip(urlOf(p), 60)} })
	if len(view.Profiles.Options) == 0 && f.Text("profileMode") == "" {
		f.set("profileMode", modeNew)
	} else if f.Text("profileMode") == "" {
		f.set("profileMode", modeExisting)
	}
	if edit {
		return view, nil
	}
	return view, r.offered(&view.Fields)
}

// tuplesOf are the rows that were typed, and some more.
func tuplesOf(f *form) []tuple {
	var out []tuple
	for _, c := range criteriaOf(f) {
		out = append(out, tuple{c.ApplicationID, c.EntityID, c.CallsConfigurationID})
	}
	for range tuplesMore {
		out = append(out, tuple{})
	}
	return out
}

// criteriaOf are the rows of criteria that are not empty.
func criteriaOf(f *form) []client.Criterion {
	var out []client.Criterion
	column := func(name string, i int) string {
		if i < len(f.values[name]) {
			return strings.TrimSpace(f.values[name][i])
		}
		return ""
	}
	for i := range max(len(f.values[nameApplication]), len(f.values[nameEntity]), len(f.values[nameCalls])) {
		if c := (client.Criterion{ApplicationID: column(nameApplication, i), EntityID: column(nameEntity, i), CallsConfigurationID: column(nameCalls, i)}); c != (client.Criterion{}) {
			out = append(out, c)
		}
	}
	return out
}

// subscriptionOf is what was typed, with the profile it goes through.
func subscriptionOf(f *form, edit bool) client.Subscription {
	s := client.Subscription{
		SubscriptionID: f.Text("subscriptionId"), Name: f.Text("name"), Events: []client.EventName{}, Criteria: criteriaOf(f), Resources: f.Lines("resources"), Users: f.Lines("users"),
	}
	for _, e := range f.Values("events") {
		s.Events = append(s.Events, client.EventName{Event: e})
	}
	for _, line := range f.Lines("formats") {
		words := strings.Fields(line)
		if len(words) != 2 {
			f.bad("formats", "Type an event and a format a line, such as INBOUND_MESSAGE MO_JSON_2.")
			break
		}
		s.Events = append(s.Events, client.EventName{Event: words[0], Format: words[1]})
	}
	if !edit && f.Text("profileMode") == modeNew {
		s.Profile = profileOf(f, "profile.")
		return s
	}
	if s.Profile.ProfileID = f.Text("useProfile"); s.Profile.ProfileID == "" {
		f.bad("useProfile", "Choose a notification profile, or make a new one.")
	}
	return s
}

// fillSubscription sets the fields to a subscription.
func fillSubscription(f *form, s channelSubscription) {
	f.set("channel", s.Channel)
	f.set("subscriptionId", s.SubscriptionID)
	f.set("name", s.Name)
	var names, formats []string
	for _, e := range s.Events {
		if e.Format == "" {
			names = append(names, e.Event)
		} else {
			formats = append(formats, e.Event+" "+e.Format)
		}
	}
	f.set("events", names...)
	f.set("formats", strings.Join(formats, "\n"))
	for _, c := range s.Criteria {
		f.set(nameApplication, append(f.values[nameApplication], c.ApplicationID)...)
		f.set(nameEntity, append(f.values[nameEntity], c.EntityID)...)
		f.set(nameCalls, append(f.values[nameCalls], c.CallsConfigurationID)...)
	}
	f.set("resources", strings.Join(s.Resources, "\n"))
	f.set("users", strings.Join(s.Users, "\n"))
	f.set("profileMode", modeExisting)
	f.set("useProfile", s.Profile.ProfileID)
}

// newSubscription shows the form; the address can say what is chosen already.
func newSubscription(v *visit) (*answer, error) {
	f := v.filters("channel", "useProfile", "name", "subscriptionId")
	defaultProfile(f, "profile.")
	view, err := v.subscriptionPage(f, false)
	if err != nil {
		return nil, err
	}
	return v.show(view).under("Subscriptions", at("/subscriptions")), nil
}

// The steps that the form can be sent for without being saved.
const (
	stepShow    = "show"    // the events of the channel, another row
	stepPreview = "preview" // what an event would go to
)

func createSubscription(v *visit) (*answer, error) {
	f := v.form()
	if step := f.Text("step"); step != "" {
		return v.subscriptionStep(f, step, false)
	}
	s := subscriptionOf(f, false)
	channel := f.Text("channel")
	if _, ok := model.ChannelByName(channel); !ok {
		f.bad("channel", "Choose a channel.")
	}
	var err error
	if !f.Failed() {
		var refs client.Refs
		if refs, err = v.api.CreateSubscription(v.ctx(), channel, s); err == nil {
			return v.done(at("/subscriptions/{}/{}", channel, refs.SubscriptionID), "The subscription %s was made. It takes the events that are accepted from now on.", refs.SubscriptionID), nil
		}
	}
	return v.subscriptionAgain(f, false, err)
}

// subscriptionAgain shows the form again with what is wrong.
func (v *visit) subscriptionAgain(f *form, edit bool, err error) (*answer, error) {
	if edit || f.Text("profileMode") != modeNew {
		err = moved(err, "profile.profileId", "useProfile")
	}
	if f.Text("profile.securityMode") == modeExisting {
		err = moved(err, "profile.security.authId", "profile.useSecurity")
	}
	forgetSecrets(f, "profile.security.", false)
	view, failed := v.subscriptionPage(f, edit)
	if failed != nil {
		return nil, failed
	}
	a := v.show(view).with(http.StatusUnprocessableEntity)
	if err != nil {
		if a, err = v.invalid(view, f, err, subscriptionFields()...); err != nil {
			return nil, err
		}
	}
	if edit {
		a.titled("Edit %s", view.ID)
	}
	return a.under("Subscriptions", at("/subscriptions")), nil
}

// subscriptionStep shows the form with what was typed and with what the step
// adds to it. Secrets have to be typed again, so scripts take of the answer
// only what is new.
func (v *visit) subscriptionStep(f *form, step string, edit bool) (*answer, error) {
	draft := channelSubscription{f.Text("channel"), subscriptionOf(f, edit)}
	f.errors, f.order = map[string][]string{}, nil // nothing is saved, so nothing is wrong yet
	forgetSecrets(f, "profile.security.", false)
	f.errors, f.order = map[string][]string{}, nil
	view, err := v.subscriptionPage(f, edit)
	if err != nil {
		return nil, err
	}
	if edit {
		draft.Channel, draft.SubscriptionID = view.Channel, view.ID
	}
	if step == stepPreview {
		view.Preview = v.preview(draft)
	}
	a := v.show(view).under("Subscriptions", at("/subscriptions"))
	if edit {
		a.titled("Edit %s", view.ID)
	}
	return a, nil
}

// preview asks what an event that fits the draft goes to already.
func (v *visit) preview(draft channelSubscription) *matchPreview {
	p := &matchPreview{New: draft.SubscriptionID}
	if p.New == "" {
		p.New = "the new subscription"
	}
	if _, ok := model.ChannelByName(draft.Channel); !ok {
		p.Error = "Choose a channel first."
		return p
	}
	q := sampleOf(draft)
	p.Event = q.Get("event")
	for _, c := range []chip{{"application", "applicationId"}, {"entity", "entityId"}, {"calls configuration", "callsConfigurationId"}, {"sender", "resource"}, {"user", "user"}} {
		if value := q.Get(c.Value); value != "" {
			p.With = append(p.With, chip{c.Name, value})
		}
	}
	rep, err := v.api.Match(v.ctx(), client.Event{
		Channel: draft.Channel, Event: p.Event, ApplicationID: q.Get("applicationId"), EntityID: q.Get("entityId"), CallsConfigurationID: q.Get("callsConfigurationId"), Resource: q.Get("resource"), User: q.Get("user"),
	})
	if err != nil {
		p.Error = sentence(err.Error())
		return p
	}
	rep.Matched = slices.DeleteFunc(rep.Matched, func(m event.MatchedSubscription) bool { return m.SubscriptionID == draft.SubscriptionID })
	p.Report = rep
	return p
}

func editSubscription(v *visit) (*answer, error) {
	s, err := v.api.Subscription(v.ctx(), v.param("channel"), v.param("id"), client.Read{})
	if err != nil {
		return nil, err
	}
	f := v.blank()
	fillSubscription(f, channelSubscription{v.param("channel"), s})
	view, err := v.subscriptionPage(f, true)
	if err != nil {
		return nil, err
	}
	return v.show(view).titled("Edit %s", s.SubscriptionID).under("Subscriptions", at("/subscriptions")).under(s.SubscriptionID, view.Cancel), nil
}

func changeSubscription(v *visit) (*answer, error) {
	f := v.form()
	if step := f.Text("step"); step != "" {
		return v.subscriptionStep(f, step, true)
	}
	channel, id := v.param("channel"), v.param("id")
	s := subscriptionOf(f, true)
	s.SubscriptionID = ""
	var err error
	if !f.Failed() {
		if _, err = v.api.ReplaceSubscription(v.ctx(), channel, id, s); err == nil {
			return v.done(at("/subscriptions/{}/{}", channel, id), "The subscription %s was saved.", id), nil
		}
	}
	return v.subscriptionAgain(f, true, err)
}
