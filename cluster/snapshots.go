package cluster

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

const (
	snapshotsDir = "snapshots"
	// headSumFile lies beside the meta.json of a snapshot, which has no sum.
	headSumFile = "head.sum"
)

// checkedSnapshots keeps a sum of what a snapshot says of itself: the sum that
// raft keeps is of the state alone, and an index or a member that was altered
// would be believed.
type checkedSnapshots struct {
	raft.SnapshotStore

	path string
}

// headSum is the sum over the index, the term and the configuration.
func headSum(m *raft.SnapshotMeta) ([]byte, error) {
	b, err := json.Marshal(raft.SnapshotMeta{
		Version: m.Version, ID: m.ID, Index: m.Index, Term: m.Term, Configuration: m.Configuration, ConfigurationIndex: m.ConfigurationIndex,
	})
	return fmt.Appendf(nil, "%08x\n", crc32.Checksum(b, castagnoli)), err
}

// Create begins a snapshot.
func (s *checkedSnapshots) Create(
	version raft.SnapshotVersion, index, term uint64, c raft.Configuration, cIndex uint64, trans raft.Transport,
) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(version, index, term, c, cIndex, trans)
	if err != nil {
		return nil, err
	}
	sum, err := headSum(&raft.SnapshotMeta{Version: version, ID: sink.ID(), Index: index, Term: term, Configuration: c, ConfigurationIndex: cIndex})
	if err == nil {
		// The directory gets its name, with all that is in it, when it is whole.
		err = writeFile(filepath.Join(s.path, sink.ID()+".tmp", headSumFile), sum)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write the sum of a snapshot: %w", err), sink.Cancel())
	}
	return sink, nil
}

// check reads the newest snapshots. Older ones may have been deleted in part.
func (s *checkedSnapshots) check() error {
	dirs, err := os.ReadDir(s.path)
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	var ids []snapshotID
	for _, d := range dirs {
		if d.IsDir() && !strings.HasSuffix(d.Name(), ".tmp") {
			id, err := parseSnapshotID(d.Name())
			if err != nil {
				return damaged(filepath.Join(s.path, d.Name()), err)
			}
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b snapshotID) int {
		return cmp.Or(cmp.Compare(b.term, a.term), cmp.Compare(b.index, a.index), cmp.Compare(b.name, a.name))
	})
	for _, id := range ids[:min(len(ids), snapshotsKept)] {
		path := filepath.Join(s.path, id.name)
		if err := guarded(path, func() error { return s.checkOne(id, path) }); err != nil {
			return damaged(path, err)
		}
	}
	return nil
}

func (s *checkedSnapshots) checkOne(id snapshotID, path string) error {
	meta, r, err := s.Open(id.name) // compares the sum of the state
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	st, err := os.Stat(filepath.Join(path, "state.bin"))
	if err != nil {
		return err
	}
	sum, err := os.ReadFile(filepath.Join(path, headSumFile)) //nolint:gosec // the data directory is the operator's
	if err != nil {
		return err
	}
	want, err := headSum(meta)
	if err != nil {
		return err
	}
	if string(sum) != string(want) || meta.ID != id.name || meta.Index != id.index || meta.Term != id.term || meta.Size != st.Size() {
		return errors.New("what it says of itself is not as it was written")
	}
	return nil
}

// snapshotID is the name of a snapshot's directory.
type snapshotID struct {
	name        string
	term, index uint64
}

func parseSnapshotID(name string) (snapshotID, error) {
	id := snapshotID{name: name}
	var ms int64
	if _, err := fmt.Sscanf(name, "%d-%d-%d", &id.term, &id.index, &ms); err != nil {
		return id, fmt.Errorf("no name of a snapshot: %w", err)
	}
	return id, nil
}
