package dispatch

import (
	"context"
	"time"

	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

const (
	// MaxSettleBatch is how many settlements one command carries, unless one
	// request alone had more deliveries. Commands go one at a time, so it is
	// also what bounds how fast outcomes are settled where commits are slow.
	MaxSettleBatch = 2048
	// MaxSettling is how many outcomes may wait for their settlement before
	// nothing new starts: so many at most are sent again when this node dies,
	// beside what is in flight.
	MaxSettling = 2 * MaxSettleBatch

	minSettleBackoff = 50 * time.Millisecond
	maxSettleBackoff = 2 * time.Second
)

// settler proposes the outcomes of attempts. While one command is on its way
// the next ones gather, so commands grow with the load and nothing waits when
// there is none.
//
// INV dispatch-5: an outcome that is known is proposed until an answer comes.
// A settlement carries absolute state and an epoch, so proposing it again
// after an unknown outcome is safe.
type settler struct {
	proposer Proposer
	metrics  *Metrics
	warn     func(msg string, args ...any)

	in   chan []outbox.Settlement // one group per request; the capacity covers MaxUnsettled
	done func([]outbox.Settlement, []outbox.Verdict)
}

// run works until in is closed and empty, or ctx ends. It returns how many
// settlements were left without an answer.
func (s *settler) run(ctx context.Context) int {
	var group []outbox.Settlement
	for {
		group = group[:0]
		select {
		case g, ok := <-s.in:
			if !ok {
				return 0
			}
			group = append(group, g...)
		case <-ctx.Done():
			return len(s.in)
		}
		group = s.gather(group)
		if !s.settle(ctx, group) {
			return len(group) + len(s.in)
		}
	}
}

// gather adds what is waiting already. A group is never parted: members of a
// batch that were settled by two commands could come apart in a crash.
func (s *settler) gather(group []outbox.Settlement) []outbox.Settlement {
	for len(group) < MaxSettleBatch {
		select {
		case g, ok := <-s.in:
			if !ok {
				return group
			}
			group = append(group, g...)
		default:
			return group
		}
	}
	return group
}

// settle proposes one command until it is answered; false: ctx ended before.
func (s *settler) settle(ctx context.Context, group []outbox.Settlement) bool {
	s.metrics.settleBatch.Observe(float64(len(group)))
	backoff := minSettleBackoff
	for {
		cmd := outbox.Encode(&outbox.Settle{At: time.Now(), Settlements: group})
		_, resp, err := s.proposer.Propose(ctx, cmd)
		var verdicts []outbox.Verdict
		if err == nil {
			verdicts, err = outbox.DecodeVerdicts(resp)
		}
		if err == nil && len(verdicts) == len(group) {
			s.done(append([]outbox.Settlement(nil), group...), verdicts)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.metrics.settleErrors.Inc()
		s.warn("outcomes could not be settled; they are kept and proposed again",
			"settlements", len(group), "code", model.CodeOf(err), "error", err, "again", backoff)
		if !sleep(ctx, backoff) {
			return false
		}
		backoff = min(2*backoff, maxSettleBackoff)
	}
}

// sleep waits for d; false: ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
