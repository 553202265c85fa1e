package check

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"example.com/belfry/chaos/history"
)

// register is one profile, whose value is its URL: each write has another. What
// it judges is necessary for linearizability and takes no search.
type register struct {
	key     string
	reads   []*configOp
	writers map[string][]*configOp // that may have written the value
	creates []*configOp            // that may have happened
	deletes []*configOp            // that may have happened
	// over has the acknowledged writes and deletes in order of Call; soonest[i]
	// is the earliest Return of over[i:].
	over    []*configOp
	soonest []int64
}

// registers sorts the operations on profiles by object.
func registers(all []*configOp) []*register {
	byKey := map[string]*register{}
	var rs []*register
	for _, op := range all {
		id := op.Key
		switch {
		case op.what == "profile":
		case op.what == "subscription" && op.verb == "create" && op.in.Profile != nil && op.in.Subscription != nil:
			id = op.in.Subscription.Profile
		default:
			continue
		}
		k := op.in.Account + "/" + id
		r := byKey[k]
		if r == nil {
			r = &register{key: k, writers: map[string][]*configOp{}}
			byKey[k] = r
			rs = append(rs, r)
		}
		r.add(op)
	}
	for _, r := range rs {
		slices.SortFunc(r.over, func(a, b *configOp) int { return cmp.Compare(a.Call, b.Call) })
		r.soonest = make([]int64, len(r.over)+1)
		r.soonest[len(r.over)] = math.MaxInt64
		for i := len(r.over) - 1; i >= 0; i-- {
			r.soonest[i] = min(r.soonest[i+1], r.over[i].Return)
		}
	}
	return rs
}

func (r *register) add(op *configOp) {
	writes := op.in.Profile != nil && (op.verb == "create" || slices.Contains(op.in.Profile.Set, "url"))
	switch {
	case op.verb == "get":
		if op.Outcome == history.OK {
			r.reads = append(r.reads, op)
		}
		return
	case op.Outcome == history.Fail:
		return
	case op.verb == "create":
		r.creates = append(r.creates, op)
	case op.verb == "delete":
		r.deletes = append(r.deletes, op)
	}
	if writes {
		r.writers[op.in.Profile.URL] = append(r.writers[op.in.Profile.URL], op)
	}
	if op.Outcome == history.OK && (writes || op.verb == "delete") {
		r.over = append(r.over, op)
	}
}

// overwritten is when the value of w was surely gone; MaxInt64: never.
func (r *register) overwritten(w *configOp) int64 {
	if w.Outcome != history.OK {
		return math.MaxInt64 // it may come into force at any time
	}
	i := sort.Search(len(r.over), func(i int) bool { return r.over[i].Call > w.Return })
	return r.soonest[i]
}

// writer is the one write of what op read; nil when there are several, or
// none. value is "" for a read of what is not there.
func (r *register) writer(op *configOp) (w *configOp, value string, known bool) {
	if op.state == nil || op.state.Profile == nil {
		return nil, "", true
	}
	value = op.state.Profile.URL
	ws := r.writers[value]
	if len(ws) == 1 {
		return ws[0], value, true
	}
	return nil, value, len(ws) > 0
}

// judge finds reads that no order of the operations allows.
func (r *register) judge(v *Verdict) {
	for _, op := range r.reads {
		if op.stale {
			continue
		}
		bad := func(format string, args ...any) {
			v.violate(Violation{What: fmt.Sprintf("%s: ", r.key) + fmt.Sprintf(format, args...), At: op.Call, Node: op.Node, Key: r.key})
		}
		w, value, known := r.writer(op)
		switch {
		case op.state.Absent:
			if r.surelyThere(op) {
				bad("read as absent at %v, but it was created and nothing deleted it", time.Duration(op.Call))
			}
		case !known:
			bad("%q was read at %v, which nobody wrote", value, time.Duration(op.Call))
		case w == nil:
		case w.Call > op.Return:
			bad("%q was read before it was written", value)
		case r.overwritten(w) < op.Call:
			bad("%q was read at %v, %v after it was overwritten", value, time.Duration(op.Call), time.Duration(op.Call-r.overwritten(w)))
		}
	}
}

// surelyThere reports whether an acknowledged create precedes op and no delete
// can have come between.
func (r *register) surelyThere(op *configOp) bool {
	created := int64(math.MinInt64)
	for _, c := range r.creates {
		if c.Outcome == history.OK && c.Return < op.Call {
			created = max(created, c.Call)
		}
	}
	return created > math.MinInt64 && !slices.ContainsFunc(r.deletes, func(d *configOp) bool {
		return d.Call <= op.Return && (d.Outcome != history.OK || d.Return >= created)
	})
}

// stale judges reads with ?consistency=stale: no older than they say, if they do, and of
// one client on one node never older than the one before, unless the node was
// started anew in between.
func (h *History) stale(o Options, v *Verdict) {
	profiles := make([]*configOp, 0, len(h.config))
	for i := range h.config {
		profiles = append(profiles, &h.config[i])
	}
	count := 0
	for _, r := range registers(profiles) {
		last := map[[2]string]*configOp{} // the write that was read last
		at := map[[2]string]*configOp{}   // and by which read
		for _, op := range r.reads {
			if !op.stale {
				continue
			}
			count++
			w, value, known := r.writer(op)
			bad := func(format string, args ...any) {
				v.violate(Violation{What: fmt.Sprintf("%s: stale read ", r.key) + fmt.Sprintf(format, args...), At: op.Call, Node: op.Node, Key: r.key})
			}
			if !known && op.in.Group != "" {
				bad("gave %q, which nobody wrote", value)
			}
			if w == nil {
				continue
			}
			age := op.state.Staleness*int64(time.Millisecond) + int64(o.StaleSlack)
			if gone := r.overwritten(w); op.state.Staleness >= 0 && gone < op.Call-age {
				bad("gave %q, %v after it was overwritten; the answer says %d ms", value, time.Duration(op.Call-gone), op.state.Staleness)
			}
			k := [2]string{op.Process, op.Node}
			if p := last[k]; p != nil && w.Outcome == history.OK && w.Return < p.Call && !h.restarted(op.Node, at[k].Call, op.Return) {
				bad("gave %q, which is older than what the same client read there before", value)
			}
			last[k], at[k] = w, op
		}
	}
	v.figure("stale_reads", float64(count))
}

// restarted reports whether the node ended, or lost data, in [from, to].
func (h *History) restarted(node string, from, to int64) bool {
	return h.faulty(from, to, 0, func(f *history.Fault) bool { return (f.Kills || f.Damages) && slices.Contains(f.Nodes, node) })
}
