package cluster_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/cluster"
)

// candidate is a node as another one sees it.
func (s *sim) candidate(at, id string) (c cluster.Candidate) {
	for _, c := range s.Node(at).Candidates() {
		if c.NodeID == id {
			return c
		}
	}
	return c
}

// TestCandidates_deadNode: INV lease-6, a new leader gives a dead node nothing,
// not even before its lease must have run out.
func TestCandidates_deadNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		old := s.WaitLeader("config")
		dead := s.others(old)[0]
		s.Crash(dead)
		s.Wait("its lease has run out", func() bool { return s.candidate(old, dead).LeaseExpired })
		heir := s.others(old)[0]
		if err := s.Node(old).TransferLeadership(t.Context(), "config"); err != nil {
			t.Fatal(err)
		}
		s.Wait("another leads", s.config(heir).IsLeader)
		for range 400 {
			if c := s.candidate(heir, dead); c.Live {
				t.Fatalf("the new leader says %+v", c)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if c := s.candidate(heir, old); !c.Live || c.LeaseExpired {
			t.Errorf("of one that lives it says %+v", c)
		}
		if c := s.candidate(heir, dead); !c.LeaseExpired {
			t.Errorf("two seconds later it says %+v", c)
		}
		s.Close()
	})
}

// TestCandidates_behind: INV lag-1, a node that gets its entries late is given no work,
// though it reports as ever, and is given some again when it has caught up.
func TestCandidates_behind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		leader := s.WaitLeader("config")
		slow, other := s.others(leader)[0], s.others(leader)[1]
		ctx, stop := context.WithCancel(t.Context())
		var proposals sync.WaitGroup
		proposals.Go(func() {
			for ctx.Err() == nil {
				_, _, _ = s.config(leader).Propose(ctx, make([]byte, 8<<10))
				time.Sleep(100 * time.Millisecond)
			}
		})
		time.Sleep(5 * time.Second)
		if c := s.candidate(leader, slow); !c.Live || c.Draining {
			t.Fatalf("before it the leader says %+v", c)
		}
		s.Net.Throttle(leader, slow, 8<<10)
		begin := time.Now()
		s.Wait("it is given no work", func() bool { return s.candidate(leader, slow).Draining })
		if took := time.Since(begin); took > 4*time.Second {
			t.Errorf("it was given work for %s", took)
		}
		if c := s.candidate(leader, slow); !c.Live || c.LeaseExpired {
			t.Errorf("the leader says %+v", c)
		}
		if c := s.candidate(leader, other); !c.Live || c.Draining {
			t.Errorf("of the other one it says %+v", c)
		}
		s.Net.Heal()
		s.Wait("it is given work", func() bool { return !s.candidate(leader, slow).Draining })
		stop()
		proposals.Wait()
		s.Close()
	})
}
