package demo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// markerFile shows that a directory was made by a demo, and with what shape.
// It is locked while the demo runs.
const markerFile = ".belfry-demo"

// dir is the directory of a running demo.
type dir struct{ marker *os.File }

func (d *dir) close() { _ = d.marker.Close() } // gives the lock back

// openDir makes path ready for a demo of the given shape and locks it. What an
// earlier demo left there is removed unless keep is set.
//
// INV demo-1: nothing is removed from a directory without the marker.
func openDir(path, shape string, keep bool) (*dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	name := filepath.Join(path, markerFile)
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if _, err := os.Lstat(name); len(entries) > 0 && errors.Is(err, os.ErrNotExist) {
		return nil, usage("--data-dir %s holds something that no demo made: name another directory", path)
	}
	marker, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // the caller's own directory
	if err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	d := &dir{marker}
	if err := d.take(path, shape, keep, entries); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *dir) take(path, shape string, keep bool, entries []os.DirEntry) error {
	if err := syscall.Flock(int(d.marker.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return usage("--data-dir %s is in use by another demo: end that, or name another directory", path)
	}
	const most = 256
	b, err := io.ReadAll(io.LimitReader(d.marker, most))
	if err != nil {
		return err
	}
	before := strings.TrimSpace(string(b))
	if keep {
		if before != "" && before != shape {
			return usage("--keep: the data in %s is that of a demo with %s, not %s: give the same --nodes and --port, or leave --keep away", path, before, shape)
		}
	} else {
		for _, e := range entries {
			if e.Name() == markerFile {
				continue
			}
			if err := os.RemoveAll(filepath.Join(path, e.Name())); err != nil {
				return fmt.Errorf("remove the data of the last demo: %w", err)
			}
		}
	}
	if err := d.marker.Truncate(0); err != nil {
		return err
	}
	_, err = d.marker.WriteAt([]byte(shape+"\n"), 0)
	return err
}
