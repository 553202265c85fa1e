package cluster_test

import (
	"testing"
	"testing/synctest"
)

// TestInbox_deposedByHeartbeat: INV group-6, what is proposed to a leader that a
// heartbeat of a newer term has just deposed is not stored as an entry of that
// term: it is another node's.
func TestInbox_deposedByHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		for range 20 {
			old := s.WaitLeader("config")
			g := s.config(old)
			newer := g.Term() + 1
			if err := s.config(s.others(old)[0]).HeartbeatForTest(old, newer); err != nil {
				t.Fatal(err)
			}
			// Raft's main loop has not looked up yet if it was not told.
			if err := g.ApplyForTest([]byte("late")); err == nil {
				t.Error("a proposal to a deposed leader was taken")
			}
			last, err := g.LastLogForTest()
			if err != nil {
				t.Fatal(err)
			}
			if last.Term == newer {
				t.Fatalf("%s has stored an entry of term %d, which it does not lead", old, newer)
			}
		}
		s.Close()
	})
}
