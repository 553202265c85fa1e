package attemptlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
)

// randomID looks like an id that a client made, in no order.
func randomID(i int) string {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
	return hex.EncodeToString(sum[:16])
}

// recordMany records n events of 1 KiB with one delivered attempt each, in batches
// as large as those of a busy node, and gives the highest heap after a write.
func recordMany(b *testing.B, l *Log, from, n int) (heap uint64) {
	b.Helper()
	payload := []byte(`{"a":"` + string(bytes.Repeat([]byte("x"), 1<<10-8)) + `"}`)
	var m runtime.MemStats
	for i := from; i < from+n; i++ {
		note(l, "acme", randomID(i), i/100, func(e *event.Event, n *Entry) {
			e.Payload, n.Status, n.NextAt = payload, event.StatusDelivered, time.Time{}
			n.Attempt.RequestHeaders[4].Value = e.ID
		})
		if i%2500 == 2499 {
			if err := l.Flush(); err != nil {
				b.Fatal(err)
			}
			runtime.ReadMemStats(&m)
			heap = max(heap, m.HeapAlloc)
		}
	}
	return heap
}

// BenchmarkLog_full works on a log that has been full for a while, of events with
// ids in no order: what it writes it removes too.
func BenchmarkLog_full(b *testing.B) {
	const events = 1_000_000
	path := filepath.Join(b.TempDir(), "a.db")
	l, err := Open(Options{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	recordMany(b, l, 0, events)
	next := events
	b.Run("write50000", func(b *testing.B) {
		b.ReportAllocs()
		var heap uint64
		for b.Loop() {
			heap = max(heap, recordMany(b, l, next, 50_000))
			next += 50_000
		}
		b.ReportMetric(float64(heap)/(1<<20), "MiB-heap")
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/1e9, "GB-file")
		b.ReportMetric(float64(l.bytes)/1e9, "GB-counted")
	})
	b.Run("lookup", func(b *testing.B) {
		i, found := 0, 0
		for b.Loop() {
			i = (i + 7919) % 500_000
			if _, ok, err := l.Lookup("acme", randomID(next-1-i)); err != nil {
				b.Fatal(err)
			} else if ok {
				found++
			}
		}
		if found == 0 {
			b.Error("nothing was found")
		}
	})
	b.Run("lookupNothing", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, ok, err := l.Lookup("acme", randomID(-1-i)); err != nil || ok {
				b.Fatal(ok, err)
			}
		}
	})
	for name, f := range map[string]event.Filter{"scanEvents": {Channel: "VOICE"}, "scanDeliveries": {Status: event.StatusDead}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if s, err := l.Scan("acme", &f, event.Ref{}, 100); err != nil || s.Done || len(s.Refs) > 0 {
					b.Fatalf("%+v, %v", s, err)
				}
			}
		})
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			l, err := Open(Options{Path: path})
			if err != nil {
				b.Fatal(err)
			}
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
