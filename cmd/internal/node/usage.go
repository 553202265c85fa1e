package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"example.com/belfry/api"
)

const (
	// usageInterval is how long a look at the data directory holds.
	usageInterval = time.Second
	// maxUsageFiles is how many files of the data directory are looked at. A
	// node has some twenty.
	maxUsageFiles = 10_000
	// statBlock is the unit of Stat_t.Blocks, in bytes.
	statBlock = 512
)

// usage says what a node takes of its disk. It may be asked often.
type usage struct {
	dir     string
	minFree int64
	now     func() time.Time

	mu   sync.Mutex
	at   time.Time
	last api.DiskHealth
}

func (u *usage) disk(ctx context.Context) api.DiskHealth {
	u.mu.Lock()
	defer u.mu.Unlock()
	if t := u.now(); u.at.IsZero() || t.Sub(u.at) >= usageInterval {
		d := u.look(ctx)
		if ctx.Err() != nil { // cut short, which the next one need not be
			return d
		}
		u.last, u.at = d, t
	}
	return u.last
}

// look counts blocks and not sizes: a log is allocated before it is written.
func (u *usage) look(ctx context.Context) api.DiskHealth {
	d := api.DiskHealth{MinFreeBytes: u.minFree}
	var s unix.Statfs_t
	err := unix.Statfs(u.dir, &s)
	if err == nil {
		d.TotalBytes = int64(s.Blocks * uint64(s.Bsize)) //nolint:gosec // far below 2^63
		d.FreeBytes = int64(s.Bavail * uint64(s.Bsize))  //nolint:gosec // far below 2^63
	}
	files := 0
	err = errors.Join(err, filepath.WalkDir(u.dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, fs.ErrNotExist): // gone meanwhile
			return nil
		case err != nil || e.IsDir():
			return err
		}
		if files++; files > maxUsageFiles {
			return fmt.Errorf("the data directory has more than %d files, and not all were looked at", maxUsageFiles)
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // gone meanwhile
		}
		size := info.Size()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			size = st.Blocks * statBlock
		}
		*u.part(&d, path) += size
		return nil
	}))
	if err != nil {
		d.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return d
}

// part is where a file counts.
func (u *usage) part(d *api.DiskHealth, path string) *int64 {
	rel, err := filepath.Rel(u.dir, path)
	if err != nil {
		return &d.OtherBytes
	}
	first, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
	switch {
	case first == "raft":
		return &d.RaftBytes
	case strings.HasPrefix(first, "config.db"): // with its .restore
		return &d.ConfigBytes
	case strings.HasPrefix(first, "outbox.db"):
		return &d.OutboxBytes
	case strings.HasPrefix(first, "attempts.db"):
		return &d.AttemptsBytes
	}
	return &d.OtherBytes
}
