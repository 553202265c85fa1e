package dispatch

import (
	"context"
	"math/rand/v2"
	"time"

	"example.com/belfry/dispatch/attemptlog"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

func randomJitter() float64 {
	return 2*rand.Float64() - 1 //nolint:gosec // spreads retries, guards nothing
}

// attempt is one request from its start to its outcome.
type attempt struct {
	lane    *lane
	epoch   uint64
	request request
	retry   model.Retry

	// The outcome.
	unsent      bool // nothing was sent and nothing happened: no attempt was used
	settlements []outbox.Settlement
	hold        time.Time // nothing else of the lane starts before
	gone        bool
}

// leased reports whether attempts may start.
func (d *Dispatcher) leased() bool {
	ok, until := d.opts.Lease.Lease()
	return ok && (until.IsZero() || time.Now().Before(until))
}

// perform makes the attempt and decides what it means.
func (d *Dispatcher) perform(ctx context.Context, a *attempt) {
	first := &a.request.deliveries[0]
	dest, err := d.destination(first)
	if model.CodeOf(err) == model.CodeNotFound {
		a.settlements = d.dropped(a.request.deliveries, a.epoch)
		return
	}
	var res webhook.Result
	switch {
	// INV dispatch-1: no attempt starts without a lease. It is looked at once
	// more here, as late as can be.
	case ctx.Err() != nil || !d.leased():
		a.unsent = true
		return
	case err != nil:
		res = webhook.Result{Class: webhook.ClassAuth, Error: "the profile cannot be used as configured: " + err.Error(), Started: time.Now()}
	default:
		res = d.send(ctx, dest, &a.request)
		if ctx.Err() != nil && res.StatusCode == 0 && res.Class != webhook.ClassOK {
			a.unsent = true // cut off by the stop, not by the receiver
			return
		}
	}
	d.metrics.attempts.WithLabelValues(string(res.Class)).Inc()
	d.metrics.seconds.Observe(res.Duration.Seconds())
	d.judge(a, res)
	d.record(a, dest, res)
	if res.Class == webhook.ClassGone && first.Target.ProfileID != "" && d.opts.OnGone != nil {
		d.hooks.Go(func() { d.opts.OnGone(first.Event.Account, first.Target.ProfileID) })
	}
}

// destination resolves from the config of now.
func (d *Dispatcher) destination(o *outbox.Delivery) (*webhook.Destination, error) {
	if o.Target.ProfileID != "" {
		return d.opts.Resolver.Resolve(o.Event.Account, o.Target.ProfileID)
	}
	contentType := o.Target.ContentType
	if contentType == "" {
		contentType = model.DefaultContentType
	}
	return &webhook.Destination{
		Account: o.Event.Account, Version: 1, URL: o.Target.URL, ContentType: contentType,
		ConnectTimeout: model.DefaultConnectTimeoutMs * time.Millisecond,
		ReadTimeout:    model.DefaultReadTimeoutMs * time.Millisecond,
	}, nil
}

// send calls the sender; a panic in it costs one attempt, not the node.
func (d *Dispatcher) send(ctx context.Context, dest *webhook.Destination, q *request) (res webhook.Result) {
	started := time.Now()
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("an attempt panicked", "webhookId", q.webhookID, "panic", p)
			res = webhook.Result{Class: webhook.ClassTemporary, Error: "internal error", Started: started, Duration: time.Since(started)}
		}
	}()
	return d.opts.Sender.Send(ctx, &webhook.Request{
		Destination: dest, WebhookID: q.webhookID, Headers: q.headers(), Body: q.body(),
	})
}

// judge turns a verdict on the attempt into the state of its deliveries. All
// members of a batch get the same one, so that they stay together.
func (d *Dispatcher) judge(a *attempt, res webhook.Result) {
	now := time.Now()
	status, nextAt := event.StatusDelivered, time.Time{}
	switch res.Class {
	case webhook.ClassOK:
	case webhook.ClassGone:
		status = event.StatusDead
		a.gone, a.hold = true, now.Add(holdRecheck) // until the profile is disabled
	case webhook.ClassThrottled, webhook.ClassTemporary, webhook.ClassAuth, webhook.ClassBlocked:
		if res.Class == webhook.ClassThrottled && res.RetryAfter > 0 {
			a.hold = now.Add(res.RetryAfter)
		}
		f := failure{
			attempt: a.request.deliveries[0].Attempt + 1, at: now, retryAfter: res.RetryAfter, jitter: d.opts.Jitter(),
		}
		// The youngest member decides about maxAge: none is given up too early.
		for i := range a.request.deliveries {
			if at := a.request.deliveries[i].AcceptedAt; at.After(f.acceptedAt) {
				f.acceptedAt = at
			}
		}
		var again bool
		if nextAt, again = next(a.retry, f); again {
			status = event.StatusRetrying
		} else {
			status, nextAt = event.StatusDead, time.Time{}
		}
	}
	a.settlements = settlements(a.request.deliveries, a.epoch, outbox.Settlement{
		Status: status, NextAt: nextAt, WebhookID: a.request.webhookID,
	}, 1)
	d.metrics.deliveries.WithLabelValues(string(status)).Add(float64(len(a.settlements)))
}

func settlements(ds []outbox.Delivery, epoch uint64, s outbox.Settlement, attempts int) []outbox.Settlement {
	out := make([]outbox.Settlement, len(ds))
	for i := range ds {
		out[i] = s
		out[i].DeliveryID, out[i].Partition, out[i].Epoch = ds[i].ID, ds[i].Partition, epoch
		out[i].Attempt = ds[i].Attempt + attempts
	}
	return out
}

// dropped ends deliveries whose profile or subscriptions were deleted.
func (d *Dispatcher) dropped(ds []outbox.Delivery, epoch uint64) []outbox.Settlement {
	for i := range ds {
		d.opts.Attempts.Record(&ds[i].Event, attemptlog.Entry{
			DeliveryID: ds[i].ID, ProfileID: ds[i].Target.ProfileID, SubscriptionIDs: ds[i].Target.SubscriptionIDs,
			URL: ds[i].Target.URL, Status: event.StatusDropped,
		})
	}
	d.metrics.deliveries.WithLabelValues(string(event.StatusDropped)).Add(float64(len(ds)))
	return settlements(ds, epoch, outbox.Settlement{Status: event.StatusDropped}, 0)
}

// record writes the history and one line per attempt.
func (d *Dispatcher) record(a *attempt, dest *webhook.Destination, res webhook.Result) {
	url := ""
	if dest != nil {
		url = dest.URL
	}
	for i := range a.request.deliveries {
		o, s := &a.request.deliveries[i], &a.settlements[i]
		d.opts.Attempts.Record(&o.Event, attemptlog.Entry{
			DeliveryID: o.ID, ProfileID: o.Target.ProfileID, SubscriptionIDs: o.Target.SubscriptionIDs, URL: url,
			Status: s.Status, NextAt: s.NextAt,
			Attempt: &event.Attempt{
				Attempt: s.Attempt, At: res.Started, DurationMs: res.Duration.Milliseconds(), StatusCode: res.StatusCode,
				Outcome: string(res.Class), Error: res.Error, NodeID: d.opts.NodeID, WebhookID: s.WebhookID,
			},
		})
	}
	if d.log.IsDebug() {
		first := &a.request.deliveries[0]
		d.log.Debug("attempt", "account", first.Event.Account, "profile", first.Target.ProfileID,
			"channel", first.Event.Channel, "event", first.Event.Name, "webhookId", a.request.webhookID,
			"deliveries", len(a.request.deliveries), "attempt", first.Attempt+1, "outcome", res.Class,
			"status", res.StatusCode, "duration", res.Duration, "then", a.settlements[0].Status,
			"nextAt", a.settlements[0].NextAt, "error", res.Error)
	}
}
