package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"
)

// A state machine that keeps its state on disk needs no copy of it there. The
// snapshots that raft takes of one with GroupSpec.Marks are therefore marks:
// they say up to which index its file is complete, so that raft may cut the
// log. Only when a follower needs one that is whole, it is made.
//
// INV group-3: a mark is written only when the file of the state machine holds
// everything up to its index.

// markMagic begins a mark; the index of the last command follows, and nothing
// else.
var markMagic = [8]byte{'b', 'e', 'l', 'f', 'm', 'r', 'k', '1'}

// flusher is a durable state machine that can be told to write now.
type flusher interface{ Flush() error }

// mark is the FSMSnapshot of a mark.
type mark struct{ index uint64 }

// Persist writes the mark.
func (m mark) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(binary.BigEndian.AppendUint64(markMagic[:], m.index)); err != nil {
		return errors.Join(fmt.Errorf("write mark: %w", err), sink.Cancel())
	}
	return sink.Close()
}

// Release does nothing: a mark holds nothing.
func (mark) Release() {}

// markStore is a snapshot store whose snapshots may be marks. Who opens one,
// which raft does to send it to a follower, is given a whole one.
type markStore struct {
	raft.SnapshotStore

	// whole takes a whole snapshot.
	whole func() error
}

// Open opens the snapshot, or one that is made now in the place of a mark.
func (s *markStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	isMark, err := s.isMark(id)
	if err != nil {
		return nil, nil, err
	}
	if !isMark {
		return s.SnapshotStore.Open(id)
	}
	if err := s.whole(); err != nil {
		return nil, nil, fmt.Errorf("take a whole snapshot: %w", err)
	}
	snaps, err := s.List()
	if err != nil {
		return nil, nil, err
	}
	for _, m := range snaps { // newest first; a mark may have come meanwhile
		if isMark, err = s.isMark(m.ID); err != nil {
			return nil, nil, err
		}
		if !isMark {
			return s.SnapshotStore.Open(m.ID)
		}
	}
	return nil, nil, errors.New("the whole snapshot is gone already; it is taken again with the next try")
}

func (s *markStore) isMark(id string) (bool, error) {
	_, r, err := s.SnapshotStore.Open(id)
	if err != nil {
		return false, err
	}
	h, err := readSnapshotHeader(r)
	return h.mark, errors.Join(err, r.Close())
}

// errOnlyMark says that what raft wants to restore is a mark.
var errOnlyMark = errors.New("the snapshot is only a mark of what the state's file held, and that file is lost or older: empty the data directory and let the node join again")
