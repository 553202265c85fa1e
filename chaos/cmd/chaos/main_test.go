package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/chaos/check"
	"example.com/belfry/chaos/fault"
	"example.com/belfry/chaos/history"
	"example.com/belfry/chaos/mutant"
	"example.com/belfry/chaos/report"
	"example.com/belfry/chaos/workload"
)

// TestQuickSet_covers: every nemesis and every workload has its place, and the
// whole fits into ten minutes.
func TestQuickSet_covers(t *testing.T) {
	t.Parallel()
	var nemeses, loads []string
	var total time.Duration
	for _, s := range quickSet() {
		if err := s.validate(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		nemeses, loads = append(nemeses, s.Nemeses...), append(loads, s.Workloads...)
		total += s.Faults + 15*time.Second
		for s.Seed = range uint64(50) {
			schedule, err := s.schedule(true)
			if err != nil {
				t.Fatalf("%s: %v", s.Name, err)
			}
			if text := schedule.String(); slices.ContainsFunc(s.Nemeses, func(n string) bool { return !strings.Contains(text, n) }) {
				t.Errorf("%s does not have all of %v:\n%s", s.Name, s.Nemeses, text)
			}
		}
	}
	for _, n := range fault.All() {
		if !slices.Contains(nemeses, n.Name) {
			t.Errorf("no run has the nemesis %s", n.Name)
		}
	}
	for _, name := range workload.Names() {
		if !slices.Contains(loads, name) {
			t.Errorf("no run has the workload %s", name)
		}
	}
	if total > 10*time.Minute {
		t.Errorf("it takes about %s", total)
	}
}

func TestOrder_specs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		order   order
		runs    int
		first   string // the command that does the first run again
		refused bool
	}{
		{"quick", order{seed: 7}, len(quickSet()), "run -seed 7 -nodes 3 -nemesis none -workload w1,w3,w5,w6 -seconds 15", false},
		{"long", order{seed: 7, minutes: 20}, 6, "run -seed 7 -nodes 3 -nemesis wall-clock,kill-leader,isolate-one,isolate-leader -workload w1,w2,w3 ", false},
		{"one", order{seed: 7, nemeses: "kill-one,transfer", loads: "w3", nodes: 5, seconds: 12.5, longest: 7.5, pairs: 3, rate: 20, ingest: 900}, 1, "run -seed 7 -nodes 5 -nemesis kill-one,transfer -workload w3 -seconds 12.5 -longest 7.5 -rate 20 -ingest 900 -pairs 3", false},
		{"one long", order{seed: 7, nemeses: "kill-one", minutes: 2, longest: 5}, 1, "-nemesis kill-one -workload w1,w2,w3,w4,w5,w6,w7,w8,w9 -seconds 120", false},
		{"without faults", order{seed: 7, nemeses: "none", loads: "w1", longest: 5}, 1, "-nemesis none -workload w1 -seconds 30", false},
		{"clock", order{seed: 7, nemeses: "wall-clock,kill-one", loads: "w1", longest: 5}, 1, "-nemesis wall-clock,kill-one", false},
		{"namespaces", order{seed: 7, namespaces: true, loads: "w1", nodes: 5, nemeses: "ring", longest: 5}, 1, "-nodes 5 -nemesis ring -workload w1 -seconds 30 -namespaces", false},
		{"only namespaces", order{seed: 7, namespaces: true, longest: 5}, 1, ",replies-lost,power-all,", false},
		{"needs proxies", order{namespaces: true, nemeses: "drip", longest: 5}, 0, "", true},
		{"too short", order{nemeses: "kill-one", longest: 1}, 0, "", true},
		{"four nodes", order{nodes: 4, longest: 5}, 0, "", true},
		{"no such nemesis", order{nemeses: "rain", longest: 5}, 0, "", true},
		{"no such workload", order{loads: "w99", longest: 5}, 0, "", true},
		{"needs five", order{nemeses: "ring", longest: 5}, 0, "", true},
	} {
		specs, err := tt.order.specs()
		if tt.refused != errors.Is(err, errUsage) || len(specs) != tt.runs {
			t.Errorf("%s: %d runs, %v", tt.name, len(specs), err)
			continue
		}
		if len(specs) > 0 && !strings.Contains(specs[0].again(), tt.first) {
			t.Errorf("%s: again is %q, want %q in it", tt.name, specs[0].again(), tt.first)
		}
		for i, s := range specs {
			if s.Seed != specs[0].Seed+uint64(i) {
				t.Errorf("%s: %s has the seed %d", tt.name, s.Name, s.Seed)
			}
		}
	}
}

func TestLongSet_fillsTheTime(t *testing.T) {
	t.Parallel()
	for _, minutes := range []int{1, 10, 120} {
		var sum time.Duration
		five, kinds := false, map[bool]int{}
		for _, s := range longSet(time.Duration(minutes) * time.Minute) {
			sum += s.Faults + overhead
			five = five || s.Nodes == 5
			kinds[s.Namespaces]++
			if err := s.validate(); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
		}
		if kinds[true] > kinds[false] || minutes > 20 && kinds[true] < kinds[false]-2 {
			t.Errorf("%d minutes have %d runs with namespaces and %d with proxies", minutes, kinds[true], kinds[false])
		}
		if got := sum.Minutes(); got < float64(minutes) || got > float64(minutes)+5 {
			t.Errorf("%d minutes came to %.1f", minutes, got)
		}
		if minutes > 20 && !five {
			t.Error("no run has five nodes")
		}
	}
}

// TestExit: a broken promise, a wrong call and a fault of the suite are told
// apart.
func TestExit(t *testing.T) {
	t.Parallel()
	line := func(v report.Result) report.Line {
		return report.Line{Name: "kill", Verdict: v, Broken: []string{"lost"}, Because: "no space"}
	}
	for _, tt := range []struct {
		name string
		err  error
		code int
		text string
	}{
		{"passed", conclude(&report.Index{Runs: []report.Line{line(report.Passed)}}, nil), 0, ""},
		{"failed", conclude(&report.Index{Runs: []report.Line{line(report.Void), line(report.Failed)}}, nil), 1, "kill (lost)"},
		{"void", conclude(&report.Index{Runs: []report.Line{line(report.Void), line(report.Passed)}}, nil), 3, "kill is void: no space"},
		{"nothing", conclude(&report.Index{}, nil), 3, "no run was made"},
		{"interrupted", conclude(&report.Index{Runs: []report.Line{line(report.Passed)}}, os.ErrDeadlineExceeded), 3, "VOID"},
		{"made by another process", ended(3), 3, ""},
		{"a mutant", fmt.Errorf("%w: x", errAlive), 1, "alive"},
		{"usage", fmt.Errorf("%w: x", errUsage), 2, "usage"},
	} {
		var b strings.Builder
		if code := exit(tt.err, &b); code != tt.code || !strings.Contains(b.String(), tt.text) {
			t.Errorf("%s: got %d %q, want %d and %q", tt.name, code, b.String(), tt.code, tt.text)
		}
	}
}

func TestDo_usage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		nil, {"walk"}, {"run", "-rain"}, {"run", "now"}, {"run", "-nodes", "4"}, {"recheck"}, {"recheck", t.TempDir()}, {"mutants", "-only", "nothing"},
	} {
		if err := do(t.Context(), args, io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := do(t.Context(), []string{"list"}, &b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kill-leader", "network namespaces", wallClock, "w9", "linearizable", mutant.All()[0].Name, quickSet()[0].Name} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in the list", want)
		}
	}
}

// TestClean_onlyItsOwn: what is not an earlier run is never removed.
func TestClean_onlyItsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	made := filepath.Join(dir, "a", "b")
	if err := clean(made); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(made); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(made, "thesis.txt")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := clean(made); !errors.Is(err, errUsage) {
		t.Errorf("a directory with something else: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	if err := report.WriteIndex(made, report.Index{}); err != nil {
		t.Fatal(err)
	}
	if err := clean(made); err != nil {
		t.Fatal(err)
	}
	if es, err := os.ReadDir(made); err != nil || len(es) != 0 {
		t.Errorf("runs are left: %v, %v", es, err)
	}
}

// faultsIn are the Ops of the chronicle, without their times.
func faultsIn(t *testing.T, dir string) []string {
	t.Helper()
	ops, err := history.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, op := range ops {
		if op.Call > op.Return || op.Process != "nemesis" {
			t.Errorf("%+v", op)
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", op.Key, op.Kind, op.Outcome, op.Error)))
	}
	return out
}

func TestChronicle(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		tell     []fault.Report
		want     []string
		problems int
	}{
		{"healed", []fault.Report{
			{Phase: fault.Begin}, {Phase: fault.Broken}, {Phase: fault.Healing}, {Phase: fault.Healed}, {Phase: fault.Converged},
		}, []string{"0.kill-leader fault.begin ok", "0.transfer fault.begin fail busy", "0.kill-leader fault.end ok", "0.kill-leader fault.converge ok"}, 0},
		{"not whole again", []fault.Report{
			{Phase: fault.Begin}, {Phase: fault.Broken}, {Phase: fault.Healing}, {Phase: fault.Healed}, {Phase: fault.Failed, Error: "n2 is away"},
		}, []string{"0.kill-leader fault.begin ok", "0.transfer fault.begin fail busy", "0.kill-leader fault.end ok", "0.kill-leader fault.converge fail n2 is away"}, 0},
		{"not undone", []fault.Report{
			{Phase: fault.Begin}, {Phase: fault.Broken}, {Phase: fault.Healing}, {Phase: fault.Failed, Error: "no start"},
		}, []string{"0.kill-leader fault.begin ok", "0.transfer fault.begin fail busy", "0.kill-leader fault.end fail no start"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			rec, err := history.Create(dir, "nemesis", history.NewClock())
			if err != nil {
				t.Fatal(err)
			}
			c := &chronicle{rec: rec, log: t.Logf}
			for _, r := range tt.tell {
				r.Faults = []fault.Told{
					{ID: "N1", Name: "kill-leader", Minority: true, Kills: true, Leader: true, Nodes: []string{"n2"}},
					{ID: "N15", Name: "transfer", Skipped: "busy"},
				}
				c.told(r)
			}
			if err := rec.Close(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, faultsIn(t, dir)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if v := c.verdict(); v.Total != tt.problems || v.Checked != 1 {
				t.Errorf("got %+v", v)
			}
			ops, err := history.Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			s := report.Summarize(ops)
			want := history.Fault{Name: "N1", Kind: "kill leader", Nodes: []string{"n2"}, Minority: true, Leader: true, Kills: true}
			if d := cmp.Diff(want, s.Faults[0].Fault); d != "" {
				t.Errorf("the fault (-want +got):\n%s", d)
			}
		})
	}
}

func TestChronicle_problem(t *testing.T) {
	t.Parallel()
	rec, err := history.Create(t.TempDir(), "nemesis", history.NewClock())
	if err != nil {
		t.Fatal(err)
	}
	c := &chronicle{rec: rec, log: t.Logf}
	told := fault.Told{ID: "N15", Name: "stop-one"}
	told.Problem = "n1 did not stop"
	c.told(fault.Report{Phase: fault.Healed, Faults: []fault.Told{told}})
	if v := c.verdict(); v.Passed() || v.Violations[0].What != "n1 did not stop" || v.Violations[0].Key != "stop-one" {
		t.Errorf("got %+v", v)
	}
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRecheck judges a history that is kept again: what the nemeses saw stays,
// the rest is made anew, and the index follows.
func TestRecheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	runDir := filepath.Join(dir, "01-kill")
	if err := os.MkdirAll(filepath.Join(runDir, historyDir), 0o700); err != nil {
		t.Fatal(err)
	}
	rec, err := history.Create(filepath.Join(runDir, historyDir), "w3", history.NewClock())
	if err != nil {
		t.Fatal(err)
	}
	// Something arrives that nobody posted.
	rec.Record(history.Op{
		Process: "w3-sink", Kind: history.Arrival, Key: "d", Call: 1, Return: 2, Outcome: history.OK, Status: 200,
		In: history.JSON(history.Arrived{WebhookID: "x", Account: "a", Dest: "d", Strange: []history.Strange{{SHA256: "00", Head: "?"}}}),
	})
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	r := &report.Run{Name: "kill", Nodes: 3, Verdicts: []check.Verdict{
		{Name: report.Orderly, Checked: 1, Total: 1, Violations: []check.Violation{{What: "it did not stop"}}}, {Name: "lost", Checked: 5},
	}}
	if err := r.Write(runDir); err != nil {
		t.Fatal(err)
	}
	if err := report.WriteIndex(dir, report.Index{Seed: 5, Runs: []report.Line{r.Line("01-kill")}}); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{runDir, dir} {
		if err := do(t.Context(), []string{"recheck", at}, io.Discard); !errors.Is(err, errFailed) || !strings.Contains(err.Error(), "invented") || !strings.Contains(err.Error(), report.Orderly) {
			t.Errorf("recheck %s: %v", at, err)
		}
	}
	got, err := report.Read(runDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Verdicts) != len(check.All())+1 || got.Summary.Arrivals != 1 {
		t.Errorf("%d verdicts, %d arrivals", len(got.Verdicts), got.Summary.Arrivals)
	}
	x, err := readIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	if x.Seed != 5 || len(x.Runs) != 1 || !slices.Contains(x.Runs[0].Broken, "invented") {
		t.Errorf("the index is %+v", x)
	}
}

func TestSweep_leavesLogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "n1"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"n1.log", "n1/raft.db"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := sweep(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "n1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data of the node is left: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "n1.log")); err != nil {
		t.Error(err)
	}
}

// TestInside: what makes the runs in a network of its own draws and builds
// nothing again.
func TestInside(t *testing.T) {
	t.Parallel()
	args := []string{"-namespaces", "-nodes", "3", "-binary", "./here", "-out", "x"}
	for _, tt := range []struct {
		bench bench
		want  string
	}{
		{bench{binary: "/tmp/belfry"}, "run -namespaces -nodes 3 -binary ./here -out x -seed 9 -binary /tmp/belfry"},
		{bench{binary: "/tmp/belfry", jumping: "/tmp/j"}, "run -namespaces -nodes 3 -binary ./here -out x -seed 9 -binary /tmp/belfry -jumping /tmp/j"},
	} {
		got := tt.bench.inside(order{args: args, seed: 9})
		if strings.Join(got, " ") != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	if len(args) != 7 {
		t.Errorf("the arguments became %q", args)
	}
}

// TestMove_notNeeded: runs with proxies are made here.
func TestMove_notNeeded(t *testing.T) {
	t.Parallel()
	b := &bench{log: t.Logf}
	if moved, err := b.move(t.Context(), order{}, []spec{clockRun()}, io.Discard); moved || err != nil {
		t.Errorf("moved %t, %v", moved, err)
	}
}

// TestWithProxies: where there are no network namespaces, no run has them, and
// the command that does one again does not ask for them.
func TestWithProxies(t *testing.T) {
	t.Parallel()
	var said string
	b := &bench{log: func(format string, args ...any) { said = fmt.Sprintf(format, args...) }}
	specs := append(quickSet(), longSet(time.Hour)...)
	if !needsNamespaces(specs) {
		t.Error("no run has network namespaces")
	}
	b.withProxies(specs, errors.New("no bridge"))
	if needsNamespaces(specs) || slices.ContainsFunc(specs, func(s spec) bool { return strings.Contains(s.again(), "-namespaces") }) {
		t.Error("a run has network namespaces still")
	}
	if !strings.Contains(said, "no bridge") {
		t.Errorf("it said %q", said)
	}
}
