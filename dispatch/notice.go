package dispatch

import (
	"strconv"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/webhook"
)

// Notice is something that an account may want to know. It becomes an event of
// channel event.ChannelOperator.
type Notice struct {
	Account string
	Name    string // one of the event.Notice constants
	// ID is the same for the same fact, whoever tells it and how often.
	ID string
	// ProfileID is the resource of the event; empty for a URL of a submit.
	ProfileID string
	Fields    map[string]any // the payload
}

// tell hands a notice over. Notices about notices are not told: a dead webhook
// for them would make more of them for ever.
func (d *Dispatcher) tell(channel string, n Notice) {
	if d.opts.OnNotice != nil && channel != event.ChannelOperator {
		d.opts.OnNotice(n)
	}
}

// tellDead tells that a delivery was given up.
func (d *Dispatcher) tellDead(o *outbox.Delivery, s *outbox.Settlement) {
	fields := map[string]any{
		"deliveryId": o.ID, "eventId": o.Event.ID, "channel": o.Event.Channel, "event": o.Event.Name,
		"subscriptionIds": o.Target.SubscriptionIDs, "attempts": s.Attempt, "outcome": s.Failure.Outcome,
		"statusCode": s.Failure.StatusCode, "error": s.Failure.Error, "acceptedAt": o.AcceptedAt,
	}
	d.tell(o.Event.Channel, Notice{
		Account: o.Event.Account, Name: event.NoticeDead, ProfileID: o.Target.ProfileID,
		ID: "dead-" + o.ID + "-" + strconv.Itoa(s.Attempt), Fields: withDestination(fields, o),
	})
}

// tellState tells that a destination stopped or began to answer.
func (d *Dispatcher) tellState(a *attempt, name string, res webhook.Result) {
	first := &a.request.deliveries[0]
	fields := map[string]any{"at": res.Started, "outcome": string(res.Class), "statusCode": res.StatusCode, "error": res.Error}
	d.tell(first.Event.Channel, Notice{
		Account: first.Event.Account, Name: name, ProfileID: first.Target.ProfileID,
		ID:     name + "-" + first.ID + "-" + strconv.Itoa(first.Attempt+1),
		Fields: withDestination(fields, first),
	})
}

func withDestination(fields map[string]any, o *outbox.Delivery) map[string]any {
	if o.Target.ProfileID != "" {
		fields["profileId"] = o.Target.ProfileID
	} else {
		fields["url"] = o.Target.URL
	}
	return fields
}
