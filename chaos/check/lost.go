package check

import (
	"fmt"
	"math"
	"slices"

	"example.com/belfry/chaos/history"
)

// owed is one acknowledged batch and a destination that it surely matched.
type owed struct {
	p     int32
	b     *batch
	dest  int32
	lines []*timeline // subscriptions that make it so
}

// obligations calls f for every acknowledged batch and destination that it
// surely matched.
func (h *History) obligations(m *matcher, f func(owed)) {
	for p := range h.producers {
		for i := range h.producers[p].batches {
			b := &h.producers[p].batches[i]
			if !b.acked {
				continue
			}
			var os []owed
			for _, tl := range m.timelines(b.topic) {
				s := h.at(tl, b.start, b.done, b.nodes)
				if !fits(s, b.topic) {
					continue
				}
				d, ok := h.destOf[destKey{b.account, s.Profile}]
				if !ok || h.dests[d].gone < b.done {
					continue // a profile that nobody made, or that a 410 has disabled
				}
				if k := slices.IndexFunc(os, func(o owed) bool { return o.dest == d }); k >= 0 {
					os[k].lines = append(os[k].lines, tl)
				} else {
					os = append(os, owed{int32(p), b, d, []*timeline{tl}})
				}
			}
			for _, o := range os {
				f(o)
			}
		}
	}
}

// pending is what the cluster still owed when the run ended, by the last look
// at the backlog, without what is held for destinations that asked to wait; ok
// is false when nobody looked.
func (h *History) pending(held int64) (n int64, ok bool) {
	for _, op := range h.finals {
		var b history.Backlog
		if op.Kind == history.Drain && op.Outcome == history.OK && decode(op.Out, &b) == nil {
			n, ok = b.Pending-max(b.Held, held), true
		}
	}
	return max(0, n), ok
}

// missing is an obligation that nothing is known of.
type missing struct {
	o owed
	n int64
}

func lost(h *History, _ Options, v *Verdict) {
	m := h.matcher()
	var gaps []missing
	var cancelled, held, unlisted, dead int
	h.obligations(m, func(o owed) {
		d := &h.dests[o.dest]
		v.Checked += int(o.b.n)
		gone := slices.ContainsFunc(o.lines, func(tl *timeline) bool { return h.cancelled(tl, d, o.b.start) })
		for n := o.b.from; n < o.b.from+int64(o.b.n); n++ {
			switch {
			case d.cell(o.p, n).ok > 0:
			case h.letters[letter{o.dest, o.p, n}]:
				dead++
			case gone:
				cancelled++
			case h.holds(d):
				held++
			case !h.deadKnown[d.account]:
				unlisted++
			default:
				gaps = append(gaps, missing{o, n})
			}
		}
	})
	v.Unknown += unlisted
	if unlisted > 0 {
		v.note("%d deliveries did not arrive and the dead letters of their account are not known", unlisted)
	}
	v.figure("cancelled", float64(cancelled))
	v.figure("held", float64(held))
	v.figure("dead", float64(dead))
	h.reportLost(v, gaps, held)
	h.receipts(m, v)
}

// holds reports whether deliveries to d wait without an end that a run sees:
// it answered 410, which disables its profile, or never anything but to come
// later.
func (h *History) holds(d *dest) bool {
	if d.gone < math.MaxInt64 {
		return true
	}
	for _, i := range d.arrivals {
		if s := h.arrivals[i].status; s != 429 && s != 503 {
			return false
		}
	}
	return len(d.arrivals) > 0
}

// reportLost says what did not arrive. What the cluster says it still owes,
// beside what is held, is not lost.
func (h *History) reportLost(v *Verdict, gaps []missing, held int) {
	v.figure("missing", float64(len(gaps)))
	if n, looked := h.pending(int64(held)); looked && n > 0 && len(gaps) > 0 {
		if int64(len(gaps)) <= n {
			v.Unknown += len(gaps)
			v.note("%d deliveries did not arrive, and the cluster still owed %d: the run was not drained", len(gaps), n)
			return
		}
		v.note("the cluster still owed %d deliveries", n)
	}
	type span struct{ first, last int64 }
	spans := map[int32]span{}
	for _, g := range gaps {
		d := &h.dests[g.o.dest]
		if _, ok := spans[g.o.dest]; !ok {
			s := span{math.MaxInt64, math.MinInt64}
			for _, i := range d.arrivals {
				if a := &h.arrivals[i]; a.outcome == history.OK {
					s.first, s.last = min(s.first, a.call), max(s.last, a.call)
				}
			}
			spans[g.o.dest] = s
		}
		s, where := spans[g.o.dest], "middle"
		switch {
		case s.first == math.MaxInt64:
			where = "all"
		case g.o.b.done <= s.first:
			where = "prefix"
		case g.o.b.start >= s.last:
			where = "suffix"
		}
		node := g.o.b.nodes[0]
		v.figure("lost_"+where, v.Figures["lost_"+where]+1)
		v.figure("lost_at_"+node, v.Figures["lost_at_"+node]+1)
		v.violate(Violation{
			What: fmt.Sprintf("event %s.%d was acknowledged and is neither at %s nor a dead letter there (%d failed arrivals; %s)",
				h.producers[g.o.p].name, g.n, d.name, d.cell(g.o.p, g.n).other, where),
			At: g.o.b.done, Node: node, Key: d.account + "/" + d.name,
		})
	}
}

// receipts compares the number of deliveries in receipts with what surely
// matched: fewer means that the event was matched against an old config.
func (h *History) receipts(m *matcher, v *Verdict) {
	count := map[*batch]int32{}
	h.obligations(m, func(o owed) { count[o.b]++ })
	for p := range h.producers {
		for i := range h.producers[p].batches {
			b := &h.producers[p].batches[i]
			if !b.acked || b.deliveries < 0 {
				continue
			}
			if want := count[b]; b.deliveries < want {
				v.violate(Violation{
					What: fmt.Sprintf("events %s.%d to %d were acknowledged with %d deliveries; %d destinations matched",
						h.producers[p].name, b.from, b.from+int64(b.n)-1, b.deliveries, want),
					At: b.done, Node: b.nodes[0],
				})
			}
		}
	}
}
