package cluster_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestComeback: a follower that was away while commands came has them a second
// after it is back, however long it was away.
func TestComeback(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]struct{ leave, back func(s *sim, id string) }{
		"crashed": {
			leave: func(s *sim, id string) { s.Crash(id) },
			back:  func(s *sim, id string) { s.Start(id) },
		},
		"cut off": {
			leave: func(s *sim, id string) { s.Net.Isolate(id, s.others()...) },
			back:  func(s *sim, _ string) { s.Net.Heal() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 3)
				for _, away := range []time.Duration{time.Second, 6 * time.Second, 12 * time.Second, 25 * time.Second, time.Minute} {
					leader := s.WaitLeader("config")
					id := s.others(leader)[0]
					how.leave(s, id)
					for begin := time.Now(); time.Since(begin) < away; time.Sleep(time.Second) {
						s.propose(leader, "config", "x")
					}
					how.back(s, id)
					begin := time.Now()
					s.Wait("it has all commands", func() bool {
						return s.Node(id).Group("config").AppliedIndex() == s.Node(leader).Group("config").AppliedIndex()
					})
					if took := time.Since(begin); took > time.Second {
						t.Errorf("away for %v, back after %v", away, took)
					}
					s.WaitVoters(3)
				}
			})
		})
	}
}
