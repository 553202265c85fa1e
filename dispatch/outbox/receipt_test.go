package outbox

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/event"
)

// The place of a receipt that was forgotten is given to another one: a dead
// letter that outlives its receipt has nothing to do with that.
func TestReceipts_placeInUseAgain(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{Limits: Limits{Receipts: 1}})
	d := drive(t, s)
	flush := func() {
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	d.accept(testEpoch, given("old"), 1, time.Hour, "d-old")
	d.settle(testEpoch, Settlement{DeliveryID: "d-old", Status: event.StatusDead, Attempt: 1})
	flush()
	d.accept(testEpoch, given("next"), 1, time.Hour, "d-next")
	d.settle(testEpoch, Settlement{DeliveryID: "d-next", Status: event.StatusDelivered, Attempt: 1}) // one too many: the first is forgotten
	flush()
	d.accept(testEpoch, given("young"), 1, time.Hour, "d-young") // takes its place
	if s.Knows("acme", "old") || !s.Knows("acme", "next") || !s.Knows("acme", "young") {
		t.Fatal("want the ids next and young")
	}
	s.mu.Lock()
	old, young := s.st.row(deliveryKey("d-old")), s.st.row(deliveryKey("d-young"))
	if old.ev.receipt != young.ev.receipt {
		t.Errorf("places %d and %d: the test wants the same", old.ev.receipt, young.ev.receipt)
	}
	if s.st.receipts.ofEvent(old.ev) != nil || s.st.receipts.ofEvent(young.ev) == nil {
		t.Error("the dead letter has the receipt of another event")
	}
	s.mu.Unlock()

	// Replayed and delivered, it leaves the other receipt alone.
	d.revive(&Revive{At: testEpoch, IDs: []string{"d-old"}})
	d.settle(testEpoch, Settlement{DeliveryID: "d-old", Status: event.StatusDelivered, Attempt: 2})
	s.mu.Lock()
	if _, r := s.st.receipts.of(eventKey("acme", "young")); r == nil || r.pending.int() != 1 {
		t.Errorf("the other receipt is now %+v", r)
	}
	s.mu.Unlock()
}

// A backlog of events whose ids were given has neither rows nor receipts with
// pointers; what is delivered of it leaves one receipt each, also after a
// restart.
func TestReceipts_ofParked(t *testing.T) {
	t.Parallel()
	const n = 500
	options := Options{Path: filepath.Join(t.TempDir(), "o.db"), MemoryBytes: 8 << 10}
	s := openTest(t, options)
	d := drive(t, s)
	for i := range n {
		d.accept(testEpoch, given(fmt.Sprint("e", i)), 1, time.Hour, fmt.Sprint("d", i))
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		rows, parked := parkedNow(s)
		if rows > 20 || rows+parked != n || len(s.st.depot.events) != 0 {
			t.Errorf("%s: %d rows, %d parked, %d events in memory; want few rows, %d in all and no events",
				when, rows, parked, len(s.st.depot.events), n)
		}
	}
	check("beyond the budget")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, options)
	d = drive(t, s)
	check("after a restart")
	for i := range n {
		d.settle(testEpoch, Settlement{DeliveryID: fmt.Sprint("d", i), Status: event.StatusDelivered, Attempt: 1})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if rs := &s.st.receipts; rs.live != n || rs.settled != n {
		t.Errorf("%d receipts, %d of them settled; want %d and %d", rs.live, rs.settled, n, n)
	}
}

// A delivery is found by the id that a client gave to its event, wherever it is:
// in memory, on disk, parked, dead, replayed, and with its receipt forgotten.
func TestStore_findsByGivenID(t *testing.T) {
	t.Parallel()
	options := Options{Path: filepath.Join(t.TempDir(), "o.db"), MemoryBytes: 1, Limits: Limits{Receipts: 1}}
	s := openTest(t, options)
	d := drive(t, s)
	check := func(when string, want ...string) {
		t.Helper()
		got, err := d.s.Event("acme", "a")
		if err != nil || !slices.Equal(ids(got), want) {
			t.Errorf("%s: %v, %v; want %v", when, ids(got), err, want)
		}
	}
	flush := func() {
		t.Helper()
		if err := d.s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	names := func(want int) {
		t.Helper()
		n := 0
		if err := d.s.view(func(tx *bolt.Tx) error { n = tx.Bucket(bucketByEvent).Stats().KeyN; return nil }); err != nil || n != want {
			t.Errorf("%d names, %v; want %d", n, err, want)
		}
	}
	d.accept(testEpoch, given("a"), 1, time.Minute, "a1", "a2")
	d.accept(testEpoch, given("b"), 1, time.Minute, "b1")
	check("in memory", "a1", "a2")
	flush()
	names(0)
	if _, parked := parkedNow(s); parked != 3 {
		t.Errorf("%d are parked, want 3", parked)
	}
	check("parked", "a1", "a2")
	d.settle(testEpoch, Settlement{DeliveryID: "a1", Status: event.StatusDelivered, Attempt: 1})
	d.settle(testEpoch, Settlement{DeliveryID: "a2", Status: event.StatusDead, Attempt: 1})
	check("dead, and not flushed", "a2")
	d.settle(testEpoch, Settlement{DeliveryID: "b1", Status: event.StatusDelivered, Attempt: 1}) // the receipt of a makes room
	if s.Knows("acme", "a") {
		t.Fatal("the receipt is still there")
	}
	check("dead, and not flushed, without a receipt", "a2")
	flush()
	names(1)
	check("dead, without a receipt", "a2")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d = drive(t, openTest(t, options))
	check("after a restart", "a2")
	d.revive(&Revive{At: testEpoch, IDs: []string{"a2"}})
	check("replayed", "a2")
	flush()
	check("replayed, on disk", "a2")
	names(1)

	// A younger event has the same id.
	d.accept(testEpoch, given("a"), 2, time.Minute, "a3")
	flush()
	check("two events of one id", "a2", "a3")
	d.settle(testEpoch, Settlement{DeliveryID: "a2", Status: event.StatusDelivered, Attempt: 2})
	d.settle(testEpoch, Settlement{DeliveryID: "a3", Status: event.StatusDelivered, Attempt: 1})
	check("all delivered")
	flush()
	check("all delivered, on disk")
	names(0)
}
