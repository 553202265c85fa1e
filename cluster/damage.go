package cluster

import (
	"errors"
	"fmt"
	"hash/crc32"
	"runtime/debug"
)

// ErrDamaged is wrapped by every error over files of a node that do not hold
// what was written to them: they were altered, cut off or are older than the
// rest. Nothing was taken from them. Its text says what the operator does.
var ErrDamaged = errors.New("if it is damaged, let this node join again with an empty data directory")

// damaged is the error over the file or directory at path.
func damaged(path string, why error) error {
	if errors.Is(why, ErrDamaged) {
		return why
	}
	return fmt.Errorf("%s: %w; %w", path, why, ErrDamaged)
}

// guarded calls f, which reads files under path, and turns a panic over what
// they hold, or a fault in memory that maps them, into an error.
func guarded(path string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(path, fmt.Errorf("it makes no sense: %v", p))
		}
	}()
	return f()
}

// castagnoli finds every error of one bit, and of any number of bits within 32.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const sumBytes = 4
