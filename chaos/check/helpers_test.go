package check

import (
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/chaos/history"
)

// Times in tests are ms since the run began.
const ms = int64(time.Millisecond)

// op is an operation that was answered OK; with changes it.
func op(kind, key string, call, ret int64, in, out any, with ...func(*history.Op)) history.Op {
	o := history.Op{Process: "w", Kind: kind, Node: "n1", Key: key, Call: call * ms, Return: ret * ms, Outcome: history.OK, Status: 200}
	if in != nil {
		o.In = history.JSON(in)
	}
	if out != nil {
		o.Out = history.JSON(out)
	}
	for _, f := range with {
		f(&o)
	}
	return o
}

func unknown(o *history.Op) { o.Outcome, o.Status, o.Out = history.Unknown, 0, nil }

func refused(status int, text string) func(*history.Op) {
	return func(o *history.Op) { o.Outcome, o.Status, o.Error, o.Out = history.Fail, status, text, nil }
}

func on(node string) func(*history.Op) { return func(o *history.Op) { o.Node = node } }

func by(process string) func(*history.Op) { return func(o *history.Op) { o.Process = process } }

// subscribed makes the subscription "s" with its profile from 0 to 1, which
// nodes n1 and n2 surely know from 3 on.
func subscribed(p history.Profile) []history.Op {
	if p.URL == "" {
		p.URL = "http://sink/a/p/0"
	}
	in := history.Config{Account: "a", Channel: "SMS", Subscription: &history.Subscription{Events: []string{"E"}, Profile: "p"}, Profile: &p}
	return []history.Op{
		op(history.SubscriptionCreate, "s", 0, 1, in, history.Refs{}),
		op(history.Barrier, "x", 2, 3, history.Config{Account: "a"}, nil),
		op(history.Barrier, "x", 2, 3, history.Config{Account: "a"}, nil, on("n2")),
	}
}

// post posts events of producer "q", all for subscription "s", answered as new.
func post(from int64, n int, call, ret int64, with ...func(*history.Op)) history.Op {
	return postTry(from, n, 1, call, ret, history.Posted{Deliveries: 1}, with...)
}

func postTry(from int64, n, try int, call, ret int64, out history.Posted, with ...func(*history.Op)) history.Op {
	return op(history.EventPost, "q", call, ret, history.Post{Account: "a", Producer: "q", Channel: "SMS", Event: "E", From: from, N: n, Try: try}, out, with...)
}

// keyed gives a post ordering keys.
func keyed(keys int) func(*history.Op) {
	return func(o *history.Op) {
		var in history.Post
		if err := decode(o.In, &in); err != nil {
			panic(err)
		}
		in.Keys = keys
		o.In = history.JSON(in)
	}
}

// arrive is a request at "p" under the webhook-id, with events [from, from+n)
// of "q", answered with the status; 0: no answer.
func arrive(id string, from int64, n int, call, ret int64, status int, with ...func(*history.Arrived)) history.Op {
	in := history.Arrived{WebhookID: id, Attempt: 1, Account: "a", Dest: "p"}
	if n > 0 {
		in.Runs = []history.Run{{Producer: "q", From: from, N: n}}
	}
	for _, f := range with {
		f(&in)
	}
	o := op(history.Arrival, in.Dest, call, ret, in, nil, by("sink"))
	o.Status = status
	switch {
	case status == 0:
		o.Outcome = history.Unknown
	case status/100 != 2:
		o.Outcome = history.Fail
	}
	return o
}

func attempt(n int) func(*history.Arrived) { return func(a *history.Arrived) { a.Attempt = n } }

// deadAtEnd is the list of dead letters of account "a" at the end.
func deadAtEnd(ids ...string) history.Op {
	var d history.Dead
	for _, id := range ids {
		d.Letters = append(d.Letters, history.Letter{EventID: id, Profile: "p"})
	}
	return op(history.FinalDead, "", 90_000, 90_001, history.DeadQuery{Account: "a"}, d)
}

// faultOps is a fault from call to healed that converged at once.
func faultOps(key string, from, healed int64, f history.Fault) []history.Op {
	if f.Name == "" {
		f.Name, f.Kind = "N1", "kill leader"
	}
	return []history.Op{
		op(history.FaultBegin, key, from, from+1, f, nil, by("nemesis")),
		op(history.FaultEnd, key, healed-1, healed, f, nil, by("nemesis")),
		op(history.FaultConverge, key, healed, healed+500, f, history.Convergence{Applied: map[string]uint64{"n1": 7, "n2": 7, "n3": 7}}, by("nemesis")),
	}
}

// verdictCase is a history and what a checker must say of it.
type verdictCase struct {
	ops []history.Op
	// want has, for each violation, a part of its text, in any order.
	want    []string
	unknown int
	options Options
}

// judge runs the checker on each history.
func judge(t *testing.T, name string, cases map[string]verdictCase) {
	t.Helper()
	all := All()
	i := slices.IndexFunc(all, func(c Check) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("there is no checker %s", name)
	}
	for label, c := range cases {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			h, err := New(c.ops)
			if err != nil {
				t.Fatal(err)
			}
			v := all[i].Run(h, c.options)
			if v.Name != name || v.Invariant != all[i].Invariant {
				t.Errorf("the verdict is that of %s %s", v.Invariant, v.Name)
			}
			if v.Total != len(c.want) || len(v.Violations) != len(c.want) {
				t.Errorf("%s: %d violations, want %d: %+v", v.Invariant, v.Total, len(c.want), v.Violations)
			}
			if v.Unknown != c.unknown {
				t.Errorf("%s: %d unknown, want %d: %v", v.Invariant, v.Unknown, c.unknown, v.Notes)
			}
			if v.Checked == 0 {
				t.Errorf("%s: nothing was checked", v.Invariant)
			}
			for _, part := range c.want {
				if !slices.ContainsFunc(v.Violations, func(x Violation) bool { return strings.Contains(x.What, part) }) {
					t.Errorf("%s: no violation says %q: %+v", v.Invariant, part, v.Violations)
				}
			}
		})
	}
}

// with joins lists of operations.
func with(lists ...[]history.Op) []history.Op { return slices.Concat(lists...) }

func ops(os ...history.Op) []history.Op { return os }
