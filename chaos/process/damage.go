package process

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// FileClass is a group of files in a data directory.
type FileClass string

// The classes. What is in none of them (the master key, the attempt log, the
// incarnation) either protects nothing that was promised or cannot be replaced.
const (
	EventLog  FileClass = "event-log"  // raft log of the event group
	ConfigLog FileClass = "config-log" // raft log and votes of the config group
	EventMeta FileClass = "event-meta" // votes and index of the event group
	Snapshots FileClass = "snapshots"  // of both groups
	State     FileClass = "state"      // config.db
	Outbox    FileClass = "outbox"     // outbox.db
)

// FileClasses lists all classes.
func FileClasses() []FileClass {
	return []FileClass{EventLog, ConfigLog, EventMeta, Snapshots, State, Outbox}
}

// classOf says where a path, relative to the data directory, belongs; "": nowhere.
func classOf(rel string) FileClass {
	rel = filepath.ToSlash(rel)
	events := strings.HasPrefix(rel, "raft/events-")
	switch {
	case strings.Contains(rel, "/snapshots/"):
		return Snapshots
	case rel == "config.db":
		return State
	case rel == "outbox.db":
		return Outbox
	case rel == "raft/config/raft.db":
		return ConfigLog
	case events && strings.HasSuffix(rel, ".wal"):
		return EventLog
	case events:
		return EventMeta
	}
	return ""
}

// Files lists the paths of one class that are there, sorted.
func (n *Node) Files(class FileClass) ([]string, error) {
	var out []string
	err := filepath.WalkDir(n.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(n.dir, path)
		if err == nil && d.Type().IsRegular() && classOf(rel) == class {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("files of %s: %w", n.id, err)
	}
	slices.Sort(out)
	return out, nil
}

// errEmpty says that there is nothing in a file that could be damaged.
var errEmpty = errors.New("the file holds nothing")

// FlipBit turns over one bit of a file, where it holds something: a bit in the
// unused zeros at the end of a preallocated file would show nothing. It says
// which. The node must not be alive.
func (n *Node) FlipBit(path string, rng *rand.Rand) (what string, err error) {
	err = n.damage(path, func(b []byte) ([]byte, error) {
		var used []int
		const block = 512
		for at := 0; at < len(b); at += block {
			if slices.ContainsFunc(b[at:min(at+block, len(b))], func(x byte) bool { return x != 0 }) {
				used = append(used, at)
			}
		}
		if len(used) == 0 {
			return nil, errEmpty
		}
		from := used[rng.IntN(len(used))]
		at, bit := from+rng.IntN(min(block, len(b)-from)), rng.IntN(8)
		b[at] ^= 1 << bit
		what = fmt.Sprintf("%s: bit %d of byte %d of %s", n.id, bit, at, n.short(path))
		return b, nil
	})
	return what, err
}

// Truncate cuts a file off somewhere in what it holds. The node must not be
// alive.
func (n *Node) Truncate(path string, rng *rand.Rand) (what string, err error) {
	err = n.damage(path, func(b []byte) ([]byte, error) {
		end := len(b)
		for end > 0 && b[end-1] == 0 {
			end--
		}
		if end == 0 {
			return nil, errEmpty
		}
		keep := rng.IntN(end)
		what = fmt.Sprintf("%s: %s cut to %d of %d bytes", n.id, n.short(path), keep, len(b))
		return b[:keep], nil
	})
	return what, err
}

func (n *Node) short(path string) string {
	rel, err := filepath.Rel(n.dir, path)
	if err != nil {
		return path
	}
	return rel
}

// damage rewrites a file in place.
func (n *Node) damage(path string, f func([]byte) ([]byte, error)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Alive() {
		return fmt.Errorf("damage %s: the node is running", path)
	}
	b, err := os.ReadFile(path) //nolint:gosec // a file of the cluster
	if err == nil {
		b, err = f(b)
	}
	if err == nil {
		err = writeSynced(path, b)
	}
	if err != nil {
		return fmt.Errorf("damage %s: %w", path, err)
	}
	return nil
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0) //nolint:gosec // a file of the cluster
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// Copy is an old copy of a file, to be put back later.
type Copy struct {
	path string
	data []byte
}

// Save copies a file. The node must not be alive, or the copy is torn.
func (n *Node) Save(path string) (Copy, error) {
	b, err := os.ReadFile(path) //nolint:gosec // a file of the cluster
	if err != nil {
		return Copy{}, fmt.Errorf("copy a file of %s: %w", n.id, err)
	}
	return Copy{path, b}, nil
}

// PutBack replaces a file by what it was, as a careless restore does, and says
// so. The node must not be alive.
func (n *Node) PutBack(c Copy) (what string, err error) {
	err = n.damage(c.path, func([]byte) ([]byte, error) { return c.data, nil })
	return fmt.Sprintf("%s: %s put back as it was, %d bytes", n.id, n.short(c.path), len(c.data)), err
}
