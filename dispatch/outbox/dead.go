package outbox

import (
	"time"

	"example.com/belfry/fsm/model"
)

// Retention of dead letters before any Retain, and the bounds of Retain. They
// are part of the replicated rules: equal on all nodes.
const (
	MaxDeadLetters   = 100_000             // default of Retain.Count
	DefaultDeadBytes = 1 << 30             // default of Retain.Bytes
	DefaultDeadAge   = 14 * 24 * time.Hour // default of Retain.Age

	MaxRetainCount = 10_000_000
	MaxRetainBytes = 1 << 40
	MaxRetainAge   = 10 * 366 * 24 * time.Hour

	// DeadOverhead is what a dead letter counts for beside its payload.
	DeadOverhead = 512
)

// Retention says which dead letters are kept: the youngest ones, as long as
// none of the bounds is passed.
type Retention struct {
	Age   time.Duration
	Bytes int64 // payload, and DeadOverhead for each
	Count int
}

// Retain is the command that sets the retention of dead letters. It is also
// what drops those that are over their age when nothing else moves log time.
type Retain struct {
	At time.Time // the proposer's clock; Apply forces it monotonic
	Retention
}

// forgetReason is why a dead letter made room.
type forgetReason int

const (
	forgetAge forgetReason = iota
	forgetBytes
	forgetCount
	forgetReasons
)

var forgetNames = [forgetReasons]string{"age", "bytes", "count"}

// deadLetters are the dead letters of all accounts, by DeadAt.
type deadLetters struct {
	list   ageList[*row]
	bytes  int64
	last   int64     // the youngest DeadAt there was
	due    int64     // when the last replayed request became due
	set    Retention // by Retain; zero: the defaults
	forgot [forgetReasons]uint64
}

func deadBytes(r *row) int64 { return int64(r.ev.size.int()) + DeadOverhead }

// retention is what is in force.
func (st *state) retention() Retention {
	if st.dead.set.Count > 0 {
		return st.dead.set
	}
	return Retention{Age: DefaultDeadAge, Bytes: DefaultDeadBytes, Count: st.limits.DeadLetters}
}

func (st *state) setRetention(c *Retain) *model.Error {
	switch {
	case c.Age <= 0 || c.Age > MaxRetainAge:
		return model.Errorf(model.CodeInvalid, "the age of dead letters must be from 1 ns to %s", MaxRetainAge)
	case c.Bytes <= 0 || c.Bytes > MaxRetainBytes:
		return model.Errorf(model.CodeInvalid, "the bytes of dead letters must be from 1 to %d", int64(MaxRetainBytes))
	case c.Count <= 0 || c.Count > MaxRetainCount:
		return model.Errorf(model.CodeInvalid, "the number of dead letters must be from 1 to %d", MaxRetainCount)
	}
	st.dead.set = c.Retention
	st.clock(c.At)
	return nil
}

// bury makes a dead letter of a row that was resolved so. joined: the one
// before died in the same command and was of the same request.
//
// INV outbox-14: DeadAt is unique and rises. Two follow each other without a
// gap exactly when they were members of one request that died together, so that
// a replay can keep them together without a look at the disk.
func (st *state) bury(r *row, now int64, joined bool) {
	if joined {
		st.dead.last++
	} else {
		st.dead.last = max(now, st.dead.last+2)
	}
	r.nextAt = st.dead.last
	st.dead.list.push(r)
	st.dead.bytes += deadBytes(r)
	st.account(r.lane.key.Account).dead.push(r)
	st.retain()
}

// retain drops the oldest dead letters that are over the retention.
//
// INV outbox-8: dead letters are within the retention's count and bytes at any
// time, and within its age as of log time; the youngest are kept.
func (st *state) retain() {
	keep := st.retention()
	for r := st.dead.list.first(); r != nil; r = st.dead.list.first() {
		var why forgetReason
		switch {
		case st.dead.list.live > keep.Count:
			why = forgetCount
		case st.dead.bytes > keep.Bytes:
			why = forgetBytes
		case r.nextAt <= st.lastAt-int64(keep.Age):
			why = forgetAge
		default:
			return
		}
		st.dead.forgot[why]++
		st.markRow(r)
		st.remove(r)
		st.unbury(r)
		st.tidyAccount(r.lane.key.Account)
	}
}

// unbury takes a row that has the flag gone off the lists of dead letters.
func (st *state) unbury(r *row) {
	st.dead.bytes -= deadBytes(r)
	st.dead.list.dropped((*row).forgotten)
	st.account(r.lane.key.Account).dead.dropped((*row).forgotten)
}

// Retention returns the retention of dead letters that is in force.
func (s *Store) Retention() Retention {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.retention()
}

// RetentionDue reports whether the oldest dead letter is over its age at now.
// It goes when a command moves log time; a leader that has no other proposes
// Retain.
func (s *Store) RetentionDue(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.st.dead.list.first()
	return r != nil && r.nextAt <= unixNano(now)-int64(s.st.retention().Age)
}
