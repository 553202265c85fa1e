package dispatch

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

type fakeBacklog map[string]int

func (b fakeBacklog) Backlog(account string) (own, all int) {
	for _, n := range b {
		all += n
	}
	return b[account], all
}

// INV publish-7, at each limit and one above.
func TestTurnstile_limits(t *testing.T) {
	t.Parallel()
	full := model.Errorf(model.CodeUnavailable, "the disk is full")
	for _, tc := range []struct {
		name    string
		a       Admission
		backlog fakeBacklog
		events  int
		want    model.Code
		after   int
	}{
		{name: "nothing owed", events: 1},
		{name: "own backlog below", backlog: fakeBacklog{"acme": 9}, events: 1000},
		{name: "own backlog at the limit", backlog: fakeBacklog{"acme": 10}, events: 1, want: model.CodeLimit, after: backlogWait},
		{name: "all below", backlog: fakeBacklog{"acme": 9, "b": 5, "c": 5}, events: 1},
		{name: "all at the limit", backlog: fakeBacklog{"acme": 9, "b": 5, "c": 6}, events: 1, want: model.CodeLimit, after: backlogWait},
		{name: "another's backlog", backlog: fakeBacklog{"b": 11}, events: 1},
		{name: "disk", a: Admission{Disk: func() error { return full }}, events: 1, want: model.CodeUnavailable},
		{name: "the largest request is within any rate", a: Admission{AccountRate: 5}, events: event.MaxBatchEvents},
		{name: "one above", a: Admission{AccountRate: 5}, events: event.MaxBatchEvents + 1, want: model.CodeLimit, after: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.a.MaxAccountBacklog, tc.a.MaxBacklog = 10, 20
			tc.a.AccountRate = max(tc.a.AccountRate, 1)
			err := newTurnstile(tc.a, tc.backlog).admit("acme", tc.events)
			if code := model.CodeOf(err); code != tc.want {
				t.Fatalf("got %v, want code %q", err, tc.want)
			}
			if e, ok := errors.AsType[*model.Error](err); ok && tc.after > 0 && e.RetryAfter != tc.after {
				t.Errorf("retry after %d s, want %d", e.RetryAfter, tc.after)
			}
		})
	}
}

func TestTurnstile_rate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newTurnstile(Admission{AccountRate: 2000, MaxAccountBacklog: 1, MaxBacklog: 1}, fakeBacklog{})
		must := func(account string, n int, want string) {
			t.Helper()
			got := ""
			if e, ok := errors.AsType[*model.Error](g.admit(account, n)); ok {
				got = fmt.Sprint(e.Code, " ", e.RetryAfter)
			}
			if got != want {
				t.Errorf("%d events of %s: got %q, want %q", n, account, got, want)
			}
		}
		must("a", 1000, "")
		must("a", 1000, "")
		must("a", 1000, "limit 1")
		must("b", 1000, "")
		time.Sleep(499 * time.Millisecond)
		must("a", 1000, "limit 1")
		time.Sleep(time.Millisecond)
		must("a", 1000, "")
		for i := range 3 * maxRates {
			must(fmt.Sprint("x", i), 1, "")
		}
		if n := len(g.young) + len(g.old); n > maxRates {
			t.Errorf("%d rates are remembered, the limit is %d", n, maxRates)
		}
	})
}
