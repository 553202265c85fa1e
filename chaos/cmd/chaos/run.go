package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"example.com/belfry/chaos/mutant"
	"example.com/belfry/chaos/process"
	"example.com/belfry/chaos/report"
	"example.com/belfry/chaos/workload"
)

// outDir is where everything goes unless told otherwise.
const outDir = "chaos-out"

// order is what "chaos run" is asked for.
type order struct {
	minutes, seconds float64
	longest          float64 // s
	rate, ingest     float64
	nodes, pairs     int
	seed             uint64
	nemeses, loads   string
	binary, out      string
	jumping          string
	untimed          bool
	namespaces       bool
	args             []string // of the command line
}

func runCommand(ctx context.Context, args []string, w io.Writer) error {
	o := order{args: args}
	f := flags("run")
	f.Float64Var(&o.minutes, "minutes", 0, "how long to go on; 0: the quick set, or one run")
	f.Float64Var(&o.seconds, "seconds", 0, "how long faults are played in one run; with -nemesis, -workload or -nodes")
	f.Float64Var(&o.longest, "longest", quickLongest.Seconds(), "how many seconds one fault lasts at most; with -nemesis, -workload or -nodes")
	f.Float64Var(&o.rate, "rate", 0, "operations of each workload per second; 0: as usual")
	f.Float64Var(&o.ingest, "ingest", 0, "events of w3 per second; 0: 500, or -rate")
	f.IntVar(&o.pairs, "pairs", 0, "how many of 100 faults are two at once; with -nemesis, -workload or -nodes")
	f.IntVar(&o.nodes, "nodes", 0, "3 or 5: one run with as many nodes")
	f.Uint64Var(&o.seed, "seed", 0, "of schedule and data; 0: a new one")
	f.StringVar(&o.nemeses, "nemesis", "", `names with commas, or "none": one run with these`)
	f.StringVar(&o.loads, "workload", "", "names with commas: one run with these")
	f.BoolVar(&o.namespaces, "namespaces", false, "one run with the nodes in network namespaces, where packets are lost, in place of proxies between them; needs Linux and root")
	f.BoolVar(&o.untimed, "untimed", false, "judge nothing that a machine which is too slow could break; waits are longer")
	f.StringVar(&o.binary, "binary", "", "belfry to run; empty: built from the sources")
	f.StringVar(&o.jumping, "jumping", "", "belfry with a wall clock that jumps; empty: built from the sources when it is needed")
	f.StringVar(&o.out, "out", outDir, "directory of histories, logs and reports; runs in it are replaced")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1e9) + 1 //nolint:gosec // a seed
	}
	specs, err := o.specs()
	if err != nil {
		return err
	}
	if err := clean(o.out); err != nil {
		return err
	}
	b, done, err := newBench(ctx, o, specs, w)
	if err != nil {
		return err
	}
	defer done()
	if moved, err := b.move(ctx, o, specs, w); moved || err != nil {
		return err
	}
	return b.all(ctx, specs, o, w)
}

// specs are the runs that are asked for, each with a seed of its own.
func (o order) specs() ([]spec, error) {
	one := o.nemeses != "" || o.loads != "" || o.nodes != 0 || o.seconds != 0 || o.namespaces
	var specs []spec
	switch {
	case one:
		s := spec{Name: "run", Nodes: 3, Workloads: workload.Names(), Faults: quickFaults, Pairs: o.pairs, Namespaces: o.namespaces}
		if s.Longest = time.Duration(o.longest * float64(time.Second)); s.Longest < shortest {
			return nil, fmt.Errorf("%w: -longest is at least %s", errUsage, shortest)
		}
		if o.nodes != 0 {
			s.Nodes = o.nodes
		}
		switch o.nemeses {
		case none:
		case "":
			s.Nemeses = possible(s.kind(true))
		default:
			s.Nemeses = names(o.nemeses)
		}
		if o.loads != "" {
			s.Workloads = names(o.loads)
		}
		if d := o.minutes*60 + o.seconds; d > 0 {
			s.Faults = time.Duration(d * float64(time.Second))
		}
		s.Seed = o.seed
		specs = []spec{s}
	case o.minutes > 0:
		specs = longSet(time.Duration(o.minutes * float64(time.Minute)))
	default:
		specs = quickSet()
	}
	for i := range specs {
		specs[i].Rate, specs[i].Ingest, specs[i].Untimed = o.rate, o.ingest, o.untimed
		if !one {
			specs[i].Seed = o.seed + uint64(i)
		}
		if err := specs[i].validate(); err != nil {
			return nil, err
		}
	}
	return specs, nil
}

// clean makes dir, and empties it of earlier runs. A directory with anything
// else in it is not touched.
func clean(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(dir, 0o750)
	}
	if err != nil || len(entries) == 0 {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, report.IndexJSONFile)); err != nil {
		return fmt.Errorf("%w: %s is not empty and holds no earlier runs: give another directory with -out", errUsage, dir)
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// newBench builds what the runs need.
func newBench(ctx context.Context, o order, specs []spec, w io.Writer) (*bench, func(), error) {
	b := &bench{binary: o.binary, jumping: o.jumping, log: func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }}
	dir, err := os.MkdirTemp("", "belfry-chaos-")
	if err != nil {
		return nil, nil, err
	}
	done := func() { _ = os.RemoveAll(dir) }
	fail := func(err error) (*bench, func(), error) {
		done()
		return nil, nil, err
	}
	if b.binary == "" {
		b.log("building belfry")
		if b.binary, err = process.Build(ctx, dir, ""); err != nil {
			return fail(err)
		}
	} else if b.binary, err = filepath.Abs(b.binary); err != nil {
		return fail(err)
	}
	if b.jumping != "" {
		if b.jumping, err = filepath.Abs(b.jumping); err != nil {
			return fail(err)
		}
	}
	out, err := exec.CommandContext(ctx, b.binary, "version").Output() //nolint:gosec // the binary under test
	if err != nil {
		return fail(fmt.Errorf("ask %s for its version: %w", b.binary, err))
	}
	b.version, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	for _, s := range specs {
		if s.jumps() && b.jumping == "" {
			b.log("building belfry with a wall clock that jumps")
			if b.jumping, err = buildJumping(ctx, dir); err != nil {
				return fail(err)
			}
		}
	}
	return b, done, nil
}

func buildJumping(ctx context.Context, dir string) (string, error) {
	dir = filepath.Join(dir, wallClock)
	if err := os.Mkdir(dir, 0o750); err != nil {
		return "", err
	}
	tree, err := sourceTree(ctx)
	if err != nil {
		return "", err
	}
	overlay, err := tree.Overlay(mutant.WallClock(), dir)
	if err != nil {
		return "", err
	}
	return process.Build(ctx, dir, overlay)
}

// sourceTree finds the sources of this module and of Go.
func sourceTree(ctx context.Context) (mutant.Tree, error) {
	ask := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "go", args...).Output() //nolint:gosec // constants
		if err != nil {
			return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	module, err := ask("list", "-m", "-f", "{{.Dir}}", "example.com/belfry")
	if err != nil {
		return mutant.Tree{}, err
	}
	root, err := ask("env", "GOROOT")
	return mutant.Tree{Module: module, Go: root}, err
}

// all makes the runs and the index over them.
func (b *bench) all(ctx context.Context, specs []spec, o order, w io.Writer) error {
	begin := time.Now()
	x := report.Index{Seed: o.seed, Version: b.version}
	var skipped []string
	for i, s := range specs {
		if ctx.Err() != nil {
			break
		}
		if s.needsLossy() {
			if err := process.LossyDisks(); err != nil {
				b.log("%s is left out: %v", s.Name, err)
				skipped = append(skipped, s.Name)
				continue
			}
		}
		b.log("%s: seed %d, %d nodes, %s, %s", s.Name, s.Seed, s.Nodes, s.network(), strings.Join(s.Workloads, ","))
		dir := fmt.Sprintf("%02d-%s", i+1, s.Name)
		r, err := b.run(ctx, s, filepath.Join(o.out, dir))
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		x.Runs = append(x.Runs, r.Line(dir))
		x.Took = time.Since(begin)
		if err := report.WriteIndex(o.out, x); err != nil {
			return err
		}
		b.log("%s", sumUp(r))
	}
	_, _ = fmt.Fprintf(w, "\n%s, seed %d, in %s: %s\n", x.Headline(), o.seed, x.Took.Round(time.Second), filepath.Join(o.out, report.IndexHTMLFile))
	if len(skipped) > 0 {
		_, _ = fmt.Fprintf(w, "left out: %s\n", strings.Join(skipped, ", "))
	}
	return conclude(&x, ctx.Err())
}

// conclude is the error of a set of runs.
func conclude(x *report.Index, interrupted error) error {
	var why []string
	for _, l := range x.Runs {
		switch l.Verdict {
		case report.Failed:
			why = append(why, l.Name+" ("+strings.Join(l.Broken, ", ")+")")
		case report.Void:
			why = append(why, l.Name+" is void: "+l.Because)
		case report.Passed:
		}
	}
	switch x.Verdict() {
	case report.Failed:
		return fmt.Errorf("%w: %s", errFailed, strings.Join(why, "; "))
	case report.Void:
		if len(x.Runs) == 0 {
			why = append(why, "no run was made")
		}
		return errors.New(strings.Join(why, "; "))
	case report.Passed:
	}
	return interrupted
}

// sumUp is the line for a run, and one for each kind of violation.
func sumUp(r *report.Run) string {
	l := r.Line("")
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %d operations and %d events acknowledged, %d unknown, %d faults, %d things checked, in %s",
		r.Name, strings.ToUpper(string(r.Result())), l.Acked, l.Events, l.Unknown, l.Faults, l.Checked, r.Took.Round(time.Second))
	if r.VoidBecause != "" {
		fmt.Fprintf(&b, "\n  void: %s", r.VoidBecause)
	}
	for i := range r.Verdicts {
		v := &r.Verdicts[i]
		if v.Passed() {
			continue
		}
		fmt.Fprintf(&b, "\n  %s %s: %d violations", v.Invariant, v.Name, v.Total)
		for j := range v.Violations[:min(3, len(v.Violations))] {
			fmt.Fprintf(&b, "\n    %s %s", clock(v.Violations[j].At), v.Violations[j].What)
		}
	}
	for _, c := range r.Crashes {
		fmt.Fprintf(&b, "\n  %s ended unasked: %s", c.Node, c.Status)
	}
	if r.Result() != report.Passed {
		fmt.Fprintf(&b, "\n  again: %s", r.Again)
	}
	return b.String()
}
