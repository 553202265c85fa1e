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
		before := st.claims[c.Partition]
		if err := st.claim(c); err != nil {
			return err
		}
		return EncodeClaimed(before.Epoch)
	case *Retain:
		if err := st.setRetention(c); err != nil {
			return err
		}
		return []byte{format}
	case *Revive:
		vs, err := st.revive(c)
		if err != nil {
			return err
		}
		return EncodeVerdicts(vs)
	case *StartReplay:
		return answerReplay(st.startReplay(c))
	case *CancelReplay:
		return answerReplay(st.cancelReplay(c))
	}
	panic(fmt.Sprintf("outbox: command of unknown type %T", c))
}

func answerReplay(j event.ReplayJob, err *model.Error) any {
	if err != nil {
		return err
	}
	return EncodeReplay(j)
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
		if _, r := st.receipts.of(keys[i]); !known && r != nil && r.valid(now) {
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
			if _, r := st.receipts.of(keys[i]); r != nil && r.valid(now) {
				results[i] = Result{Status: event.Duplicate, Deliveries: r.count.int()}
				continue
			}
		}
		results[i] = Result{Status: event.Accepted, Deliveries: len(e.Targets)}
		st.acceptEvent(now, configIndex, e, keys[i])
	}
}

func (st *state) acceptEvent(now int64, configIndex uint64, e *AcceptedEvent, k key) {
	var ref receiptRef
	if e.Event.GivenID {
		ref = st.newReceipt(k, e)
	}
	pending := 0
	var ev *eventRow
	for i := range e.Targets {
		t := &e.Targets[i]
		id := deliveryKey(t.DeliveryID)
		if st.known(id) {
			continue // the same batch once more: its outcome was unknown to the proposer
		}
		if ev == nil {
			ev = st.newEvent(now, configIndex, e, ref)
		}
		ev.refs++
		r := &row{
			seq: st.nextSeq, id: id, ev: ev, slot: slotOf(e.Event.OrderingKey),
			lane: st.laneOf(LaneKey{Partition: t.Partition, Account: e.Event.Account, Destination: t.Destination()}),
		}
		st.nextSeq++
		st.setRowHot(r, newRowHot(t))
		st.addRow(r)
		st.dirtyBytes += r.hot.size
		st.join(r)
		st.markRow(r)
		pending++
	}
	if rec := st.receipts.get(ref); rec != nil {
		if rec.pending = toUint24(pending); pending == 0 {
			st.retire(ref, now)
		}
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

func (st *state) newEvent(now int64, configIndex uint64, e *AcceptedEvent, ref receiptRef) *eventRow {
	h := &eventHot{e: e.Event, acceptedAt: now, configIndex: configIndex}
	h.size = eventHotOverhead + len(e.Event.Payload) + len(e.Event.ID)
	ev := &eventRow{seq: st.nextSeq, hot: h, receipt: ref, size: toUint24(len(e.Event.Payload))}
	st.nextSeq++
	st.account(e.Event.Account).events.push(ev.seq)
	st.hotBytes += h.size
	st.dirtyBytes += h.size
	st.markEvent(ev)
	return ev
}
