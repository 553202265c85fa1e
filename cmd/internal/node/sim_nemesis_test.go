package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
)

// TestSim_faultFree: without faults every delivery is taken exactly once.
func TestSim_faultFree(t *testing.T) {
	t.Parallel()
	simulate(t, 3, []uint64{1}, func(s *sim) {
		s.setUp()
		l := s.newLoad(simClients)
		for round := range simRounds() {
			l.begin(round)
			s.sleep(4000, 8000)
			l.end()
			s.check(l)
		}
	})
}

// TestSim_three and TestSim_five: whatever is done to the cluster, nothing that
// was answered with a receipt is lost, and all else that truth checks.
func TestSim_three(t *testing.T) {
	t.Parallel()
	simulate(t, 3, []uint64{1, 2}, (*sim).nemesis)
}

func TestSim_five(t *testing.T) {
	t.Parallel()
	simulate(t, 5, []uint64{1}, (*sim).nemesis)
}

const simClients = 4

// simRounds is how often a simulation drains and checks.
func simRounds() int {
	if testing.Short() {
		return 2
	}
	return 8
}

// nemesis does one thing after another to the cluster while events are sent,
// heals it, lets it drain and checks.
func (s *sim) nemesis() {
	s.setUp()
	s.truth.faults()
	l := s.newLoad(simClients)
	for round := range simRounds() {
		l.begin(round)
		s.sleep(300, 1500)
		name := s.fault()
		if s.rng.IntN(4) == 0 {
			s.sleep(10000, 25000) // long enough to be away from the log
		} else {
			s.sleep(300, 6000)
		}
		s.heal()
		s.sleep(500, 2500)
		l.end()
		s.check(l)
		if s.t.Failed() {
			s.t.Logf("round %d: %s", round, name)
			return
		}
	}
}

// sleep waits for some milliseconds.
func (s *sim) sleep(from, to int) {
	time.Sleep(time.Duration(from+s.rng.IntN(to-from)) * time.Millisecond)
}

// pick takes n nodes.
func (s *sim) pick(n int) []string {
	ids := slices.Clone(s.ids)
	s.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids[:n]
}

// leader is that of a group, or any node when there is none.
func (s *sim) leader(group string) string {
	if id, ok := s.Leader(group); ok {
		return id
	}
	return s.pick(1)[0]
}

// fault does something to the cluster and names it.
func (s *sim) fault() string {
	some := s.pick(1 + s.rng.IntN(len(s.ids)/2)) // a minority
	others := slices.DeleteFunc(slices.Clone(s.ids), func(id string) bool { return slices.Contains(some, id) })
	cut := func(from, to []string) {
		for _, a := range from {
			for _, b := range to {
				s.Net.Cut(a, b)
			}
		}
	}
	faults := []struct {
		name string
		do   func()
	}{
		{"halves", func() { cut(some, others); cut(others, some) }},
		{"one cannot speak", func() { cut(some[:1], s.ids) }},
		{"one cannot hear", func() { cut(s.ids, some[:1]) }},
		{"one link in one direction", func() { s.Net.Cut(some[0], others[0]) }},
		{"leader of the config alone", func() { s.Net.Isolate(s.leader(groupConfig), s.ids...) }},
		{"leader of the events alone", func() { s.Net.Isolate(s.leader(groupEvents), s.ids...) }},
		{"everybody alone", func() {
			for _, id := range s.ids {
				s.Net.Isolate(id, s.ids...)
			}
		}},
		{"crash of a minority", func() { s.crashAll(some) }},
		{"crash of the leader of the config", func() { s.crash(s.leader(groupConfig)) }},
		{"crash of the leader of the events", func() { s.crash(s.leader(groupEvents)) }},
		{"power failure", func() { s.crashAll(s.ids) }},
		{"loss of a disk", func() { s.crash(some[0]); s.wipe(some[0]) }},
		{"slow network", func() { s.Net.Latency(40*time.Millisecond, 80*time.Millisecond) }},
		{"short pauses", func() {
			for range 5 {
				s.Net.Isolate(s.pick(1)[0], s.ids...)
				s.sleep(100, 1200)
				s.Net.Heal()
				s.sleep(0, 500)
			}
		}},
		{"leadership moves", func() {
			for _, group := range []string{groupConfig, groupEvents} {
				if err := s.Node(s.leader(group)).TransferLeadership(s.t.Context(), group); err != nil {
					s.log.Info("leadership does not move", "error", err)
				}
			}
		}},
	}
	f := faults[s.rng.IntN(len(faults))]
	s.log.Info("FAULT", "what", f.name)
	f.do()
	return f.name
}

func (s *sim) crashAll(ids []string) {
	for _, id := range ids {
		s.crash(id)
	}
}

// heal undoes all faults.
func (s *sim) heal() {
	s.log.Info("HEAL")
	s.Net.Heal()
	s.Net.Latency(time.Millisecond, time.Millisecond)
	for _, id := range s.ids {
		if s.node(id).down.Load() {
			s.Start(id)
			s.sleep(0, 300)
		}
	}
}

// simDrain is how long a healthy cluster may take until nothing is owed: the
// retries of the profiles end sooner.
const simDrain = 20 * time.Minute

// check waits until nothing is owed and compares what is there with the truth.
func (s *sim) check(l *simLoad) {
	s.t.Helper()
	s.WaitVoters(len(s.ids))
	var state string
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		var drained bool
		if drained, state = s.drained(); drained {
			break
		}
		if time.Since(begin) > simDrain {
			s.t.Errorf("seed %d: not drained after %v: %s%s", s.seed, simDrain, state, s.owed())
			return
		}
	}
	first := s.node(s.ids[0])
	for _, id := range s.ids[1:] {
		s.sameState(first, s.node(id))
	}
	for _, id := range s.ids {
		n := s.node(id)
		if err := n.cluster.Group(groupConfig).Linearize(s.t.Context()); err != nil {
			s.t.Errorf("%s: %v", id, err)
		}
		if got, err := n.register(); err != nil || !l.legal(got) {
			s.t.Errorf("%s reads %d, %v; the last acknowledged value is %d, %v are unknown", id, got, err, l.acked, l.unknown)
		}
	}
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

// drained reports whether all nodes are at one state in which nothing is owed.
func (s *sim) drained() (ok bool, state string) {
	ok = true
	first := s.node(s.ids[0])
	for _, id := range s.ids {
		n := s.node(id)
		st := n.outbox.Stats()
		state += fmt.Sprintf("%s: config at %d, outbox at %d with %d owed; ", id, n.store.AppliedIndex(), st.AppliedIndex, st.Pending)
		ok = ok && st.Pending == 0 && st.AppliedIndex == first.outbox.AppliedIndex() && n.store.AppliedIndex() == first.store.AppliedIndex()
	}
	return ok, state
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
					s.t.Errorf("seed %d: at %s index %d, %s and %s differ: %x %x", s.seed, x.what, ia, a.id, b.id, da, db)
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
