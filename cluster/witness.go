package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

const witnessFile = "witness"

// witnessMagic begins the file of a witness; seen and a sum follow.
const witnessMagic = "belfwit1"

const witnessBytes = len(witnessMagic) + 4*8 + sumBytes

// witness knows, in a file of its own, how far a raft group's files had come. A
// log whose end was cut off, altered or is of yesterday looks like one that
// never had more; a node that took it for whole would have forgotten what it
// acknowledged, and vote for a leader that lacks it too.
//
// The file is not synced when it advances, for it need not know the newest: after
// a power failure it may say less than there is, and never more. Where it goes
// back it is synced first.
type witness struct {
	path string
	file *os.File

	mu  sync.Mutex
	saw seen
}

// seen is how far the files had come.
type seen struct {
	last      uint64 // index of the last entry
	term      uint64
	voteTerm  uint64 // of the last vote
	candidate uint64 // sum of who got it; 0: not known
}

// candidateSum is never 0.
func candidateSum(b []byte) uint64 { return 1<<32 | uint64(crc32.Checksum(b, castagnoli)) }

// openWitness opens the witness of dir, or makes one that saw nothing.
func openWitness(dir string) (*witness, error) {
	w := &witness{path: filepath.Join(dir, witnessFile)}
	b, err := os.ReadFile(w.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && empty(b):
		if err := writeFile(w.path, w.saw.encode()); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("open witness: %w", err)
	default:
		if w.saw, err = decodeSeen(b); err != nil {
			return nil, damaged(w.path, err)
		}
	}
	if w.file, err = os.OpenFile(w.path, os.O_RDWR, 0); err != nil {
		return nil, fmt.Errorf("open witness: %w", err)
	}
	return w, nil
}

// empty reports whether a power failure took what was written.
func empty(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

func (s seen) encode() []byte {
	b := append(make([]byte, 0, witnessBytes), witnessMagic...)
	for _, n := range []uint64{s.last, s.term, s.voteTerm, s.candidate} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeSeen(b []byte) (seen, error) {
	if len(b) != witnessBytes {
		return seen{}, fmt.Errorf("it has %d bytes and should have %d: %w", len(b), witnessBytes, io.ErrUnexpectedEOF)
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(b[len(witnessMagic)+8*i:]) }
	s := seen{last: n(0), term: n(1), voteTerm: n(2), candidate: n(3)}
	if string(s.encode()) != string(b) {
		return seen{}, errors.New("it is not as it was written")
	}
	return s, nil
}

// change changes what was seen and writes it.
func (w *witness) change(f func(*seen)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.saw)
	if _, err := w.file.WriteAt(w.saw.encode(), 0); err != nil {
		return fmt.Errorf("write %s: %w", w.path, err)
	}
	return nil
}

func (w *witness) stored(last uint64) error {
	return w.change(func(s *seen) { s.last = max(s.last, last) })
}

func (w *witness) term(n uint64) error { return w.change(func(s *seen) { s.term = n }) }

// voted is told of the term of a vote first, and votedFor of whose it is then.
func (w *witness) voted(term uint64) error {
	return w.change(func(s *seen) { s.voteTerm, s.candidate = term, 0 })
}

func (w *witness) votedFor(candidate []byte) error {
	return w.change(func(s *seen) { s.candidate = candidateSum(candidate) })
}

// cut is told before the entries from..to of a log that begins with first are
// deleted.
func (w *witness) cut(first, from, to uint64) error {
	w.mu.Lock()
	end := w.saw.last
	w.mu.Unlock()
	if to < end {
		return nil
	}
	if from <= first {
		from = 1 // nothing is left
	}
	if err := w.change(func(s *seen) { s.last = min(s.last, from-1) }); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", w.path, err)
	}
	return nil
}

func (w *witness) close() error { return w.file.Close() }
