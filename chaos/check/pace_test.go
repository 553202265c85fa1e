package check

import (
	"cmp"
	"fmt"
	"testing"

	"example.com/belfry/chaos/history"
)

// produced is a producer of the tests: a post of one event every 100 ms of [from,
// to), which is acknowledged after 2 ms and arrives after 3, unless each says
// otherwise of the i-th.
type produced struct {
	name, node string
	from, to   int64
	every      int64 // ms; 0: 100
	each       func(i int64, x *posted)
}

// posted is one post and what came of it.
type posted struct {
	call       int64
	unknown    bool // it was not answered
	deliveries int  // as its receipt says
	duplicate  bool
	late       int64 // ms from the answer to the arrival; negative: none
	twice      bool  // it arrives once more
}

func (p produced) ops() (list []history.Op) {
	name, node := p.name, p.node
	if name == "" {
		name, node = "q", "n1"
	}
	every := cmp.Or(p.every, 100)
	for t := p.from; t < p.to; t += every {
		i := (t - p.from) / every
		x := posted{call: t, deliveries: 1, late: 1}
		if p.each != nil {
			p.each(i, &x)
		}
		out := history.Posted{Deliveries: x.deliveries}
		if x.duplicate {
			out.Duplicates = 1
		}
		n := t / 100
		in := history.Post{Account: "a", Producer: name, Channel: "SMS", Event: "E", From: n, N: 1, Try: 1}
		o := op(history.EventPost, name, x.call, x.call+2, in, out, on(node), by(name))
		if x.unknown {
			unknown(&o)
		}
		list = append(list, o)
		if x.late < 0 || x.deliveries == 0 || x.unknown {
			continue
		}
		at := x.call + 2 + x.late
		a := arrive(name+fmt.Sprint(n), n, 1, at, at, 200, func(a *history.Arrived) { a.Runs[0].Producer = name })
		if list = append(list, a); x.twice {
			a.Call, a.Return = a.Call+ms, a.Return+ms
			list = append(list, a)
		}
	}
	return list
}

// usual is a producer at n1 that has nothing to do with the fault from 40 s to
// 50 s, except what each does to the n posts from 43 s on: those that are
// acknowledged in [43.001 s, 49.999 s), where progress is owed.
func usual(each func(i int64, x *posted)) []history.Op {
	return with(produced{from: 0, to: 43_000}.ops(), produced{from: 43_000, to: 50_000, each: each}.ops(), produced{from: 50_000, to: 60_000}.ops())
}

var minorFault = faultOps("1", 40_000, 50_000, history.Fault{Kind: "deaf leader", Name: "N4", Nodes: []string{"n2"}, Minority: true, Cuts: true})

// TestI11_deliveryShare: in 6.998 s there are 69.98 deliveries without faults;
// 60 events are acknowledged a second before the end or earlier.
func TestI11_deliveryShare(t *testing.T) {
	t.Parallel()
	base := with(subscribed(history.Profile{}), minorFault)
	seldom := func(arrive int64) func(int64, *posted) { // 20 of the 60 are owed
		return func(i int64, x *posted) {
			switch {
			case i >= 60 || i%3 > 0:
				x.deliveries = 0
			case i/3 >= arrive:
				x.late = -1
			}
		}
	}
	judge(t, "progress", map[string]verdictCase{
		"fewer are subscribed to":      {ops: with(base, usual(seldom(20)))},
		"half of what is owed arrives": {ops: with(base, usual(seldom(10)))},
		"less than half of what is owed arrives": {
			ops: with(base, usual(seldom(9))), want: []string{"under N4 deaf leader ([n2]): receivers got 45 % of what they are owed and of the 10 deliveries/s"},
		},
		"what is taken late need not arrive": {ops: with(base, usual(func(i int64, x *posted) {
			if seldom(10)(i, x); i >= 60 {
				x.deliveries, x.late = 1, -1
			}
		}))},
		"what arrives twice counts once": {
			ops: with(base, usual(func(i int64, x *posted) {
				seldom(9)(i, x)
				x.twice = true
			})),
			want: []string{"receivers got 45 %"},
		},
		"late, at half of the rate": {ops: with(base, usual(func(i int64, x *posted) { // 35 of the 55 that can
			if x.late = 1500; i >= 35 {
				x.late = -1
			}
		}))},
		"late, at less than half of the rate": {
			ops: with(base, usual(func(i int64, x *posted) {
				if x.late = 1500; i >= 34 {
					x.late = -1
				}
			})),
			want: []string{"receivers got 49 %"},
		},
		"just prompt": {ops: with(base, usual(func(i int64, x *posted) {
			seldom(10)(i, x)
			if x.late > 0 {
				x.late = 999
			}
		}))},
		"not prompt": {
			ops: with(base, usual(func(i int64, x *posted) {
				seldom(10)(i, x)
				if x.late > 0 {
					x.late = 1000
				}
			})),
			want: []string{"receivers got 14 %"}, // 10 of 69.98 all the same
		},
		"it was taken before": {ops: with(base, usual(func(_ int64, x *posted) { x.duplicate, x.late = true, -1 }))},
		"three quarters never arrive, with or without a fault": {ops: with(base, produced{from: 0, to: 60_000, each: func(i int64, x *posted) {
			fault := i >= 430 && i < 500
			if fault && i%3 > 0 {
				x.deliveries = 0 // two thirds less are owed
			}
			if i%4 > 0 {
				x.late = -1
			}
		}}.ops())},
		"a short fault is not judged": {ops: with(subscribed(history.Profile{}),
			faultOps("1", 40_000, 45_000, history.Fault{Nodes: []string{"n2"}, Minority: true}), faultOps("2", 70_000, 90_000, history.Fault{Nodes: []string{"n2"}, Minority: true}),
			usual(func(_ int64, x *posted) { x.late = -1 }), produced{from: 60_000, to: 100_000}.ops())},
	})
}

// TestI11_postShare: without faults 69.98 posts are acknowledged in 6.998 s.
func TestI11_postShare(t *testing.T) {
	t.Parallel()
	base := with(subscribed(history.Profile{}), minorFault)
	only := func(acked int64) func(int64, *posted) {
		return func(i int64, x *posted) { x.unknown = i >= acked }
	}
	// It makes no post in that time.
	other := func(node string) []history.Op {
		p := produced{name: "r", node: node}
		before, after := p, p
		before.to, after.from, after.to = 42_000, 55_000, 60_000
		return with(before.ops(), after.ops())
	}
	rare := func(every int64) []history.Op { // none is answered under the fault
		p := produced{from: 0, to: 60_000, every: every, each: func(_ int64, x *posted) { x.unknown = x.call >= 43_000 && x.call < 50_000 }}
		return with(p.ops(), ops(put("x", 44_500, 44_505)))
	}
	judge(t, "progress", map[string]verdictCase{
		"half":           {ops: with(base, usual(only(35)))},
		"less than half": {ops: with(base, usual(only(34))), want: []string{"4.9 posts/s were acknowledged at the other nodes, without faults it is 10.0/s"}},
		"a client of the victim waits for it": {
			ops: with(base, usual(only(35)), other("n2")),
		},
		"a client of another node waits": {
			ops: with(base, usual(only(35)), other("n3")), want: []string{"5.0 posts/s were acknowledged at the other nodes, without faults it is 20.0/s"},
		},
		// 22 and 21 posts in 38 quiet seconds make 4.05 and 3.87 in 6.998.
		"enough to tell":  {ops: with(base, rare(1700)), want: []string{"0.0 posts/s were acknowledged at the other nodes, without faults it is 0.6/s"}},
		"too few to tell": {ops: with(base, rare(1800))},
		"a client that has no more to post": {
			ops: with(base, usual(only(35)), produced{name: "r", node: "n3", from: 0, to: 42_000}.ops()),
		},
		"a client that begins": {
			ops: with(base, usual(only(35)), produced{name: "r", node: "n3", from: 55_000, to: 60_000}.ops()),
		},
	})
}

func TestTally(t *testing.T) {
	t.Parallel()
	x := tallied([]count{{30, 1}, {10, 2}, {20, 4}})
	for _, c := range []struct {
		from, to int64
		want     float64
	}{{10, 30, 6}, {11, 31, 5}, {0, 10, 0}, {0, 11, 2}, {31, 99, 0}, {30, 10, 0}} {
		if got := x.between(c.from, c.to); got != c.want {
			t.Errorf("between %d and %d: %v, want %v", c.from, c.to, got, c.want)
		}
	}
	empty := tallied(nil)
	if got := empty.between(0, 9); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestBatch_owed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		n     int32
		tries []try
		want  int64
	}{
		"alike":              {5, []try{{outcome: history.OK, deliveries: 3}}, 15},
		"of each":            {3, []try{{outcome: history.OK, deliveries: -1, each: []int{1, 0, 4}}}, 5},
		"the second try":     {2, []try{{outcome: history.Fail}, {outcome: history.OK, deliveries: 1}}, 2},
		"taken before":       {2, []try{{outcome: history.Unknown}, {outcome: history.OK, deliveries: 1, duplicates: 2}}, 0},
		"never acknowledged": {2, []try{{outcome: history.Unknown, deliveries: 1}}, 0},
	} {
		b := batch{n: c.n, tries: c.tries}
		if got := b.owed(); got != c.want {
			t.Errorf("%s: %d deliveries, want %d", name, got, c.want)
		}
	}
}
