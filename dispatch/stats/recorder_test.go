package stats

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/webhook"
)

func figures(r *Recorder, account string, window time.Duration) event.Stats {
	c := r.Snapshot(account, window)
	now := r.opts.Now()
	return c.Stats(now.Add(-window), now)
}

func TestRecorder_counts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the time begins at a full minute
		r := New(Options{})
		start := time.Now().UTC()
		for i, class := range []webhook.Class{
			webhook.ClassOK, webhook.ClassTemporary, webhook.ClassThrottled, webhook.ClassGone, webhook.ClassAuth, webhook.ClassBlocked, "new",
		} {
			for range i + 1 {
				r.Attempt("acme", "p", string(class), 100*time.Millisecond)
			}
		}
		r.Deliveries("acme", "p", event.StatusDelivered, 120)
		r.Deliveries("acme", "p", event.StatusRetrying, 2)
		r.Deliveries("acme", "p", event.StatusDead, 3)
		r.Deliveries("acme", "p", event.StatusDropped, 4)
		r.Deliveries("acme", "p", event.StatusPending, 5)
		r.Deliveries("acme", "p", event.StatusDelivered, 0)
		r.Deliveries("acme", "p", event.StatusDelivered, -1)
		r.Attempt("acme", "", string(webhook.ClassOK), time.Second)
		r.Attempt("other", "p", string(webhook.ClassOK), time.Second)
		time.Sleep(time.Minute)

		rate, one := 1.0/28, 1.0
		p := event.ProfileStats{
			ProfileID: "p", Attempts: 28,
			Outcomes:  map[string]int64{"ok": 1, "temporary": 2, "throttled": 3, "gone": 4, "auth": 5, "blocked": 6, "other": 7},
			Delivered: 120, Retried: 2, Dead: 3, Dropped: 4, RatePerSecond: 2, SuccessRate: &rate,
			LatencyMs: &event.Quantile{P50: 104.5, P90: 104.5, P99: 104.5},
		}
		url := event.ProfileStats{
			Attempts: 1, Outcomes: map[string]int64{"ok": 1}, SuccessRate: &one,
			LatencyMs: &event.Quantile{P50: 931.74, P90: 931.74, P99: 931.74},
		}
		total, both := p, 2.0/29
		total.ProfileID, total.Attempts, total.SuccessRate = "", 29, &both
		total.LatencyMs = &event.Quantile{P50: 104.5, P90: 104.5, P99: 931.74}
		total.Outcomes = map[string]int64{"ok": 2, "temporary": 2, "throttled": 3, "gone": 4, "auth": 5, "blocked": 6, "other": 7}
		want := event.Stats{From: start, To: start.Add(time.Minute), Total: total, Profiles: []event.ProfileStats{url, p}}
		got := figures(r, "acme", time.Minute)
		got.From, got.To = got.From.UTC(), got.To.UTC()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		none := figures(r, "nobody", time.Minute)
		if none.Profiles == nil || len(none.Profiles) != 0 || none.Total.SuccessRate != nil || none.Total.LatencyMs != nil || none.Total.Outcomes == nil {
			t.Errorf("without attempts: %+v", none)
		}
	})
}

func TestRecorder_window(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{})
		attempts := func(window time.Duration) int64 { return figures(r, "a", window).Total.Attempts }
		r.Attempt("a", "p", "ok", 0)
		time.Sleep(59 * time.Second)
		if n := attempts(time.Minute); n != 1 {
			t.Errorf("%d attempts, want 1", n)
		}
		time.Sleep(30 * time.Second) // 1:29: the window begins within the minute of the attempt
		if n := attempts(time.Minute); n != 1 {
			t.Errorf("a minute that the window touches: %d attempts, want 1", n)
		}
		if st := figures(r, "a", time.Minute); st.To.Sub(st.From) != 89*time.Second {
			t.Errorf("the window is %s long, want 1m29s", st.To.Sub(st.From))
		}
		time.Sleep(31 * time.Second) // 2:00
		if n := attempts(time.Minute); n != 0 {
			t.Errorf("after the window: %d attempts, want 0", n)
		}
		time.Sleep(Window + time.Minute - 2*time.Minute - 1)
		if n := attempts(Window); n != 1 {
			t.Errorf("at the limit of what is kept: %d attempts, want 1", n)
		}
		if st := figures(r, "a", 100*Window); st.Total.Attempts != 1 || st.To.Sub(st.From) >= Window+time.Minute {
			t.Errorf("a window that is too long: %d attempts in %s", st.Total.Attempts, st.To.Sub(st.From))
		}
		time.Sleep(time.Nanosecond) // 61:00
		if n := attempts(Window); n != 0 {
			t.Errorf("one above: %d attempts, want 0", n)
		}
		r.Attempt("a", "p", "ok", 0) // in the slot of the first one
		if n := attempts(Window); n != 1 {
			t.Errorf("in a slot that is used again: %d attempts, want 1", n)
		}
	})
}

func TestCounts_merge(t *testing.T) {
	t.Parallel()
	a, b := New(Options{}), New(Options{})
	for i := range 10 {
		a.Attempt("x", "p", "ok", time.Duration(i)*time.Second)
		b.Attempt("x", "p", "temporary", time.Duration(i)*time.Second)
		b.Attempt("x", "q", "ok", time.Second)
	}
	a.Deliveries("x", "p", event.StatusDelivered, 3)
	b.Deliveries("x", "p", event.StatusDelivered, 4)
	b.Deliveries("x", "q", event.StatusDead, 1)
	c := a.Snapshot("x", time.Minute)
	raw, err := json.Marshal(b.Snapshot("x", time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	var other Counts
	if err := json.Unmarshal(raw, &other); err != nil {
		t.Fatal(err)
	}
	c.Merge(other)
	c.Merge(Counts{})
	c.Merge(Counts{Profiles: map[string]*Profile{"bad": nil}})
	now := time.Now()
	st := c.Stats(now.Add(-time.Minute), now)
	if len(st.Profiles) != 2 || st.Total.Attempts != 30 || *st.Total.SuccessRate != 2.0/3 || st.Total.Delivered != 7 || st.Total.Dead != 1 ||
		st.Profiles[0].Attempts != 20 || st.Profiles[1].ProfileID != "q" || st.Profiles[0].LatencyMs == nil {
		t.Errorf("merged: %+v", st)
	}
	// Of a node that counts otherwise.
	c.Merge(Counts{Profiles: map[string]*Profile{"p": {Took: map[int]int64{-1: 5, buckets: 5, 3: -5}}}})
	if got := c.Stats(now.Add(-time.Minute), now).Profiles[0].LatencyMs; *got != *st.Profiles[0].LatencyMs {
		t.Errorf("buckets that do not exist count: %+v", got)
	}
}

func TestHistogram_error(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, spread := range []float64{1.01, 2, 100, 600_000} {
		r := New(Options{})
		var all []float64
		for range 20_000 {
			ms := math.Pow(spread, rng.Float64())
			all = append(all, ms)
			r.Attempt("a", "p", "ok", time.Duration(ms*float64(time.Millisecond)))
		}
		slices.Sort(all)
		q := figures(r, "a", time.Minute).Total.LatencyMs
		for share, got := range map[float64]float64{0.5: q.P50, 0.9: q.P90, 0.99: q.P99} {
			want := all[int(share*float64(len(all)))-1]
			if off := math.Abs(got-want) / want; off > 0.1 {
				t.Errorf("spread %v: the %v quantile is %v, want %v: %.1f %% off", spread, share, got, want, off*100)
			}
		}
	}
	for _, tt := range []struct {
		took time.Duration
		want int
	}{
		{-1, 0}, {0, 0}, {minTook, 0}, {maxTook, buckets - 1}, {maxTook - time.Millisecond, buckets - 1}, {maxTook + 1, buckets - 1}, {24 * time.Hour, buckets - 1},
	} {
		if got := bucketOf(tt.took); got != tt.want {
			t.Errorf("%s is in bucket %d, want %d", tt.took, got, tt.want)
		}
	}
}

func TestRecorder_boundedPairs(t *testing.T) {
	t.Parallel()
	r := New(Options{MaxPairs: 3})
	has := func(profile string) bool { return r.Snapshot("a", time.Minute).Profiles[profile] != nil }
	for _, p := range []string{"1", "2", "3", "1"} {
		r.Attempt("a", p, "ok", 0)
	}
	if !has("1") || !has("2") || !has("3") || testutil.ToFloat64(r.evicted) != 0 {
		t.Error("at the limit: a profile is missing")
	}
	r.Attempt("a", "4", "ok", 0)
	if !has("1") || has("2") || !has("3") || !has("4") || testutil.ToFloat64(r.evicted) != 1 || r.slots != 3 {
		t.Errorf("one above: not the least recently used one went (%v evicted, %d slots)", testutil.ToFloat64(r.evicted), r.slots)
	}
}

func TestRecorder_boundedSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{MaxSlots: 4})
		for range 2 {
			r.Attempt("a", "1", "ok", 0)
			r.Attempt("a", "2", "ok", 0)
			time.Sleep(time.Minute)
		}
		if r.slots != 4 || len(r.pairs) != 2 {
			t.Errorf("at the limit: %d slots of %d pairs", r.slots, len(r.pairs))
		}
		r.Attempt("a", "2", "ok", 0)
		if r.slots != 3 || len(r.pairs) != 1 || r.Snapshot("a", Window).Profiles["2"].Outcomes["ok"] != 3 {
			t.Errorf("one above: %d slots of %d pairs", r.slots, len(r.pairs))
		}
		for range 5 { // a pair by itself keeps its own
			r.Attempt("a", "2", "ok", 0)
			time.Sleep(time.Minute)
		}
		if len(r.pairs) != 1 {
			t.Errorf("%d pairs, want 1", len(r.pairs))
		}
	})
}

func TestRecorder_concurrent(t *testing.T) {
	t.Parallel()
	r := New(Options{MaxPairs: 8})
	const each = 2000
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range each {
				r.Attempt("a", strconv.Itoa(i), "ok", time.Duration(n)*time.Millisecond)
				r.Deliveries("a", strconv.Itoa(i), event.StatusDelivered, 1)
				if n%500 == 0 {
					r.Snapshot("a", Window)
				}
			}
		})
	}
	wg.Wait()
	if st := figures(r, "a", Window); st.Total.Attempts != 4*each || st.Total.Delivered != 4*each {
		t.Errorf("%d attempts, %d delivered; want %d of both", st.Total.Attempts, st.Total.Delivered, 4*each)
	}
}

// TestRecorder_allocates checks the steady state: not parallel, as AllocsPerRun
// demands.
func TestRecorder_allocates(t *testing.T) {
	now := time.Now()
	r := New(Options{Now: func() time.Time { return now }})
	if n := testing.AllocsPerRun(100, func() {
		r.Attempt("acme", "profile", "ok", time.Second)
		r.Deliveries("acme", "profile", event.StatusDelivered, 1)
	}); n != 0 {
		t.Errorf("%v allocations an attempt", n)
	}
}

func BenchmarkRecorder_Attempt(b *testing.B) {
	for _, profiles := range []int{1, DefaultMaxPairs} {
		b.Run(strconv.Itoa(profiles), func(b *testing.B) {
			r := New(Options{})
			names := make([]string, profiles)
			for i := range names {
				names[i] = "profile-" + strconv.Itoa(i)
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				r.Attempt("acme", names[i%profiles], "ok", 120*time.Millisecond)
				i++
			}
		})
	}
}

// The series has a point for every minute of the window, with what was done in
// it; what several nodes counted adds up.
func TestRecorder_series(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the time begins at a full minute
		a, b := New(Options{}), New(Options{})
		start := time.Now().UTC()
		a.Accepted("acme", 5)
		a.Accepted("acme", 0)
		a.Accepted("other", 7)
		a.Attempt("acme", "p", string(webhook.ClassOK), 100*time.Millisecond)
		time.Sleep(2 * time.Minute)
		a.Attempt("acme", "q", string(webhook.ClassTemporary), 100*time.Millisecond)
		a.Deliveries("acme", "q", event.StatusRetrying, 2)
		b.Accepted("acme", 1)
		b.Attempt("acme", "p", string(webhook.ClassOK), 100*time.Millisecond)
		b.Deliveries("acme", "p", event.StatusDelivered, 3)
		b.Deliveries("acme", "p", event.StatusDead, 1)
		time.Sleep(time.Second)

		took := &event.Quantile{P50: 104.5, P90: 104.5, P99: 104.5}
		at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
		series := func(profile string) []event.SeriesPoint {
			m := a.Series("acme", profile, 3*time.Minute)
			m.Merge(b.Series("acme", profile, 3*time.Minute))
			now := time.Now()
			s := m.Series(now.Add(-3*time.Minute), now)
			if s.StepSeconds != 60 || !s.From.Equal(at(-1)) {
				t.Errorf("from %s by %d s", s.From, s.StepSeconds)
			}
			return s.Points
		}
		want := []event.SeriesPoint{
			{At: at(-1)},
			{At: at(0), Accepted: 5, Attempts: 1, LatencyMs: took},
			{At: at(1)},
			{At: at(2), Accepted: 1, Attempts: 2, Failed: 1, Delivered: 3, Retried: 2, Dead: 1, LatencyMs: took},
		}
		if d := cmp.Diff(want, series("")); d != "" {
			t.Errorf("all (-want +got):\n%s", d)
		}
		want[1].Accepted, want[3] = 0, event.SeriesPoint{At: at(2), Attempts: 1, Delivered: 3, Dead: 1, LatencyMs: took}
		if d := cmp.Diff(want, series("p")); d != "" {
			t.Errorf("p (-want +got):\n%s", d)
		}
		if n := len(figures(a, "acme", time.Minute).Profiles); n != 1 {
			t.Errorf("%d profiles have figures, want q alone", n)
		}
	})
}
