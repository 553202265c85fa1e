package node

import (
	"fmt"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const (
	// simDrain is how long a healthy cluster may take until nothing is owed: the
	// retries of the profiles end sooner, even those that a clock that was an
	// hour ahead has put off.
	simDrain = 4 * time.Hour
	// simConverge is how long it may take after healing until all is as it was.
	simConverge = 10 * time.Second
)

// check waits until nothing is owed and compares what is there with the truth.
// healed is when the last fault ended.
func (s *sim) check(l *simLoad, round int, healed time.Time) {
	s.t.Helper()
	s.setQuiet(true)
	defer s.setQuiet(false)
	s.converged(healed)
	for _, account := range simAccounts {
		l.enable(simRand(s.seed, "enable "+account), account)
	}
	if !s.drain(l, l.late(round)) {
		return
	}
	first := s.node(s.ids[0])
	for _, id := range s.ids[1:] {
		s.sameState(first, s.node(id))
	}
	s.readAll(l)
	s.truth.settled(func(name eventName) []string {
		ds, err := first.outbox.Event(name.account, name.id)
		if err != nil {
			s.t.Error(err)
		}
		var dead []string
		for _, d := range ds {
			if d.Status == event.StatusDead {
				dead = append(dead, d.Destination)
			}
		}
		return dead
	})
}

func (s *sim) setQuiet(on bool) {
	s.truth.mu.Lock()
	defer s.truth.mu.Unlock()
	s.truth.quiet = on
}

// converged waits until the cluster is whole: one leader of each group that all
// know, all nodes vote, and all have what is committed (I12).
func (s *sim) converged(healed time.Time) {
	s.t.Helper()
	state := ""
	whole := func() bool {
		if !s.Voters(len(s.ids)) {
			state = "not all of the nodes see all of them vote and live"
			return false
		}
		for _, group := range []string{groupConfig, groupEvents} {
			leader, ok := s.Leader(group)
			if !ok {
				state = "group " + group + " has not one leader"
				return false
			}
			for _, id := range s.ids {
				g := s.Node(id).Group(group)
				if known, _ := g.Leader(); known != leader {
					state = fmt.Sprintf("%s takes %q for the leader of %s, which is %s", id, known, group, leader)
					return false
				}
			}
		}
		return true
	}
	for !whole() {
		if time.Since(healed) > simConverge {
			s.t.Errorf("I12: %v after healing %s", simConverge, state)
			s.WaitVoters(len(s.ids))
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	// What the others have by now each has soon: nothing new is needed for it.
	for _, group := range []string{groupConfig, groupEvents} {
		var most uint64
		for _, id := range s.ids {
			most = max(most, s.Node(id).Group(group).AppliedIndex())
		}
		begin := time.Now()
		for _, id := range s.ids {
			for s.Node(id).Group(group).AppliedIndex() < most {
				// A slow write that began before healing ends in its own time.
				if time.Since(begin) > time.Second && time.Since(healed) > simConverge {
					s.t.Errorf("I12: %v after healing %s has %d of %s, another had %d %v before", time.Since(healed), id,
						s.Node(id).Group(group).AppliedIndex(), group, most, time.Since(begin))
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
}

// simStall is how long a backlog may stay as it is: a breaker that has come to
// its longest wait and whose next probes fail too. Those of a flaky webhook fail
// one time in three; the waits before the third of them are 13 minutes together.
const simStall = 20 * time.Minute

// drain waits until nothing is owed, and as long sees to it that what is owed
// gets less (I12).
func (s *sim) drain(l *simLoad, late bool) bool {
	s.t.Helper()
	late = late || s.clocks > s.clocksBefore // a retry may be due in an hour
	s.clocksBefore = s.clocks
	rng := simRand(s.seed, "drain")
	least, since := -1, time.Now()
	for begin := time.Now(); ; time.Sleep(max(100*time.Millisecond, time.Since(begin)/100)) {
		drained, owed, state := s.drained()
		if drained {
			return true
		}
		if least < 0 || owed < least {
			least, since = owed, time.Now()
		}
		if time.Since(begin) > simDrain || !late && time.Since(since) > simStall {
			s.t.Errorf("I12: not drained after %v, and no less owed since %v: %s%s", time.Since(begin), since.Sub(begin), state, s.owed())
			return false
		}
		for _, account := range simAccounts { // 410 was answered late
			if p, err := s.node(s.ids[0]).store.Profile(account, "gone-1"); err == nil && p.Disabled {
				l.enable(rng, account)
			}
		}
	}
}

// readAll reads the config at every node: it is whole (I5), and what was
// written last is there (I4).
func (s *sim) readAll(l *simLoad) {
	s.t.Helper()
	values := map[int]int{}
	for i, id := range s.ids {
		n := s.node(id)
		if err := n.cluster.Group(groupConfig).Linearize(s.t.Context()); err != nil {
			s.t.Errorf("%s: %v", id, err)
		}
		if got, err := n.register(); err != nil || !l.legal(got) {
			s.t.Errorf("I4: %s reads %d, %v; the last acknowledged value is %d, %v are unknown", id, got, err, l.acked, l.unknown)
		}
		if err := n.store.View(func(v model.View) error {
			for _, text := range dangling(v) {
				s.t.Errorf("I5: at %s, index %d, %s", id, v.Index(), text)
			}
			return nil
		}); err != nil {
			s.t.Error(err)
		}
		for r := range simResourceCount {
			value, err := n.resource(r)
			if err != nil || i > 0 && value != values[r] {
				s.t.Errorf("I6: %s has %d for resource %d, %s has %d (%v)", id, value, r, s.ids[0], values[r], err)
			}
			values[r] = value
		}
	}
	if err := l.resources.check(values); err != nil {
		s.t.Error(err)
	}
}

// drained reports whether all nodes are at one state in which nothing is owed.
func (s *sim) drained() (ok bool, owed int, state string) {
	ok = true
	first := s.node(s.ids[0])
	for _, id := range s.ids {
		n := s.node(id)
		st := n.outbox.Stats()
		state += fmt.Sprintf("%s: config at %d, outbox at %d with %d owed; ", id, n.store.AppliedIndex(), st.AppliedIndex, st.Pending)
		owed = max(owed, st.Pending)
		ok = ok && st.Pending == 0 && st.AppliedIndex == first.outbox.AppliedIndex() && n.store.AppliedIndex() == first.store.AppliedIndex()
	}
	return ok, owed, state
}

// owed names some deliveries that are pending, with what is known of them.
func (s *sim) owed() string {
	s.truth.mu.Lock()
	defer s.truth.mu.Unlock()
	n := s.node(s.ids[0])
	var out string
	for name := range s.truth.events {
		ds, err := n.outbox.Event(name.account, name.id)
		if err != nil {
			return err.Error()
		}
		for _, d := range ds {
			if d.Status.Final() || len(out) > 2000 {
				continue
			}
			owner := n.ownership.Table().Slots[d.Partition]
			out += fmt.Sprintf("\n%s of %s to %s, %s, attempt %d, next %v, webhook-id %q, config %d, partition %d of %+v, claimed %+v; arrived %+v",
				name.id, name.account, d.Destination, d.Status, d.Attempt, d.NextAt, d.WebhookID, d.ConfigIndex, d.Partition, owner,
				n.outbox.Claimed(d.Partition), s.truth.deliveries[deliveryName{name, d.Destination}])
			if o := s.node(owner.Owner); o != nil {
				out += fmt.Sprintf("; the owner holds %d", o.outbox.Taken())
			}
		}
	}
	return out
}

// sameState compares the digests of two nodes at the same index.
func (s *sim) sameState(a, b *simNode) {
	s.t.Helper()
	for _, x := range []struct {
		what   string
		index  func(n *simNode) uint64
		digest func(n *simNode) ([32]byte, error)
	}{
		{"config", func(n *simNode) uint64 { return n.store.AppliedIndex() }, func(n *simNode) ([32]byte, error) { return n.store.Digest() }},
		{"outbox", func(n *simNode) uint64 { return n.outbox.AppliedIndex() }, func(n *simNode) ([32]byte, error) { return n.outbox.Digest() }},
	} {
		for try := 0; ; try++ {
			ia, ib := x.index(a), x.index(b)
			da, erra := x.digest(a)
			db, errb := x.digest(b)
			if erra != nil || errb != nil {
				s.t.Fatal(erra, errb)
			}
			if ia == ib && x.index(a) == ia && x.index(b) == ib {
				if da != db {
					s.t.Errorf("I6: at %s index %d, %s and %s differ: %x %x", x.what, ia, a.id, b.id, da, db)
				}
				break
			}
			if try == 100 {
				s.t.Fatalf("the %s of %s and %s does not come to rest", x.what, a.id, b.id)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}
