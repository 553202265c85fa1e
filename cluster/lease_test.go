package cluster_test

import (
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/cluster"
	"example.com/belfry/cluster/clustertest"
)

// slowApply is a state machine that can be held up.
type slowApply struct {
	ledger

	mu   sync.Mutex
	hold chan struct{} // nil: not held up
}

func (s *slowApply) Apply(e *raft.Log) any {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return s.ledger.Apply(e)
}

func (s *slowApply) Snapshot() (raft.FSMSnapshot, error) { return s.ledger.Snapshot() }
func (s *slowApply) Restore(r io.ReadCloser) error       { return s.ledger.Restore(r) }

// TestLease_waitsForState checks INV lease-4: a node that hears from the leader
// but does not follow its log has no lease, and knows how old its state is.
func TestLease_waitsForState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fsms := map[string]*slowApply{}
		c := clustertest.New(t, clustertest.Options{Nodes: 3, Groups: func(id string) []cluster.GroupSpec {
			fsms[id] = &slowApply{}
			return []cluster.GroupSpec{{Name: "config", FSM: fsms[id]}}
		}})
		leader := c.WaitLeader("config")
		slow := "n1"
		if slow == leader {
			slow = "n2"
		}
		leased := func() bool {
			valid, _ := c.Node(slow).Lease()
			return valid
		}
		c.Wait("a lease", leased)
		hold := make(chan struct{})
		fsms[slow].mu.Lock()
		fsms[slow].hold = hold
		fsms[slow].mu.Unlock()
		time.Sleep(10 * time.Second)
		if age := c.Node(slow).StateAge(); !leased() || age > cluster.DefaultLeaseTTL {
			t.Errorf("lease %v and age %v while nothing is proposed", leased(), age)
		}
		if _, _, err := c.Node(leader).Group("config").Propose(t.Context(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(cluster.DefaultLeaseTTL)
		if leased() {
			t.Error("a node that lacks a command has a lease")
		}
		time.Sleep(10 * time.Second)
		if age := c.Node(slow).StateAge(); age < 11*time.Second || age > 11500*time.Millisecond {
			t.Errorf("age %v after 11 s, want that or a little more", age)
		}
		fsms[slow].mu.Lock()
		fsms[slow].hold = nil
		fsms[slow].mu.Unlock()
		close(hold)
		synctest.Wait()
		if !leased() {
			t.Error("no lease once the command is applied")
		}
		c.Close()
	})
}
