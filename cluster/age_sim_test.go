package cluster_test

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/cluster"
)

// ager looks at what a node says of its age while it is behind.
type ager struct {
	s      *sim
	id     string
	acked  []time.Time // of the commands, in their order
	behind int         // how often it was seen without one of them
	heard  int         // of these, how often it knew a leader
}

// write has the leader take a command.
func (a *ager) write(leader string) {
	a.s.t.Helper()
	a.s.propose(leader, "config", fmt.Sprint("b", len(a.acked)))
	a.acked = append(a.acked, time.Now())
}

// watch compares the bound with what the node lacks, every millisecond.
func (a *ager) watch(d time.Duration) {
	a.s.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
		age := a.s.Node(a.id).StateAge()
		have := a.s.ledger(a.id).length()
		if have >= uint64(len(a.acked)) {
			continue
		}
		a.behind++
		if _, ok := a.s.config(a.id).Leader(); ok {
			a.heard++
		}
		if lacks := time.Since(a.acked[have]); age < lacks {
			a.s.t.Errorf("at most %s old, but it lacks what was acknowledged %s ago", age, lacks)
		}
	}
}

// TestStateAge_comeback: a node that was away has a bound of its age only once
// it has caught up, though the leader's heartbeats reach it before. The bound
// is one at every moment, also while messages are late or lost.
func TestStateAge_comeback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		leader := s.WaitLeader("config")
		away := s.others(leader)[0]
		a := &ager{s: s, id: away}
		a.write(leader)
		s.Wait("all have it", func() bool { return s.ledger(away).length() == 1 })
		s.Crash(away)
		a.write(leader)
		time.Sleep(3 * time.Second)
		s.Net.Latency(20*time.Millisecond, 10*time.Millisecond)
		s.Disk(away).Slow(200 * time.Millisecond) // heartbeats write nothing
		s.Start(away)
		if age := s.Node(away).StateAge(); age != math.MaxInt64 {
			t.Errorf("at most %s old right after the start", age)
		}
		a.watch(2 * time.Second)
		if a.behind == 0 || a.heard == 0 {
			t.Errorf("seen behind %d times, of these %d with a leader; the test tests nothing", a.behind, a.heard)
		}
		if age := s.Node(away).StateAge(); age > cluster.DefaultLeaseTTL {
			t.Errorf("at most %s old when it has caught up", age)
		}
		for i := range 40 {
			a.write(leader)
			if i%10 == 5 {
				s.Net.Cut(leader, away)
			}
			a.watch(50 * time.Millisecond)
			if i%10 == 8 {
				s.Net.Heal()
			}
		}
		s.Close()
	})
}

// TestStateAge_leader: a leader's state is as old as its last quorum; cut off,
// it grows old.
func TestStateAge_leader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		leader := s.WaitLeader("config")
		s.propose(leader, "config", "x") // after the barrier of its term
		oldest := time.Duration(0)
		for range 1000 {
			time.Sleep(time.Millisecond)
			oldest = max(oldest, s.Node(leader).StateAge())
		}
		if oldest > 100*time.Millisecond {
			t.Errorf("a leader with a quorum is %s old", oldest)
		}
		s.Net.Isolate(leader, s.Running()...)
		begin := time.Now()
		for range 300 {
			time.Sleep(10 * time.Millisecond)
			if age, d := s.Node(leader).StateAge(), time.Since(begin); age < d {
				t.Fatalf("cut off for %s, it says %s", d, age)
			}
		}
		s.Close()
	})
}

// TestStateAge_alone: a node alone is always current.
func TestStateAge_alone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		s.propose("n1", "config", "x")
		time.Sleep(time.Minute)
		if age := s.Node("n1").StateAge(); age != 0 {
			t.Errorf("%s old", age)
		}
		s.Close()
	})
}
