package fsm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
)

// A backup is the state at its index, is checked to its last byte, and restores
// to the same digest.
func TestStore_backup(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustDo(t, s, bootstrap(), CreateAccount{head(epoch), testAccount("a")}, CreateSecurity{head(epoch), testSecurity("a", "s")})
	var b bytes.Buffer
	index, err := s.Backup(t.Context(), &b)
	if err != nil || index != s.AppliedIndex() {
		t.Fatalf("the backup is of index %d, %v", index, err)
	}
	dir := t.TempDir()
	if got, err := CheckBackup(bytes.NewReader(b.Bytes()), dir); err != nil || got != index {
		t.Errorf("checked: %d, %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"nothing":    {},
		"cut short":  b.Bytes()[:b.Len()-1],
		"half":       b.Bytes()[:b.Len()/2],
		"a tail":     append(bytes.Clone(b.Bytes()), 0),
		"other file": []byte("hello, this is no backup at all"),
		"one bit":    flip(b.Bytes(), b.Len()/2),
		"of its sum": flip(b.Bytes(), b.Len()-1),
	} {
		if got, err := CheckBackup(bytes.NewReader(bad), dir); err == nil {
			t.Errorf("%s: taken as of index %d", name, got)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
	other := newStore(t)
	if err := other.Restore(io.NopCloser(bytes.NewReader(b.Bytes()))); err != nil {
		t.Fatal(err)
	}
	want, err := s.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := other.Digest(); err != nil || got != want || other.AppliedIndex() != index {
		t.Errorf("restored: %x at %d, want %x, %v", got, other.AppliedIndex(), want, err)
	}
	cause := errors.New("it takes too long")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := s.Backup(ctx, io.Discard); !errors.Is(err, cause) {
		t.Errorf("without time the error is %v", err)
	}
	if _, err := s.Backup(t.Context(), brokenWriter{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a reader that has gone: %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}
