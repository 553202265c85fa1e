package outbox

import (
	"fmt"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// rough sizes of what the heavy parts cost beside their strings.
const (
	rowHotOverhead   = 192
	eventHotOverhead = 448
)

// apply changes the state by one command and returns []byte or *model.Error.
func (st *state) apply(c Command) any {
	switch c := c.(type) {
	case *Accept:
		return EncodeResults(st.accept(c))
	case *Settle:
		return EncodeVerdicts(st.settle(c))
	case *Claim:
		if err := st.claim(c); err != nil {
			return err
		}
		return []byte{format}
	}
	panic(fmt.Sprintf("outbox: command of unknown type %T", c))
}

func (st *state) claim(c *Claim) *model.Error {
	have := &st.claims[c.Partition]
	// INV outbox-1: the epoch of a partition never goes down, and one epoch
	// has one owner.
	if c.Epoch < have.Epoch || c.Epoch == have.Epoch && have.Owner != c.Owner {
		return model.Errorf(model.CodeConflict, "partition %d is at epoch %d of %q", c.Partition, have.Epoch, have.Owner)
	}
	*have = model.Assignment{Owner: c.Owner, Epoch: c.Epoch}
	st.dirtyClaims = true
	return nil
}

func (st *state) accept(c *Accept) []Result {
	now := st.clock(c.At)
	results := make([]Result, len(c.Events))
	for from := 0; from < len(c.Events); {
		to := from + 1
		for to < len(c.Events) && c.Events[to].Request == c.Events[from].Request {
			to++
		}
		st.acceptRequest(now, c.ConfigIndex, c.Events[from:to], results[from:to])
		from = to
	}
	return results
}

// acceptRequest takes the events of one request.
//
// INV outbox-6: of one request, all events are taken or none.
func (st *state) acceptRequest(now int64, configIndex uint64, events []AcceptedEvent, results []Result) {
	keys := make([]key, len(events))
	seen := map[key]key{}
	conflict := false
	for i := range events {
		e := &events[i]
		if !e.Event.GivenID {
			continue
		}
		keys[i] = eventKey(e.Event.Account, e.Event.ID)
		digest, known := seen[keys[i]]
		if r := st.receipts[keys[i]]; !known && r != nil && r.valid(now) {
			digest, known = r.digest, true
		}
		if !known {
			digest = key(e.Digest[:16])
		}
		seen[keys[i]] = digest
		if digest != key(e.Digest[:16]) {
			conflict = true
			results[i].Conflict = true
		}
	}
	if conflict {
		for i := range results {
			results[i].Refused = !results[i].Conflict
		}
		return
	}
	for i := range events {
		e := &events[i]
		if e.Event.GivenID {
			if r := st.receipts[keys[i]]; r != nil && r.valid(now) {
				results[i] = Result{Status: event.Duplicate, Deliveries: int(r.count)}
				continue
			}
		}
		results[i] = Result{Status: event.Accepted, Deliveries: len(e.Targets)}
		st.acceptEvent(now, configIndex, e, keys[i])
	}
}

func (st *state) acceptEvent(now int64, configIndex uint64, e *AcceptedEvent, k key) {
	var rec *receipt
	if e.Event.GivenID {
		rec = st.newReceipt(k, e)
	}
	var ev *eventRow
	for i := range e.Targets {
		t := &e.Targets[i]
		id := deliveryKey(t.DeliveryID)
		if st.row(id) != nil {
			continue // the same batch once more: its outcome was unknown to the proposer
		}
		if ev == nil {
			ev = st.newEvent(now, configIndex, e, rec)
		}
		ev.refs++
		r := &row{
			seq: st.nextSeq, id: id, ev: ev,
			lane: st.laneOf(LaneKey{Partition: t.Partition, Account: e.Event.Account, Destination: t.Destination()}),
		}
		st.nextSeq++
		st.setRowHot(r, newRowHot(t))
		st.addRow(r)
		r.lane.pending++
		st.pending++
		st.dirtyBytes += r.hot.size
		st.enqueue(r, true)
		st.markRow(r)
		if rec != nil {
			rec.pending++
		}
	}
	if rec != nil && rec.pending == 0 {
		st.retire(rec, now)
	}
}

func newRowHot(t *Target) *rowHot {
	h := &rowHot{id: t.DeliveryID, target: *t, full: true}
	h.size = rowHotOverhead + len(t.DeliveryID) + len(t.ProfileID) + len(t.URL)
	for _, s := range t.SubscriptionIDs {
		h.size += 16 + len(s)
	}
	return h
}

func (st *state) newEvent(now int64, configIndex uint64, e *AcceptedEvent, rec *receipt) *eventRow {
	h := &eventHot{e: e.Event, acceptedAt: now, configIndex: configIndex}
	h.size = eventHotOverhead + len(e.Event.Payload) + len(e.Event.ID)
	ev := &eventRow{seq: st.nextSeq, hot: h, receipt: rec, sizeKiB: sizeKiB(len(e.Event.Payload))}
	st.nextSeq++
	st.hotBytes += h.size
	st.dirtyBytes += h.size
	st.markEvent(ev)
	return ev
}

func sizeKiB(n int) uint16 { return uint16(min((n+1023)>>10, 1<<16-1)) } //nolint:gosec // bounded by min

func (st *state) newReceipt(k key, e *AcceptedEvent) *receipt {
	if old := st.receipts[k]; old != nil {
		old.flags |= gone
		st.markReceipt(old)
	}
	rec := &receipt{
		key: k, digest: key(e.Digest[:16]), forgetAt: unixNano(e.ForgetAt),
		count: uint32(min(len(e.Targets), maxNumber)),
	}
	st.receipts[k] = rec
	st.dirtyBytes += 128
	st.markReceipt(rec)
	return rec
}

// retire queues a receipt for forgetting: nothing of its event is pending.
//
// INV outbox-7: at most Limits.Receipts settled receipts are kept; the one
// that was settled first goes first, and so does every one whose time is over.
func (st *state) retire(rec *receipt, now int64) {
	rec.order = st.nextOrder
	st.nextOrder++
	st.markReceipt(rec)
	st.forget.push(rec)
	for st.forget.len() > 0 {
		r := st.forget.first()
		switch {
		case r.flags&gone != 0: // replaced by a younger receipt of the same id
		case r.forgetAt <= now || st.forget.len() > st.limits.Receipts:
			r.flags |= gone
			delete(st.receipts, r.key)
			st.markReceipt(r)
		default:
			return
		}
		st.forget.pop()
	}
}

func (st *state) settle(c *Settle) []Verdict {
	now := st.clock(c.At)
	vs := make([]Verdict, len(c.Settlements))
	for i := range c.Settlements {
		vs[i] = st.settleOne(now, &c.Settlements[i])
	}
	return vs
}

func (st *state) settleOne(now int64, s *Settlement) Verdict {
	// INV outbox-2: only the owner of the partition's current epoch settles.
	if s.Epoch != st.claims[s.Partition].Epoch {
		return Fenced
	}
	r := st.row(deliveryKey(s.DeliveryID))
	if r == nil {
		return Superseded
	}
	if r.lane.key.Partition != s.Partition {
		return Fenced
	}
	// INV outbox-3: a resolved delivery stays resolved, and attempts never go
	// back; the same settlement once more changes nothing.
	attempt := uint32(min(s.Attempt, maxNumber)) //nolint:gosec // bounded by min
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
		st.setWebhookID(r, s.WebhookID)
		st.resolve(r, deadNo, now)
	}
	return Settled
}

func (st *state) postpone(r *row, s *Settlement) {
	r.status = retryingNo
	r.nextAt = unixNano(s.NextAt)
	st.untake(r)
	st.setWebhookID(r, s.WebhookID)
	st.markRow(r)
	st.dirtyBytes += 64
	st.enqueue(r, false)
	r.lane.tidy()
}

func (st *state) setWebhookID(r *row, id string) {
	if r.hot == nil {
		st.setRowHot(r, &rowHot{webhookID: id, size: 64 + len(id)})
		return
	}
	r.hot.webhookID = id
}

// resolve ends the obligation. A dead letter stays as a row, out of its lane.
func (st *state) resolve(r *row, status uint8, now int64) {
	l := r.lane
	r.status = status
	st.untake(r)
	st.markRow(r)
	l.pending--
	st.pending--
	l.tidy()
	if l.pending == 0 {
		delete(st.lanes[l.key.Partition], laneName{l.key.Account, l.key.Destination})
	}
	if rec := r.ev.receipt; rec != nil {
		rec.pending--
		st.markReceipt(rec)
		if rec.pending == 0 {
			st.retire(rec, now)
		}
	}
	if status != deadNo {
		st.remove(r)
		return
	}
	r.nextAt = int64(st.nextOrder) //nolint:gosec // a counter from 1
	st.nextOrder++
	st.dead.push(r)
	// INV outbox-8: at most Limits.DeadLetters dead letters are kept, the
	// youngest ones.
	for st.dead.len() > st.limits.DeadLetters {
		st.deadLost++
		old := st.dead.pop()
		st.markRow(old)
		st.remove(old)
	}
}

func (st *state) remove(r *row) {
	r.flags |= gone
	st.dropRow(r)
	st.setRowHot(r, nil)
	r.ev.refs--
	if r.ev.refs == 0 {
		r.ev.flags |= gone
		st.dropEventHot(r.ev)
		st.markEvent(r.ev)
	}
}
