package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
)

const (
	incarnationFile = "incarnation"
	snapshotsKept   = 2
	// logCacheEntries is how many entries are held for followers. An entry with
	// events may have half a MiB, so they are few.
	logCacheEntries = 16
)

// ifDamaged ends the errors of opening what is stored.
const ifDamaged = "if it is damaged, let this node join again with an empty data directory"

// Stores are what one raft group keeps. Close may be nil.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	Close     func() error
}

// openStores opens the stores of a group under dir.
func openStores(dir, kind string, log hclog.Logger) (Stores, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Stores{}, fmt.Errorf("make raft directory: %w", err)
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, log.Named("snapshot"))
	if err != nil {
		return Stores{}, fmt.Errorf("open snapshots in %s: %w", dir, err)
	}
	stable, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db"), MsgpackUseNewTimeFormat: true})
	if err != nil {
		return Stores{}, fmt.Errorf("open raft store in %s: %w; %s", dir, err, ifDamaged)
	}
	s := Stores{Stable: stable, Snapshots: snaps, Close: stable.Close}
	var logs raft.LogStore = stable
	if kind == LogWAL {
		walDir := filepath.Join(dir, "wal")
		if err := os.MkdirAll(walDir, 0o700); err != nil {
			return Stores{}, errors.Join(fmt.Errorf("make log directory: %w", err), stable.Close())
		}
		w, err := wal.Open(walDir, wal.WithLogger(log.Named("wal")))
		if err != nil {
			return Stores{}, errors.Join(fmt.Errorf("open log in %s: %w; %s", walDir, err, ifDamaged), stable.Close())
		}
		logs = w
		s.Close = func() error { return errors.Join(w.Close(), stable.Close()) }
	}
	if s.Log, err = raft.NewLogCache(logCacheEntries, logs); err != nil {
		return Stores{}, errors.Join(err, s.Close())
	}
	return s, nil
}

// loadIncarnation reads the random name of the data directory or makes it. A
// node whose disk was wiped is thereby another raft server: it cannot vote
// with a memory it lost.
func loadIncarnation(dir string) (string, error) {
	path := filepath.Join(dir, incarnationFile)
	b, err := os.ReadFile(path) //nolint:gosec // the data directory is the operator's
	if err == nil {
		s := strings.TrimSpace(string(b))
		if raw, err := hex.DecodeString(s); err != nil || len(raw) != 8 {
			return "", fmt.Errorf("%s is damaged (want 16 hex digits): restore it or empty the data directory", path)
		}
		return s, nil
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
	s := hex.EncodeToString(raw[:])
	return s, writeFile(path, []byte(s+"\n"))
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
