package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"
)

// Line is a run in the index: enough to see what to look at.
type Line struct {
	// Dir is the directory of the run, relative to the index.
	Dir        string        `json:"dir"`
	Name       string        `json:"name"`
	Verdict    Result        `json:"verdict"`
	Seed       uint64        `json:"seed"`
	Nodes      int           `json:"nodes"`
	Workloads  []string      `json:"workloads"`
	Nemeses    []string      `json:"nemeses"`
	Faults     int           `json:"faults"`
	Acked      int64         `json:"acked"`
	Events     int64         `json:"events"`
	Arrivals   int64         `json:"arrivals"`
	Checked    int64         `json:"checked"`
	Unknown    int64         `json:"unknown"` // operations of unknown outcome
	Broken     []string      `json:"broken,omitempty"`
	Because    string        `json:"because,omitempty"` // of a void run
	Violations int           `json:"violations"`
	Silence    int64         `json:"silence"` // longest time without an acknowledged change under a fault, ns
	Took       time.Duration `json:"took"`    // ns
	// Played are the faults of the run, for the table over all runs.
	Played []Fault `json:"played,omitempty"`
}

// Page is the report of the run, relative to the index.
func (l Line) Page() string { return path.Join(l.Dir, HTMLFile) }

// Line sums the run up. dir is where its report is, relative to the index.
func (r *Run) Line(dir string) Line {
	l := Line{
		Dir: dir, Name: r.Name, Verdict: r.Result(), Seed: r.Seed, Nodes: r.Nodes, Workloads: r.Workloads, Nemeses: r.Nemeses,
		Faults: len(r.Summary.Faults), Events: r.Summary.Events, Arrivals: r.Summary.Arrivals, Violations: r.Violations(), Took: r.Took,
		Because: r.VoidBecause, Played: r.Summary.Faults,
	}
	for _, k := range r.Summary.Kinds {
		l.Acked += int64(k.OK)
		l.Unknown += int64(k.Unknown)
	}
	for i := range r.Summary.Faults {
		l.Silence = max(l.Silence, r.Summary.Faults[i].Gaps.Changes)
	}
	for i := range r.Verdicts {
		v := &r.Verdicts[i]
		l.Checked += int64(v.Checked)
		if !v.Passed() {
			l.Broken = append(l.Broken, v.Name)
		}
	}
	if len(r.Crashes) > 0 {
		l.Broken = append(l.Broken, "crashed")
	}
	return l
}

// Index is what several runs come to.
type Index struct {
	Seed    uint64        `json:"seed"`
	Version string        `json:"version"`
	Took    time.Duration `json:"took"` // ns
	Runs    []Line        `json:"runs"`
}

// Verdict is Failed when one run failed, else Void when one is or there is
// none, else Passed.
func (x *Index) Verdict() Result {
	verdict := Passed
	if len(x.Runs) == 0 {
		verdict = Void
	}
	for _, l := range x.Runs {
		switch l.Verdict {
		case Failed:
			return Failed
		case Void:
			verdict = Void
		case Passed:
		}
	}
	return verdict
}

// Headline says it in a sentence.
func (x *Index) Headline() string {
	n := map[Result]int{}
	for _, l := range x.Runs {
		n[l.Verdict]++
	}
	return fmt.Sprintf("%d of %d runs passed, %d failed, %d void", n[Passed], len(x.Runs), n[Failed], n[Void])
}

// indexPage is what index.html shows.
type indexPage struct {
	*Index

	Facts []fact
	Costs []cost
}

// cost is what the faults of one kind cost, in all runs: medians and worst, ns.
type cost struct {
	Name, Kind                 string
	N                          int
	Changes, Events, Converged int64
	RareChanges, RareEvents    int64 // p99
	MostChanges, MostEvents    int64
	MostConverged              int64
}

// costs sums the faults up by kind, in the order of their names. Those that
// were played at the same time as others count only where a kind has no other.
func (x *Index) costs() []cost {
	type key struct{ name, kind string }
	byKind, mixed := map[key][]*Fault{}, map[key][]*Fault{}
	for i := range x.Runs {
		played := x.Runs[i].Played
		for j := range played {
			f, k := &played[j], key{played[j].Name, played[j].Kind}
			switch {
			case f.Error != "":
			case slices.ContainsFunc(played, f.overlaps):
				mixed[k] = append(mixed[k], f)
			default:
				byKind[k] = append(byKind[k], f)
			}
		}
	}
	for k, fs := range mixed {
		if byKind[k] == nil {
			byKind[k] = fs
		}
	}
	var out []cost
	for k, fs := range byKind {
		c := cost{Name: k.name, Kind: k.kind, N: len(fs)}
		c.Changes, c.RareChanges, c.MostChanges = spread(fs, func(f *Fault) int64 { return f.Gaps.Changes })
		c.Events, c.RareEvents, c.MostEvents = spread(fs, func(f *Fault) int64 { return f.Gaps.Events })
		c.Converged, _, c.MostConverged = spread(fs, func(f *Fault) int64 { return f.Converged })
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b cost) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

// overlaps reports whether another fault that costs something was on at the
// same time.
func (f *Fault) overlaps(other Fault) bool {
	self := other.Begin == f.Begin && other.Kind == f.Kind
	return !self && other.Error == "" && !other.Harmless && !f.Harmless && other.Begin < f.End && f.Begin < other.End
}

// spread gives the median (the upper of two), the 99th percentile and the
// greatest of what is not negative; 0 when there is none.
func spread(fs []*Fault, value func(*Fault) int64) (middle, rare, most int64) {
	var vs []int64
	for _, f := range fs {
		if v := value(f); v >= 0 {
			vs = append(vs, v)
		}
	}
	if len(vs) == 0 {
		return 0, 0, 0
	}
	slices.Sort(vs)
	return vs[len(vs)/2], vs[(len(vs)*99+99)/100-1], vs[len(vs)-1]
}

// facts are the sums of all runs.
func (x *Index) facts() []fact {
	var sum Line
	for _, l := range x.Runs {
		sum.Acked += l.Acked
		sum.Unknown += l.Unknown
		sum.Events += l.Events
		sum.Arrivals += l.Arrivals
		sum.Faults += l.Faults
		sum.Checked += l.Checked
		sum.Violations += l.Violations
	}
	return []fact{
		{"operations acknowledged", count(sum.Acked), count(sum.Unknown) + " of unknown outcome"},
		{"events acknowledged", count(sum.Events), count(sum.Arrivals) + " requests at webhooks"},
		{"faults", count(int64(sum.Faults)), "in " + count(int64(len(x.Runs))) + " runs"},
		{"things checked", count(sum.Checked), count(int64(sum.Violations)) + " violations"},
	}
}

// WriteIndex makes index.json and index.html in dir, which must exist.
func WriteIndex(dir string, x Index) error {
	b, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return fmt.Errorf("encode index: %w", err)
	}
	var page bytes.Buffer
	if err := pages.ExecuteTemplate(&page, "index.html", indexPage{&x, x.facts(), x.costs()}); err != nil {
		return fmt.Errorf("make the page of the index: %w", err)
	}
	return errors.Join(write(dir, IndexJSONFile, append(b, '\n')), write(dir, IndexHTMLFile, page.Bytes()))
}
