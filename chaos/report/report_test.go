package report

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/chaos/check"
	"example.com/belfry/chaos/history"
)

const second = int64(time.Second)

// ops is a run of 20 s with one change and one post of 10 events in each half
// second, but for the time from 5 s to 8 s, in which a fault is on.
func ops() []history.Op {
	var out []history.Op
	add := func(kind string, call, took int64, o history.Outcome, in any) {
		op := history.Op{Process: "c", Kind: kind, Key: "1", Call: call, Return: call + took, Outcome: o}
		if in != nil {
			op.In = history.JSON(in)
		}
		out = append(out, op)
	}
	f := history.Fault{Name: "N1", Kind: "kill leader", Nodes: []string{"n2"}, Minority: true}
	for t := int64(0); t < 20*second; t += second / 2 {
		switch t {
		case 5 * second:
			add(history.FaultBegin, t, second/10, history.OK, f)
		case 8 * second:
			add(history.FaultEnd, t-second/10, second/10, history.OK, f)
			add(history.FaultConverge, t, second*3/2, history.OK, f)
		}
		o := history.OK
		if t >= 5*second && t < 8*second {
			o = history.Unknown
		}
		add(history.ProfilePut, t, 10_000_000, o, nil)
		add(history.EventPost, t, 20_000_000, o, history.Post{N: 10})
		if o == history.OK {
			add(history.Arrival, t, 1000, o, nil)
		}
	}
	add(history.Arrival, 19*second, 1000, history.Fail, nil)
	add(history.FinalConfig, 19*second, second, history.OK, nil)
	return out
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	s := Summarize(ops())
	if s.Length != 20*second || s.Events != 340 || s.Arrivals != 35 || s.Taken != 34 {
		t.Errorf("got length %d, %d events, %d arrivals, %d taken", s.Length, s.Events, s.Arrivals, s.Taken)
	}
	want := []Kind{
		{Kind: history.EventPost, OK: 34, Unknown: 6, P50: 20, P99: 20, Max: 20},
		{Kind: history.ProfilePut, OK: 34, Unknown: 6, P50: 10, P99: 10, Max: 10},
	}
	if d := cmp.Diff(want, s.Kinds); d != "" {
		t.Errorf("kinds, without those of the end (-want +got):\n%s", d)
	}
	faults := []Fault{{
		Fault: history.Fault{Name: "N1", Kind: "kill leader", Nodes: []string{"n2"}, Minority: true},
		Begin: 5 * second, End: 8 * second, Converged: second * 3 / 2,
		// The last acknowledgement before it was at 4.51 s, the next at 8.01 s.
		Gaps: Gaps{Changes: 3*second + 10_000_000, Events: 3*second + 20_000_000},
	}}
	if d := cmp.Diff(faults, s.Faults); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
	// Outside of it nobody waited for longer than an answer took.
	if want := (Gaps{Changes: 10_000_000, Events: 20_000_000}); s.Quiet != want {
		t.Errorf("outside of faults: got %+v, want %+v", s.Quiet, want)
	}
	if len(s.Points) != 20 {
		t.Fatalf("got %d points, want 20", len(s.Points))
	}
	if want := (Point{Acked: 4, Arrivals: 2, P50: 20, P99: 20}); s.Points[2] != want {
		t.Errorf("before the fault: got %+v, want %+v", s.Points[2], want)
	}
	if want := (Point{Not: 4}); s.Points[6] != want {
		t.Errorf("under the fault: got %+v, want %+v", s.Points[6], want)
	}
}

func TestSummarize_unfinishedFault(t *testing.T) {
	t.Parallel()
	s := Summarize([]history.Op{
		{Kind: history.FaultBegin, Key: "1", Call: second, Return: second, Outcome: history.Fail, Error: "no disk", In: history.JSON(history.Fault{Name: "N7"})},
		{Kind: history.FaultBegin, Key: "2", Call: 2 * second, Return: 2 * second, Outcome: history.OK, In: history.JSON(history.Fault{Name: "N1"})},
		{Kind: history.ProfileGet, Call: 2 * second, Return: 4 * second, Outcome: history.OK},
	})
	if len(s.Faults) != 2 || s.Faults[0].Error != "no disk" || s.Faults[0].End != second || s.Faults[1].End != 4*second || s.Faults[1].Converged != -1 {
		t.Errorf("got %+v", s.Faults)
	}
}

// TestSilences: a time in which nobody asks is no silence, one in which
// somebody waits is, also when the answer never comes.
func TestSilences(t *testing.T) {
	t.Parallel()
	op := func(call, ret int64, o history.Outcome) *history.Op {
		return &history.Op{Call: call, Return: ret, Outcome: o}
	}
	for _, tt := range []struct {
		name string
		ops  []*history.Op
		want []silence
	}{
		{"nobody asks", []*history.Op{op(0, 1, history.OK), op(100, 101, history.OK)}, []silence{{100, 101}}},
		{"one waits", []*history.Op{op(0, 1, history.OK), op(5, 50, history.Unknown), op(60, 61, history.OK)}, []silence{{5, 61}}},
		{"one waits since before", []*history.Op{op(0, 10, history.OK), op(5, 50, history.OK)}, []silence{{10, 50}}},
		{"never answered again", []*history.Op{op(0, 1, history.OK), op(2, 9, history.Fail), op(3, 20, history.Unknown)}, []silence{{2, 20}}},
		{"nothing yet", []*history.Op{op(0, 9, history.Fail), op(10, 11, history.OK)}, nil},
		{"none", nil, nil},
	} {
		if d := cmp.Diff(tt.want, silencesOf(tt.ops), cmp.AllowUnexported(silence{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestSummarize_longRun(t *testing.T) {
	t.Parallel()
	s := Summarize([]history.Op{{Kind: history.ProfileGet, Call: 0, Return: 7200 * second, Outcome: history.OK}})
	if len(s.Points) > maxPoints || s.Step*int64(len(s.Points)) > s.Length+s.Step {
		t.Errorf("got %d points of %d ns over %d ns", len(s.Points), s.Step, s.Length)
	}
}

// well has a verdict with something in it, bad one that found something.
func well() check.Verdict {
	return check.Verdict{Name: "order", Invariant: "I9", Checked: 12, Figures: map[string]float64{"failover_p50_ms": 612.4, "check_seconds": 1}}
}

func bad() check.Verdict {
	return check.Verdict{
		Name: "lost", Invariant: "I1", Checked: 100, Total: 60, Unknown: 2, Notes: []string{"all by n1"},
		Violations: []check.Violation{{What: "event p.7 never came", At: 6 * second, Node: "n1", Key: "p.7"}},
		Artifacts:  map[string][]byte{"../group 1.html": []byte("<drawing>")},
	}
}

func run(vs ...check.Verdict) *Run {
	return &Run{
		Name: "kill", Version: "v1", Seed: 42, Nodes: 3, Workloads: []string{"w1"}, Nemeses: []string{"kill-leader"},
		Begin: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Took: time.Minute, Summary: Summarize(ops()), Verdicts: vs,
	}
}

func TestRun_Result(t *testing.T) {
	t.Parallel()
	void := run(well())
	void.VoidBecause = "no space"
	crashed := run(well())
	crashed.Crashes = []Crash{{Node: "n1"}}
	for _, tt := range []struct {
		name string
		run  *Run
		want Result
	}{
		{"passed", run(well()), Passed},
		{"one violation", run(well(), bad()), Failed},
		{"a crash", crashed, Failed},
		{"void, whatever the verdicts", void, Void},
		{"no verdicts", run(), Void},
		{"nothing checked", run(check.Verdict{Name: "order"}), Void},
	} {
		if got := tt.run.Result(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// written writes the report and reads the page.
func written(t *testing.T, r *Run) (dir, page string) {
	t.Helper()
	dir = t.TempDir()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, HTMLFile))
	if err != nil {
		t.Fatal(err)
	}
	return dir, string(b)
}

// pictureOf cuts the picture out of a page and checks that it is well-formed.
func pictureOf(t *testing.T, page string) (elements map[string]int) {
	t.Helper()
	_, rest, ok := strings.Cut(page, "<svg")
	svg, _, closed := strings.Cut(rest, "</svg>")
	if !ok || !closed {
		t.Fatalf("there is no picture in\n%s", page)
	}
	svg = "<svg" + svg + "</svg>"
	elements = map[string]int{}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return elements
		} else if err != nil {
			t.Fatalf("the picture is not well-formed: %v", err)
		}
		if s, ok := tok.(xml.StartElement); ok {
			elements[s.Name.Local]++
			for _, a := range s.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") || strings.Contains(a.Value, "ZgotmplZ") {
					t.Errorf("<%s %s=%q>", s.Name.Local, a.Name.Local, a.Value)
				}
			}
		}
	}
}

func wants(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if !strings.Contains(page, s) {
			t.Errorf("the page has no %q", s)
		}
	}
}

func TestRun_Write_passed(t *testing.T) {
	t.Parallel()
	r := run(well(), check.Verdict{Name: "audit", Invariant: "I15"})
	r.Files = []string{"w1.jsonl", "nodes/n 1.log"}
	r.Options, r.Network = []string{"--snapshot-threshold", "50"}, "network namespaces"
	dir, page := written(t, r)
	wants(t, page, "✓ passed", "Every promise held under 1 fault", "I9 order", "– nothing to check", "failover p50 612 ms", "kill leader n2",
		"<code>42</code>", `<td class="n">3 s</td>`, `href="./nodes/n%201.log"`, "--snapshot-threshold 50", "<dt>Network</dt><dd>network namespaces</dd>", "prefers-color-scheme: dark")
	for _, s := range []string{"<script", "✗", "check_seconds", "check seconds", "http://", "https://"} {
		if strings.Contains(page, s) {
			t.Errorf("the page has %q", s)
		}
	}
	if n := pictureOf(t, page); n["path"] != 6 || n["rect"] != 1+1+20 {
		t.Errorf("the picture has %d paths and %d boxes, want 6 and 22: two of the fault, 20 of moments", n["path"], n["rect"])
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, got); d != "" {
		t.Errorf("read again (-want +got):\n%s", d)
	}
}

func TestRun_Write_failed(t *testing.T) {
	t.Parallel()
	r := run(well(), bad())
	r.Crashes = []Crash{{Node: "n3", At: 7 * second, Status: "exit status 2", Output: "panic: no"}}
	dir, page := written(t, r)
	wants(t, page, "✗ failed", "60 violations, 1 process ended unasked", "event p.7 never came", "and 59 more", "all by n1", "exit status 2", "panic: no",
		`href="./artifacts/lost-.__group_1.html"`)
	if b, err := os.ReadFile(filepath.Join(dir, ArtifactsDir, "lost-.__group_1.html")); err != nil || string(b) != "<drawing>" {
		t.Errorf("the drawing: %q, %v", b, err)
	}
	// Written again without it, the drawing is gone.
	r.Verdicts = r.Verdicts[:1]
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, ArtifactsDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("artifacts of an older report are still there: %v", err)
	}
}

func TestRun_Write_empty(t *testing.T) {
	t.Parallel()
	_, page := written(t, &Run{})
	wants(t, page, "? void", "The run says nothing: there was nothing to check", "No checker has looked", "Nothing was broken", "Nothing was asked")
	pictureOf(t, page)
	r := &Run{VoidBecause: "the disk is full"}
	if _, page = written(t, r); !strings.Contains(page, "The run says nothing: the disk is full") {
		t.Error("it does not say why the run is void")
	}
}

// TestRun_Write_escapes: whatever is in names and texts, it stays text.
func TestRun_Write_escapes(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	s := Summarize(ops())
	s.Faults[0].Kind, s.Faults[0].Name, s.Faults[0].Error, s.Faults[0].Nodes = evil, evil, evil, []string{evil}
	s.Kinds[0].Kind = evil
	r := &Run{
		Name: evil, Version: evil, Network: evil, Workloads: []string{evil}, Nemeses: []string{evil}, Options: []string{evil}, Schedule: evil, Again: evil,
		VoidBecause: evil, Summary: s, Crashes: []Crash{{evil, 1, evil, evil}}, Files: []string{evil, "javascript:alert(1)", "../../etc/passwd"},
		Verdicts: []check.Verdict{{
			Name: evil, Invariant: evil, Total: 1, Violations: []check.Violation{{What: evil, Node: evil, Key: evil}}, Notes: []string{evil},
			Figures: map[string]float64{evil: 1}, Artifacts: map[string][]byte{evil: nil},
		}},
	}
	_, page := written(t, r)
	dir := t.TempDir()
	if err := WriteIndex(dir, Index{Version: evil, Runs: []Line{r.Line(evil)}}); err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(dir, IndexHTMLFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"run": page, "index": string(index)} {
		for _, s := range []string{"<script", "<img", "href=\"javascript:", "href=\"../../etc", "ZgotmplZ"} {
			if strings.Contains(text, s) {
				t.Errorf("the page of the %s has %q", name, s)
			}
		}
	}
	pictureOf(t, page)
}

func TestWriteIndex(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		runs []*Run
		want Result
		text string
	}{
		{"none", nil, Void, "There is no run yet"},
		{"all passed", []*Run{run(well()), run(well())}, Passed, "2 of 2 runs passed, 0 failed, 0 void"},
		{"one void", []*Run{run(well()), run()}, Void, "1 of 2 runs passed, 0 failed, 1 void"},
		{"one failed", []*Run{run(), run(bad()), run(well())}, Failed, "1 of 3 runs passed, 1 failed, 1 void"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var x Index
			for _, r := range tt.runs {
				x.Runs = append(x.Runs, r.Line("01-kill"))
			}
			dir := t.TempDir()
			if err := WriteIndex(dir, x); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, IndexHTMLFile))
			if err != nil {
				t.Fatal(err)
			}
			wants(t, string(b), tt.text)
			if len(tt.runs) > 0 {
				wants(t, string(b), `href="./01-kill/report.html"`)
			}
			if got := x.Verdict(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestIndex_costs(t *testing.T) {
	t.Parallel()
	f := func(name, kind string, changes, converged int64) Fault {
		return Fault{Fault: history.Fault{Name: name, Kind: kind}, Gaps: Gaps{Changes: changes}, Converged: converged}
	}
	skipped := f("N1", "kill one", 99, 99)
	skipped.Error = "busy"
	x := Index{Runs: []Line{
		{Played: []Fault{f("N15", "transfer", 5, 1), f("N2", "pause one", 4, -1), f("N1", "kill one", 3, 7)}},
		{Played: []Fault{f("N1", "kill one", 9, 2), f("N1", "kill one", 1, -1), skipped}},
	}}
	pair := []Fault{f("N1", "kill one", 88, 1), f("N6", "drip", 88, 1)} // at the same time
	for i := range pair {
		pair[i].Begin, pair[i].End = 10, 20
	}
	x.Runs = append(x.Runs, Line{Played: pair})
	want := []cost{
		{Name: "N1", Kind: "kill one", N: 3, Changes: 3, RareChanges: 9, MostChanges: 9, Converged: 7, MostConverged: 7},
		{Name: "N2", Kind: "pause one", N: 1, Changes: 4, RareChanges: 4, MostChanges: 4},
		{Name: "N6", Kind: "drip", N: 1, Changes: 88, RareChanges: 88, MostChanges: 88, Converged: 1, MostConverged: 1},
		{Name: "N15", Kind: "transfer", N: 1, Changes: 5, RareChanges: 5, MostChanges: 5, Converged: 1, MostConverged: 1},
	}
	if d := cmp.Diff(want, x.costs()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		clock(0): "0 s", clock(59 * second): "59 s", clock(65 * second): "1:05", clock(3661 * second): "1:01:01",
		span(0): "–", span(1_500_000): "1.5 ms", span(850_000_000): "850 ms", span(1_340_000_000): "1.3 s", span(83 * second): "83 s", span(7200 * second): "7200 s",
		count(7): "7", count(1234567): "1\u202f234\u202f567", count(-1234): "-1\u202f234", count(-123): "-123",
		short(0.123456): "0.123", short(1234.5): "1\u202f235", short(12): "12",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestTotals sums two runs up, and says what each kind of fault cost.
func TestTotals(t *testing.T) {
	t.Parallel()
	run := func(verdicts ...check.Verdict) *Run { return &Run{Summary: Summarize(ops()), Verdicts: verdicts} }
	totals := NewTotals([]*Run{
		run(check.Verdict{Name: "lost", Checked: 340}, check.Verdict{Name: "linearizable", Checked: 1, Figures: map[string]float64{"histories": 300}}),
		run(check.Verdict{Name: "lost", Checked: 340, Total: 2, Violations: make([]check.Violation, 2)},
			check.Verdict{Name: "duplicates", Checked: 1, Figures: map[string]float64{"deliveries": 1000, "duplicates": 1}}),
	})
	var b strings.Builder
	if err := totals.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"2, 1\n", "2 in 6s\n", "680\n", "of these lost                       2\n", "300, 0\n", "000, 1 (0.100 %)\n",
		"N1 kill leader  2  3.01s          3.01s  3.01s  3.02s         3.02s  3.02s\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the figures lack %q:\n%s", want, b.String())
		}
	}
}

// TestSilences_nextFault: a silence is laid to the fault that is on, not to the
// one before.
func TestSilences_nextFault(t *testing.T) {
	t.Parallel()
	s := Summary{Faults: []Fault{{Begin: 1 * second, End: 2 * second}, {Begin: 4 * second, End: 9 * second}}}
	var asked []history.Op
	for at := int64(0); at < 10*second; at += second / 2 {
		o := history.OK
		if at > 4*second && at < 8*second {
			o = history.Unknown
		}
		asked = append(asked, history.Op{Kind: history.ProfilePut, Call: at, Return: at + 1, Outcome: o})
	}
	s.silences(asked)
	if first, second := s.Faults[0].Gaps.Changes, s.Faults[1].Gaps.Changes; first > 1 || second < int64(3*time.Second) {
		t.Errorf("silences of %s and %s, want none for the first fault", time.Duration(first), time.Duration(second))
	}
}
