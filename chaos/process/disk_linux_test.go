package process

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// lossyDisk mounts a disk, or skips.
func lossyDisk(t *testing.T) (*Disk, string) {
	t.Helper()
	if err := LossyDisks(); err != nil {
		t.Skip(err)
	}
	root := t.TempDir()
	mount := filepath.Join(root, "mount")
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := NewDisk(mount, filepath.Join(root, "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, mount
}

func TestDisk_powerFail(t *testing.T) {
	t.Parallel()
	d, dir := lossyDisk(t)
	path := filepath.Join(dir, "a")
	f, err := os.Create(path)
	must(t, err)
	_, err = f.WriteString("synced")
	must(t, errors.Join(err, f.Sync()))
	_, err = f.WriteAt([]byte("XX"), 0)
	must(t, err)
	_, err = f.WriteString("tail")
	must(t, err)
	must(t, f.Close())
	must(t, os.WriteFile(filepath.Join(dir, "unsynced"), []byte("b"), 0o600))
	lost, err := d.PowerFail(nil)
	must(t, err)
	if lost != 2 { // a page of a, the entries of the root
		t.Errorf("lost %d pages and directories, want 2", lost)
	}
	wantFile(t, path, "synced")
	if _, err := os.Stat(filepath.Join(dir, "unsynced")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that was never synced is there: %v", err)
	}
	// It is a disk as before.
	must(t, os.WriteFile(filepath.Join(dir, "b"), []byte("new"), 0o600))
	wantFile(t, filepath.Join(dir, "b"), "new")
}

func TestDisk_faults(t *testing.T) {
	t.Parallel()
	d, dir := lossyDisk(t)
	f, err := os.Create(filepath.Join(dir, "a"))
	must(t, err)
	d.SetFault(DiskFault{WriteErr: syscall.ENOSPC})
	if _, err := f.WriteString("x"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write on a full disk: %v", err)
	}
	if _, err := os.Create(filepath.Join(dir, "b")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("create on a full disk: %v", err)
	}
	if err := f.Truncate(10); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("grow on a full disk: %v", err)
	}
	d.SetFault(DiskFault{SyncErr: syscall.EIO})
	_, err = f.WriteString("x")
	must(t, err)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync of a failing disk: %v", err)
	}
	d.SetFault(DiskFault{SyncTakes: 50 * time.Millisecond})
	_, err = f.WriteAt([]byte("y"), 0) // x is lost for good
	must(t, err)
	begin := time.Now()
	must(t, f.Sync())
	if took := time.Since(begin); took < 50*time.Millisecond {
		t.Errorf("a slow sync took %s", took)
	}
	must(t, f.Close())
	_, err = d.PowerFail(nil)
	must(t, err)
	wantFile(t, filepath.Join(dir, "a"), "y")
}
