package dispatch

const (
	// shareFactor is how many slots an account may hold for each one that is
	// free: one account alone gets four fifths, and whatever the others do, some
	// are left for one that comes now.
	shareFactor = 4
	// riskyShare and largeShare are the parts of all slots that retries and
	// failing destinations, and large requests, may have at a time.
	riskyShare = 5
	largeShare = 8
	// LargeRequest is the size of a body above which a request counts as large,
	// in bytes.
	LargeRequest = 64 << 10
)

// The pools of slots. Every request needs a slot of poolAll, and of the others
// where it is of their kind.
const (
	poolAll   = iota
	poolRisky // retries, and whatever goes to a destination that is failing
	poolLarge // bodies above LargeRequest
	pools
)

// account is one account with lanes. Only the scheduler's goroutine touches it.
type account struct {
	name  string
	lanes int // that point here
	used  [pools]int
	queue [pools]fifo[*lane] // lanes that want a slot
	in    [pools]bool        // in the ring of the pool

	trials trials
}

// pool is a number of slots that accounts share in turn.
//
// INV dispatch-7: an account gets a slot only while it holds less than
// shareFactor times what is free; so no account takes the last ones.
type pool struct {
	kind      int
	max, used int
	ring      fifo[*account] // those with lanes in their queue of this pool
}

// admits reports whether the account may have one more slot.
func (p *pool) admits(a *account) bool { return a.used[p.kind] < shareFactor*(p.max-p.used) }

func (p *pool) take(a *account) {
	p.used++
	a.used[p.kind]++
}

func (p *pool) free(a *account) {
	p.used--
	a.used[p.kind]--
}

// push puts a lane at the end of its account's queue, unless it is in it.
func (p *pool) push(l *lane) {
	a := l.account
	if l.wants[p.kind] {
		return
	}
	l.wants[p.kind] = true
	a.queue[p.kind].push(l)
	if !a.in[p.kind] {
		a.in[p.kind] = true
		p.ring.push(a)
	}
}

// next takes the lane whose turn it is: accounts in turn, and the lanes of each
// in turn. Accounts that hold enough are passed over; those are few, since each
// holds slots. nil: there is no lane that may have a slot.
func (p *pool) next() *lane {
	for range p.ring.len() {
		a := p.ring.pop()
		if !p.admits(a) {
			p.ring.push(a)
			continue
		}
		l := a.queue[p.kind].pop()
		l.wants[p.kind] = false
		if a.in[p.kind] = a.queue[p.kind].len() > 0; a.in[p.kind] {
			p.ring.push(a)
		}
		return l
	}
	return nil
}

// fifo is a queue that gives memory back.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }
func (q *fifo[T]) first() T { return q.items[q.head] }
func (q *fifo[T]) push(v T) { q.items = append(q.items, v) }

func (q *fifo[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head > 64 && q.head > len(q.items)/2:
		q.items, q.head = append(make([]T, 0, q.len()), q.items[q.head:]...), 0
	}
	return v
}
