package outbox

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
)

// taker is a dispatcher that takes and gives back at random, and compares what
// it gets with what the reference says has its turn.
type taker struct {
	ref   *reference
	s     *Store
	r     *rand.Rand
	taken map[string]bool
	// idle are the lanes that a Take left without anything to come back for: they
	// must be told of before something has its turn.
	idle map[LaneKey]Order
}

func newTaker(ref *reference, s *Store, r *rand.Rand) *taker {
	k := &taker{ref: ref, s: s, r: r, taken: map[string]bool{}, idle: map[LaneKey]Order{}}
	for p := range 3 {
		s.Watch(p)
	}
	s.Fresh()
	return k
}

func (k *taker) lane(key LaneKey) []*Delivery {
	var ds []*Delivery
	for _, d := range k.ref.deliveries {
		if !d.Status.Final() && d.Partition == key.Partition && d.Event.Account == key.Account && d.Destination == key.Destination {
			ds = append(ds, d)
		}
	}
	slices.SortFunc(ds, func(x, y *Delivery) int { return cmp.Compare(k.ref.pos[x.ID], k.ref.pos[y.ID]) })
	return ds
}

// turns are the deliveries that are not taken and whose turn it is, due or not.
func (k *taker) turns(key LaneKey, o Order) []*Delivery {
	var out []*Delivery
	seen := map[uint16]bool{}
	for _, d := range k.lane(key) {
		free := o == OrderNone
		switch slot := slotOf(d.Event.OrderingKey); {
		case o == OrderStrict && k.taken[d.ID]:
			return nil
		case o == OrderStrict:
			free = !seen[0]
			seen[0] = true
		case o == OrderKey:
			free = slot == 0 || !seen[slot]
			seen[slot] = true
		}
		if free && !k.taken[d.ID] {
			out = append(out, d)
		}
	}
	return out
}

func due(ds []*Delivery, now time.Time, freshOnly bool) []*Delivery {
	var out []*Delivery
	for _, d := range ds {
		if d.Mark <= markOf(now) && (!freshOnly || d.Attempt == d.Base) {
			out = append(out, d)
		}
	}
	return out
}

func (k *taker) step(t *testing.T) {
	t.Helper()
	maps.DeleteFunc(k.taken, func(id string, _ bool) bool {
		d := k.ref.deliveries[id]
		if d == nil || d.Status.Final() {
			return true
		}
		r := k.s.st.row(deliveryKey(id))
		return r == nil || r.flags&taken == 0
	})
	for _, key := range k.s.Fresh() {
		delete(k.idle, key)
	}
	for key, o := range k.idle {
		if ds := k.turns(key, o); len(ds) > 0 {
			t.Fatalf("lane %v in order %d was not told that %s has its turn", key, o, ds[0].ID)
		}
	}
	switch k.r.IntN(20) {
	case 0, 1, 2, 3:
		k.take(t)
	case 4:
		var back []string
		for id := range k.taken {
			if k.r.IntN(2) == 0 {
				back = append(back, id)
				delete(k.taken, id)
			}
		}
		k.s.Release(back...)
	case 5:
		if k.r.IntN(20) == 0 {
			p := k.r.IntN(3)
			k.s.Unwatch(p)
			k.s.Watch(p)
			maps.DeleteFunc(k.taken, func(id string, _ bool) bool { return k.ref.deliveries[id].Partition == p })
			maps.DeleteFunc(k.idle, func(key LaneKey, _ Order) bool { return key.Partition == p })
		}
	}
}

// take checks INV outbox-12 and outbox-13, and all that Take promises.
func (k *taker) take(t *testing.T) {
	t.Helper()
	var keys []LaneKey
	for _, d := range k.ref.deliveries {
		if !d.Status.Final() {
			keys = append(keys, LaneKey{Partition: d.Partition, Account: d.Event.Account, Destination: d.Destination})
		}
	}
	if len(keys) == 0 {
		return
	}
	slices.SortFunc(keys, func(x, y LaneKey) int {
		return cmp.Or(cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Account, y.Account), cmp.Compare(x.Destination, y.Destination))
	})
	key := keys[k.r.IntN(len(keys))]
	o := TakeOptions{Limit: 1 + k.r.IntN(4), MaxBytes: 1 << 20, Order: Order(k.r.IntN(3)), FreshOnly: k.r.IntN(3) == 0}
	now := k.ref.now.Add(time.Duration(k.r.IntN(1000)) * time.Millisecond)
	free := due(k.turns(key, o.Order), now, o.FreshOnly)
	lane := k.lane(key)
	b, err := k.s.Take(key, now, o)
	if err != nil {
		t.Fatal(err)
	}
	if o.Order == OrderStrict {
		k.checkRun(t, lane, free, b, o)
	} else {
		checkLoose(t, free, b, o)
	}
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		k.taken[d.ID] = true
		if diff := diff(*k.ref.deliveries[d.ID], *d); diff != "" {
			t.Fatalf("taken (-reference +store):\n%s", diff)
		}
	}
	rest := k.turns(key, o.Order)
	more := len(due(rest, now, o.FreshOnly)) > 0
	held := o.FreshOnly && len(due(rest, now, false)) > len(due(rest, now, true))
	var next time.Time
	for _, d := range rest {
		if at := fromNano(int64(d.Mark)); !more && (!held || d.Attempt == d.Base) && at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if b.More != more || b.Held != held || !b.NextAt.Equal(next) {
		t.Fatalf("%+v: more %v, held %v, next at %v; want %v, %v, %v", o, b.More, b.Held, b.NextAt, more, held, next)
	}
	delete(k.idle, key)
	if !b.More && !b.Held && b.NextAt.IsZero() {
		k.idle[key] = o.Order
	}
}

func checkLoose(t *testing.T, free []*Delivery, b Batch, o TakeOptions) {
	t.Helper()
	got := map[string]bool{}
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		got[d.ID] = true
		if !slices.ContainsFunc(free, func(f *Delivery) bool { return f.ID == d.ID }) {
			t.Fatalf("%+v: it is not the turn of %s", o, d.ID)
		}
		if i >= o.Limit && (d.Mark == 0 || d.Mark != b.Deliveries[o.Limit-1].Mark) {
			t.Fatalf("%+v: %d taken, though the last is of another request", o, len(b.Deliveries))
		}
		if i > 0 && d.Mark > 0 && d.Mark < b.Deliveries[i-1].Mark {
			t.Fatalf("%+v: not by due time", o)
		}
	}
	if len(got) < min(o.Limit, len(free)) {
		t.Fatalf("%+v: %d taken of %d", o, len(got), len(free))
	}
	for _, f := range free {
		for i := range b.Deliveries {
			if d := &b.Deliveries[i]; !got[f.ID] && d.Mark > 0 && d.Mark == f.Mark {
				t.Fatalf("%+v: %s and %s were parted", o, d.ID, f.ID)
			}
		}
	}
}

// checkRun: exactly the run from the front of the lane.
func (k *taker) checkRun(t *testing.T, lane, free []*Delivery, b Batch, o TakeOptions) {
	t.Helper()
	want := []string{}
	if len(free) > 0 {
		first := lane[0]
		for _, d := range lane {
			same := d.Status == first.Status && d.Mark == first.Mark
			if !same || len(want) >= o.Limit && first.Mark == 0 || o.FreshOnly && d.Attempt > d.Base {
				break
			}
			want = append(want, d.ID)
		}
	}
	if diff := diff(want, ids(b.Deliveries)); diff != "" {
		t.Fatalf("%+v (-reference +store):\n%s", o, diff)
	}
}

// checkQueries compares what a store shows with the reference.
func (m *reference) checkQueries(t *testing.T, s *Store, r *rand.Rand) {
	t.Helper()
	account := []string{"a0", "a1"}[r.IntN(2)]
	f := event.DeadFilter{}
	if r.IntN(2) == 0 {
		f.ProfileID = "p00"
	}
	if r.IntN(3) == 0 {
		f.To = m.now.Add(-time.Duration(r.IntN(60)) * time.Second)
	}
	var want, got []event.DeadLetter
	for _, d := range slices.Backward(m.dead) {
		x := m.deliveries[d.id]
		l := event.DeadLetter{
			DeliveryID: d.id, ProfileID: x.Target.ProfileID, URL: x.Target.URL, SubscriptionIDs: x.Target.SubscriptionIDs,
			Event: x.Event, AcceptedAt: x.AcceptedAt, DeadAt: d.at, Attempts: x.Attempt, Failure: d.failure,
		}
		if x.Event.Account == account && f.Matches(&l) {
			want = append(want, l)
		}
	}
	for before, first := (time.Time{}), true; first || !before.IsZero(); first = false {
		p, err := s.DeadLetters(account, f, before, 1+r.IntN(3))
		if err != nil {
			t.Fatal(err)
		}
		got, before = append(got, p.DeadLetters...), p.Next
	}
	if diff := diff(want, got); diff != "" {
		t.Fatalf("dead letters (-reference +store):\n%s", diff)
	}
	if n, err := s.CountDead(account, f); err != nil || n != len(want) {
		t.Fatalf("CountDead = %d, %v; want %d", n, err, len(want))
	}
	m.checkScan(t, s, r, account)
	m.checkEvents(t, s, account)
	owed, oldest := map[LaneKey]int{}, map[LaneKey]*Delivery{}
	total := 0
	for _, d := range m.deliveries {
		if k := (LaneKey{d.Partition, account, d.Destination}); !d.Status.Final() && d.Event.Account == account {
			owed[k]++
			total++
			if o := oldest[k]; o == nil || m.pos[d.ID] < m.pos[o.ID] {
				oldest[k] = d
			}
		}
	}
	lanes, err := s.Lanes(account)
	if err != nil || len(lanes) != len(owed) || s.Backlog(account) != total {
		t.Fatalf("backlog %d in %d lanes, %v; want %d in %d", s.Backlog(account), len(lanes), err, total, len(owed))
	}
	for _, l := range lanes {
		if l.Pending != owed[l.LaneKey] || !l.Oldest.Equal(oldest[l.LaneKey].AcceptedAt) {
			t.Fatalf("lane %+v: want %d since %v", l, owed[l.LaneKey], oldest[l.LaneKey].AcceptedAt)
		}
	}
	if diff := diff(m.keep, s.Retention()); diff != "" {
		t.Fatalf("retention:\n%s", diff)
	}
	var jobs []event.ReplayJob
	for _, j := range slices.Backward(m.replays) {
		if j.job.Account == account {
			jobs = append(jobs, j.job)
		}
	}
	if diff := diff(jobs, s.Replays(account)); diff != "" {
		t.Fatalf("replays (-reference +store):\n%s", diff)
	}
}

func (m *reference) checkScan(t *testing.T, s *Store, r *rand.Rand, account string) {
	t.Helper()
	f := event.Filter{}
	if r.IntN(2) == 0 {
		f.Status = []event.Status{event.StatusPending, event.StatusRetrying, event.StatusDead}[r.IntN(3)]
	}
	if r.IntN(3) == 0 {
		f.From = m.now.Add(-time.Duration(r.IntN(100)) * time.Second)
	}
	if r.IntN(3) == 0 {
		f.To = m.now.Add(-time.Duration(r.IntN(30)) * time.Second)
	}
	var want, got []event.Ref
	events := map[uint64]bool{}
	for _, d := range m.deliveries {
		e := eventOf(s, d.ID)
		if d.Event.Account == account && !events[e] && f.MatchesEvent(&d.Event, d.AcceptedAt) && f.MatchesDelivery(d.Status, d.Target.ProfileID, d.Target.SubscriptionIDs) {
			events[e] = true
			want = append(want, event.Ref{AcceptedAt: d.AcceptedAt, EventID: d.Event.ID})
		}
	}
	slices.SortFunc(want, func(x, y event.Ref) int {
		return cmp.Or(y.AcceptedAt.Compare(x.AcceptedAt), cmp.Compare(y.EventID, x.EventID))
	})
	after := event.Ref{}
	for {
		x, err := s.Scan(account, &f, after, 1+r.IntN(3))
		if err != nil {
			t.Fatal(err)
		}
		got, after = append(got, x.Refs...), x.Upto
		if x.Done {
			break
		}
	}
	if diff := diff(want, got); diff != "" {
		t.Fatalf("scan for %+v (-reference +store):\n%s", f, diff)
	}
}

func eventOf(s *Store, id string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, _ := s.st.look(deliveryKey(id))
	return x.eventSeq
}

// checkEvents compares what is found by the events of an account.
func (m *reference) checkEvents(t *testing.T, s *Store, account string) {
	t.Helper()
	want := map[string][]Delivery{}
	for _, d := range m.sorted() {
		if d.Event.Account == account {
			want[d.Event.ID] = append(want[d.Event.ID], d)
		}
	}
	for id := range m.receipts {
		if a, id, _ := strings.Cut(id, "/"); a == account {
			want[id] = slices.Clip(want[id]) // remembered: there may be nothing of it
		}
	}
	for id, ds := range want {
		got, err := s.Event(account, id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := diff(append([]Delivery{}, ds...), got); diff != "" {
			t.Fatalf("event %s of %s (-reference +store):\n%s", id, account, diff)
		}
	}
}
