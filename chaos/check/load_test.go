package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"example.com/belfry/chaos/history"
)

func record(tb testing.TB, dir, name string, list []history.Op) {
	tb.Helper()
	r, err := history.Create(dir, name, history.NewClock())
	if err != nil {
		tb.Fatal(err)
	}
	for _, o := range list {
		r.Record(o)
	}
	if err := r.Close(); err != nil {
		tb.Fatal(err)
	}
}

// What is read from files is judged as what is in memory, in whatever order it
// was written.
func TestRun_readsFiles(t *testing.T) {
	t.Parallel()
	list := with(subscribed(history.Profile{}), faultOps("1", 1000, 2000, history.Fault{Kills: true, Leader: true, Minority: true}), ops(
		post(0, 3, 10, 11), arrive("a", 0, 1, 12, 13, 200), arrive("a", 0, 1, 12_050, 12_051, 200), arrive("b", 7, 1, 14, 15, 200), deadAtEnd("q.1"),
		create("1", 0, 1), put("2", 2, 3), get("1", 4, 5), op(history.LeaderTransfer, "", 5, 6, nil, nil)))
	dir := t.TempDir()
	half := len(list) / 2
	record(t, dir, "b", list[:half])
	record(t, dir, "a", list[half:])
	got, err := Run(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(list)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Judge(t.Context(), h, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Verdict{}, "Figures")); d != "" {
		t.Errorf("from files (-memory +files):\n%s", d)
	}
	total := map[string]int{}
	for _, v := range got {
		total[v.Name] = v.Total
	}
	for name, n := range map[string]int{"lost": 1, "invented": 1, "linearizable": 1, "duplicates": 0} {
		if total[name] != n {
			t.Errorf("%s: %d violations, want %d", name, total[name], n)
		}
	}
}

func TestLoad_whatIsNotWholeIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := Load(t.Context(), t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without files: %v", err)
	}
	for name, c := range map[string]struct{ line, want string }{
		"a half line":           {`{"kind":"arrival","in":{"id`, "line 2"},
		"not a member":          {`{"kind":"arrival","in":{"runs":[{"p":1}]}}`, "arrival: in"},
		"a run of nothing":      {`{"kind":"arrival","in":{"runs":[{"p":"q","f":0,"n":0}]}}`, "a run of 0 events"},
		"a post of nothing":     {`{"kind":"event.post","in":{"producer":"q"}}`, "0 events from 0"},
		"a config without form": {`{"kind":"profile.put","in":[]}`, "profile.put: in"},
		"a fault without form":  {`{"kind":"fault.begin","in":[]}`, "fault.begin: in"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x.jsonl"), []byte("{}\n"+c.line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(t.Context(), dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

func TestRun_ends(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h, err := New(ops(post(0, 1, 0, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if vs, err := Judge(ctx, h, Options{}); !errors.Is(err, context.Canceled) || len(vs) != 0 {
		t.Errorf("%d verdicts, %v", len(vs), err)
	}
}

func TestVerdict_keepsTheFirst(t *testing.T) {
	t.Parallel()
	var v Verdict
	const more = 3
	for i := range int64(MaxViolations + more) {
		v.violate(Violation{What: "x", At: MaxViolations + more - i})
	}
	if len(v.Violations) != MaxViolations || v.Total != MaxViolations+more || v.Passed() {
		t.Errorf("%d kept of %d", len(v.Violations), v.Total)
	}
	if first, last := v.Violations[0].At, v.Violations[MaxViolations-1].At; first != 1 || last != MaxViolations {
		t.Errorf("kept from %d to %d", first, last)
	}
}

func TestAll_namesAreThoseOfTheDesign(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "DESIGN.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range All() {
		line := ""
		for l := range strings.Lines(string(b)) {
			if strings.HasPrefix(l, "- "+c.Invariant+" ") {
				line = l
			}
		}
		if !strings.Contains(line, "`"+c.Name+"`") {
			t.Errorf("%s %s is not in the list of invariants: %q", c.Invariant, c.Name, line)
		}
		if c.About == "" {
			t.Errorf("%s says nothing about itself", c.Name)
		}
	}
}

// synthetic is a run with a number of events, posted in batches and delivered
// in batches to two destinations, and with register writes beside it.
func synthetic(h *History, events, batch int64) error {
	var first error
	add := func(o history.Op) {
		if err := h.add(o); err != nil && first == nil {
			first = err
		}
	}
	for _, o := range subscribed(history.Profile{}) {
		add(o)
	}
	in := history.Config{Account: "a", Channel: "SMS", Subscription: &history.Subscription{Profile: "p2"}, Profile: &history.Profile{}}
	add(op(history.SubscriptionCreate, "s2", 0, 1, in, history.Refs{}))
	add(create("0", 4, 5))
	for n := int64(0); n < events; n += batch {
		t := 10 + n/10
		add(postTry(n, int(batch), 1, t, t+2, history.Posted{Deliveries: 2}))
		add(arrive(fmt.Sprint("a", n), n, int(batch), t+1, t+3, 200))
		add(arrive(fmt.Sprint("b", n), n, int(batch), t+2, t+4, 200, func(a *history.Arrived) { a.Dest = "p2" }))
		if n%10_000 == 0 {
			last := fmt.Sprint("v", n)
			add(put(last, t, t+3))
			add(get(last, t+4, t+5))
		}
	}
	h.finish()
	return first
}

func TestJudge_largeHistory(t *testing.T) {
	t.Parallel()
	h := newHistory()
	if err := synthetic(h, 200_000, 50); err != nil {
		t.Fatal(err)
	}
	vs, err := Judge(t.Context(), h, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vs {
		if v.Total != 0 || v.Unknown != 0 {
			t.Errorf("%s: %d violations, %d unknown: %+v", v.Name, v.Total, v.Unknown, v.Violations[:min(3, len(v.Violations))])
		}
		if v.Name == "lost" && v.Checked != 400_000 {
			t.Errorf("lost: %d obligations, want 400000", v.Checked)
		}
	}
}

// BenchmarkJudge judges a million events at two destinations, in batches of
// 100, and one by one.
func BenchmarkJudge(b *testing.B) {
	for _, batch := range []int64{100, 1} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			for range b.N {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				h := newHistory()
				if err := synthetic(h, 1_000_000, batch); err != nil {
					b.Fatal(err)
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
				began := time.Now()
				vs, err := Judge(b.Context(), h, Options{})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(time.Since(began).Seconds(), "judge-s")
				for _, v := range vs {
					if v.Total != 0 {
						b.Errorf("%s: %+v", v.Name, v.Violations[0])
					}
				}
			}
		})
	}
}

// What a check of time found does not count where the machine may be too slow;
// what is lost does.
func TestUntimed(t *testing.T) {
	t.Parallel()
	vs := []Verdict{
		{Name: "lost", Total: 1, Violations: []Violation{{What: "an event is gone"}}},
		{Name: "convergence", Total: 2, Violations: []Violation{{What: "too slow"}, {What: "again"}}, Unknown: 1},
		{Name: "progress", Checked: 3},
	}
	Untimed(vs)
	if vs[0].Passed() || !vs[1].Passed() || vs[1].Unknown != 3 || len(vs[1].Notes) != 1 || !strings.Contains(vs[1].Notes[0], "2 findings are not judged, as the machine may have been too slow; the first: too slow") ||
		!vs[2].Passed() || len(vs[2].Notes) != 0 {
		t.Errorf("got %+v", vs)
	}
}
