package dispatch

import (
	"context"
	"maps"
	"math/rand/v2"
	"strings"
	"sync/atomic"
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
	risky   bool // holds a slot of the pools of these kinds
	large   bool
	trial   bool   // counts among the trials of the account
	checked uint64 // that of the lane when the request was made

	// The outcome.
	unsent      bool // nothing was sent and nothing happened: no attempt was used
	result      webhook.Result
	settlements []outbox.Settlement
	url         string    // of the profile; empty: the request had no profile's, or none
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
	// INV dispatch-1: no attempt starts without a lease. It is looked at once
	// more here, and in the call that writes the request.
	if ctx.Err() != nil || !d.leased() {
		a.unsent = true
		return
	}
	var refused atomic.Bool
	a.request.permit = func() bool {
		ok := d.leased()
		refused.Store(!ok)
		return ok
	}
	if dest != nil && first.Target.ProfileID != "" {
		a.url = dest.URL
	}
	res := d.try(ctx, dest, err, &a.request, nil)
	if refused.Load() {
		a.unsent = true // the lease ran out while there was no connection yet
		return
	}
	if ctx.Err() != nil && res.StatusCode == 0 && res.Class != webhook.ClassOK {
		a.unsent = true // cut off by the stop, not by the receiver
		return
	}
	d.metrics.attempts.WithLabelValues(string(res.Class)).Inc()
	d.metrics.seconds.Observe(res.Duration.Seconds())
	a.result = res
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

// try makes the request, or says why it cannot be made: cause is why there is
// no destination. A panic in the sender costs one attempt, not the node.
func (d *Dispatcher) try(ctx context.Context, dest *webhook.Destination, cause error, q *request, more map[string]string) (res webhook.Result) {
	started := time.Now()
	if cause != nil {
		return webhook.Result{Class: webhook.ClassAuth, Error: "the profile cannot be used as configured: " + cause.Error(), Started: started}
	}
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("an attempt panicked", "webhookId", q.webhookID, "panic", p)
			res = webhook.Result{Class: webhook.ClassTemporary, Error: "internal error", Started: started, Duration: time.Since(started)}
		}
	}()
	headers := q.headers()
	maps.Copy(headers, more)
	body, contentType := q.render(dest.ContentType)
	if contentType != dest.ContentType {
		other := *dest // the one that was resolved is shared
		other.ContentType = contentType
		dest = &other
	}
	return d.opts.Sender.Send(ctx, &webhook.Request{Destination: dest, WebhookID: q.webhookID, Headers: headers, Body: body, Permit: q.permit})
}

// judge turns a verdict on the attempt into the state of its deliveries. All
// members of a batch get the same one, so that they stay together.
func (d *Dispatcher) judge(a *attempt, res webhook.Result) {
	now := time.Now()
	first := &a.request.deliveries[0]
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
			attempt: first.Attempt - first.Base + 1, at: now, retryAfter: res.RetryAfter, jitter: d.opts.Jitter(),
		}
		// The youngest member decides about maxAge: none is given up too early.
		for i := range a.request.deliveries {
			if at := since(&a.request.deliveries[i]); at.After(f.acceptedAt) {
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
		Failure: failureOf(status, res),
	}, 1)
	d.metrics.deliveries.WithLabelValues(string(status)).Add(float64(len(a.settlements)))
	if status == event.StatusDead {
		for i := range a.settlements {
			d.tellDead(&a.request.deliveries[i], &a.settlements[i])
		}
	}
}

// failureOf is what a dead letter says of its end.
func failureOf(status event.Status, res webhook.Result) event.Failure {
	if status != event.StatusDead {
		return event.Failure{}
	}
	return event.Failure{Outcome: string(res.Class), StatusCode: res.StatusCode, Error: res.Error}
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
	return d.ended(ds, epoch, outbox.Settlement{Status: event.StatusDropped})
}

// outdated ends deliveries that waited longer than their profile lets them.
func (d *Dispatcher) outdated(ds []outbox.Delivery, epoch uint64) []outbox.Settlement {
	out := d.ended(ds, epoch, outbox.Settlement{
		Status:  event.StatusDead,
		Failure: event.Failure{Outcome: outcomeExpired, Error: "it waited longer than the retry policy of its profile allows"},
	})
	for i := range ds {
		out[i].WebhookID = ds[i].WebhookID
		d.tellDead(&ds[i], &out[i])
	}
	return out
}

// ended settles deliveries without another attempt.
func (d *Dispatcher) ended(ds []outbox.Delivery, epoch uint64, s outbox.Settlement) []outbox.Settlement {
	for i := range ds {
		d.opts.Attempts.Record(&ds[i].Event, attemptlog.Entry{
			DeliveryID: ds[i].ID, ProfileID: ds[i].Target.ProfileID, SubscriptionIDs: ds[i].Target.SubscriptionIDs,
			URL: ds[i].Target.URL, Status: s.Status, AcceptedAt: ds[i].AcceptedAt,
		})
		d.watch(&ds[i], s.Status, nil)
		if d.opts.Figures != nil {
			d.opts.Figures.Deliveries(ds[i].Event.Account, ds[i].Target.ProfileID, s.Status, 1)
		}
	}
	d.metrics.deliveries.WithLabelValues(string(s.Status)).Add(float64(len(ds)))
	return settlements(ds, epoch, s, 0)
}

// view is what is shown of an attempt.
func (d *Dispatcher) view(res webhook.Result, number int, webhookID string) event.Attempt {
	return event.Attempt{
		Attempt: number, At: res.Started, DurationMs: res.Duration.Milliseconds(), StatusCode: res.StatusCode,
		Outcome: string(res.Class), ErrorClass: string(res.ErrorClass), Error: res.Error,
		Response: strings.ToValidUTF8(string(res.Body), "\uFFFD"), Timing: res.Timing, NodeID: d.opts.NodeID, WebhookID: webhookID,
		RequestHeaders: res.RequestHeaders, ResponseHeaders: res.ResponseHeaders, HeadersCut: res.HeadersCut,
	}
}

// watch shows the end of an attempt, or of a delivery without one, to those who
// follow the live tail.
func (d *Dispatcher) watch(o *outbox.Delivery, status event.Status, seen *event.Attempt) {
	if d.opts.Tail == nil || !d.opts.Tail.Wanted(o.Event.Account) {
		return
	}
	entry := tailEntry(event.TailAttempt, d.opts.NodeID, &o.Event)
	entry.DeliveryID, entry.ProfileID, entry.SubscriptionIDs = o.ID, o.Target.ProfileID, o.Target.SubscriptionIDs
	entry.Status, entry.Attempt = status, seen
	d.opts.Tail.Append(o.Event.Account, entry)
}

func tailEntry(kind event.TailKind, node string, e *event.Event) event.TailEntry {
	return event.TailEntry{
		Kind: kind, At: time.Now().UTC(), NodeID: node, EventID: e.ID, Channel: e.Channel, Name: e.Name,
		Resource: e.Resource, ApplicationID: e.ApplicationID, EntityID: e.EntityID, User: e.User, OrderingKey: e.OrderingKey,
	}
}

// record writes the history and one line per attempt.
func (d *Dispatcher) record(a *attempt, dest *webhook.Destination, res webhook.Result) {
	url := ""
	if dest != nil {
		url = dest.URL
	}
	for i := range a.request.deliveries {
		o, s := &a.request.deliveries[i], &a.settlements[i]
		seen := d.view(res, s.Attempt, s.WebhookID)
		d.opts.Attempts.Record(&o.Event, attemptlog.Entry{
			DeliveryID: o.ID, ProfileID: o.Target.ProfileID, SubscriptionIDs: o.Target.SubscriptionIDs, URL: url,
			Status: s.Status, NextAt: s.NextAt, AcceptedAt: o.AcceptedAt,
			Attempt: &seen,
		})
		d.watch(o, s.Status, &seen)
	}
	if f := d.opts.Figures; f != nil {
		first := &a.request.deliveries[0]
		f.Attempt(first.Event.Account, first.Target.ProfileID, string(res.Class), res.Duration)
		f.Deliveries(first.Event.Account, first.Target.ProfileID, a.settlements[0].Status, len(a.settlements))
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
