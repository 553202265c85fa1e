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

// delivered has the events answered 2xx in each second of the run.
func (h *History) delivered() []float64 {
	per := make([]float64, h.end/second+1)
	for i := range h.arrivals {
		if a := &h.arrivals[i]; a.outcome == history.OK && a.ret >= 0 {
			per[min(a.ret/second, int64(len(per)-1))] += float64(a.events)
		}
	}
	return per
}

func progress(h *History, o Options, v *Verdict) {
	if len(h.faults) == 0 {
		return
	}
	changes, posts, per := h.changes(), h.posts(), h.delivered()
	quiet := h.quietRate(posts, per, o)
	v.figure("quiet_deliveries_per_second", quiet)
	for i := range h.faults {
		f := &h.faults[i]
		if f.in.Minority && !f.in.Planned {
			h.judgeProgress(v, f, changes, posts, per, quiet, o)
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

func (h *History) judgeProgress(v *Verdict, f *fault, changes, posts *acks, per []float64, quiet float64, o Options) {
	from, to, ok := h.window(f, o)
	if !ok {
		return
	}
	bad := func(format string, args ...any) {
		v.violate(Violation{What: fmt.Sprintf("under %s %s (%v): ", f.in.Name, f.in.Kind, f.in.Nodes) + fmt.Sprintf(format, args...), At: from, Key: f.key})
	}
	for t := from; t+second <= to; t += second {
		if between(changes.calls, t, t+second) == 0 {
			continue // nobody asked
		}
		v.Checked++
		if between(changes.rets, t, t+second) == 0 {
			bad("no change was acknowledged from %v to %v, %v after it began", time.Duration(t), time.Duration(t+second), time.Duration(t-f.begun).Round(time.Millisecond))
		}
	}
	if quiet < 1 || between(posts.calls, from, to) == 0 || to-from < 2*second {
		return
	}
	v.Checked++
	var sum, n float64
	for s := (from + second - 1) / second; (s+1)*second <= to; s++ {
		sum, n = sum+per[s], n+1
	}
	if n == 0 {
		return
	}
	share := sum / n / quiet
	if low, ok := v.Figures["least_delivery_share"]; !ok || share < low {
		v.figure("least_delivery_share", share)
	}
	if share < o.DeliveryShare {
		bad("%.0f deliveries/s, without faults it is %.0f/s", sum/n, quiet)
	}
}

// quietRate is the median of the deliveries per second of the seconds in which
// events were posted and no fault was or had just been.
func (h *History) quietRate(posts *acks, per []float64, o Options) float64 {
	if len(posts.calls) == 0 {
		return 0
	}
	first, last := posts.calls[0], posts.calls[len(posts.calls)-1]
	var quiet []float64
	for s := range int64(len(per)) {
		t := s * second
		if t < first+second || t+second > last || h.faulty(t, t+second, int64(o.Settled), nil) {
			continue
		}
		quiet = append(quiet, per[s])
	}
	return quantile(quiet, 0.5)
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
