package check

import (
	"fmt"

	"example.com/belfry/chaos/history"
)

func invented(h *History, _ Options, v *Verdict) {
	m := h.matcher()
	for i := range h.arrivals {
		a := &h.arrivals[i]
		d := &h.dests[a.dest]
		bad := func(format string, args ...any) {
			v.violate(Violation{What: fmt.Sprintf(format, args...), At: a.call, Key: d.account + "/" + d.name})
		}
		for _, s := range a.strange {
			v.Checked++
			bad("bytes that nobody posted arrived: %s (sha256 %s)", s.Head, s.SHA256)
		}
		if a.version < 0 {
			bad("a credential arrived that was never given for this destination, or a signature that does not fit (%s)", a.auth)
		}
		for _, r := range a.runs {
			v.Checked += int(r.n)
			h.inventedRun(m, a, r, bad)
		}
	}
}

// inventedRun follows one run through the batches that it may come from.
func (h *History) inventedRun(m *matcher, a *arrival, r run, bad func(string, ...any)) {
	p, d := &h.producers[r.producer], &h.dests[a.dest]
	for n := r.from; n < r.from+int64(r.n); {
		b := p.batchOf(n)
		if b == nil {
			bad("event %s.%d arrived and was never posted", p.name, n)
			return
		}
		first, ok := b.maybe()
		switch {
		case !ok:
			bad("event %s.%d arrived; every post of it was refused", p.name, n)
		case first > a.ret:
			bad("event %s.%d arrived %d ns before it was posted", p.name, n, first-a.ret)
		case r.pad != b.pad:
			bad("event %s.%d arrived with another payload: %d bytes of text, not %d", p.name, n, r.pad, b.pad)
		case r.account == "" && b.account == d.account && !m.mayReach(b.topic, d.name):
			bad("event %s.%d (%s %s) arrived at %s, which never asked for it", p.name, n, b.channel, b.event, d.name)
		}
		n = b.from + int64(b.n)
	}
}

func crossed(h *History, _ Options, v *Verdict) {
	for i := range h.arrivals {
		a := &h.arrivals[i]
		d := &h.dests[a.dest]
		for _, r := range a.runs {
			v.Checked += int(r.n)
			owner := r.account
			if owner == "" {
				if owner = h.producers[r.producer].account; owner == "" {
					continue // never posted: invented says so
				}
			}
			if owner != d.account {
				v.violate(Violation{
					What: fmt.Sprintf("event %s.%d of account %s arrived at a webhook of account %s", h.producers[r.producer].name, r.from, owner, d.account),
					At:   a.call, Key: d.account + "/" + d.name,
				})
			}
		}
	}
}

func repeatedID(h *History, o Options, v *Verdict) {
	again := map[int32][]*batch{}
	for p := range h.producers {
		for i := range h.producers[p].batches {
			b := &h.producers[p].batches[i]
			h.receiptsOf(v, h.producers[p].name, b, o)
			if len(b.tries) > 1 {
				v.Checked++
				again[int32(p)] = append(again[int32(p)], b)
			}
		}
	}
	h.identities(v, again)
}

// receiptsOf follows the receipts of the tries of one batch.
func (h *History) receiptsOf(v *Verdict, name string, b *batch, o Options) {
	open, taken := false, false // an earlier try may have been, or was, accepted
	var first *try
	for i := range b.tries {
		t := &b.tries[i]
		bad := func(format string, args ...any) {
			v.violate(Violation{What: fmt.Sprintf("events %s.%d to %d: ", name, b.from, b.from+int64(b.n)-1) + fmt.Sprintf(format, args...), At: t.ret, Node: t.node})
		}
		switch {
		case t.outcome == history.Unknown:
			open = true
			continue
		case t.outcome == history.Fail:
			continue
		case t.duplicates != 0 && t.duplicates != b.n:
			bad("%d of %d were answered DUPLICATE, but a request is taken whole", t.duplicates, b.n)
		case t.duplicates == 0 && taken:
			bad("accepted a second time")
		case t.duplicates != 0 && !taken && !open && !h.faulty(t.ret, t.ret, int64(o.Settled), nil):
			// Under a fault a node repeats what it proposed, and the receipt may say so:
			// docs/guarantees.md.
			bad("answered DUPLICATE the first time")
		case taken && t.deliveries != first.deliveries:
			bad("the receipt says %d deliveries, the first said %d", t.deliveries, first.deliveries)
		}
		taken = true
		if first == nil {
			first = t
		}
	}
}

// identities looks whether an event that was posted again went out as one: at
// each destination under one webhook-id. Requests with other events beside it
// are left to the checker of duplicates.
func (h *History) identities(v *Verdict, again map[int32][]*batch) {
	type event struct {
		dest, p int32
		n       int64
	}
	ids := map[event]uint64{}
	for i := range h.arrivals {
		a := &h.arrivals[i]
		if a.events != 1 || len(a.runs) != 1 {
			continue
		}
		r := a.runs[0]
		if len(again[r.producer]) == 0 {
			continue
		}
		if b := h.producers[r.producer].batchOf(r.from); b == nil || len(b.tries) < 2 {
			continue
		}
		e := event{a.dest, r.producer, r.from}
		if id, ok := ids[e]; !ok {
			ids[e] = a.id
		} else if id != a.id {
			v.violate(Violation{
				What: fmt.Sprintf("event %s.%d was posted %d times and went to %s under two webhook-ids", h.producers[r.producer].name, r.from,
					len(h.producers[r.producer].batchOf(r.from).tries), h.dests[a.dest].name),
				At: a.call, Key: h.dests[a.dest].account + "/" + h.dests[a.dest].name,
			})
		}
	}
}
