package dispatch

import (
	"context"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/partition"
)

// ask has f look at the lanes, on the goroutine that owns them, and returns
// when it has. It needs Run; without it, it ends with the cause of ctx. f must
// not block.
func (d *Dispatcher) ask(ctx context.Context, f func(*scheduler)) error {
	done := make(chan struct{})
	select {
	case d.asks <- func(s *scheduler) { f(s); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Busy is how many deliveries are in flight, or were attempted and are not
// settled yet. The error is the cause of ctx: Run does not run, or has a lot to
// do.
func (d *Dispatcher) Busy(ctx context.Context) (n int, err error) {
	err = d.ask(ctx, func(s *scheduler) { n = s.unsettled })
	return n, err
}

// Destinations says what this node knows of the webhooks of profiles, as far
// as it delivers to them; others are missing. The error is as that of Busy.
func (d *Dispatcher) Destinations(ctx context.Context, account string, profileIDs []string) (out []event.DestinationState, err error) {
	err = d.ask(ctx, func(s *scheduler) {
		now := time.Now()
		for _, id := range profileIDs {
			t := outbox.Target{ProfileID: id}
			k := outbox.LaneKey{Account: account, Destination: t.Destination()}
			k.Partition = partition.Of(k.Account, k.Destination)
			if l := s.lanes[k]; l != nil {
				st := l.state(now)
				st.ProfileID, st.NodeID = id, d.opts.NodeID
				out = append(out, st)
			}
		}
	})
	return out, err
}

// state is what is known of the lane's destination.
func (l *lane) state(now time.Time) event.DestinationState {
	st := event.DestinationState{
		Partition: l.key.Partition, Breaker: event.BreakerClosed, Failed: l.breaker.inRow, Unanswered: l.breaker.mute,
		Gone: l.gone, Disabled: l.verdict == disabled, Window: l.room(), WindowSize: l.profile.WindowSize,
		InFlight: l.inFlight, Queued: len(l.queue), RateLimit: l.profile.RateLimit, Throttled: l.afford(now) > 0,
	}
	if l.breaker.open {
		st.Breaker = event.BreakerHalfOpen
		if l.breaker.blocked(now) {
			st.Breaker = event.BreakerOpen
		}
		until := l.breaker.until.UTC()
		st.BreakerUntil = &until
	}
	if now.Before(l.holdTill) {
		until := l.holdTill.UTC()
		st.HeldUntil = &until
	}
	return st
}
