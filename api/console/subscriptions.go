package console

import (
	"net/url"
	"slices"
	"strings"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func subscriptionScreens() []screen {
	const read, manage = model.ScopeSubscriptionsRead, model.ScopeSubscriptionsManage
	const one = "/subscriptions/{channel}/{id}"
	scripts := []string{"js/setup.js"}
	return []screen{
		{
			path: "/subscriptions", file: "subscriptions.html", title: "Subscriptions", scope: read,
			nav: &navItem{group: navSubscriptions, label: "Subscriptions", icon: "rules", key: 's', order: 1}, get: listSubscriptions,
		},
		{path: "/new-subscription", file: "subscription_form.html", title: "Create a subscription", scope: manage, get: newSubscription, post: createSubscription, scripts: scripts},
		{path: one, file: "subscription.html", title: "Subscription", scope: read, get: showSubscription},
		{path: one + "/edit", file: "subscription_form.html", title: "Edit subscription", scope: manage, get: editSubscription, post: changeSubscription, scripts: scripts},
		{path: one + "/delete", file: "setup_delete.html", title: "Delete", scope: manage, get: askDeleteSubscription, post: deleteSubscription},
	}
}

// subscriptionFilters are the parameters of the list, by the API's names. The
// last one has no field.
var subscriptionFilters = []string{"q", "channel", "event", "applicationId", "entityId", "resource", "user", "profileId"}

// subscriptionsView is the list of subscriptions.
type subscriptionsView struct {
	Pager    pager
	Tabs     []tab
	Filter   *form
	Channels []option
	Events   []option
	Rows     []subscriptionRow
}

// subscriptionRow is a subscription as the list shows it.
type subscriptionRow struct {
	channelSubscription
	// Chips are the first of its events, Rest how many more there are.
	Chips []string
	Rest  int
	// Criteria are what it asks of an event, as texts.
	Criteria []chip
	RestOf   int
}

// chip is a criterion in words.
type chip struct{ Name, Value string }

// chipsMost is how many chips of one kind a row has.
const chipsMost = 3

func listSubscriptions(v *visit) (*answer, error) {
	f := v.filters(subscriptionFilters...)
	view := subscriptionsView{Tabs: setupTabs("/subscriptions"), Filter: f, Channels: []option{{"", "All channels"}}, Events: []option{{"", "All events"}}}
	for _, name := range channelNames() {
		view.Channels = append(view.Channels, option{name, channelTitle(name)})
	}
	// What the selects do not offer is not chosen: the event of another channel
	// stays in the form when the channel changes.
	channel, event := f.Text("channel"), f.Text("event")
	if _, known := model.ChannelByName(channel); !known {
		channel = ""
	}
	events := eventNames(channel)
	if !slices.Contains(events, event) {
		event = ""
	}
	view.Events = append(view.Events, options(events...)...)
	found, err := v.reading().subscriptions(channel, client.Filter{
		Search: f.Text("q"), Event: event, ProfileID: f.Text("profileId"),
		ApplicationIDs: oneText(f, "applicationId"), EntityIDs: oneText(f, "entityId"), Resources: oneText(f, "resource"), Users: oneText(f, "user"),
	}, v.read())
	if err != nil {
		return v.badFilter(&view, f, moved(err, "search", "q"), subscriptionFilters[:len(subscriptionFilters)-1]...)
	}
	view.Pager = pagerOf(found)
	for _, s := range found.Results {
		view.Rows = append(view.Rows, subscriptionRowOf(s))
	}
	return v.show(&view), nil
}

// oneText is a filter of the API with what was typed, or without anything.
func oneText(f *form, name string) []string {
	if s := f.Text(name); s != "" {
		return []string{s}
	}
	return nil
}

func subscriptionRowOf(s channelSubscription) subscriptionRow {
	row := subscriptionRow{channelSubscription: s}
	for _, e := range s.Events {
		row.Chips = append(row.Chips, eventText(e))
	}
	row.Chips, row.Rest = cut(row.Chips)
	for _, c := range s.Criteria {
		row.Criteria = append(row.Criteria, chip{"", criterionText(c)})
	}
	for _, x := range s.Resources {
		row.Criteria = append(row.Criteria, chip{"from", x})
	}
	for _, x := range s.Users {
		row.Criteria = append(row.Criteria, chip{"user", x})
	}
	row.Criteria, row.RestOf = cut(row.Criteria)
	return row
}

func cut[T any](all []T) ([]T, int) {
	n := min(len(all), chipsMost)
	return all[:n], len(all) - n
}

func eventText(e client.EventName) string {
	if e.Format == "" {
		return e.Event
	}
	return e.Event + " (" + e.Format + ")"
}

// eventsText is a list of events in a few words.
func eventsText(events []client.EventName) string {
	switch len(events) {
	case 0:
		return "all events"
	case 1:
		return eventText(events[0])
	}
	return eventText(events[0]) + " and " + number(len(events)-1) + " more"
}

// criterionText is one tuple in words.
func criterionText(c client.Criterion) string {
	var parts []string
	for _, p := range []chip{{"application", c.ApplicationID}, {"entity", c.EntityID}, {"calls configuration", c.CallsConfigurationID}} {
		if p.Value != "" {
			parts = append(parts, p.Name+" "+p.Value)
		}
	}
	if len(parts) == 0 {
		return "anything"
	}
	return strings.Join(parts, " and ")
}

// subscriptionView is the page of a subscription.
type subscriptionView struct {
	channelSubscription
	EventTexts, Criteria []string
	// Profile as it is now; ProfileError says why it could not be read.
	Through client.Profile
	URL     string
	On      bool
	Picture *picture
	// MatchHref asks what an event that fits would go to.
	MatchHref string
	CanMatch  bool
}

func showSubscription(v *visit) (*answer, error) {
	r := v.reading()
	s, p, err := r.subscription()
	if err != nil {
		return nil, err
	}
	view := subscriptionView{channelSubscription: s, Through: p, URL: urlOf(p), On: enabled(p), CanMatch: v.can(model.ScopeEventsRead), MatchHref: address(at("/match"), sampleOf(s))}
	for _, e := range s.Events {
		view.EventTexts = append(view.EventTexts, eventText(e))
	}
	for _, c := range s.Criteria {
		view.Criteria = append(view.Criteria, criterionText(c))
	}
	view.Picture = pictureOf(p, beginning[channelSubscription]{[]channelSubscription{s}, 1}, focus{kindSubscription, s.Channel + "/" + s.SubscriptionID})
	title := s.SubscriptionID
	if s.Name != "" {
		title = s.Name
	}
	return v.show(view).titled("%s", title).under("Subscriptions", at("/subscriptions")), nil
}

// subscription reads the one of the address, with its profile. A profile that
// was deleted meanwhile comes with its id alone.
func (r *reading) subscription() (channelSubscription, client.Profile, error) {
	v := r.v
	s, err := v.api.Subscription(v.ctx(), v.param("channel"), v.param("id"), r.part(0, 0))
	if err != nil {
		return channelSubscription{}, client.Profile{}, err
	}
	p, err := v.api.Profile(v.ctx(), s.Profile.ProfileID, r.part(0, 0))
	if model.CodeOf(err) == model.CodeNotFound {
		p, err = s.Profile, nil
	}
	return channelSubscription{v.param("channel"), s}, p, err
}

// sampleOf is an event that fits a subscription, by the names of the API.
func sampleOf(s channelSubscription) url.Values {
	q := url.Values{"channel": {s.Channel}}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(s.Events) > 0 {
		q.Set("event", s.Events[0].Event)
	} else if c, ok := model.ChannelByName(s.Channel); ok {
		q.Set("event", c.Events[0])
	}
	if len(s.Criteria) > 0 {
		set("applicationId", s.Criteria[0].ApplicationID)
		set("entityId", s.Criteria[0].EntityID)
		set("callsConfigurationId", s.Criteria[0].CallsConfigurationID)
	}
	if len(s.Resources) > 0 {
		q.Set("resource", s.Resources[0])
	}
	if len(s.Users) > 0 {
		q.Set("user", s.Users[0])
	}
	return q
}

func subscriptionQuestion(channel, id string) confirmation {
	return confirmation{Question: "Delete the subscription " + id + " of " + channel + "?", Name: id, Verb: "Delete the subscription", Cancel: at("/subscriptions/{}/{}", channel, id)}
}

func askDeleteSubscription(v *visit) (*answer, error) {
	r := v.reading()
	s, p, err := r.subscription()
	if err != nil {
		return nil, err
	}
	users, err := r.usersOf(p.ProfileID, leavesMost)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(users.Rows, func(u channelSubscription) bool { return u.Href() == s.Href() }) { // the one in question is drawn
		users.Rows = append([]channelSubscription{s}, users.first(leavesMost-1)...)
	}
	k := subscriptionQuestion(s.Channel, s.SubscriptionID)
	stays := "The profile " + p.ProfileID + " stays, and nothing else uses it: delete it afterwards, if it is not needed."
	if n := users.Total - 1; n > 0 {
		stays = "The profile " + p.ProfileID + " stays: " + plural(n, "other subscription goes", "other subscriptions go") + " through it."
	}
	k.Effects = []string{"Events of " + s.Channel + " do not go through it any more. What it still owes is dropped and never sent.", stays}
	return v.ask(k, pictureOf(p, users, focus{kindSubscription, s.Channel + "/" + s.SubscriptionID})), nil
}

func deleteSubscription(v *visit) (*answer, error) {
	channel, id := v.param("channel"), v.param("id")
	return v.erase(subscriptionQuestion(channel, id), at("/subscriptions"), "The subscription "+id+" was deleted.", func() error { return v.api.DeleteSubscription(v.ctx(), channel, id) })
}
