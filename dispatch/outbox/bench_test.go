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
// costs beside the memory budget, and how fast the file loads.
func BenchmarkStore_backlog(b *testing.B) {
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
				Event:   event.Event{Account: "acme", ID: id, Channel: "SMS", Name: "DELIVERY", Payload: payload},
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
