package node

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestRewriteTails: INV node-2, what was written last is written again, as it
// is; what cannot be of use, or belongs to somebody else, is left alone.
func TestRewriteTails(t *testing.T) {
	t.Parallel()
	root, old := t.TempDir(), time.Now().Add(-time.Hour)
	files := map[string][]byte{
		"outbox.db":                      bytes.Repeat([]byte("page"), metaBytes),
		"raft/config/log.db":             []byte("small"),
		"raft/events/wal/wal-meta.db":    []byte("meta"),
		"raft/events/wal/1.wal":          []byte("sealed long ago"),
		"raft/events/wal/2.wal":          []byte("sealed"),
		"raft/events/wal/3.wal":          append(bytes.Repeat([]byte("tail"), rewriteChunk/2), make([]byte, 2*rewriteChunk)...),
		"raft/events/snapshots/1/a.bin":  []byte("not ours to write"),
		"raft/orphan/wal/1.wal":          []byte("nobody's"),
		"busy.db":                        []byte("of another process"),
		"raft/config/snapshots/empty.db": nil,
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	busy, err := os.Open(filepath.Join(root, "busy.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	if err := syscall.Flock(int(busy.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := rewriteTails(root); err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{
		"outbox.db": true, "raft/config/log.db": true, "raft/events/wal/wal-meta.db": true, "raft/events/wal/2.wal": true, "raft/events/wal/3.wal": true,
	}
	for name, want := range files {
		path := filepath.Join(root, name)
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has changed (%v)", name, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if changed := info.ModTime().After(old.Add(time.Minute)); changed != written[name] {
			t.Errorf("%s was written: %v, want %v", name, changed, written[name])
		}
	}
	if err := rewriteTails(filepath.Join(root, "missing")); err != nil {
		t.Errorf("a directory that is not there yet: %v", err)
	}
}

// A start does that, also with files that nothing of the node opens.
func TestStart_rewritesTails(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	c.stop(c.nodes[0])
	old := time.Now().Add(-time.Hour)
	path := filepath.Join(c.nodes[0].cfg.DataDir, "other.db")
	if err := errors.Join(os.WriteFile(path, []byte("left in memory"), 0o600), os.Chtimes(path, old, old)); err != nil {
		t.Fatal(err)
	}
	c.nodes[0] = c.start(c.nodes[0].cfg)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !info.ModTime().After(old.Add(time.Minute)) {
		t.Errorf("%s was not written again", path)
	}
}
