package tail

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
)

func entry(id string) event.TailEntry {
	return event.TailEntry{Kind: event.TailAccepted, EventID: id, Channel: "SMS", Name: "DELIVERY"}
}

// reader polls one account without waiting.
type reader struct {
	t       *testing.T
	r       *Ring
	account string
	since   uint64
}

func (r *reader) want(dropped uint64, ids ...string) {
	r.t.Helper()
	es, next, d, err := r.r.Poll(r.t.Context(), r.account, event.TailFilter{}, r.since, 100, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	r.since = next
	var got []string
	for _, e := range es {
		got = append(got, e.EventID)
	}
	if diff := cmp.Diff(ids, got); diff != "" || d != dropped {
		r.t.Errorf("%s: dropped %d, want %d; entries (-want +got):\n%s", r.account, d, dropped, diff)
	}
}

func TestRing_followsFromTheFirstPoll(t *testing.T) {
	t.Parallel()
	r := New(Options{})
	if r.Wanted("acme") {
		t.Error("wanted before anybody asked")
	}
	r.Append("acme", entry("before"))
	a := &reader{t: t, r: r, account: "acme"}
	a.want(0)
	if !r.Wanted("acme") || r.Wanted("bolt") {
		t.Error("acme is followed and bolt is not")
	}
	r.Append("acme", entry("1"))
	r.Append("bolt", entry("theirs"))
	r.Append("acme", entry("2"))
	a.want(0, "1", "2")
	a.want(0)
	b := &reader{t: t, r: r, account: "acme"} // a second reader begins now
	b.want(0)
	r.Append("acme", entry("3"))
	a.want(0, "3")
	b.want(0, "3")
}

// INV tail-1, tail-2: at the limit nothing is dropped, one above it is counted,
// for the account's own readers only.
// Headers would be most of what is kept here.
func TestRing_noHeaders(t *testing.T) {
	t.Parallel()
	r := New(Options{})
	_, since, _, err := r.Poll(t.Context(), "acme", event.TailFilter{}, 0, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	fields := []event.HeaderField{{Name: "Date", Value: "today"}}
	given := &event.Attempt{Attempt: 3, RequestHeaders: fields, ResponseHeaders: fields, HeadersCut: true}
	e := entry("1")
	e.Attempt = given
	r.Append("acme", e)
	es, _, _, err := r.Poll(t.Context(), "acme", event.TailFilter{}, since, 1, 0)
	if diff := cmp.Diff(&event.Attempt{Attempt: 3}, es[0].Attempt); diff != "" || err != nil || given.RequestHeaders == nil {
		t.Errorf("%v, %v (-want +got):\n%s", err, given, diff)
	}
}

func TestRing_size(t *testing.T) {
	t.Parallel()
	const size = 8
	r := New(Options{Size: size})
	a, b := &reader{t: t, r: r, account: "acme"}, &reader{t: t, r: r, account: "bolt"}
	a.want(0)
	b.want(0)
	var ids []string
	for i := range size {
		ids = append(ids, fmt.Sprint(i))
		r.Append("acme", entry(ids[i]))
	}
	a.want(0, ids...)
	ids = nil
	for i := range size + 3 {
		if i >= 3 {
			ids = append(ids, fmt.Sprint(i))
		}
		r.Append("acme", entry(fmt.Sprint(i)))
	}
	a.want(3, ids...)
	b.want(0)
}

func TestRing_limitOfOnePoll(t *testing.T) {
	t.Parallel()
	r := New(Options{})
	a := &reader{t: t, r: r, account: "acme"}
	a.want(0)
	for i := range 101 {
		r.Append("acme", entry(fmt.Sprint(i)))
	}
	es, next, _, _ := r.Poll(t.Context(), "acme", event.TailFilter{}, a.since, 100, 0)
	if len(es) != 100 {
		t.Errorf("got %d entries, want 100", len(es))
	}
	a.since = next
	a.want(0, "100")
}

func TestRing_waits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{})
		f := event.TailFilter{Channel: "SMS"}
		began := time.Now()
		if es, _, _, err := r.Poll(t.Context(), "acme", f, 0, 10, time.Second); len(es) > 0 || err != nil || time.Since(began) != time.Second {
			t.Errorf("nothing to tell: %v, %v after %v", es, err, time.Since(began))
		}
		got := make(chan int)
		go func() {
			es, _, _, _ := r.Poll(t.Context(), "acme", f, 0, 10, time.Minute)
			got <- len(es)
		}()
		synctest.Wait()
		other := entry("x")
		other.Channel = "MMS"
		r.Append("acme", other)
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("an entry that does not fit ended the wait")
		default:
		}
		r.Append("acme", entry("y"))
		if n := <-got; n != 1 {
			t.Errorf("got %d entries, want 1", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, _, err := r.Poll(ctx, "acme", f, 0, 10, time.Minute); !errors.Is(err, context.Canceled) {
			t.Errorf("a poll that is cut short: %v", err)
		}
	})
}

func TestRing_idle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Idle: 30 * time.Second})
		a := &reader{t: t, r: r, account: "acme"}
		a.want(0)
		time.Sleep(30*time.Second - 1)
		if !r.Wanted("acme") {
			t.Error("given up before its time")
		}
		time.Sleep(time.Nanosecond)
		if r.Wanted("acme") || r.followed.Load() != 0 {
			t.Error("nobody asked for 30 s, and it is followed still")
		}
		r.Append("acme", entry("missed"))
		a.want(0) // begins anew, with numbers above the old ones
		r.Append("acme", entry("1"))
		a.want(0, "1")
	})
}

// INV tail-1.
func TestRing_accounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Accounts: 3})
		for i := range 4 {
			(&reader{t: t, r: r, account: fmt.Sprint("a", i)}).want(0)
			time.Sleep(time.Millisecond)
			if i == 2 {
				(&reader{t: t, r: r, account: "a0"}).want(0) // asked again: a1 is the oldest now
				time.Sleep(time.Millisecond)
			}
		}
		for i, want := range []bool{true, false, true, true} {
			if got := r.Wanted(fmt.Sprint("a", i)); got != want {
				t.Errorf("a%d followed: %v, want %v", i, got, want)
			}
		}
	})
}

// Readers of more accounts than are followed do not chase each other: who made
// room returns and asks again in its own time.
func TestRing_waitingReaderMakesRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Accounts: 1})
		took := make(chan time.Duration)
		began := time.Now()
		go func() {
			_, _, _, _ = r.Poll(t.Context(), "a", event.TailFilter{}, 0, 10, time.Minute)
			took <- time.Since(began)
		}()
		synctest.Wait()
		time.Sleep(time.Second)
		(&reader{t: t, r: r, account: "b"}).want(0)
		if d := <-took; d != time.Second || r.Wanted("a") || !r.Wanted("b") {
			t.Errorf("the reader that made room returned after %v; a followed %v, b %v", d, r.Wanted("a"), r.Wanted("b"))
		}
	})
}

func TestMatches(t *testing.T) {
	t.Parallel()
	e := event.TailEntry{
		Kind: event.TailAttempt, Channel: "SMS", Name: "DELIVERY", Resource: "r", ApplicationID: "a", EntityID: "e", User: "u", OrderingKey: "k",
		ProfileID: "p", SubscriptionIDs: []string{"s1", "s2"}, Status: event.StatusDelivered,
	}
	for name, f := range map[string]struct{ yes, no event.TailFilter }{
		"kind":         {event.TailFilter{Kind: event.TailAttempt}, event.TailFilter{Kind: event.TailAccepted}},
		"channel":      {event.TailFilter{Channel: "SMS"}, event.TailFilter{Channel: "MMS"}},
		"event":        {event.TailFilter{Name: "DELIVERY"}, event.TailFilter{Name: "CLICK"}},
		"resource":     {event.TailFilter{Resource: "r"}, event.TailFilter{Resource: "R"}},
		"application":  {event.TailFilter{ApplicationID: "a"}, event.TailFilter{ApplicationID: "b"}},
		"entity":       {event.TailFilter{EntityID: "e"}, event.TailFilter{EntityID: "f"}},
		"user":         {event.TailFilter{User: "u"}, event.TailFilter{User: "k"}},
		"ordering key": {event.TailFilter{OrderingKey: "k"}, event.TailFilter{OrderingKey: "u"}},
		"profile":      {event.TailFilter{ProfileID: "p"}, event.TailFilter{ProfileID: "q"}},
		"subscription": {event.TailFilter{SubscriptionID: "s2"}, event.TailFilter{SubscriptionID: "s3"}},
		"status":       {event.TailFilter{Status: event.StatusDelivered}, event.TailFilter{Status: event.StatusDead}},
		"all of it": {
			event.TailFilter{Kind: event.TailAttempt, Channel: "SMS", ProfileID: "p", SubscriptionID: "s1"},
			event.TailFilter{Kind: event.TailAttempt, Channel: "SMS", ProfileID: "p", SubscriptionID: "s9"},
		},
	} {
		if !matches(&f.yes, &e) || matches(&f.no, &e) {
			t.Errorf("%s: %v, %v; want true, false", name, matches(&f.yes, &e), matches(&f.no, &e))
		}
	}
}

func BenchmarkWanted_nobody(b *testing.B) {
	r := New(Options{})
	for b.Loop() {
		if r.Wanted("acme") {
			b.Fatal("wanted")
		}
	}
}
