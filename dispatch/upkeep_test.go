package dispatch

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

var testRetention = outbox.Retention{Age: 24 * time.Hour, Bytes: 1 << 30, Count: 100_000}

// lead runs the upkeep as the leader of a term; the result ends the term.
func (w *world) lead(term uint64) (resign func()) {
	w.t.Helper()
	u, err := NewUpkeep(UpkeepOptions{Store: w.store, Proposer: w.group, Retention: testRetention})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- u.Run(ctx, term) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	}
}

// bury makes dead letters of n events for a profile and returns when they died.
func (w *world) bury(profile string, n int) {
	w.t.Helper()
	w.profile(profile, func(p *model.Profile) { p.Retry = &model.Retry{Policy: model.RetryCustom} })
	w.sender.script(always(webhook.ClassTemporary, 404))
	w.accept(profile, many(n, flatEvent(`{}`))...)
	synctest.Wait()
}

func (w *world) startReplay(job event.ReplayJob) event.ReplayJob {
	w.t.Helper()
	total, err := w.store.CountDead("acme", job.Filter)
	if err != nil {
		w.t.Fatal(err)
	}
	job.Account, job.Total, job.CreatedBy = "acme", total, "test"
	if job.Rate == 0 {
		job.Rate = event.DefaultReplayRate
	}
	_, resp, err := w.group.Propose(context.Background(), outbox.Encode(&outbox.StartReplay{At: time.Now(), Job: job}))
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := outbox.DecodeReplay(resp)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func (w *world) job() event.ReplayJob {
	w.t.Helper()
	j, err := w.store.ReplayJob("acme", "j1")
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

// INV dispatch-10: a job goes on where it was under the next leader, at its
// rate, and each dead letter is sent again once, under the id it had.
func TestUpkeep_replay(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.start()
		w.bury("p", 300)
		w.bury("q", 50)
		pass(time.Minute)
		first := map[string]string{}
		for _, s := range w.sender.requests() {
			first[s.id] = s.headers["Belfry-Attempt"]
		}
		before := len(w.sender.requests())
		w.sender.script(nil)
		resign := w.lead(1)
		synctest.Wait() // it has looked, and looks again a second later
		job := w.startReplay(event.ReplayJob{ID: "j1", Rate: 50, Filter: event.DeadFilter{ProfileID: "p"}})
		if job.Total != 300 || job.State != event.ReplayRunning {
			t.Fatalf("job at its start: %+v", job)
		}
		began := time.Now()
		pass(2 * time.Second)
		resign()
		half := w.job()
		if half.Replayed < 50 || half.Replayed > 70 { // a burst of a fifth of a second, and one second
			t.Errorf("after a second at 50/s: %d replayed", half.Replayed)
		}
		pass(time.Minute) // nobody leads
		if got := w.job(); got != half {
			t.Errorf("without a leader the job moved: %+v", got)
		}
		defer w.lead(2)()
		pass(10 * time.Second)
		got := w.job()
		if got.State != event.ReplayDone || got.Replayed != 300 || !got.FinishedAt.After(began) {
			t.Errorf("at the end: %+v", got)
		}
		again := w.sender.requests()[before:]
		seen := map[string]bool{}
		for _, s := range again {
			if s.profile != "p" || first[s.id] != "1" || s.headers["Belfry-Attempt"] != "2" || seen[s.id] {
				t.Fatalf("sent again: %s to %s as attempt %s", s.id, s.profile, s.headers["Belfry-Attempt"])
			}
			seen[s.id] = true
		}
		if len(again) != 300 {
			t.Errorf("%d were sent again, want 300", len(again))
		}
		w.wantPending(0)
		if n := w.store.Stats().DeadLetters; n != 50 {
			t.Errorf("%d dead letters are left, want those of q", n)
		}
	})
}

// Members of one request are sent again together, and count all the same: the
// rate is one of deliveries.
func TestUpkeep_replayRateOfBatches(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.start()
		w.profile("p", func(p *model.Profile) { p.Retry, p.MaxBucketSize = &model.Retry{Policy: model.RetryCustom}, 100 })
		w.sender.script(always(webhook.ClassTemporary, 404))
		w.accept("p", many(600, batching(`{}`))...)
		pass(time.Minute)
		before := len(w.sender.requests())
		w.sender.script(nil)
		defer w.lead(1)()
		synctest.Wait()
		w.startReplay(event.ReplayJob{ID: "j1", Rate: 50})
		pass(5 * time.Second)
		// A look in the first second, and then 50 a second; the request that is
		// under way may have up to 100.
		if got := w.job(); got.Replayed < 200 || got.Replayed > 350 {
			t.Errorf("after five seconds at 50/s: %d replayed", got.Replayed)
		}
		pass(10 * time.Second)
		if got := w.job(); got.State != event.ReplayDone || got.Replayed != 600 {
			t.Errorf("at the end: %+v", got)
		}
		if n := len(w.sender.requests()) - before; n < 6 || n > 12 {
			t.Errorf("600 were sent again in %d requests: the batches came apart", n)
		}
	})
}

func TestUpkeep_cancel(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.start()
		w.bury("p", 300)
		w.sender.script(nil)
		defer w.lead(1)()
		w.startReplay(event.ReplayJob{ID: "j1", Rate: 10})
		pass(5 * time.Second)
		if _, _, err := w.group.Propose(context.Background(), outbox.Encode(&outbox.CancelReplay{At: time.Now(), Account: "acme", ID: "j1"})); err != nil {
			t.Fatal(err)
		}
		at := w.job()
		pass(time.Minute)
		if got := w.job(); got.State != event.ReplayCancelled || got.Replayed != at.Replayed || got.Replayed == 0 || got.Replayed > 60 {
			t.Errorf("cancelled at %d of 300: now %+v", at.Replayed, got)
		}
	})
}

// A replay is a new series: policies count and age from it. What dies again is
// not taken up by the same job once more.
func TestUpkeep_replayIsANewSeries(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.start()
		w.bury("p", 1)
		defer w.lead(1)()
		pass(2 * time.Hour) // older than the maxAge that follows
		w.profile("p", func(p *model.Profile) {
			p.Retry = &model.Retry{Policy: model.RetryCustom, Schedule: []int64{60, 60}, MaxAgeSeconds: 3600}
		})
		w.startReplay(event.ReplayJob{ID: "j1"})
		pass(time.Hour)
		var got []string
		log := w.sender.requests()[1:]
		for _, s := range log {
			got = append(got, fmt.Sprint(s.headers["Belfry-Attempt"], " +", s.at.Sub(log[0].at)))
		}
		if diff := cmp.Diff([]string{"2 +0s", "3 +1m0s", "4 +2m0s"}, got); diff != "" {
			t.Errorf("the new series (-want +got):\n%s", diff)
		}
		if n := w.store.Stats().DeadLetters; n != 1 {
			t.Errorf("%d dead letters, want the one that died again", n)
		}
		if j := w.job(); j.State != event.ReplayDone || j.Replayed != 1 {
			t.Errorf("job: %+v", j)
		}
	})
}

// The configured retention is put in force once, and what is too old goes when
// nothing else moves the log's time.
func TestUpkeep_retention(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		var retains atomic.Int64
		w.group.set(func(c outbox.Command) (bool, error) {
			if _, ok := c.(*outbox.Retain); ok {
				retains.Add(1)
			}
			return false, nil
		})
		w.start()
		defer w.lead(1)()
		pass(time.Second)
		w.bury("p", 3)
		pass(23 * time.Hour)
		if n := w.store.Stats().DeadLetters; n != 3 || w.store.Retention() != testRetention || retains.Load() != 1 {
			t.Errorf("within the retention: %d dead letters, %+v in force, %d commands", n, w.store.Retention(), retains.Load())
		}
		pass(time.Hour + 2*time.Minute)
		if n := w.store.Stats().DeadLetters; n != 0 || retains.Load() != 2 {
			t.Errorf("after it: %d dead letters, %d commands", n, retains.Load())
		}
	})
}
