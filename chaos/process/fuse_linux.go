package process

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// fuseNode is an inode as go-fuse sees it. Its methods are what the kernel
// asks for.
type fuseNode struct {
	fusefs.Inode
	d *Disk
	e *inode
	// mounted is which mount it belongs to: after a power failure there are new
	// nodes for the same inodes.
	mounted int
}

var _ interface {
	fusefs.NodeLookuper
	fusefs.NodeGetattrer
	fusefs.NodeSetattrer
	fusefs.NodeReaddirer
	fusefs.NodeMkdirer
	fusefs.NodeCreater
	fusefs.NodeLinker
	fusefs.NodeOpener
	fusefs.NodeReader
	fusefs.NodeWriter
	fusefs.NodeFsyncer
	fusefs.NodeFlusher
	fusefs.NodeUnlinker
	fusefs.NodeRmdirer
	fusefs.NodeRenamer
	fusefs.NodeStatfser
	fusefs.NodeOnForgetter
} = (*fuseNode)(nil)

func errno(err error) syscall.Errno {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, fs.ErrExist):
		return syscall.EEXIST
	}
	return fusefs.ToErrno(err)
}

func unixMode(m fs.FileMode) uint32 {
	if m.IsDir() {
		return syscall.S_IFDIR | uint32(m.Perm())
	}
	return syscall.S_IFREG | uint32(m.Perm())
}

// attr is called with the lock.
func (n *fuseNode) attr(e *inode, out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Blksize = e.id, unixMode(e.mode), 1, pageSize
	out.Size, out.Blocks = uint64(e.size), uint64(e.size+511)/512 //nolint:gosec // sizes are not negative
	out.SetTimes(&e.modified, &e.modified, &e.modified)
}

// child is called with the lock.
func (n *fuseNode) child(ctx context.Context, e *inode, out *fuse.EntryOut) *fusefs.Inode {
	n.attr(e, &out.Attr)
	e.held = true
	return n.NewInode(ctx, &fuseNode{d: n.d, e: e, mounted: n.mounted}, fusefs.StableAttr{Mode: unixMode(e.mode) & syscall.S_IFMT, Ino: e.id})
}

// Lookup finds an entry of a directory.
func (n *fuseNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	e := n.e.live[name]
	if e == nil {
		return nil, syscall.ENOENT
	}
	return n.child(ctx, e, out), 0
}

// Getattr is stat.
func (n *fuseNode) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	n.attr(n.e, &out.Attr)
	return 0
}

// Setattr is truncate, chmod and utimes.
func (n *fuseNode) Setattr(_ context.Context, _ fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		if n.e.isDir() {
			return syscall.EISDIR
		}
		if int64(size) > n.e.size && n.d.fault.WriteErr != 0 { //nolint:gosec // the kernel bounds it
			return n.d.fault.WriteErr
		}
		if err := n.d.vol.resize(n.e, int64(size)); err != nil { //nolint:gosec // the kernel bounds it
			return errno(err)
		}
	}
	if mode, ok := in.GetMode(); ok {
		n.e.mode = n.e.mode&^fs.ModePerm | fs.FileMode(mode)&fs.ModePerm
	}
	if t, ok := in.GetMTime(); ok {
		n.e.modified = t
	}
	n.attr(n.e, &out.Attr)
	return 0
}

// Readdir lists a directory.
func (n *fuseNode) Readdir(context.Context) (fusefs.DirStream, syscall.Errno) {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	var out []fuse.DirEntry
	for _, name := range slices.Sorted(maps.Keys(n.e.live)) {
		e := n.e.live[name]
		out = append(out, fuse.DirEntry{Name: name, Mode: unixMode(e.mode), Ino: e.id})
	}
	return fusefs.NewListDirStream(out), 0
}

func (n *fuseNode) make(ctx context.Context, name string, mode fs.FileMode, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.d.fault.WriteErr != 0 {
		return nil, n.d.fault.WriteErr
	}
	e, err := n.d.vol.create(n.e, name, mode)
	if err != nil {
		return nil, errno(err)
	}
	return n.child(ctx, e, out), 0
}

// Mkdir makes a directory.
func (n *fuseNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return n.make(ctx, name, fs.ModeDir|fs.FileMode(mode)&fs.ModePerm, out)
}

// Create makes and opens a file.
func (n *fuseNode) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	i, no := n.make(ctx, name, fs.FileMode(mode)&fs.ModePerm, out)
	return i, nil, 0, no
}

// Link gives a file a second name.
func (n *fuseNode) Link(ctx context.Context, target fusefs.InodeEmbedder, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	file, ok := target.(*fuseNode)
	if !ok || file.e.isDir() {
		return nil, syscall.EPERM
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	switch {
	case n.d.fault.WriteErr != 0:
		return nil, n.d.fault.WriteErr
	case n.e.live[name] != nil:
		return nil, syscall.EEXIST
	}
	n.d.vol.link(n.e, name, file.e)
	return n.child(ctx, file.e, out), 0
}

// Open opens a file; what it is opened for the kernel checks.
func (n *fuseNode) Open(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, 0
}

// Read reads. Pages that programs have mapped are read this way, too.
func (n *fuseNode) Read(_ context.Context, _ fusefs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	k, err := n.e.data.ReadAt(dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errno(err)
	}
	return fuse.ReadResultData(dest[:k]), 0
}

// Write writes to what a power failure takes away again.
func (n *fuseNode) Write(_ context.Context, _ fusefs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.d.fault.WriteErr != 0 {
		return 0, n.d.fault.WriteErr
	}
	if err := n.d.vol.write(n.e, data, off); err != nil {
		return 0, errno(err)
	}
	return uint32(len(data)), 0 //nolint:gosec // MaxWrite bounds it
}

// Fsync makes a file or directory survive.
func (n *fuseNode) Fsync(ctx context.Context, _ fusefs.FileHandle, _ uint32) syscall.Errno {
	if d := n.d.faults().SyncTakes; d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done(): // whoever waits was killed
			return syscall.EINTR
		}
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.d.fault.SyncErr != 0 {
		n.e.syncFails()
		return n.d.fault.SyncErr
	}
	n.d.vol.sync(n.e)
	return 0
}

// Flush is close, which syncs nothing.
func (n *fuseNode) Flush(context.Context, fusefs.FileHandle) syscall.Errno { return 0 }

// Unlink removes a file.
func (n *fuseNode) Unlink(_ context.Context, name string) syscall.Errno {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.e.live[name] == nil {
		return syscall.ENOENT
	}
	n.d.vol.remove(n.e, name)
	return 0
}

// Rmdir removes an empty directory.
func (n *fuseNode) Rmdir(_ context.Context, name string) syscall.Errno {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	e := n.e.live[name]
	switch {
	case e == nil:
		return syscall.ENOENT
	case len(e.live) > 0:
		return syscall.ENOTEMPTY
	}
	n.d.vol.remove(n.e, name)
	return 0
}

// Rename moves a file or directory, over a file or an empty directory.
func (n *fuseNode) Rename(_ context.Context, name string, to fusefs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	dir, ok := to.(*fuseNode)
	if !ok {
		return syscall.EXDEV
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.e.live[name] == nil {
		return syscall.ENOENT
	}
	if over := dir.e.live[newName]; over != nil && len(over.live) > 0 {
		return syscall.ENOTEMPTY
	}
	n.d.vol.rename(n.e, name, dir.e, newName)
	return 0
}

// Statfs tells of the file system that has the contents.
func (n *fuseNode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	var st syscall.Statfs_t
	if err := syscall.Statfs(n.d.store, &st); err != nil {
		return errno(err)
	}
	out.FromStatfsT(&st)
	return 0
}

// OnForget lets go of the content of a file that has no name any more and
// that nobody has open.
func (n *fuseNode) OnForget() {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.d.vol == nil || n.mounted != n.d.mounted {
		return
	}
	n.e.held = false
	n.d.vol.release(n.e)
}
