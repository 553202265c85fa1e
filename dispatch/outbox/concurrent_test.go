package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/event"
)

// TestStore_concurrentReaders lets a dispatcher, lookups and flushes run beside
// Apply. Every delivery must be handed out exactly once and end settled.
func TestStore_concurrentReaders(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{MemoryBytes: 64 << 10})
	d := drive(t, s)
	s.Watch(0)
	const n = 3000
	var mu sync.Mutex // of d
	seen := map[string]int{}
	done := make(chan struct{})
	var others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if err := s.Flush(); err != nil {
					t.Error(err)
				}
				if _, err := s.Event("acme", fmt.Sprint("e", i%n)); err != nil {
					t.Error(err)
				}
				_ = s.Stats()
			}
		})
	}
	others.Go(func() {
		defer close(done)
		for len(seen) < n {
			<-s.Work()
			for _, k := range s.Fresh() {
				for more := true; more; {
					b, err := s.Take(k, testEpoch, TakeOptions{Limit: 50, MaxBytes: 1 << 20})
					if err != nil {
						t.Error(err)
						return
					}
					more = b.More
					for i := range b.Deliveries {
						id := b.Deliveries[i].ID
						seen[id]++
						mu.Lock()
						v := d.settle(testEpoch, Settlement{DeliveryID: id, Status: event.StatusDelivered, Attempt: 1})
						mu.Unlock()
						if v != Settled {
							t.Errorf("%s: verdict %d", id, v)
						}
					}
				}
			}
		}
	})
	for i := range n {
		mu.Lock()
		d.accept(testEpoch, given(fmt.Sprint("e", i)), 1, time.Hour, fmt.Sprint("d", i))
		mu.Unlock()
	}
	others.Wait()
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was handed out %d times", id, times)
		}
	}
	if got := s.Stats(); got.Pending != 0 || got.Lanes != 0 {
		t.Errorf("at the end: %+v", got)
	}
}

func TestOpen_damagedFileIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "o.db")
	s, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	d := drive(t, s)
	for i := range 500 {
		d.accept(testEpoch, given(fmt.Sprint("e", i)), 1, time.Hour, fmt.Sprint("d", i))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	garbage := []byte(strings.Repeat("\xa5", len(good)))
	copy(garbage, good[:8192])
	for name, b := range map[string][]byte{"pages": garbage, "cut": good[:8192], "text": []byte("hello")} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(Options{Path: path}); err == nil {
			t.Errorf("%s: opened", name)
			_ = s.Close()
		} else if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "with an empty data directory") {
			t.Errorf("%s: the error does not name the file and say what to do: %v", name, err)
		}
	}
}

// TestOpen_alteredRow: INV outbox-19, a file of which one row is another than the
// one that was written is refused.
func TestOpen_alteredRow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "o.db")
	s, err := Open(Options{Path: path, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	d := drive(t, s)
	for i := range 3 {
		id := fmt.Sprint("d", i)
		d.accept(testEpoch, given(fmt.Sprint("e", i)), 1, time.Hour, id)
		d.settle(testEpoch, Settlement{DeliveryID: id, Status: event.StatusRetrying, Attempt: 1, NextAt: testEpoch.Add(time.Hour), WebhookID: id})
	}
	e := given("of a node")
	e.GivenID = false // such are found by name
	d.accept(testEpoch, e, 1, 0, "d3")
	d.settle(testEpoch, Settlement{DeliveryID: "d3", Status: event.StatusRetrying, Attempt: 1, NextAt: testEpoch.Add(time.Hour), WebhookID: "d3"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bucket := range [][]byte{bucketMeta, bucketEvents, bucketDeliveries, bucketProgress, bucketReceipts, bucketByEvent} {
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		alterRow(t, path, bucket)
		if s, err := Open(Options{Path: path, NoSync: true}); err == nil {
			t.Errorf("an altered row of %s is taken for what was written", bucket)
			_ = s.Close()
		} else if !errors.Is(err, errRow) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error does not name the file and say what to do: %v", bucket, err)
		}
	}
}

// alterRow flips one bit of the last row of a bucket.
func alterRow(t *testing.T, path string, bucket []byte) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		k, v := tx.Bucket(bucket).Cursor().Last()
		if len(v) == 0 {
			return errors.New("there is no row")
		}
		b := bytes.Clone(v)
		b[(len(b)-sumBytes)/2] ^= 1
		return tx.Bucket(bucket).Put(bytes.Clone(k), b)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatalf("%s: %v", bucket, err)
	}
}

// INV outbox-19: a file in which the name of a bucket is another one is refused,
// and not taken for one that never had the bucket.
func TestOpen_withoutBucket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "o.db")
	s, err := Open(Options{Path: path, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	drive(t, s).accept(testEpoch, given("a"), 1, time.Hour, "a1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bucket := range buckets {
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		dropBucket(t, path, bucket)
		if s, err := Open(Options{Path: path, NoSync: true}); err == nil {
			t.Errorf("a file without %s is taken for what was written", bucket)
			_ = s.Close()
		} else if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "with an empty data directory") {
			t.Errorf("%s: the error does not name the file and say what to do: %v", bucket, err)
		}
	}
}

// dropBucket removes a bucket from a file.
func dropBucket(t *testing.T, path string, bucket []byte) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error { return tx.DeleteBucket(bucket) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatalf("%s: %v", bucket, err)
	}
}
