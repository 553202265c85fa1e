package dispatch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/partition"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// acceptInPlace is accept for the profile p with the partition that the publisher would give.
func (w *world) acceptInPlace(n int) {
	w.t.Helper()
	c := &outbox.Accept{At: time.Now(), NodeID: "n1", ConfigIndex: w.config.ConfigIndex()}
	for range n {
		w.next++
		e := flatEvent(`{}`)
		e.Account, e.ID = "acme", fmt.Sprint("e", w.next)
		t := outbox.Target{DeliveryID: fmt.Sprint("d", w.next), ProfileID: "p", SubscriptionIDs: []string{"sub"}}
		t.Partition = partition.Of("acme", t.Destination())
		c.Events = append(c.Events, outbox.AcceptedEvent{Event: e, Request: w.next, Digest: sha256.Sum256(e.Payload), Targets: []outbox.Target{t}})
	}
	if _, _, err := w.group.Propose(context.Background(), outbox.Encode(c)); err != nil {
		w.t.Fatal(err)
	}
	pass(10 * time.Millisecond)
}

// state asks for the state of the profile p; nil: it is not known.
func (w *world) state() *event.DestinationState {
	w.t.Helper()
	got, err := w.d.Destinations(w.t.Context(), "acme", []string{"none", "p"})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(got) == 0 {
		return nil
	}
	if s := got[0]; len(got) > 1 || s.ProfileID != "p" || s.NodeID != "n1" || s.Partition != partition.Of("acme", "p:p") {
		w.t.Errorf("the states are %+v", got)
	}
	return &got[0]
}

func (w *world) busy(want int) {
	w.t.Helper()
	if n, err := w.d.Busy(w.t.Context()); err != nil || n != want {
		w.t.Errorf("%d deliveries are under way, %v; want %d", n, err, want)
	}
}

// The state of a destination follows its breaker, from closed over open and
// half-open to closed, and what it asked for.
func TestDispatcher_destinations(t *testing.T) {
	bubble(t, func(w *world) {
		class, status, after := webhook.ClassTemporary, 0, 0
		w.sender.script(func(context.Context, int, *webhook.Request) webhook.Result {
			return webhook.Result{Class: class, StatusCode: status, Started: time.Now(), RetryAfter: time.Duration(after) * time.Second}
		})
		w.profile("p", func(p *model.Profile) { p.WindowSize, p.RateLimit = 7, 100 })
		w.start()
		pass(time.Second)
		if s := w.state(); s != nil {
			t.Fatalf("before anything was sent the state is %+v", s)
		}
		w.acceptInPlace(breakerUnanswered)
		pass(time.Second)
		s := w.state()
		if s == nil || s.Breaker != event.BreakerOpen || s.BreakerUntil == nil || s.Unanswered != breakerUnanswered || s.Failed != breakerUnanswered || s.Window != 1 || s.WindowSize != 7 ||
			s.RateLimit != 100 || s.HeldUntil != nil || s.InFlight != 0 || s.Disabled || s.Gone {
			t.Fatalf("after %d attempts without an answer the state is %+v", breakerUnanswered, s)
		}
		if left := time.Until(*s.BreakerUntil); left <= 0 || left > minBreakerOpen {
			t.Errorf("the breaker ends in %s", left)
		}
		pass(minBreakerOpen)
		if s = w.state(); s == nil || s.Breaker != event.BreakerHalfOpen || s.BreakerUntil == nil {
			t.Errorf("after its time the state is %+v", s)
		}
		class, status = webhook.ClassOK, 200
		w.acceptInPlace(1)
		pass(time.Second)
		if s = w.state(); s == nil || s.Breaker != event.BreakerClosed || s.BreakerUntil != nil || s.Failed+s.Unanswered != 0 || s.Window < firstWindow {
			t.Errorf("after a success the state is %+v", s)
		}
		class, status, after = webhook.ClassThrottled, 429, 30
		w.acceptInPlace(1)
		pass(time.Second)
		if s = w.state(); s == nil || s.HeldUntil == nil || time.Until(*s.HeldUntil) > 30*time.Second || time.Until(*s.HeldUntil) < 25*time.Second {
			t.Errorf("after a Retry-After the state is %+v", s)
		}
		w.profile("p", func(p *model.Profile) { p.Disabled = true })
		pass(2 * lookPause)
		if s = w.state(); s == nil || !s.Disabled {
			t.Errorf("disabled, the state is %+v", s)
		}
		if other, err := w.d.Destinations(w.t.Context(), "other", []string{"p"}); err != nil || len(other) != 0 {
			t.Errorf("another account gets %+v, %v", other, err)
		}
	})
}

// Busy counts from the start of a request to its settlement.
func TestDispatcher_busy(t *testing.T) {
	bubble(t, func(w *world) {
		w.sender.script(func(context.Context, int, *webhook.Request) webhook.Result {
			time.Sleep(3 * time.Second)
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200, Started: time.Now()}
		})
		w.profile("p", nil)
		w.start()
		pass(time.Second)
		w.busy(0)
		w.acceptInPlace(firstWindow)
		w.busy(firstWindow)
		if s := w.state(); s == nil || s.InFlight != firstWindow {
			t.Errorf("the state is %+v", s)
		}
		settled := make(chan struct{})
		w.group.set(func(cmd outbox.Command) (bool, error) {
			select {
			case <-settled:
				return false, nil
			default:
				return false, model.Errorf(model.CodeUnavailable, "no quorum")
			}
		})
		pass(5 * time.Second)
		w.busy(firstWindow)
		close(settled)
		pass(5 * time.Second)
		w.busy(0)
	})
}

// Without Run nobody answers, and whoever asks gets the reason of their context.
func TestDispatcher_asksEnd(t *testing.T) {
	bubble(t, func(w *world) {
		w.start()
		w.stop()
		cause := errors.New("no time")
		ctx, cancel := context.WithTimeoutCause(w.t.Context(), time.Second, cause)
		defer cancel()
		if _, err := w.d.Busy(ctx); cmp.Diff(cause.Error(), fmt.Sprint(err)) != "" {
			t.Errorf("the error is %v", err)
		}
		if _, err := w.d.Destinations(ctx, "acme", nil); !errors.Is(err, cause) {
			t.Errorf("the error is %v", err)
		}
	})
}
