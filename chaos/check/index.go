package check

import (
	"cmp"
	"hash/fnv"
	"math"
	"slices"

	"example.com/belfry/chaos/history"
)

// History is a run, indexed once for all checkers. It is not changed after
// Load or New.
type History struct {
	begin, end int64 // ns, of all ops

	config    []configOp // in order of Call
	producers []producer
	arrivals  []arrival // in order of Call
	dests     []dest
	faults    []fault // in order of begin
	finals    []history.Op
	letters   map[letter]bool // dead letters that were ever listed
	deadKnown map[string]bool // accounts whose dead letters were listed whole at the end
	replayed  map[string]bool // accounts with replays

	unknown         []*configOp // changes whose outcome is
	deletedAccounts map[string]bool

	subs  map[subKey]*timeline
	reads map[string][]readSpan // linearizable answers by node, in order of Return

	strings    map[string]string
	producerOf map[string]int32
	destOf     map[destKey]int32
	faultAt    map[string]int
}

type (
	// configOp is an operation of the config API; In and Out are decoded.
	configOp struct {
		history.Op
		what, verb string // profile, put
		stale      bool
		in         history.Config
		state      *history.State // of a read that was answered
	}

	// topic is what events are matched by.
	topic struct{ account, channel, event, application string }

	// producer has the events of one producer in batches, in order of From.
	producer struct {
		name, account string
		batches       []batch
		max           int64 // events are below it
		raw           []rawPost
	}

	rawPost struct {
		topic
		from         int64
		n, pad, keys int32
		try          try
	}

	// batch is the events from … from+n-1, which were posted together.
	batch struct {
		topic
		from         int64
		n, pad, keys int32
		tries        []try // in order of call
		acked        bool
		// Of an acked batch: it was accepted between start and done, at one of
		// nodes.
		start, done int64
		nodes       []string
		// deliveries as the receipts say; -1: they differ or are not known.
		deliveries int32
	}

	try struct {
		call, ret              int64
		node                   string
		outcome                history.Outcome
		duplicates, deliveries int32
		each                   []int
	}

	destKey struct{ account, name string }

	// dest is a destination, which is a profile.
	dest struct {
		destKey
		arrivals []int32          // in order of call
		cells    map[int32][]cell // by producer, then event
		gone     int64            // when it first answered 410; math.MaxInt64: never
		// Changes that may have happened, in order of Call: of the profile, and of
		// subscriptions that name it.
		profile, subscribed []*configOp
	}

	// cell is what is known of one event at one destination.
	cell struct {
		first int32  // 1 + index of the first arrival that was answered 2xx; 0: none
		ok    uint16 // arrivals answered 2xx
		other uint16 // arrivals answered otherwise or not
	}

	arrival struct {
		call, ret           int64
		id                  uint64 // hash of the webhook-id
		dest                int32
		attempt, status     int32
		urlVersion, version int32
		events              int32
		outcome             history.Outcome
		auth, behaviour     string
		retryAfter          int64
		runs                []run
		strange             []history.Strange
	}

	run struct {
		from     int64
		producer int32
		n, pad   int32
		account  string
	}

	letter struct {
		dest, producer int32
		n              int64
	}

	subKey struct{ account, channel, id string }

	// timeline is the changes of a subscription that may have happened.
	timeline struct {
		subKey
		ops []*configOp // in order of Call
	}

	readSpan struct{ ret, call int64 } // call is the latest of those that returned by ret

	fault struct {
		key           string
		in            history.Fault
		begin, begun  int64
		end, healed   int64 // MaxInt64: until the end of the run
		ended, failed bool
		converge      *converged
	}

	converged struct {
		call, ret int64
		outcome   history.Outcome
		out       history.Convergence
	}
)

func newHistory() *History {
	return &History{
		begin: math.MaxInt64, letters: map[letter]bool{}, deadKnown: map[string]bool{}, replayed: map[string]bool{},
		deletedAccounts: map[string]bool{}, subs: map[subKey]*timeline{}, reads: map[string][]readSpan{},
		strings: map[string]string{}, producerOf: map[string]int32{}, destOf: map[destKey]int32{}, faultAt: map[string]int{},
	}
}

// intern keeps one copy of a string that comes often.
func (h *History) intern(s string) string {
	if t, ok := h.strings[s]; ok {
		return t
	}
	h.strings[s] = s
	return s
}

func (h *History) producer(name string) int32 {
	i, ok := h.producerOf[name]
	if !ok {
		i = int32(len(h.producers)) //nolint:gosec // a few
		h.producers = append(h.producers, producer{name: h.intern(name)})
		h.producerOf[h.intern(name)] = i
	}
	return i
}

func (h *History) dest(account, name string) int32 {
	k := destKey{h.intern(account), h.intern(name)}
	i, ok := h.destOf[k]
	if !ok {
		i = int32(len(h.dests)) //nolint:gosec // a few
		h.dests = append(h.dests, dest{destKey: k, cells: map[int32][]cell{}, gone: math.MaxInt64})
		h.destOf[k] = i
	}
	return i
}

func (h *History) faultOf(key string) *fault {
	i, ok := h.faultAt[key]
	if !ok {
		i = len(h.faults)
		h.faultAt[key] = i
		h.faults = append(h.faults, fault{key: key, end: math.MaxInt64, healed: math.MaxInt64})
	}
	return &h.faults[i]
}

func hash(s string) uint64 {
	f := fnv.New64a()
	_, _ = f.Write([]byte(s))
	return f.Sum64()
}

// finish sorts what was added and makes the indices.
func (h *History) finish() {
	slices.SortStableFunc(h.config, func(a, b configOp) int { return cmp.Compare(a.Call, b.Call) })
	slices.SortStableFunc(h.arrivals, func(a, b arrival) int { return cmp.Compare(a.call, b.call) })
	slices.SortStableFunc(h.finals, func(a, b history.Op) int { return cmp.Compare(a.Call, b.Call) })
	// Everything is promised on the monotonic clock, so a wall clock that jumps
	// (N13) excuses nothing.
	h.faults = slices.DeleteFunc(h.faults, func(f fault) bool { return f.failed || f.in.Name == "N13" })
	slices.SortStableFunc(h.faults, func(a, b fault) int { return cmp.Compare(a.begin, b.begin) })
	for i := range h.producers {
		h.producers[i].gather()
	}
	h.indexConfig()
	h.indexArrivals()
}

// gather joins the tries of each batch.
func (p *producer) gather() {
	slices.SortStableFunc(p.raw, func(a, b rawPost) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.n, b.n), cmp.Compare(a.try.call, b.try.call))
	})
	for _, r := range p.raw {
		k := len(p.batches) - 1
		if k < 0 || p.batches[k].from != r.from || p.batches[k].n != r.n {
			p.batches = append(p.batches, batch{topic: r.topic, from: r.from, n: r.n, pad: r.pad, keys: r.keys, deliveries: -1})
			k++
		}
		p.batches[k].tries = append(p.batches[k].tries, r.try)
		p.max = max(p.max, r.from+int64(r.n))
	}
	p.raw = nil
	for i := range p.batches {
		p.batches[i].accept()
	}
}

// accept finds out when and where the batch was accepted. Answered with
// DUPLICATE, it was so by an earlier try, and until then any of those.
func (b *batch) accept() {
	for i, t := range b.tries {
		if t.outcome != history.OK {
			continue
		}
		b.acked, b.start, b.done, b.nodes, b.deliveries = true, t.call, t.ret, []string{t.node}, t.deliveries
		if t.duplicates == 0 {
			return
		}
		for _, earlier := range b.tries[:i] {
			if earlier.outcome == history.Unknown {
				b.start = min(b.start, earlier.call)
				b.nodes = append(b.nodes, earlier.node)
			}
		}
		return
	}
}

// maybe reports whether the batch may have been accepted, and from when.
func (b *batch) maybe() (from int64, ok bool) {
	for _, t := range b.tries {
		if t.outcome != history.Fail {
			return t.call, true
		}
	}
	return 0, false
}

// batchOf is the batch of event n.
func (p *producer) batchOf(n int64) *batch {
	i, _ := slices.BinarySearchFunc(p.batches, n, func(b batch, n int64) int {
		if b.from+int64(b.n) <= n {
			return -1
		}
		return 1
	})
	if i < len(p.batches) && p.batches[i].from <= n {
		return &p.batches[i]
	}
	return nil
}

func (h *History) indexConfig() {
	for i := range h.config {
		op := &h.config[i]
		if op.verb == "get" || op.verb == "use" { // to use a key is a stale read
			if op.Outcome == history.OK && op.verb == "get" && !op.stale {
				h.reads[op.Node] = append(h.reads[op.Node], readSpan{op.Return, op.Call})
			}
			continue
		}
		if op.Outcome == history.OK { // the node that answers a change has applied it
			h.reads[op.Node] = append(h.reads[op.Node], readSpan{op.Return, op.Call})
		}
		if op.Outcome == history.Fail {
			continue
		}
		if op.Outcome == history.Unknown {
			h.unknown = append(h.unknown, op)
		}
		h.indexChange(op)
	}
	for node, spans := range h.reads {
		slices.SortFunc(spans, func(a, b readSpan) int { return cmp.Compare(a.ret, b.ret) })
		for i := 1; i < len(spans); i++ {
			spans[i].call = max(spans[i].call, spans[i-1].call)
		}
		h.reads[node] = spans
	}
}

func (h *History) indexChange(op *configOp) {
	switch op.what {
	case "subscription":
		k := subKey{op.in.Account, op.in.Channel, op.Key}
		if h.subs[k] == nil {
			h.subs[k] = &timeline{subKey: k}
		}
		h.subs[k].ops = append(h.subs[k].ops, op)
		if op.in.Subscription == nil {
			return
		}
		d := &h.dests[h.dest(op.in.Account, op.in.Subscription.Profile)]
		d.subscribed = append(d.subscribed, op)
		if op.in.Profile != nil {
			d.profile = append(d.profile, op)
		}
	case "profile":
		d := &h.dests[h.dest(op.in.Account, op.Key)]
		d.profile = append(d.profile, op)
	case "account":
		if op.verb == "delete" {
			h.deletedAccounts[op.Key] = true
		}
	}
}

// upToDate reports whether node has surely applied what was answered at t when
// it is asked at now.
func (h *History) upToDate(node string, t, now int64) bool {
	spans := h.reads[node]
	i, _ := slices.BinarySearchFunc(spans, now, func(s readSpan, now int64) int { return cmp.Compare(s.ret, now+1) })
	return i > 0 && spans[i-1].call >= t
}

func (h *History) indexArrivals() {
	for i := range h.arrivals {
		a := &h.arrivals[i]
		d := &h.dests[a.dest]
		d.arrivals = append(d.arrivals, int32(i))
		if a.status == 410 {
			d.gone = min(d.gone, a.ret)
		}
		for _, r := range a.runs {
			cells := d.cells[r.producer]
			top := max(h.producers[r.producer].max, r.from+int64(r.n))
			if r.from+int64(r.n) > maxEvents {
				continue // no producer has so many: invented finds it
			}
			if int64(len(cells)) < top {
				cells = append(cells, make([]cell, top-int64(len(cells)))...)
				d.cells[r.producer] = cells
			}
			for n := r.from; n < r.from+int64(r.n); n++ {
				cells[n].note(i, a.outcome)
			}
		}
	}
}

// maxEvents bounds the events of one producer, so that nonsense in an arrival
// takes no memory.
const maxEvents = 1 << 28

func (c *cell) note(i int, o history.Outcome) {
	if o != history.OK {
		c.other = min(c.other, math.MaxUint16-1) + 1
		return
	}
	if c.first == 0 {
		c.first = int32(i) + 1 //nolint:gosec // fewer than 2^31
	}
	c.ok = min(c.ok, math.MaxUint16-1) + 1
}

// cell is what is known of event n of producer p at d.
func (d *dest) cell(p int32, n int64) cell {
	if c := d.cells[p]; n < int64(len(c)) {
		return c[n]
	}
	return cell{}
}

// faulty reports whether a fault that pick likes was in force at some time in
// [from, to], or had ended less than after before from. With after the cluster
// must also be whole again: a node that comes back late is given its share of
// the work then.
func (h *History) faulty(from, to, after int64, pick func(*history.Fault) bool) bool {
	for i := range h.faults {
		f := &h.faults[i]
		if f.begin > to {
			return false
		}
		healed := f.healed
		if healed < math.MaxInt64-after {
			healed += after
		}
		if after > 0 && f.converge != nil {
			healed = max(healed, f.converge.ret)
		}
		if healed >= from && (pick == nil || pick(&f.in)) {
			return true
		}
	}
	return false
}
