package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Disk is a file system that knows what was synced, and can forget the rest.
// It is a FUSE file system in this process. The tree is in memory and the
// contents are in files of a directory of their own; after Close they are of
// no more use. Syncs are not passed on to the disk below: this process is not
// what loses its power.
type Disk struct {
	mount, store string

	mu     sync.Mutex // guards the below and every inode
	vol    *volume
	fault  DiskFault
	server *fuse.Server // nil: closed
	// mounted counts the mounts.
	mounted int
}

// LossyDisks returns why there can be no Disk here, or nil.
func LossyDisks() error {
	if os.Geteuid() != 0 {
		return errors.New("lossy disks need root, to mount")
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("lossy disks need FUSE: %w", err)
	}
	return f.Close()
}

// NewDisk mounts an empty Disk on a directory that exists, with the contents
// in store, which is made.
func NewDisk(mount, store string) (*Disk, error) {
	if err := os.Mkdir(store, 0o700); err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	d := &Disk{mount: mount, store: store, vol: newVolume(store)}
	return d, d.attach()
}

func (d *Disk) attach() error {
	second := time.Second
	d.mu.Lock()
	d.mounted++
	root := &fuseNode{d: d, e: d.vol.root, mounted: d.mounted}
	d.mu.Unlock()
	server, err := fusefs.Mount(d.mount, root, &fusefs.Options{
		EntryTimeout: &second, AttrTimeout: &second,
		RootStableAttr: &fusefs.StableAttr{Ino: root.e.id},
		MountOptions:   fuse.MountOptions{DirectMountStrict: true, FsName: "lossy", Name: "belfrychaos", MaxWrite: 1 << 20, DisableXAttrs: true},
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", d.mount, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.server = server
	return nil
}

// busyTime bounds the wait for those who still hold files.
const busyTime = 2 * time.Second

// detach unmounts. Whoever was killed has let go of its files; a fork that is
// going on in this process may hold them for a moment longer.
func (d *Disk) detach() error {
	d.mu.Lock()
	server := d.server
	d.server = nil
	d.mu.Unlock()
	if server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), busyTime)
	defer cancel()
	if err := poll(ctx, server.Unmount); err != nil {
		if err2 := syscall.Unmount(d.mount, syscall.MNT_DETACH); err2 != nil {
			return fmt.Errorf("unmount %s: %w", d.mount, errors.Join(err, err2))
		}
	}
	return nil
}

// SetFault changes what is wrong with the disk, at once.
func (d *Disk) SetFault(f DiskFault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

func (d *Disk) faults() DiskFault {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fault
}

// PowerFail forgets what was not synced: contents, and names that neither a
// sync of the file nor of its directory covers. With rng, chance decides which
// pages and directories had been written by themselves before, as a kernel
// does in its own time; with nil, none had. The fault is lifted. Nothing may
// use the disk meanwhile. It returns how many pages and changed directories
// were lost.
func (d *Disk) PowerFail(rng *rand.Rand) (lost int, err error) {
	if err := d.detach(); err != nil { // the kernel forgets what it has cached
		return 0, err
	}
	d.mu.Lock()
	d.fault = DiskFault{}
	lost, err = d.vol.revert(rng)
	d.mu.Unlock()
	if err != nil {
		return lost, fmt.Errorf("power failure: %w", err)
	}
	return lost, d.attach()
}

// Close unmounts and removes the contents. It may be called again.
func (d *Disk) Close() error {
	if err := d.detach(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.vol == nil {
		return nil
	}
	err := errors.Join(d.vol.close(), os.RemoveAll(d.store))
	d.vol = nil
	return err
}
