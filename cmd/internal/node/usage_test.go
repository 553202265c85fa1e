package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(tb testing.TB, size int, path ...string) {
	tb.Helper()
	p := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(p, make([]byte, size), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// What a node takes is told by what for, in blocks of the file system.
func TestUsage_parts(t *testing.T) {
	t.Parallel()
	dir, at := t.TempDir(), time.Unix(1000, 0)
	write(t, 10_000, dir, "raft", "config", "raft.db")
	write(t, 10_000, dir, "raft", "config", "snapshots", "1-2-3", "state.bin")
	write(t, 30_000, dir, "config.db")
	write(t, 30_000, dir, "config.db.restore")
	write(t, 50_000, dir, "outbox.db")
	write(t, 70_000, dir, "attempts.db")
	write(t, 1, dir, "incarnation")
	u := &usage{dir: dir, minFree: 7, now: func() time.Time { return at }}
	d := u.disk(t.Context())
	if d.Error != "" || d.TotalBytes <= 0 || d.FreeBytes <= 0 || d.FreeBytes > d.TotalBytes || d.MinFreeBytes != 7 {
		t.Errorf("the file system is %+v", d)
	}
	for what, got := range map[string][2]int64{
		"raft": {d.RaftBytes, 20_000}, "config": {d.ConfigBytes, 60_000}, "outbox": {d.OutboxBytes, 50_000}, "attempts": {d.AttemptsBytes, 70_000}, "other": {d.OtherBytes, 1},
	} {
		if most := got[1] + 4*64<<10; got[0] < got[1] || got[0] > most {
			t.Errorf("%s takes %d bytes, want %d to %d", what, got[0], got[1], most)
		}
	}
	write(t, 90_000, dir, "attempts.db")
	if again := u.disk(t.Context()); again != d {
		t.Errorf("within a second the answer changed: %+v", again)
	}
	at = at.Add(usageInterval)
	if again := u.disk(t.Context()); again.AttemptsBytes <= d.AttemptsBytes {
		t.Errorf("after a second the answer is %+v", again)
	}
}

// As many files as are allowed are looked at, and one more is said.
func TestUsage_limit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range maxUsageFiles {
		write(t, 0, dir, "raft", fmt.Sprint(i))
	}
	u := &usage{dir: dir, now: time.Now}
	if d := u.look(t.Context()); d.Error != "" {
		t.Errorf("at the limit: %s", d.Error)
	}
	write(t, 0, dir, "raft", "more")
	if d := u.look(t.Context()); !strings.Contains(d.Error, fmt.Sprint("more than ", maxUsageFiles, " files")) {
		t.Errorf("above the limit the error is %q", d.Error)
	}
}

// A look that was cut short is not kept, and a directory that is not there is said.
func TestUsage_errors(t *testing.T) {
	t.Parallel()
	u := &usage{dir: t.TempDir(), now: time.Now}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d := u.disk(ctx); d.Error == "" {
		t.Error("a look that was cut short has no error")
	}
	if d := u.disk(t.Context()); d.Error != "" {
		t.Errorf("the next one says %q", d.Error)
	}
	u = &usage{dir: filepath.Join(t.TempDir(), "none"), now: time.Now}
	if d := u.disk(t.Context()); d.Error == "" || strings.Contains(d.Error, "\n") {
		t.Errorf("a directory that is not there: %q", d.Error)
	}
}
