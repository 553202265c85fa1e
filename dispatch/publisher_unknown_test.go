package dispatch

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

// TestPublish_unknownOutcome: a group whose outcome is unknown is proposed
// again if it cannot be taken twice, unchanged and not for ever, and what is not known in the end is not
// called refused (INV publish-5).
func TestPublish_unknownOutcome(t *testing.T) {
	t.Parallel()
	unknown, unavailable := model.Errorf(model.CodeUnknownOutcome, "no"), model.Errorf(model.CodeUnavailable, "no")
	type step struct {
		lose bool
		err  error
	}
	for _, tc := range []struct {
		name     string
		id       string
		steps    []step // what comes of the proposals, one after the other; then they succeed
		want     string // receipts, or a code
		proposed int
		owed     int
	}{
		{"appended", "a", []step{{true, unknown}}, "DUPLICATE/1", 2, 1},
		{"appended, without an id", "", []step{{true, unknown}}, string(model.CodeUnknownOutcome), 1, 1},
		{"not appended", "a", []step{{false, unknown}}, "ACCEPTED/1", 2, 1},
		{"not appended, without an id", "", []step{{false, unknown}}, string(model.CodeUnknownOutcome), 1, 0},
		{"twice", "a", []step{{true, unknown}, {false, unknown}}, "DUPLICATE/1", 3, 1},
		{"once too often", "a", []step{{false, unknown}, {false, unknown}, {true, unknown}}, string(model.CodeUnknownOutcome), maxProposals, 1},
		{"then no leader", "a", []step{{true, unknown}, {false, unavailable}}, string(model.CodeUnknownOutcome), 2, 1},
		{"no leader", "a", []step{{false, unavailable}}, string(model.CodeUnavailable), 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			atDesk(t, func(d *desk) { d.subscribe("s1", "p1") }, func(d *desk) {
				steps := tc.steps
				d.group.set(func(outbox.Command) (bool, error) {
					if len(steps) == 0 {
						return false, nil
					}
					next := steps[0]
					steps = steps[1:]
					return next.lose, next.err
				})
				receipts, err := d.publish(sms("DELIVERY", tc.id, `1`))
				got := string(model.CodeOf(err))
				if err == nil {
					got = fmt.Sprintf("%s/%d", receipts[0].Status, receipts[0].Deliveries)
				}
				if got != tc.want {
					t.Errorf("got %s, want %s", got, tc.want)
				}
				proposed := d.proposed()
				if len(proposed) != tc.proposed {
					t.Errorf("proposed %d times, want %d", len(proposed), tc.proposed)
				}
				for _, c := range proposed[1:] {
					if diff := cmp.Diff(proposed[0], c); diff != "" {
						t.Errorf("proposed something else again (-first +again):\n%s", diff)
					}
				}
				if n := d.store.Stats().Pending; n != tc.owed {
					t.Errorf("%d deliveries are owed, want %d", n, tc.owed)
				}
			})
		})
	}
}

// behind commits and cannot tell the answer.
type behind struct{ Proposer }

func (p behind) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	index, _, _ := p.Proposer.Propose(ctx, cmd)
	return index, nil, model.Errorf(model.CodeUnknownOutcome, "this node has not caught up")
}

// TestPublish_committed: what is known to be taken is not proposed again.
func TestPublish_committed(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.subscribe("s1", "p1")
		d.opts.Proposer = behind{d}
	}, func(d *desk) {
		_, err := d.publish(sms("DELIVERY", "a", `1`))
		d.wantError(err, model.CodeUnknownOutcome)
		if n := len(d.proposed()); n != 1 {
			d.t.Errorf("proposed %d times, want once", n)
		}
	})
}
