package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/cluster"
	"example.com/belfry/cluster/clustertest"
)

// runs notes when a duty runs.
type runs struct {
	mu   sync.Mutex
	list []run
}

type run struct {
	node       string
	term       uint64
	begin, end time.Time // end zero: it still runs
	commands   int       // what the state had when it began
}

func (r *runs) all() []run {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// duty is a duty of a test.
type duty struct {
	r    *runs
	n    *cluster.Node
	s    *atomic.Pointer[sim] // once the cluster is up
	last time.Duration        // how long a run lasts; 0: until its term ends
	err  error
}

func (duty) Name() string { return "test" }

func (d duty) Run(ctx context.Context, term uint64) error {
	begun := run{node: d.n.NodeID(), term: term, begin: time.Now()}
	if s := d.s.Load(); s != nil {
		begun.commands = len(s.ledger(begun.node).list())
	}
	d.r.mu.Lock()
	i := len(d.r.list)
	d.r.list = append(d.r.list, begun)
	d.r.mu.Unlock()
	if d.last > 0 {
		select {
		case <-time.After(d.last):
		case <-ctx.Done():
		}
	} else {
		<-ctx.Done()
	}
	d.r.mu.Lock()
	d.r.list[i].end = time.Now()
	d.r.mu.Unlock()
	return d.err
}

// TestDuty_oncePerTerm: a duty runs on the leader, once per term, on a state
// that has everything acknowledged before, and ends with the term.
func TestDuty_oncePerTerm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Pointer[sim]
		r := &runs{}
		s := newSim(t, 3, func(o *clustertest.Options) {
			o.Started = func(n *cluster.Node) { n.AddDuty("config", duty{r: r, n: n, s: &up}) }
		})
		up.Store(s)
		acked := 0
		for i := range 12 {
			leader := s.WaitLeader("config")
			s.Wait("its duty runs", func() bool {
				rs := r.all()
				last := rs[len(rs)-1]
				return last.node == leader && last.end.IsZero()
			})
			for range 5 {
				s.propose(s.Running()[i%3], "config", fmt.Sprint(acked))
				acked++
			}
			before := len(r.all())
			switch i % 4 {
			case 0:
				if err := s.Node(leader).TransferLeadership(t.Context(), "config"); err != nil {
					t.Fatal(err)
				}
			case 1:
				s.Net.Isolate(leader, s.Running()...)
			case 2:
				s.Crash(leader)
			default: // it loses the leadership and may win it again
				for _, o := range s.others(leader) {
					s.Net.Cut(o, leader)
				}
				time.Sleep(400 * time.Millisecond)
			}
			s.Wait("the duty runs again", func() bool { return len(r.all()) > before })
			rs := r.all()
			if got := rs[len(rs)-1].commands; got < acked {
				t.Errorf("round %d: a duty began on %d of %d commands", i, got, acked)
			}
			s.Net.Heal()
			if s.Node(leader) == nil {
				s.Start(leader)
			}
			s.WaitVoters(3)
		}
		rs := r.all()
		terms := map[uint64]bool{}
		for i, x := range rs {
			if terms[x.term] {
				t.Errorf("the duty ran twice in term %d", x.term)
			}
			terms[x.term] = true
			if i < len(rs)-1 && (x.end.IsZero() || x.end.Sub(rs[i+1].begin) > cluster.DefaultHeartbeat) {
				t.Errorf("the run of term %d on %s went on %s into that of term %d", x.term, x.node, x.end.Sub(rs[i+1].begin), rs[i+1].term)
			}
		}
		s.Close()
	})
}

// TestDuty_runsAgain: a duty that returns is run again after a pause, with an
// error or without.
func TestDuty_runsAgain(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"nil": nil, "error": errors.New("it failed")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const last, pause = 300 * time.Millisecond, 200 * time.Millisecond
				var up atomic.Pointer[sim]
				r := &runs{}
				s := newSim(t, 1, func(o *clustertest.Options) {
					o.Started = func(n *cluster.Node) { n.AddDuty("events", duty{r: r, n: n, s: &up, last: last, err: err}) }
				})
				time.Sleep(5 * time.Second)
				rs := r.all()
				s.Close()
				if len(rs) < 8 {
					t.Fatalf("it ran %d times", len(rs))
				}
				for i, x := range rs[1:] {
					if d := x.begin.Sub(rs[i].begin); d != last+pause || x.term != rs[0].term {
						t.Errorf("it ran again after %s in term %d", d, x.term)
					}
				}
			})
		})
	}
}
