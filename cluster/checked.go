package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

// checkedLog keeps a sum with every entry. bbolt has none for what it stores,
// and raft-wal looks only at its last batch: an altered entry would be applied
// as it is.
//
// INV group-4: an entry that is read is the one that was written, or an error.
type checkedLog struct {
	raft.LogStore // on disk

	path    string
	witness *witness
}

// entrySum is the sum over everything of an entry that raft uses.
func entrySum(e *raft.Log) []byte {
	var head [8 + 8 + 1 + 8 + 4]byte
	binary.BigEndian.PutUint64(head[:], e.Index)
	binary.BigEndian.PutUint64(head[8:], e.Term)
	head[16] = byte(e.Type)
	binary.BigEndian.PutUint64(head[17:], uint64(e.AppendedAt.Unix()))       //nolint:gosec // any number will do
	binary.BigEndian.PutUint32(head[25:], uint32(e.AppendedAt.Nanosecond())) //nolint:gosec // below 2^30
	sum := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, e.Data)
	return binary.BigEndian.AppendUint32(nil, sum)
}

// StoreLog appends one entry.
func (l *checkedLog) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs appends entries. Those that it is given are shared with readers and
// stay as they are.
func (l *checkedLog) StoreLogs(es []*raft.Log) error {
	if len(es) == 0 {
		return nil
	}
	with, out := make([]raft.Log, len(es)), make([]*raft.Log, len(es))
	for i, e := range es {
		with[i] = *e
		with[i].Extensions = entrySum(e)
		out[i] = &with[i]
	}
	if err := l.join(es[0].Index); err != nil {
		return err
	}
	if err := l.LogStore.StoreLogs(out); err != nil {
		return err
	}
	return l.witness.stored(es[len(es)-1].Index)
}

// join takes away what would be parted from the next entry by a gap. Raft leaves
// one where it goes on after a snapshot of another node, on logs that allow it,
// and on all when it ends before it has tidied up: the entries before are in the
// snapshot.
//
// INV group-7: a log has no gaps, so that one that is found is a damage.
func (l *checkedLog) join(next uint64) error {
	last, err := l.LastIndex()
	if err != nil || last == 0 || next <= last+1 {
		return err
	}
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	return l.DeleteRange(first, last)
}

// GetLog reads one entry. It returns raft.ErrLogNotFound for one that is not
// there, and an error with ErrDamaged for one that is not as it was written:
// raft ends the process with it, as it can go on with none of them.
func (l *checkedLog) GetLog(index uint64, e *raft.Log) error {
	err := guarded(l.path, func() error { return l.LogStore.GetLog(index, e) })
	switch {
	case err == nil && e.Index == index && string(e.Extensions) == string(entrySum(e)):
		e.Extensions = nil
		return nil
	case err == nil:
		err = errors.New("it is not as it was written")
	case errors.Is(err, raft.ErrLogNotFound):
		return err
	}
	return damaged(l.path, fmt.Errorf("entry %d: %w", index, err))
}

// DeleteRange deletes entries at one end of the log.
func (l *checkedLog) DeleteRange(from, to uint64) error {
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	if err := l.witness.cut(first, from, to); err != nil {
		return err
	}
	return l.LogStore.DeleteRange(from, to)
}

// check reads all entries: from the first to the last each must be there, and
// the last must not be before one that the witness saw.
func (l *checkedLog) check() error {
	first, err := l.FirstIndex()
	if err != nil {
		return damaged(l.path, err)
	}
	last, err := l.LastIndex()
	if err != nil {
		return damaged(l.path, err)
	}
	if saw := l.witness.saw.last; last < saw {
		return damaged(l.path, fmt.Errorf("it ends with entry %d and had entry %d", last, saw))
	}
	if first > last || first == 0 && last > 0 {
		return damaged(l.path, fmt.Errorf("it begins with entry %d and ends with %d", first, last))
	}
	for i := first; i <= last && last > 0; i++ {
		var e raft.Log
		if err := l.GetLog(i, &e); err != nil {
			return damaged(l.path, fmt.Errorf("entry %d of %d to %d: %w", i, first, last, err))
		}
	}
	return nil
}

// IsMonotonic implements raft.MonotonicLogStore for logs that do.
func (l *checkedLog) IsMonotonic() bool { return monotonic(l.LogStore) }

// The keys under which raft keeps what it must not forget.
var (
	keyTerm      = []byte("CurrentTerm")
	keyVoteTerm  = []byte("LastVoteTerm")
	keyCandidate = []byte("LastVoteCand")
)

// checkedStable keeps a sum with every value.
//
// INV group-5: a node knows the newest term and vote it has stored, or does not
// start: with others it could vote twice.
type checkedStable struct {
	raft.StableStore // on disk

	path    string
	witness *witness
}

// valueSum covers the key too, so that values cannot change places.
func valueSum(key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(nil, crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value))
}

// Set stores value under key.
func (s *checkedStable) Set(key, value []byte) error {
	with := append(append(make([]byte, 0, len(value)+sumBytes), value...), valueSum(key, value)...)
	if err := s.StableStore.Set(key, with); err != nil {
		return err
	}
	if string(key) == string(keyCandidate) {
		return s.witness.votedFor(value)
	}
	return nil
}

// Get gives the value of key. Of one that was never set the error is that of
// the store, which raft knows by its text.
func (s *checkedStable) Get(key []byte) ([]byte, error) {
	with, err := s.StableStore.Get(key)
	if err != nil {
		return nil, err
	}
	if n := len(with) - sumBytes; n >= 0 && string(with[n:]) == string(valueSum(key, with[:n])) {
		return with[:n], nil
	}
	return nil, damaged(s.path, fmt.Errorf("the value of %s is not as it was written", key))
}

// SetUint64 stores a number.
func (s *checkedStable) SetUint64(key []byte, n uint64) error {
	if err := s.Set(key, binary.BigEndian.AppendUint64(nil, n)); err != nil {
		return err
	}
	switch string(key) {
	case string(keyTerm):
		return s.witness.term(n)
	case string(keyVoteTerm):
		return s.witness.voted(n)
	}
	return nil
}

// GetUint64 gives a number; see Get.
func (s *checkedStable) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, damaged(s.path, fmt.Errorf("the value of %s is no number", key))
	}
	return binary.BigEndian.Uint64(b), nil
}

// check compares what is stored with what the witness saw.
func (s *checkedStable) check() error {
	number := func(key []byte) (uint64, error) {
		n, err := s.GetUint64(key)
		if isNotFound(err) {
			return 0, nil
		}
		return n, err
	}
	term, err := number(keyTerm)
	if err != nil {
		return damaged(s.path, err)
	}
	voted, err := number(keyVoteTerm)
	if err != nil {
		return damaged(s.path, err)
	}
	candidate, err := s.Get(keyCandidate)
	if err != nil && !isNotFound(err) {
		return damaged(s.path, err)
	}
	saw := s.witness.saw
	switch {
	case term < saw.term:
		return damaged(s.path, fmt.Errorf("its term is %d and was %d", term, saw.term))
	case voted < saw.voteTerm:
		return damaged(s.path, fmt.Errorf("its last vote is of term %d and was of term %d", voted, saw.voteTerm))
	case voted == saw.voteTerm && saw.candidate != 0 && candidateSum(candidate) != saw.candidate:
		return damaged(s.path, fmt.Errorf("its vote of term %d is another one", voted))
	}
	return nil
}

// isNotFound knows the error for a key that was never set, as raft does.
func isNotFound(err error) bool { return err != nil && err.Error() == "not found" }
