package outbox

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/event"
)

const (
	// MaxScan is how many events one Scan looks at, but for the rest of those
	// that were accepted at the same instant as the last one.
	MaxScan = 2000
	// MaxLanes is how many lanes one Lanes tells of.
	MaxLanes = 1000
)

// Scan finds events of an account of which a delivery is owed or dead, in the
// order of event.Ref. The events of one instant are given whole, so there may be
// more than limit. f's members about a delivery ask for one that is owed or dead.
func (s *Store) Scan(account string, f *event.Filter, after event.Ref, limit int) (event.Scan, error) {
	// No flush in between: a row is in memory's list or in the file, and what
	// leaves memory is in the file that is looked at.
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	c := scanning{s: s, f: f, after: after}
	s.mu.Lock()
	if a := s.st.accounts[account]; a != nil {
		c.events = a.events.rest()
	}
	c.unwritten = s.unwrittenRows(account)
	s.mu.Unlock()
	var out event.Scan
	err := s.view(func(tx *bolt.Tx) error {
		c.tx = tx
		var err error
		out, err = c.run(limit)
		return err
	})
	return out, err
}

// unwrittenRows are the rows of an account that the file may lack, by event.
func (s *Store) unwrittenRows(account string) map[uint64][]*row {
	rows := map[uint64][]*row{}
	s.eachUnwritten(account, func(r *row) { rows[r.ev.seq] = append(rows[r.ev.seq], r) })
	return rows
}

// eachUnwritten gives the rows of an account that the file may lack, or of which
// it may have an older state; some twice.
func (s *Store) eachUnwritten(account string, f func(*row)) {
	look := func(rows []*row) {
		for _, r := range rows {
			if !r.forgotten() && r.lane.key.Account == account {
				f(r)
			}
		}
	}
	look(s.st.dirtyRows)
	for _, b := range s.unwritten {
		look(b.rows)
	}
}

// scanning is one Scan under way.
type scanning struct {
	s         *Store
	tx        *bolt.Tx
	f         *event.Filter
	after     event.Ref
	events    []uint64          // see eventList; read under the lock
	unwritten map[uint64][]*row // by event
}

// get reads the i-th event; nil: it is gone.
func (c *scanning) get(i int) (h *eventHot, err error) {
	c.s.mu.Lock()
	seq := c.events[i]
	for _, r := range c.unwritten[seq] {
		h = cmp.Or(h, r.ev.hot)
	}
	c.s.mu.Unlock()
	if h != nil || went(seq) {
		return h, nil
	}
	v, err := getRow(c.tx.Bucket(bucketEvents), seqKey(seq))
	if err == nil {
		h, err = decodeEventRow(v)
	}
	if err != nil {
		return nil, fmt.Errorf("outbox: event %d: %w", seq, err)
	}
	return h, nil
}

// older returns how many events, from the oldest on, were accepted at or before
// the instant.
func (c *scanning) older(at int64) (int, error) {
	var err error
	n := sort.Search(len(c.events), func(i int) bool {
		// One that went may be anywhere: the next one that is there decides.
		for ; i < len(c.events); i++ {
			h, e := c.get(i)
			if e != nil {
				err = e
				return true
			}
			if h != nil {
				return h.acceptedAt > at
			}
		}
		return true
	})
	return n, err
}

func (c *scanning) run(limit int) (event.Scan, error) {
	var out event.Scan
	end := len(c.events)
	for _, t := range [...]time.Time{c.after.AcceptedAt, c.f.To} {
		if t.IsZero() {
			continue
		}
		n, err := c.older(unixNano(t))
		if err != nil {
			return out, err
		}
		end = min(end, n)
	}
	instant, from := int64(0), 0 // the place in out.Refs where the instant begins
	sortInstant := func() {
		slices.SortFunc(out.Refs[from:], func(x, y event.Ref) int { return cmp.Compare(y.EventID, x.EventID) })
		from = len(out.Refs)
	}
	looked := 0
	for i := end - 1; i >= 0; i-- {
		h, err := c.get(i)
		if err != nil {
			return event.Scan{}, err
		}
		if h == nil {
			continue
		}
		if h.acceptedAt != instant {
			sortInstant()
			if len(out.Refs) >= limit && limit > 0 || looked >= MaxScan {
				// No event id is empty: this is the last place of the instant.
				out.Upto = event.Ref{AcceptedAt: fromNano(instant)}
				return out, nil
			}
			instant = h.acceptedAt
		}
		looked++
		at := fromNano(h.acceptedAt)
		if !c.f.From.IsZero() && at.Before(c.f.From) {
			break
		}
		ref := event.Ref{AcceptedAt: at, EventID: h.e.ID}
		if !ref.After(c.after) || !c.f.MatchesEvent(&h.e, at) {
			continue
		}
		ok, err := c.delivery(i)
		if err != nil {
			return event.Scan{}, err
		}
		if ok {
			out.Refs = append(out.Refs, ref)
		}
	}
	sortInstant()
	out.Done = true
	return out, nil
}

// delivery reports whether a delivery of the event fits the filter.
func (c *scanning) delivery(i int) (bool, error) {
	if c.f.Status == "" && c.f.ProfileID == "" && c.f.SubscriptionID == "" {
		return true, nil
	}
	c.s.mu.Lock()
	event := c.events[i] &^ wentBit
	for _, r := range c.unwritten[event] {
		if h := r.hot; r.flags&gone == 0 && h != nil && h.full && c.fits(r.status, &h.target) {
			c.s.mu.Unlock()
			return true, nil
		}
	}
	c.s.mu.Unlock()
	found := false
	err := deliveriesOf(c.tx, event, func(_ uint64, d *deliveryDisk) bool {
		c.s.mu.Lock()
		x, ok := c.s.st.look(deliveryKey(d.id))
		c.s.mu.Unlock()
		found = ok && c.fits(x.p.status, &d.target)
		return !found
	})
	return found, err
}

func (c *scanning) fits(status uint8, t *Target) bool {
	return c.f.MatchesDelivery(statuses[status], t.ProfileID, t.SubscriptionIDs)
}

// Backlog is how many deliveries are owed to the account.
func (s *Store) Backlog(account string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.st.accounts[account]; a != nil {
		return a.pending
	}
	return 0
}

// Pending is how many deliveries are owed to all accounts.
func (s *Store) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.pending
}

// LaneBacklog is what is owed to one destination.
type LaneBacklog struct {
	LaneKey
	Pending int
	// Oldest is when the first of the lane was accepted; one that was replayed
	// is behind all that were there at that time.
	Oldest time.Time
}

// Lanes tells what is owed to each destination of an account, by destination;
// of the first MaxLanes only.
func (s *Store) Lanes(account string) ([]LaneBacklog, error) {
	s.mu.Lock()
	var out []LaneBacklog
	var sights []sight
	if a := s.st.accounts[account]; a != nil {
		lanes := make([]*lane, 0, len(a.lanes))
		for l := range a.lanes {
			lanes = append(lanes, l)
		}
		slices.SortFunc(lanes, func(x, y *lane) int {
			return cmp.Or(cmp.Compare(x.key.Destination, y.key.Destination), cmp.Compare(x.key.Partition, y.key.Partition))
		})
		for _, l := range lanes[:min(len(lanes), MaxLanes)] {
			out = append(out, LaneBacklog{LaneKey: l.key, Pending: l.live()})
			sights = append(sights, s.st.oldest(l))
		}
	}
	s.mu.Unlock()
	if len(sights) == 0 {
		return nil, nil
	}
	err := s.view(func(tx *bolt.Tx) error {
		for i := range sights {
			d, ok, err := sights[i].complete(tx)
			if err != nil {
				return err
			}
			if ok { // else it went meanwhile
				out[i].Oldest = d.AcceptedAt
			}
		}
		return nil
	})
	return out, err
}
