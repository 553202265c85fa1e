package outbox

import (
	"math"
	"unicode/utf8"

	"example.com/belfry/dispatch/event"
)

func (st *state) settle(c *Settle) []Verdict {
	now := st.clock(c.At)
	vs := make([]Verdict, len(c.Settlements), len(c.Settlements)+len(c.Bundles))
	died := "" // webhook id of the dead letter before
	for i := range c.Settlements {
		s := &c.Settlements[i]
		vs[i] = st.settleOne(now, s, died)
		if vs[i] == Settled && s.Status == event.StatusDead {
			died = s.WebhookID
		}
	}
	for i := range c.Bundles {
		vs = append(vs, st.bundle(&c.Bundles[i]))
	}
	return vs
}

func (st *state) settleOne(now int64, s *Settlement, died string) Verdict {
	// INV outbox-2: only the owner of the partition's current epoch settles.
	if s.Epoch != st.claims[s.Partition].Epoch {
		return Fenced
	}
	id := deliveryKey(s.DeliveryID)
	attempt := uint16(min(s.Attempt, math.MaxUint16)) //nolint:gosec // bounded by min
	r := st.row(id)
	if r == nil {
		place, ok := st.depot.place(id)
		switch {
		case !ok:
			return Superseded
		case st.depot.lanes[st.depot.at(place).lane].key.Partition != s.Partition:
			return Fenced
		case !s.Status.Final() && attempt == 0:
			return Superseded
		}
		r = st.unpark(place)
	}
	if r.lane.key.Partition != s.Partition {
		return Fenced
	}
	// INV outbox-3: a resolved delivery stays resolved until it is replayed, and
	// attempts never go back; the same settlement once more changes nothing.
	if r.status > retryingNo || attempt < r.attempt || !s.Status.Final() && attempt == r.attempt {
		return Superseded
	}
	r.attempt = attempt
	switch s.Status {
	case event.StatusPending, event.StatusRetrying:
		st.postpone(r, s)
	case event.StatusDelivered:
		st.resolve(r, deliveredNo, now)
	case event.StatusDropped:
		st.resolve(r, droppedNo, now)
	case event.StatusDead:
		f := s.Failure
		f.Error = cutText(f.Error, MaxFailureError)
		st.setTrace(r, s.WebhookID, &f)
		st.resolve(r, deadNo, now)
		st.bury(r, now, died != "" && died == s.WebhookID)
	}
	return Settled
}

// cutText shortens s to at most n bytes and to whole runes.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func (st *state) postpone(r *row, s *Settlement) {
	r.status = retryingNo
	r.nextAt = unixNano(s.NextAt)
	st.untake(r)
	st.setTrace(r, s.WebhookID, nil)
	st.markRow(r)
	st.dirtyBytes += 64
	st.offer(r, false)
	r.lane.tidy()
}

// setTrace keeps what the last attempt left.
func (st *state) setTrace(r *row, webhookID string, f *event.Failure) {
	size := 64 + len(webhookID)
	if f != nil {
		size += 64 + len(f.Outcome) + len(f.Error)
		st.dirtyBytes += size
	}
	if r.hot == nil {
		st.setRowHot(r, &rowHot{webhookID: webhookID, failure: f, size: size})
		return
	}
	r.hot.webhookID, r.hot.failure = webhookID, f
}

// resolve ends the obligation. A dead letter stays as a row, out of its lane.
func (st *state) resolve(r *row, status uint8, now int64) {
	wasFirst := r.lane.leads(r)
	r.status = status
	st.untake(r)
	st.markRow(r)
	st.leave(r, wasFirst)
	st.settledOne(r.ev, now)
	if status != deadNo {
		st.remove(r)
		st.tidyAccount(r.lane.key.Account)
	}
}

func (st *state) remove(r *row) {
	r.flags |= gone
	st.dropRow(r)
	if r.flags&onDisk == 0 {
		st.dirtyBytes -= r.hot.size
	}
	st.setRowHot(r, nil)
	if r.flags&revived != 0 {
		delete(st.series, r)
	}
	r.ev.refs--
	if r.ev.refs == 0 {
		r.ev.flags |= gone
		if r.ev.flags&onDisk == 0 {
			st.dirtyBytes -= r.ev.hot.size
		}
		st.dropEventHot(r.ev)
		st.markEvent(r.ev)
		st.account(r.lane.key.Account).events.drop(r.ev.seq)
	}
}
