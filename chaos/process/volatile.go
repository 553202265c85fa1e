package process

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// pageSize is the unit in which contents are kept back and lost.
const pageSize = 4096

// inode is a file or a directory of a Disk, as running programs see it, with
// what it takes to go back to what was synced. It is not safe for concurrent
// use; the Disk has a lock.
type inode struct {
	id       uint64
	mode     fs.FileMode
	modified time.Time
	parent   *inode // nil: the root, or unlinked
	name     string

	// Of a directory: its entries, and those that survive a power failure.
	live, durable map[string]*inode

	// Of a file: its content is in data. Pages that were written since the last
	// sync are in undo, as they were then, up to the durable size.
	data        *os.File
	size        int64
	durableSize int64
	undo        map[int64][]byte
	dirty       map[int64]struct{} // pages written since the last sync
	// failed are those of dirty that a sync failed for. The next sync forgets
	// them and succeeds, as Linux does: only writing them again helps.
	failed map[int64]struct{}
	// savedIn.durable[savedAs] is this file; nil: its name does not survive.
	savedIn *inode
	savedAs string
	// held: the kernel knows it, so a program may have it open.
	held bool
}

func (e *inode) isDir() bool { return e.mode.IsDir() }

// volume is the tree of a Disk. Contents are files in store, by inode.
type volume struct {
	store string
	root  *inode
	next  uint64
	all   map[uint64]*inode // files whose content is in store
}

func newVolume(store string) *volume {
	v := &volume{store: store, all: map[uint64]*inode{}}
	v.root = v.newInode(fs.ModeDir | 0o700)
	return v
}

func (v *volume) newInode(mode fs.FileMode) *inode {
	v.next++
	e := &inode{id: v.next, mode: mode, modified: time.Now()}
	if mode.IsDir() {
		e.live, e.durable = map[string]*inode{}, map[string]*inode{}
	} else {
		e.undo, e.dirty, e.failed = map[int64][]byte{}, map[int64]struct{}{}, map[int64]struct{}{}
	}
	return e
}

func (v *volume) path(e *inode) string { return filepath.Join(v.store, fmt.Sprintf("%08d", e.id)) }

// create makes a file or a directory.
func (v *volume) create(dir *inode, name string, mode fs.FileMode) (*inode, error) {
	if dir.live[name] != nil {
		return nil, fs.ErrExist
	}
	e := v.newInode(mode)
	if !e.isDir() {
		f, err := os.OpenFile(v.path(e), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		e.data = f
		v.all[e.id] = e
	}
	v.link(dir, name, e)
	return e, nil
}

// link gives e a name. When it has one already, the new one counts: whoever
// links means to take the old one away.
func (v *volume) link(dir *inode, name string, e *inode) {
	dir.live[name] = e
	dir.modified = time.Now()
	e.parent, e.name = dir, name
}

// remove takes a name away. The content stays while a power failure can bring
// the name back, or somebody has the file open.
func (v *volume) remove(dir *inode, name string) {
	if e := dir.live[name]; e != nil {
		delete(dir.live, name)
		dir.modified = time.Now()
		if e.parent == dir && e.name == name {
			e.parent = nil
		}
		v.release(e)
	}
}

// rename moves from/name to to/newName, over what is there.
func (v *volume) rename(from *inode, name string, to *inode, newName string) {
	e := from.live[name]
	delete(from.live, name)
	from.modified = time.Now()
	v.remove(to, newName)
	v.link(to, newName, e)
}

// write puts b at off.
func (v *volume) write(e *inode, b []byte, off int64) error {
	if err := e.keep(off, off+int64(len(b))); err != nil {
		return err
	}
	_, err := e.data.WriteAt(b, off)
	e.size = max(e.size, off+int64(len(b)))
	e.modified = time.Now()
	return err
}

// resize cuts or grows a file.
func (v *volume) resize(e *inode, size int64) error {
	if err := e.keep(min(size, e.size), max(size, e.size)); err != nil {
		return err
	}
	err := e.data.Truncate(size)
	e.size = size
	e.modified = time.Now()
	return err
}

// keep notes the pages of [from, to) before they are changed.
func (e *inode) keep(from, to int64) error {
	for p := from / pageSize; p*pageSize < to; p++ {
		delete(e.failed, p)
		if _, known := e.dirty[p]; known {
			continue
		}
		e.dirty[p] = struct{}{}
		n := min(pageSize, e.durableSize-p*pageSize)
		if n <= 0 {
			continue
		}
		old := make([]byte, n)
		if _, err := e.data.ReadAt(old, p*pageSize); err != nil {
			return err
		}
		e.undo[p] = old
	}
	return nil
}

// sync makes a file or directory survive, as ext4 does: a file with the name
// it has, a directory with its entries, both with the directories above.
func (v *volume) sync(e *inode) {
	if e.isDir() {
		for name, x := range e.durable {
			if e.live[name] != x && x.parent != nil && x.parent != e {
				x.save() // moved elsewhere: a move is one change, not half of it
			}
		}
		before := e.durable
		e.durable = maps.Clone(e.live)
		for name, x := range e.durable {
			x.savedIn, x.savedAs = e, name
		}
		for _, x := range before {
			v.release(x)
		}
	} else {
		e.durableSize = e.size
		for p := range e.dirty {
			if _, failed := e.failed[p]; !failed {
				delete(e.dirty, p)
				delete(e.undo, p)
			}
		}
	}
	for x := e; x != nil && x.parent != nil; x = x.parent {
		x.save()
	}
}

// syncFails is a sync that fails.
func (e *inode) syncFails() { maps.Copy(e.failed, e.dirty) }

// save makes the name of e survive.
func (e *inode) save() {
	if e.savedIn != nil && e.savedIn.durable[e.savedAs] == e {
		delete(e.savedIn.durable, e.savedAs)
	}
	e.parent.durable[e.name] = e
	e.savedIn, e.savedAs = e.parent, e.name
}

// revert goes back to what was synced. With rng, chance decides of every page
// of a file and of the entries of every directory whether it had reached the
// disk by itself before; without, none had. It returns how many pages and
// changed directories were lost.
func (v *volume) revert(rng *rand.Rand) (lost int, err error) {
	kept := map[*inode]bool{}
	reached := func() bool { return rng != nil && rng.IntN(2) == 0 }
	var walk func(e *inode) error
	walk = func(e *inode) error {
		kept[e] = true
		if !e.isDir() {
			n, err := e.revertData(reached)
			lost += n
			return err
		}
		if !maps.Equal(e.live, e.durable) {
			if reached() {
				e.durable = maps.Clone(e.live)
			} else {
				lost++
			}
		}
		e.live = maps.Clone(e.durable)
		for _, name := range slices.Sorted(maps.Keys(e.live)) { // in one order, for rng
			x := e.live[name]
			if kept[x] { // a second name of it
				continue
			}
			x.parent, x.name, x.savedIn, x.savedAs, x.held = e, name, e, name, false
			if err := walk(x); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(v.root); err != nil {
		return lost, err
	}
	return lost, v.sweep(kept)
}

func (e *inode) revertData(reached func() bool) (lost int, err error) {
	size := e.durableSize
	var back []int64
	for _, p := range slices.Sorted(maps.Keys(e.dirty)) {
		if p*pageSize < e.size && reached() {
			size = max(size, min(e.size, (p+1)*pageSize))
			continue
		}
		back = append(back, p)
	}
	if err := e.data.Truncate(max(size, e.durableSize)); err != nil {
		return 0, err
	}
	for _, p := range back {
		// What was not there before and lies before what did reach the disk is a hole.
		page := make([]byte, max(0, min(pageSize, size-p*pageSize)))
		copy(page, e.undo[p])
		if _, err := e.data.WriteAt(page, p*pageSize); err != nil && len(page) > 0 {
			return 0, err
		}
	}
	e.size, e.durableSize = size, size
	clear(e.undo)
	clear(e.dirty)
	clear(e.failed)
	return len(back), nil
}

// sweep removes the contents of files that revert did not keep.
func (v *volume) sweep(kept map[*inode]bool) error {
	var errs []error
	for _, e := range v.all {
		if !kept[e] {
			errs = append(errs, v.discard(e))
		}
	}
	return errors.Join(errs...)
}

// release removes the content of a file that has no name, is open nowhere and
// would not come back after a power failure.
func (v *volume) release(e *inode) {
	if v.all[e.id] == nil || e.parent != nil || e.held || e.savedIn != nil && e.savedIn.durable[e.savedAs] == e {
		return
	}
	_ = v.discard(e) // close removes the store with what stays behind
}

func (v *volume) discard(e *inode) error {
	delete(v.all, e.id)
	return errors.Join(e.data.Close(), os.Remove(v.path(e)))
}

// close closes all contents.
func (v *volume) close() error {
	var errs []error
	for _, e := range v.all {
		errs = append(errs, e.data.Close())
	}
	return errors.Join(errs...)
}
