package cluster_test

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/cluster"
)

// TestHealth: every node tells its role, its leader, its indices and when it
// heard from the leader last; one that is cut off shows it.
func TestHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		s.leads("n1", "config")
		s.propose("n2", "config", "x")
		s.Wait("all have applied it", func() bool {
			return s.ledger("n1").length()+s.ledger("n2").length()+s.ledger("n3").length() == 3
		})
		for _, id := range []string{"n1", "n2", "n3"} {
			h := s.Node(id).Health()
			if len(h) != 2 || h[0].Group != "config" || h[1].Group != "events" {
				t.Fatalf("the groups of %s are %+v", id, h)
			}
			want := cluster.RoleFollower
			if id == "n1" {
				want = cluster.RoleLeader
			}
			g := h[0]
			if g.Role != want || g.Leader != "n1" || g.Term == 0 || g.Applied == 0 || g.Applied > g.Commit || g.Commit > g.Last || time.Since(g.Contact) > time.Second {
				t.Errorf("config on %s is %+v", id, g)
			}
		}
		s.Crash("n1")
		s.Crash("n2")
		time.Sleep(10 * time.Second)
		if g := s.Node("n3").Health()[0]; g.Role != cluster.RoleCandidate || g.Leader != "" || time.Since(g.Contact) < 9*time.Second {
			t.Errorf("alone, config on n3 is %+v", g)
		}
		s.Close()
	})
}
