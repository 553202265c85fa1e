package console

import (
	"slices"
	"strings"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

func profileScreens() []screen {
	const read, manage = model.ScopeSubscriptionsRead, model.ScopeSubscriptionsManage
	return []screen{
		{
			path: "/profiles", file: "profiles.html", title: "Notification profiles", scope: read,
			nav: &navItem{group: navSubscriptions, label: "Notification profiles", icon: "hook", key: 'p', order: 2}, get: listProfiles,
		},
		{path: "/new-profile", file: "profile_form.html", title: "New notification profile", scope: manage, get: newProfile, post: createProfile},
		{path: "/profiles/{id}", file: "profile.html", title: "Notification profile", scope: read, get: showProfile},
		{path: "/profiles/{id}/edit", file: "profile_form.html", title: "Edit profile", scope: manage, get: editProfile, post: changeProfile},
		{path: "/profiles/{id}/enabled", title: "Enable or disable", scope: manage, post: switchProfile},
		{path: "/profiles/{id}/test", file: "profile_test.html", title: "Send a test event", scope: model.ScopeEventsWrite, get: askProfileTest, post: sendProfileTest, anytime: true},
		{path: "/profiles/{id}/delete", file: "setup_delete.html", title: "Delete", scope: manage, get: askDeleteProfile, post: deleteProfile},
	}
}

// profilesView is the list of profiles.
type profilesView struct {
	Pager  pager
	Tabs   []tab
	Filter *form
	Rows   []client.Profile
}

// profileFilters are the parameters of the list, by the API's names. Only the
// first has a field.
var profileFilters = []string{"q", "authId", "clientCertificateId"}

func listProfiles(v *visit) (*answer, error) {
	f := v.filters(profileFilters...)
	view := profilesView{Tabs: setupTabs("/profiles"), Filter: f}
	p, err := v.api.Profiles(v.ctx(), client.ProfileFilter{Search: f.Text("q"), AuthID: f.Text("authId"), ClientCertificateID: f.Text("clientCertificateId")}, v.read())
	if err != nil {
		return v.badFilter(&view, f, moved(err, "search", "q"), profileFilters[:1]...)
	}
	view.Rows, view.Pager = p.Results, pagerOf(p)
	return v.show(&view), nil
}

// profileView is the page of a profile.
type profileView struct {
	client.Profile
	On         bool
	Uses       []knob
	Users      []channelSubscription
	UsersTotal int
	Picture    *picture
	Stats      *event.ProfileStats
	Tone       string
	StatsError string
	CanTest    bool
}

// knob is a setting with what it is set to.
type knob struct{ Label, Value, Note string }

// usersShown is how many users of an object its page lists.
const usersShown = 20

func showProfile(v *visit) (*answer, error) {
	r := v.reading()
	p, err := v.api.Profile(v.ctx(), v.param("id"), r.part(0, 0))
	if err != nil {
		return nil, err
	}
	users, err := r.usersOf(p.ProfileID, usersShown)
	if err != nil {
		return nil, err
	}
	view := profileView{
		Profile: p, On: enabled(p), Uses: knobsOf(p), Users: users.Rows, UsersTotal: users.Total,
		Picture: pictureOf(p, users, focus{kindProfile, p.ProfileID}), CanTest: v.can(model.ScopeEventsWrite),
	}
	if v.can(model.ScopeEventsRead) {
		view.addStats(v)
	}
	return v.show(view).titled("%s", p.ProfileID).under("Notification profiles", at("/profiles")), nil
}

// addStats has the figures of the last minutes; a page without them is a page.
func (p *profileView) addStats(v *visit) {
	st, err := v.api.Stats(v.ctx(), overviewWindow, client.StatsFilter{ProfileID: p.ProfileID})
	if err != nil {
		p.StatsError = err.Error()
		return
	}
	p.Stats = &event.ProfileStats{ProfileID: p.ProfileID}
	if i := slices.IndexFunc(st.Profiles, func(s event.ProfileStats) bool { return s.ProfileID == p.ProfileID }); i >= 0 {
		p.Stats = &st.Profiles[i]
	}
	p.Tone = rateTone(p.Stats.SuccessRate)
}

// knobsOf are the settings of how a profile delivers.
func knobsOf(p client.Profile) []knob {
	or := func(s, none string) string {
		if s == "" {
			return none
		}
		return s
	}
	rate := "no limit"
	if p.RateLimit > 0 {
		rate = number(p.RateLimit) + " requests/s"
	}
	knobs := []knob{
		{"Content type", or(p.Webhook.ContentType, model.DefaultContentType), ""},
		{"Window", plural(p.WindowSize, "request", "requests") + " at a time", ""},
		{"Rate", rate, ""},
		{"Bucket", "up to " + plural(p.MaxBucketSize, "event", "events") + " in a request", ""},
		{"Connect timeout", milliseconds(float64(p.ConnectTimeout)), ""},
		{"Read timeout", milliseconds(float64(p.ReadTimeout)), ""},
		{"TLS", or(strings.Join(p.EnabledSSLProtocols, ", "), "TLSv1.2, TLSv1.3"), ""},
		{"Ordering", or(strings.ToLower(p.Ordering), "none"), ""},
		retryKnob(p.Retry),
	}
	if p.ResponseRegex != "" {
		knobs = append(knobs, knob{"Status must match", p.ResponseRegex, ""})
	}
	if p.ResponseBodyRegex != "" {
		knobs = append(knobs, knob{"Body must match", p.ResponseBodyRegex, ""})
	}
	return knobs
}

func retryKnob(r *client.RetryPolicy) knob {
	k := knob{"Retry", "infobip", ""}
	if r == nil {
		return k
	}
	k.Value = r.Policy
	var notes []string
	for _, s := range r.Schedule {
		notes = append(notes, waitText(s))
	}
	if len(notes) > 0 {
		notes = []string{"after " + strings.Join(notes, ", ")}
	}
	if r.MaxAttempts > 0 {
		notes = append(notes, "at most "+plural(r.MaxAttempts, "attempt", "attempts"))
	}
	if r.MaxAge > 0 {
		notes = append(notes, "for "+duration(time.Duration(r.MaxAge)*time.Second))
	}
	k.Note = strings.Join(notes, "; ")
	return k
}

// profileFormView is the page to make or change a profile.
type profileFormView struct {
	Form   *form
	Fields profileFields
	Cancel string
}

// profilePage makes the page with what was typed.
func (v *visit) profilePage(f *form, edit bool) (profileFormView, error) {
	view := profileFormView{Form: f, Fields: profileFields{Form: f, Edit: edit}, Cancel: at("/profiles")}
	if edit {
		view.Cancel = at("/profiles/{}", v.param("id"))
	}
	return view, v.reading().offered(&view.Fields)
}

func newProfile(v *visit) (*answer, error) {
	f := v.blank()
	defaultProfile(f, "")
	view, err := v.profilePage(f, false)
	if err != nil {
		return nil, err
	}
	return v.show(view).under("Notification profiles", at("/profiles")), nil
}

func createProfile(v *visit) (*answer, error) {
	f := v.form()
	p := profileOf(f, "")
	var err error
	if !f.Failed() {
		if p, err = v.api.CreateProfile(v.ctx(), p); err == nil {
			return v.done(at("/profiles/{}", p.ProfileID), "The profile %s was made.", p.ProfileID), nil
		}
	}
	return v.profileAgain(f, false, err)
}

// profileAgain shows the form again with what is wrong.
func (v *visit) profileAgain(f *form, edit bool, err error) (*answer, error) {
	if f.Text("securityMode") == modeExisting {
		err = moved(err, "security.authId", "useSecurity")
	}
	forgetSecrets(f, "security.", false)
	view, failed := v.profilePage(f, edit)
	if failed != nil {
		return nil, failed
	}
	if err == nil {
		return v.show(view).with(422).under("Notification profiles", at("/profiles")), nil
	}
	a, err := v.invalid(view, f, err, profileFieldNames("")...)
	if err != nil {
		return nil, err
	}
	return a.under("Notification profiles", at("/profiles")), nil
}

func editProfile(v *visit) (*answer, error) {
	p, err := v.api.Profile(v.ctx(), v.param("id"), client.Read{})
	if err != nil {
		return nil, err
	}
	f := v.blank()
	fillProfile(f, p)
	view, err := v.profilePage(f, true)
	if err != nil {
		return nil, err
	}
	return v.show(view).titled("Edit %s", p.ProfileID).under("Notification profiles", at("/profiles")).under(p.ProfileID, view.Cancel), nil
}

func changeProfile(v *visit) (*answer, error) {
	f, id := v.form(), v.param("id")
	u := profileChange(f)
	var err error
	if !f.Failed() {
		if _, err = v.api.UpdateProfile(v.ctx(), id, u); err == nil {
			return v.done(at("/profiles/{}", id), "The profile %s was saved.", id), nil
		}
	}
	a, err := v.profileAgain(f, true, err)
	if err != nil {
		return nil, err
	}
	return a.titled("Edit %s", id), nil
}

// switchProfile enables or disables a profile.
func switchProfile(v *visit) (*answer, error) {
	id, on := v.param("id"), v.form().Has("enabled", "true")
	if _, err := v.api.UpdateProfile(v.ctx(), id, client.ProfileUpdate{Enabled: model.Some(on)}); err != nil {
		return nil, err
	}
	if on {
		return v.done(at("/profiles/{}", id), "The profile %s delivers again; what waited for it goes out now.", id), nil
	}
	return v.done(at("/profiles/{}", id), "The profile %s is disabled: its deliveries wait until it is enabled again.", id), nil
}

// profileQuestion asks before a profile is deleted.
func profileQuestion(v *visit) (confirmation, *picture, error) {
	r := v.reading()
	p, err := v.api.Profile(v.ctx(), v.param("id"), r.part(0, 0))
	if err != nil {
		return confirmation{}, nil, err
	}
	users, err := r.usersOf(p.ProfileID, usersShown)
	if err != nil {
		return confirmation{}, nil, err
	}
	k := confirmation{
		Question: "Delete the profile " + p.ProfileID + "?", Name: p.ProfileID, Verb: "Delete the profile", Cancel: at("/profiles/{}", p.ProfileID),
		Effects: []string{"What it still owes is dropped and never sent."},
	}
	if id := authOf(p); id != "" {
		k.Effects = append(k.Effects, "The authentication setting "+id+" stays, for other profiles.")
	}
	if p.ClientCertificateID != "" {
		k.Effects = append(k.Effects, "The certificate "+p.ClientCertificateID+" stays.")
	}
	if users.Total > 0 {
		k.Effects = nil
		k.Refused = "A subscription cannot be without a profile, and " + plural(users.Total, "subscription goes", "subscriptions go") + " through this one. Give them another profile, or delete them first:"
	}
	for _, s := range users.Rows {
		k.Referrers = append(k.Referrers, link{s.Channel + " · " + s.SubscriptionID, s.Href()})
	}
	if users.Total > len(users.Rows) {
		k.Referrers = append(k.Referrers, link{"all " + number(users.Total), list("/subscriptions", "profileId", p.ProfileID)})
	}
	return k, pictureOf(p, users, focus{kindProfile, p.ProfileID}), nil
}

func askDeleteProfile(v *visit) (*answer, error) {
	k, picture, err := profileQuestion(v)
	if err != nil {
		return nil, err
	}
	return v.ask(k, picture), nil
}

func deleteProfile(v *visit) (*answer, error) {
	id := v.param("id")
	k := confirmation{Question: "Delete the profile " + id + "?", Name: id, Verb: "Delete the profile", Cancel: at("/profiles/{}", id)}
	return v.erase(k, at("/profiles"), "The profile "+id+" was deleted.", func() error { return v.api.DeleteProfile(v.ctx(), id) })
}

// profileTestView is the page of a test event.
type profileTestView struct {
	Form   *form
	ID     string
	URL    string
	Events []option
	Report *event.TestReport
	OK     bool
	// Sent and Answer are the bodies of Report.
	Sent, Answer shownBody
}

// profileTestPage offers the events of the channels that go through the profile, or
// of all channels.
func (v *visit) profileTestPage(f *form) (profileTestView, error) {
	r := v.reading()
	p, err := v.api.Profile(v.ctx(), v.param("id"), r.part(0, 0))
	if err != nil {
		return profileTestView{}, err
	}
	used, err := r.channelsOf(p.ProfileID)
	if err != nil {
		return profileTestView{}, err
	}
	view := profileTestView{Form: f, ID: p.ProfileID, URL: urlOf(p)}
	for _, c := range model.Channels() {
		if c.Reserved || len(used) > 0 && !used[c.Name] {
			continue
		}
		for _, e := range c.Events {
			view.Events = append(view.Events, option{c.Name + " " + e, channelTitle(c.Name) + " · " + human(e)})
		}
	}
	return view, nil
}

// channelsOf are the channels of the subscriptions that go through a profile.
func (r *reading) channelsOf(profileID string) (map[string]bool, error) {
	users, err := r.usersOf(profileID, model.MaxPageSize)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, s := range users.Rows {
		used[s.Channel] = true
	}
	if users.Total == len(users.Rows) {
		return used, nil
	}
	for _, ch := range channelNames() {
		if used[ch] {
			continue
		}
		p, err := r.subscriptions(ch, client.Filter{ProfileID: profileID}, r.part(0, 1))
		if err != nil {
			return nil, err
		}
		if len(p.Results) > 0 {
			used[ch] = true
		}
	}
	return used, nil
}

func askProfileTest(v *visit) (*answer, error) {
	view, err := v.profileTestPage(v.blank())
	if err != nil {
		return nil, err
	}
	return v.profileTestAnswer(v.show(view)), nil
}

func (v *visit) profileTestAnswer(a *answer) *answer {
	id := v.param("id")
	return a.titled("Send a test event to %s", id).under("Notification profiles", at("/profiles")).under(id, at("/profiles/{}", id))
}

func sendProfileTest(v *visit) (*answer, error) {
	f := v.form()
	view, err := v.profileTestPage(f)
	if err != nil {
		return nil, err
	}
	channel, name, _ := strings.Cut(f.Text("event"), " ")
	report, err := v.api.TestProfile(v.ctx(), view.ID, channel, name)
	if err != nil {
		a, err := v.invalid(view, f, moved(err, "channel", "event"), "event")
		if err != nil {
			return nil, err
		}
		return v.profileTestAnswer(a), nil
	}
	view.Report, view.OK = &report, report.Attempt.Outcome == "ok"
	view.Sent, view.Answer = testBody(channel, name, report), reportOf(report.Attempt).Answer()
	return v.profileTestAnswer(v.show(view)), nil
}
