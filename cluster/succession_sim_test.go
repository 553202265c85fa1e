package cluster_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/cluster"
	"example.com/belfry/fsm/model"
)

// standstill is how long changes and reads may stand still when the leader is
// silent: some elections, as each may find no winner, and a heartbeat. Who waits
// for the old leader waits for longer: a read 3 s, a change 10 s.
const standstill = 8 * cluster.DefaultHeartbeat

// TestGroup_silentLeader: what a follower has asked a leader that hangs or was
// cut off is answered when the next one is there: a read by the new leader, a
// change with an unknown outcome when the old one may have it, and by the new
// one when it provably has not (INV propose-1).
func TestGroup_silentLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		unknown, done := 0, 0
		for i := range 20 {
			old := s.WaitLeader("config")
			at := s.others(old)[i%2]
			warm, cmd := fmt.Sprint("warm ", i), fmt.Sprint("silent ", i)
			s.propose(at, "config", warm)
			if i%4 == 3 { // no connection is open: the request does not leave the node
				s.Net.Break(at, old)
				synctest.Wait()
			}
			s.Net.Isolate(old, s.Running()...)
			begin := time.Now()
			type ended struct {
				what string
				err  error
				took time.Duration
			}
			ends := make(chan ended, 2)
			start := func(what string, f func() error) {
				go func() {
					err := f()
					ends <- ended{what, err, time.Since(begin)}
				}()
			}
			start("read", func() error { return s.config(at).Linearize(t.Context()) })
			start("change", func() error {
				_, _, err := s.config(at).Propose(t.Context(), []byte(cmd))
				return err
			})
			for range 2 {
				e := <-ends
				switch code := model.CodeOf(e.err); {
				case e.took > standstill:
					t.Errorf("round %d: the %s took %s: %v", i, e.what, e.took, e.err)
				case e.what == "read" && code != "":
					t.Errorf("round %d: the read: %v", i, e.err)
				case e.what == "change" && code == model.CodeUnknownOutcome:
					unknown++
				case e.what == "change" && code == "":
					done++
					if !slices.Contains(s.ledger(at).list(), cmd) {
						t.Errorf("round %d: the change is answered but not there", i)
					}
				case code != "":
					t.Errorf("round %d: the %s: %v", i, e.what, e.err)
				}
			}
			s.propose(at, "config", fmt.Sprint("next ", i))
			if took := time.Since(begin); took > standstill {
				t.Errorf("round %d: the next change came through after %s", i, took)
			}
			s.Net.Heal()
			s.WaitVoters(3)
		}
		if unknown == 0 || done == 0 {
			t.Errorf("%d changes had an unknown outcome and %d were made; the test tests nothing", unknown, done)
		}
		wantAppliedOnce(t, s)
		s.Close()
	})
}

// TestGroup_Propose_handedOver: a leader that hands over still gives its answer,
// though its successor shows itself first.
func TestGroup_Propose_handedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		old := s.WaitLeader("config")
		at := s.others(old)[0]
		s.propose(at, "config", "warm")
		s.Net.Delay(old, at, cluster.DefaultHeartbeat*2/3, 0)
		answered := make(chan error, 1)
		go func() {
			_, _, err := s.config(at).Propose(t.Context(), []byte("x"))
			answered <- err
		}()
		s.Wait("the change is made", func() bool { return slices.Contains(s.ledger(old).list(), "x") })
		if err := s.Node(old).TransferLeadership(t.Context(), "config"); err != nil {
			t.Fatal(err)
		}
		s.Wait("the successor is known", func() bool {
			now, ok := s.config(at).Leader()
			return ok && now != old
		})
		select {
		case err := <-answered:
			t.Fatalf("the answer did not come after the successor was known: %v", err)
		default:
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
		s.Close()
	})
}
