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

// TestSlowLog_network: INV lead-2, a leader whose connections carry heartbeats
// and not much more hands over; one that has nothing to send goes on.
func TestSlowLog_network(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		old := s.WaitLeader("config")
		s.propose(old, "config", "before")
		for _, id := range s.others(old) {
			s.Net.Throttle(old, id, 16<<10)
		}
		time.Sleep(time.Minute)
		s.leads(old, "config")
		term := s.config(old).Term()
		begin := time.Now()
		done := make(chan struct{})
		go func() {
			_, _, _ = s.config(old).Propose(t.Context(), make([]byte, 1<<20)) // a minute's worth
			close(done)
		}()
		s.Wait("another one leads", func() bool {
			for _, id := range s.others(old) {
				if s.config(id).IsLeader() && s.config(id).Term() > term {
					return true
				}
			}
			return false
		})
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("another one leads after %s", took)
		}
		s.propose(s.others(old)[0], "config", "after")
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("the next change came through after %s", took)
		}
		s.Net.Heal()
		<-done
		s.WaitVoters(3)
		s.Close()
	})
}
