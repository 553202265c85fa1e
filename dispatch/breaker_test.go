package dispatch

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

func deliveriesOf(es ...event.Event) []outbox.Delivery {
	ds := make([]outbox.Delivery, len(es))
	for i, e := range es {
		ds[i] = outbox.Delivery{ID: fmt.Sprint("d", i), Event: e}
	}
	return ds
}

func TestBreaker_opens(t *testing.T) {
	t.Parallel()
	type step struct {
		n          int // times
		ok, silent bool
	}
	for _, tc := range []struct {
		name  string
		steps []step
		gap   time.Duration
		want  bool
	}{
		{"four unanswered in a row", []step{{4, false, true}}, 0, false},
		{"five unanswered in a row", []step{{5, false, true}}, 0, true},
		{"a success between", []step{{4, false, true}, {1, true, false}, {4, false, true}}, 0, false},
		{"an answer between", []step{{4, false, true}, {1, false, false}, {4, false, true}}, 0, false},
		{"19 failures of 19", []step{{19, false, false}}, 0, false},
		{"20 failures of 20", []step{{20, false, false}}, 0, true},
		{"9 of 20", []step{{11, true, false}, {9, false, false}}, 0, false},
		{"10 of 20", []step{{10, true, false}, {10, false, false}}, 0, true},
		{"20 failures in more than a minute and a half", []step{{20, false, false}}, 5 * time.Second, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var b breaker
			now := time.Unix(1000, 0)
			for _, s := range tc.steps {
				for range s.n {
					now = now.Add(tc.gap)
					if s.ok {
						b.success(now)
					} else {
						b.failure(now, now, s.silent)
					}
				}
			}
			if b.open != tc.want {
				t.Errorf("open: got %v, want %v", b.open, tc.want)
			}
		})
	}
}

func TestBreaker_openTimeDoublesUpToItsLimit(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Unix(1000, 0)
	for range breakerUnanswered {
		b.failure(now, now, true)
	}
	var got []time.Duration
	for range 8 {
		if !b.blocked(b.until.Add(-1)) || b.blocked(b.until) {
			t.Fatalf("blocked until %v: not exactly", b.until)
		}
		got = append(got, b.until.Sub(now))
		b.failure(now, now, true) // began before: says nothing new
		now = b.until
		b.failure(now, now, true)
	}
	const s = time.Second
	want := []time.Duration{5 * s, 10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 300 * s, 300 * s}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("open times (-want +got):\n%s", diff)
	}
	if !b.success(now) || b.open || b.failing() {
		t.Error("a success did not close it")
	}
}

// INV dispatch-9: while a destination is down, events wait without using up
// attempts, one probe goes at a time, and after the first success all go.
func TestDispatcher_breaker(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		var told []string
		w.opts.OnNotice = func(n Notice) {
			w.sender.mu.Lock()
			defer w.sender.mu.Unlock()
			told = append(told, n.Name+" "+n.ProfileID)
		}
		down := true
		w.sender.script(func(ctx context.Context, _ int, _ *webhook.Request) webhook.Result {
			w.sender.mu.Lock()
			bad := down
			w.sender.mu.Unlock()
			if bad {
				return hangs(ctx, time.Second)
			}
			return ok200
		})
		w.profile("p", func(p *model.Profile) { p.WindowSize = 20 })
		w.accept("p", many(500, flatEvent(`{}`))...)
		w.start()
		pass(20 * time.Minute)
		log := w.sender.requests()
		burst := 1
		for burst < len(log) && log[burst].at.Before(log[burst-1].at.Add(5*time.Second)) {
			burst++
		}
		if burst != breakerUnanswered {
			t.Errorf("before the breaker opened: got %d requests, want %d", burst, breakerUnanswered)
		}
		var gaps []time.Duration
		for i, s := range log[burst:] {
			if s.concurrent != 1 {
				t.Errorf("probe %d was not alone", i)
			}
			if i > 0 {
				gaps = append(gaps, s.at.Sub(log[burst+i-1].at)-time.Second)
			}
		}
		want := []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 300 * time.Second, 300 * time.Second}
		if diff := cmp.Diff(want, gaps); diff != "" {
			t.Errorf("time between a failed probe and the next (-want +got):\n%s", diff)
		}
		used := 0
		for i := range 500 {
			d, found, err := w.store.Delivery(fmt.Sprintf("d%04d", i+1))
			if err != nil || !found {
				t.Fatalf("delivery %d: %v, %v", i, found, err)
			}
			used += d.Attempt
		}
		if used != len(log) {
			t.Errorf("attempts used up: got %d, want the %d that were sent", used, len(log))
		}
		w.sender.mu.Lock()
		down = false
		w.sender.mu.Unlock()
		pass(10 * time.Hour)
		w.wantPending(0)
		if diff := cmp.Diff([]string{"destination.failing p", "destination.recovered p"}, told); diff != "" {
			t.Errorf("notices (-want +got):\n%s", diff)
		}
	})
}

// What the receiver refuses, one event by one, is not a destination that is
// down.
func TestDispatcher_refusalsDoNotOpenTheBreaker(t *testing.T) {
	bubble(t, func(w *world) {
		w.profile("p", nil)
		w.sender.script(always(webhook.ClassTemporary, 404))
		w.accept("p", many(100, flatEvent(`{}`))...)
		w.start()
		synctest.Wait()
		if n := len(w.sender.requests()); n != 100 {
			w.t.Errorf("got %d first attempts, want all 100", n)
		}
	})
}

func TestDispatcher_windowAdapts(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		const capacity = 4
		w.profile("p", func(p *model.Profile) {
			p.WindowSize = 64
			p.Retry = &model.Retry{Policy: model.RetryCustom, Schedule: slices.Repeat([]int64{1}, 100)}
		})
		var now int
		var seen []int
		refused := 0
		w.sender.script(func(context.Context, int, *webhook.Request) webhook.Result {
			w.sender.mu.Lock()
			now++
			over := now > capacity
			seen = append(seen, now)
			if over {
				refused++
			}
			w.sender.mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			w.sender.mu.Lock()
			now--
			w.sender.mu.Unlock()
			if over {
				return webhook.Result{Class: webhook.ClassTemporary, StatusCode: 429}
			}
			return ok200
		})
		w.accept("p", many(2000, flatEvent(`{}`))...)
		w.start()
		pass(10 * time.Minute)
		w.wantPending(0)
		late := seen[len(seen)/2:]
		if most := slices.Max(late); most > 2*capacity {
			t.Errorf("after a while: %d requests at a time to a receiver that takes %d", most, capacity)
		}
		if share := float64(refused) / float64(len(seen)); share > 1.0/3 {
			t.Errorf("%.0f %% of the requests were refused", 100*share)
		}
		if seen[0] != 1 || slices.Max(seen[:firstWindow]) > firstWindow {
			t.Errorf("the window did not begin with %d: %v", firstWindow, seen[:firstWindow])
		}
	})
}

func TestWindow_growsBackToItsBound(t *testing.T) {
	t.Parallel()
	var w window
	now := time.Unix(1000, 0)
	for got := firstWindow; got <= 20; got++ {
		if w.limit(20) != got {
			t.Fatalf("after %d answers: got %d, want %d", got-firstWindow, w.limit(20), got)
		}
		w.grow(20)
	}
	w.cut(20, now, now.Add(time.Second))
	w.cut(20, now, now.Add(2*time.Second)) // began before the cut: the same sign
	if got := w.limit(20); got != 10 {
		t.Fatalf("after one cut: got %d, want 10", got)
	}
	for range 10 {
		now = now.Add(10 * time.Second)
		w.cut(20, now, now)
	}
	if got := w.limit(20); got != 1 {
		t.Fatalf("after ten more: got %d, want 1", got)
	}
	n := 0
	for ; !w.open && n < 1000; n++ {
		w.grow(20)
	}
	if n < 150 || n > 250 || w.limit(20) != 20 {
		t.Errorf("back at %d after %d successes, want 20 after about 20*20/2", w.limit(20), n)
	}
}

// Age goes on while the breaker is open: what is too old by then is given up
// without another attempt.
func TestDispatcher_ageWhileWaiting(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		var dead []string
		w.opts.OnNotice = func(n Notice) {
			w.sender.mu.Lock()
			defer w.sender.mu.Unlock()
			if n.Name == event.NoticeDead {
				dead = append(dead, fmt.Sprint(n.Fields["outcome"], " after ", n.Fields["attempts"]))
			}
		}
		w.sender.script(func(ctx context.Context, _ int, _ *webhook.Request) webhook.Result { return hangs(ctx, time.Second) })
		w.profile("p", func(p *model.Profile) {
			p.WindowSize = 20
			p.Retry = &model.Retry{Policy: model.RetryCustom, Schedule: slices.Repeat([]int64{3600}, 20), MaxAgeSeconds: 7200}
		})
		w.accept("p", many(40, flatEvent(`{}`))...)
		w.start()
		pass(3 * time.Hour)
		w.wantPending(0)
		outcomes := map[string]int{}
		for _, d := range dead {
			outcomes[d]++
		}
		if len(dead) != 40 || outcomes["expired after 0"]+outcomes["expired after 1"] == 0 {
			t.Errorf("dead letters: got %v, want 40, most of them expired", outcomes)
		}
	})
}

// A destination that never comes back: what waits for it is given up once it
// has waited as long as its policy would have tried.
func TestDispatcher_patienceEnds(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.sender.script(func(ctx context.Context, _ int, _ *webhook.Request) webhook.Result { return hangs(ctx, time.Second) })
		w.profile("p", func(p *model.Profile) { p.Retry = &model.Retry{Policy: model.RetryCustom, Schedule: []int64{1, 2}} })
		w.accept("p", many(1000, flatEvent(`{}`))...)
		w.start()
		pass(9 * time.Minute)
		if n := w.pending(); n < 900 {
			t.Errorf("after 9 minutes %d of 1000 are left, want most of them: the breaker uses up no attempts", n)
		}
		pass(time.Hour)
		w.wantPending(0)
		if n := len(w.sender.requests()); n > 60 {
			t.Errorf("%d requests went to a destination that is down", n)
		}
		if got := patience(model.Retry{}); got != 41*time.Hour+30*time.Minute+498*time.Minute+10*time.Minute {
			t.Errorf("patience of the default policy: %v", got)
		}
	})
}
