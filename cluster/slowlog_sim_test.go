package cluster_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowLog: INV lead-2, a leader whose disk hangs hands over, though the
// others hear it; it takes part again when its disk does.
func TestSlowLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		for i := range 3 {
			time.Sleep(time.Minute) // a node hands over once in a while only
			old := s.WaitLeader("config")
			s.propose(old, "config", "before")
			s.Disk(old).Pause()
			begin := time.Now()
			done := make(chan struct{})
			go func() {
				_, _, _ = s.config(old).Propose(t.Context(), []byte("hangs"))
				close(done)
			}()
			s.Wait("another one leads", func() bool {
				for _, id := range s.others(old) {
					if s.config(id).IsLeader() {
						return true
					}
				}
				return false
			})
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("round %d: another one leads after %s", i, took)
			}
			s.propose(s.others(old)[0], "config", "after")
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("round %d: the next change came through after %s", i, took)
			}
			s.Disk(old).Resume()
			<-done
			s.WaitVoters(3)
		}
		s.Close()
	})
}
