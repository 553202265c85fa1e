package outbox

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"example.com/belfry/dispatch/event"
)

// parkedNow tells how many deliveries have a row and how many are parked.
func parkedNow(s *Store) (rows, parked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.st.rows), s.st.depot.live
}

// INV outbox-17: what waits beyond the memory budget is parked, also after a
// restart; it is handed out in order all the same.
func TestStore_parks(t *testing.T) {
	t.Parallel()
	const n = 500
	options := Options{Path: filepath.Join(t.TempDir(), "o.db"), MemoryBytes: 8 << 10}
	s := openTest(t, options)
	d := drive(t, s)
	for i := range n {
		d.accept(testEpoch, event.Event{Account: "acme", ID: fmt.Sprint("e", i), Payload: []byte(`{}`)}, 1, 0, fmt.Sprint("d", i))
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if rows, parked := parkedNow(s); rows > 20 || rows+parked != n {
		t.Errorf("%d rows in memory and %d parked, want few rows and %d in all", rows, parked, n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, options)
	if rows, parked := parkedNow(s); rows != 0 || parked != n {
		t.Errorf("after a restart: %d rows in memory and %d parked, want 0 and %d", rows, parked, n)
	}
	if got, ok, err := s.Delivery("d250"); err != nil || !ok || got.Event.ID != "e250" {
		t.Errorf("a parked delivery is found as %+v, %v, %v", got, ok, err)
	}
	var got, want []string
	for i := range n {
		want = append(want, fmt.Sprint("d", i))
	}
	for more := true; more; {
		b := take(t, s, testEpoch, 7, 1<<20)
		more = b.More
		got = append(got, ids(b.Deliveries)...)
	}
	if !slices.Equal(want, got) {
		t.Errorf("taken: %v", got)
	}
	if _, parked := parkedNow(s); parked != 0 || len(s.st.depot.chunks) != 0 {
		t.Errorf("%d are parked and %d chunks are held when all were taken", parked, len(s.st.depot.chunks))
	}
}

// What is settled while it is parked, as on every node but the owner's, is
// settled as if it had a row.
func TestStore_settlesParked(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{MemoryBytes: 1})
	d := drive(t, s)
	d.apply(&Claim{Owner: "n1", Epoch: 1})
	for i := range 6 {
		d.accept(testEpoch, event.Event{Account: "acme", ID: fmt.Sprint("e", i), Payload: []byte(`{}`)}, 1, 0, fmt.Sprint("d", i))
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, parked := parkedNow(s); parked != 6 {
		t.Fatalf("%d are parked, want 6", parked)
	}
	for _, tc := range []struct {
		name string
		s    Settlement
		want Verdict
		left int // parked
	}{
		{"another epoch", Settlement{DeliveryID: "d0", Epoch: 2, Status: event.StatusDelivered, Attempt: 1}, Fenced, 6},
		{"another partition", Settlement{DeliveryID: "d0", Partition: 1, Status: event.StatusDelivered, Attempt: 1}, Fenced, 6},
		{"no attempt", Settlement{DeliveryID: "d0", Epoch: 1, Status: event.StatusRetrying}, Superseded, 6},
		{"delivered", Settlement{DeliveryID: "d3", Epoch: 1, Status: event.StatusDelivered, Attempt: 1}, Settled, 5},
		{"delivered again", Settlement{DeliveryID: "d3", Epoch: 1, Status: event.StatusDelivered, Attempt: 1}, Superseded, 5},
		{"retrying", Settlement{DeliveryID: "d1", Epoch: 1, Status: event.StatusRetrying, Attempt: 1, NextAt: testEpoch, WebhookID: "w"}, Settled, 4},
		{"dead", Settlement{DeliveryID: "d0", Epoch: 1, Status: event.StatusDead, Attempt: 1, WebhookID: "w"}, Settled, 3},
	} {
		if got := d.settle(testEpoch, tc.s); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
		if _, parked := parkedNow(s); parked != tc.left {
			t.Errorf("%s: %d are parked, want %d", tc.name, parked, tc.left)
		}
	}
	if got := s.Stats(); got.Pending != 4 || got.DeadLetters != 1 || got.Lanes != 1 {
		t.Errorf("%d are owed, %d dead, %d lanes", got.Pending, got.DeadLetters, got.Lanes)
	}
	if got := ids(take(t, s, testEpoch, 10, 1<<20).Deliveries); !slices.Equal(got, []string{"d1", "d2", "d4", "d5"}) {
		t.Errorf("taken: %v", got)
	}
}

// What has an ordering key keeps its row, and so does what comes behind it.
func TestStore_parksNoKeys(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{MemoryBytes: 1})
	d := drive(t, s)
	for i := range 6 {
		e := event.Event{Account: "acme", ID: fmt.Sprint("e", i), Payload: []byte(`{}`)}
		if i == 2 {
			e.OrderingKey = "k"
		}
		d.accept(testEpoch, e, 1, 0, fmt.Sprint("d", i))
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if rows, parked := parkedNow(s); rows != 4 || parked != 2 {
		t.Errorf("%d rows and %d parked, want 4 and 2", rows, parked)
	}
}

// BenchmarkStore_drainFollower settles a parked backlog in order, as a node
// does that is not the owner.
func BenchmarkStore_drainFollower(b *testing.B) {
	s, err := Open(Options{Path: filepath.Join(b.TempDir(), "o.db"), NoSync: true, MemoryBytes: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	const batch = 100
	index := uint64(0)
	apply := func(c Command) {
		index++
		s.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: Encode(c)})
	}
	for n := 0; n < b.N; n += batch {
		c := &Accept{At: testEpoch}
		for i := range batch {
			id := fmt.Sprint("d", n+i)
			c.Events = append(c.Events, AcceptedEvent{
				Event:   event.Event{Account: "acme", ID: id, Payload: []byte(`{}`)},
				Request: i, Targets: []Target{{DeliveryID: id, ProfileID: "p"}},
			})
		}
		apply(c)
	}
	if err := s.Flush(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		c := &Settle{At: testEpoch}
		for i := range batch {
			c.Settlements = append(c.Settlements, Settlement{DeliveryID: fmt.Sprint("d", n+i), Status: event.StatusDelivered, Attempt: 1})
		}
		apply(c)
	}
}
