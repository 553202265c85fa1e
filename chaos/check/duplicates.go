package check

import (
	"fmt"
	"time"

	"example.com/belfry/chaos/history"
)

// eventAt is one event at one destination.
type eventAt = letter

// duplicates looks at everything that was answered 2xx more than once. Each
// must be explained: by a fault, or by a receiver that answered in a way that
// need not have reached belfry.
func duplicates(h *History, o Options, v *Verdict) {
	twice := map[eventAt][]int32{}
	total := h.repeated(v, twice)
	var again, explained, hostile, renamed, rebatched int
	for e, as := range twice {
		name := fmt.Sprintf("event %s.%d", h.producers[e.producer].name, e.n)
		key := h.dests[e.dest].account + "/" + h.dests[e.dest].name
		for k := 1; k < len(as); k++ {
			again++
			before, a := &h.arrivals[as[k-1]], &h.arrivals[as[k]]
			underFault := h.faulty(before.call, a.call, int64(o.Settled), nil)
			alone := before.events == 1 && a.events == 1
			switch {
			case before.id == a.id:
			case !alone && underFault && o.AllowRebatched:
				rebatched++
			default:
				renamed++
				v.violate(Violation{What: fmt.Sprintf("%s was answered 2xx at %v and arrived again at %v under another webhook-id (%d and %d events in the requests)",
					name, time.Duration(before.ret), time.Duration(a.call), before.events, a.events), At: a.call, Key: key})
			}
			switch {
			case underFault:
				explained++
			case before.behaviour != "":
				hostile++
			case h.letters[e]:
				hostile++ // it was dead: the answer had not reached belfry
			default:
				v.violate(Violation{What: fmt.Sprintf("%s was answered 2xx at %v and arrived again at %v, attempts %d and %d, without a fault",
					name, time.Duration(before.ret), time.Duration(a.call), before.attempt, a.attempt), At: a.call, Key: key})
			}
		}
	}
	v.figure("deliveries", float64(total))
	v.figure("duplicates", float64(again))
	v.figure("explained", float64(explained))
	v.figure("hostile", float64(hostile))
	v.figure("renamed", float64(renamed))
	v.figure("rebatched", float64(rebatched))
	h.ratio(o, v, total, again-hostile)
	h.bodies(v)
}

func (h *History) ratio(o Options, v *Verdict, total, again int) {
	if total == 0 {
		return
	}
	share := float64(again) / float64(total)
	v.figure("ratio", share)
	// A handful says nothing about a share.
	if len(h.faults) > 0 && share > o.MaxDuplicates && again > 100 {
		v.note("%.3f %% of the deliveries are duplicates, more than the aim of %.3f %%", 100*share, 100*o.MaxDuplicates)
	}
}

// repeated collects what was answered 2xx more than once, and counts what was
// at all.
func (h *History) repeated(v *Verdict, twice map[eventAt][]int32) (total int) {
	for di := range h.dests {
		d := &h.dests[di]
		for p, cells := range d.cells {
			for n := range cells {
				if cells[n].ok == 0 {
					continue
				}
				total++
				if cells[n].ok > 1 {
					twice[eventAt{int32(di), p, int64(n)}] = nil
				}
			}
		}
	}
	v.Checked += total
	if len(twice) == 0 {
		return total
	}
	for i := range h.arrivals {
		a := &h.arrivals[i]
		if a.outcome != history.OK {
			continue
		}
		for _, r := range a.runs {
			for n := r.from; n < r.from+int64(r.n); n++ {
				e := eventAt{a.dest, r.producer, n}
				if as, ok := twice[e]; ok {
					twice[e] = append(as, int32(i))
				}
			}
		}
	}
	return total
}

// bodies looks whether a webhook-id always stands for the same events.
func (h *History) bodies(v *Verdict) {
	for di := range h.dests {
		d := &h.dests[di]
		seen := make(map[uint64]int32, len(d.arrivals))
		for _, i := range d.arrivals {
			a := &h.arrivals[i]
			j, ok := seen[a.id]
			if !ok {
				seen[a.id] = i
				continue
			}
			if !sameRuns(a.runs, h.arrivals[j].runs) && a.events > 0 && h.arrivals[j].events > 0 {
				v.violate(Violation{What: fmt.Sprintf("one webhook-id stands for different events: %d and %d of them", h.arrivals[j].events, a.events), At: a.call, Key: d.account + "/" + d.name})
			}
		}
	}
}

func sameRuns(a, b []run) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].producer != b[i].producer || a[i].from != b[i].from || a[i].n != b[i].n {
			return false
		}
	}
	return true
}
