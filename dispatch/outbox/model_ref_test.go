package outbox

import (
	"cmp"
	"slices"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// reference is the outbox as plainly as it can be written.
type reference struct {
	now        time.Time
	claims     map[int]model.Assignment
	deliveries map[string]*Delivery // owed or dead
	receipts   map[string]*refReceipt
	receiptOf  map[string]*refReceipt // by delivery
	settled    []*refReceipt
	dead       []refDead // oldest first
	lastDead   time.Time
	due        time.Time // of the request replayed last
	keep       Retention
	replays    []*refReplay
	receiptMax int
	seq        uint64
	pos        map[string]uint64 // place of a delivery in its lane
}

type refDead struct {
	id      string
	at      time.Time
	failure event.Failure
}

type refReplay struct {
	job    event.ReplayJob
	cursor time.Time
}

type refReceipt struct {
	id       string
	digest   [32]byte
	forgetAt time.Time
	count    int
	pending  int
	gone     bool
}

func newReference(limits Limits) *reference {
	return &reference{
		claims: map[int]model.Assignment{}, deliveries: map[string]*Delivery{}, receipts: map[string]*refReceipt{},
		receiptOf: map[string]*refReceipt{}, pos: map[string]uint64{},
		receiptMax: limits.Receipts, seq: 1,
		keep: Retention{Age: DefaultDeadAge, Bytes: DefaultDeadBytes, Count: limits.DeadLetters},
	}
}

func (m *reference) tick(at time.Time) {
	if at.After(m.now) {
		m.now = at
	}
	m.retain()
}

func (m *reference) retain() {
	for len(m.dead) > 0 {
		bytes := int64(0)
		for _, d := range m.dead {
			bytes += int64(len(m.deliveries[d.id].Event.Payload)) + DeadOverhead
		}
		if len(m.dead) <= m.keep.Count && bytes <= m.keep.Bytes && m.dead[0].at.Add(m.keep.Age).After(m.now) {
			return
		}
		delete(m.deliveries, m.dead[0].id)
		m.dead = m.dead[1:]
	}
}

func (m *reference) setRetention(c *Retain) bool {
	if c.Age <= 0 || c.Bytes <= 0 || c.Count <= 0 {
		return false
	}
	m.keep = c.Retention
	m.tick(c.At)
	return true
}

func (m *reference) replay(account, id string) *refReplay {
	for _, j := range m.replays {
		if j.job.Account == account && j.job.ID == id {
			return j
		}
	}
	return nil
}

func (m *reference) startReplay(c *StartReplay) (event.ReplayJob, model.Code) {
	m.tick(c.At)
	if j := m.replay(c.Job.Account, c.Job.ID); j != nil {
		return j.job, ""
	}
	running, all, oldest := 0, 0, -1
	for i, j := range m.replays {
		if j.job.Account != c.Job.Account {
			continue
		}
		all++
		if j.job.State == event.ReplayRunning {
			running++
		} else if oldest < 0 {
			oldest = i
		}
	}
	if running >= event.MaxRunningReplays {
		return event.ReplayJob{}, model.CodeQuota
	}
	if m.lastDead.Before(m.now) {
		m.lastDead = m.now
	}
	j := &refReplay{job: c.Job}
	j.job.State, j.job.CreatedAt = event.ReplayRunning, m.lastDead
	m.replays = append(m.replays, j)
	if all >= event.MaxReplays {
		m.replays = slices.Delete(m.replays, oldest, oldest+1)
	}
	return j.job, ""
}

func (m *reference) cancelReplay(c *CancelReplay) (event.ReplayJob, model.Code) {
	m.tick(c.At)
	j := m.replay(c.Account, c.ID)
	if j == nil {
		return event.ReplayJob{}, model.CodeNotFound
	}
	if j.job.State == event.ReplayRunning {
		j.job.State, j.job.FinishedAt = event.ReplayCancelled, m.now
	}
	return j.job, ""
}

func (m *reference) revive(c *Revive) ([]Verdict, model.Code) {
	m.tick(c.At)
	var j *refReplay
	if c.JobID != "" {
		if j = m.replay(c.Account, c.JobID); j == nil || j.job.State != event.ReplayRunning {
			return nil, model.CodeConflict
		}
	}
	vs := []Verdict{}
	last := time.Time{}
	for _, id := range c.IDs {
		i := slices.IndexFunc(m.dead, func(d refDead) bool { return d.id == id })
		if i < 0 || m.deliveries[id].Event.Account != c.Account {
			vs = append(vs, Superseded)
			continue
		}
		vs = append(vs, Settled)
		at := m.dead[i].at
		if last.IsZero() || !at.Equal(last.Add(1)) {
			m.due = m.due.Add(1)
			if m.due.Before(m.now) {
				m.due = m.now
			}
		}
		last = at
		m.dead = slices.Delete(m.dead, i, i+1)
		d := m.deliveries[id]
		d.Status, d.Base, d.SeriesAt, d.NextAt, d.Mark = event.StatusRetrying, d.Attempt, m.now, m.due, markOf(m.due)
		m.pos[id] = m.seq
		m.seq++
		if r := m.receiptOf[id]; r != nil && !r.gone {
			if r.pending == 0 {
				m.settled = slices.DeleteFunc(m.settled, func(x *refReceipt) bool { return x == r })
			}
			r.pending++
		}
		if j != nil {
			j.job.Replayed++
		}
	}
	if j != nil {
		if c.Upto.After(j.cursor) {
			j.cursor = c.Upto
		}
		if c.Done {
			j.job.State, j.job.FinishedAt = event.ReplayDone, m.now
		}
	}
	return vs, ""
}

func (m *reference) known(e *AcceptedEvent) *refReceipt {
	r := m.receipts[e.Event.Account+"/"+e.Event.ID]
	if !e.Event.GivenID || r == nil || r.pending == 0 && !r.forgetAt.After(m.now) {
		return nil
	}
	return r
}

func (m *reference) accept(c *Accept) []Result {
	m.tick(c.At)
	out := make([]Result, len(c.Events))
	for from := 0; from < len(c.Events); {
		to := from
		for to < len(c.Events) && c.Events[to].Request == c.Events[from].Request {
			to++
		}
		request := c.Events[from:to]
		conflict := false
		for i := range request {
			digest, ok := request[i].Digest, request[i].Event.GivenID
			if r := m.known(&request[i]); r != nil {
				digest = r.digest
			} else if ok {
				for j := range i {
					if request[j].Event.GivenID && request[j].Event.ID == request[i].Event.ID && request[j].Event.Account == request[i].Event.Account {
						digest = request[j].Digest
						break
					}
				}
			}
			if ok && digest != request[i].Digest {
				conflict, out[from+i].Conflict = true, true
			}
		}
		for i := range request {
			res := &out[from+i]
			switch r := m.known(&request[i]); {
			case conflict:
				res.Refused = !res.Conflict
			case r != nil:
				*res = Result{Status: event.Duplicate, Deliveries: r.count}
			default:
				*res = Result{Status: event.Accepted, Deliveries: len(request[i].Targets)}
				m.take(c, &request[i])
			}
		}
		from = to
	}
	return out
}

func (m *reference) take(c *Accept, e *AcceptedEvent) {
	var rec *refReceipt
	if e.Event.GivenID {
		if old := m.receipts[e.Event.Account+"/"+e.Event.ID]; old != nil {
			old.gone = true
			m.settled = slices.DeleteFunc(m.settled, func(x *refReceipt) bool { return x == old })
		}
		m.seq++ // so has its receipt
		rec = &refReceipt{id: e.Event.Account + "/" + e.Event.ID, digest: e.Digest, forgetAt: e.ForgetAt, count: len(e.Targets)}
		m.receipts[rec.id] = rec
	}
	first := true
	for _, t := range e.Targets {
		if m.deliveries[t.DeliveryID] != nil {
			continue
		}
		if first {
			m.seq++ // the event has a number too
			first = false
		}
		m.deliveries[t.DeliveryID] = &Delivery{
			ID: t.DeliveryID, Seq: m.seq, Partition: t.Partition, Destination: t.Destination(), Target: t,
			Event: e.Event, AcceptedAt: m.now, ConfigIndex: c.ConfigIndex, Status: event.StatusPending,
			SeriesAt: m.now,
		}
		m.pos[t.DeliveryID] = m.seq
		m.receiptOf[t.DeliveryID] = rec
		m.seq++
		if rec != nil {
			rec.pending++
		}
	}
	if rec != nil && rec.pending == 0 {
		m.retire(rec)
	}
}

func (m *reference) retire(r *refReceipt) {
	m.settled = append(m.settled, r)
	for len(m.settled) > 0 {
		r := m.settled[0]
		if r.forgetAt.After(m.now) && len(m.settled) <= m.receiptMax {
			return
		}
		r.gone = true
		delete(m.receipts, r.id)
		m.settled = m.settled[1:]
	}
}

func (m *reference) settle(c *Settle) []Verdict {
	m.tick(c.At)
	var vs []Verdict
	died := ""
	for _, s := range c.Settlements {
		d := m.deliveries[s.DeliveryID]
		switch {
		case s.Epoch != m.claims[s.Partition].Epoch:
			vs = append(vs, Fenced)
		case d == nil:
			vs = append(vs, Superseded)
		case d.Partition != s.Partition:
			vs = append(vs, Fenced)
		case d.Status.Final(), s.Attempt < d.Attempt, s.Attempt == d.Attempt && !s.Status.Final():
			vs = append(vs, Superseded)
		default:
			vs = append(vs, Settled)
			d.Attempt, d.Status, d.NextAt, d.Mark = s.Attempt, s.Status, time.Time{}, 0
			if !s.Status.Final() {
				d.Status, d.NextAt, d.Mark = event.StatusRetrying, s.NextAt, markOf(s.NextAt)
			}
			if s.Status == event.StatusDead || !s.Status.Final() {
				d.WebhookID = s.WebhookID
			}
			if !s.Status.Final() {
				continue
			}
			if r := m.receiptOf[d.ID]; r != nil && !r.gone {
				if r.pending--; r.pending == 0 {
					m.retire(r)
				}
			}
			if s.Status != event.StatusDead {
				delete(m.deliveries, d.ID)
				continue
			}
			at := m.lastDead.Add(2)
			if at.Before(m.now) {
				at = m.now
			}
			if died != "" && died == s.WebhookID {
				at = m.lastDead.Add(1)
			}
			died = s.WebhookID
			m.lastDead = at
			m.dead = append(m.dead, refDead{d.ID, at, s.Failure})
			m.retain()
		}
	}
	for _, b := range c.Bundles {
		vs = append(vs, m.bundle(&b))
	}
	return vs
}

func (m *reference) bundle(b *Bundle) Verdict {
	if b.Epoch != m.claims[b.Partition].Epoch {
		return Fenced
	}
	mark, again := uint64(0), false
	for _, x := range b.Members {
		d := m.deliveries[x.DeliveryID]
		switch {
		case d == nil || d.Status.Final():
			return Superseded
		case d.Partition != b.Partition:
			return Fenced
		case d.Mark != x.Mark:
			return Superseded
		}
		mark, again = max(mark, d.Mark), again || d.Status == event.StatusRetrying
	}
	if again {
		mark++
	} else {
		mark = m.seq
		m.seq++
	}
	for _, x := range b.Members {
		d := m.deliveries[x.DeliveryID]
		d.Mark, d.WebhookID = mark, b.WebhookID
		if d.Status == event.StatusRetrying {
			d.NextAt = time.Unix(0, int64(mark)).UTC()
		}
	}
	return Settled
}

func markOf(at time.Time) uint64 { return uint64(unixNano(at)) }

func (m *reference) claim(c *Claim) (before uint64, ok bool) {
	have := m.claims[c.Partition]
	if c.Epoch < have.Epoch || c.Epoch == have.Epoch && c.Owner != have.Owner {
		return 0, false
	}
	m.claims[c.Partition] = model.Assignment{Owner: c.Owner, Epoch: c.Epoch}
	return have.Epoch, true
}

// sorted lists the deliveries in acceptance order.
func (m *reference) sorted() []Delivery {
	var out []Delivery
	for _, d := range m.deliveries {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b Delivery) int { return cmp.Compare(a.Seq, b.Seq) })
	return out
}
