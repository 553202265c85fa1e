package check

import (
	"testing"

	"example.com/belfry/chaos/history"
)

func TestI1_lost(t *testing.T) {
	t.Parallel()
	base := subscribed(history.Profile{})
	deleteSub := func(with ...func(*history.Op)) history.Op {
		return op(history.SubscriptionDelete, "s", 30, 31, history.Config{Account: "a", Channel: "SMS"}, history.Refs{}, with...)
	}
	judge(t, "lost", map[string]verdictCase{
		"all arrived, one is a dead letter, one post is unknown": {ops: with(base, ops(
			post(0, 2, 10, 11), arrive("a", 0, 1, 12, 13, 200), deadAtEnd("q.1"), post(2, 5, 20, 21, unknown)))},
		"middle": {
			ops: with(base, ops(
				post(0, 1, 10, 11), post(1, 1, 20, 21, on("n2")), post(2, 1, 30, 31), arrive("a", 0, 1, 12, 13, 200), arrive("c", 2, 1, 32, 33, 200), deadAtEnd())),
			want: []string{"q.1 was acknowledged and is neither at p nor a dead letter there (0 failed arrivals; middle)"},
		},
		"prefix and suffix": {
			ops: with(base, ops(
				post(0, 1, 10, 11), post(1, 1, 20, 21), post(2, 1, 30, 31), arrive("b", 1, 1, 22, 23, 200), deadAtEnd())),
			want: []string{"q.0 was acknowledged and is neither at p nor a dead letter there (0 failed arrivals; prefix)", "suffix"},
		},
		"only failed and unknown arrivals": {
			ops: with(base, ops(
				post(0, 1, 10, 11), arrive("a", 0, 1, 12, 13, 500), arrive("a", 0, 1, 14, 15, 0), deadAtEnd())),
			want: []string{"2 failed arrivals; all"},
		},
		"the dead letters are not known": {ops: with(base, ops(post(0, 3, 10, 11))), unknown: 3},
		"still owed by the cluster": {ops: with(base, ops(
			post(0, 2, 10, 11), deadAtEnd(), op(history.Drain, "", 50, 51, nil, history.Backlog{Pending: 2}))), unknown: 2},
		"more than the cluster still owes": {
			ops: with(base, ops(
				post(0, 2, 10, 11), deadAtEnd(), op(history.Drain, "", 50, 51, nil, history.Backlog{Pending: 1}))),
			want: []string{"q.0", "q.1"},
		},
		"what is held for a destination is not what is missing": {
			ops: with(base, ops(
				post(0, 1, 10, 11), deadAtEnd(), op(history.Drain, "", 50, 51, nil, history.Backlog{Pending: 4, Held: 4}))),
			want: []string{"q.0"},
		},
		"its subscription was deleted":                 {ops: with(base, ops(post(0, 1, 10, 11), deadAtEnd(), deleteSub()))},
		"its subscription may have been deleted":       {ops: with(base, ops(post(0, 1, 10, 11), deadAtEnd(), deleteSub(unknown)))},
		"the delete of its subscription was refused":   {ops: with(base, ops(post(0, 1, 10, 11), deadAtEnd(), deleteSub(refused(503, "unavailable: no leader")))), want: []string{"q.0"}},
		"accepted by an unknown try, at another node":  {ops: with(base, ops(post(0, 1, 10, 11, unknown), postTry(0, 1, 2, 12, 13, history.Posted{Duplicates: 1, Deliveries: 1}, on("n2")), deadAtEnd())), want: []string{"q.0"}},
		"the receiver answered 410: its profile waits": {ops: with(base, ops(post(0, 2, 10, 11), arrive("a", 0, 1, 12, 13, 410), deadAtEnd("q.0")))},
		"posted after 410":                             {ops: with(base, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 12, 13, 410), deadAtEnd("q.0"), postTry(1, 1, 1, 20, 21, history.Posted{})))},
		"receipts say less than what surely matched": {
			ops: with(base, ops(
				postTry(0, 1, 1, 10, 11, history.Posted{Deliveries: 0}), arrive("a", 0, 1, 12, 13, 200))),
			want: []string{"acknowledged with 0 deliveries; 1 destinations matched"},
		},
	})
}

func TestI1_notSureToMatch(t *testing.T) {
	t.Parallel()
	base := subscribed(history.Profile{})
	for name, os := range map[string][]history.Op{
		"at a node that may not know the subscription": {post(0, 1, 10, 11, on("n3"))},
		"before the barrier":                           {post(0, 1, 2, 3, on("n2"))},
		"where only a key was used": {
			op(history.KeyUse, "key-1", 4, 5, history.Config{Account: "a"}, nil, on("n3")), post(0, 1, 10, 11, on("n3")),
		},
		"another event":   {op(history.EventPost, "q", 10, 11, history.Post{Account: "a", Producer: "q", Channel: "SMS", Event: "F", N: 1}, history.Posted{})},
		"another account": {op(history.EventPost, "q", 10, 11, history.Post{Account: "b", Producer: "q", Channel: "SMS", Event: "E", N: 1}, history.Posted{})},
	} {
		h, err := New(with(base, os, ops(deadAtEnd())))
		if err != nil {
			t.Fatal(err)
		}
		if v := All()[0].Run(h, Options{}); v.Checked != 0 || v.Total != 0 {
			t.Errorf("%s: checked %d, %+v", name, v.Checked, v.Violations)
		}
	}
}

func TestI2_invented(t *testing.T) {
	t.Parallel()
	base := subscribed(history.Profile{})
	judge(t, "invented", map[string]verdictCase{
		"posted, also with an unknown outcome": {ops: with(base, ops(post(0, 2, 10, 11), post(2, 1, 20, 21, unknown), arrive("a", 0, 3, 22, 23, 200)))},
		"never posted":                         {ops: with(base, ops(post(0, 2, 10, 11), arrive("a", 0, 3, 22, 23, 200))), want: []string{"q.2 arrived and was never posted"}},
		"refused":                              {ops: with(base, ops(post(0, 1, 10, 11, refused(503, "unavailable: x")), arrive("a", 0, 1, 22, 23, 200))), want: []string{"every post of it was refused"}},
		"before it was posted":                 {ops: with(base, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 5, 6, 200))), want: []string{"before it was posted"}},
		"other bytes": {ops: with(base, ops(post(0, 1, 10, 11), arrive("a", 0, 0, 12, 13, 200, func(a *history.Arrived) {
			a.Strange = []history.Strange{{SHA256: "ff", Head: "{broken"}}
		}))), want: []string{"{broken"}},
		"another payload": {
			ops:  with(base, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 12, 13, 200, func(a *history.Arrived) { a.Runs[0].Pad = 7 }))),
			want: []string{"another payload: 7"},
		},
		"a destination that never asked": {
			ops:  with(base, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 12, 13, 200, func(a *history.Arrived) { a.Dest = "other" }))),
			want: []string{"other, which never asked for it"},
		},
		"an unknown credential": {
			ops:  with(base, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 12, 13, 200, func(a *history.Arrived) { a.Auth, a.Version = "HMAC", -1 }))),
			want: []string{"never given"},
		},
	})
}

func TestI2_crossed(t *testing.T) {
	t.Parallel()
	base := subscribed(history.Profile{})
	judge(t, "crossed", map[string]verdictCase{
		"its own account": {ops: with(base, ops(post(0, 1, 10, 11, unknown), arrive("a", 0, 1, 12, 13, 200)))},
		"the payload is of another account": {
			ops:  with(base, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 12, 13, 500, func(a *history.Arrived) { a.Runs[0].Account = "b" }))),
			want: []string{"of account b arrived at a webhook of account a"},
		},
		"the webhook is of another account": {
			ops:  with(base, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 12, 13, 200, func(a *history.Arrived) { a.Account = "b" }))),
			want: []string{"of account a arrived at a webhook of account b"},
		},
	})
}

func TestI3_repeatedID(t *testing.T) {
	t.Parallel()
	base := subscribed(history.Profile{})
	dup := history.Posted{Duplicates: 2, Deliveries: 1}
	judge(t, "repeated-id", map[string]verdictCase{
		"unknown, then DUPLICATE": {ops: with(base, ops(post(0, 2, 10, 11, unknown), postTry(0, 2, 2, 12, 13, dup), arrive("a", 0, 1, 14, 15, 500), arrive("a", 0, 1, 16, 17, 200)))},
		"unknown, then new":       {ops: with(base, ops(post(0, 2, 10, 11, unknown), postTry(0, 2, 2, 12, 13, history.Posted{Deliveries: 1})))},
		"refused, then new":       {ops: with(base, ops(post(0, 2, 10, 11, refused(429, "limit: x")), postTry(0, 2, 2, 12, 13, history.Posted{Deliveries: 1})))},
		"accepted twice":          {ops: with(base, ops(post(0, 2, 10, 11), postTry(0, 2, 2, 12, 13, history.Posted{Deliveries: 1}))), want: []string{"accepted a second time"}},
		"DUPLICATE the first time": {
			ops:  with(base, ops(post(0, 2, 10, 11, refused(503, "unavailable: x")), postTry(0, 2, 2, 12, 13, dup))),
			want: []string{"DUPLICATE the first time"},
		},
		"a part": {
			ops:  with(base, ops(post(0, 2, 10, 11, unknown), postTry(0, 2, 2, 12, 13, history.Posted{Duplicates: 1, Deliveries: 1}))),
			want: []string{"1 of 2 were answered DUPLICATE"},
		},
		"another receipt": {
			ops:  with(base, ops(post(0, 2, 10, 11), postTry(0, 2, 2, 12, 13, history.Posted{Duplicates: 2, Deliveries: 3}))),
			want: []string{"3 deliveries, the first said 1"},
		},
		"two identities": {ops: with(base, ops(post(0, 1, 10, 11, unknown), postTry(0, 1, 2, 12, 13, history.Posted{Duplicates: 1, Deliveries: 1}),
			arrive("a", 0, 1, 14, 15, 200), arrive("b", 0, 1, 16, 17, 200))), want: []string{"two webhook-ids"}},
	})
}

func TestI8_duplicates(t *testing.T) {
	t.Parallel()
	base := subscribed(history.Profile{})
	slowly := faultOps("1", 5, 100, history.Fault{Kills: true, Nodes: []string{"n1"}})
	slowly[2].Return = 40_500 * 1_000_000
	kill := faultOps("1", 15_000, 16_000, history.Fault{Kills: true})
	slow := func(a *history.Arrived) { a.Behaviour = "slow" }
	judge(t, "duplicates", map[string]verdictCase{
		"once each, one without an answer before":        {ops: with(base, ops(post(0, 2, 10, 11), arrive("a", 0, 1, 12, 13, 0), arrive("a", 0, 1, 14, 15, 200), arrive("b", 1, 1, 12, 13, 200)))},
		"without a fault":                                {ops: with(base, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 12, 13, 200), arrive("a", 0, 1, 14, 15, 200))), want: []string{"without a fault"}},
		"across a fault":                                 {ops: with(base, kill, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 12, 13, 200), arrive("a", 0, 1, 17_000, 17_001, 200)))},
		"shortly after a fault":                          {ops: with(base, kill, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 18_000, 18_001, 200), arrive("a", 0, 1, 19_000, 19_001, 200)))},
		"a wall clock that jumps is no excuse":           {ops: with(base, faultOps("1", 0, 90_000, history.Fault{Name: "N13", Harmless: true}), ops(post(0, 1, 10, 11), arrive("a", 0, 1, 12, 13, 200), arrive("a", 0, 1, 14, 15, 200))), want: []string{"without a fault"}},
		"while a node still comes back from a fault":     {ops: with(base, slowly, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 40_000, 40_001, 200), arrive("a", 0, 1, 41_000, 41_001, 200)))},
		"long after a fault":                             {ops: with(base, kill, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 40_000, 40_001, 200), arrive("a", 0, 1, 41_000, 41_001, 200))), want: []string{"without a fault"}},
		"of a receiver that answers in a way of its own": {ops: with(base, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 12, 13, 200, slow), arrive("a", 0, 1, 14, 15, 200)))},
		"under another webhook-id, across a fault":       {ops: with(base, kill, ops(post(0, 1, 10, 11), arrive("a", 0, 1, 12, 13, 200), arrive("b", 0, 1, 17_000, 17_001, 200))), want: []string{"under another webhook-id"}},
		"in other company, across a fault": {
			ops:  with(base, kill, ops(post(0, 2, 10, 11), arrive("a", 0, 1, 12, 13, 200), arrive("b", 0, 2, 17_000, 17_001, 200))),
			want: []string{"(1 and 2 events in the requests)"},
		},
		"in other company, which is allowed": {ops: with(base, kill, ops(post(0, 2, 10, 11), arrive("a", 0, 1, 12, 13, 200), arrive("b", 0, 2, 17_000, 17_001, 200))), options: Options{AllowRebatched: true}},
		"alone, which is never allowed":      {ops: with(base, kill, ops(post(0, 2, 10, 11), arrive("a", 0, 1, 12, 13, 200), arrive("b", 0, 1, 17_000, 17_001, 200))), options: Options{AllowRebatched: true}, want: []string{"another webhook-id"}},
		"without a fault, it is not allowed": {ops: with(base, ops(post(0, 2, 10, 11), arrive("a", 0, 1, 12, 13, 200), arrive("b", 0, 2, 17_000, 17_001, 200))), options: Options{AllowRebatched: true}, want: []string{"another webhook-id", "without a fault"}},
		"one webhook-id for two bodies": {
			ops:  with(base, ops(post(0, 2, 10, 11), arrive("a", 0, 1, 12, 13, 200), arrive("a", 1, 1, 14, 15, 200))),
			want: []string{"one webhook-id stands for different events"},
		},
	})
}
