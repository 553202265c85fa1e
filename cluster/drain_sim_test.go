package cluster_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/cluster"
	"example.com/belfry/fsm/model"
)

// keeping gives every node a data directory that outlives its restarts.
func keeping(t *testing.T) func(*cluster.Options) {
	t.Helper()
	root := t.TempDir()
	return func(o *cluster.Options) {
		o.DataDir = filepath.Join(root, o.NodeID)
		if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
			t.Error(err)
		}
	}
}

// drainedOn lists who is drained, and who wants no work, as a node says.
func drainedOn(n *cluster.Node) (drained, draining string) {
	for _, m := range n.Members() {
		if m.Drained {
			drained += m.NodeID
		}
		if m.Draining {
			draining += m.NodeID
		}
	}
	return drained, draining
}

// workers lists who may be given work, as the leader says.
func (s *sim) workers() string {
	s.t.Helper()
	var out []string
	for _, c := range s.Node(s.WaitLeader("config")).Candidates() {
		if c.Live && !c.Draining {
			out = append(out, c.NodeID)
		}
	}
	return strings.Join(out, "")
}

func (s *sim) drain(at, id string, on bool) error {
	return s.Node(at).SetDrained(s.t.Context(), id, on)
}

func (s *sim) mustDrain(at, id string, on bool) {
	s.t.Helper()
	if err := s.drain(at, id, on); err != nil {
		s.t.Fatalf("drain %s %t at %s: %v", id, on, at, err)
	}
}

// TestDrain_anyNode: any node can be drained through any other and through
// itself. It gets no work, keeps its vote and its lease, and leads as before.
func TestDrain_anyNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		s.leads("n1", "config")
		for _, at := range []string{"n1", "n2", "n3"} {
			for _, id := range []string{"n1", "n2", "n3"} {
				s.mustDrain(at, id, true)
				if drained, _ := drainedOn(s.Node(at)); drained != id {
					t.Errorf("after the drain of %s, %s says that %q is drained", id, at, drained)
				}
				if !s.Node(id).Drained() {
					t.Errorf("%s does not know that it is drained", id)
				}
				s.mustDrain(at, id, true) // which is so already
				if want := strings.ReplaceAll("n1n2n3", id, ""); s.workers() != want {
					t.Errorf("after the drain of %s work goes to %q", id, s.workers())
				}
				s.Wait("every node knows", func() bool {
					return !slices.ContainsFunc(s.Running(), func(n string) bool {
						drained, draining := drainedOn(s.Node(n))
						return drained != id || draining != id
					})
				})
				if !s.Voters(3) || !leased(s.Node(id)) || s.WaitLeader("config") != "n1" {
					t.Errorf("the drain of %s took more from it than work", id)
				}
				s.propose(id, "config", "by "+id)
				s.mustDrain(at, id, false)
				if drained, _ := drainedOn(s.Node(at)); drained != "" || s.workers() != "n1n2n3" {
					t.Errorf("after the end of the drain of %s, %s says that %q is drained; work goes to %s", id, at, drained, s.workers())
				}
			}
		}
		s.Close()
	})
}

// TestDrain_lastOne: one live voter always takes work, whoever asks, whatever
// else is removed.
func TestDrain_lastOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		refused := func(what string, err error, code model.Code, text string) {
			t.Helper()
			if model.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v", what, err)
			}
		}
		refused("a stranger", s.drain("n1", "n9", true), model.CodeNotFound, `no node "n9"`)
		s.mustDrain("n1", "n2", true)
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, id := range []string{"n1", "n3"} {
			wg.Go(func() { errs[i] = s.drain("n2", id, true) })
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("of two drains that exclude each other: %v", errs)
		}
		last, other := "n1", "n3"
		if errs[0] == nil {
			last, other = other, last
			errs[0] = errs[1]
		}
		refused("the last one", errs[0], model.CodeConflict, "no live node would be left that delivers")
		refused("the last one, by itself", s.drain(last, last, true), model.CodeConflict, "no live node would be left")
		refused("the removal of the last one", s.Node("n2").RemoveNode(t.Context(), last), model.CodeConflict, "all nodes would be drained")
		s.mustDrain("n2", other, false)
		s.mustDrain("n2", last, true)
		if got := s.workers(); got != other {
			t.Errorf("work goes to %q, want %s", got, other)
		}
		s.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		if err := s.drain("n1", "n1", true); model.CodeOf(err) != model.CodeConflict {
			t.Errorf("the only node: %v", err)
		}
		if s.Node("n1").Drained() {
			t.Error("the only node is drained")
		}
		s.Close()
	})
}

// TestDrain_restart: a drained node that starts again is drained from its first
// report on, and stays so under another leader, until that is taken back.
func TestDrain_restart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3, changed(keeping(t)))
		s.leads("n1", "config")
		s.mustDrain("n1", "n3", true)
		for range 2 {
			s.Crash("n3")
			s.Start("n3")
			if !s.Node("n3").Drained() {
				t.Fatal("the node does not know it after its start")
			}
			s.Wait("n3 is live", func() bool {
				i := slices.IndexFunc(s.Node("n1").Candidates(), func(c cluster.Candidate) bool { return c.NodeID == "n3" && c.Live })
				return i >= 0
			})
			if got := s.workers(); got != "n1n2" {
				t.Errorf("after a restart work goes to %q", got)
			}
		}
		s.Crash("n1")
		s.Wait("there is another leader", func() bool { id, ok := s.Leader("config"); return ok && id != "n1" })
		s.Wait("the next leader knows", func() bool { return s.workers() == "n2" })
		if err := s.drain("n3", "n2", true); model.CodeOf(err) != model.CodeConflict {
			t.Errorf("the last one that lives: %v", err)
		}
		if err := s.drain("n2", "n1", true); model.CodeOf(err) != model.CodeConflict || !strings.Contains(err.Error(), "node n1 does not answer") {
			t.Errorf("one that does not answer: %v", err)
		}
		s.mustDrain("n3", "n3", false)
		s.Crash("n3")
		s.Start("n3")
		s.Wait("n3 works again", func() bool { return s.workers() == "n2n3" })
		s.Close()
	})
}

// TestDrain_quiesce: work moves away when the node has ended what it does, and
// a drain that is taken back in between changes nothing.
func TestDrain_quiesce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		ended := 0
		s := newSim(t, 3, changed(func(o *cluster.Options) {
			o.Quiesce = func(ctx context.Context) {
				select {
				case <-time.After(5 * time.Second):
				case <-ctx.Done():
				}
				mu.Lock()
				ended++
				mu.Unlock()
			}
		}))
		begin := time.Now()
		s.mustDrain("n1", "n2", true)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("the answer took %s", took)
		}
		if drained, draining := drainedOn(s.Node("n1")); drained != "n2" || draining != "" || s.workers() != "n1n2n3" {
			t.Errorf("while n2 ends its work: drained %q, draining %q, workers %s", drained, draining, s.workers())
		}
		s.mustDrain("n1", "n2", false)
		time.Sleep(10 * time.Second)
		if drained, draining := drainedOn(s.Node("n1")); drained+draining != "" || s.workers() != "n1n2n3" || ended != 1 {
			t.Errorf("a drain that was taken back left: drained %q, draining %q, workers %s, %d ends", drained, draining, s.workers(), ended)
		}
		begin = time.Now()
		s.mustDrain("n3", "n2", true)
		s.Wait("n2 gives its work away", func() bool { return s.workers() == "n1n3" })
		if took := time.Since(begin); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("that took %s", took)
		}
		s.mustDrain("n2", "n1", true)
		s.Close() // does not wait for what n1 does
	})
}

// TestDrain_noQuorum: without a leader nothing is drained, and it is said soon.
func TestDrain_noQuorum(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		s.Crash("n2")
		s.Crash("n3")
		time.Sleep(5 * time.Second)
		begin := time.Now()
		if err := s.drain("n1", "n1", true); model.CodeOf(err) != model.CodeUnavailable || s.Node("n1").Drained() {
			t.Errorf("drained %t, %v", s.Node("n1").Drained(), err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		s.Close()
	})
}
