package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/cluster"
)

// TestTransfer_leaderThatIsCutOff: INV lead-1, hand-overs that come to nothing
// leave nothing behind. Raft's own can block for ever when one is asked for
// after the other while a follower does not answer; it then refuses all changes
// whenever that node leads again (hashicorp/raft issue 696).
func TestTransfer_leaderThatIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		for i := range 20 {
			old := s.WaitLeader("config")
			s.propose(old, "config", fmt.Sprint("warm ", i))
			var asked sync.WaitGroup
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			for _, id := range s.others(old) { // they hear the leader, and take nothing
				s.Disk(id).Pause()
			}
			asked.Go(func() { _, _, _ = s.config(old).Propose(ctx, []byte("slow")) })
			for k := range 4 {
				asked.Go(func() {
					time.Sleep(time.Duration(1+k) * cluster.DefaultHeartbeat)
					_ = s.Node(old).TransferLeadership(ctx, "config")
				})
			}
			time.Sleep(3 * cluster.DefaultHeartbeat)
			s.Net.Isolate(old, s.Running()...)
			time.Sleep(time.Second)
			for _, id := range s.others(old) {
				s.Disk(id).Resume()
			}
			asked.Wait()
			cancel()
			s.Net.Heal()
			s.WaitVoters(3)
			s.leads(old, "config")
			ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
			if _, _, err := s.config(old).Propose(ctx, []byte(fmt.Sprint("again ", i))); err != nil {
				t.Fatalf("round %d: %s leads again and refuses a change: %v", i, old, err)
			}
			cancel()
		}
		s.Close()
	})
}
