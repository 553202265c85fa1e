package outbox

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
)

// The figures in DESIGN.md stand on these.
func TestSizes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ got, want uintptr }{
		"row":       {unsafe.Sizeof(row{}), 64},
		"eventRow":  {unsafe.Sizeof(eventRow{}), 32},
		"parkedRow": {unsafe.Sizeof(parkedRow{}), 36},
		"receipt":   {unsafe.Sizeof(receipt{}), 72},
	} {
		if tc.got > tc.want {
			t.Errorf("a %s has %d bytes, want at most %d", name, tc.got, tc.want)
		}
	}
}

func TestSlotOf(t *testing.T) {
	t.Parallel()
	if slotOf("") != 0 {
		t.Error("an event without a key has a slot")
	}
	if got := slotOf("customer-1"); got != 50279 {
		t.Errorf("the slot of a key changed to %d; it is on disk", got)
	}
	for i := range 200_000 {
		if slotOf(fmt.Sprint(i)) == 0 {
			t.Fatalf("key %d is taken for none", i)
		}
	}
}

// orderly drives a store and takes in one order.
type orderly struct {
	*driver
	o TakeOptions
}

func newOrderly(t *testing.T, o Order) *orderly {
	t.Helper()
	d := &orderly{drive(t, openTest(t, Options{})), TakeOptions{Limit: 10, MaxBytes: 1 << 20, Order: o}}
	d.s.Watch(0)
	return d
}

func (d *orderly) event(id, orderingKey string) {
	d.t.Helper()
	d.accept(testEpoch, event.Event{Account: "acme", ID: id, OrderingKey: orderingKey, Payload: []byte(`{}`)}, 1, 0, id)
}

// takes checks what is handed out and returns the batch.
func (d *orderly) takes(now time.Time, want ...string) Batch {
	d.t.Helper()
	b, err := d.s.Take(pLane, now, d.o)
	if err != nil {
		d.t.Fatal(err)
	}
	if diff := cmp.Diff(append([]string{}, want...), ids(b.Deliveries)); diff != "" {
		d.t.Errorf("taken (-want +got):\n%s", diff)
	}
	return b
}

// told checks whether the dispatcher is told of the lane.
func (d *orderly) told(want bool) {
	d.t.Helper()
	if got := len(d.s.Fresh()) > 0; got != want {
		d.t.Errorf("told: %v, want %v", got, want)
	}
}

func (d *orderly) delivered(id string, attempt int) {
	d.t.Helper()
	d.settle(testEpoch, Settlement{DeliveryID: id, Status: event.StatusDelivered, Attempt: attempt})
}

func (d *orderly) postponed(id string, attempt int, at time.Time) {
	d.t.Helper()
	d.settle(testEpoch, Settlement{DeliveryID: id, Status: event.StatusRetrying, Attempt: attempt, NextAt: at})
}

// TestTake_key checks INV outbox-12 step by step, and who is told of what.
func TestTake_key(t *testing.T) {
	t.Parallel()
	d := newOrderly(t, OrderKey)
	for _, e := range []struct{ id, orderingKey string }{{"a1", "a"}, {"a2", "a"}, {"b1", "b"}, {"f1", ""}, {"f2", ""}, {"a3", "a"}} {
		d.event(e.id, e.orderingKey)
	}
	later := testEpoch.Add(time.Minute)
	d.told(true)
	d.takes(testEpoch, "a1", "b1", "f1", "f2")
	d.event("a4", "a")
	d.told(false)
	d.takes(testEpoch)
	d.postponed("a1", 1, later)
	d.told(true)
	if b := d.takes(testEpoch); !b.NextAt.Equal(later) {
		t.Errorf("next at %v, want %v", b.NextAt, later)
	}
	d.takes(later, "a1")
	d.told(false)
	d.delivered("a1", 2)
	d.told(true)
	d.takes(testEpoch, "a2")
	d.delivered("a3", 1) // by the owner before: out of the middle
	d.told(false)
	d.delivered("a2", 1)
	d.told(true)
	d.takes(testEpoch, "a4")
	d.s.Release("a4", "f1")
	d.told(true)
	d.takes(testEpoch, "f1", "a4")
}

// TestTake_strict checks INV outbox-13 step by step.
func TestTake_strict(t *testing.T) {
	t.Parallel()
	d := newOrderly(t, OrderStrict)
	for i := range 6 {
		d.event(fmt.Sprint("d", i), "")
	}
	later := testEpoch.Add(time.Minute)
	d.told(true)
	d.o.Limit = 3
	if b := d.takes(testEpoch, "d0", "d1", "d2"); b.More {
		t.Error("more of a lane that has to wait")
	}
	d.event("d6", "")
	d.told(false)
	d.takes(testEpoch)
	d.s.Release("d2")
	d.told(false) // two are out
	d.postponed("d0", 1, later)
	d.postponed("d1", 1, later)
	d.told(true)
	if b := d.takes(later.Add(-1)); !b.NextAt.Equal(later) {
		t.Errorf("next at %v, want %v", b.NextAt, later)
	}
	d.o.Limit = 1
	d.o.FreshOnly = true
	if b := d.takes(later); !b.Held || b.More || !b.NextAt.IsZero() {
		t.Errorf("FreshOnly with a retry at the front: %+v", b)
	}
	d.o.FreshOnly = false
	d.takes(later, "d0", "d1") // one request is not parted, whatever the limit
	d.delivered("d1", 2)
	d.told(false)
	d.postponed("d0", 2, later)
	d.told(true)
	d.takes(later, "d0")
	d.delivered("d0", 3)
	d.told(true)
	d.takes(later, "d2")
}

func TestTake_freshOnly(t *testing.T) {
	t.Parallel()
	for _, o := range []Order{OrderNone, OrderKey} {
		d := newOrderly(t, o)
		for i := range 4 {
			d.event(fmt.Sprint("d", i), fmt.Sprint("k", i%3)) // d3 is behind d0
		}
		d.o.Limit = 1
		d.takes(testEpoch, "d0")
		d.postponed("d0", 1, testEpoch)
		d.o.Limit, d.o.FreshOnly = 2, true
		if b := d.takes(testEpoch, "d1", "d2"); !b.Held || b.More != (o == OrderNone) {
			t.Errorf("order %d: %+v", o, b)
		}
		d.o.FreshOnly = false
		want := []string{"d0"}
		if o == OrderNone {
			want = append(want, "d3")
		}
		if b := d.takes(testEpoch, want...); b.Held || b.More {
			t.Errorf("order %d: %+v", o, b)
		}
	}
}

// A lane that changes its order keeps what is taken out of it.
func TestTake_reorganises(t *testing.T) {
	t.Parallel()
	d := newOrderly(t, OrderNone)
	for i := range 4 {
		d.event(fmt.Sprint("d", i), "k")
	}
	d.o.Limit = 2
	d.takes(testEpoch, "d0", "d1")
	d.o.Order = OrderKey
	d.takes(testEpoch)
	d.o.Order = OrderStrict
	d.takes(testEpoch)
	d.delivered("d1", 1)
	d.s.Release("d0")
	d.takes(testEpoch, "d0", "d2")
	d.s.Release("d2", "d0")
	d.o.Order = OrderKey
	d.takes(testEpoch, "d0")
	d.o.Order = OrderNone
	d.takes(testEpoch, "d2", "d3")
}
