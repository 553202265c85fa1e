package dispatch

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/webhook"
)

// trialWorld has n profiles of the account hog, and counts the requests that
// each got in each tenth of a second. answer says what becomes of a request.
func trialWorld(w *world, n int, answer func(ctx context.Context, profile string) webhook.Result) (starts func() []int) {
	for i := range n {
		w.profileOf("hog", fmt.Sprintf("h%d", i), nil)
		w.acceptFor("hog", fmt.Sprintf("h%d", i), numberedFrom(0, 1+i%2*9)...) // some alone, some as a bundle
	}
	began := time.Now()
	w.sender.script(func(ctx context.Context, _ int, r *webhook.Request) webhook.Result {
		return answer(ctx, r.Destination.ProfileID)
	})
	return func() []int {
		var per []int
		for _, r := range w.sender.requests() {
			if !strings.HasPrefix(r.profile, "h") {
				continue
			}
			k := int(r.at.Sub(began) / (100 * time.Millisecond))
			for len(per) <= k {
				per = append(per, 0)
			}
			per[k]++
		}
		return per
	}
}

// INV dispatch-13: what is new to a node begins with a window and then one at a
// time, so that it does not end all at once either.
func TestTrials_hanging(t *testing.T) {
	bubble(t, func(w *world) {
		const n = 300
		starts := trialWorld(w, n, func(ctx context.Context, _ string) webhook.Result { return hangs(ctx, 10*time.Second) })
		w.start()
		pass(9900 * time.Millisecond)
		per := starts()
		sum := 0
		for i, got := range per {
			sum += got
			most := 4 // 3.2, and their rounding
			if i == 0 {
				most += firstTrials
			}
			if got > most {
				w.t.Errorf("%d requests started in tenth %d of a second, want at most %d", got, i, most)
			}
		}
		if sum != n {
			w.t.Errorf("%d of %d destinations were tried within a timeout", sum, n)
		}
		// Another account does not wait for them.
		began := time.Now()
		w.profileOf("other", "fine", nil)
		w.acceptFor("other", "fine", flatEvent(`{}`))
		pass(time.Millisecond)
		log := w.sender.requests()
		if last := log[len(log)-1]; last.profile != "fine" || !last.at.Equal(began) {
			w.t.Errorf("the last request went to %s at %v, want to another account's at %v", last.profile, last.at, began)
		}
	})
}

// Destinations that answer do not wait: the window doubles with every round.
func TestTrials_answering(t *testing.T) {
	bubble(t, func(w *world) {
		starts := trialWorld(w, 480, func(ctx context.Context, _ string) webhook.Result {
			hangs(ctx, 100*time.Millisecond)
			return webhook.Result{Class: webhook.ClassTemporary, StatusCode: 503} // an answer, too
		})
		w.start()
		pass(time.Second)
		per := starts()
		if len(per) > 5 {
			w.t.Errorf("started in tenths of a second: %v, want about 32, 64, 128, 256", per)
		}
	})
}

// The window that a healthy time has left shrinks again where nobody answers.
func TestTrials_window(t *testing.T) {
	bubble(t, func(w *world) {
		w.start()
		s := newScheduler(w.t.Context(), w.d, make(chan finding, 1))
		a := &account{}
		one := func(res webhook.Result) {
			x := &attempt{lane: &lane{account: a}}
			x.try(time.Now())
			x.result = res
			s.tried(x)
		}
		for range 3 * DefaultMaxInFlight {
			one(ok200)
		}
		if got := a.trials.limit(); got != DefaultMaxInFlight {
			w.t.Errorf("window %d after answers, want all slots, %d", got, DefaultMaxInFlight)
		}
		one(webhook.Result{Class: webhook.ClassBlocked})
		if got := a.trials.limit(); got != DefaultMaxInFlight {
			w.t.Errorf("window %d after a request that was not made, want %d", got, DefaultMaxInFlight)
		}
		one(webhook.Result{Class: webhook.ClassTemporary})
		if got, want := a.trials.limit(), DefaultMaxInFlight-DefaultMaxInFlight/trialCut; got != want {
			w.t.Errorf("window %d after no answer, want %d", got, want)
		}
		for range DefaultMaxInFlight {
			one(webhook.Result{Class: webhook.ClassTemporary})
		}
		if got := a.trials.limit(); got != firstTrials || a.trials.underway != 0 {
			w.t.Errorf("window %d and %d under way in the end, want %d and none", got, a.trials.underway, firstTrials)
		}
	})
}

// A lane that was woken for something else while it waited is woken again when
// its turn has come.
func TestTrials_wokenEarlier(t *testing.T) {
	bubble(t, func(w *world) {
		w.start()
		s := newScheduler(w.t.Context(), w.d, make(chan finding, 1))
		s.owned[1] = &ownedPartition{}
		l := s.lane(outbox.LaneKey{Partition: 1, Account: "a", Destination: "p:x"})
		for range firstTrials + 1 {
			(&attempt{lane: &lane{account: l.account}}).try(time.Now())
		}
		s.wakeLane(l, time.Now().Add(time.Millisecond))
		for range 2 {
			if s.mayTry(l, time.Now()) {
				w.t.Fatalf("a trial may start %v before its time", time.Until(l.account.trials.at))
			}
			wait := s.wakeDue(time.Now())
			if wait < 0 {
				w.t.Fatal("a lane that waits for its turn is not woken")
			}
			time.Sleep(wait)
			s.wakeDue(time.Now())
		}
		if !s.mayTry(l, time.Now()) {
			w.t.Error("the trial may not start when its turn has come")
		}
	})
}
