package outbox

// receipt remembers an event id that the client gave: 72 bytes without
// pointers, for there may be millions.
type receipt struct {
	key      key
	digest   key // first half of the content's SHA-256
	forgetAt int64
	// order is its place in the queue of forgetting; 0 while a delivery is
	// pending.
	order uint64
	// born tells receipts of the same id, and of the same place, apart: the
	// sequence number at which it was made. Its event has the next one. It is the
	// key on disk, so that what comes and goes together is in the same pages.
	born           uint64
	older, younger receiptRef // in the queue of forgetting
	count, pending uint24
	flags          uint8
}

func (r *receipt) name() key { return r.key }

// valid reports whether the receipt still answers for its id.
//
// INV outbox-5: an id is remembered at least while a delivery of its event is
// pending.
func (r *receipt) valid(now int64) bool { return r.pending.int() > 0 || r.forgetAt > now }

// receiptRef is the place of a receipt plus one; 0: none.
type receiptRef uint32

// receipts are those that answer for their ids, and those that went since the
// last flush.
type receipts struct {
	table[receipt, *receipt]
	// The queue of forgetting: those of which nothing is pending, in the order
	// in which they were settled.
	oldest, youngest receiptRef
	settled          int
}

// get is what a reference leads to: the receipt that was there when it was made,
// or another one, or nil.
func (rs *receipts) get(ref receiptRef) *receipt {
	if ref == 0 || uint32(ref) > rs.top {
		return nil
	}
	return rs.at(uint32(ref) - 1)
}

// of finds the receipt of an id.
func (rs *receipts) of(k key) (receiptRef, *receipt) {
	place, ok := rs.place(k)
	if !ok {
		return 0, nil
	}
	return receiptRef(place + 1), rs.at(place)
}

// ofEvent finds the receipt of an event; nil: it has none, or it is gone. A dead
// letter outlives its receipt, whose place may be in use again.
func (rs *receipts) ofEvent(e *eventRow) *receipt {
	if r := rs.get(e.receipt); r != nil && r.flags&gone == 0 && r.born == e.seq-1 {
		return r
	}
	return nil
}

// enqueue puts a receipt at the end of the queue of forgetting.
func (rs *receipts) enqueue(ref receiptRef, order uint64) {
	r := rs.get(ref)
	r.order, r.older, r.younger = order, rs.youngest, 0
	if last := rs.get(rs.youngest); last != nil {
		last.younger = ref
	} else {
		rs.oldest = ref
	}
	rs.youngest = ref
	rs.settled++
}

// dequeue takes a receipt out of the queue of forgetting, if it is there.
func (rs *receipts) dequeue(r *receipt) {
	if r.order == 0 {
		return
	}
	if older := rs.get(r.older); older != nil {
		older.younger = r.younger
	} else {
		rs.oldest = r.younger
	}
	if younger := rs.get(r.younger); younger != nil {
		younger.older = r.older
	} else {
		rs.youngest = r.older
	}
	r.order, r.older, r.younger = 0, 0, 0
	rs.settled--
}

func (st *state) markReceipt(ref receiptRef, r *receipt) {
	if r.flags&dirty == 0 {
		r.flags |= dirty
		st.dirtyReceipts = append(st.dirtyReceipts, ref)
	}
}

// newReceipt remembers the id of an event. One of the same id that is not valid
// any more makes room.
func (st *state) newReceipt(k key, e *AcceptedEvent) receiptRef {
	if ref, old := st.receipts.of(k); old != nil {
		st.forget(ref, old)
	}
	ref := receiptRef(st.receipts.add(receipt{
		key: k, digest: key(e.Digest[:16]), forgetAt: unixNano(e.ForgetAt), count: toUint24(len(e.Targets)), born: st.nextSeq,
	}) + 1)
	st.nextSeq++
	st.dirtyBytes += 128
	st.markReceipt(ref, st.receipts.get(ref))
	return ref
}

// forget takes away a receipt of which nothing is pending. The next flush gives
// its place back.
func (st *state) forget(ref receiptRef, r *receipt) {
	st.receipts.dequeue(r)
	st.receipts.unlist(r.key)
	r.flags |= gone
	st.markReceipt(ref, r)
}

// retire queues a receipt for forgetting: nothing of its event is pending.
//
// INV outbox-7: at most Limits.Receipts settled receipts are kept; the one
// that was settled first goes first, and so does every one whose time is over.
func (st *state) retire(ref receiptRef, now int64) {
	rs := &st.receipts
	st.markReceipt(ref, rs.get(ref))
	rs.enqueue(ref, st.nextOrder)
	st.nextOrder++
	for rs.settled > 0 {
		first := rs.oldest
		r := rs.get(first)
		if r.forgetAt > now && rs.settled <= st.limits.Receipts {
			return
		}
		st.forget(first, r)
	}
}

// settledOne takes note that a delivery of the event is resolved. The receipt of
// one that was replayed may be gone.
func (st *state) settledOne(e *eventRow, now int64) {
	r := st.receipts.ofEvent(e)
	if r == nil {
		return
	}
	r.pending = toUint24(r.pending.int() - 1)
	st.markReceipt(e.receipt, r)
	if r.pending.int() == 0 {
		st.retire(e.receipt, now)
	}
}

// remember keeps the receipt of an event of which a delivery was replayed, if
// it is still there: it leaves the queue of forgetting.
func (st *state) remember(e *eventRow) {
	r := st.receipts.ofEvent(e)
	if r == nil {
		return
	}
	st.receipts.dequeue(r)
	r.pending = toUint24(r.pending.int() + 1)
	st.markReceipt(e.receipt, r)
}
