package cluster

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

// sickLog fails as long as err is set.
type sickLog struct {
	*raft.InmemStore

	err error
}

func (l *sickLog) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

func (l *sickLog) StoreLogs(es []*raft.Log) error {
	return errors.Join(l.InmemStore.StoreLogs(es), l.err)
}

func (l *sickLog) DeleteRange(from, to uint64) error {
	return errors.Join(l.InmemStore.DeleteRange(from, to), l.err)
}

// TestFailStopLog: after a write that failed there is no other one, and the
// first failure is told, once. INV group-2.
func TestFailStopLog(t *testing.T) {
	t.Parallel()
	cause := errors.New("canary")
	for name, write := range map[string]func(l raft.LogStore) error{
		"store one":  func(l raft.LogStore) error { return l.StoreLog(&raft.Log{Index: 2}) },
		"store some": func(l raft.LogStore) error { return l.StoreLogs([]*raft.Log{{Index: 2}, {Index: 3}}) },
		"delete":     func(l raft.LogStore) error { return l.DeleteRange(1, 1) },
	} {
		inner := &sickLog{InmemStore: raft.NewInmemStore()}
		var told []error
		l := &failStopLog{LogStore: inner, failed: func(err error) { told = append(told, err) }}
		if err := l.StoreLog(&raft.Log{Index: 1}); err != nil {
			t.Fatal(err)
		}
		inner.err = cause
		if err := write(l); !errors.Is(err, cause) || !errors.Is(err, ErrLogFailed) {
			t.Errorf("%s: %v", name, err)
		}
		inner.err = nil
		for _, again := range []func() error{
			func() error { return l.StoreLog(&raft.Log{Index: 9}) },
			func() error { return l.StoreLogs([]*raft.Log{{Index: 9}}) },
			func() error { return l.DeleteRange(1, 3) },
		} {
			if err := again(); !errors.Is(err, ErrLogFailed) {
				t.Errorf("%s: a write after it: %v", name, err)
			}
		}
		if last, err := l.LastIndex(); err != nil || last > 3 {
			t.Errorf("%s: the log ends at %d, %v", name, last, err)
		}
		if len(told) != 1 || !errors.Is(told[0], cause) {
			t.Errorf("%s: told %v", name, told)
		}
	}
}

func TestFailStopLog_monotonic(t *testing.T) {
	t.Parallel()
	if (&failStopLog{LogStore: raft.NewInmemStore()}).IsMonotonic() {
		t.Error("a log that does not say so is taken for monotonic")
	}
	cache, err := raft.NewLogCache(1, raft.NewInmemStore())
	if err != nil {
		t.Fatal(err)
	}
	if (&failStopLog{LogStore: cache}).IsMonotonic() != cache.IsMonotonic() {
		t.Error("what the log says is not passed on")
	}
}
