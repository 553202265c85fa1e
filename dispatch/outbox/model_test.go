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

// content lists what the store holds, in acceptance order.
func content(t *testing.T, s *Store) []Delivery {
	t.Helper()
	s.mu.Lock()
	var sights []sight
	for r := range maps.Values(s.st.rows) {
		sights = append(sights, s.st.sight(r))
	}
	for _, e := range s.st.depot.index {
		if e != 0 {
			x, _ := s.st.parkedSight(s.st.depot.at(e - 1).id)
			sights = append(sights, x)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(sights, func(a, b sight) int { return int(a.seq) - int(b.seq) })
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
	s    *Store // whose replay jobs are driven
	ref  *reference
}

func (g *stream) at() time.Time {
	g.now = g.now.Add(time.Duration(g.r.IntN(900)) * time.Millisecond)
	return g.now.Add(-time.Duration(g.r.IntN(3)) * time.Second) // clocks of proposers differ
}

func (g *stream) command() Command {
	switch n := g.r.IntN(40); {
	case n < 14 && len(g.ref.deliveries) < 80:
		return g.accept()
	case n < 29:
		return g.settle()
	case n < 32:
		return g.bundles()
	case n < 37:
		return g.replay()
	default:
		return &Claim{Partition: g.r.IntN(3), Owner: fmt.Sprint("n", g.r.IntN(2)), Epoch: uint64(g.r.IntN(4))}
	}
}

func (g *stream) replay() Command {
	account := fmt.Sprint("a", g.r.IntN(2))
	switch g.r.IntN(12) {
	case 0:
		return &Retain{At: g.at(), Retention: Retention{
			Age: time.Duration(g.r.IntN(200)) * time.Second, Bytes: int64(g.r.IntN(20) * DeadOverhead), Count: g.r.IntN(20),
		}}
	case 1, 2:
		j := event.ReplayJob{Account: account, ID: fmt.Sprint("r", g.r.IntN(300)), Rate: 5, Total: 3}
		if g.r.IntN(2) == 0 {
			j.Filter.ProfileID = fmt.Sprint("p0", g.r.IntN(2))
		}
		return &StartReplay{At: g.at(), Job: j}
	case 3:
		id := fmt.Sprint("r", g.r.IntN(300))
		if jobs := g.s.RunningReplays(); len(jobs) > 0 {
			account, id = jobs[0].Account, jobs[0].ID
		}
		return &CancelReplay{At: g.at(), Account: account, ID: id}
	case 4, 5, 6, 7:
		jobs := g.s.RunningReplays()
		if len(jobs) == 0 {
			break
		}
		j := jobs[g.r.IntN(len(jobs))]
		ids, upto, done, err := g.s.ReplayBatch(j, 1+g.r.IntN(3))
		if err != nil {
			panic(err)
		}
		return &Revive{At: g.at(), Account: j.Account, JobID: j.ID, IDs: ids, Upto: upto, Done: done}
	}
	c := &Revive{At: g.at(), Account: account}
	for range g.r.IntN(6) {
		if len(g.ids) > 0 {
			c.IDs = append(c.IDs, g.ids[g.r.IntN(len(g.ids))])
		}
	}
	if g.r.IntN(10) == 0 {
		c.JobID = fmt.Sprint("r", g.r.IntN(300))
	}
	return c
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
		if n := g.r.IntN(4); n > 0 {
			e.Event.OrderingKey = fmt.Sprint("k", n)
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
	if len(g.ids) > 120 {
		g.ids = slices.DeleteFunc(g.ids, func(id string) bool { return g.ref.deliveries[id] == nil })
	}
	return c
}

func (g *stream) settle() *Settle {
	c := &Settle{At: g.at()}
	for range 1 + g.r.IntN(5) {
		s := Settlement{
			DeliveryID: "unknown", Partition: g.r.IntN(3), Epoch: uint64(g.r.IntN(4)),
			Status: statuses[1+g.r.IntN(4)], Attempt: g.r.IntN(6), WebhookID: fmt.Sprint("w", g.r.IntN(9)),
		}
		if len(g.ids) > 0 {
			s.DeliveryID = g.ids[g.r.IntN(len(g.ids))]
		}
		if d := g.ref.deliveries[s.DeliveryID]; d != nil && g.r.IntN(3) > 0 {
			s.Partition, s.Epoch, s.Attempt = d.Partition, g.ref.claims[d.Partition].Epoch, d.Attempt+1
		}
		if s.Status == event.StatusRetrying {
			s.NextAt = g.now.Add(time.Duration(g.r.IntN(1000)) * time.Millisecond)
		}
		if s.Status == event.StatusDead {
			s.Failure = event.Failure{Outcome: "refused", StatusCode: g.r.IntN(600), Error: "no"}
		}
		c.Settlements = append(c.Settlements, s)
	}
	return c
}

// bundles makes bundles of deliveries that were taken together or might have
// been, some of them out of date, and settlements beside.
func (g *stream) bundles() *Settle {
	c := &Settle{At: g.at()}
	if g.r.IntN(2) == 0 {
		c = g.settle()
	}
	for range 1 + g.r.IntN(2) {
		b := Bundle{Partition: g.r.IntN(3), Epoch: uint64(g.r.IntN(4)), WebhookID: fmt.Sprint("b", g.r.IntN(9))}
		for range 1 + g.r.IntN(4) {
			m := Member{DeliveryID: "unknown"}
			if len(g.ids) > 0 {
				m.DeliveryID = g.ids[g.r.IntN(len(g.ids))]
			}
			d := g.ref.deliveries[m.DeliveryID]
			if d != nil {
				m.Mark = d.Mark
			}
			if n := g.r.IntN(12); n == 0 {
				m.Mark++
			} else if d != nil && n < 10 && len(b.Members) == 0 {
				b.Partition, b.Epoch = d.Partition, g.ref.claims[d.Partition].Epoch
			} else if d == nil || d.Status.Final() || d.Partition != b.Partition {
				continue
			}
			b.Members = append(b.Members, m)
		}
		if len(b.Members) > 0 {
			c.Bundles = append(c.Bundles, b)
		}
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
	g.s, g.ref = b, ref
	ta, tb := newTaker(ref, a, chaos), newTaker(ref, b, chaos)
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
		ta.step(t)
		tb.step(t)

		switch chaos.IntN(400) {
		case 0, 1, 2, 3:
			if err := a.Flush(); err != nil {
				t.Fatal(err)
			}
		case 4: // crash: memory is lost, the log repeats what the file lacks, and more
			a.crash()
			a = open()
			ta = newTaker(ref, a, chaos)
			from := max(0, int(a.AppliedIndex())-chaos.IntN(50))
			for j := from; j < len(log); j++ {
				a.Apply(&raft.Log{Index: uint64(j + 1), Type: raft.LogCommand, Data: log[j]})
			}
		case 5: // a snapshot of the other replica
			if err := a.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, b)))); err != nil {
				t.Fatal(err)
			}
			ta = newTaker(ref, a, chaos)
		case 6:
			if diff := diff(ref.sorted(), content(t, a)); diff != "" {
				t.Fatalf("after command %d (-reference +store):\n%s", index, diff)
			}
		case 7, 8:
			ref.checkQueries(t, a, chaos)
			ref.checkQueries(t, b, chaos)
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
		before, ok := ref.claim(c)
		want, got = ok, !refused
		if refused && err.Code != model.CodeConflict {
			t.Fatalf("claim refused with code %s", err.Code)
		}
		if !refused && ok {
			had, err := DecodeClaimed(answer.([]byte))
			if err != nil {
				t.Fatal(err)
			}
			want, got = before, had
		}
	case *Retain:
		_, refused := answer.(*model.Error)
		want, got = ref.setRetention(c), !refused
	case *Revive:
		vs, code := ref.revive(c)
		want, got = code, codeOf(answer)
		if b, ok := answer.([]byte); ok && code == "" {
			have, err := DecodeVerdicts(b)
			if err != nil {
				t.Fatal(err)
			}
			want, got = vs, append([]Verdict{}, have...)
		}
	case *StartReplay:
		j, code := ref.startReplay(c)
		want, got = replayAnswer{j, code}, decodeReplayAnswer(t, answer)
	case *CancelReplay:
		j, code := ref.cancelReplay(c)
		want, got = replayAnswer{j, code}, decodeReplayAnswer(t, answer)
	}
	if diff := diff(want, got); diff != "" {
		t.Fatalf("answer to %+v (-reference +store):\n%s", cmd, diff)
	}
}

func codeOf(answer any) model.Code {
	if err, ok := answer.(*model.Error); ok {
		return err.Code
	}
	return ""
}

type replayAnswer struct {
	Job  event.ReplayJob
	Code model.Code
}

func decodeReplayAnswer(t *testing.T, answer any) replayAnswer {
	t.Helper()
	b, ok := answer.([]byte)
	if !ok {
		return replayAnswer{Code: codeOf(answer)}
	}
	j, err := DecodeReplay(b)
	if err != nil {
		t.Fatal(err)
	}
	return replayAnswer{Job: j}
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
