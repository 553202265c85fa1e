package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/cluster/clustertest"
)

// TestFailedWrite: what was acknowledged stays, though a write to the log of
// one node failed and left entries behind, as bbolt does when only its last
// sync fails. A node that wrote on would mix them with newer ones, and vote
// after its next start for a leader that lacks what is acknowledged.
func TestFailedWrite(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 3, func(o *clustertest.Options) { o.Seed = seed })
				old := s.WaitLeader("config")
				other, sick := s.others(old)[0], s.others(old)[1]
				s.Net.Cut(old, other)
				s.Disk(sick).Fail(1)
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				for i := range 50 { // they stay without an answer
					go func() { _, _, _ = s.Node(old).Group("config").Propose(ctx, fmt.Append(nil, "unknown ", i)) }()
				}
				time.Sleep(250 * time.Millisecond)
				s.Net.Isolate(old, other, sick)
				s.Disk(sick).Fail(0)
				supervise(s, sick)
				s.Wait("another leader", func() bool {
					leader, ok := s.config(other).Leader()
					return ok && leader != old
				})
				s.propose(other, "config", "precious")

				s.Crash(sick)
				s.Net.Heal()
				s.Net.Isolate(other, old, sick)
				s.Start(sick)
				time.Sleep(10 * time.Second) // a leader without the other, if there can be one
				s.Net.Heal()
				s.WaitVoters(3)
				for _, id := range []string{old, other, sick} {
					if err := s.config(id).Linearize(context.Background()); err != nil {
						t.Fatal(err)
					}
					if got := s.ledger(id).list(); !slices.Contains(got, "precious") {
						t.Errorf("%s has lost what was acknowledged: %v", id, got)
					}
				}
			})
		})
	}
}

// supervise starts a node again if it has ended.
func supervise(s *sim, id string) {
	synctest.Wait()
	if over, _ := s.Over(id); over {
		s.Crash(id)
		s.Start(id)
	}
}
