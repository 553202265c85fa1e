package outbox

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// reference is the outbox as plainly as it can be written.
type reference struct {
	now        time.Time
	claims     map[int]model.Assignment
	deliveries map[string]*Delivery // owed or dead
	receipts   map[string]*refReceipt
	settled    []*refReceipt
	dead       []string
	receiptMax int
	deadMax    int
	seq        uint64
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
		receiptMax: limits.Receipts, deadMax: limits.DeadLetters, seq: 1,
	}
}

func (m *reference) tick(at time.Time) {
	if at.After(m.now) {
		m.now = at
	}
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
		}
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
		}
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
		if !r.gone && r.forgetAt.After(m.now) && len(m.settled) <= m.receiptMax {
			return
		}
		if !r.gone {
			r.gone = true
			delete(m.receipts, r.id)
		}
		m.settled = m.settled[1:]
	}
}

func (m *reference) settle(c *Settle) []Verdict {
	m.tick(c.At)
	var vs []Verdict
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
			d.Attempt, d.Status, d.NextAt = s.Attempt, s.Status, time.Time{}
			if !s.Status.Final() {
				d.Status, d.NextAt = event.StatusRetrying, s.NextAt
			}
			if s.Status == event.StatusDead || !s.Status.Final() {
				d.WebhookID = s.WebhookID
			}
			if !s.Status.Final() {
				continue
			}
			if r := m.receipts[d.Event.Account+"/"+d.Event.ID]; r != nil && d.Event.GivenID {
				if r.pending--; r.pending == 0 {
					m.retire(r)
				}
			}
			if s.Status != event.StatusDead {
				delete(m.deliveries, d.ID)
				continue
			}
			m.dead = append(m.dead, d.ID)
			if len(m.dead) > m.deadMax {
				delete(m.deliveries, m.dead[0])
				m.dead = m.dead[1:]
			}
		}
	}
	return vs
}

func (m *reference) claim(c *Claim) bool {
	have := m.claims[c.Partition]
	if c.Epoch < have.Epoch || c.Epoch == have.Epoch && c.Owner != have.Owner {
		return false
	}
	m.claims[c.Partition] = model.Assignment{Owner: c.Owner, Epoch: c.Epoch}
	return true
}

// sorted lists the deliveries in acceptance order.
func (m *reference) sorted() []Delivery {
	var out []Delivery
	for _, d := range m.deliveries {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b Delivery) int { return cmpSeq(a.Seq, b.Seq) })
	return out
}

func cmpSeq(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// content lists what the store holds, in acceptance order.
func content(t *testing.T, s *Store) []Delivery {
	t.Helper()
	s.mu.Lock()
	var sights []sight
	for r := range maps.Values(s.st.rows) {
		sights = append(sights, r.sight())
	}
	s.mu.Unlock()
	slices.SortFunc(sights, func(a, b sight) int { return cmpSeq(a.seq, b.seq) })
	ds, err := s.fill(sights)
	if err != nil {
		t.Fatal(err)
	}
	return ds
}

var testEpoch = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// stream makes random commands over few ids, so that they collide.
type stream struct {
	r    *rand.Rand
	now  time.Time
	next int
	ids  []string
}

func (g *stream) at() time.Time {
	g.now = g.now.Add(time.Duration(g.r.IntN(900)) * time.Millisecond)
	return g.now.Add(-time.Duration(g.r.IntN(3)) * time.Second) // clocks of proposers differ
}

func (g *stream) command() Command {
	switch n := g.r.IntN(10); {
	case n < 4:
		return g.accept()
	case n < 9:
		return g.settle()
	default:
		return &Claim{Partition: g.r.IntN(3), Owner: fmt.Sprint("n", g.r.IntN(2)), Epoch: uint64(g.r.IntN(4))}
	}
}

func (g *stream) accept() *Accept {
	c := &Accept{At: g.at(), ConfigIndex: uint64(g.r.IntN(100)), NodeID: "n1"}
	for range 1 + g.r.IntN(3) {
		e := AcceptedEvent{Request: g.r.IntN(2), ForgetAt: c.At.Add(time.Duration(g.r.IntN(60)) * time.Second)}
		e.Event = event.Event{
			Account: fmt.Sprint("a", g.r.IntN(2)), Channel: "SMS", Name: "DELIVERY",
			ReceivedAt: c.At, Payload: []byte(fmt.Sprintf(`{"n":%d}`, g.next)),
		}
		if g.r.IntN(2) == 0 {
			e.Event.GivenID = true
			e.Event.ID = fmt.Sprint("e", g.r.IntN(40))
			e.Digest[0] = byte(g.r.IntN(8) / 7)
		} else {
			e.Event.ID = fmt.Sprint("made-", g.next)
		}
		for range g.r.IntN(3) {
			p := g.r.IntN(3)
			g.next++
			id := fmt.Sprint("d", g.next)
			if len(g.ids) > 0 && g.r.IntN(40) == 0 {
				id = g.ids[g.r.IntN(len(g.ids))]
			}
			t := Target{DeliveryID: id, Partition: p, ProfileID: fmt.Sprint("p", p, g.r.IntN(2)), SubscriptionIDs: []string{"s"}}
			if g.r.IntN(5) == 0 {
				t.ProfileID, t.URL, t.SubscriptionIDs = "", "https://example.org/"+t.ProfileID, nil
			}
			g.ids = append(g.ids, t.DeliveryID)
			e.Targets = append(e.Targets, t)
		}
		c.Events = append(c.Events, e)
	}
	if len(g.ids) > 60 {
		g.ids = g.ids[len(g.ids)-60:]
	}
	return c
}

func (g *stream) settle() *Settle {
	c := &Settle{At: g.at()}
	for range 1 + g.r.IntN(5) {
		s := Settlement{
			DeliveryID: "unknown", Partition: g.r.IntN(3), Epoch: uint64(g.r.IntN(4)),
			Status: statuses[1+g.r.IntN(4)], Attempt: g.r.IntN(4), WebhookID: fmt.Sprint("w", g.r.IntN(9)),
		}
		if len(g.ids) > 0 {
			s.DeliveryID = g.ids[g.r.IntN(len(g.ids))]
		}
		if s.Status == event.StatusRetrying {
			s.NextAt = g.now.Add(time.Duration(g.r.IntN(1000)) * time.Millisecond)
		}
		c.Settlements = append(c.Settlements, s)
	}
	return c
}

type memSink struct{ bytes.Buffer }

func (*memSink) ID() string    { return "snapshot" }
func (*memSink) Cancel() error { return nil }
func (*memSink) Close() error  { return nil }

func snapshotOf(t *testing.T, s *Store) []byte {
	t.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	var sink memSink
	if err := snap.Persist(&sink); err != nil {
		t.Fatal(err)
	}
	return sink.Bytes()
}

func openTest(t *testing.T, o Options) *Store {
	t.Helper()
	o.NoSync = true
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "outbox.db")
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestStore_model runs random commands against the reference, over stores that
// flush, restart, snapshot and restore at random. It checks all invariants
// outbox-1 to outbox-10 by equality with the reference and between replicas.
func TestStore_model(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			runModel(t, seed, modelCommands)
		})
	}
}

func runModel(t *testing.T, seed uint64, n int) {
	t.Helper()
	limits := Limits{Receipts: 12, DeadLetters: 7}
	g := &stream{r: rand.New(rand.NewPCG(seed, 1)), now: testEpoch}
	chaos := rand.New(rand.NewPCG(seed, 2))
	ref := newReference(limits)
	path := filepath.Join(t.TempDir(), "a.db")
	open := func() *Store {
		s, err := Open(Options{Path: path, NoSync: true, Limits: limits, MemoryBytes: 8 << 10})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a := open() // flushes, crashes and is restored at random
	defer func() { _ = a.Close() }()
	b := openTest(t, Options{Limits: limits}) // flushes only when it is asked for its digest
	var log [][]byte
	for i := range n {
		index := uint64(i + 1)
		cmd := g.command()
		raw := Encode(cmd)
		log = append(log, raw)
		entry := &raft.Log{Index: index, Type: raft.LogCommand, Data: raw}
		ra, rb := a.Apply(entry), b.Apply(entry)
		if diff := diff(fmt.Sprint(ra), fmt.Sprint(rb)); diff != "" {
			t.Fatalf("command %d: replicas answer differently: %s", index, diff)
		}
		checkAnswer(t, ref, cmd, rb)

		switch chaos.IntN(400) {
		case 0, 1, 2, 3:
			if err := a.Flush(); err != nil {
				t.Fatal(err)
			}
		case 4: // crash: memory is lost, the log repeats what the file lacks, and more
			a.crash()
			a = open()
			from := max(0, int(a.AppliedIndex())-chaos.IntN(50))
			for j := from; j < len(log); j++ {
				a.Apply(&raft.Log{Index: uint64(j + 1), Type: raft.LogCommand, Data: log[j]})
			}
		case 5: // a snapshot of the other replica
			if err := a.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, b)))); err != nil {
				t.Fatal(err)
			}
		case 6:
			if diff := diff(ref.sorted(), content(t, a)); diff != "" {
				t.Fatalf("after command %d (-reference +store):\n%s", index, diff)
			}
		}
		if chaos.IntN(1500) == 0 {
			sameDigest(t, a, b)
		}
	}
	for _, s := range []*Store{a, b} {
		if diff := diff(ref.sorted(), content(t, s)); diff != "" {
			t.Fatalf("at the end (-reference +store):\n%s", diff)
		}
	}
	sameDigest(t, a, b)
	owed := 0
	for _, d := range ref.deliveries {
		if !d.Status.Final() {
			owed++
		}
	}
	got := a.Stats()
	if got.Pending != owed || got.DeadLetters != len(ref.dead) || got.Receipts != len(ref.receipts) {
		t.Errorf("stats: got %+v, want %d pending, %d dead, %d receipts", got, owed, len(ref.dead), len(ref.receipts))
	}
}

func checkAnswer(t *testing.T, ref *reference, cmd Command, answer any) {
	t.Helper()
	var want, got any
	switch c := cmd.(type) {
	case *Accept:
		rs, err := DecodeResults(answer.([]byte))
		if err != nil {
			t.Fatal(err)
		}
		want, got = ref.accept(c), rs
	case *Settle:
		vs, err := DecodeVerdicts(answer.([]byte))
		if err != nil {
			t.Fatal(err)
		}
		want, got = ref.settle(c), vs
	case *Claim:
		err, refused := answer.(*model.Error)
		want, got = ref.claim(c), !refused
		if refused && err.Code != model.CodeConflict {
			t.Fatalf("claim refused with code %s", err.Code)
		}
	}
	if diff := diff(want, got); diff != "" {
		t.Fatalf("answer to %+v (-reference +store):\n%s", cmd, diff)
	}
}

// diff is cmp.Diff, which is slow, only where there is something to tell.
func diff(want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}

func sameDigest(t *testing.T, a, b *Store) {
	t.Helper()
	da, err := a.Digest()
	if err != nil {
		t.Fatal(err)
	}
	db, err := b.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if da != db {
		t.Fatalf("digests at index %d differ", a.AppliedIndex())
	}
}

// crash closes the file without a flush.
func (s *Store) crash() {
	s.dbMu.Lock()
	defer s.dbMu.Unlock()
	s.closed = true
	_ = s.db.Close()
}
