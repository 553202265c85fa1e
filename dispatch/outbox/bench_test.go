package outbox

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/dispatch/event"
)

// BenchmarkStore_acceptAndSettle applies entries of 64 events of 1 KiB and
// settles them, with a synced flush about every second of work.
func BenchmarkStore_acceptAndSettle(b *testing.B) {
	s, err := Open(Options{Path: filepath.Join(b.TempDir(), "o.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	const batch = 64
	payload := make([]byte, 1024)
	index := uint64(0)
	last := time.Now()
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		a := &Accept{At: testEpoch}
		st := &Settle{At: testEpoch}
		for i := range batch {
			id := fmt.Sprint("d", n+i)
			a.Events = append(a.Events, AcceptedEvent{
				Event: event.Event{Account: "acme", ID: id, Channel: "SMS", Name: "DELIVERY", Payload: payload}, Request: i,
				Targets: []Target{{DeliveryID: id, ProfileID: "p"}},
			})
			st.Settlements = append(st.Settlements, Settlement{DeliveryID: id, Status: event.StatusDelivered, Attempt: 1})
		}
		for _, c := range []Command{a, st} {
			index++
			s.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: Encode(c)})
		}
		if time.Since(last) > time.Second {
			if err := s.Flush(); err != nil {
				b.Fatal(err)
			}
			last = time.Now()
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkStore_backlog reports the heap that one delivery of a backlog
// costs beside the memory budget, and how fast the file loads: with event ids
// that nodes made, and with ids that clients gave and that are remembered.
func BenchmarkStore_backlog(b *testing.B) {
	for _, given := range []bool{false, true} {
		b.Run(fmt.Sprintf("given=%v", given), func(b *testing.B) { benchBacklog(b, given) })
	}
}

func benchBacklog(b *testing.B, given bool) {
	b.Helper()
	const n = 200_000
	for b.Loop() {
		path := filepath.Join(b.TempDir(), "o.db")
		s, err := Open(Options{Path: path, NoSync: true, MemoryBytes: 8 << 20})
		if err != nil {
			b.Fatal(err)
		}
		payload := make([]byte, 1024)
		for i := range n {
			id := fmt.Sprintf("0192f3a4-5b6c-7d8e-9fa0-%012d", i)
			c := &Accept{At: testEpoch, Events: []AcceptedEvent{{
				Event:   event.Event{Account: "acme", ID: id, GivenID: given, Channel: "SMS", Name: "DELIVERY", Payload: payload},
				Targets: []Target{{DeliveryID: id, ProfileID: "p"}},
			}}}
			s.Apply(&raft.Log{Index: uint64(i + 1), Type: raft.LogCommand, Data: Encode(c)})
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		before := heapInUse()
		started := time.Now()
		again, err := Open(Options{Path: path, NoSync: true})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(started).Seconds()*1e6/n, "s-load/1M")
		b.ReportMetric(float64(heapInUse()-before)/n, "bytes/delivery")
		if err := again.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkTake takes from a lane and gives back, with few and with many
// deliveries waiting: for each order the figures must not grow with the lane.
// A third of the lane waits for a retry, some of it due.
func BenchmarkTake(b *testing.B) {
	for _, o := range []struct {
		name  string
		order Order
	}{{"none", OrderNone}, {"key", OrderKey}, {"strict", OrderStrict}} {
		for _, n := range []int{2_000, 200_000} {
			b.Run(fmt.Sprint(o.name, "-", n), func(b *testing.B) { benchTake(b, o.order, n) })
		}
	}
}

func benchTake(b *testing.B, o Order, n int) {
	b.Helper()
	s, err := Open(Options{Path: filepath.Join(b.TempDir(), "o.db"), NoSync: true, MemoryBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	index := uint64(0)
	apply := func(c Command) {
		index++
		s.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: Encode(c)})
	}
	for i := 0; i < n; i += 1000 {
		c := &Accept{At: testEpoch}
		st := &Settle{At: testEpoch}
		for j := i; j < i+1000; j++ {
			id := fmt.Sprint("d", j)
			c.Events = append(c.Events, AcceptedEvent{
				Event: event.Event{Account: "acme", ID: id, OrderingKey: fmt.Sprint("k", j%1000), Payload: []byte(`{}`)}, Request: j,
				Targets: []Target{{DeliveryID: id, ProfileID: "p"}},
			})
			if j%3 == 1 {
				at := testEpoch.Add(time.Duration(j) * time.Millisecond)
				st.Settlements = append(st.Settlements, Settlement{DeliveryID: id, Status: event.StatusRetrying, Attempt: 1, NextAt: at})
			}
		}
		apply(c)
		apply(st)
	}
	opts := TakeOptions{Limit: 10, MaxBytes: 1 << 20, Order: o}
	now := testEpoch.Add(time.Second)
	if _, err := s.Take(pLane, now, opts); err != nil { // organises the lane
		b.Fatal(err)
	}
	s.Unwatch(0)
	for i := 0; b.Loop(); i++ {
		opts.FreshOnly = i%2 == 0
		got, err := s.Take(pLane, now, opts)
		if err != nil || len(got.Deliveries) == 0 {
			b.Fatal(err)
		}
		for j := range got.Deliveries {
			s.Release(got.Deliveries[j].ID)
		}
	}
}
