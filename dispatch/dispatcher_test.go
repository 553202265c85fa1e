package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

func waits(log []sent) []time.Duration {
	var ds []time.Duration
	for i := 1; i < len(log); i++ {
		ds = append(ds, log[i].at.Sub(log[i-1].at))
	}
	return ds
}

func TestDispatcher_retrySchedules(t *testing.T) {
	t.Parallel()
	var infobip []time.Duration
	for n := range 20 {
		infobip = append(infobip, time.Minute+time.Duration(n*n)*time.Minute)
	}
	for _, tc := range []struct {
		name  string
		retry *model.Retry
		want  []time.Duration
	}{
		{"infobip", nil, infobip},
		{"standard", &model.Retry{Policy: model.RetryStandard}, standardSchedule},
		{"custom", &model.Retry{Policy: model.RetryCustom, Schedule: []int64{7, 3}}, []time.Duration{7 * time.Second, 3 * time.Second}},
		{"max attempts", &model.Retry{Policy: model.RetryStandard, MaxAttempts: 3}, standardSchedule[:2]},
		{"max age", &model.Retry{Policy: model.RetryStandard, MaxAgeSeconds: 305}, standardSchedule[:2]},
		{"max age, a second less", &model.Retry{Policy: model.RetryStandard, MaxAgeSeconds: 304}, standardSchedule[:1]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				t := w.t
				w.profile("p", func(p *model.Profile) { p.Retry = tc.retry })
				w.sender.script(always(webhook.ClassTemporary, 500))
				ids := w.accept("p", batching(`{}`))
				w.start()
				pass(200 * time.Hour)
				log := w.sender.requests()
				if diff := cmp.Diff(tc.want, waits(log)); diff != "" {
					t.Errorf("waits between attempts (-want +got):\n%s", diff)
				}
				for i, s := range log {
					if s.id != ids[0] || s.headers["Belfry-Attempt"] != fmt.Sprint(i+1) {
						t.Errorf("attempt %d: got webhook-id %s and Belfry-Attempt %s", i+1, s.id, s.headers["Belfry-Attempt"])
					}
				}
				d, ok, err := w.store.Delivery(ids[0])
				if err != nil || !ok || d.Status != event.StatusDead || d.Attempt != len(tc.want)+1 {
					t.Errorf("after the last attempt: got %s after %d attempts (%v, %v), want DEAD after %d", d.Status, d.Attempt, ok, err, len(tc.want)+1)
				}
				rec, ok := w.d.Lookup("acme", "e0001") // the attempts are over 72 h old, the dead letter is kept
				if !ok || len(rec.Deliveries) != 1 || rec.Deliveries[0].Status != event.StatusDead || rec.Channel != "SMS" {
					t.Fatalf("lookup: got %+v", rec)
				}
			})
		})
	}
}

func TestDispatcher_jitterStaysWithinATenth(t *testing.T) {
	t.Parallel()
	r := model.Retry{}
	for _, jitter := range []float64{-5, -1, -0.5, 0, 0.5, 1, 5} {
		at := time.Unix(0, 0)
		got, ok := next(r, failure{attempt: 1, at: at, jitter: jitter})
		want := time.Minute + time.Duration(max(-1, min(1, jitter))*float64(6*time.Second))
		if !ok || got.Sub(at) != want {
			t.Errorf("jitter %v: got %v, want %v", jitter, got.Sub(at), want)
		}
	}
}

func TestDispatcher_retryAfterIsAFloorForTheDestination(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		w.profile("q", nil)
		w.start()
		w.sender.script(func(_ context.Context, n int, _ *webhook.Request) webhook.Result {
			if n == 0 {
				return webhook.Result{Class: webhook.ClassThrottled, StatusCode: 429, RetryAfter: 10 * time.Minute}
			}
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		began := time.Now()
		w.accept("p", flatEvent(`{}`))
		synctest.Wait()
		w.accept("p", flatEvent(`{}`))
		w.accept("q", flatEvent(`{}`))
		pass(time.Hour)
		got := map[string][]time.Duration{}
		for _, s := range w.sender.requests() {
			got[s.profile] = append(got[s.profile], s.at.Sub(began))
		}
		want := map[string][]time.Duration{"p": {0, 10 * time.Minute, 10 * time.Minute}, "q": {0}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("times of requests (-want +got):\n%s", diff)
		}
		w.wantPending(0)
	})
}

func TestDispatcher_globalLimit(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.opts.MaxInFlight = 3
		for i := range 5 {
			w.profile(fmt.Sprint("p", i), nil)
			w.accept(fmt.Sprint("p", i), flatEvent(`{}`), flatEvent(`{}`))
		}
		w.sender.script(func(context.Context, int, *webhook.Request) webhook.Result {
			time.Sleep(time.Second)
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		w.start()
		pass(time.Minute)
		first := map[string]bool{}
		for i, s := range w.sender.requests() {
			if s.concurrent > 3 {
				t.Fatalf("%d requests at a time, want at most 3", s.concurrent)
			}
			if i < 6 { // the first three, in any order, then the next three
				first[s.profile] = true
			}
		}
		if len(first) != 5 {
			t.Errorf("the first six requests went to %d destinations, want a turn for each of 5", len(first))
		}
		w.wantPending(0)
	})
}

func TestDispatcher_rateLimit(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", func(p *model.Profile) { p.RateLimit = 10 })
		var es []event.Event
		for range 31 {
			es = append(es, flatEvent(`{}`))
		}
		w.accept("p", es...)
		began := time.Now()
		w.start()
		pass(time.Minute)
		log := w.sender.requests()
		if len(log) != 31 {
			t.Fatalf("got %d requests, want 31", len(log))
		}
		if last := log[30].at.Sub(began).Round(10 * time.Millisecond); last != 3*time.Second {
			t.Errorf("31 requests at 10/s took %v, want 3s", last)
		}
	})
}

func TestDispatcher_batches(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", func(p *model.Profile) { p.MaxBucketSize = 100 })
		var es []event.Event
		for i := range 250 {
			es = append(es, batching(fmt.Sprintf(`{"n":%d}`, i)))
		}
		w.accept("p", es...)
		w.start()
		synctest.Wait()
		var sizes []int
		seen := map[string]bool{}
		for _, s := range w.sender.requests() {
			sizes = append(sizes, strings.Count(s.body, `{"n":`))
			if !strings.HasPrefix(s.body, `{"results":[{"n":`) || !strings.HasSuffix(s.body, `}]}`) {
				t.Errorf("body %.60s…", s.body)
			}
			if !strings.HasPrefix(s.id, webhookIDPrefix) || seen[s.id] || s.headers["Belfry-Event-Id"] != "" {
				t.Errorf("webhook-id %s, Belfry-Event-Id %q", s.id, s.headers["Belfry-Event-Id"])
			}
			seen[s.id] = true
		}
		slices.Sort(sizes) // they are sent at the same time
		if diff := cmp.Diff([]int{50, 100, 100}, sizes); diff != "" {
			t.Errorf("sizes of batches (-want +got):\n%s", diff)
		}
		w.wantPending(0)
	})
}

func TestTakeBatch(t *testing.T) {
	t.Parallel()
	mk := func(id, channel, name string, size int) outbox.Delivery {
		return outbox.Delivery{ID: id, Seq: 1, Event: event.Event{Channel: channel, Name: name, Payload: make([]byte, size)}}
	}
	fits := MaxBatchBytes - bodyOverhead - 1 - 10
	for _, tc := range []struct {
		name  string
		limit int
		queue []outbox.Delivery
		want  string // ids of the batch, then of the rest
	}{
		{"alone", 100, []outbox.Delivery{mk("a", "SMS", "DELIVERY", 9)}, "a|"},
		{"at the count", 2, []outbox.Delivery{mk("a", "SMS", "DELIVERY", 9), mk("b", "SMS", "DELIVERY", 9)}, "ab|"},
		{"above the count", 2, []outbox.Delivery{mk("a", "SMS", "DELIVERY", 9), mk("b", "SMS", "DELIVERY", 9), mk("c", "SMS", "DELIVERY", 9)}, "ab|c"},
		{"at the bytes", 9, []outbox.Delivery{mk("a", "SMS", "DELIVERY", 10), mk("b", "SMS", "DELIVERY", fits)}, "ab|"},
		{"above the bytes", 9, []outbox.Delivery{mk("a", "SMS", "DELIVERY", 10), mk("b", "SMS", "DELIVERY", fits+1)}, "a|b"},
		{"other family", 9, []outbox.Delivery{mk("a", "SMS", "DELIVERY", 9), mk("b", "MMS", "DELIVERY", 9), mk("c", "SMS", "INBOUND_MESSAGE", 9), mk("d", "SMS", "DELIVERY", 9)}, "ad|bc"},
		{"flat", 9, []outbox.Delivery{mk("a", "EMAIL", "OPEN", 9), mk("b", "EMAIL", "OPEN", 9)}, "a|b"},
	} {
		q, rest := takeBatch(tc.queue, grouping{limit: tc.limit, maxBytes: MaxBatchBytes})
		got := ""
		for _, d := range q.deliveries {
			got += d.ID
		}
		got += "|"
		for _, d := range rest {
			got += d.ID
		}
		if got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
		if n := len(q.body()); len(q.deliveries) > 1 && n > MaxBatchBytes {
			t.Errorf("%s: body of %d bytes, want at most %d", tc.name, n, MaxBatchBytes)
		}
	}
}

// TestTakeBatch_webhookID checks INV dispatch-4: the id names the members.
func TestTakeBatch_webhookID(t *testing.T) {
	t.Parallel()
	var queue []outbox.Delivery
	for i, id := range []string{"a", "b", "c"} {
		queue = append(queue, outbox.Delivery{ID: id, Seq: uint64(i + 1), Event: event.Event{Channel: "SMS", Name: "DELIVERY", Payload: []byte(`1`)}})
	}
	first, _ := takeBatch(queue, grouping{limit: 100, maxBytes: MaxBatchBytes})
	for i := range queue {
		queue[i].WebhookID = first.webhookID
	}
	// What was sent together stays together, and has one order, wherever this
	// owner has put its members in the queue meanwhile.
	shuffled := []outbox.Delivery{queue[2], queue[0], queue[1]}
	again, _ := takeBatch(shuffled, grouping{limit: 1, maxBytes: MaxBatchBytes})
	if again.webhookID != first.webhookID || len(again.deliveries) != 3 {
		t.Errorf("the retry has id %s and %d members, want %s and 3", again.webhookID, len(again.deliveries), first.webhookID)
	}
	two, _ := takeBatch(queue[1:], grouping{limit: 100, maxBytes: MaxBatchBytes})
	if two.webhookID == first.webhookID || two.webhookID == "" {
		t.Errorf("without one member the id is %q, and was %q", two.webhookID, first.webhookID)
	}
	if one, _ := takeBatch(queue[2:], grouping{limit: 100, maxBytes: MaxBatchBytes}); one.webhookID != "c" {
		t.Errorf("one member alone has the id %q, want its own", one.webhookID)
	}
}

// TestDispatcher_retriedBatch checks INV dispatch-4.
func TestDispatcher_retriedBatch(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		w.accept("p", batching(`1`), batching(`2`), batching(`3`))
		w.sender.script(func(_ context.Context, n int, _ *webhook.Request) webhook.Result {
			if n == 0 {
				return webhook.Result{Class: webhook.ClassTemporary, StatusCode: 503}
			}
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		w.start()
		pass(30 * time.Second)
		w.accept("p", batching(`4`))
		pass(20 * time.Second)
		w.accept("p", batching(`5`))
		pass(time.Minute)
		log := w.sender.requests()
		var bodies []string
		for _, s := range log {
			bodies = append(bodies, s.body)
		}
		want := []string{`{"results":[1,2,3]}`, `{"results":[4]}`, `{"results":[5]}`, `{"results":[1,2,3]}`}
		if diff := cmp.Diff(want, bodies); diff != "" {
			t.Fatalf("bodies (-want +got):\n%s", diff)
		}
		if log[0].id != log[3].id || log[1].id != "d0004" {
			t.Errorf("webhook-ids: first %s, retried %s, single %s", log[0].id, log[3].id, log[1].id)
		}
	})
}

// TestDispatcher_lease checks INV dispatch-1.
func TestDispatcher_lease(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		w.config.edit(func() { w.config.noLease = true })
		w.accept("p", flatEvent(`1`))
		w.start()
		pass(time.Minute)
		if n := len(w.sender.requests()); n != 0 {
			t.Fatalf("%d attempts without a lease", n)
		}
		w.config.edit(func() { w.config.noLease = false })
		pass(time.Second)
		if n := len(w.sender.requests()); n != 1 {
			t.Errorf("got %d attempts with the lease back, want 1", n)
		}
	})
}

func TestDispatcher_deletedSubscriptionIsDropped(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		w.profile("q", nil)
		w.sender.script(always(webhook.ClassTemporary, 500))
		w.start()
		w.accept("p", flatEvent(`1`))
		w.accept("q", flatEvent(`2`))
		synctest.Wait()
		w.config.edit(func() {
			w.config.gone["sub-p"] = true
			delete(w.config.profiles, "acme/q")
		})
		w.d.ConfigChanged()
		pass(time.Hour)
		if n := len(w.sender.requests()); n != 2 {
			t.Errorf("got %d requests, want the first attempt of each and no more", n)
		}
		w.wantPending(0)
		for _, id := range []string{"e0001", "e0002"} {
			rec, ok := w.d.Lookup("acme", id)
			if !ok || len(rec.Deliveries) != 1 || rec.Deliveries[0].Status != event.StatusDropped || len(rec.Deliveries[0].Attempts) != 1 {
				t.Errorf("lookup of %s: got %+v", id, rec)
			}
		}
	})
}

// TestDispatcher_configBehind checks INV dispatch-6.
func TestDispatcher_configBehind(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.config.edit(func() { w.config.index = 100 })
		w.accept("p", flatEvent(`1`)) // matched at 101, where p exists
		w.config.edit(func() { w.config.index = 50 })
		w.start()
		pass(time.Minute)
		w.wantPending(1)
		w.profile("p", nil)
		w.config.edit(func() { w.config.index = 101 })
		pass(time.Second)
		if n := len(w.sender.requests()); n != 1 {
			t.Errorf("got %d requests, want 1", n)
		}
		w.wantPending(0)
	})
}

func TestDispatcher_correctedURLHealsTheQueue(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", func(p *model.Profile) { p.URL = "https://wrong.example.org" })
		w.sender.script(func(_ context.Context, _ int, r *webhook.Request) webhook.Result {
			if r.Destination.URL == "https://wrong.example.org" {
				return webhook.Result{Class: webhook.ClassTemporary, StatusCode: 404}
			}
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		w.accept("p", flatEvent(`1`))
		w.start()
		synctest.Wait()
		w.profile("p", func(p *model.Profile) { p.URL = "https://right.example.org" })
		pass(time.Hour)
		log := w.sender.requests()
		if len(log) != 2 || log[1].url != "https://right.example.org" {
			t.Errorf("got %d requests: %+v", len(log), log)
		}
		w.wantPending(0)
	})
}

func TestDispatcher_disabledProfileHolds(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", func(p *model.Profile) { p.Disabled = true })
		w.accept("p", flatEvent(`1`))
		w.start()
		pass(24 * time.Hour)
		if n := len(w.sender.requests()); n != 0 || w.pending() != 1 {
			t.Fatalf("disabled: %d requests, %d pending", n, w.pending())
		}
		enabled := time.Now()
		w.profile("p", nil)
		pass(time.Minute)
		log := w.sender.requests()
		if len(log) != 1 || log[0].at.Sub(enabled) != 0 {
			t.Errorf("after enabling: %d requests, want one at once", len(log))
		}
	})
}

func TestDispatcher_gone(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		var told []string
		w.opts.OnGone = func(account, profile string) {
			time.Sleep(time.Second) // the proposal
			told = append(told, account+"/"+profile)
			w.profile("p", func(p *model.Profile) { p.Disabled = true })
		}
		w.sender.script(always(webhook.ClassGone, 410))
		w.start()
		gone := w.accept("p", flatEvent(`1`))
		synctest.Wait()
		w.accept("p", flatEvent(`2`))
		pass(time.Hour)
		if diff := cmp.Diff([]string{"acme/p"}, told); diff != "" {
			t.Errorf("OnGone (-want +got):\n%s", diff)
		}
		if n := len(w.sender.requests()); n != 1 {
			t.Errorf("got %d requests, want none after the 410", n)
		}
		d, ok, err := w.store.Delivery(gone[0])
		if !ok || err != nil || d.Status != event.StatusDead {
			t.Errorf("delivery: got %s, %v, %v, want DEAD", d.Status, ok, err)
		}
		w.wantPending(1)
	})
}

func TestDispatcher_unusableConfigIsAFailedAttempt(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		w.config.edit(func() { w.config.broken = errors.New("open password: wrong key") })
		w.accept("p", flatEvent(`1`))
		w.start()
		pass(30 * time.Second)
		w.config.edit(func() { w.config.broken = nil })
		pass(time.Minute)
		if n := len(w.sender.requests()); n != 1 {
			t.Errorf("got %d requests, want one, after the repair", n)
		}
		rec, _ := w.d.Lookup("acme", "e0001")
		var outcomes []string
		for _, a := range rec.Deliveries[0].Attempts {
			outcomes = append(outcomes, a.Outcome)
		}
		if diff := cmp.Diff([]string{"auth", "ok"}, outcomes); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	})
}

func TestDispatcher_urlOverride(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.accept("https://once.example.org/x", batching(`7`))
		w.start()
		synctest.Wait()
		log := w.sender.requests()
		if len(log) != 1 || log[0].url != "https://once.example.org/x" || log[0].body != `{"results":[7]}` || log[0].headers["Belfry-Event-Id"] != "e0001" {
			t.Errorf("got %+v", log)
		}
		w.wantPending(0)
	})
}

func TestDispatcher_panickingSenderCostsOneAttempt(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		w.sender.script(func(_ context.Context, n int, _ *webhook.Request) webhook.Result {
			if n == 0 {
				panic("boom")
			}
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		w.accept("p", flatEvent(`1`))
		w.start()
		pass(time.Hour)
		if n := len(w.sender.requests()); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
		w.wantPending(0)
	})
}
