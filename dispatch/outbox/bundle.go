package outbox

import (
	"slices"

	"example.com/belfry/dispatch/event"
)

// bundle puts deliveries into one request.
//
// INV outbox-18: the members of a bundle have one mark, which no delivery of
// another request that was never tried has; so Take does not part them. A bundle
// whose members have changed since they were taken changes nothing.
func (st *state) bundle(b *Bundle) Verdict {
	// INV outbox-2: only the owner of the partition's current epoch.
	if b.Epoch != st.claims[b.Partition].Epoch {
		return Fenced
	}
	ids := make([]key, len(b.Members))
	mark, again := int64(0), false
	for i := range b.Members {
		ids[i] = deliveryKey(b.Members[i].DeliveryID)
		// What is in memory of a row's webhook id decides nothing: replicas differ in it.
		r := st.row(ids[i])
		l := st.laneHolding(r, ids[i])
		have := int64(0)
		if r != nil {
			have, again = r.nextAt, again || r.status == retryingNo
		}
		switch {
		case l == nil || r != nil && r.stale():
			return Superseded
		case l.key.Partition != b.Partition:
			return Fenced
		case uint64(have) != b.Members[i].Mark:
			return Superseded
		}
		mark = max(mark, have)
	}
	if again {
		mark++ // as good as the time it was due at, and yet another mark
	} else {
		mark = int64(st.nextSeq) //nolint:gosec // far below 2^63
		st.nextSeq++
	}
	for _, id := range ids {
		r := st.row(id)
		if r == nil {
			place, _ := st.depot.place(id)
			r = st.unpark(place)
		}
		st.enrol(r, mark, b.WebhookID)
	}
	return Settled
}

// laneHolding is the lane of a delivery whose row, if it has one, is r; nil:
// there is no such delivery.
func (st *state) laneHolding(r *row, id key) *lane {
	if r != nil {
		return r.lane
	}
	if place, ok := st.depot.place(id); ok {
		return st.depot.lanes[st.depot.at(place).lane]
	}
	return nil
}

// enrol makes a row a member of a request. The dispatcher that has it keeps it.
func (st *state) enrol(r *row, mark int64, webhookID string) {
	r.nextAt = mark
	st.setTrace(r, webhookID, nil)
	st.markRow(r)
	st.dirtyBytes += 64
	if r.flags&taken == 0 {
		st.offer(r, false)
	}
	r.lane.tidy()
}

// Frontier says what of a lane an owner before may have sent without a record:
// in requests with one member, whose webhook-id is the delivery's own. The zero
// Frontier holds nothing.
type Frontier struct {
	seq uint64
	at  int64
}

// Holds reports whether the delivery may have been sent alone by an owner before.
func (f Frontier) Holds(d *Delivery) bool {
	switch {
	case d.WebhookID != "":
		return false // what is on record
	case d.Status == event.StatusRetrying: // replayed, and died without an attempt
		return unixNano(d.SeriesAt) <= f.at
	}
	return d.Seq <= f.seq
}

// Frontier gives that of a lane of which an owner before had at most n
// deliveries at a time, taken in the order of acceptance, and what was replayed
// until now. It looks at n deliveries at most.
func (s *Store) Frontier(k LaneKey, n int) Frontier {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.st.lanes[k.Partition][laneName{k.Account, k.Destination}]
	if l == nil {
		return Frontier{}
	}
	return Frontier{seq: s.st.untried(l, n), at: s.st.lastAt}
}

// untried is the sequence number of the n-th delivery of a lane that is in no
// request on record, or of the last one there is.
func (st *state) untried(l *lane, n int) uint64 {
	if n >= l.live() {
		return st.nextSeq - 1
	}
	st.sortLane(l)
	var seqs []uint64
	for _, r := range l.all.rest() {
		if len(seqs) == n {
			break
		}
		if !r.stale() && r.unmarked() {
			seqs = append(seqs, r.seq)
		}
	}
	inMemory := len(seqs)
	for _, place := range l.parked.places[l.parked.head:] {
		if len(seqs)-inMemory == n {
			break
		}
		if p := st.depot.at(place); p.seq() != 0 {
			seqs = append(seqs, p.seq())
		}
	}
	slices.Sort(seqs)
	switch {
	case len(seqs) == 0:
		return 0
	case len(seqs) < n:
		return seqs[len(seqs)-1]
	}
	return seqs[n-1]
}
