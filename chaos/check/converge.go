package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/belfry/chaos/history"
)

func convergence(h *History, o Options, v *Verdict) {
	var took []time.Duration
	for i := range h.faults {
		f := &h.faults[i]
		c := f.converge
		if c == nil {
			if f.ended {
				v.Unknown++
			}
			continue
		}
		v.Checked++
		t := time.Duration(c.ret - c.call)
		bad := func(format string, args ...any) {
			v.violate(Violation{What: fmt.Sprintf("after %s %s (%v): ", f.in.Name, f.in.Kind, f.in.Nodes) + fmt.Sprintf(format, args...), At: c.ret, Key: f.key})
		}
		if c.outcome != history.OK {
			bad("the nodes did not converge within %v", t.Round(time.Millisecond))
			continue
		}
		took = append(took, t)
		if t > o.Converge {
			bad("the nodes took %v to converge", t.Round(time.Millisecond))
		}
		indices := slices.Sorted(maps.Values(c.out.Applied))
		if n := len(indices); n > 0 && indices[0] != indices[n-1] {
			bad("the nodes are at different indices: %v", c.out.Applied)
		}
	}
	v.figure("converge_p50_s", quantile(took, 0.5).Seconds())
	v.figure("converge_p99_s", quantile(took, 0.99).Seconds())
	v.figure("converge_max_s", quantile(took, 1).Seconds())
	h.backlog(v)
	h.elections(v)
	h.oneLeader(v)
}

// stuckAfter is how long a backlog may stay as it is: far longer than the waits
// of the policies that the workloads use, for they leave nothing behind that
// waits for anything else.
const stuckAfter = 30 * time.Second

// backlog looks at what was owed while the run waited for its end: it must
// fall, and what is left of it must not stay.
func (h *History) backlog(v *Verdict) {
	type look struct{ owed, at int64 }
	var looks []look
	for i := range h.finals {
		op := &h.finals[i]
		var b history.Backlog
		if op.Kind == history.Drain && op.Outcome == history.OK && decode(op.Out, &b) == nil {
			looks = append(looks, look{b.Pending - b.Held, op.Return})
		}
	}
	if len(looks) == 0 {
		return
	}
	first, end := looks[0], looks[len(looks)-1]
	v.figure("backlog_first", float64(first.owed))
	v.figure("backlog_last", float64(end.owed))
	v.Checked++
	if end.owed == 0 {
		return
	}
	since := end.at
	for _, l := range slices.Backward(looks) {
		if l.owed != end.owed {
			break
		}
		since = l.at
	}
	switch stays := time.Duration(end.at - since); {
	case stays >= stuckAfter:
		v.violate(Violation{What: fmt.Sprintf("the backlog stays: %d deliveries are owed, and nothing of it was delivered for %v", end.owed, stays.Round(time.Millisecond)), At: end.at})
	case len(looks) > 1 && end.owed >= first.owed:
		v.violate(Violation{What: fmt.Sprintf("the backlog does not fall: %d deliveries were owed at first and %d after %d looks", first.owed, end.owed, len(looks)), At: end.at})
	default:
		v.note("%d deliveries are still owed, of %d at first", end.owed, first.owed)
	}
}

// elections compares the terms at the end with those at the beginning: without
// a fault there is no election.
func (h *History) elections(v *Verdict) {
	terms := map[string]map[string]float64{"begin": {}, "end": {}}
	for i := range h.finals {
		op := &h.finals[i]
		var m history.Metrics
		if op.Kind != history.FinalMetrics || op.Outcome != history.OK || terms[op.Key] == nil || decode(op.Out, &m) != nil {
			continue
		}
		for name, x := range m {
			if strings.HasPrefix(name, "belfry_raft_term") {
				terms[op.Key][name] = max(terms[op.Key][name], x)
			}
		}
	}
	calm := !slices.ContainsFunc(h.faults, func(f fault) bool { return !f.in.Harmless })
	var sum float64
	for name, end := range terms["end"] {
		begin, ok := terms["begin"][name]
		if !ok {
			continue
		}
		sum += end - begin
		if !calm {
			continue
		}
		v.Checked++
		if end > begin {
			v.violate(Violation{What: fmt.Sprintf("%.0f elections without a fault: %s", end-begin, name), At: h.end})
		}
	}
	v.figure("elections", sum)
}

// oneLeader looks whether the nodes name the same leader and members at the
// end.
func (h *History) oneLeader(v *Verdict) {
	var first, firstNode string
	for i := range h.finals {
		op := &h.finals[i]
		var ms []history.Member
		if op.Kind != history.FinalNodes || op.Outcome != history.OK || decode(op.Out, &ms) != nil {
			continue
		}
		v.Checked++
		var leaders, all []string
		for _, m := range ms {
			all = append(all, m.ID)
			if m.Role == "LEADER" {
				leaders = append(leaders, m.ID)
			}
			if !m.Live {
				v.violate(Violation{What: fmt.Sprintf("%s says that %s is not live", op.Node, m.ID), At: op.Return, Node: m.ID})
			}
		}
		slices.Sort(all)
		if len(leaders) != 1 {
			v.violate(Violation{What: fmt.Sprintf("%s names %d leaders: %v", op.Node, len(leaders), leaders), At: op.Return, Node: op.Node})
		}
		said := fmt.Sprint(leaders, all)
		if first == "" {
			first, firstNode = said, op.Node
		} else if said != first {
			v.violate(Violation{What: fmt.Sprintf("%s and %s name different leaders or members: %s and %s", firstNode, op.Node, first, said), At: op.Return, Node: op.Node})
		}
	}
}

// corruption looks at the nodes whose files were damaged: each must be at the
// index of the others again, or have stopped and said why.
func corruption(h *History, _ Options, v *Verdict) {
	for i := range h.faults {
		f := &h.faults[i]
		if !f.in.Damages {
			continue
		}
		v.Checked++
		bad := func(node, format string, args ...any) {
			v.violate(Violation{What: fmt.Sprintf("after %s %s: ", f.in.Name, f.in.Kind) + fmt.Sprintf(format, args...), At: f.end, Node: node, Key: f.key})
		}
		c := f.converge
		if c == nil {
			v.Unknown++
			continue
		}
		for _, node := range f.in.Nodes {
			why, stopped := c.out.Stopped[node]
			_, applied := c.out.Applied[node]
			switch {
			case stopped && strings.TrimSpace(why) == "":
				bad(node, "%s stopped without a word", node)
			case !stopped && !applied && len(c.out.Applied) > 0:
				bad(node, "%s neither runs nor says why not", node)
			case !stopped && c.outcome != history.OK:
				bad(node, "%s did not come back to the index of the others, nor did it stop", node)
			}
		}
	}
}
