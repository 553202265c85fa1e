package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/belfry/chaos/check"
)

// Totals are the figures of several runs together: what docs and BENCH.md say.
type Totals struct {
	Runs, Passed int
	Faults       int
	// Played is how long faults were played, the quiet between them included.
	Played     time.Duration
	Acked      int64 // operations of clients, events as posts
	Events     int64 // acknowledged
	Lost       int
	Histories  int // judged for linearizability
	Illegal    int
	Deliveries int64
	Duplicates int64 // of Deliveries
	Violations int
	costs      []cost
	index      Index
}

// NewTotals sums up.
func NewTotals(runs []*Run) Totals {
	var t Totals
	for _, r := range runs {
		t.Runs++
		if r.Result() == Passed {
			t.Passed++
		}
		l := r.Line("")
		t.index.Runs = append(t.index.Runs, l)
		t.Acked += l.Acked
		t.Events += l.Events
		t.Violations += l.Violations
		t.Faults += l.Faults
		if n := len(r.Summary.Faults); n > 0 {
			t.Played += time.Duration(lastEnd(r.Summary.Faults) - r.Summary.Faults[0].Begin)
		}
		for i := range r.Verdicts {
			t.judge(&r.Verdicts[i])
		}
	}
	t.costs = t.index.costs()
	return t
}

func lastEnd(fs []Fault) int64 {
	var end int64
	for i := range fs {
		end = max(end, fs[i].End)
	}
	return end
}

func (t *Totals) judge(v *check.Verdict) {
	switch v.Name {
	case "lost":
		t.Lost += v.Total
	case "linearizable":
		t.Histories += int(v.Figures["histories"])
		t.Illegal += v.Total
	case "duplicates":
		t.Deliveries += int64(v.Figures["deliveries"])
		t.Duplicates += int64(v.Figures["duplicates"])
	}
}

// Write writes the figures as text: the sums, then what each kind of fault
// cost: the longest time without an acknowledged change, and without an
// acknowledged event, around each.
func (t *Totals) Write(w io.Writer) error {
	share := 0.0
	if t.Deliveries > 0 {
		share = 100 * float64(t.Duplicates) / float64(t.Deliveries)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"runs, of which passed", fmt.Sprintf("%d, %d", t.Runs, t.Passed)},
		{"faults", fmt.Sprintf("%s in %s", count(int64(t.Faults)), t.Played.Round(time.Second))},
		{"operations acknowledged", count(t.Acked)},
		{"events acknowledged", count(t.Events)},
		{"of these lost", count(int64(t.Lost))},
		{"histories judged, of which illegal", fmt.Sprintf("%s, %d", count(int64(t.Histories)), t.Illegal)},
		{"deliveries, of which again", fmt.Sprintf("%s, %s (%.3f %%)", count(t.Deliveries), count(t.Duplicates), share)},
		{"violations", count(int64(t.Violations))},
	} {
		_, _ = fmt.Fprintln(tw, row[0]+"\t"+row[1])
	}
	_, _ = fmt.Fprintln(tw)
	_, _ = fmt.Fprintln(tw, "fault\tn\tno change p50\tp99\tmost\tno event p50\tp99\tmost")
	for _, c := range t.costs {
		row := []string{c.Name + " " + c.Kind, fmt.Sprint(c.N)}
		for _, d := range []int64{c.Changes, c.RareChanges, c.MostChanges, c.Events, c.RareEvents, c.MostEvents} {
			row = append(row, time.Duration(d).Round(10*time.Millisecond).String())
		}
		_, _ = fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}
