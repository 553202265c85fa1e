package dispatch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

func many(n int, e event.Event) []event.Event { return slices.Repeat([]event.Event{e}, n) }

var ok200 = webhook.Result{Class: webhook.ClassOK, StatusCode: 200}

// hangs is what a receiver that never answers comes to.
func hangs(ctx context.Context, d time.Duration) webhook.Result {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return webhook.Result{Class: webhook.ClassTemporary, Error: "no answer"}
}

// INV dispatch-7: one account with a thousand destinations that hang does not
// delay the events of others.
func TestDispatcher_hangingDestinationsOfOneAccount(t *testing.T) {
	const healthy, hanging = 10, 1000
	run := func(t *testing.T, hog bool) (late []time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.opts.MaxInFlight = 512
			arrived := make([][]time.Time, healthy)
			w.sender.script(func(ctx context.Context, _ int, r *webhook.Request) webhook.Result {
				if strings.HasPrefix(r.Destination.ProfileID, "hang") {
					return hangs(ctx, 10*time.Second)
				}
				var n int
				_, _ = fmt.Sscanf(r.Destination.ProfileID, "fine%d", &n)
				w.sender.mu.Lock()
				arrived[n] = append(arrived[n], time.Now())
				w.sender.mu.Unlock()
				time.Sleep(20 * time.Millisecond)
				return ok200
			})
			for i := range hanging {
				w.profileOf("hog", fmt.Sprintf("hang%d", i), nil)
			}
			for i := range healthy {
				w.profileOf(fmt.Sprintf("a%d", i), fmt.Sprintf("fine%d", i), nil)
			}
			if hog {
				for i := range hanging {
					w.acceptFor("hog", fmt.Sprintf("hang%d", i), many(20, flatEvent(`{}`))...)
				}
			}
			w.start()
			defer w.stop()
			synctest.Wait()
			for range 200 {
				accepted := time.Now()
				for i := range healthy {
					w.acceptFor(fmt.Sprintf("a%d", i), fmt.Sprintf("fine%d", i), flatEvent(`{}`))
				}
				pass(100 * time.Millisecond)
				for i := range healthy {
					if len(arrived[i]) == 0 {
						t.Fatalf("an event of account a%d did not start within 100 ms", i)
					}
					late = append(late, arrived[i][0].Sub(accepted))
					arrived[i] = nil
				}
			}
		})
		return late
	}
	alone, beside := run(t, false), run(t, true)
	slices.Sort(alone)
	slices.Sort(beside)
	p99 := func(ds []time.Duration) time.Duration { return ds[len(ds)*99/100] }
	if a, b := p99(alone), p99(beside); b > a+a/10 {
		t.Errorf("p99 from acceptance to arrival: %v alone, %v beside an account whose destinations hang; want at most a tenth more", a, b)
	}
}

// What no answer comes to must not take more than a fifth of the slots once it
// is known to be so.
func TestDispatcher_retriesGetAFifthOfTheSlots(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.opts.MaxInFlight = 100
		retry := &model.Retry{Policy: model.RetryCustom, Schedule: slices.Repeat([]int64{30}, 20)}
		for i := range 50 {
			w.profile(fmt.Sprintf("p%d", i), func(p *model.Profile) { p.Retry = retry })
		}
		first := map[string]bool{}
		now, most := 0, 0
		w.sender.script(func(ctx context.Context, _ int, r *webhook.Request) webhook.Result {
			w.sender.mu.Lock()
			repeated := first[r.WebhookID]
			first[r.WebhookID] = true
			if repeated {
				now++
				most = max(most, now)
			}
			w.sender.mu.Unlock()
			defer func() {
				w.sender.mu.Lock()
				defer w.sender.mu.Unlock()
				if repeated {
					now--
				}
			}()
			if repeated {
				return hangs(ctx, 5*time.Second)
			}
			return webhook.Result{Class: webhook.ClassTemporary, StatusCode: 404}
		})
		for i := range 50 {
			w.accept(fmt.Sprintf("p%d", i), many(4, flatEvent(`{}`))...)
		}
		w.start()
		pass(31 * time.Second)
		w.sender.mu.Lock()
		if most != 20*shareFactor/(shareFactor+1) {
			t.Errorf("retries in flight: got %d at most, want four fifths of 20 for one account", most)
		}
		w.sender.mu.Unlock()
		// First attempts of others go on meanwhile, those of the same account too.
		began := time.Now()
		w.profile("fresh", nil)
		w.sender.script(nil)
		w.accept("fresh", many(30, flatEvent(`{}`))...)
		synctest.Wait()
		n := 0
		for _, s := range w.sender.requests() {
			if s.profile == "fresh" && s.at.Equal(began) {
				n++
			}
		}
		if n != 30 {
			t.Errorf("of 30 first attempts, %d started at once beside waiting retries", n)
		}
	})
}

func TestDispatcher_largeRequestsGetAnEighthOfTheSlots(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.opts.MaxInFlight = 80
		large := flatEvent(`{"a":"` + strings.Repeat("x", LargeRequest) + `"}`)
		w.sender.script(func(context.Context, int, *webhook.Request) webhook.Result {
			time.Sleep(time.Second)
			return ok200
		})
		for i := range 30 {
			p := fmt.Sprint("p", i)
			w.profile(p, nil)
			w.accept(p, many(firstWindow, large)...)
		}
		for _, p := range []string{"r", "s"} {
			w.profile(p, nil)
			w.accept(p, large, flatEvent(`{}`))
		}
		w.start()
		synctest.Wait()
		sizes := map[bool]int{}
		for _, s := range w.sender.requests() {
			sizes[len(s.body) > LargeRequest]++
		}
		// One account holds four fifths of the ten slots for large ones; small
		// ones pass them, in the same lane too.
		if sizes[true] != 8 || sizes[false] != 2 {
			t.Errorf("at once: got %d large and %d small requests, want 8 large and the 2 small", sizes[true], sizes[false])
		}
		pass(time.Minute)
		w.wantPending(0)
	})
}

// A lane between two large ones: at the limit a body is not large.
func TestRequest_largeLimit(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]bool{LargeRequest: false, LargeRequest + 1: true} {
		e := flatEvent(strings.Repeat("1", size-bodyOverhead-1))
		q := request{deliveries: deliveriesOf(e)}
		if got := q.size() > LargeRequest; got != want {
			t.Errorf("%d bytes: large %v, want %v", size, got, want)
		}
	}
}

func TestPool_turns(t *testing.T) {
	t.Parallel()
	p := &pool{kind: poolAll, max: 100}
	a, b := &account{name: "a"}, &account{name: "b"}
	for i := range 3 {
		p.push(&lane{account: a, lastRate: i})
	}
	one := &lane{account: b, lastRate: 10}
	p.push(one)
	p.push(one) // is there already
	var got []int
	for l := p.next(); l != nil; l = p.next() {
		got = append(got, l.lastRate)
	}
	if want := []int{0, 10, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("turns: got %v, want %v", got, want)
	}
}

// INV dispatch-7: at the limit of its share an account waits, and others go on.
func TestPool_share(t *testing.T) {
	t.Parallel()
	p := &pool{kind: poolAll, max: 10}
	hog, other := &account{name: "hog"}, &account{name: "other"}
	n := 0
	for p.admits(hog) {
		p.take(hog)
		n++
	}
	if n != 8 {
		t.Errorf("one account alone: got %d of 10 slots, want 8", n)
	}
	if !p.admits(other) {
		t.Error("another account gets no slot")
	}
	p.push(&lane{account: hog})
	if p.next() != nil {
		t.Error("the account over its share got a turn")
	}
	p.free(hog)
	if p.next() == nil {
		t.Error("after a slot came free the account got none")
	}
}
