package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/belfry/chaos/check"
	"example.com/belfry/chaos/fault"
	"example.com/belfry/chaos/history"
	"example.com/belfry/chaos/process"
	"example.com/belfry/chaos/report"
	"example.com/belfry/chaos/workload"
)

const (
	// adminKey is the first key of the clusters under test.
	adminKey = "chaos-admin-key-0123456789abcdef"

	historyDir = "history"
	nodesDir   = "nodes"

	// How long the steps beside the faults may take. They are far above what is
	// usual: checkers judge how long it took.
	stepWithin   = time.Minute // opening, setting up, finishing, draining, reading: each
	brokenWithin = 5 * time.Second
	// warmUp is the time under load before the first fault.
	warmUp = 3 * time.Second
	// gaveUp is how a node ends that waited in vain, for a leader for example; one
	// that panics ends otherwise.
	gaveUp = "exit status 1"
)

// bench makes runs.
type bench struct {
	binary  string // of belfry
	version string
	jumping string // the binary whose wall clock jumps; empty: not built
	log     func(format string, args ...any)
}

// once is one run under way.
type once struct {
	spec
	b   *bench
	dir string

	clock    history.Clock
	rep      *report.Run
	cluster  *process.Cluster
	chron    *chronicle
	final    *workload.Final
	loads    []workload.Workload
	broken   bool  // the cluster did not become whole: there is not much to wait for
	problems error // of the suite: they make the run void
}

// run makes one run in dir, which it creates, and writes its report there. An
// error says that there is no report.
func (b *bench) run(ctx context.Context, s spec, dir string) (*report.Run, error) {
	for _, d := range []string{dir, filepath.Join(dir, historyDir), filepath.Join(dir, nodesDir)} {
		if err := os.Mkdir(d, 0o750); err != nil {
			return nil, err
		}
	}
	o := &once{spec: s, b: b, dir: dir, clock: history.NewClock(), rep: &report.Run{
		Name: s.Name, Version: b.version, Seed: s.Seed, Nodes: s.Nodes, Network: s.network(), Workloads: s.Workloads, Nemeses: s.Nemeses, Again: s.again(), Untimed: s.Untimed, Begin: time.Now().UTC(),
	}}
	o.problems = errors.Join(o.live(ctx), o.close())
	o.rep.Took = time.Duration(o.clock.Now())
	if o.problems == nil && ctx.Err() != nil {
		o.problems = errors.New("it was interrupted")
	}
	return o.rep, o.judge(ctx)
}

// live runs the cluster from its start to the last read. Its error is one of
// the suite.
func (o *once) live(ctx context.Context) error {
	if err := o.open(ctx); err != nil {
		return err
	}
	if err := o.setUp(ctx); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	end := func() {}
	if o.jumps() {
		end = o.chron.jumping()
	}
	err := o.play(ctx)
	end()
	if err != nil {
		return err
	}
	return o.finish(ctx)
}

// open starts the cluster.
func (o *once) open(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(o.Seed, 0x6b6e6f62)) //nolint:gosec // settings
	po := process.Options{
		Binary: o.b.binary, Dir: filepath.Join(o.dir, nodesDir), Nodes: o.Nodes, AdminKey: adminKey, Knobs: process.RandomKnobs(rng),
		Lossy: o.needsLossy(), Namespaces: o.Namespaces, Seed: o.Seed,
	}
	if o.jumps() {
		po.Binary = o.b.jumping
	}
	o.rep.Options = po.Knobs.Flags()
	rec, err := history.Create(o.history(), "nemesis", o.clock)
	if err != nil {
		return err
	}
	o.chron = &chronicle{rec: rec, log: o.b.log}
	ctx, cancel := context.WithTimeout(ctx, o.patience())
	defer cancel()
	if o.cluster, err = process.Open(ctx, po); err != nil {
		return fmt.Errorf("start the cluster: %w", err)
	}
	return nil
}

// patience is how long a step may take.
func (o *once) patience() time.Duration {
	if o.Untimed {
		return 3 * stepWithin
	}
	return stepWithin
}

func (o *once) history() string { return filepath.Join(o.dir, historyDir) }

// Nodes gives the nodes as clients reach them.
func (o target) Nodes() []workload.Node {
	var out []workload.Node
	for _, n := range o.c.Nodes() {
		out = append(out, workload.Node{ID: n.ID(), URL: n.URL()})
	}
	return out
}

type target struct{ c *process.Cluster }

// setUp makes the workloads and what they begin with.
func (o *once) setUp(ctx context.Context) error {
	wo := workload.Options{
		Target: target{o.cluster}, AdminKey: adminKey, Dir: o.history(), Clock: o.clock, Host: o.cluster.Host(), Seed: o.Seed, Rate: o.Rate, Ingest: o.Ingest,
	}
	ctx, cancel := context.WithTimeout(ctx, o.patience())
	defer cancel()
	var err error
	if o.final, err = workload.NewFinal(wo); err != nil {
		return err
	}
	o.final.Begin(ctx)
	for _, name := range o.Workloads {
		w, err := workload.New(name, wo)
		if err != nil {
			return err
		}
		o.loads = append(o.loads, w)
		if err := w.SetUp(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// play has the workloads run while the faults are played.
func (o *once) play(ctx context.Context) error {
	schedule, err := o.schedule(o.cluster.Lossy())
	if err != nil {
		return err
	}
	o.rep.Schedule = schedule.String()
	run, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(o.loads))
	var wg sync.WaitGroup
	for i, w := range o.loads {
		wg.Go(func() {
			if err := w.Run(run); err != nil && !errors.Is(err, context.Canceled) {
				errs[i] = fmt.Errorf("workload %s: %w", w.Name(), err)
			}
		})
	}
	wait(ctx, warmUp)
	// That the cluster does not become whole, or that something cannot be undone,
	// is in the history and in the chronicle's verdict.
	if err := fault.Play(ctx, schedule, o.cluster, o.chron.told); err != nil {
		o.b.log("  %s", firstLine(err.Error()))
		o.broken = true
	}
	stop()
	wg.Wait()
	return errors.Join(errs...)
}

// finish waits until what is owed has been delivered, and reads what is there.
func (o *once) finish(ctx context.Context) error {
	within := func(d time.Duration, f func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		return f(ctx)
	}
	last := o.patience()
	if o.broken {
		last = brokenWithin
	}
	for _, w := range o.loads {
		if err := within(last, w.Finish); err != nil {
			o.b.log("  %s: %v", w.Name(), err) // the checkers see it
		}
	}
	if err := within(last, o.final.Drain); err != nil {
		o.b.log("  %v", err) // the checkers see it
	}
	return within(o.patience(), func(ctx context.Context) error {
		o.final.Read(ctx, o.loads...)
		return nil
	})
}

// close ends everything; what cannot be closed makes the run void.
func (o *once) close() error {
	var errs []error
	for _, w := range o.loads {
		errs = append(errs, w.Close())
	}
	if o.final != nil {
		errs = append(errs, o.final.Close())
	}
	if o.chron != nil {
		errs = append(errs, o.chron.rec.Close())
	}
	if o.cluster != nil {
		for _, c := range o.cluster.Crashes() {
			at := int64(c.At.Sub(o.rep.Begin))
			o.b.log("  %s %s ended unasked: %s", clock(at), c.Node, c.Status)
			if o.Untimed && c.Status == gaveUp {
				continue
			}
			o.rep.Crashes = append(o.rep.Crashes, report.Crash{Node: c.Node, At: at, Status: c.Status, Output: c.Output})
		}
		errs = append(errs, o.cluster.Close())
	}
	return errors.Join(errs...)
}

// judge has the history checked and writes the report.
func (o *once) judge(ctx context.Context) error {
	if o.problems != nil {
		o.rep.VoidBecause = o.problems.Error()
	}
	var own []check.Verdict
	if o.chron != nil {
		own = append(own, o.chron.verdict())
	}
	judge(ctx, o.rep, o.dir, own)
	if o.rep.Result() == report.Passed {
		if err := sweep(filepath.Join(o.dir, nodesDir)); err != nil {
			return err
		}
	}
	o.rep.Files = artifacts(o.dir)
	return o.rep.Write(o.dir)
}

// judge fills in what the history in dir comes to and what the checkers say of
// it, beside the verdicts that come from elsewhere.
func judge(ctx context.Context, r *report.Run, dir string, own []check.Verdict) {
	dir = filepath.Join(dir, historyDir)
	ops, err := history.Read(dir)
	if err == nil {
		r.Summary = report.Summarize(ops)
		r.Verdicts, err = check.Run(ctx, dir, check.Options{})
	}
	if err != nil {
		r.VoidBecause = strings.TrimPrefix(r.VoidBecause+"; "+err.Error(), "; ")
	}
	r.Verdicts = append(r.Verdicts, own...)
	if r.Untimed {
		check.Untimed(r.Verdicts)
	}
}

// sweep removes the data of the nodes and leaves their logs.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// artifacts are the histories and logs, relative to dir.
func artifacts(dir string) []string {
	var out []string
	for _, pattern := range []string{filepath.Join(historyDir, "*.jsonl"), filepath.Join(nodesDir, "*.log")} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern)) // the patterns are good
		for _, f := range found {
			if rel, err := filepath.Rel(dir, f); err == nil {
				out = append(out, filepath.ToSlash(rel))
			}
		}
	}
	slices.Sort(out)
	return out
}

// firstLine is the first line of an error; the rest of one is the log of a node,
// which is a file beside the report.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// wait waits for d or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
