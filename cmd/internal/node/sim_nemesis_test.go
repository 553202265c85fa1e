package node

import (
	"fmt"
	"slices"
	"time"
)

// nemesis does one thing after another to the cluster while events are sent,
// heals it, lets it drain and checks.
func (s *sim) nemesis() {
	s.setUp()
	s.truth.faults()
	l := s.newLoad(simClients)
	for i, r := range newSchedule(s.seed, s.ids, s.rounds) {
		l.begin(i)
		time.Sleep(r.Before)
		s.did = append(s.did, fmt.Sprintf("%v %s", time.Since(s.begin).Round(time.Millisecond), r))
		s.log.Info("FAULT", "what", r)
		s.inflict(r)
		healed := s.heal()
		time.Sleep(r.After)
		l.end()
		s.check(l, i, healed)
		if s.t.Failed() {
			return
		}
	}
}

// inflict does the faults of a round for as long as they last.
func (s *sim) inflict(r simRound) {
	end := time.Now().Add(r.Hold)
	for _, f := range r.Faults {
		i := slices.IndexFunc(simFaults, func(x simFaultKind) bool { return x.name == f.Name })
		simFaults[i].do(s, f)
	}
	// What ends by itself is started again, as a supervisor does.
	for time.Now().Before(end) {
		time.Sleep(min(time.Until(end), 300*time.Millisecond))
		for _, id := range s.ended() {
			s.crash(id)
			s.Start(id)
		}
	}
}

// heal undoes all faults and gives the time at which all nodes ran again.
func (s *sim) heal() time.Time {
	s.log.Info("HEAL")
	s.Net.Heal()
	s.Net.Latency(time.Millisecond, time.Millisecond)
	for _, id := range s.ids {
		s.Disk(id).Fail(0)
		s.Disk(id).Slow(0)
		s.node(id).jammed.Store(false)
		s.node(id).resume()
		s.setClock(id, 0)
	}
	for _, id := range s.ended() {
		s.crash(id)
	}
	for _, id := range s.ids {
		if s.Node(id) == nil {
			s.Start(id)
		}
	}
	return time.Now()
}

// lead is the leader of a group, or the first node of the fault when there is
// none.
func (s *sim) lead(group string, f simFault) string {
	if id, ok := s.Leader(group); ok {
		return id
	}
	return f.Nodes[0]
}

func (f simFault) few() []string    { return f.Nodes[:f.Some] }
func (f simFault) others() []string { return f.Nodes[f.Some:] }

func (s *sim) cutAll(from, to []string) {
	for _, a := range from {
		for _, b := range to {
			if a != b {
				s.Net.Cut(a, b)
			}
		}
	}
}

// links calls f for every link in every direction.
func (s *sim) links(f func(from, to string)) {
	for _, a := range s.ids {
		for _, b := range s.ids {
			if a != b {
				f(a, b)
			}
		}
	}
}

func (s *sim) crashAll(ids []string) {
	for _, id := range ids {
		if s.Node(id) != nil {
			s.crash(id)
		}
	}
}

// each does something to one node after another, and undoes it.
func (f simFault) each(on, off func(step simStep)) {
	for _, step := range f.Steps {
		on(step)
		time.Sleep(step.On)
		off(step)
		time.Sleep(step.Then)
	}
}

// simFaultKind is a kind of fault. heal undoes all of them.
type simFaultKind struct {
	name string
	do   func(s *sim, f simFault)
}

// simFaults are all kinds of faults.
var simFaults = slices.Concat(networkFaults, processFaults, diskFaults, clockFaults)
