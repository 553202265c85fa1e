package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/cluster"
	"example.com/belfry/cluster/clustertest"
	"example.com/belfry/fsm/model"
)

// TestJoin_throughFollower: a node joins through a member that does not lead.
// It has no vote and no lease before it has caught up.
func TestJoin_throughFollower(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var via string
		s := newSim(t, 3, changed(func(o *cluster.Options) {
			if o.NodeID == "n4" {
				o.Join = []string{via}
			}
		}))
		leader := s.WaitLeader("config")
		for i := range 50 {
			s.propose(leader, "config", fmt.Sprint(i))
		}
		via = s.others(leader)[0] + ":1"
		s.Add("n4")
		s.Wait("n4 gets its vote", func() bool {
			if leased(s.Node("n4")) && len(s.ledger("n4").list()) < 50 {
				t.Error("n4 has a lease and not the state")
			}
			return slices.ContainsFunc(s.Node(leader).Members(), func(m cluster.Member) bool { return m.NodeID == "n4" && m.Voter })
		})
		s.WaitVoters(4)
		if got := s.ledger("n4").list(); len(got) != 50 {
			t.Errorf("n4 has %d commands", len(got))
		}
		s.Close()
	})
}

// INV member-2: a node that is removed before it has caught up does not come back
// by itself.
func TestJoin_removedBeforeItHasItsVote(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3, changed(func(o *cluster.Options) {
			if o.NodeID == "n4" {
				o.Join = []string{"n1:1", "n2:1", "n3:1"}
			}
		}))
		leader := s.WaitLeader("config")
		member := func() (is bool) {
			return slices.ContainsFunc(s.Node(leader).Members(), func(m cluster.Member) bool { return m.NodeID == "n4" })
		}
		s.Add("n4")
		s.Wait("n4 is a member", member)
		if err := s.Node(leader).RemoveNode(t.Context(), "n4"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if member() {
			t.Error("it is a member again")
		} else if err := s.Ended("n4"); !errors.Is(err, cluster.ErrRemoved) {
			t.Errorf("it ended with %v", err)
		}
		s.Crash("n4")
		s.Close()
	})
}

// stranger starts a node that clustertest does not know of, until it ends.
func (s *sim) stranger(o cluster.Options) error {
	s.t.Helper()
	disk := map[string]cluster.Stores{}
	o.Network = s.Net.Host(o.PeerListen)
	o.Groups = []cluster.GroupSpec{{Name: "config", FSM: &ledger{}}, {Name: "events", FSM: &ledger{}}}[:max(1, len(o.APIAddress))]
	o.Stores = func(group string) (cluster.Stores, error) {
		mem := raft.NewInmemStore()
		disk[group] = cluster.Stores{Log: mem, Stable: mem, Snapshots: raft.NewInmemSnapshotStore()}
		return disk[group], nil
	}
	n, err := cluster.Open(s.t.Context(), o)
	if err != nil {
		return err
	}
	// Raft asks for it with every answer, and says so in the log if it is not told.
	self := raft.ServerID(o.NodeID + "." + o.Incarnation)
	if addr, err := n.Group("config").ServerAddr(self); err != nil || !strings.HasPrefix(string(addr), string(self)+"@") {
		s.t.Errorf("raft finds the node itself at %q: %v", addr, err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	err = n.Run(ctx)
	return errors.Join(err, n.Close())
}

// TestJoin_refused: a node that the cluster does not want gives up and says why.
func TestJoin_refused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*cluster.Options)
		want   model.Code
	}{
		"id of a node that lives": {func(o *cluster.Options) { o.NodeID = "n2" }, model.CodeConflict},
		"address of another":      {func(o *cluster.Options) { o.PeerAdvertise = "n2:1" }, model.CodeInvalid},
		"address of nobody":       {func(o *cluster.Options) { o.PeerAdvertise = "x:2" }, model.CodeInvalid},
		"other groups":            {func(o *cluster.Options) { o.APIAddress = "" }, model.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 3)
				o := cluster.Options{NodeID: "x", PeerListen: "x:1", APIAddress: "ab", Incarnation: "ff", Join: []string{"n3:1", "n1:1"}}
				c.change(&o)
				begin := time.Now()
				err := s.stranger(o)
				if model.CodeOf(err) != c.want {
					t.Errorf("it ended with %v", err)
				}
				if d := time.Since(begin); d < 2*time.Second || d > 10*time.Second {
					t.Errorf("it gave up after %s", d)
				}
				s.WaitVoters(3)
				s.Close()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		if err := s.stranger(cluster.Options{NodeID: "x", PeerListen: "x:1", APIAddress: "ab", Incarnation: "ff"}); err == nil {
			t.Error("a node started that belongs to no cluster and is to join none")
		}
		s.Close()
	})
}

// TestJoin_limit: MaxMembers nodes, and not one more.
func TestJoin_limit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, func(o *clustertest.Options) {
			o.Groups = func(string) []cluster.GroupSpec { return []cluster.GroupSpec{{Name: "config", FSM: &ledger{}}} }
		})
		if err := s.config("n1").FillForTest(cluster.MaxMembers - 1); err != nil {
			t.Fatal(err)
		}
		o := cluster.Options{NodeID: "x", PeerListen: "x:1", Incarnation: "ff", Join: []string{"n1:1"}}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			s.Wait("the last place is taken", func() bool { return s.config("n1").Members() == cluster.MaxMembers })
			o := o
			o.NodeID, o.PeerListen = "y", "y:1"
			if err := s.stranger(o); model.CodeOf(err) != model.CodeLimit {
				t.Errorf("one above the limit: %v", err)
			}
			cancel()
		})
		if err := s.stranger(o); err != nil {
			t.Errorf("at the limit: %v", err)
		}
		<-ctx.Done()
		wg.Wait()
		s.Close()
	})
}

// TestJoin_lostWithLeader: the entry that makes a node a member reaches that
// node only and is lost with its leader. The node asks again; it does not take
// itself for a member that was removed either when it starts again.
func TestJoin_lostWithLeader(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%v", restart), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 3)
				old := s.WaitLeader("config")
				for _, o := range s.others(old) {
					s.Net.Cut(old, o)
				}
				s.Add("n4")
				s.Wait("n4 takes itself for a member", func() bool { return s.config("n4").Members() == 4 })
				s.Net.Isolate(old, s.Running()...)
				s.Wait("others lead without it", func() bool {
					return slices.ContainsFunc(s.others(old, "n4"), func(id string) bool {
						return s.config(id).IsLeader() && s.config(id).Members() == 3
					})
				})
				if restart {
					s.Crash("n4")
				}
				s.Net.Heal()
				if restart {
					s.WaitVoters(3)
					s.Start("n4")
				}
				s.WaitVoters(4)
				s.Close()
			})
		})
	}
}

// TestRemove_mark: INV member-2, a removed node ends with ErrRemoved, and its
// data directory does not start again.
func TestRemove_mark(t *testing.T) {
	t.Parallel()
	dirs := map[string]string{"n1": t.TempDir(), "n2": t.TempDir(), "n3": t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3, changed(func(o *cluster.Options) { o.DataDir = dirs[o.NodeID] }))
		if err := s.Node("n2").Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Ended("n2"); !errors.Is(err, cluster.ErrRemoved) {
			t.Errorf("it ended with %v", err)
		}
		g := s.config("n1")
		if addr, err := g.ServerAddr("n2.0000000000000000"); err != nil || addr != "n2.0000000000000000@n2:1" {
			t.Errorf("raft finds the removed server at %q, %v", addr, err)
		}
		if addr, err := g.ServerAddr("n2.0000000000000001"); err == nil {
			t.Errorf("raft finds a server that never was at %q", addr)
		}
		s.Crash("n2")
		for id, want := range map[string]error{"n2": cluster.ErrRemoved, "n1": nil} {
			_, err := cluster.Open(t.Context(), cluster.Options{
				NodeID: "x", PeerListen: "x:1", DataDir: dirs[id], Network: s.Net.Host("x"), Incarnation: "1",
				Groups: []cluster.GroupSpec{{Name: "config", FSM: &ledger{}}},
				Stores: func(string) (cluster.Stores, error) { return cluster.Stores{}, errors.New("opened") },
			})
			if errors.Is(err, cluster.ErrRemoved) != (want != nil) {
				t.Errorf("the directory of %s: %v", id, err)
			}
		}
		s.WaitVoters(2)
		s.Close()
	})
}

// TestRemove_notBeforeCommitted: INV member-2, a node is not told that it was
// removed as long as that may come to nothing.
func TestRemove_notBeforeCommitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := map[string]*stuckLog{}
		s := newSim(t, 3, changed(stuckLogs(logs)))
		leader := s.WaitLeader("config")
		gone, other := s.others(leader)[0], s.others(leader)[1]
		hold := make(chan struct{})
		logs[gone].set(hold) // heartbeats pass, entries do not
		logs[other].set(hold)
		done := make(chan error, 1)
		go func() { done <- s.Node(leader).RemoveNode(t.Context(), gone) }()
		time.Sleep(8 * time.Second)
		if n := s.config(leader).Members(); n != 2 || !s.config(leader).IsLeader() {
			t.Fatalf("the leader has %d members; the test tests nothing", n)
		}
		ended := make(chan error, 1)
		go func() { ended <- s.Ended(gone) }()
		synctest.Wait()
		select {
		case err := <-ended:
			t.Errorf("%s has ended: %v", gone, err)
		default:
		}
		logs[gone].set(nil)
		logs[other].set(nil)
		close(hold)
		<-done
		if err := <-ended; !errors.Is(err, cluster.ErrRemoved) {
			t.Errorf("%s ended with %v", gone, err)
		}
		s.Close()
	})
}

// TestAddress_changes: a node that comes back at another address is found there.
func TestAddress_changes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		moved := map[string]string{}
		s := newSim(t, 3, changed(func(o *cluster.Options) {
			if to := moved[o.NodeID]; to != "" {
				o.PeerListen = to
			}
		}))
		for i, id := range []string{"n2", "n1", "n3"} {
			s.Crash(id)
			moved[id] = fmt.Sprintf("%s:%d", id, 7+i)
			s.Start(id)
			s.Wait("all know it", func() bool {
				for _, at := range s.Running() {
					if !slices.ContainsFunc(s.Node(at).Members(), func(m cluster.Member) bool {
						return m.NodeID == id && m.PeerAddress == moved[id] && m.Live
					}) {
						return false
					}
				}
				return s.Node(id).PeerAddr() == moved[id]
			})
			s.WaitVoters(3)
			s.propose(id, "events", "at "+moved[id])
		}
		s.Close()
	})
}

// TestCluster_five: two of five may crash, with three nothing goes on, and with
// one of them back it does.
func TestCluster_five(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 5)
		for _, id := range []string{s.WaitLeader("config"), s.others(s.WaitLeader("config"))[2]} {
			s.Crash(id)
		}
		left := s.Running()
		for _, id := range left {
			s.propose(id, "config", id)
			s.propose(id, "events", id)
		}
		third := s.WaitLeader("config")
		s.Crash(third)
		for _, id := range s.Running() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, _, err := s.config(id).Propose(ctx, []byte("lost"))
			if code := model.CodeOf(err); code != model.CodeUnavailable && code != model.CodeUnknownOutcome {
				t.Errorf("%s without a quorum: %v", id, err)
			}
			if err := s.config(id).Linearize(ctx); model.CodeOf(err) != model.CodeUnavailable {
				t.Errorf("%s reads without a quorum: %v", id, err)
			}
			cancel()
			s.Wait("no lease", func() bool { return !leased(s.Node(id)) })
		}
		s.Start(third)
		s.propose(third, "config", "again")
		for _, id := range []string{"n1", "n2", "n3", "n4", "n5"} {
			if s.Node(id) == nil {
				s.Start(id)
			}
		}
		s.WaitVoters(5)
		want := append(left, "again")
		for _, id := range s.Running() {
			if err := s.config(id).Linearize(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.ledger(id).list(); !slices.Equal(got, want) {
				t.Errorf("%s has %v, want %v", id, got, want)
			}
		}
		s.Close()
	})
}

// TestCluster_snapshot: a node that was away for longer than the log reaches
// back, and one with an empty disk, get a snapshot and then the rest.
func TestCluster_snapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3, func(o *clustertest.Options) {
			groups := o.Groups
			o.Groups = func(id string) []cluster.GroupSpec {
				gs := groups(id)
				for i := range gs {
					gs[i].SnapshotThreshold, gs[i].SnapshotInterval, gs[i].TrailingLogs = 50, time.Second, 10
				}
				return gs
			}
		})
		leader := s.WaitLeader("config")
		away := s.others(leader)[0]
		s.propose(away, "config", "first")
		s.Crash(away)
		last := uint64(0)
		for i := range 200 {
			index, _, err := s.config(leader).Propose(t.Context(), fmt.Append(nil, i))
			if err != nil {
				t.Fatal(err)
			}
			last = index
		}
		time.Sleep(5 * time.Second)
		s.propose(leader, "config", "late")
		s.Start(away)
		s.WaitVoters(3)
		check := func(id string) {
			t.Helper()
			if err := s.config(id).WaitApplied(t.Context(), last+1); err != nil {
				t.Fatal(err)
			}
			if got := s.ledger(id).list(); !slices.Equal(got, s.ledger(leader).list()) || len(got) != 202 {
				t.Errorf("%s has %d commands", id, len(got))
			}
			if n := s.ledger(id).restores(); n == 0 {
				t.Errorf("%s got no snapshot", id)
			}
			if a, b := s.config(id).AppliedIndex(), s.config(leader).AppliedIndex(); a != b {
				t.Errorf("%s is at %d, the leader at %d", id, a, b)
			}
		}
		check(away)
		s.Crash(away)
		s.Wipe(away)
		s.Start(away)
		s.WaitVoters(3)
		check(away)
		s.Crash(away) // and from its own snapshot
		s.Start(away)
		s.WaitVoters(3)
		check(away)
		if err := s.config(leader).Snapshot(); err != nil {
			t.Error(err)
		}
		if err := s.config(leader).Snapshot(); err != nil {
			t.Errorf("with nothing new: %v", err)
		}
		s.Close()
	})
}

// TestMembers_withoutLeader: the last list that was known, with nobody live but
// the node itself.
func TestMembers_withoutLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		index, _, err := s.config("n1").Propose(t.Context(), []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		s.Wait("all have it", func() bool { return s.Node("n1").AppliedEverywhere(index) })
		if s.Node("n1").AppliedEverywhere(index + 1) {
			t.Error("all have what does not exist")
		}
		s.Net.Isolate("n1", s.Running()...)
		time.Sleep(5 * time.Second)
		for _, m := range s.Node("n1").Members() {
			if m.Leader || m.Live != (m.NodeID == "n1") || !m.Voter {
				t.Errorf("%+v", m)
			}
		}
		if d := s.Node("n1").StateAge(); d < 5*time.Second || d > 6*time.Second {
			t.Errorf("cut off for 5 s, and the state is at most %s old", d)
		}
		if d := s.Node(s.WaitLeader("config")).StateAge(); d > 300*time.Millisecond {
			t.Errorf("the leader's state is at most %s old", d)
		}
		s.Close()
	})
}
