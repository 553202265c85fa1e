package history

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRecorder_roundTrip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clock := NewClock()
	a, err := Create(dir, "w1-1", clock)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Create(dir, "sink-1", clock)
	if err != nil {
		t.Fatal(err)
	}
	first := Op{Process: "w1-1", Kind: "profile.put", Node: "n1", Key: "p", Call: 5, Return: 9, Outcome: OK, Status: 200, In: JSON(map[string]int{"v": 1})}
	second := Op{Process: "sink-1", Kind: "arrival", Call: 3, Return: 4, Outcome: Unknown, Error: "reset"}
	var wg sync.WaitGroup
	wg.Go(func() { a.Record(first) })
	wg.Go(func() { b.Record(second) })
	wg.Wait()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Op{second, first}, got); d != "" {
		t.Errorf("both files in order of Call (-want +got):\n%s", d)
	}
	if got, err = Read(dir, "w1"); err != nil || len(got) != 1 || got[0].Process != "w1-1" {
		t.Errorf("with a prefix: %v, %v", got, err)
	}
}

func TestCreate_neverOverwrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := Create(dir, "x", NewClock())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, err := Create(dir, "x", NewClock()); err == nil {
		t.Error("a second history under the same name was begun")
	}
}

func TestRead_damagedLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.jsonl"), []byte("{}\n{\"call\":\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v, want an error that names line 2", err)
	}
}
