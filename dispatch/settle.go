package dispatch

import (
	"context"
	"time"

	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

const (
	// MaxSettleBatch is how many settlements and members of bundles one command
	// carries, unless one request alone has more deliveries. Commands go one at a time, so it is
	// also what bounds how fast outcomes are settled where commits are slow.
	MaxSettleBatch = 2048
	// MaxSettling is how many outcomes may wait for their settlement before
	// nothing new starts: so many at most are sent again when this node dies,
	// beside what is in flight.
	MaxSettling = 2 * MaxSettleBatch

	minSettleBackoff = 50 * time.Millisecond
	maxSettleBackoff = 2 * time.Second
)

// finding is what the settler proposes as one: the outcomes of the deliveries of
// one request, or the bundle of a request that has not started.
type finding struct {
	settlements []outbox.Settlement
	bundle      *attempt
}

func (f finding) size() int {
	if f.bundle != nil {
		return len(f.bundle.request.deliveries)
	}
	return len(f.settlements)
}

// group is what one command carries.
type group struct {
	settlements []outbox.Settlement
	attempts    []*attempt
	bundles     []outbox.Bundle // of attempts
	size        int             // deliveries
}

func (g *group) add(f finding) {
	g.size += f.size()
	g.settlements = append(g.settlements, f.settlements...)
	if a := f.bundle; a != nil {
		g.attempts = append(g.attempts, a)
		g.bundles = append(g.bundles, a.request.bundle(a.epoch))
	}
}

// settler proposes the outcomes of attempts, and bundles. While one command is
// on its way the next ones gather, so commands grow with the load and nothing
// waits when there is none.
//
// INV dispatch-5: an outcome that is known is proposed until an answer comes.
// A settlement carries absolute state and an epoch, so proposing it again
// after an unknown outcome is safe. So is a bundle: only one of its proposals
// finds the marks that it names.
type settler struct {
	proposer Proposer
	metrics  *Metrics
	warn     func(msg string, args ...any)

	in   chan finding // the capacity covers MaxUnsettled
	done func(settledGroup)
}

// run works until in is closed and empty, or ctx ends. It returns how many
// settlements were left without an answer.
func (s *settler) run(ctx context.Context) int {
	for {
		g := &group{}
		select {
		case f, ok := <-s.in:
			if !ok {
				return 0
			}
			g.add(f)
		case <-ctx.Done():
			return s.left()
		}
		s.gather(g)
		if !s.settle(ctx, g) {
			return len(g.settlements) + s.left()
		}
	}
}

// left counts the settlements that nobody proposes any more.
func (s *settler) left() int {
	n := 0
	for range len(s.in) {
		f := <-s.in
		n += len(f.settlements)
	}
	return n
}

// gather adds what is waiting already. A finding is never parted: members of a
// batch that were settled by two commands could come apart in a crash.
func (s *settler) gather(g *group) {
	for g.size < MaxSettleBatch {
		select {
		case f, ok := <-s.in:
			if !ok {
				return
			}
			g.add(f)
		default:
			return
		}
	}
}

// settle proposes one command until it is answered; false: ctx ended before.
func (s *settler) settle(ctx context.Context, g *group) bool {
	s.metrics.settleBatch.Observe(float64(g.size))
	backoff := minSettleBackoff
	for {
		cmd := outbox.Encode(&outbox.Settle{At: time.Now(), Settlements: g.settlements, Bundles: g.bundles})
		_, resp, err := s.proposer.Propose(ctx, cmd)
		var verdicts []outbox.Verdict
		if err == nil {
			verdicts, err = outbox.DecodeVerdicts(resp)
		}
		if err == nil && len(verdicts) == len(g.settlements)+len(g.bundles) {
			s.done(settledGroup{settlements: g.settlements, bundled: g.attempts, verdicts: verdicts})
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.metrics.settleErrors.Inc()
		s.warn("outcomes could not be settled; they are kept and proposed again",
			"settlements", len(g.settlements), "bundles", len(g.bundles), "code", model.CodeOf(err), "error", err, "again", backoff)
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
