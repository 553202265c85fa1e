package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/belfry/chaos/check"
	"example.com/belfry/chaos/fault"
	"example.com/belfry/chaos/history"
	"example.com/belfry/chaos/report"
)

// chronicle writes what the player of faults tells into the history "nemesis".
type chronicle struct {
	rec *history.Recorder
	log func(format string, args ...any)

	mu       sync.Mutex
	begun    int64 // of the step
	healing  int64 // when its undoing began
	healed   int64 // when it was undone; 0: not yet
	checked  int   // faults that were undone
	problems []check.Violation
}

// told is for fault.Play.
func (c *chronicle) told(r fault.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.rec.Now()
	switch r.Phase {
	case fault.Begin:
		c.begun, c.healed = now, 0
	case fault.Broken:
		for i := range r.Faults {
			f := &r.Faults[i]
			if f.Skipped != "" {
				c.log("  %s %s could not begin: %s", clock(c.begun), f.Name, f.Skipped)
				c.record(r.Step, f, history.FaultBegin, c.begun, now, history.Fail, f.Skipped, nil)
				continue
			}
			c.log("  %s %s: %s", clock(c.begun), f.Name, f.What)
			c.record(r.Step, f, history.FaultBegin, c.begun, now, history.OK, "", nil)
		}
	case fault.Healing:
		c.healing = now
	case fault.Healed:
		c.heal(r, now, history.OK)
	case fault.Converged:
		c.each(r, func(f *fault.Told) {
			// Under load the indices are apart by what is on its way, so they are not
			// given: each was at least what the leader had when it was asked.
			out := history.Convergence{}
			if f.Stopped != "" && len(f.Nodes) > 0 {
				out.Stopped = map[string]string{f.Nodes[0]: f.Stopped}
			}
			c.record(r.Step, f, history.FaultConverge, c.healed, now, history.OK, "", out)
		})
	case fault.Failed:
		c.log("  %s %s: %s", clock(now), named(r), firstLine(r.Error))
		if c.healed == 0 {
			c.problem(now, named(r), "it could not be undone: "+r.Error)
			c.heal(r, now, history.Fail)
			return
		}
		c.each(r, func(f *fault.Told) {
			c.record(r.Step, f, history.FaultConverge, c.healed, now, history.Fail, r.Error, history.Convergence{})
		})
	}
}

// each calls f for the faults that began.
func (*chronicle) each(r fault.Report, f func(*fault.Told)) {
	for i := range r.Faults {
		if r.Faults[i].Skipped == "" {
			f(&r.Faults[i])
		}
	}
}

// heal notes that the faults of a step are undone.
func (c *chronicle) heal(r fault.Report, now int64, outcome history.Outcome) {
	c.healed = now
	c.each(r, func(f *fault.Told) {
		c.checked++
		c.record(r.Step, f, history.FaultEnd, c.healing, now, outcome, r.Error, nil)
		if f.Note != "" {
			c.log("  %s %s: %s", clock(now), f.Name, f.Note)
		}
		if f.Problem != "" {
			c.log("  %s %s: %s", clock(now), f.Name, f.Problem)
			c.problem(now, f.Name, f.Problem)
		}
	})
}

func (c *chronicle) problem(at int64, name, what string) {
	c.problems = append(c.problems, check.Violation{What: what, At: at, Key: name})
}

func (c *chronicle) record(step int, f *fault.Told, kind string, call, ret int64, outcome history.Outcome, text string, out any) {
	c.write(strconv.Itoa(step)+"."+f.Name, history.Fault{
		Name: f.ID, Kind: strings.ReplaceAll(f.Name, "-", " "), Nodes: f.Nodes, Minority: f.Minority, Leader: f.Leader, Cuts: f.Cuts,
		Kills: f.Kills, Damages: f.Damages, Planned: f.Planned, Harmless: slices.Contains(harmless, f.Name),
	}, history.Op{Kind: kind, Call: call, Return: ret, Outcome: outcome, Error: text}, out)
}

func (c *chronicle) write(key string, f history.Fault, op history.Op, out any) {
	op.Process, op.Key, op.In = "nemesis", key, history.JSON(f)
	if out != nil {
		op.Out = history.JSON(out)
	}
	c.rec.Record(op)
}

// harmless are the nemeses that may end no leadership.
var harmless = []string{"replies-lost"}

// jumping notes that the wall clocks of all nodes jump from now on, and gives
// what notes the end of that.
func (c *chronicle) jumping() (end func()) {
	f := history.Fault{Name: "N13", Kind: "wall clocks jump", Harmless: true}
	note := func(kind string) {
		now := c.rec.Now()
		c.write("clock", f, history.Op{Kind: kind, Call: now, Return: now, Outcome: history.OK}, nil)
	}
	note(history.FaultBegin)
	return func() { note(history.FaultEnd) }
}

// verdict is what the nemeses themselves saw go wrong: a node that does not
// stop when it is asked to, or does not say why it will not run.
func (c *chronicle) verdict() check.Verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	return check.Verdict{Name: report.Orderly, Invariant: "I13", Checked: c.checked, Violations: c.problems, Total: len(c.problems)}
}

func named(r fault.Report) string {
	var names []string
	for i := range r.Faults {
		names = append(names, r.Faults[i].Name)
	}
	return strings.Join(names, "+")
}

func clock(ns int64) string { return fmt.Sprintf("%5.1fs", float64(ns)/float64(time.Second)) }
