package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/cluster"
	"example.com/belfry/cluster/clustertest"
)

// leaseWatch looks, as a duty of the leader, whether what Candidates says of
// leases is true.
type leaseWatch struct {
	mu    sync.Mutex
	nodes map[string]*cluster.Node // those that run
	bad   []string
	looks int
}

func newLeaseWatch() *leaseWatch { return &leaseWatch{nodes: map[string]*cluster.Node{}} }

// watched has the duty on every node.
func (w *leaseWatch) watched(o *clustertest.Options) {
	o.Started = func(n *cluster.Node) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.nodes[n.NodeID()] = n
		n.AddDuty("config", leaseDuty{w, n})
	}
}

// crash ends a node; what it had is over.
func (w *leaseWatch) crash(s *sim, id string) {
	w.mu.Lock()
	delete(w.nodes, id)
	w.mu.Unlock()
	s.Crash(id)
}

func (w *leaseWatch) check(t *testing.T, atLeast int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.bad {
		t.Error(b)
	}
	if w.looks < atLeast {
		t.Errorf("a leader looked only %d times", w.looks)
	}
}

// look checks the leases that were valid before the list was made and still
// are: INV lease-1, lease-2, lease-3 and member-1 together.
func (w *leaseWatch) look(leader *cluster.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ends := map[string]time.Time{}
	for id, n := range w.nodes {
		if valid, until := n.Lease(); valid {
			ends[id] = until
		}
	}
	said := map[string]cluster.Candidate{}
	for _, c := range leader.Candidates() {
		said[c.NodeID] = c
	}
	w.looks++
	for id, end := range ends {
		if c, ok := said[id]; time.Now().Before(end) && (!ok || c.LeaseExpired) {
			w.bad = append(w.bad, fmt.Sprintf("%s says of %s (listed %v): %+v, while its lease is valid for %s", leader.NodeID(), id, ok, c, time.Until(end)))
		}
	}
}

type leaseDuty struct {
	w *leaseWatch
	n *cluster.Node
}

func (leaseDuty) Name() string { return "watch" }

func (d leaseDuty) Run(ctx context.Context, _ uint64) error {
	for ctx.Err() == nil {
		d.w.look(d.n)
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

func leased(n *cluster.Node) bool {
	valid, _ := n.Lease()
	return valid
}

// TestLease_silentNode: a node that is cut off loses its lease within the lease
// time, and the leader says so after that and soon.
func TestLease_silentNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newLeaseWatch()
		s := newSim(t, 3, w.watched)
		leader := s.WaitLeader("config")
		gone := s.others(leader)[0]
		expired := func(want bool) bool {
			for _, c := range s.Node(leader).Candidates() {
				if c.NodeID == gone {
					return c.LeaseExpired == want && c.Live != want
				}
			}
			return false
		}
		if !leased(s.Node(gone)) || !expired(false) {
			t.Fatal("no lease at the beginning")
		}
		s.Net.Isolate(gone, s.Running()...)
		begin := time.Now()
		s.Wait("the lease has run out", func() bool { return !leased(s.Node(gone)) })
		if d := time.Since(begin); d > cluster.DefaultLeaseTTL {
			t.Errorf("the lease lasted %s", d)
		}
		s.Wait("the leader says so", func() bool { return expired(true) })
		if d := time.Since(begin); d > cluster.DefaultLeaseTTL*12/10 {
			t.Errorf("the leader said so after %s", d)
		}
		s.Net.Heal()
		s.Wait("the lease is back", func() bool { return leased(s.Node(gone)) && expired(false) })
		w.check(t, 100)
		s.Close()
	})
}

// TestLease_keptAcross: what befalls others does not cost a node its lease: the
// end of a node that leads only another group, and a new leader.
func TestLease_keptAcross(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lead string // the group that the node leads, which goes away
		end  func(s *sim, id string)
	}{
		"another group's leader is cut off": {"events", func(s *sim, id string) { s.Net.Isolate(id, s.Running()...) }},
		"another group's leader ends":       {"events", func(s *sim, id string) { s.Crash(id) }},
		"the leader hands over":             {"config", func(s *sim, id string) { _ = s.Node(id).HandOver(s.t.Context()) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 3)
				s.leads("n1", "config")
				s.leads("n1", "events")
				s.leads("n2", c.lead)
				time.Sleep(2 * time.Second)
				c.end(s, "n2")
				for range 500 {
					for _, id := range []string{"n1", "n3"} {
						if !leased(s.Node(id)) {
							t.Errorf("%s has lost its lease", id)
							s.Close()
							return
						}
					}
					time.Sleep(10 * time.Millisecond)
				}
				s.Close()
			})
		})
	}
}

// TestLease_removedNode: INV member-1, a node is taken out when its lease has
// run out, so that a new leader, who knows nothing of it, is right to give its
// work to others.
func TestLease_removedNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newLeaseWatch()
		s := newSim(t, 3, w.watched)
		leader := s.WaitLeader("config")
		gone := s.others(leader)[0]
		done := make(chan error, 1)
		go func() { done <- s.Node(leader).RemoveNode(t.Context(), gone) }()
		s.Wait("it is taken out", func() bool {
			members := s.config(leader).Members()
			if members == 2 && leased(s.Node(gone)) {
				t.Error("it is taken out with a lease")
			}
			return members == 2
		})
		w.crash(s, leader)
		<-done
		rest := s.others(gone)[0]
		s.Start(leader) // two are needed
		s.Wait("another looks", func() bool { return s.config(rest).IsLeader() || s.config(leader).IsLeader() })
		time.Sleep(3 * time.Second)
		w.check(t, 100)
		s.Close()
	})
}

// TestNode_Drain: the leader gives a draining node no work, and it keeps its
// lease for what it has; then it hands over what it leads.
func TestNode_Drain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		leader := s.WaitLeader("config")
		for _, id := range []string{s.others(leader)[0], leader} {
			if err := s.Node(id).Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, c := range s.Node(leader).Candidates() {
				if c.NodeID == id && (!c.Draining || !c.Live || c.LeaseExpired) {
					t.Errorf("the leader says %+v", c)
				}
			}
			if !leased(s.Node(id)) {
				t.Errorf("%s has no lease", id)
			}
		}
		if err := s.Node(leader).HandOver(t.Context()); err != nil {
			t.Error(err)
		}
		for _, g := range []string{"config", "events"} {
			if now := s.WaitLeader(g); now == leader {
				t.Errorf("%s leads %s after it has handed over", now, g)
			}
		}
		if err := s.Node(leader).HandOver(t.Context()); err != nil {
			t.Errorf("with nothing to hand over: %v", err)
		}
		s.Net.Isolate("n1", s.Running()...)
		s.Wait("n1 knows no leader", func() bool {
			_, ok := s.config("n1").Leader()
			return !ok
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Node("n1").Drain(ctx); leader != "n1" && err == nil && s.Node("n1").Ready(ctx) == nil {
			t.Error("drained without a leader")
		}
		s.Close()
	})
}

// TestNode_HandOver_alone: a node alone keeps what it leads.
func TestNode_HandOver_alone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		if err := s.Node("n1").HandOver(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.Node("n1").Drain(t.Context()); err != nil {
			t.Error(err)
		}
		s.propose("n1", "config", "x")
		if !leased(s.Node("n1")) {
			t.Error("no lease")
		}
		s.Close()
	})
}

// TestLease_lateAnswer: INV lease-1, a lease counts from before its report was
// sent, however late the answer comes.
func TestLease_lateAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		leader := s.WaitLeader("config")
		at := s.others(leader)[0]
		s.Net.Latency(10*time.Millisecond, 0)
		time.Sleep(time.Second)
		s.Net.Cut(leader, at)
		begin := time.Now()
		time.Sleep(700 * time.Millisecond)
		_, before := s.Node(at).Lease()
		s.Net.Heal()
		time.Sleep(5 * time.Millisecond)
		s.Net.Isolate(at, s.Running()...)
		time.Sleep(100 * time.Millisecond)
		_, until := s.Node(at).Lease()
		if !until.After(before) {
			t.Error("the late answer has not come; the test tests nothing")
		}
		// It was sent with the next report after the cut.
		if d := until.Sub(begin); d > cluster.DefaultLeaseTTL+cluster.DefaultLeaseTTL/5 {
			t.Errorf("the lease ends %s after the leader was cut off", d)
		}
		s.Close()
	})
}

// TestLease_leaderWithoutQuorum: what a leader grants that has lost its quorum
// and has not noticed ends within the lease time since it had one.
func TestLease_leaderWithoutQuorum(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 5)
		for range 10 {
			leader := s.WaitLeader("config")
			at := s.others(leader)[0]
			for _, o := range s.others(leader, at) {
				s.Net.Isolate(o, leader, at)
			}
			lost := time.Now()
			var until time.Time
			s.Wait("nobody leads here", func() bool {
				for _, id := range []string{leader, at} {
					if _, end := s.Node(id).Lease(); end.After(until) {
						until = end
					}
				}
				return !s.config(leader).IsLeader()
			})
			if d := until.Sub(lost); d > cluster.DefaultLeaseTTL {
				t.Errorf("a lease lasts until %s after the quorum was lost", d)
			}
			s.Net.Heal()
			s.WaitVoters(5)
			time.Sleep(time.Second)
		}
		s.Close()
	})
}
