package console

import (
	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func matchScreens() []screen {
	return []screen{{
		path: "/match", file: "match.html", title: "What would match", scope: model.ScopeEventsRead, form: true,
		nav: &navItem{group: navEvents, label: "What would match", icon: "filter", key: 'w', order: 6}, get: showMatch,
	}}
}

// matchNames are the members of an event that subscriptions look at.
var matchNames = []string{"channel", "event", "applicationId", "entityId", "callsConfigurationId", "resource", "user"}

// matchView says which subscriptions an event would go to, and why not to the
// others.
type matchView struct {
	Form       *form
	Channels   []option
	EventNames []string
	Report     *matchReport
}

// matchReport is what the parts of templates show of a report.
type matchReport struct {
	client.MatchReport
	Channel, Event string
}

// Empty: nothing subscribes to the channel at all.
func (r *matchReport) Empty() bool { return len(r.Matched)+len(r.Unmatched) == 0 }

// showMatch answers a question that stands in the address, so that it can be
// sent to somebody.
func showMatch(v *visit) (*answer, error) {
	f := v.filters(matchNames...)
	view := matchView{Form: f, Channels: channelOptions("Choose a channel"), EventNames: eventNames(f.Text("channel"))}
	if !anySet(f, matchNames...) {
		return v.show(&view), nil
	}
	rep, err := v.match(f)
	if err != nil {
		return v.badFilter(&view, f, err, matchNames...)
	}
	view.Report = rep
	return v.show(&view), nil
}

// match asks the API about the event of a form.
func (v *visit) match(f *form) (*matchReport, error) {
	e := eventOf(f)
	rep, err := v.api.Match(v.ctx(), e)
	if err != nil {
		return nil, err
	}
	return &matchReport{MatchReport: rep, Channel: e.Channel, Event: e.Event}, nil
}

// eventOf reads the members of an event, but for its payload.
func eventOf(f *form) client.Event {
	return client.Event{
		Channel: f.Text("channel"), Event: f.Text("event"), Format: f.Text("format"), ApplicationID: f.Text("applicationId"), EntityID: f.Text("entityId"),
		CallsConfigurationID: f.Text("callsConfigurationId"), Resource: f.Text("resource"), User: f.Text("user"), OrderingKey: f.Text("orderingKey"),
	}
}
