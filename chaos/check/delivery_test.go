package check

import (
	"testing"
	"time"

	"example.com/belfry/chaos/history"
)

func TestI9_order(t *testing.T) {
	t.Parallel()
	byKey := subscribed(history.Profile{Ordering: "KEY"})
	strict := subscribed(history.Profile{Ordering: "STRICT"})
	// Events 0 and 2 have key 0, 1 and 3 key 1.
	posts := ops(post(0, 2, 10, 11, keyed(2)), post(2, 2, 20, 21, keyed(2)))
	other := func(from int64, call int64) history.Op {
		return op(history.EventPost, "r", call, call+1, history.Post{Account: "a", Producer: "r", Channel: "SMS", Event: "E", From: from, N: 1, Try: 1}, history.Posted{Deliveries: 1})
	}
	fromR := func(a *history.Arrived) { a.Runs[0].Producer = "r" }
	judge(t, "order", map[string]verdictCase{
		"in order, one unknown, keys side by side": {ops: with(byKey, posts, ops(
			arrive("b", 1, 1, 12, 13, 200), arrive("c", 0, 1, 14, 15, 500), arrive("d", 3, 1, 22, 23, 0), arrive("c", 0, 1, 24, 25, 200), arrive("d", 3, 1, 26, 27, 200), arrive("e", 2, 1, 28, 29, 200),
			deadAtEnd(), post(4, 2, 30, 31, unknown)))},
		"in one request":          {ops: with(byKey, posts, ops(arrive("b", 0, 4, 22, 23, 200), deadAtEnd()))},
		"a successor before":      {ops: with(byKey, posts, ops(arrive("b", 2, 1, 22, 23, 200), arrive("c", 0, 2, 24, 25, 200), arrive("d", 3, 1, 26, 27, 200), deadAtEnd())), want: []string{"event q.0, accepted by 11ms, arrived after event q.2"}},
		"a successor alone":       {ops: with(byKey, posts, ops(arrive("b", 2, 2, 22, 23, 200), arrive("c", 0, 1, 20, 21, 200), deadAtEnd())), want: []string{"event q.1, accepted by 11ms, has not arrived but event q.3"}},
		"the predecessor is dead": {ops: with(byKey, posts, ops(arrive("b", 2, 2, 22, 23, 200), arrive("c", 0, 1, 20, 21, 200), deadAtEnd("q.1")))},
		"dead letters not known":  {ops: with(byKey, posts, ops(arrive("b", 2, 2, 22, 23, 200), arrive("c", 0, 1, 20, 21, 200))), unknown: 1},
		"within a request": {ops: with(strict, ops(post(0, 2, 10, 11), arrive("b", 0, 2, 12, 13, 200, func(a *history.Arrived) {
			a.Runs = []history.Run{{Producer: "q", From: 1, N: 1}, {Producer: "q", From: 0, N: 1}}
		}), deadAtEnd())), want: []string{"event q.0, accepted by 11ms, arrived after event q.1"}},
		"strict over two producers": {ops: with(strict, ops(post(0, 1, 10, 11), other(0, 20), arrive("b", 0, 1, 22, 23, 200, fromR), arrive("c", 0, 1, 24, 25, 200), deadAtEnd())), want: []string{"event q.0, accepted by 11ms, arrived after event r.0"}},
		"posted side by side":       {ops: with(strict, ops(post(0, 1, 10, 21), other(0, 20), arrive("b", 0, 1, 22, 23, 200, fromR), arrive("c", 0, 1, 24, 25, 200), deadAtEnd()))},
		"two requests at one time":  {ops: with(strict, ops(post(0, 2, 10, 11), arrive("b", 0, 1, 12, 90, 200), arrive("c", 1, 1, 50, 91, 200), deadAtEnd())), want: []string{"two requests at one time"}},
	})
}

func TestI10_retries(t *testing.T) {
	t.Parallel()
	base := with(subscribed(history.Profile{Schedule: []int64{1, 2}}), ops(post(0, 1, 10, 11)))
	kill := faultOps("1", 500, 900, history.Fault{Kills: true})
	second := func(call int64, status int) history.Op { return arrive("a", 0, 1, call, call+1, status, attempt(2)) }
	throttled := func(ask int64, name string) history.Op {
		return arrive("a", 0, 1, 12, 13, 429, func(a *history.Arrived) { a.RetryAfter, a.Behaviour = ask, name })
	}
	replay := op(history.DeadReplay, "d", 5000, 5001, history.DeadQuery{Account: "a"}, nil)
	judge(t, "retries", map[string]verdictCase{
		"by the policy":                    {ops: with(base, ops(arrive("a", 0, 1, 12, 13, 500), second(1100, 500), arrive("a", 0, 1, 3100, 3101, 200, attempt(3))))},
		"with unknown ones":                {ops: with(base, ops(arrive("a", 0, 1, 12, 700, 0), second(1100, 0), arrive("a", 0, 1, 3100, 3101, 200, attempt(3))))},
		"too early":                        {ops: with(base, ops(arrive("a", 0, 1, 12, 13, 500), second(800, 200))), want: []string{"attempt 2 of event q.0 comes 787ms after the one before, the policy says 1s"}},
		"too early, also under a fault":    {ops: with(base, kill, ops(arrive("a", 0, 1, 12, 13, 500), second(800, 200))), want: []string{"comes 787ms"}},
		"too late":                         {ops: with(base, ops(arrive("a", 0, 1, 12, 13, 500), second(1400, 200))), want: []string{"287ms later than the policy allows"}},
		"late under a fault":               {ops: with(base, kill, ops(arrive("a", 0, 1, 12, 13, 500), second(5400, 200)))},
		"the same attempt again":           {ops: with(base, ops(arrive("a", 0, 1, 12, 13, 500), arrive("a", 0, 1, 50, 51, 200))), want: []string{"attempt 1 of event q.0 comes after attempt 1 was answered 500, without a fault"}},
		"the same again, under a fault":    {ops: with(base, kill, ops(arrive("a", 0, 1, 12, 13, 500), arrive("a", 0, 1, 550, 551, 200)))},
		"too many attempts":                {ops: with(base, ops(arrive("a", 0, 1, 12, 13, 500), arrive("a", 0, 1, 9000, 9001, 500, attempt(4)))), want: []string{"attempt 4 of event q.0, the policy has 3"}},
		"more attempts after a replay":     {ops: with(base, ops(arrive("a", 0, 1, 12, 13, 500), arrive("a", 0, 1, 9000, 9001, 200, attempt(4)), deadAtEnd("q.0"), replay))},
		"perhaps a replay":                 {ops: with(base, ops(arrive("a", 0, 1, 12, 13, 500), arrive("a", 0, 1, 9000, 9001, 200, attempt(4)), replay)), unknown: 1},
		"Retry-After":                      {ops: with(base, ops(throttled(2000, ""), second(2100, 200)))},
		"Retry-After ignored":              {ops: with(base, ops(throttled(2000, ""), second(1100, 200))), want: []string{"after a receiver asked for 2s"}},
		"Retry-After as a date":            {ops: with(base, ops(throttled(2000, "429-date"), second(1100, 200)))},
		"Retry-After of years":             {ops: with(base, ops(throttled(1<<50, ""), second(5000, 200))), want: []string{"asked for 24h0m0s"}},
		"negative Retry-After":             {ops: with(base, ops(throttled(-5000, ""), second(1100, 200)))},
		"again after 410":                  {ops: with(base, ops(arrive("a", 0, 1, 12, 13, 410), second(1010, 200))), want: []string{"sent again after 410"}},
		"others shortly after 410":         {ops: with(base, ops(arrive("a", 0, 1, 12, 13, 410), arrive("b", 1, 1, 900, 901, 200)))},
		"others long after 410":            {ops: with(base, ops(arrive("a", 0, 1, 12, 13, 410), arrive("b", 1, 1, 1900, 1901, 200))), want: []string{"a request starts 1.887s after 410"}},
		"after 410 the profile is changed": {ops: with(base, ops(arrive("a", 0, 1, 12, 13, 410), arrive("b", 1, 1, 1900, 1901, 200), op(history.ProfilePut, "p", 1800, 1801, history.Config{Account: "a", Profile: &history.Profile{}}, nil)))},
		"a redirect": {
			ops:  with(base, ops(arrive("a", 0, 1, 12, 13, 302), arrive("a", 0, 0, 14, 15, 200, func(a *history.Arrived) { a.Account, a.Dest = redirected, redirected }))),
			want: []string{"a redirect was followed"},
		},
	})
}

// The policy that is judged by is that of the documentation: 41 hours and a
// half.
func TestDefaultPolicy(t *testing.T) {
	t.Parallel()
	p := defaultPolicy()
	var sum time.Duration
	for n := int32(1); ; n++ {
		d, ok := p.wait(n)
		if !ok {
			if n != 21 {
				t.Errorf("%d attempts", n)
			}
			break
		}
		sum += d
	}
	if sum != 41*time.Hour+30*time.Minute {
		t.Errorf("the waits add up to %v", sum)
	}
}
