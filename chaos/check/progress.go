package check

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"example.com/belfry/chaos/history"
)

const second = int64(time.Second)

// acks are the times of one kind of request.
type acks struct {
	name  string
	calls []int64 // sorted
	acked []ack   // in order of ret
	rets  []int64 // of acked
}

type ack struct{ call, ret int64 }

func (x *acks) add(call, ret int64, ok bool) {
	x.calls = append(x.calls, call)
	if ok {
		x.acked = append(x.acked, ack{call, ret})
	}
}

func (x *acks) sort() {
	slices.Sort(x.calls)
	slices.SortFunc(x.acked, func(a, b ack) int { return int(max(-1, min(1, a.ret-b.ret))) })
	for _, a := range x.acked {
		x.rets = append(x.rets, a.ret)
	}
}

// between is how many of the sorted ts are in [from, to).
func between(ts []int64, from, to int64) int {
	return sort.Search(len(ts), func(i int) bool { return ts[i] >= to }) - sort.Search(len(ts), func(i int) bool { return ts[i] >= from })
}

// changes and posts are what progress is measured by.
func (h *History) changes() *acks {
	x := &acks{name: "config"}
	for i := range h.config {
		if op := &h.config[i]; op.verb != "get" && op.verb != "use" {
			x.add(op.Call, op.Return, op.Outcome == history.OK)
		}
	}
	x.sort()
	return x
}

func (h *History) posts() *acks {
	x := &acks{name: "events"}
	for p := range h.producers {
		for i := range h.producers[p].batches {
			for _, t := range h.producers[p].batches[i].tries {
				x.add(t.call, t.ret, t.outcome == history.OK)
			}
		}
	}
	x.sort()
	return x
}

func progress(h *History, o Options, v *Verdict) {
	if len(h.faults) == 0 {
		return
	}
	changes, posts := h.changes(), h.posts()
	p := h.pace(posts, o)
	v.figure("quiet_deliveries_per_second", p.deliveries)
	for i := range h.faults {
		f := &h.faults[i]
		if !f.in.Minority || f.in.Planned {
			continue
		}
		if from, to, ok := h.window(f, o); ok {
			h.judgeChanges(v, f, changes, from, to)
			h.judgeEvents(v, f, p, from, to, o)
		}
	}
	for _, x := range []*acks{changes, posts} {
		h.unavailable(v, x)
		h.failovers(v, x)
	}
}

// lostReplies keeps answers from clients, which then wait for them and ask for
// less.
const lostReplies = "N19"

// window is the time under f in which progress is owed. Another fault that is
// not of a minority suspends that.
func (h *History) window(f *fault, o Options) (from, to int64, ok bool) {
	from, to = f.begun+int64(o.Failover), min(f.end, h.end)
	for i := range h.faults {
		g := &h.faults[i]
		if g != f && (!g.in.Harmless || g.in.Name == lostReplies) && g.begin < to && g.healed > f.begin {
			if !g.in.Minority {
				return 0, 0, false
			}
			// The failover of a fault that began within this one, or was
			// being healed when it began.
			if g.begin >= f.begin && g.begun+int64(o.Failover) > from {
				from = g.begun + int64(o.Failover)
			}
		}
	}
	return from, to, from+second <= to
}

// stalled is a violation under f in a time that begins at from.
func stalled(v *Verdict, f *fault, from int64, format string, args ...any) {
	v.violate(Violation{What: fmt.Sprintf("under %s %s (%v): ", f.in.Name, f.in.Kind, f.in.Nodes) + fmt.Sprintf(format, args...), At: from, Key: f.key})
}

func (h *History) judgeChanges(v *Verdict, f *fault, changes *acks, from, to int64) {
	for t := from; t+second <= to; t += second {
		if between(changes.calls, t, t+second) == 0 {
			continue // nobody asked
		}
		v.Checked++
		if between(changes.rets, t, t+second) == 0 {
			stalled(v, f, from, "no change was acknowledged from %v to %v, %v after it began", time.Duration(t), time.Duration(t+second), time.Duration(t-f.begun).Round(time.Millisecond))
		}
	}
}

// judgeEvents asks whether those who post at other nodes than the victims are
// served, and receivers get what is there to get.
func (h *History) judgeEvents(v *Verdict, f *fault, p *pace, from, to int64, o Options) {
	if to-from < 2*second {
		return
	}
	if acked, usual, ok := p.postShare(from, to, h.victims(from, to)); ok {
		v.Checked++
		v.least("post_share", f, acked/usual)
		if acked/usual < o.EventShare {
			s := float64(to-from) / float64(second)
			stalled(v, f, from, "%.1f posts/s were acknowledged at the other nodes, without faults it is %.1f/s", acked/s, usual/s)
		}
	}
	if p.deliveries < 1 {
		return
	}
	if share, ok := p.deliveryShare(from, to); ok {
		v.Checked++
		v.least("delivery_share", f, share)
		if share < o.EventShare {
			stalled(v, f, from, "receivers got %.0f %% of what they are owed and of the %.0f deliveries/s of a time without faults", 100*share, p.deliveries)
		}
	}
}

// victims are the nodes that are hit at some time in [from, to).
func (h *History) victims(from, to int64) map[string]bool {
	hit := map[string]bool{}
	for i := range h.faults {
		if f := &h.faults[i]; f.begin < to && f.healed > from {
			for _, n := range f.in.Nodes {
				hit[n] = true
			}
		}
	}
	return hit
}

// least notes a share under a kind of fault, and under all, if it is the least
// so far.
func (v *Verdict) least(name string, f *fault, share float64) {
	for _, name := range []string{"least_" + name, name + "_" + slug(f.in.Kind)} {
		if low, ok := v.Figures[name]; !ok || share < low {
			v.figure(name, share)
		}
	}
}

// unavailable notes, for each kind of fault, the longest time in which requests
// were made and none was acknowledged.
func (h *History) unavailable(v *Verdict, x *acks) {
	for i := range h.faults {
		f := &h.faults[i]
		to := min(f.healed, h.end)
		last, longest := f.begin, int64(0)
		k := sort.Search(len(x.rets), func(k int) bool { return x.rets[k] >= f.begin })
		for ; k < len(x.rets) && last < to; k++ {
			if between(x.calls, last, x.rets[k]) > 0 {
				longest = max(longest, x.rets[k]-last)
			}
			last = x.rets[k]
		}
		if last < to && k >= len(x.rets) && between(x.calls, last, to) > 0 {
			longest = max(longest, to-last)
		}
		name := "unavailable_" + x.name + "_" + slug(f.in.Kind) + "_s"
		v.figure(name, max(v.Figures[name], float64(longest)/1e9))
	}
}

// failovers notes how long it took, after a leader was hit, until a request
// that was made after that was acknowledged.
func (h *History) failovers(v *Verdict, x *acks) {
	times := map[string][]float64{}
	for i := range h.faults {
		f := &h.faults[i]
		if !f.in.Leader || f.begun == math.MaxInt64 {
			continue
		}
		k := sort.Search(len(x.rets), func(k int) bool { return x.rets[k] > f.begun })
		for ; k < len(x.acked); k++ {
			if x.acked[k].call >= f.begun {
				kind := slug(f.in.Kind)
				times[kind] = append(times[kind], float64(x.acked[k].ret-f.begun)/1e9)
				break
			}
		}
	}
	for kind, ts := range times {
		v.figure("failover_"+x.name+"_"+kind+"_p50_s", quantile(ts, 0.5))
		v.figure("failover_"+x.name+"_"+kind+"_p99_s", quantile(ts, 0.99))
		v.figure("failover_"+x.name+"_"+kind+"_n", float64(len(ts)))
	}
}

func slug(s string) string { return strings.ReplaceAll(fileName(s), "-", "_") }
