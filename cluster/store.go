package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
)

const (
	incarnationFile = "incarnation"
	stableFile      = "raft.db"
	snapshotsKept   = 2
	// logCacheEntries is how many entries are held for followers. An entry with
	// events may have half a MiB, so they are few.
	logCacheEntries = 16
)

// Stores are what one raft group keeps. Close may be nil.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	Close     func() error
}

// openStores opens the stores of a group under dir.
// It checks all that raft may read of them; an error over damaged files has
// ErrDamaged.
func openStores(dir, kind string, log hclog.Logger) (s Stores, err error) {
	var opened closers
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Stores{}, fmt.Errorf("make raft directory: %w", err)
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, log.Named("snapshot"))
	if err != nil {
		return Stores{}, fmt.Errorf("open snapshots in %s: %w", dir, err)
	}
	w, err := openWitness(dir)
	if err != nil {
		return Stores{}, err
	}
	opened.add(w.close)
	snapshots := &checkedSnapshots{snaps, filepath.Join(dir, snapshotsDir)}
	var db *raftboltdb.BoltStore
	if err := guarded(filepath.Join(dir, stableFile), func() error {
		db, err = raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db"), MsgpackUseNewTimeFormat: true})
		return err
	}); err != nil {
		return Stores{}, damaged(filepath.Join(dir, stableFile), err)
	}
	opened.add(db.Close)
	stable := &checkedStable{db, filepath.Join(dir, stableFile), w}
	logs := &checkedLog{db, stable.path, w}
	if kind == LogWAL {
		if logs.LogStore, logs.path, err = openWAL(dir, &opened, log); err != nil {
			return Stores{}, err
		}
	}
	for _, part := range []struct {
		path  string
		check func() error
	}{{stable.path, stable.check}, {logs.path, logs.check}, {snapshots.path, snapshots.check}} {
		if err := guarded(part.path, part.check); err != nil {
			return Stores{}, err
		}
	}
	s = Stores{Stable: stable, Snapshots: snapshots, Close: opened.close}
	s.Log, err = raft.NewLogCache(logCacheEntries, logs)
	return s, err
}

// openWAL opens the segmented log under dir.
func openWAL(dir string, opened *closers, log hclog.Logger) (raft.LogStore, string, error) {
	walDir := filepath.Join(dir, "wal")
	if err := os.MkdirAll(walDir, 0o700); err != nil {
		return nil, "", fmt.Errorf("make log directory: %w", err)
	}
	var w *wal.WAL
	if err := guarded(walDir, func() (err error) {
		w, err = wal.Open(walDir, wal.WithLogger(log.Named("wal")))
		return err
	}); err != nil {
		return nil, "", damaged(walDir, err)
	}
	opened.add(w.Close)
	return w, walDir, nil
}

// closers are closed in the reverse order.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() error {
	var errs []error
	for _, f := range slices.Backward(*c) {
		errs = append(errs, f())
	}
	*c = nil
	return errors.Join(errs...)
}

// loadIncarnation reads the random name of the data directory or makes it. A
// node whose disk was wiped is thereby another raft server: it cannot vote
// with a memory it lost. A sum follows the name in the file, for with another
// name the node would be a stranger to its own votes.
func loadIncarnation(dir string) (string, error) {
	path := filepath.Join(dir, incarnationFile)
	b, err := os.ReadFile(path) //nolint:gosec // the data directory is the operator's
	if err == nil {
		name, sum, _ := strings.Cut(strings.TrimSuffix(string(b), "\n"), " ")
		if raw, err := hex.DecodeString(name); err != nil || len(raw) != 8 || sum != incarnationSum(name) {
			return "", fmt.Errorf("%s is damaged (want 16 hex digits and their sum): restore it or empty the data directory", path)
		}
		return name, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read incarnation: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "raft")); err == nil {
		return "", fmt.Errorf("%s is missing beside raft data: restore it or empty the data directory", path)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make data directory: %w", err)
	}
	var raw [8]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("make incarnation: %w", err)
	}
	name := hex.EncodeToString(raw[:])
	return name, writeFile(path, []byte(name+" "+incarnationSum(name)+"\n"))
}

func incarnationSum(name string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(name), castagnoli))
}

// writeFile makes path with content, whole or not at all, and synced.
func writeFile(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// serverID is the raft identity of a node with this data directory.
func serverID(nodeID, incarnation string) raft.ServerID {
	return raft.ServerID(nodeID + "." + incarnation)
}

// nodeOf gives the node id of a raft identity.
func nodeOf(id raft.ServerID) string {
	if i := strings.LastIndexByte(string(id), '.'); i >= 0 {
		return string(id[:i])
	}
	return string(id)
}
