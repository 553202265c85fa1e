package node

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/belfry/config"
	"example.com/belfry/fsm/model"
)

func TestDiskWatch_limit(t *testing.T) {
	t.Parallel()
	now, free := time.Unix(1000, 0), config.Bytes(100<<20)
	var broken error
	d := &diskWatch{
		dir: "x", min: 100 << 20,
		free: func(string) (config.Bytes, error) { return free, broken },
		now:  func() time.Time { return now },
	}
	if err := d.room(); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	free--
	if err := d.room(); err != nil {
		t.Errorf("within a second the answer changed: %v", err)
	}
	now = now.Add(diskInterval)
	err := d.room()
	if e, ok := errors.AsType[*model.Error](err); !ok || e.Code != model.CodeUnavailable || e.RetryAfter == 0 || !strings.Contains(e.Message, "99MiB free") {
		t.Errorf("one byte below the limit: got %v", err)
	}
	now = now.Add(diskInterval)
	broken = errors.New("no such file system")
	if err := d.room(); err != nil {
		t.Errorf("a file system that cannot be asked: %v", err)
	}
}

func TestFreeBytes(t *testing.T) {
	t.Parallel()
	n, err := freeBytes(t.TempDir())
	if err != nil || n <= 0 {
		t.Errorf("got %d, %v; want what is free here", n, err)
	}
}
