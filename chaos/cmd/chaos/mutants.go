package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/belfry/chaos/mutant"
	"example.com/belfry/chaos/process"
	"example.com/belfry/chaos/report"
)

// mutantsCommand has every mutant hunted by its cheapest killer, or with -real
// by its run of real processes.
func mutantsCommand(ctx context.Context, args []string, w io.Writer) error {
	f := flags("mutants")
	only := f.String("only", "", "names with commas; empty: all")
	realOnly := f.Bool("real", false, "by runs of real processes in place of what is cheaper; mutants without one are left out")
	out := f.String("out", "", "directory for what the checks say, which is kept; empty: a temporary one")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	ms := mutant.All()
	if *only != "" {
		ms = nil
		for _, name := range names(*only) {
			m, ok := mutant.Find(name)
			if !ok {
				return fmt.Errorf("%w: there is no mutant %q; see chaos list", errUsage, name)
			}
			ms = append(ms, m)
		}
	}
	dir, done, err := hunting(*out)
	if err != nil {
		return err
	}
	tree, err := sourceTree(ctx)
	if err != nil {
		return err
	}
	h := &mutant.Hunter{Tree: tree, Dir: dir, Chaos: chaosHunt}
	alive := hunt(ctx, h, ms, *realOnly, w)
	if alive == nil {
		done()
		return ctx.Err()
	}
	_, _ = fmt.Fprintf(w, "what the checks said is in %s\n", dir)
	return alive
}

// hunting makes the directory of a hunt.
func hunting(out string) (dir string, done func(), err error) {
	if out == "" {
		dir, err = os.MkdirTemp("", "belfry-mutants-")
		return dir, func() { _ = os.RemoveAll(dir) }, err
	}
	if dir, err = filepath.Abs(out); err != nil {
		return "", nil, err
	}
	return dir, func() {}, os.MkdirAll(dir, 0o750)
}

func hunt(ctx context.Context, h *mutant.Hunter, ms []mutant.Mutant, realOnly bool, w io.Writer) error {
	var alive, void []string
	killed := 0
	begin := time.Now()
	for _, m := range ms {
		killers := m.Killers[:1]
		if realOnly {
			killers = slices.DeleteFunc(slices.Clone(m.Killers), func(k mutant.Killer) bool { return k.Run == nil })
		}
		for _, k := range killers {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			got := h.Hunt(ctx, m, k)
			state := "killed"
			switch {
			case errors.Is(got.Err, mutant.ErrSurvived):
				state = "SURVIVED"
				alive = append(alive, m.Name)
			case got.Err != nil:
				state = "VOID"
				void = append(void, m.Name)
			default:
				killed++
			}
			_, _ = fmt.Fprintf(w, "%-24s %-8s %5.0f s  %s\n", m.Name, state, got.Took.Seconds(), k)
			if got.Err != nil {
				_, _ = fmt.Fprintf(w, "  %s\n  %v\n", m.Bug, got.Err)
			}
		}
	}
	_, _ = fmt.Fprintf(w, "\n%d killed, %d survived, %d void, in %s\n", killed, len(alive), len(void), time.Since(begin).Round(time.Second))
	switch {
	case len(alive) > 0:
		return fmt.Errorf("%w: %s", errAlive, strings.Join(alive, ", "))
	case len(void) > 0:
		return fmt.Errorf("nothing is known of %s", strings.Join(void, ", "))
	}
	return nil
}

// chaosHunt makes a run with a mutant.
func chaosHunt(ctx context.Context, overlay, dir string, r mutant.Run) (string, error) {
	binary, err := process.Build(ctx, dir, overlay)
	if err != nil {
		return "", err
	}
	s := spec{
		Name: "run", Nodes: r.Nodes, Nemeses: r.Nemeses, Workloads: r.Workloads, Faults: r.Duration,
		Longest: quickLongest, Seed: 1, Rate: r.Rate,
	}
	if s.needsLossy() {
		if err := process.LossyDisks(); err != nil {
			return "", err
		}
	}
	b := &bench{binary: binary, version: "mutant", log: func(string, ...any) {}}
	runDir := filepath.Join(dir, "run")
	if err := os.RemoveAll(runDir); err != nil {
		return "", err
	}
	rep, err := b.run(ctx, s, runDir)
	if err != nil {
		return "", err
	}
	if rep.Result() == report.Void {
		return "", errors.New(rep.VoidBecause)
	}
	return found(rep), nil
}

// found has a line for every violated checker and for every crash.
func found(r *report.Run) string {
	var b strings.Builder
	for i := range r.Verdicts {
		if v := &r.Verdicts[i]; !v.Passed() {
			fmt.Fprintf(&b, "%s: %d violations\n", v.Name, v.Total)
			for _, x := range v.Violations[:min(5, len(v.Violations))] {
				fmt.Fprintf(&b, "  %s\n", x.What)
			}
		}
	}
	for _, c := range r.Crashes {
		fmt.Fprintf(&b, "crashed: %s: %s\n", c.Node, c.Status)
	}
	return b.String()
}
