package outbox

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
)

// bundle proposes one bundle in partition 0 at epoch 0, of the deliveries as they
// are now.
func (d *driver) bundle(webhookID string, ids ...string) Verdict {
	d.t.Helper()
	return d.bundleOf(Bundle{WebhookID: webhookID, Members: d.members(ids...)})
}

func (d *driver) members(ids ...string) []Member {
	d.t.Helper()
	var ms []Member
	for _, id := range ids {
		x, _, err := d.s.Delivery(id)
		if err != nil {
			d.t.Fatal(err)
		}
		ms = append(ms, Member{DeliveryID: id, Mark: x.Mark})
	}
	return ms
}

func (d *driver) bundleOf(b Bundle) Verdict {
	d.t.Helper()
	vs, err := DecodeVerdicts(d.apply(&Settle{At: testEpoch, Bundles: []Bundle{b}}).([]byte))
	if err != nil || len(vs) != 1 {
		d.t.Fatalf("bundle: %v, %v", vs, err)
	}
	return vs[0]
}

// states shows what a bundle may change.
func (d *driver) states(ids ...string) []string {
	d.t.Helper()
	out := []string{}
	for _, id := range ids {
		x, ok, err := d.s.Delivery(id)
		if err != nil || !ok {
			d.t.Fatalf("%s: %v, %v", id, ok, err)
		}
		out = append(out, fmt.Sprintf("%s %s %d %q", id, x.Status, x.Attempt, x.WebhookID))
		if x.Status == event.StatusPending && !x.NextAt.IsZero() {
			d.t.Errorf("%s is pending and due at %v", id, x.NextAt)
		}
	}
	return out
}

// INV outbox-18: what is bundled is handed out together, before what is not,
// whatever the limit and the order; and it counts as not tried.
func TestBundle_isNotParted(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		order    Order
		bundles  [][]string
		want     [][]string // of Takes with a limit of 1
		restWant []string   // of one more after these were delivered
	}{
		"none":   {OrderNone, [][]string{{"d4", "d1"}, {"d2", "d5"}}, [][]string{{"d1", "d4"}, {"d2", "d5"}, {"d0"}, {"d3"}}, nil},
		"key":    {OrderKey, [][]string{{"d0", "d2"}}, [][]string{{"d0", "d2"}, {"d1"}}, []string{"d3"}},
		"strict": {OrderStrict, [][]string{{"d0", "d1", "d2"}}, [][]string{{"d0", "d1", "d2"}}, []string{"d3"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newOrderly(t, tc.order)
			for i := range 6 {
				d.event(fmt.Sprint("d", i), fmt.Sprint("k", i%3))
			}
			d.told(true)
			d.o.Limit, d.o.FreshOnly = 1, true
			for i, b := range tc.bundles {
				if got := d.bundle(fmt.Sprint("bat", i), b...); got != Settled {
					t.Fatalf("bundle %v: verdict %d", b, got)
				}
			}
			for _, want := range tc.want {
				if b := d.takes(testEpoch, want...); b.Held {
					t.Error("what is bundled counts as tried")
				}
			}
			for i, b := range tc.bundles {
				want := []string{}
				for _, id := range b {
					want = append(want, fmt.Sprintf("%s PENDING 0 %q", id, fmt.Sprint("bat", i)))
				}
				if diff := cmp.Diff(want, d.states(b...)); diff != "" {
					t.Errorf("members (-want +got):\n%s", diff)
				}
			}
			if tc.restWant == nil {
				return
			}
			for _, id := range tc.bundles[0] {
				d.delivered(id, 1)
			}
			d.takes(testEpoch, tc.restWant...)
		})
	}
}

// A bundle is applied whole, by the owner only, and once.
func TestBundle_verdicts(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{MemoryBytes: 1}))
	d.apply(&Claim{Owner: "n1", Epoch: 3})
	for i := range 8 {
		d.accept(testEpoch, event.Event{Account: "acme", ID: fmt.Sprint("e", i), Payload: []byte(`{}`)}, 1, 0, fmt.Sprint("d", i))
	}
	if err := d.s.Flush(); err != nil { // parks all
		t.Fatal(err)
	}
	d.settle(testEpoch, Settlement{DeliveryID: "d6", Epoch: 3, Status: event.StatusDelivered, Attempt: 1})
	d.settle(testEpoch, Settlement{DeliveryID: "d7", Epoch: 3, Status: event.StatusDead, Attempt: 1})
	first := Bundle{Epoch: 3, WebhookID: "w", Members: d.members("d0", "d1")}
	wrong := d.members("d2")
	wrong[0].Mark = 9
	for _, tc := range []struct {
		name string
		b    Bundle
		want Verdict
	}{
		{"old epoch", Bundle{Epoch: 2, WebhookID: "x", Members: first.Members}, Fenced},
		{"epoch to come", Bundle{Epoch: 4, WebhookID: "x", Members: first.Members}, Fenced},
		{"another partition", Bundle{Partition: 1, WebhookID: "x", Members: first.Members}, Fenced},
		{"unknown member", Bundle{Epoch: 3, WebhookID: "x", Members: append(d.members("d0"), Member{DeliveryID: "no"})}, Superseded},
		{"delivered member", Bundle{Epoch: 3, WebhookID: "x", Members: append(d.members("d0"), Member{DeliveryID: "d6"})}, Superseded},
		{"dead member", Bundle{Epoch: 3, WebhookID: "x", Members: d.members("d0", "d7")}, Superseded},
		{"another mark", Bundle{Epoch: 3, WebhookID: "x", Members: append(d.members("d0"), wrong...)}, Superseded},
		{"first", first, Settled},
		{"the same once more", first, Superseded},
		{"a member of another one", Bundle{Epoch: 3, WebhookID: "x", Members: append(d.members("d2"), first.Members[1])}, Superseded},
	} {
		if got := d.bundleOf(tc.b); got != tc.want {
			t.Errorf("%s: verdict %d, want %d", tc.name, got, tc.want)
		}
	}
	if got := d.bundleOf(Bundle{Epoch: 3, WebhookID: "d1", Members: d.members("d1")}); got != Settled {
		t.Errorf("the rest of a bundle: verdict %d", got)
	}
	want := []string{`d0 PENDING 0 "w"`, `d1 PENDING 0 "d1"`, `d2 PENDING 0 ""`}
	if diff := cmp.Diff(want, d.states("d0", "d1", "d2")); diff != "" {
		t.Errorf("afterwards (-want +got):\n%s", diff)
	}
	if rows, parked := parkedNow(d.s); parked != 4 || rows != 3 {
		t.Errorf("%d rows and %d parked, want those of the bundles and the dead letter, and 4", rows, parked)
	}
}

// The owner keeps what it has taken; it is nobody else's turn until it gives
// it back, and then it is still one request.
func TestBundle_taken(t *testing.T) {
	t.Parallel()
	d := newOrderly(t, OrderNone)
	for i := range 4 {
		d.event(fmt.Sprint("d", i), "")
	}
	d.told(true)
	d.o.Limit = 2
	d.takes(testEpoch, "d0", "d1")
	d.bundle("w", "d0", "d1")
	d.told(false)
	d.takes(testEpoch, "d2", "d3")
	d.s.Release("d1")
	d.s.Release("d3", "d0")
	d.told(true)
	d.o.Limit = 1
	d.takes(testEpoch, "d3") // it was given back unmarked
	d.takes(testEpoch, "d0", "d1")
}

// Retries with a member less, and replays, get a mark of their own and stay due.
func TestBundle_again(t *testing.T) {
	t.Parallel()
	d := newOrderly(t, OrderNone)
	due := testEpoch.Add(time.Minute)
	for i := range 3 {
		d.event(fmt.Sprint("d", i), "")
		d.settle(testEpoch, Settlement{DeliveryID: fmt.Sprint("d", i), Status: event.StatusRetrying, Attempt: 1, NextAt: due, WebhookID: "w"})
	}
	late := d.members("d1", "d2")
	d.bundle("x", "d1", "d2")
	if got := d.bundleOf(Bundle{WebhookID: "w", Members: late}); got != Superseded {
		t.Errorf("a bundle made before the last one: verdict %d", got)
	}
	want := []string{`d0 RETRYING 1 "w"`, `d1 RETRYING 1 "x"`, `d2 RETRYING 1 "x"`}
	if diff := cmp.Diff(want, d.states("d0", "d1", "d2")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if b := d.takes(due.Add(-1)); !b.NextAt.Equal(due) {
		t.Errorf("next at %v, want %v", b.NextAt, due)
	}
	d.o.Limit = 1
	d.takes(due.Add(time.Second), "d0")
	d.takes(due.Add(time.Second), "d1", "d2")
}

// What is bundled is so after a restart, also when its heavy part was evicted.
func TestBundle_onDisk(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "o.db")
	s, err := Open(Options{Path: path, NoSync: true, MemoryBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	d := drive(t, s)
	for i := range 5 {
		d.accept(testEpoch, event.Event{Account: "acme", ID: fmt.Sprint("e", i), Payload: []byte(`{}`)}, 1, 0, fmt.Sprint("d", i))
	}
	d.bundle("w", "d1", "d3")
	want := []string{`d0 PENDING 0 ""`, `d1 PENDING 0 "w"`, `d2 PENDING 0 ""`, `d3 PENDING 0 "w"`, `d4 PENDING 0 ""`}
	for range 2 {
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, d.states("d0", "d1", "d2", "d3", "d4")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if rows, parked := parkedNow(s); rows != 2 || parked != 3 {
			t.Errorf("%d rows and %d parked, want those of the bundle and 3", rows, parked)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, Options{Path: path, MemoryBytes: 1})
		d = drive(t, s)
	}
	got := ids(take(t, s, testEpoch, 1, 1<<20).Deliveries)
	if diff := cmp.Diff([]string{"d1", "d3"}, got); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
}

// The frontier counts what is on no record, on disk or not, in the order of
// acceptance.
func TestStore_Frontier(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{MemoryBytes: 1})
	d := drive(t, s)
	if s.Frontier(pLane, 5) != (Frontier{}) {
		t.Error("a lane that owes nothing has a frontier")
	}
	all := []string{}
	for i := range 10 {
		all = append(all, fmt.Sprint("d", i))
		d.accept(testEpoch, event.Event{Account: "acme", ID: fmt.Sprint("e", i), Payload: []byte(`{}`)}, 1, 0, all[i])
		if i == 5 { // those are parked, but the two that are on record
			d.settle(testEpoch, Settlement{DeliveryID: "d1", Status: event.StatusRetrying, Attempt: 1, NextAt: testEpoch, WebhookID: "d1"})
			d.bundle("w", "d2", "d3")
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.settle(testEpoch, Settlement{DeliveryID: "d9", Status: event.StatusDead})
	for n, want := range map[int][]string{
		0:       {},
		1:       {"d0"},
		3:       {"d0", "d4", "d5"},
		5:       {"d0", "d4", "d5", "d6", "d7"},
		8:       {"d0", "d4", "d5", "d6", "d7", "d8"},
		1 << 40: {"d0", "d4", "d5", "d6", "d7", "d8"},
	} {
		f := s.Frontier(pLane, n)
		got := []string{}
		for _, id := range all[:9] {
			x, _, err := s.Delivery(id)
			if err != nil {
				t.Fatal(err)
			}
			if f.Holds(&x) {
				got = append(got, id)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the frontier of %d holds (-want +got):\n%s", n, diff)
		}
	}
	before := s.Frontier(pLane, 100)
	d.apply(&Revive{At: testEpoch.Add(time.Second), Account: "acme", IDs: []string{"d9"}})
	after := s.Frontier(pLane, 1)
	x, _, err := s.Delivery("d9")
	if err != nil || before.Holds(&x) || !after.Holds(&x) {
		t.Errorf("replayed: held before %v, after %v, %v", before.Holds(&x), after.Holds(&x), err)
	}
}
