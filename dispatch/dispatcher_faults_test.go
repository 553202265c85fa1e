package dispatch

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// peer makes a second node of w's group, with a replica, config and receiver
// log of its own.
func (w *world) peer(id string) *world {
	w.t.Helper()
	p := newWorld(w.t)
	p.group = w.group
	p.config.profiles = map[string]model.Profile{}
	w.group.mu.Lock()
	w.group.stores = append(w.group.stores, p.store)
	w.group.mu.Unlock()
	p.sender = w.sender
	p.opts.NodeID, p.opts.Proposer, p.opts.Sender = id, w.group, w.sender
	p.config.assign("n1", 1)
	return p
}

func TestDispatcher_movedPartitionIsNotSentTwice(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		other := w.peer("n2")
		w.profile("p", nil)
		other.profile("p", nil)
		w.accept("p", flatEvent(`1`), flatEvent(`2`))
		w.start()
		other.start()
		defer other.stop()
		synctest.Wait()
		w.config.assign("n2", 2)
		other.config.assign("n2", 2)
		synctest.Wait()
		w.accept("p", flatEvent(`3`))
		synctest.Wait()
		var bodies []string
		for _, s := range w.sender.requests() {
			bodies = append(bodies, s.body)
		}
		if len(bodies) != 3 || bodies[2] != "3" {
			t.Errorf("bodies: got %v, want each once, 3 last", bodies)
		}
		w.wantPending(0)
		if got := w.store.Claimed(5); got.Owner != "n2" || got.Epoch != 2 {
			t.Errorf("claimed: got %+v", got)
		}
	})
}

// TestDispatcher_fencedOwner checks INV outbox-2 end to end: what the old owner
// has in flight when the partition moves is sent again under the same id, and
// its late settlement changes nothing.
func TestDispatcher_fencedOwner(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		other := w.peer("n2")
		w.profile("p", nil)
		other.profile("p", nil)
		w.sender.script(func(_ context.Context, n int, _ *webhook.Request) webhook.Result {
			if n == 0 {
				pass(10 * time.Second)
				return webhook.Result{Class: webhook.ClassTemporary, StatusCode: 500}
			}
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		w.accept("p", flatEvent(`1`))
		w.start()
		other.start()
		defer other.stop()
		synctest.Wait()
		w.config.assign("n2", 2)
		other.config.assign("n2", 2)
		pass(time.Hour)
		log := w.sender.requests()
		if len(log) != 2 || log[0].id != log[1].id {
			t.Fatalf("got %d requests, want 2 with one webhook-id", len(log))
		}
		w.wantPending(0)
	})
}

// TestDispatcher_outdoneOwner checks INV dispatch-14: an owner that has not heard
// of its successor finds out by the first refusal, and sends nothing again until
// a table says that it may.
func TestDispatcher_outdoneOwner(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		w.sender.script(func(context.Context, int, *webhook.Request) webhook.Result {
			time.Sleep(time.Second)
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		w.start()
		synctest.Wait()
		claim := outbox.Encode(&outbox.Claim{Partition: 5, Owner: "n2", Epoch: 2})
		if _, _, err := w.opts.Proposer.Propose(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			w.accept("p", flatEvent(fmt.Sprint(i)))
		}
		pass(time.Hour)
		first := len(w.sender.requests())
		if first == 0 || first > 3 {
			t.Errorf("got %d requests for 3 deliveries before anybody else was heard of", first)
		}
		w.wantPending(3)
		w.config.assign("n1", 3)
		pass(time.Hour)
		if n := len(w.sender.requests()); n == first {
			t.Error("nothing was sent with the new epoch")
		}
		w.wantPending(0)
	})
}

// TestDispatcher_regainedPartition checks INV dispatch-2: a partition goes away
// and comes back while a request is in flight.
func TestDispatcher_regainedPartition(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		w.sender.script(func(_ context.Context, n int, _ *webhook.Request) webhook.Result {
			time.Sleep(10 * time.Second)
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		w.accept("p", flatEvent(`1`))
		w.start()
		synctest.Wait()
		w.config.assign("n2", 2)
		synctest.Wait()
		w.config.assign("n1", 3)
		pass(9 * time.Second)
		if n := len(w.sender.requests()); n != 1 {
			t.Fatalf("got %d requests while the first was in flight, want 1", n)
		}
		pass(time.Hour) // the first settlement is fenced, so it is sent once more
		if n := len(w.sender.requests()); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
		w.wantPending(0)
	})
}

// TestDispatcher_settlementsAreNotLost checks INV dispatch-5.
func TestDispatcher_settlementsAreNotLost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		lose bool
		code model.Code
	}{
		{"unavailable", false, model.CodeUnavailable},
		{"unknown outcome, appended", true, model.CodeUnknownOutcome},
		{"unknown outcome, not appended", false, model.CodeUnknownOutcome},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				t := w.t
				w.profile("p", nil)
				failures := 0
				w.group.set(func(c outbox.Command) (bool, error) {
					if _, ok := c.(*outbox.Settle); ok && failures < 5 {
						failures++
						return tc.lose, model.Errorf(tc.code, "no")
					}
					return false, nil
				})
				w.accept("p", flatEvent(`1`), flatEvent(`2`))
				w.start()
				pass(time.Hour)
				w.group.mu.Lock()
				defer w.group.mu.Unlock()
				if n := len(w.sender.requests()); n != 2 || failures != 5 {
					t.Errorf("got %d requests and %d failures, want 2 and 5", n, failures)
				}
				w.wantPending(0)
			})
		})
	}
}

// lateAnswers holds the answer to a settlement back after it was applied.
type lateAnswers struct {
	Proposer
	delay time.Duration
}

func (p lateAnswers) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	index, resp, err := p.Proposer.Propose(ctx, cmd)
	if c, decodeErr := outbox.Decode(cmd); decodeErr == nil {
		if _, ok := c.(*outbox.Settle); ok {
			time.Sleep(p.delay)
		}
	}
	return index, resp, err
}

// TestDispatcher_retryDueBeforeItsSettlementIsAnswered: the outbox has the
// delivery due again while the dispatcher still waits for the answer.
func TestDispatcher_retryDueBeforeItsSettlementIsAnswered(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.opts.Proposer = lateAnswers{w.group, 5 * time.Second}
		w.profile("p", func(p *model.Profile) {
			p.Retry = &model.Retry{Policy: model.RetryCustom, Schedule: []int64{1, 1, 1}}
		})
		w.sender.script(func(_ context.Context, n int, _ *webhook.Request) webhook.Result {
			if n < 2 {
				return webhook.Result{Class: webhook.ClassTemporary, StatusCode: 500}
			}
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		w.accept("p", flatEvent(`1`))
		w.start()
		pass(time.Hour)
		if n := len(w.sender.requests()); n != 3 {
			t.Errorf("got %d requests, want 3", n)
		}
		w.wantPending(0)
		if n := w.store.Taken(); n != 0 {
			t.Errorf("%d deliveries are held in the end", n)
		}
	})
}

func TestDispatcher_unsettledLimit(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.opts.MaxUnsettled = 7
		w.profile("p", nil)
		refuse := true
		w.group.set(func(c outbox.Command) (bool, error) {
			if _, ok := c.(*outbox.Settle); ok && refuse {
				return false, model.Errorf(model.CodeUnavailable, "no quorum")
			}
			return false, nil
		})
		var es []event.Event
		for range 30 {
			es = append(es, flatEvent(`{}`))
		}
		w.accept("p", es...)
		w.start()
		pass(time.Minute)
		if n := len(w.sender.requests()); n != 7 {
			t.Errorf("got %d requests without a settlement, want 7", n)
		}
		w.group.mu.Lock()
		refuse = false
		w.group.mu.Unlock()
		pass(time.Minute)
		if n := len(w.sender.requests()); n != 30 {
			t.Errorf("got %d requests, want 30", n)
		}
		w.wantPending(0)
	})
}

func TestDispatcher_settlementsAreGrouped(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		var sizes []int
		w.group.set(func(c outbox.Command) (bool, error) {
			if s, ok := c.(*outbox.Settle); ok {
				sizes = append(sizes, len(s.Settlements))
			}
			return false, nil
		})
		slow := slowProposer{w.group, 2 * time.Millisecond}
		w.opts.Proposer = slow
		w.profile("p", func(p *model.Profile) { p.WindowSize = 2000 })
		var es []event.Event
		for range 1300 {
			es = append(es, flatEvent(`{}`))
		}
		w.accept("p", es...)
		w.opts.MaxInFlight = 2000
		w.sender.script(func(context.Context, int, *webhook.Request) webhook.Result {
			time.Sleep(time.Second)
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		w.start()
		pass(time.Minute)
		w.group.mu.Lock()
		defer w.group.mu.Unlock()
		total := 0
		for _, n := range sizes {
			total += n
			if n > MaxSettleBatch {
				t.Errorf("%d settlements in one command, want at most %d", n, MaxSettleBatch)
			}
		}
		if total != 1300 || len(sizes) > 20 { // of which ten while the window opens
			t.Errorf("%d settlements in commands of %v, want 1300 in few", total, sizes)
		}
	})
}

type slowProposer struct {
	Proposer
	delay time.Duration
}

func (p slowProposer) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	time.Sleep(p.delay)
	return p.Proposer.Propose(ctx, cmd)
}

func TestDispatcher_claimIsRepeatedUntilThereIsALeader(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		refused := 0
		w.group.set(func(c outbox.Command) (bool, error) {
			if _, ok := c.(*outbox.Claim); ok && refused < 500 {
				refused++
				return false, model.Errorf(model.CodeUnavailable, "no leader")
			}
			return false, nil
		})
		w.accept("p", flatEvent(`1`))
		w.start()
		synctest.Wait()
		if n := len(w.sender.requests()); n != 0 {
			t.Fatalf("%d requests before the claim", n)
		}
		pass(time.Minute)
		w.wantPending(0)
	})
}

func TestDispatcher_stopWaitsForWhatIsInFlight(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		w.sender.script(func(context.Context, int, *webhook.Request) webhook.Result {
			time.Sleep(5 * time.Second)
			w.accept("p", flatEvent(`2`)) // arrives while it stops
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		w.accept("p", flatEvent(`1`))
		w.start()
		synctest.Wait()
		began := time.Now()
		w.stop()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the stop took %v, want 5s", took)
		}
		if n := len(w.sender.requests()); n != 1 {
			t.Errorf("%d requests, want none started by what came during the stop", n)
		}
		if d, ok, _ := w.store.Delivery("d0001"); ok {
			t.Errorf("the delivery in flight was not settled: %+v", d)
		}
	})
}

func TestDispatcher_stopCutsOffAfterTheDrainTimeout(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.opts.DrainTimeout = 3 * time.Second
		w.profile("p", nil)
		w.sender.script(func(ctx context.Context, _ int, _ *webhook.Request) webhook.Result {
			<-ctx.Done()
			return webhook.Result{Class: webhook.ClassTemporary, Error: "cancelled"}
		})
		w.accept("p", flatEvent(`1`))
		w.start()
		synctest.Wait()
		began := time.Now()
		w.stop()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("the stop took %v, want 3s", took)
		}
		d, ok, err := w.store.Delivery("d0001")
		if !ok || err != nil || d.Attempt != 0 || d.Status != event.StatusPending {
			t.Errorf("the attempt that was cut off was counted: %+v", d)
		}
	})
}

func TestDispatcher_stopWithoutAQuorumEnds(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.opts.DrainTimeout = 3 * time.Second
		w.profile("p", nil)
		w.accept("p", flatEvent(`1`))
		w.group.set(func(c outbox.Command) (bool, error) {
			if _, ok := c.(*outbox.Settle); ok {
				return false, model.Errorf(model.CodeUnavailable, "no quorum")
			}
			return false, nil
		})
		w.start()
		pass(time.Minute)
		began := time.Now()
		w.stop()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the stop took %v, want 3s at most", took)
		}
		w.wantPending(1)
	})
}

// TestDispatcher_laneMemory checks INV dispatch-3.
func TestDispatcher_laneMemory(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", func(p *model.Profile) { p.MaxBucketSize = 10 })
		w.sender.script(func(ctx context.Context, _ int, _ *webhook.Request) webhook.Result {
			select {
			case <-ctx.Done():
			case <-time.After(time.Hour):
			}
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		w.opts.DrainTimeout = time.Second
		var es []event.Event
		for i := range 2000 {
			es = append(es, flatEvent(fmt.Sprintf(`{"n":%d}`, i)))
		}
		w.accept("p", es...)
		w.start()
		synctest.Wait()
		if n := w.store.Taken(); n > 20+10 {
			t.Errorf("%d deliveries taken, want at most window 20 and one bucket of 10", n)
		}
	})
}

func TestDispatcher_requiredOptions(t *testing.T) {
	t.Parallel()
	if _, err := NewDispatcher(DispatcherOptions{}); err == nil || !strings.Contains(err.Error(), "NodeID") {
		t.Errorf("got %v", err)
	}
	if _, err := NewDispatcher(DispatcherOptions{NodeID: "n1"}); err == nil {
		t.Error("options without collaborators were accepted")
	}
}

func TestDispatcher_lookupOfPending(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		w.config.edit(func() { w.config.noLease = true })
		w.accept("p", flatEvent(`{"a":1}`))
		w.start()
		synctest.Wait()
		rec, ok := w.d.Lookup("acme", "e0001")
		if !ok {
			t.Fatal("not found")
		}
		want := []event.Delivery{{
			DeliveryID: "d0001", ProfileID: "p", SubscriptionIDs: []string{"sub-p"},
			URL: "https://p.example.org/hook", Status: event.StatusPending, Attempts: []event.Attempt{},
		}}
		if diff := cmp.Diff(want, rec.Deliveries); diff != "" {
			t.Errorf("deliveries (-want +got):\n%s", diff)
		}
		if string(rec.Payload) != `{"a":1}` {
			t.Errorf("payload: got %s", rec.Payload)
		}
		if _, ok := w.d.Lookup("other", "e0001"); ok {
			t.Error("another account sees the event")
		}
	})
}

// TestDispatcher_leaseLostBeforeSending checks INV dispatch-1 at its last
// moment: the lease runs out between scheduling and sending.
func TestDispatcher_leaseLostBeforeSending(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		d, err := NewDispatcher(w.opts)
		if err != nil {
			t.Fatal(err)
		}
		w.config.edit(func() { w.config.noLease = true })
		w.accept("p", flatEvent(`1`))
		b, err := w.store.Take(outbox.LaneKey{Partition: 5, Account: "acme", Destination: "p:p"}, time.Now(), outbox.TakeOptions{Limit: 1, MaxBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		a := &attempt{lane: &lane{}, epoch: 1, request: request{deliveries: b.Deliveries, webhookID: "w"}}
		d.perform(t.Context(), a)
		if !a.unsent || len(a.settlements) != 0 || len(w.sender.requests()) != 0 {
			t.Errorf("unsent %v, %d settlements, %d requests", a.unsent, len(a.settlements), len(w.sender.requests()))
		}
	})
}
