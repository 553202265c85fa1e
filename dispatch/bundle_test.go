package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// cuttable is a proposer of a node that can be cut off, as if it had died.
type cuttable struct {
	Proposer
	off atomic.Bool
}

func (c *cuttable) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	if c.off.Load() {
		return 0, nil, model.Errorf(model.CodeUnavailable, "cut off")
	}
	return c.Proposer.Propose(ctx, cmd)
}

// pair is two nodes of one group that own everything in turn.
type pair struct {
	nodes   [2]*world
	cut     [2]*cuttable
	owner   int
	epoch   uint64
	hanging atomic.Bool // requests that begin now get no answer for a minute
}

func newPair(w *world, edit func(p *model.Profile)) *pair {
	p := &pair{nodes: [2]*world{w, w.peer("n2")}, epoch: 1}
	for i, n := range p.nodes {
		p.cut[i] = &cuttable{Proposer: w.group}
		n.opts.Proposer, n.opts.DrainTimeout = p.cut[i], time.Second
		n.profile("p", edit)
	}
	w.sender.script(func(ctx context.Context, _ int, _ *webhook.Request) webhook.Result {
		if p.hanging.Load() {
			select {
			case <-ctx.Done():
			case <-time.After(time.Minute):
			}
			return webhook.Result{Class: webhook.ClassTemporary}
		}
		return ok200
	})
	return p
}

func (p *pair) start() {
	for _, n := range p.nodes {
		n.start()
	}
}

// fail takes the owner from the group before it can tell any outcome, and makes
// the other one the owner.
func (p *pair) fail() {
	old := p.owner
	p.cut[old].off.Store(true)
	p.owner, p.epoch = 1-old, p.epoch+1
	for _, n := range p.nodes {
		n.config.assign(fmt.Sprint("n", p.owner+1), p.epoch)
	}
	synctest.Wait()
	p.cut[old].off.Store(false) // whatever it proposes from now on is fenced
}

// requestsByID checks that every webhook-id stands for one body and that every
// event arrived under one webhook-id only, and returns the number of requests
// with each.
func requestsByID(t *testing.T, log []sent) map[string]int {
	t.Helper()
	bodies, ids, n := map[string]string{}, map[int]string{}, map[string]int{}
	for _, s := range log {
		if before, seen := bodies[s.id]; seen && before != s.body {
			t.Errorf("INV dispatch-4: %s stands for %s and for %s", s.id, before, s.body)
		}
		bodies[s.id] = s.body
		n[s.id]++
		for _, x := range arrivals(t, s.body) {
			if before, seen := ids[x.N]; seen && before != s.id {
				t.Errorf("event %d arrives under %s, and before under %s", x.N, s.id, before)
			}
			ids[x.N] = s.id
		}
	}
	return n
}

// numberedFrom makes batching events with numbers of their own.
func numberedFrom(first, n int) []event.Event {
	es := orderly(first+n, batching)[first:]
	for i := range es {
		es[i].OrderingKey = fmt.Sprint("k", (first+i)%5)
	}
	return es
}

// INV dispatch-11: the owner dies with requests under way; the next one sends
// the same members under the same ids, however much there is to be grouped by
// then, and whatever its limit is.
func TestBundle_nextOwner(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		order model.Ordering
		first int // events when the first owner begins
		sent  int // requests it makes
	}{
		{model.OrderingNone, 10, 2},
		{model.OrderingKey, 10, 2},
		{model.OrderingStrict, 10, 1},
		{model.OrderingNone, 1, 1}, // alone: there is no record of it
		{model.OrderingKey, 1, 1},
		{model.OrderingStrict, 1, 1},
	} {
		t.Run(fmt.Sprint(tc.order, tc.first), func(t *testing.T) {
			bubble(t, func(w *world) {
				p := newPair(w, func(x *model.Profile) { x.Ordering, x.MaxBucketSize = tc.order, 4 })
				p.hanging.Store(true)
				ids := w.accept("p", numberedFrom(0, tc.first)...)
				p.start()
				defer p.nodes[1].stop()
				pass(time.Second)
				before := w.sender.requests()
				if len(before) != tc.sent {
					w.t.Fatalf("%d requests were made, want %d", len(before), tc.sent)
				}
				for _, id := range ids {
					d, ok, err := w.store.Delivery(id)
					if err != nil || !ok || d.Status != event.StatusPending || d.Attempt != 0 || !d.NextAt.IsZero() {
						w.t.Errorf("%s under way is shown as %s after %d attempts, due %v (%v, %v)", id, d.Status, d.Attempt, d.NextAt, ok, err)
					}
				}
				w.accept("p", numberedFrom(tc.first, 7)...)
				p.nodes[1].profile("p", func(x *model.Profile) { x.Ordering, x.MaxBucketSize = tc.order, 3 })
				p.hanging.Store(false)
				p.fail()
				pass(time.Hour)
				w.wantPending(0)
				n := requestsByID(w.t, w.sender.requests())
				for _, s := range before {
					if n[s.id] != 2 {
						w.t.Errorf("the request %s was made %d times, want once by each owner", s.id, n[s.id])
					}
				}
				together := slices.ContainsFunc(before, func(s sent) bool { return strings.HasPrefix(s.id, webhookIDPrefix) })
				if together != (tc.first > 1) {
					w.t.Errorf("sent together: %v", together)
				}
			})
		})
	}
}

// The same with owners that fail at any time, destinations that refuse, and
// answers to proposals that are lost.
func TestBundle_ownersFailAtRandom(t *testing.T) {
	t.Parallel()
	for _, order := range []model.Ordering{model.OrderingNone, model.OrderingKey, model.OrderingStrict} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(order, seed), func(t *testing.T) {
				bubble(t, func(w *world) { ownersFail(w, order, rand.New(rand.NewPCG(seed, 7))) })
			})
		}
	}
}

func ownersFail(w *world, order model.Ordering, rnd *rand.Rand) {
	p := newPair(w, func(x *model.Profile) {
		x.Ordering, x.MaxBucketSize = order, 6
		x.Retry = &model.Retry{Policy: model.RetryCustom, Schedule: slices.Repeat([]int64{1}, 200)}
	})
	luck := rand.New(rand.NewPCG(rnd.Uint64(), 8))
	w.sender.script(func(context.Context, int, *webhook.Request) webhook.Result {
		w.sender.mu.Lock()
		fail, wait := luck.IntN(4) == 0, time.Duration(luck.IntN(80))*time.Millisecond
		w.sender.mu.Unlock()
		time.Sleep(wait)
		if fail {
			return webhook.Result{Class: webhook.ClassTemporary, StatusCode: 404}
		}
		return ok200
	})
	lost := rand.New(rand.NewPCG(rnd.Uint64(), 9))
	w.group.set(func(c outbox.Command) (bool, error) {
		if _, ok := c.(*outbox.Settle); ok && lost.IntN(6) == 0 {
			return lost.IntN(2) == 0, model.Errorf(model.CodeUnknownOutcome, "lost")
		}
		return false, nil
	})
	for i := range p.nodes {
		p.cut[i].Proposer = slowProposer{w.group, 3 * time.Millisecond}
	}
	p.start()
	defer p.nodes[1].stop()
	next := 0
	for range 40 {
		n := rnd.IntN(12)
		w.accept("p", numberedFrom(next, n)...)
		next += n
		pass(time.Duration(rnd.IntN(150)) * time.Millisecond)
		if rnd.IntN(3) == 0 {
			p.fail()
		}
	}
	pass(time.Hour)
	w.wantPending(0)
	log := w.sender.requests()
	together := 0
	for _, n := range requestsByID(w.t, log) {
		if n > 1 {
			together++
		}
	}
	if together == 0 || !slices.ContainsFunc(log, func(s sent) bool { return strings.HasPrefix(s.id, webhookIDPrefix) }) {
		w.t.Error("nothing was repeated, or nothing sent together: the test shows nothing")
	}
	for i := range p.nodes {
		if n := p.nodes[i].store.Taken(); n != 0 {
			w.t.Errorf("%d deliveries are held in the end", n)
		}
	}
}

// A request whose bundle is refused is not sent, and the lane does not spin.
func TestBundle_refused(t *testing.T) {
	bubble(t, func(w *world) {
		proposals := 0
		w.profile("p", nil)
		w.start()
		synctest.Wait()
		if _, _, err := w.group.Propose(w.t.Context(), outbox.Encode(&outbox.Claim{Partition: 5, Owner: "n2", Epoch: 9})); err != nil {
			w.t.Fatal(err)
		}
		w.group.set(func(c outbox.Command) (bool, error) {
			if _, ok := c.(*outbox.Settle); ok {
				proposals++
			}
			return false, nil
		})
		w.accept("p", numberedFrom(0, 3)...)
		pass(time.Second)
		if n := len(w.sender.requests()); n != 0 {
			w.t.Errorf("%d requests were made without a record", n)
		}
		w.group.mu.Lock()
		defer w.group.mu.Unlock()
		if proposals == 0 || proposals > 25 {
			w.t.Errorf("%d proposals in a second, want one per %v", proposals, leaseRecheck)
		}
	})
}

// A proposal whose outcome is unknown is repeated, and no other request is made
// of its members: applied or not, all arrive under one id.
func TestBundle_unknownOutcome(t *testing.T) {
	t.Parallel()
	for _, applied := range []bool{true, false} {
		t.Run(fmt.Sprint("applied ", applied), func(t *testing.T) {
			bubble(t, func(w *world) {
				w.profile("p", nil)
				failures := 0
				var bundles []outbox.Bundle
				w.group.set(func(c outbox.Command) (bool, error) {
					s, ok := c.(*outbox.Settle)
					if !ok || len(s.Bundles) == 0 {
						return false, nil
					}
					bundles = append(bundles, s.Bundles...)
					if failures++; failures > 3 {
						return false, nil
					}
					return applied, model.Errorf(model.CodeUnknownOutcome, "no")
				})
				w.accept("p", numberedFrom(0, 3)...)
				w.start()
				synctest.Wait()
				w.accept("p", numberedFrom(3, 3)...)
				pass(time.Minute)
				w.wantPending(0)
				log := w.sender.requests()
				w.group.mu.Lock()
				defer w.group.mu.Unlock()
				if n := requestsByID(w.t, log); len(log) != 2 || n[bundles[0].WebhookID] != 1 || failures < 4 {
					w.t.Errorf("requests %v, want 2, one of them %s", n, bundles[0].WebhookID)
				}
			})
		})
	}
}

// What one delivery alone needs no record for costs none.
func TestBundle_notForOne(t *testing.T) {
	bubble(t, func(w *world) {
		w.profile("p", nil)
		w.group.set(func(c outbox.Command) (bool, error) {
			if s, ok := c.(*outbox.Settle); ok && len(s.Bundles) > 0 {
				w.t.Errorf("bundles %+v", s.Bundles)
			}
			return false, nil
		})
		w.sender.script(func(_ context.Context, n int, _ *webhook.Request) webhook.Result {
			if n%2 == 0 {
				return webhook.Result{Class: webhook.ClassTemporary, StatusCode: 404}
			}
			return ok200
		})
		w.start()
		for i := range 5 {
			w.accept("p", numberedFrom(i, 1)...)
			w.accept("p", flatEvent(`{"n":1}`), flatEvent(`{"n":2}`))
			pass(time.Second)
		}
		pass(time.Hour)
		w.wantPending(0)
	})
}

// While the record is on its way the profile is disabled, or the lease runs out:
// the request waits, and then is the same.
func TestBundle_looksAgain(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(w *world, on bool){
		"disabled": func(w *world, on bool) { w.profile("p", func(p *model.Profile) { p.Disabled = on }) },
		"no lease": func(w *world, on bool) { w.config.edit(func() { w.config.noLease = on }) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				w.profile("p", nil)
				w.opts.Proposer = slowProposer{w.group, 2 * time.Second}
				ids := w.accept("p", numberedFrom(0, 3)...)
				w.start()
				pass(3 * time.Second) // claimed, and the bundle is under way
				stop(w, true)
				pass(time.Minute)
				if n := len(w.sender.requests()); n != 0 {
					w.t.Fatalf("%d requests were made", n)
				}
				d, _, err := w.store.Delivery(ids[0])
				if err != nil || !strings.HasPrefix(d.WebhookID, webhookIDPrefix) {
					w.t.Errorf("the bundle is not on record: %+v, %v", d, err)
				}
				w.accept("p", numberedFrom(3, 2)...)
				stop(w, false)
				pass(time.Minute)
				w.wantPending(0)
				if n := requestsByID(w.t, w.sender.requests()); len(n) != 2 || n[d.WebhookID] != 1 {
					w.t.Errorf("requests %v, want 2, one of them %s", n, d.WebhookID)
				}
			})
		})
	}
}

// A member that nobody wants any more is left out; the rest has one other id.
func TestBundle_lostMember(t *testing.T) {
	bubble(t, func(w *world) {
		p := newPair(w, nil)
		p.hanging.Store(true)
		w.acceptSub("sub-gone", numberedFrom(0, 1)...)
		w.accept("p", numberedFrom(1, 3)...)
		p.start()
		defer p.nodes[1].stop()
		pass(time.Second)
		for _, n := range p.nodes {
			n.config.edit(func() { n.config.gone["sub-gone"] = true })
		}
		p.fail()
		pass(time.Second) // the second owner's requests hang, too
		p.hanging.Store(false)
		p.fail()
		pass(time.Hour)
		w.wantPending(0)
		log := w.sender.requests()
		if len(log) != 3 || log[0].id == log[1].id || requestsByID(w.t, log[1:])[log[1].id] != 2 {
			w.t.Errorf("requests %+v, want the four, then twice the three that are left under one id", log)
		}
	})
}

// acceptSub is accept for profile p by another subscription.
func (w *world) acceptSub(sub string, events ...event.Event) {
	w.t.Helper()
	w.group.set(nil)
	c := &outbox.Accept{At: time.Now(), NodeID: "n1", ConfigIndex: w.config.ConfigIndex()}
	for _, e := range events {
		w.next++
		e.Account, e.ID = "acme", fmt.Sprintf("e%04d", w.next)
		c.Events = append(c.Events, outbox.AcceptedEvent{Event: e, Request: w.next, Targets: []outbox.Target{
			{DeliveryID: fmt.Sprintf("d%04d", w.next), Partition: 5, ProfileID: "p", SubscriptionIDs: []string{sub}},
		}})
	}
	if _, _, err := w.group.Propose(w.t.Context(), outbox.Encode(c)); err != nil {
		w.t.Fatal(err)
	}
}

// A stop does not wait for a record, and what waits for one is not sent.
func TestBundle_stop(t *testing.T) {
	bubble(t, func(w *world) {
		w.opts.DrainTimeout = 3 * time.Second
		w.profile("p", nil)
		w.group.set(func(c outbox.Command) (bool, error) {
			if _, ok := c.(*outbox.Settle); ok {
				return false, model.Errorf(model.CodeUnavailable, "no quorum")
			}
			return false, nil
		})
		w.accept("p", numberedFrom(0, 3)...)
		w.start()
		pass(time.Minute)
		began := time.Now()
		w.stop()
		if took := time.Since(began); took > 3*time.Second {
			w.t.Errorf("the stop took %v, want 3s at most", took)
		}
		if n := len(w.sender.requests()); n != 0 || w.store.Taken() != 0 {
			w.t.Errorf("%d requests were made, %d deliveries are held", n, w.store.Taken())
		}
		w.wantPending(3)
	})
}

// A rate limit counts what is sent, not what is put on record.
func TestBundle_rateLimit(t *testing.T) {
	bubble(t, func(w *world) {
		w.opts.Proposer = slowProposer{w.group, 20 * time.Millisecond}
		w.profile("p", func(p *model.Profile) { p.RateLimit, p.MaxBucketSize = 10, 2 })
		w.accept("p", numberedFrom(0, 62)...)
		w.start()
		pass(time.Minute)
		log := w.sender.requests()
		if len(log) != 31 {
			w.t.Fatalf("%d requests, want 31", len(log))
		}
		for i := 1; i < len(log); i++ {
			if gap := log[i].at.Sub(log[i-1].at).Round(time.Millisecond); gap < 100*time.Millisecond || gap > 125*time.Millisecond {
				w.t.Errorf("request %d came %v after the one before, want 100ms", i, gap)
			}
		}
		w.wantPending(0)
	})
}

// Where a rate limit holds requests up, what waits goes on gathering: no more is
// bundled than there are tokens for.
func TestLane_afford(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	l := &lane{limiter: rate.NewLimiter(2, 3)}
	for _, tc := range []struct {
		bundling, spent int
		want            time.Duration
	}{
		{0, 0, 0}, {2, 0, 0}, {3, 0, 500 * time.Millisecond}, {0, 2, 0}, {1, 0, 500 * time.Millisecond}, {0, 1, 500 * time.Millisecond},
	} {
		l.limiter.ReserveN(now, tc.spent)
		l.bundling = tc.bundling
		if got := l.afford(now).Round(time.Millisecond); got != tc.want {
			t.Errorf("with %d bundling and %.1f tokens: wait %v, want %v", tc.bundling, l.limiter.TokensAt(now), got, tc.want)
		}
	}
	if wait := l.afford(now); l.afford(now.Add(wait)) != 0 {
		t.Error("there is no token when the wait is over")
	}
	if got := (&lane{}).afford(now); got != 0 {
		t.Errorf("without a limit: wait %v", got)
	}
}
