package dispatch

import (
	"context"
	"time"

	"github.com/google/uuid"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/event/sample"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

// headerTest marks a request with a sample event.
const headerTest = "Belfry-Test"

// Test sends a sample of the channel's event to a profile, now and once, from
// this node: outside of the profile's window, rate and breaker, without a retry
// and without a trace in the history. CodeNotFound: there is no such profile.
func (d *Dispatcher) Test(ctx context.Context, account, profileID, channel, name string) (event.TestReport, error) {
	dest, err := d.opts.Resolver.Resolve(account, profileID)
	if err != nil && model.CodeOf(err) == model.CodeNotFound {
		return event.TestReport{}, model.Errorf(model.CodeNotFound, "there is no profile %q", profileID)
	}
	id := "test-" + uuid.Must(uuid.NewV7()).String() // fails only without randomness, which never happens
	now := time.Now().UTC()
	o := outbox.Delivery{
		ID: id, AcceptedAt: now, Target: outbox.Target{DeliveryID: id, ProfileID: profileID},
		Event: event.Event{
			Account: account, ID: id, Channel: channel, Name: name, OccurredAt: now, ReceivedAt: now,
			Payload: sample.Payload(channel, name),
		},
	}
	q := &request{deliveries: []outbox.Delivery{o}, webhookID: id}
	report := event.TestReport{Payload: o.Event.Payload}
	if dest != nil {
		report.URL = dest.URL
	}
	res := d.try(ctx, dest, err, q, map[string]string{headerTest: "true"})
	report.Attempt = d.view(res, 1, id)
	return report, nil
}
