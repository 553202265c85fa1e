package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// grownTo is a size of the state file far above that of a new one, and far below
// that of its map.
const grownTo = 2 << 20

// TestStore_growsBesideSnapshot: while a snapshot is read, which may take as long
// as a slow disk does, changes go on, also when they make the file grow.
func TestStore_growsBesideSnapshot(t *testing.T) {
	t.Parallel()
	s := seeded(t)
	want := snapshotOf(t, s)
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	grown := make(chan int64, 1)
	go func() {
		size := int64(0)
		for i := 0; size < grownTo; i++ {
			c := testCertificate("a", fmt.Sprint("c", i))
			c.ChainPEM = bytes.Repeat([]byte("pem "), 20_000)
			if err := do(t, s, CreateCertificate{head(epoch), c}); err != nil {
				t.Errorf("certificate %d: %v", i, err)
				break
			}
			if err := s.view(func(tx *bbolt.Tx) error { size = tx.Size(); return nil }); err != nil {
				t.Errorf("size of the file: %v", err)
				break
			}
		}
		grown <- size
	}()
	tooLong := time.NewTimer(10 * time.Second) // it takes a fraction of a second
	defer tooLong.Stop()
	select {
	case size := <-grown:
		if size < grownTo || size > initialMmap/2 {
			t.Errorf("the file has %d bytes: the test shows nothing", size)
		}
	case <-tooLong.C:
		t.Error("a change waits for the snapshot to be released")
		snap.Release()
		<-grown
		return
	}
	var sink memSink
	if err := snap.Persist(&sink); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sink.Bytes(), want) {
		t.Error("the snapshot shows a later state")
	}
}

// TestOpen_alteredRow: INV fsm-8, a file of which one row is another than the one
// that was written is refused.
func TestOpen_alteredRow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.db")
	s := openStore(t, path)
	sec := testSecurity("default", "s")
	mustDo(t, s, bootstrap(), CreateCertificate{head(epoch), testCertificate("default", "c")}, CreateUser{head(epoch), testUser("default", "u")},
		CreateProfile{head(epoch), newProfile(testProfile("default", "p"), &sec)}, CreateSubscription{Header: head(epoch), Subscription: testSub("default", "x", "p")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	altered := 0
	for _, bucket := range buckets {
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if !alterRow(t, path, bucket) {
			continue
		}
		altered++
		s, err := Open(Options{Path: path, NoSync: true})
		if err == nil {
			t.Errorf("an altered row of %s is taken for what was written", bucket)
			_ = s.Close()
		} else if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "with an empty data directory") {
			t.Errorf("%s: the error does not name the file and say what to do: %v", bucket, err)
		}
	}
	if altered < 10 {
		t.Errorf("rows of %d buckets were altered: the test shows little", altered)
	}
}

// alterRow flips one bit of the first value of a bucket; false: it has none.
func alterRow(t *testing.T, path string, bucket []byte) (done bool) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		k, v := tx.Bucket(bucket).Cursor().First()
		if len(v) == 0 {
			return nil
		}
		done = true
		b := bytes.Clone(v)
		b[len(b)/2] ^= 1
		return tx.Bucket(bucket).Put(bytes.Clone(k), b)
	})
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// INV fsm-8: a file in which the name of a bucket is another one is refused, and
// not taken for one that never had the bucket.
func TestOpen_withoutBucket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.db")
	s := openStore(t, path)
	mustDo(t, s, bootstrap())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bucket := range append([][]byte{bMeta}, buckets...) {
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		dropBucket(t, path, bucket)
		s, err := Open(Options{Path: path, NoSync: true})
		if err == nil {
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
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucket) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatalf("%s: %v", bucket, err)
	}
}
