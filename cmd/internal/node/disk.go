package node

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"example.com/belfry/config"
	"example.com/belfry/fsm/model"
)

// diskInterval is how long an answer about the disk holds.
const diskInterval = time.Second

// diskWatch says whether there is room for more events.
type diskWatch struct {
	dir  string
	min  config.Bytes
	free func(dir string) (config.Bytes, error) // nil: of the file system
	now  func() time.Time                       // nil: time.Now

	mu  sync.Mutex
	at  time.Time
	err error
}

// room returns nil while at least min bytes are free, else CodeUnavailable. A
// file system that cannot be asked counts as having room: writing will tell.
func (d *diskWatch) room() error {
	now := time.Now
	if d.now != nil {
		now = d.now
	}
	free := freeBytes
	if d.free != nil {
		free = d.free
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := now(); d.at.IsZero() || t.Sub(d.at) >= diskInterval {
		d.at, d.err = t, nil
		if n, err := free(d.dir); err == nil && n < d.min {
			e := model.Errorf(model.CodeUnavailable, "the disk of this node is nearly full (%s free, --min-free-disk is %s), so it takes no events", n/(1<<20)*(1<<20), d.min)
			e.RetryAfter = 30
			d.err = e
		}
	}
	return d.err
}

func freeBytes(dir string) (config.Bytes, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return config.Bytes(s.Bavail) * config.Bytes(s.Bsize), nil //nolint:gosec // far below 2^63
}
