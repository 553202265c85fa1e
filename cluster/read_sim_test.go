package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/cluster"
	"example.com/belfry/fsm/model"
)

// acked is what has been acknowledged, or read, so far.
type acked struct {
	mu   sync.Mutex
	cmds []string
}

func (a *acked) add(cmds ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range cmds {
		if !slices.Contains(a.cmds, c) {
			a.cmds = append(a.cmds, c)
		}
	}
}

func (a *acked) list() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.cmds)
}

// read reads linearizably at a node and returns what was acknowledged, or read
// anywhere, before but is not there.
func (s *sim) read(at string, g *cluster.Group, l *ledger, a *acked, limit time.Duration) (ok bool, err error) {
	want := a.list()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := g.Linearize(ctx); err != nil {
		if code := model.CodeOf(err); code != model.CodeUnavailable {
			return false, fmt.Errorf("%s: read: %w", at, err)
		}
		return false, nil
	}
	got := l.list()
	for _, w := range want {
		if !slices.Contains(got, w) {
			return true, fmt.Errorf("%s read %v without %s", at, got, w)
		}
	}
	a.add(got...)
	return true, nil
}

// TestGroup_Linearize_neverStale: INV read-1, read-2, whatever happens to a
// leader, no node's read lacks what was acknowledged or read anywhere before it
// began.
func TestGroup_Linearize_neverStale(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(s *sim, leader string){
		"cut off": func(s *sim, leader string) { s.Net.Isolate(leader, s.Running()...) },
		"cannot send": func(s *sim, leader string) {
			for _, o := range s.others(leader) {
				s.Net.Cut(leader, o)
			}
		},
		"cannot receive": func(s *sim, leader string) {
			for _, o := range s.others(leader) {
				s.Net.Cut(o, leader)
			}
		},
		"one link": func(s *sim, leader string) { s.Net.Isolate(leader, s.others(leader)[0]) },
		"hands over": func(s *sim, leader string) {
			_ = s.Node(leader).TransferLeadership(s.t.Context(), "config")
		},
		"applies late": func(s *sim, leader string) {
			for range 5 {
				time.AfterFunc(50*time.Millisecond, s.ledger(leader).hold())
				time.Sleep(100 * time.Millisecond)
			}
		},
		"nothing": func(*sim, string) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 3)
				s.Net.Latency(500*time.Microsecond, time.Millisecond)
				a := &acked{}
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				var mu sync.Mutex
				reads := 0
				for _, id := range s.Running() {
					g, l := s.config(id), s.ledger(id)
					for range 3 {
						wg.Go(func() {
							for ctx.Err() == nil {
								ok, err := s.read(id, g, l, a, 300*time.Millisecond)
								if err != nil {
									t.Error(err)
								}
								if ok {
									mu.Lock()
									reads++
									mu.Unlock()
								}
								time.Sleep(time.Millisecond)
							}
						})
					}
					wg.Go(func() {
						for i := 0; ctx.Err() == nil; i++ {
							cmd := fmt.Sprintf("%s-%d", id, i)
							c, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
							if _, _, err := g.Propose(c, []byte(cmd)); err == nil {
								a.add(cmd)
							}
							cancel()
							time.Sleep(20 * time.Millisecond)
						}
					})
				}
				for range 2 {
					time.Sleep(300 * time.Millisecond)
					if leader, ok := s.Leader("config"); ok {
						fault(s, leader)
					}
					time.Sleep(1500 * time.Millisecond)
					s.Net.Heal()
				}
				cancel()
				wg.Wait()
				if reads < 100 || len(a.list()) < 50 {
					t.Errorf("only %d reads and %d writes succeeded", reads, len(a.list()))
				}
				s.Close()
			})
		})
	}
}

// stuckLog is a log store whose writes can be held up, as by a disk that hangs.
type stuckLog struct {
	raft.LogStore

	mu   sync.Mutex
	hold chan struct{}
}

func (l *stuckLog) set(hold chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = hold
}

func (l *stuckLog) StoreLogs(ls []*raft.Log) error {
	l.mu.Lock()
	hold := l.hold
	l.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return l.LogStore.StoreLogs(ls)
}

func (l *stuckLog) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// stuckLogs puts a stuckLog under the first group of every node.
func stuckLogs(logs map[string]*stuckLog) func(*cluster.Options) {
	return func(o *cluster.Options) {
		open := o.Stores
		o.Stores = func(group string) (cluster.Stores, error) {
			st, err := open(group)
			if group == "config" && err == nil {
				l := &stuckLog{LogStore: st.Log}
				logs[o.NodeID], st.Log = l, l
			}
			return st, err
		}
	}
}

// TestLeader_stuckDisk: a leader whose disk hangs does not notice that it was
// superseded. INV read-1: it reads nothing stale. INV lease-5: it takes nobody's
// lease for expired.
func TestLeader_stuckDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := map[string]*stuckLog{}
		s := newSim(t, 3, changed(stuckLogs(logs)))
		old := s.WaitLeader("config")
		if err := s.config(old).Linearize(t.Context()); err != nil {
			t.Fatal(err)
		}
		hold := make(chan struct{})
		logs[old].set(hold)
		proposed := make(chan error, 1)
		go func() {
			_, _, err := s.config(old).Propose(t.Context(), []byte("stuck"))
			proposed <- err
		}()
		time.Sleep(10 * time.Millisecond)
		s.Net.Isolate(old, s.Running()...)
		now := ""
		s.Wait("another leader", func() bool {
			for _, id := range s.others(old) {
				if s.config(id).IsLeader() {
					now = id
				}
			}
			return now != ""
		})
		s.propose(now, "config", "new")
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if !s.config(old).IsLeader() {
				t.Error("the old leader has noticed; the test tests nothing")
			}
			for _, c := range s.Node(old).Candidates() {
				if valid, _ := s.Node(c.NodeID).Lease(); c.LeaseExpired && valid {
					t.Errorf("the old leader takes the lease of %s for expired", c.NodeID)
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := s.config(old).Linearize(ctx); model.CodeOf(err) != model.CodeUnavailable {
			t.Errorf("the old leader reads %v, %v", s.ledger(old).list(), err)
		}
		logs[old].set(nil)
		close(hold)
		s.Net.Heal()
		if err := <-proposed; model.CodeOf(err) != model.CodeUnknownOutcome {
			t.Errorf("the proposal that was stuck: %v", err)
		}
		s.WaitVoters(3)
		s.propose(old, "config", "end")
		if got := fmt.Sprint(s.ledger(old).list()); got != "[new end]" {
			t.Errorf("the old leader has %s", got)
		}
		s.Close()
	})
}

// TestGroup_Linearize_firstOfTerm: a new leader that has an acknowledged command
// in its log, but does not know yet that it is committed, does not read
// without it.
func TestGroup_Linearize_firstOfTerm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := map[string]*stuckLog{}
		s := newSim(t, 3, changed(stuckLogs(logs)))
		old := s.WaitLeader("config")
		next, slow := s.others(old)[0], s.others(old)[1]
		s.Net.Cut(old, slow)
		s.Net.Latency(time.Millisecond, 0)
		acked := make(chan error, 1)
		go func() {
			_, _, err := s.config(old).Propose(t.Context(), []byte("x"))
			acked <- err
		}()
		time.Sleep(1500 * time.Microsecond)
		s.Net.Cut(old, next) // it has the entry, and will not hear of the commitment
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
		if got := s.ledger(next).list(); len(got) != 0 {
			t.Fatalf("%v is applied on the next leader; the test tests nothing", got)
		}
		hold := make(chan struct{})
		logs[slow].set(hold)
		s.Crash(old)
		s.Net.Heal()
		if got := s.WaitLeader("config"); got != next {
			t.Errorf("%s leads without the command", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.config(next).Linearize(ctx); err == nil {
			t.Errorf("read %v before the log of the term went on", s.ledger(next).list())
		}
		logs[slow].set(nil)
		close(hold)
		if err := s.config(next).Linearize(t.Context()); err != nil || len(s.ledger(next).list()) != 1 {
			t.Errorf("read %v, %v", s.ledger(next).list(), err)
		}
		s.Close()
	})
}

// TestGroup_Linearize_leaderBehind: INV read-2, a follower may apply what is
// committed before the leader does. Once somebody has read it there, no read
// lacks it: not at the leader, whose state does not have it yet, and nowhere else.
// Nor does a node that lacks it take its state for younger than that.
func TestGroup_Linearize_leaderBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		leader := s.WaitLeader("config")
		first, late := s.others(leader)[0], s.others(leader)[1]
		s.propose(leader, "config", "before")
		s.Wait("it is everywhere", func() bool { return s.ledger(first).length() == 1 && s.ledger(late).length() == 1 })
		release, releaseLate := s.ledger(leader).hold(), s.ledger(late).hold()
		answered := make(chan error, 1)
		go func() {
			_, _, err := s.config(first).Propose(t.Context(), []byte("x"))
			answered <- err
		}()
		s.Wait("x at a follower", func() bool { return s.ledger(first).length() == 2 })
		a := &acked{}
		a.add("before")
		if ok, err := s.read(first, s.config(first), s.ledger(first), a, time.Second); !ok || err != nil {
			t.Fatalf("the follower reads: %v, %v", ok, err)
		}
		a.add("x") // it has been seen
		for _, id := range s.Running() {
			ok, err := s.read(id, s.config(id), s.ledger(id), a, 500*time.Millisecond)
			if err != nil {
				t.Error(err)
			}
			if id == first {
				continue
			}
			if ok {
				t.Errorf("%s reads what it has not applied", id)
			}
			if age := s.Node(id).StateAge(); age < 500*time.Millisecond {
				t.Errorf("%s takes its state for %v old; it leads: %t", id, age, id == leader)
			}
		}
		release()
		releaseLate()
		if err := <-answered; err != nil {
			t.Error(err)
		}
		for _, id := range s.Running() {
			if ok, err := s.read(id, s.config(id), s.ledger(id), a, time.Second); !ok || err != nil {
				t.Errorf("%s reads after all: %v, %v", id, ok, err)
			}
		}
		s.Close()
	})
}
