package check

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"example.com/belfry/chaos/history"
)

// traffic is a change, a post and an arrival every 100 ms of [from, to).
func traffic(from, to int64, change, deliver bool) (list []history.Op) {
	for t := from; t < to; t += 100 {
		p := put(fmt.Sprint("t", t), t, t+5)
		if !change {
			unknown(&p)
		}
		list = append(list, p, post(t/100, 1, t, t+2))
		if deliver {
			list = append(list, arrive(fmt.Sprint(t), t/100, 1, t+3, t+4, 200))
		}
	}
	return list
}

func TestI11_progress(t *testing.T) {
	t.Parallel()
	base := subscribed(history.Profile{})
	minor := faultOps("1", 40_000, 50_000, history.Fault{Minority: true, Leader: true, Kills: true})
	major := faultOps("1", 40_000, 50_000, history.Fault{Kills: true})
	judge(t, "progress", map[string]verdictCase{
		"goes on after the failover": {ops: with(base, minor, traffic(0, 40_000, true, true), traffic(42_000, 60_000, true, true))},
		"no changes": {
			ops:  with(base, minor, traffic(0, 40_000, true, true), traffic(40_000, 44_500, false, true), traffic(44_500, 60_000, true, true)),
			want: []string{"no change was acknowledged from 43.001s to 44.001s"},
		},
		"no deliveries": {
			ops:  with(base, minor, traffic(0, 40_000, true, true), traffic(40_000, 60_000, true, false)),
			want: []string{"receivers got 0 % of what they are owed and of the 10 deliveries/s of a time without faults"},
		},
		"another fault suspends that": {ops: with(base, minor, faultOps("2", 39_000, 51_000, history.Fault{Name: "N3"}), faultOps("3", 70_000, 80_000, history.Fault{Minority: true}),
			traffic(0, 40_000, true, true), traffic(40_000, 55_000, false, false), traffic(55_000, 90_000, true, true))},
		"clients that are not answered ask for less": {ops: with(base, minor, faultOps("2", 40_000, 50_000, history.Fault{Name: "N19", Harmless: true}),
			faultOps("3", 70_000, 80_000, history.Fault{Minority: true}), traffic(0, 40_000, true, true), traffic(40_000, 50_000, false, false), traffic(50_000, 90_000, true, true))},
		"another harmless fault is no excuse": {
			ops: with(base, minor, faultOps("2", 40_000, 50_000, history.Fault{Name: "N13", Harmless: true}), traffic(0, 40_000, true, true),
				traffic(40_000, 50_000, true, false), traffic(50_000, 60_000, true, true)),
			want: []string{"receivers got 0 % of what they are owed and of the 10 deliveries/s of a time without faults"},
		},
	})
	h, err := New(with(base, major, traffic(0, 40_000, true, true), traffic(40_000, 60_000, false, false)))
	if err != nil {
		t.Fatal(err)
	}
	v := Verdict{}
	progress(h, Options{}.withDefaults(), &v)
	if v.Total != 0 {
		t.Errorf("a majority need not make progress: %+v", v.Violations)
	}
	if s := v.Figures["unavailable_config_kill_leader_s"]; math.Abs(s-10) > 0.2 {
		t.Errorf("unavailable for %v s, want 10", s)
	}
}

func TestI11_failoverFigures(t *testing.T) {
	t.Parallel()
	h, err := New(with(
		faultOps("1", 40_000, 50_000, history.Fault{Minority: true, Leader: true, Kills: true}),
		ops(put("1", 39_990, 40_100), put("2", 40_100, 40_200, unknown), put("3", 40_300, 40_601))))
	if err != nil {
		t.Fatal(err)
	}
	v := Verdict{}
	progress(h, Options{}.withDefaults(), &v)
	if s := v.Figures["failover_config_kill_leader_p50_s"]; math.Abs(s-0.6) > 0.001 {
		t.Errorf("failover took %v s, want 0.6: %v", s, v.Figures)
	}
}

func TestI12_convergence(t *testing.T) {
	t.Parallel()
	fault := func(took int64, with func(*history.Op), applied map[string]uint64) []history.Op {
		os := faultOps("1", 1000, 2000, history.Fault{})
		os[2].Return = os[2].Call + took*ms
		os[2].Out = history.JSON(history.Convergence{Applied: applied})
		if with != nil {
			with(&os[2])
		}
		return os
	}
	drain := func(at, n int64) history.Op { return op(history.Drain, "", at, at+1, nil, history.Backlog{Pending: n}) }
	terms := func(key string, at int64, node string, term float64) history.Op {
		return op(history.FinalMetrics, key, at, at+1, nil, history.Metrics{`belfry_raft_term{group="config"}`: term}, on(node))
	}
	nodes := func(node string, ms ...history.Member) history.Op { return final(history.FinalNodes, node, nil, ms) }
	n1, n2 := history.Member{ID: "n1", Role: "LEADER", Live: true}, history.Member{ID: "n2", Role: "FOLLOWER", Live: true}
	leader2, dead2 := n2, n2
	leader2.Role, dead2.Live = "LEADER", false
	equal := map[string]uint64{"n1": 5, "n2": 5}
	begun := ops(terms("begin", 0, "n1", 2), terms("begin", 0, "n2", 2))
	judge(t, "convergence", map[string]verdictCase{
		"in time, drained, elections under a fault": {ops: with(fault(9000, nil, equal), begun, ops(drain(5000, 9), drain(6000, 0), terms("end", 7000, "n1", 4), nodes("n1", n1, n2), nodes("n2", n2, n1)))},
		"nobody says when":                          {ops: with(fault(9000, nil, equal)[:2], ops(drain(5000, 0))), unknown: 1},
		"too slow":                                  {ops: fault(10_001, nil, equal), want: []string{"took 10.001s to converge"}},
		"never":                                     {ops: fault(60_000, refused(0, "not at one index"), nil), want: []string{"did not converge within 1m0s"}},
		"at two indices":                            {ops: fault(10, nil, map[string]uint64{"n1": 5, "n2": 6}), want: []string{"different indices"}},
		"a backlog that stays":                      {ops: ops(drain(5000, 9), drain(6000, 9)), want: []string{"the backlog does not fall: 9"}},
		"a backlog that falls":                      {ops: ops(drain(5000, 9), drain(6000, 5))},
		"a backlog that is stuck":                   {ops: ops(drain(5000, 9), drain(6000, 2), drain(21_000, 2), drain(36_000, 2)), want: []string{"the backlog stays: 2 deliveries are owed, and nothing of it was delivered for 30s"}},
		"a backlog that goes on":                    {ops: ops(drain(5000, 9), drain(6000, 2), drain(35_999, 2))},
		"an election without a fault":               {ops: with(begun, ops(terms("end", 7000, "n1", 3), terms("end", 7000, "n2", 3))), want: []string{"1 elections without a fault"}},
		"two leaders":                               {ops: ops(nodes("n1", n1, leader2)), want: []string{"n1 names 2 leaders"}},
		"different leaders":                         {ops: ops(nodes("n1", n1, n2), nodes("n2", history.Member{ID: "n1", Role: "FOLLOWER", Live: true}, leader2)), want: []string{"name different leaders"}},
		"a node that is not live":                   {ops: ops(nodes("n1", n1, dead2)), want: []string{"n2 is not live"}},
	})
}

func TestI13_corruption(t *testing.T) {
	t.Parallel()
	damaged := func(out history.Convergence, with ...func(*history.Op)) []history.Op {
		os := faultOps("1", 1000, 2000, history.Fault{Name: "N9", Kind: "flip a bit", Nodes: []string{"n2"}, Minority: true, Damages: true})
		os[2].Out = history.JSON(out)
		for _, f := range with {
			f(&os[2])
		}
		return os
	}
	both := map[string]uint64{"n1": 5, "n2": 5}
	judge(t, "corruption", map[string]verdictCase{
		"repaired":         {ops: damaged(history.Convergence{Applied: both})},
		"stopped":          {ops: damaged(history.Convergence{Applied: map[string]uint64{"n1": 5}, Stopped: map[string]string{"n2": "checksum of segment 7: wipe the node"}}, refused(0, "n2 stopped"), keepOut(history.Convergence{Stopped: map[string]string{"n2": "checksum"}}))},
		"nobody looked":    {ops: damaged(history.Convergence{})[:2], unknown: 1},
		"without a word":   {ops: damaged(history.Convergence{Stopped: map[string]string{"n2": ""}}), want: []string{"n2 stopped without a word"}},
		"neither":          {ops: damaged(history.Convergence{Applied: map[string]uint64{"n1": 5}}), want: []string{"neither runs nor says why not"}},
		"never came back":  {ops: damaged(history.Convergence{}, refused(0, "n2 is at 3")), want: []string{"did not come back"}},
		"its own fault":    {ops: with(damaged(history.Convergence{Applied: both}), faultOps("2", 3000, 4000, history.Fault{Kills: true}))},
		"of the other one": {ops: with(damaged(history.Convergence{Applied: both}), faultOps("2", 3000, 4000, history.Fault{Damages: true, Nodes: []string{"n9"}})), want: []string{"n9 neither"}},
	})
}

func keepOut(c history.Convergence) func(*history.Op) {
	return func(o *history.Op) { o.Out = history.JSON(c) }
}

// What else is violated in a run that damages files is laid to I13 too.
func TestI13_breaksNothingElse(t *testing.T) {
	t.Parallel()
	damage := faultOps("1", 1000, 2000, history.Fault{Name: "N9", Kind: "flip a bit", Nodes: []string{"n2"}, Damages: true})
	wrong := with(subscribed(history.Profile{}), ops(post(0, 1, 10, 11), deadAtEnd()))
	for name, c := range map[string]struct {
		ops  []history.Op
		want int
	}{"damaged": {with(damage, wrong), 1}, "not damaged": {wrong, 0}} {
		h, err := New(c.ops)
		if err != nil {
			t.Fatal(err)
		}
		vs, err := Judge(t.Context(), h, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range vs {
			switch v.Name {
			case "lost":
				if v.Total != 1 {
					t.Errorf("%s: %d lost", name, v.Total)
				}
			case "corruption":
				if v.Total != c.want || c.want == 1 && !strings.Contains(v.Violations[0].What, "I1 (lost)") {
					t.Errorf("%s: I13: %+v", name, v.Violations)
				}
			}
		}
	}
}
