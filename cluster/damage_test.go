package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// answers is everything that a node reads from the stores of a group.
type answers struct {
	Entries   []raft.Log
	Values    map[string]string
	Snapshots []raft.SnapshotMeta
}

// read asks stores for all that raft asks for.
func read(t *testing.T, s Stores) answers {
	t.Helper()
	a := answers{Values: map[string]string{}}
	first, err := s.Log.FirstIndex()
	last, lerr := s.Log.LastIndex()
	if err := errors.Join(err, lerr); err != nil {
		t.Fatal(err)
	}
	for i := first; i <= last && last > 0; i++ {
		var e raft.Log
		if err := s.Log.GetLog(i, &e); err != nil {
			t.Fatalf("entry %d after a check: %v", i, err)
		}
		e.AppendedAt = e.AppendedAt.UTC()
		a.Entries = append(a.Entries, e)
	}
	for _, k := range []string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"} {
		v, err := s.Stable.Get([]byte(k))
		if err != nil {
			v = fmt.Append(nil, "no value: ", err)
		}
		a.Values[k] = string(v)
	}
	metas, err := s.Snapshots.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range metas {
		m.Peers = nil // nobody reads it in snapshots of this version
		a.Snapshots = append(a.Snapshots, *m)
	}
	return a
}

// fill writes what a node has after a while: entries of two terms, of which the
// second replaced some of the first, terms, a vote and snapshots.
func fill(t *testing.T, s Stores, entries uint64) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	store := func(from, to, term uint64) {
		for i := from; i <= to; i++ {
			must(s.Log.StoreLog(&raft.Log{
				Index: i, Term: term, Type: raft.LogCommand, Data: bytes.Repeat(fmt.Append(nil, "command ", i), int(i%5)+1), AppendedAt: at,
			}))
		}
	}
	must(s.Stable.SetUint64([]byte("CurrentTerm"), 3))
	store(1, entries, 3)
	must(s.Stable.SetUint64([]byte("CurrentTerm"), 4))
	must(s.Stable.SetUint64([]byte("LastVoteTerm"), 4))
	must(s.Stable.Set([]byte("LastVoteCand"), []byte("n2:8600")))
	must(s.Log.DeleteRange(entries-1, entries))
	store(entries-1, entries, 4)
	must(s.Log.DeleteRange(1, 3))
	_, trans := raft.NewInmemTransport("n1:8600")
	for i := range uint64(2) {
		sink, err := s.Snapshots.Create(1, i+4, 3, raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1:8600"}, {ID: "n2", Address: "n2:8600"}}}, 1, trans)
		must(err)
		_, err = sink.Write(fmt.Appendf(nil, "the state at %d", i+4))
		must(errors.Join(err, sink.Close()))
	}
}

// image is the content of a directory, files without the zeros at their ends.
type image map[string]imageFile

type imageFile struct {
	content []byte
	size    int64
}

func takeImage(t *testing.T, dir string) image {
	t.Helper()
	m := image{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, rerr := filepath.Rel(dir, path)
		m[rel] = imageFile{bytes.TrimRight(b, "\x00"), int64(len(b))}
		return errors.Join(err, rerr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// put makes dir what the image is.
func (m image) put(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for name, f := range m {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, f.content, 0o600), os.Truncate(path, f.size)); err != nil {
			t.Fatal(err)
		}
	}
}

// with is the image with one file changed.
func (m image) with(name string, content []byte, size int64) image {
	out := maps.Clone(m)
	out[name] = imageFile{content, size}
	return out
}

// judge opens the stores of an image: they must say what they said, or refuse
// with the remedy and the place.
func judge(t *testing.T, what, dir, kind string, m image, want answers) (refused bool) {
	t.Helper()
	m.put(t, dir)
	s, err := openStores(dir, kind, hclog.NewNullLogger())
	if err != nil {
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: the error does not say what to do: %v", what, err)
		}
		return true
	}
	got := read(t, s)
	// With one of its two meta pages bbolt shows the transaction before, which
	// may have entries that were deleted since.
	got.Entries = slices.DeleteFunc(got.Entries, func(e raft.Log) bool { return e.Index < want.Entries[0].Index })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: the stores say something else: %s", what, diff)
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: close: %v", what, err)
	}
	return false
}

// filled makes stores of a kind with content, and gives their image.
func filled(t *testing.T, kind string, entries uint64) (string, image, answers) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "group")
	s, err := openStores(dir, kind, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, entries)
	want := read(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	m := takeImage(t, dir)
	if judge(t, "nothing", dir, kind, m, want) {
		t.Fatal("whole stores are refused")
	}
	return dir, m, want
}

// INV group-4, group-5: one bit, wherever it is, changes no answer.
func TestOpenStores_bits(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{LogBolt, LogWAL} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir, m, want := filled(t, kind, 8)
			rng := rand.New(rand.NewPCG(1, uint64(len(kind))))
			for _, name := range slices.Sorted(maps.Keys(m)) {
				f, refused, tried := m[name], 0, 0
				// Every byte of the log, and some of the pages of bbolt, which are many.
				step := 1
				switch filepath.Ext(name) {
				case ".db":
					step = 61
				case ".json":
					step = 5
				}
				if testing.Short() {
					step *= 7
				}
				for at := rng.IntN(step); at < len(f.content); at += step {
					b := bytes.Clone(f.content)
					bit := rng.IntN(8)
					b[at] ^= 1 << bit
					tried++
					if judge(t, fmt.Sprintf("bit %d of byte %d of %s", bit, at, name), dir, kind, m.with(name, b, f.size), want) {
						refused++
					}
				}
				t.Logf("%s: %d of %d damages were refused", name, refused, tried)
			}
		})
	}
}

// INV group-5: the term and the vote are few bytes of a large file; here each bit
// of them is tried.
func TestCheckedStable_bits(t *testing.T) {
	t.Parallel()
	w, err := openWitness(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.close() }()
	inner := raft.NewInmemStore()
	s := &checkedStable{inner, "raft.db", w}
	if err := errors.Join(s.SetUint64(keyTerm, 4), s.SetUint64(keyVoteTerm, 4), s.Set(keyCandidate, []byte("n2:8600")), s.check()); err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]byte{keyTerm, keyVoteTerm, keyCandidate} {
		good, err := inner.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 8 * len(good) {
			b := bytes.Clone(good)
			b[i/8] ^= 1 << (i % 8)
			if err := inner.Set(key, b); err != nil {
				t.Fatal(err)
			}
			if v, err := s.Get(key); !errors.Is(err, ErrDamaged) {
				t.Errorf("bit %d of byte %d of %s: believed as %x (%v)", i%8, i/8, key, v, err)
			}
			if err := s.check(); !errors.Is(err, ErrDamaged) {
				t.Errorf("bit %d of byte %d of %s: checked, and %v", i%8, i/8, key, err)
			}
		}
		if err := inner.Set(key, good); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.check(); err != nil {
		t.Errorf("what is whole again: %v", err)
	}
}

// A file that was cut off, or is of an earlier time, is a file that forgot.
func TestOpenStores_cutAndStale(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{LogBolt, LogWAL} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir, m, want := filled(t, kind, 8)
			for _, name := range slices.Sorted(maps.Keys(m)) {
				f := m[name]
				for _, keep := range []int{0, 1, len(f.content) / 3, len(f.content) / 2, len(f.content) - 1} {
					judge(t, fmt.Sprintf("%s cut to %d", name, keep), dir, kind, m.with(name, f.content[:keep], int64(keep)), want)
				}
			}
			// The same with entries and a term more: what was whole is old then.
			m.put(t, dir)
			s, err := openStores(dir, kind, hclog.NewNullLogger())
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(
				s.Stable.SetUint64([]byte("CurrentTerm"), 5), s.Stable.SetUint64([]byte("LastVoteTerm"), 5), s.Stable.Set([]byte("LastVoteCand"), []byte("n3:8600")),
				s.Log.StoreLog(&raft.Log{Index: 9, Term: 5, Data: []byte("later")}),
			); err != nil {
				t.Fatal(err)
			}
			later := read(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			now := takeImage(t, dir)
			for _, name := range slices.Sorted(maps.Keys(now)) {
				if old, ok := m[name]; ok && name != witnessFile {
					judge(t, name+" is old", dir, kind, now.with(name, old.content, old.size), later)
				}
			}
			// An old witness only knows less.
			if judge(t, "an old witness", dir, kind, now.with(witnessFile, m[witnessFile].content, m[witnessFile].size), later) {
				t.Error("an old witness is refused")
			}
		})
	}
}

// The witness follows a log that goes back because a leader says so, and one
// that is dropped for a snapshot.
func TestWitness_goesBack(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{LogBolt, LogWAL} {
		dir := t.TempDir()
		open := func() Stores { return openKind(t, dir, kind) }
		s := open()
		appendEntries(t, s.Log, 10)
		for _, cut := range []struct{ from, to, last uint64 }{{8, 10, 7}, {1, 3, 7}, {4, 7, 0}} {
			if err := errors.Join(s.Log.DeleteRange(cut.from, cut.to), s.Close()); err != nil {
				t.Fatal(err)
			}
			s = open()
			if last, err := s.Log.LastIndex(); err != nil || last != cut.last {
				t.Errorf("%s: after deleting %d to %d the log ends at %d, %v; want %d", kind, cut.from, cut.to, last, err, cut.last)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
