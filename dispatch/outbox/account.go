package outbox

import (
	"cmp"
	"slices"
)

// accountState is what the outbox holds of one account.
type accountState struct {
	pending int
	lanes   map[*lane]struct{}
	events  eventList     // of which a delivery is kept, in acceptance order
	dead    ageList[*row] // dead letters, by DeadAt
}

func (st *state) account(name string) *accountState {
	a := st.accounts[name]
	if a == nil {
		a = &accountState{lanes: map[*lane]struct{}{}}
		st.accounts[name] = a
	}
	return a
}

// eventList are the events of an account, from the oldest to the youngest: their
// sequence numbers, with the bit wentBit in those that went. It has no pointers,
// for in a backlog of millions it is long.
type eventList struct{ ageList[uint64] }

const wentBit = 1 << 63

func went(seq uint64) bool { return seq&wentBit != 0 }

// drop takes an event out. Most that go are young: the search for it begins at
// the end. Readers of elements hold the lock.
func (q *eventList) drop(seq uint64) {
	rest := q.rest()
	from := len(rest) - 1
	for step := 1; from > 0 && rest[from]&^wentBit > seq; step *= 2 {
		from = max(0, from-step)
	}
	i, ok := slices.BinarySearchFunc(rest[max(0, from):], seq, func(e, seq uint64) int { return cmp.Compare(e&^wentBit, seq) })
	if !ok || went(rest[from+i]) {
		return
	}
	rest[from+i] |= wentBit
	q.dropped(went)
}

// tidyAccount forgets an account of which nothing is held.
func (st *state) tidyAccount(name string) {
	if a := st.accounts[name]; a != nil && a.pending == 0 && a.events.live == 0 && a.dead.live == 0 {
		delete(st.accounts, name)
	}
}

// laneOf finds or makes the lane of a key.
func (st *state) laneOf(k LaneKey) *lane {
	name := laneName{k.Account, k.Destination}
	l := st.lanes[k.Partition][name]
	if l == nil {
		l = &lane{key: k}
		st.lanes[k.Partition][name] = l
		st.account(k.Account).lanes[l] = struct{}{}
	}
	return l
}

func (st *state) dropLane(l *lane) {
	delete(st.lanes[l.key.Partition], laneName{l.key.Account, l.key.Destination})
	delete(st.account(l.key.Account).lanes, l)
	delete(st.depot.lanes, l.parked.no)
}

// count keeps the figures of what is owed.
func (st *state) count(r *row, n int) {
	st.pending += n
	st.pendingBytes += n * r.ev.size.int()
	st.account(r.lane.key.Account).pending += n
}

// ageSlack is how many stale elements a list may have beside as many as it has
// live ones.
const ageSlack = 16

// ageList is a queue from the oldest to the youngest out of which anything may
// fall: what is stale is dropped from the front at once, from elsewhere when
// there is much of it. Its own methods never overwrite an element, so that what
// rest gave may be read without the lock.
type ageList[T any] struct {
	items []T
	head  int
	live  int
}

func (q *ageList[T]) push(v T) {
	q.items = append(q.items, v)
	q.live++
}

// first is the oldest one, or the zero T.
func (q *ageList[T]) first() (v T) {
	if q.head < len(q.items) {
		v = q.items[q.head]
	}
	return v
}

// dropped takes note that one element became stale.
func (q *ageList[T]) dropped(stale func(T) bool) {
	q.live--
	for q.head < len(q.items) && stale(q.items[q.head]) {
		q.head++
	}
	if len(q.items)-q.live <= q.live+ageSlack {
		return
	}
	var kept []T
	if q.live > 0 {
		kept = make([]T, 0, q.live+q.live/4)
	}
	for _, v := range q.items[q.head:] {
		if !stale(v) {
			kept = append(kept, v)
		}
	}
	q.items, q.head = kept, 0
}

// rest are the elements from the oldest live one on; stale ones may be among
// them.
func (q *ageList[T]) rest() []T { return q.items[q.head:len(q.items):len(q.items)] }
