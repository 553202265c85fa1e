package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// driver applies commands at rising indices.
type driver struct {
	t     *testing.T
	s     *Store
	index uint64
}

func drive(t *testing.T, s *Store) *driver {
	t.Helper()
	return &driver{t: t, s: s, index: s.AppliedIndex()}
}

func (d *driver) apply(c Command) any {
	d.index++
	return d.s.Apply(&raft.Log{Index: d.index, Type: raft.LogCommand, Data: Encode(c)})
}

// accept takes one event with one delivery per id, all for profile p.
func (d *driver) accept(at time.Time, e event.Event, digest byte, window time.Duration, ids ...string) Result {
	d.t.Helper()
	a := AcceptedEvent{Event: e, Digest: [32]byte{digest}, ForgetAt: at.Add(window)}
	for _, id := range ids {
		a.Targets = append(a.Targets, Target{DeliveryID: id, ProfileID: "p", SubscriptionIDs: []string{"s"}})
	}
	rs, err := DecodeResults(d.apply(&Accept{At: at, Events: []AcceptedEvent{a}}).([]byte))
	if err != nil || len(rs) != 1 {
		d.t.Fatalf("accept: %v, %v", rs, err)
	}
	return rs[0]
}

func (d *driver) settle(at time.Time, s Settlement) Verdict {
	d.t.Helper()
	vs, err := DecodeVerdicts(d.apply(&Settle{At: at, Settlements: []Settlement{s}}).([]byte))
	if err != nil || len(vs) != 1 {
		d.t.Fatalf("settle: %v, %v", vs, err)
	}
	return vs[0]
}

func given(id string) event.Event {
	return event.Event{Account: "acme", ID: id, GivenID: true, Channel: "SMS", Name: "DELIVERY", Payload: []byte(`{}`)}
}

var pLane = LaneKey{Account: "acme", Destination: "p:p"}

func ids(ds []Delivery) []string {
	out := []string{}
	for i := range ds {
		out = append(out, ds[i].ID)
	}
	return out
}

func take(t *testing.T, s *Store, now time.Time, limit, maxBytes int) Batch {
	t.Helper()
	b, err := s.Take(pLane, now, TakeOptions{Limit: limit, MaxBytes: maxBytes})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStore_idempotencyWindow checks INV outbox-5 and outbox-7 at their edges.
func TestStore_idempotencyWindow(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{Limits: Limits{Receipts: 2}}))
	first, dup := Result{Status: event.Accepted, Deliveries: 1}, Result{Status: event.Duplicate, Deliveries: 1}
	check := func(what string, got, want Result) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	at := testEpoch
	check("first", d.accept(at, given("a"), 1, time.Minute, "a1"), first)
	check("again", d.accept(at, given("a"), 1, time.Minute, "a2"), dup)
	check("other content", d.accept(at, given("a"), 2, time.Minute, "a3"), Result{Conflict: true})
	other := given("a")
	other.Account = "other"
	check("other account", d.accept(at, other, 2, time.Minute, "o1"), first)
	check("pending outlives the window", d.accept(at.Add(time.Hour), given("a"), 1, time.Minute, "a4"), dup)
	d.settle(at.Add(time.Hour), Settlement{DeliveryID: "a1", Status: event.StatusDelivered, Attempt: 1})
	check("settled after the window", d.accept(at.Add(time.Hour), given("a"), 2, time.Minute, "a5"), first)

	at = at.Add(2 * time.Hour)
	check("b", d.accept(at, given("b"), 1, time.Minute, "b1"), first)
	d.settle(at, Settlement{DeliveryID: "b1", Status: event.StatusDelivered, Attempt: 1})
	check("b within a nanosecond", d.accept(at.Add(time.Minute-1), given("b"), 1, time.Minute, "b2"), dup)
	check("b at its end", d.accept(at.Add(time.Minute), given("b"), 1, time.Minute, "b3"), first)
	check("a clock that goes back", d.accept(at, given("b"), 2, time.Minute, "b4"), Result{Conflict: true})

	at = at.Add(time.Hour)
	for i, id := range []string{"x", "y", "z"} {
		check(id, d.accept(at, given(id), 1, time.Hour, fmt.Sprint("n", i)), first)
		d.settle(at, Settlement{DeliveryID: fmt.Sprint("n", i), Status: event.StatusDelivered, Attempt: 1})
	}
	check("at the count", d.accept(at, given("y"), 1, time.Hour, "n8"), dup)
	check("above the count", d.accept(at, given("x"), 2, time.Hour, "n9"), first)
}

// TestStore_epochs checks INV outbox-1 and outbox-2.
// Knows is a hint that may only err towards yes.
func TestStore_Knows(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	d := drive(t, s)
	at := testEpoch
	if s.Knows("acme", "e") {
		t.Error("an id of nobody is known")
	}
	d.accept(at, given("e"), 1, time.Minute, "d1")
	made := given("f")
	made.GivenID = false
	d.accept(at, made, 1, time.Minute, "d2")
	for id, want := range map[string]bool{"e": true, "f": false, "g": false} {
		if got := s.Knows("acme", id); got != want {
			t.Errorf("Knows(%s) = %v, want %v", id, got, want)
		}
	}
	if s.Knows("bolt", "e") {
		t.Error("the id of another account is known")
	}
}

func TestStore_epochs(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{}))
	for _, tc := range []struct {
		owner string
		epoch uint64
		ok    bool
	}{{"n1", 3, true}, {"n1", 3, true}, {"n2", 3, false}, {"n2", 2, false}, {"n2", 4, true}, {"n1", 3, false}} {
		err, refused := d.apply(&Claim{Partition: 0, Owner: tc.owner, Epoch: tc.epoch}).(*model.Error)
		if refused == tc.ok {
			t.Errorf("claim of epoch %d by %s: got %v", tc.epoch, tc.owner, err)
		}
	}
	d.accept(testEpoch, given("a"), 1, time.Minute, "a1", "a2")
	for epoch, want := range map[uint64]Verdict{3: Fenced, 5: Fenced, 4: Settled} {
		s := Settlement{DeliveryID: "a1", Epoch: epoch, Status: event.StatusDelivered, Attempt: 1}
		if got := d.settle(testEpoch, s); got != want {
			t.Errorf("settlement at epoch %d: got %d, want %d", epoch, got, want)
		}
	}
	if got := d.s.Stats().Pending; got != 1 {
		t.Errorf("pending: got %d, want 1", got)
	}
}

// TestStore_netDifference checks INV outbox-9: what came and went between two
// flushes is not written.
func TestStore_netDifference(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{}))
	e := given("a")
	e.GivenID = false
	d.accept(testEpoch, e, 1, 0, "a1", "a2")
	d.settle(testEpoch, Settlement{DeliveryID: "a1", Status: event.StatusDelivered, Attempt: 1})
	b := d.s.st.capture()
	written := map[string]int{}
	for _, w := range b.writes {
		if string(w.bucket) != "meta" {
			written[string(w.bucket)]++
		}
	}
	if diff := cmp.Diff(map[string]int{"events": 1, "deliveries": 1, "byEvent": 1}, written); diff != "" {
		t.Errorf("first flush (-want +got):\n%s", diff)
	}
	if err := d.s.write([]*flushBatch{b}); err != nil {
		t.Fatal(err)
	}
	e.ID = "b"
	d.accept(testEpoch, e, 1, 0, "b1")
	d.settle(testEpoch, Settlement{DeliveryID: "b1", Status: event.StatusDelivered, Attempt: 1})
	for _, w := range d.s.st.capture().writes {
		if string(w.bucket) != "meta" {
			t.Errorf("written though it came and went: %s %x", w.bucket, w.key)
		}
	}
}

func TestStore_failedFlushIsRepeated(t *testing.T) {
	t.Parallel()
	fail := true
	path := filepath.Join(t.TempDir(), "o.db")
	s, err := Open(Options{Path: path, NoSync: true, Hooks: Hooks{BeforeCommit: func() error {
		if fail {
			return errors.New("disk full")
		}
		return nil
	}}})
	if err != nil {
		t.Fatal(err)
	}
	d := drive(t, s)
	d.accept(testEpoch, given("a"), 1, time.Hour, "a1", "a2")
	if s.Flush() == nil {
		t.Fatal("the flush did not fail")
	}
	d.settle(testEpoch, Settlement{DeliveryID: "a1", Status: event.StatusDelivered, Attempt: 1})
	if s.Flush() == nil || s.Stats().FlushedIndex != 0 {
		t.Fatal("the flush did not fail")
	}
	if found, err := s.Event("acme", "a"); err != nil || len(found) != 1 {
		t.Errorf("lookup between flushes: %v, %v", ids(found), err)
	}
	fail = false
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := openTest(t, Options{Path: path})
	if diff := cmp.Diff([]string{"a2"}, ids(content(t, again))); diff != "" || again.AppliedIndex() != 2 {
		t.Errorf("at index %d (-want +got):\n%s", again.AppliedIndex(), diff)
	}
}

func TestStore_runFlushes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := openTest(t, Options{})
		d := drive(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		d.accept(testEpoch, given("a"), 1, time.Hour, "a1")
		time.Sleep(DefaultFlushInterval + time.Millisecond)
		synctest.Wait()
		if got := s.Stats().FlushedIndex; got != 1 {
			t.Errorf("flushed after an interval: got index %d, want 1", got)
		}
		d.accept(testEpoch, given("b"), 1, time.Hour, "b1")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := s.Stats().FlushedIndex; got != 2 {
			t.Errorf("flushed at the end: got index %d, want 2", got)
		}
	})
}

// TestStore_memoryBudget checks INV outbox-11, and that what was evicted is
// read back whole.
func TestStore_memoryBudget(t *testing.T) {
	t.Parallel()
	const budget = 256 << 10
	s := openTest(t, Options{MemoryBytes: budget})
	d := drive(t, s)
	payload := bytes.Repeat([]byte("x"), 1000)
	for i := range 2000 {
		e := event.Event{Account: "acme", ID: fmt.Sprint("e", i), Channel: "SMS", Name: "DELIVERY", Payload: append(slices.Clone(payload), fmt.Sprint(i)...)}
		d.accept(testEpoch, e, 1, 0, fmt.Sprint("d", i))
		if got := s.Stats().MemoryBytes; got > 2*budget+4096 {
			t.Fatalf("after %d events: %d bytes held, budget %d", i, got, budget)
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats().MemoryBytes; got > budget {
		t.Errorf("after a flush: %d bytes held, budget %d", got, budget)
	}
	n := 0
	for {
		b := take(t, s, testEpoch, 100, 1<<20)
		for _, dl := range b.Deliveries {
			if want := fmt.Sprint("d", n); dl.ID != want || string(dl.Event.Payload) != string(payload)+fmt.Sprint(n) || dl.Target.ProfileID != "p" {
				t.Fatalf("delivery %d: got %s with %d bytes", n, dl.ID, len(dl.Event.Payload))
			}
			n++
		}
		if !b.More {
			break
		}
	}
	if n != 2000 {
		t.Errorf("took %d deliveries, want 2000", n)
	}
}

func TestStore_Take(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	d := drive(t, s)
	now := testEpoch
	for i := range 6 {
		d.accept(now, event.Event{Account: "acme", ID: fmt.Sprint(i), Payload: make([]byte, 1024)}, 1, 0, fmt.Sprint("d", i))
	}
	if got := s.Watch(0); len(got) != 1 || got[0] != pLane {
		t.Errorf("watch: got %v", got)
	}
	b := take(t, s, now, 2, 1<<20)
	if diff := cmp.Diff([]string{"d0", "d1"}, ids(b.Deliveries)); diff != "" || !b.More {
		t.Errorf("by count, more %v:\n%s", b.More, diff)
	}
	b = take(t, s, now, 100, 2048)
	if diff := cmp.Diff([]string{"d2", "d3"}, ids(b.Deliveries)); diff != "" {
		t.Errorf("by bytes:\n%s", diff)
	}
	b = take(t, s, now, 100, 1)
	if diff := cmp.Diff([]string{"d4"}, ids(b.Deliveries)); diff != "" {
		t.Errorf("at least one:\n%s", diff)
	}
	s.Release("d4", "d1", "nobody")
	if got := s.Fresh(); len(got) != 1 || got[0] != pLane {
		t.Errorf("fresh after a release: got %v", got)
	}
	b = take(t, s, now, 100, 1<<20)
	if diff := cmp.Diff([]string{"d1", "d4", "d5"}, ids(b.Deliveries)); diff != "" || b.More {
		t.Errorf("released, more %v:\n%s", b.More, diff)
	}
	later := now.Add(time.Minute)
	for _, id := range []string{"d5", "d0", "d2"} {
		d.settle(now, Settlement{DeliveryID: id, Status: event.StatusRetrying, Attempt: 1, NextAt: later, WebhookID: "bat_1"})
	}
	d.settle(now, Settlement{DeliveryID: "d3", Status: event.StatusRetrying, Attempt: 1, NextAt: later.Add(1)})
	b = take(t, s, later.Add(-1), 100, 1<<20)
	if len(b.Deliveries) != 0 || !b.NextAt.Equal(later) || b.More {
		t.Errorf("before it is due: got %v, next at %v", ids(b.Deliveries), b.NextAt)
	}
	b = take(t, s, later.Add(1), 1, 1)
	if diff := cmp.Diff([]string{"d0", "d2", "d5"}, ids(b.Deliveries)); diff != "" || !b.More || b.Deliveries[0].WebhookID != "bat_1" {
		t.Errorf("what was one request stays together:\n%s", diff)
	}
	if s.Taken() != 5 {
		t.Errorf("taken: got %d, want 5", s.Taken())
	}
	s.Unwatch(0)
	if s.Taken() != 0 {
		t.Errorf("taken after unwatch: got %d", s.Taken())
	}
	b = take(t, s, later.Add(1), 100, 1<<20)
	if len(b.Deliveries) != 6 {
		t.Errorf("after unwatch: got %v, want all", ids(b.Deliveries))
	}
}

func TestStore_snapshotIsChecked(t *testing.T) {
	t.Parallel()
	src := drive(t, openTest(t, Options{}))
	for i := range 20 {
		src.accept(testEpoch, given(fmt.Sprint("e", i)), 1, time.Hour, fmt.Sprint("d", i))
	}
	good := snapshotOf(t, src.s)
	dst := openTest(t, Options{})
	before := drive(t, dst)
	before.accept(testEpoch, given("mine"), 1, time.Hour, "m")
	damage := map[string][]byte{"empty": nil, "cut": good[:len(good)-1], "longer": append(bytes.Clone(good), 0)}
	for i := 0; i < len(good); i += 37 {
		b := bytes.Clone(good)
		b[i] ^= 0x40
		damage[fmt.Sprint("bit at ", i)] = b
	}
	for name, b := range damage {
		if err := dst.Restore(io.NopCloser(bytes.NewReader(b))); err == nil {
			t.Fatalf("%s: restored", name)
		}
		if got := ids(content(t, dst)); len(got) != 1 {
			t.Fatalf("%s: the old state was touched: %v", name, got)
		}
	}
	if err := dst.Restore(io.NopCloser(bytes.NewReader(good))); err != nil {
		t.Fatal(err)
	}
	sameDigest(t, src.s, dst)
	if dst.AppliedIndex() != 20 {
		t.Errorf("index: got %d, want 20", dst.AppliedIndex())
	}
}

func TestStore_restoreTellsTheDispatcher(t *testing.T) {
	t.Parallel()
	src := drive(t, openTest(t, Options{}))
	src.accept(testEpoch, given("e"), 1, time.Hour, "d")
	dst := openTest(t, Options{Registerer: prometheus.NewRegistry()})
	dst.Watch(0)
	if err := dst.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, src.s)))); err != nil {
		t.Fatal(err)
	}
	select {
	case <-dst.Work():
	default:
		t.Error("no signal")
	}
	if got := dst.Fresh(); len(got) != 1 || got[0] != pLane {
		t.Errorf("fresh: got %v", got)
	}
}

func TestStore_deadLettersAreBounded(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{Limits: Limits{DeadLetters: 2}}))
	for i := range 3 {
		id := fmt.Sprint("d", i)
		d.accept(testEpoch, given(id), 1, time.Hour, id)
		d.settle(testEpoch, Settlement{DeliveryID: id, Status: event.StatusDead, Attempt: 21, WebhookID: id})
		if got, want := d.s.Stats().DeadLetters, min(i+1, 2); got != want {
			t.Errorf("after %d: %d kept, want %d", i+1, got, want)
		}
	}
	if _, ok, _ := d.s.Delivery("d0"); ok {
		t.Error("the oldest was kept")
	}
	dl, ok, err := d.s.Delivery("d2")
	if !ok || err != nil || dl.Status != event.StatusDead || dl.Attempt != 21 || string(dl.Event.Payload) != "{}" {
		t.Errorf("the youngest: %+v, %v, %v", dl, ok, err)
	}
	if got := d.s.Stats().DeadForgotten; got != 1 {
		t.Errorf("forgotten: got %d, want 1", got)
	}
}

// TestStore_evictionSparesWhatChanged settles a delivery while the flush that
// makes it evictable commits: what is not on disk yet must stay in memory.
func TestStore_evictionSparesWhatChanged(t *testing.T) {
	t.Parallel()
	var d *driver
	once := false
	s := openTest(t, Options{MemoryBytes: 64 << 10, Hooks: Hooks{BeforeCommit: func() error {
		if !once && d != nil {
			once = true
			d.settle(testEpoch, Settlement{DeliveryID: "b1", Status: event.StatusRetrying, Attempt: 2, NextAt: testEpoch.Add(1), WebhookID: "bat_7"})
		}
		return nil
	}}})
	d = drive(t, s)
	e := given("a")
	e.Payload = make([]byte, 63<<10)
	d.accept(testEpoch, e, 1, time.Hour, "a1")
	e.ID = "b"
	once = true // the second event makes Apply flush by itself
	d.accept(testEpoch, e, 1, time.Hour, "b1")
	d.settle(testEpoch, Settlement{DeliveryID: "b1", Status: event.StatusRetrying, Attempt: 1, NextAt: testEpoch.Add(1), WebhookID: "b1"})
	s.mu.Lock()
	s.st.hotBytes += 1 << 20 // far over the budget: everything that may go, goes
	s.mu.Unlock()
	once = false
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	b := take(t, s, testEpoch.Add(1), 10, 1<<20)
	if len(b.Deliveries) != 2 || b.Deliveries[0].ID != "b1" || b.Deliveries[0].WebhookID != "bat_7" || b.Deliveries[0].Attempt != 2 {
		t.Errorf("got %+v", b.Deliveries)
	}
}
