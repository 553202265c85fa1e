package cluster_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/fsm/model"
)

// TestCluster_anyNodeProposesAndReads: what one node acknowledged, every node
// reads at once.
func TestCluster_anyNodeProposesAndReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		want := 0
		for round := range 3 {
			for _, writer := range s.Running() {
				for _, group := range []string{"config", "events"} {
					s.propose(writer, group, fmt.Sprintf("%s-%d", writer, round))
				}
				want++
				for _, reader := range s.Running() {
					if err := s.Node(reader).Group("config").Linearize(t.Context()); err != nil {
						t.Fatal(err)
					}
					if got := s.ledger(reader).list(); len(got) != want {
						t.Fatalf("%s reads %v after %d acknowledged writes", reader, got, want)
					}
				}
			}
		}
		_, _, err := s.Node("n2").Group("config").Propose(t.Context(), []byte("refuse"))
		if model.CodeOf(err) != model.CodeInvalid {
			t.Errorf("a refusal of the state machine comes as %v", err)
		}
		s.Close()
	})
}

// TestCluster_leaderCrash: another leads, nothing acknowledged is lost, and
// the old one catches up.
func TestCluster_leaderCrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		s.propose("n1", "config", "before")
		old := s.WaitLeader("config")
		s.Crash(old)
		begin := time.Now()
		now := s.WaitLeader("config")
		s.propose(now, "config", "after")
		if d := time.Since(begin); d > 3*time.Second {
			t.Errorf("the next write was acknowledged after %s", d)
		}
		s.Start(old)
		s.WaitVoters(3)
		if err := s.Node(old).Group("config").Linearize(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.ledger(old).list(); len(got) != 2 || got[0] != "before" || got[1] != "after" {
			t.Errorf("the node that came back has %v", got)
		}
		s.Close()
	})
}

// TestCluster_minority: a node without a quorum answers CodeUnavailable with
// RetryAfter, and recovers when the network heals.
func TestCluster_minority(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		s.propose("n1", "config", "x")
		s.Net.Isolate("n1", s.Running()...)
		s.Wait("n1 lost the leader", func() bool {
			_, ok := s.Node("n1").Group("config").Leader()
			return !ok && s.Node("n1").Ready(t.Context()) != nil
		})
		for name, f := range map[string]func() error{
			"Propose":   func() error { _, _, err := s.Node("n1").Group("config").Propose(t.Context(), []byte("y")); return err },
			"Linearize": func() error { return s.Node("n1").Group("config").Linearize(t.Context()) },
		} {
			err := f()
			e, ok := err.(*model.Error) //nolint:errorlint // the type is promised
			if !ok || e.Code != model.CodeUnavailable || e.RetryAfter == 0 {
				t.Errorf("%s without a quorum: %v", name, err)
			}
		}
		s.propose("n2", "config", "z")
		s.Net.Heal()
		s.WaitVoters(3)
		s.propose("n1", "config", "last")
		if got := s.ledger("n1").list(); fmt.Sprint(got) != "[x z last]" {
			t.Errorf("n1 has %v", got)
		}
		s.Close()
	})
}

// TestCluster_removed: INV member-2, a removed node finds out and ends; its
// place can be taken.
func TestCluster_removed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		gone := s.WaitLeader("config")
		var asked string
		for _, id := range s.Running() {
			if id != gone {
				asked = id
			}
		}
		if err := s.Node(asked).RemoveNode(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		if err := s.Ended(gone); err == nil {
			t.Error("Run of the removed node returned nil")
		}
		s.Crash(gone)
		s.WaitVoters(2)
		if err := s.Node(asked).RemoveNode(t.Context(), gone); model.CodeOf(err) != model.CodeNotFound {
			t.Errorf("removed twice: %v", err)
		}
		s.Wait("the other group follows", func() bool {
			return s.Node(asked).Group("events").Members() == 2
		})
		s.Wipe(gone)
		s.Start(gone)
		s.WaitVoters(3)
		s.Close()
	})
}

// TestCluster_shrinksToOne: INV member-3, every group goes on when the node
// that led them all is taken out of a cluster of two and ends.
func TestCluster_shrinksToOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 2)
		gone := s.WaitLeader("config")
		rest := map[string]string{"n1": "n2", "n2": "n1"}[gone]
		if err := s.Node(rest).RemoveNode(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		if err := s.Ended(gone); err == nil {
			t.Error("Run of the removed node returned nil")
		}
		s.Crash(gone)
		s.WaitVoters(1)
		s.propose(rest, "config", "x")
		s.propose(rest, "events", "y")
		s.Close()
	})
}

// TestCluster_wiped: INV member-1, a node that lost its disk comes back as
// another server under the same id.
func TestCluster_wiped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		s.propose("n1", "config", "x")
		s.Crash("n3")
		s.Wipe("n3")
		s.Start("n3")
		s.WaitVoters(3)
		if err := s.Node("n3").Group("config").Linearize(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.ledger("n3").list(); len(got) != 1 {
			t.Errorf("the new disk has %v", got)
		}
		s.Close()
	})
}

// What leaders said of a node before it was taken in, and what is on its way then,
// does not end it (INV member-2).
func TestCluster_wipedInSlowNetwork(t *testing.T) {
	t.Parallel()
	for step := range 8 {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, 3)
			s.Net.Latency(5*time.Duration(step)*time.Millisecond, 10*time.Millisecond)
			for _, id := range []string{"n1", "n2"} { // what they said last may come first
				s.Net.Delay(id, "n3", 0, 150*time.Millisecond)
			}
			s.Crash("n3")
			s.Wipe("n3")
			s.Start("n3")
			s.Wait("n3 has its vote again", func() bool {
				if over, err := s.Over("n3"); over {
					t.Fatalf("step %d: n3 ended: %v", step, err)
				}
				return s.Voters(3)
			})
			s.Close()
		})
	}
}

// TestCluster_removeRefusedWithoutQuorum: the rest must be able to go on.
func TestCluster_removeRefusedWithoutQuorum(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		leader := s.WaitLeader("config")
		var others []string
		for _, id := range s.Running() {
			if id != leader {
				others = append(others, id)
			}
		}
		s.Crash(others[0])
		s.Wait("the leader knows", func() bool {
			for _, m := range s.Node(leader).Members() {
				if m.NodeID == others[0] {
					return !m.Live
				}
			}
			return false
		})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := s.Node(leader).RemoveNode(ctx, others[1]); model.CodeOf(err) != model.CodeConflict {
			t.Errorf("removing the last live follower: %v", err)
		}
		if err := s.Node(leader).RemoveNode(ctx, others[0]); err != nil {
			t.Errorf("removing the dead node: %v", err)
		}
		s.WaitVoters(2)
		s.Close()
	})
}

func TestCluster_transfer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		for _, asked := range s.Running() {
			old := s.WaitLeader("config")
			if err := s.Node(asked).TransferLeadership(t.Context(), "config"); err != nil {
				t.Fatal(err)
			}
			s.Wait("another leader", func() bool {
				now, ok := s.Leader("config")
				return ok && now != old
			})
		}
		s.Close()
	})
}
