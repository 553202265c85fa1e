package clustertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/cluster"
)

func entries(from, to uint64) (ls []*raft.Log) {
	for i := from; i <= to; i++ {
		ls = append(ls, &raft.Log{Index: i, Term: 1, Data: fmt.Append(nil, i)})
	}
	return ls
}

func lastIndex(t *testing.T, s cluster.Stores) uint64 {
	t.Helper()
	last, err := s.Log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// TestDisk_failedBatch: of a batch that failed a first part is there, at once
// or after a restart, and what was stored before always is.
func TestDisk_failedBatch(t *testing.T) {
	t.Parallel()
	atOnce, later, none, all := 0, 0, 0, 0
	for seed := range uint64(200) {
		d := newDisk(seed, "n1", func() { t.Error("the process ended") })
		s := d.stores("config")
		if err := s.Log.StoreLogs(entries(1, 3)); err != nil {
			t.Fatal(err)
		}
		d.Fail(1)
		if err := s.Log.StoreLogs(entries(4, 6)); !errors.Is(err, ErrDisk) {
			t.Fatalf("a write to a failing disk: %v", err)
		}
		before := lastIndex(t, s)
		d.end()
		d.begin()
		after := lastIndex(t, d.stores("config"))
		if before < 3 || after < before || after > 6 {
			t.Fatalf("seed %d: the log ended at 3, then at %d, and after a restart at %d", seed, before, after)
		}
		switch {
		case before > 3:
			atOnce++
		case after > 3:
			later++
		default:
			none++
		}
		if after == 6 {
			all++
		}
		for i := uint64(1); i <= after; i++ {
			var l raft.Log
			if err := s.Log.GetLog(i, &l); err != nil || string(l.Data) != fmt.Sprint(i) {
				t.Fatalf("seed %d: entry %d is %q, %v", seed, i, l.Data, err)
			}
		}
	}
	if atOnce == 0 || later == 0 || none == 0 || all == 0 {
		t.Errorf("there at once %d times, after a restart %d, not at all %d, as a whole %d", atOnce, later, none, all)
	}
}

// TestDisk_overwritten: what a failed write left behind is gone when the next
// one succeeds.
func TestDisk_overwritten(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		d := newDisk(seed, "n1", func() {})
		s := d.stores("config")
		d.Fail(1)
		if err := s.Log.StoreLogs(entries(1, 3)); err == nil {
			t.Fatal("the write did not fail")
		}
		if lastIndex(t, s) > 0 {
			continue // it was there at once
		}
		d.Fail(0)
		if err := s.Log.StoreLog(entries(1, 1)[0]); err != nil {
			t.Fatal(err)
		}
		d.end()
		d.begin()
		if last := lastIndex(t, s); last != 1 {
			t.Fatalf("seed %d: the log ends at %d", seed, last)
		}
	}
}

// TestDisk_end: after the end of a process its writes go nowhere, also those
// that were under way.
func TestDisk_end(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(1, "n1", func() { t.Error("it ended twice") })
		s := d.stores("config")
		if err := s.Stable.Set([]byte("k"), []byte("old")); err != nil {
			t.Fatal(err)
		}
		d.Pause()
		done := make(chan error, 1)
		go func() { done <- s.Stable.Set([]byte("k"), []byte("new")) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("a write on a paused disk: %v", err)
		default:
		}
		d.end()
		if err := <-done; err == nil {
			t.Error("the write that was under way succeeded")
		}
		if err := s.Stable.SetUint64([]byte(keyTerm), 7); err != nil {
			t.Errorf("a process that has ended panics: %v", err)
		}
		d.begin()
		if v, err := s.Stable.Get([]byte("k")); err != nil || string(v) != "old" {
			t.Errorf("the value is %q, %v", v, err)
		}
		if term, err := s.Stable.GetUint64([]byte(keyTerm)); err != nil || term != 0 {
			t.Errorf("the term is %d, %v", term, err)
		}
	})
}

// TestDisk_term: a term that cannot be written ends the process.
func TestDisk_term(t *testing.T) {
	t.Parallel()
	ended := 0
	d := newDisk(1, "n1", func() { ended++ })
	s := d.stores("config")
	d.Fail(1)
	if err := s.Stable.SetUint64([]byte("LastVoteTerm"), 3); err == nil || ended != 0 {
		t.Errorf("a vote that cannot be written: %v, ended %d times", err, ended)
	}
	for range 2 {
		if err := s.Stable.SetUint64([]byte(keyTerm), 3); err != nil || ended != 1 {
			t.Errorf("a term that cannot be written: %v, ended %d times", err, ended)
		}
	}
	if d.Failures() != 2 {
		t.Errorf("%d failures", d.Failures())
	}
}

func TestDisk_slow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(1, "n1", func() {})
		d.Slow(5 * time.Second)
		begin := time.Now()
		for i := range uint64(10) {
			if err := d.stores("config").Log.StoreLogs(entries(i+1, i+1)); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took < 5*time.Second || took > 50*time.Second {
			t.Errorf("ten writes took %v", took)
		}
	})
}

// TestDisk_snapshots: only whole ones count, the newest comes first, two are
// kept.
func TestDisk_snapshots(t *testing.T) {
	t.Parallel()
	d := newDisk(1, "n1", func() {})
	s := d.stores("config").Snapshots
	for i := range uint64(3) {
		sink, err := s.Create(1, i+1, 1, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sink.Write([]byte{byte(i + 1)}); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			d.Fail(1)
			if err := sink.Close(); err == nil {
				t.Error("a snapshot was written to a failing disk")
			}
		} else if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].Index != 2 || list[1].Index != 1 {
		t.Fatalf("the list is %v, %v", list, err)
	}
	_, r, err := s.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, []byte{2}) {
		t.Errorf("it holds %v, %v", b, err)
	}
	if _, _, err := s.Open("other"); err == nil {
		t.Error("a snapshot that is not there was opened")
	}
}
