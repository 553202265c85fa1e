package node

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/dispatch"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const (
	// maxNotices is how many notices wait to be published. They are about
	// deliveries, not deliveries: beyond it they are dropped, counted and logged.
	maxNotices = 4096
	// noticeTries and noticePause bound how long a notice is kept while the
	// event group takes nothing.
	noticeTries = 30
	noticePause = 2 * time.Second
)

// notices publishes what belfry tells accounts, as events of the channel
// event.ChannelOperator. Where nobody subscribed to it, an event of it is owed
// to nobody and leaves nothing.
type notices struct {
	publisher publisher
	now       func() time.Time
	log       hclog.Logger
	queue     chan dispatch.Notice
	dropped   prometheus.Counter
}

func newNotices(p publisher, log hclog.Logger, reg prometheus.Registerer) *notices {
	n := &notices{
		publisher: p, now: time.Now, log: log.Named("notices"), queue: make(chan dispatch.Notice, maxNotices),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "belfry_notices_dropped_total",
			Help: "Events of channel BELFRY that were not published: too many waited, or the event group took nothing for a minute.",
		}),
	}
	if reg != nil {
		reg.MustRegister(n.dropped)
	}
	return n
}

// tell queues a notice. It does not block.
func (n *notices) tell(x dispatch.Notice) {
	select {
	case n.queue <- x:
	default:
		n.dropped.Inc()
		n.log.Warn("too many notices wait; one is dropped", "event", x.Name, "account", x.Account)
	}
}

// run publishes until ctx ends. What waits then is dropped: the next failure
// of a destination is told by its next owner.
func (n *notices) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case x := <-n.queue:
			if err := n.publish(ctx, x); err != nil && ctx.Err() == nil {
				n.dropped.Inc()
				n.log.Warn("a notice could not be published", "event", x.Name, "account", x.Account, "error", err)
			}
		}
	}
}

// publish has one notice taken. Its id is an idempotency key, so that a
// proposal whose outcome is not known may be repeated.
func (n *notices) publish(ctx context.Context, x dispatch.Notice) error {
	payload, err := json.Marshal(x.Fields)
	if err != nil {
		return fmt.Errorf("encode the payload: %w", err)
	}
	now := n.now().UTC()
	for try := 1; ; try++ {
		_, err := n.publisher.Publish(ctx, []*event.Event{{
			Account: x.Account, ID: x.ID, GivenID: true, Channel: event.ChannelOperator, Name: x.Name,
			Resource: x.ProfileID, OccurredAt: now, ReceivedAt: now, Payload: payload,
		}})
		switch model.CodeOf(err) { //nolint:exhaustive // everything else will not change by waiting
		case "", model.CodeConflict: // told before, with another time in it
			return nil
		case model.CodeUnavailable, model.CodeUnknownOutcome, model.CodeLimit:
		default:
			return err
		}
		if try == noticeTries {
			return err
		}
		select {
		case <-time.After(noticePause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
