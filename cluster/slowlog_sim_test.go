package cluster_test

import (
	"context"
	"sync"
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
// and not much more hands over, also when a few changes get through before; one
// that has nothing to send goes on.
func TestSlowLog_network(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{
		"nothing gets through": 1 << 20, // a minute's worth
		"a little":             20 << 10,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { narrowLeader(t, size) })
		})
	}
}

// narrowLeader has the leader send changes of a size, five a second, over
// connections of 16 KiB/s.
func narrowLeader(t *testing.T, size int) {
	t.Helper()
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
	ctx, stop := context.WithCancel(t.Context())
	var proposals sync.WaitGroup
	proposals.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			proposals.Go(func() { _, _, _ = s.config(old).Propose(ctx, make([]byte, size)) })
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	s.Wait("another one leads", func() bool {
		for _, id := range s.others(old) {
			if s.config(id).IsLeader() && s.config(id).Term() > term {
				return true
			}
		}
		return false
	})
	stop()
	s.propose(s.others(old)[0], "config", "after")
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("the next change came through after %s", took)
	}
	s.Net.Heal()
	proposals.Wait()
	s.WaitVoters(3)
	s.Close()
}

// TestSlowLog_sluggish: INV lead-2, a leader whose disk is far slower than the
// others' hands over to one of them, and changes come through as fast as they
// do there. Where all disks are slow nobody hands over.
func TestSlowLog_sluggish(t *testing.T) {
	t.Parallel()
	const slow = 140 * time.Millisecond // up to, so half of it usually
	t.Run("the leader's", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, 3)
			old := s.WaitLeader("config")
			s.Disk(old).Slow(slow)
			begin := time.Now()
			for s.config(old).IsLeader() && time.Since(begin) < time.Minute {
				_, _, _ = s.config(old).Propose(t.Context(), []byte("slow")) // the last one may be cut off
			}
			if took := time.Since(begin); took > 4*time.Second {
				t.Errorf("it led on for %s", took)
			}
			begin = time.Now()
			const changes = 20
			for range changes {
				s.propose(s.others(old)[0], "config", "quick")
			}
			if took := time.Since(begin); took > changes*slow/8 {
				t.Errorf("%d changes took %s after it", changes, took)
			}
			s.Close()
		})
	})
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, 3)
			leader := s.WaitLeader("config")
			term := s.config(leader).Term()
			for _, id := range append(s.others(leader), leader) {
				s.Disk(id).Slow(slow)
			}
			for range 200 {
				s.propose(leader, "config", "slow")
			}
			s.leads(leader, "config")
			if got := s.config(leader).Term(); got != term {
				t.Errorf("term %d, want %d: somebody else led", got, term)
			}
			s.Close()
		})
	})
}
