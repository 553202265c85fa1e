package outbox

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// die makes a dead letter of an event of its own with a payload of n bytes.
func (d *driver) die(at time.Time, account, id string, n, attempt int) { //nolint:unparam // calls read better with it
	d.t.Helper()
	d.accept(at, event.Event{Account: account, ID: id, Channel: "SMS", Name: "DELIVERY", Payload: make([]byte, n)}, 1, 0, id)
	d.settle(at, Settlement{
		DeliveryID: id, Status: event.StatusDead, Attempt: attempt, WebhookID: id,
		Failure: event.Failure{Outcome: "client-error", StatusCode: 404, Error: "no"},
	})
}

func (d *driver) deadIDs(account string) []string { //nolint:unparam // calls read better with it
	d.t.Helper()
	p, err := d.s.DeadLetters(account, event.DeadFilter{}, time.Time{}, 100)
	if err != nil {
		d.t.Fatal(err)
	}
	out := []string{}
	for i := range p.DeadLetters {
		out = append(out, p.DeadLetters[i].DeliveryID)
	}
	return out
}

func (d *driver) refused(c Command) model.Code {
	d.t.Helper()
	return codeOf(d.apply(c))
}

// TestRetain checks INV outbox-8 at each bound and one above.
func TestRetain(t *testing.T) {
	t.Parallel()
	const size = 100 + DeadOverhead
	wide := Retention{Age: time.Hour, Bytes: 1 << 20, Count: 100}
	for _, tc := range []struct {
		name   string
		change func(*Retention)
		at     time.Duration
		want   []string
	}{
		{"wide", func(*Retention) {}, 0, []string{"d2", "d1", "d0"}},
		{"count at", func(r *Retention) { r.Count = 3 }, 0, []string{"d2", "d1", "d0"}},
		{"count above", func(r *Retention) { r.Count = 2 }, 0, []string{"d2", "d1"}},
		{"bytes at", func(r *Retention) { r.Bytes = 3 * size }, 0, []string{"d2", "d1", "d0"}},
		{"bytes above", func(r *Retention) { r.Bytes = 3*size - 1 }, 0, []string{"d2", "d1"}},
		{"age at", func(*Retention) {}, time.Hour - 1, []string{"d2", "d1", "d0"}},
		{"age above", func(*Retention) {}, time.Hour, []string{"d2", "d1"}},
		{"all", func(r *Retention) { r.Bytes = 1 }, 0, []string{}},
	} {
		reg := prometheus.NewRegistry()
		d := drive(t, openTest(t, Options{Registerer: reg}))
		for i := range 3 {
			d.die(testEpoch.Add(time.Duration(i)*time.Minute), "acme", fmt.Sprint("d", i), 100, 1)
		}
		r := wide
		tc.change(&r)
		if code := d.refused(&Retain{At: testEpoch.Add(tc.at), Retention: r}); code != "" {
			t.Fatalf("%s: refused with %s", tc.name, code)
		}
		if diff := cmp.Diff(tc.want, d.deadIDs("acme")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
		got := d.s.Stats()
		if got.DeadLetters != len(tc.want) || got.DeadBytes != int64(size*len(tc.want)) || got.DeadForgotten != uint64(3-len(tc.want)) {
			t.Errorf("%s: %+v", tc.name, got)
		}
		if d.s.Retention() != r {
			t.Errorf("%s: %+v is in force", tc.name, d.s.Retention())
		}
	}
}

func TestRetain_bounds(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{}))
	if want := (Retention{Age: DefaultDeadAge, Bytes: DefaultDeadBytes, Count: MaxDeadLetters}); d.s.Retention() != want {
		t.Errorf("before any Retain: %+v", d.s.Retention())
	}
	for _, tc := range []struct {
		r  Retention
		ok bool
	}{
		{Retention{1, 1, 1}, true},
		{Retention{0, 1, 1}, false},
		{Retention{1, 0, 1}, false},
		{Retention{1, 1, 0}, false},
		{Retention{MaxRetainAge, MaxRetainBytes, MaxRetainCount}, true},
		{Retention{MaxRetainAge + 1, 1, 1}, false},
		{Retention{1, MaxRetainBytes + 1, 1}, false},
		{Retention{1, 1, MaxRetainCount + 1}, false},
	} {
		before := d.s.Retention()
		code := d.refused(&Retain{At: testEpoch, Retention: tc.r})
		if (code == "") != tc.ok || code != "" && (code != model.CodeInvalid || d.s.Retention() != before) {
			t.Errorf("%+v: answered %q", tc.r, code)
		}
	}
}

// Log time that moves lets the oldest go; RetentionDue says when nothing does.
func TestRetain_age(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{}))
	d.apply(&Retain{At: testEpoch, Retention: Retention{Age: time.Minute, Bytes: 1 << 20, Count: 10}})
	d.die(testEpoch, "acme", "d0", 1, 1)
	d.die(testEpoch.Add(time.Second), "acme", "d1", 1, 1)
	end := testEpoch.Add(time.Minute)
	if d.s.RetentionDue(end.Add(-1)) || !d.s.RetentionDue(end) {
		t.Error("RetentionDue is wrong at the edge")
	}
	d.accept(end, given("other"), 1, 0)
	if diff := cmp.Diff([]string{"d1"}, d.deadIDs("acme")); diff != "" {
		t.Errorf("after a minute (-want +got):\n%s", diff)
	}
	if d.s.RetentionDue(end) {
		t.Error("due though the oldest went")
	}
}

// Retention and its figures survive a restart and a snapshot.
func TestRetain_persists(t *testing.T) {
	t.Parallel()
	a, b := drive(t, openTest(t, Options{})), openTest(t, Options{})
	r := Retention{Age: time.Hour, Bytes: 1 << 20, Count: 7}
	a.apply(&Retain{At: testEpoch, Retention: r})
	a.die(testEpoch, "acme", "d0", 1234, 1)
	if err := b.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, a.s)))); err != nil {
		t.Fatal(err)
	}
	if b.Retention() != r || b.Stats().DeadBytes != 1234+DeadOverhead {
		t.Errorf("restored: %+v, %d bytes", b.Retention(), b.Stats().DeadBytes)
	}
	got, err := b.DeadLetter("acme", "d0")
	if err != nil || got.Failure != (event.Failure{Outcome: "client-error", StatusCode: 404, Error: "no"}) || !got.DeadAt.Equal(testEpoch) {
		t.Errorf("restored: %+v, %v", got, err)
	}
	if _, err := b.DeadLetter("bolt", "d0"); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("for another account: %v", err)
	}
	if _, err := b.DeadLetter("acme", "d1"); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("unknown: %v", err)
	}
}

// A page looks at no more than MaxDeadLook, and the list goes on from there.
func TestDeadLetters_bounded(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{}))
	d.die(testEpoch, "acme", "first", 1, 1)
	for i := range MaxDeadLook - 1 {
		d.die(testEpoch, "acme", fmt.Sprint("d", i), 1, 1)
	}
	f := event.DeadFilter{EventID: "first"}
	p, err := d.s.DeadLetters("acme", f, time.Time{}, 5)
	if err != nil || len(p.DeadLetters) != 1 || !p.Next.IsZero() {
		t.Fatalf("at the limit: %d found, next %v, %v", len(p.DeadLetters), p.Next, err)
	}
	d.die(testEpoch, "acme", "last", 1, 1)
	p, err = d.s.DeadLetters("acme", f, time.Time{}, 5)
	if err != nil || len(p.DeadLetters) != 0 || p.Next.IsZero() {
		t.Fatalf("one above: %d found, next %v, %v", len(p.DeadLetters), p.Next, err)
	}
	p, err = d.s.DeadLetters("acme", f, p.Next, 5)
	if err != nil || len(p.DeadLetters) != 1 || !p.Next.IsZero() {
		t.Fatalf("the rest: %d found, next %v, %v", len(p.DeadLetters), p.Next, err)
	}
	if n, err := d.s.CountDead("acme", f); n != 1 || err != nil {
		t.Errorf("CountDead = %d, %v", n, err)
	}
}
