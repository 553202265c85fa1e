package partition

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/belfry/fsm/model"
)

// group is the config group and the cluster, as far as the duty sees them.
type group struct {
	mu        sync.Mutex
	members   []Member
	table     model.PartitionTable
	proposals int
	looks     int
	// before, when not nil, answers a proposal; lose: after it was applied.
	before func() (lose bool, err error)
}

func (g *group) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looks++
	return g.members
}

func (g *group) Table() model.PartitionTable {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.table
}

func (g *group) SetPartitions(_ context.Context, prevVersion uint64, t model.PartitionTable) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.proposals++
	var lose bool
	var err error
	if g.before != nil {
		if lose, err = g.before(); err != nil && !lose {
			return err
		}
	}
	if prevVersion != g.table.Version {
		return model.Errorf(model.CodeConflict, "the table moved on")
	}
	g.table = t
	return err
}

func (g *group) set(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

func (g *group) seen() (proposals, looks int, version uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.proposals, g.looks, g.table.Version
}

// start runs the duty in the bubble and returns how to stop it.
func start(t *testing.T, g *group, o DutyOptions) (stop func()) {
	t.Helper()
	o.Members, o.Tables, o.Proposer = g, g, g
	d, err := NewDuty(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx, 1) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// TestDutyWritesOnlyChanges: INV partition-5.
func TestDutyWritesOnlyChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewPedanticRegistry()
		g := &group{members: live("n1", "n2", "n3")}
		stop := start(t, g, DutyOptions{Registerer: reg})
		time.Sleep(time.Minute)
		if proposals, looks, version := g.seen(); proposals != 1 || version != 1 || looks < 300 {
			t.Errorf("%d proposals in %d looks, version %d; want one proposal", proposals, looks, version)
		}
		g.set(func() { g.members = live("n1", "n2") })
		time.Sleep(DefaultInterval)
		synctest.Wait()
		if proposals, _, version := g.seen(); proposals != 2 || version != 2 {
			t.Errorf("%d proposals, version %d after a node left, want 2 and 2", proposals, version)
		}
		stop()
		if n, err := testutil.GatherAndCount(reg); n != 2 || err != nil {
			t.Errorf("%d metrics, error %v", n, err)
		}
	})
}

func TestDutyLooksWhenTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		changed := make(chan struct{}, 1)
		g := &group{}
		stop := start(t, g, DutyOptions{Interval: time.Hour, Changed: changed})
		synctest.Wait()
		g.set(func() { g.members = live("n1") })
		changed <- struct{}{}
		synctest.Wait()
		if _, _, version := g.seen(); version != 1 {
			t.Errorf("version %d right after the signal, want 1", version)
		}
		stop()
	})
}

func TestDutyReadsAgainAfterFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		lose      bool
		code      model.Code
		proposals int // until the table is right
	}{
		{"unavailable", false, model.CodeUnavailable, 4},
		{"lost answer", true, model.CodeUnknownOutcome, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				left := 3
				g := &group{members: live("n1", "n2")}
				g.before = func() (bool, error) {
					if left == 0 {
						return false, nil
					}
					left--
					return c.lose, model.Errorf(c.code, "as the test wants it")
				}
				stop := start(t, g, DutyOptions{})
				time.Sleep(10 * DefaultInterval)
				if proposals, _, version := g.seen(); proposals != c.proposals || version != 1 {
					t.Errorf("%d proposals, version %d; want %d and 1", proposals, version, c.proposals)
				}
				stop()
			})
		})
	}
}

// TestDutyMeetsAnotherLeader: the table changed between look and proposal.
func TestDutyMeetsAnotherLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &group{members: live("n1", "n2")}
		g.before = func() (bool, error) {
			g.before = nil
			g.table = Assign(g.table, live("n1"))
			return false, nil
		}
		stop := start(t, g, DutyOptions{})
		time.Sleep(5 * DefaultInterval)
		if proposals, _, version := g.seen(); proposals != 2 || version != 2 || counts(g.Table())["n2"] != 32 {
			t.Errorf("%d proposals, version %d, owners %v", proposals, version, counts(g.Table()))
		}
		stop()
	})
}

// TestDutyBoundsAProposal: one that hangs does not hang the duty.
func TestDutyBoundsAProposal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &group{members: live("n1")}
		h := &hanging{group: g}
		d, err := NewDuty(DutyOptions{Members: g, Tables: g, Proposer: h})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*DefaultProposeTimeout-time.Second)
		defer cancel()
		if err := d.Run(ctx, 1); err != nil {
			t.Error(err)
		}
		if h.n != 3 {
			t.Errorf("%d proposals, want 3", h.n)
		}
	})
}

type hanging struct {
	*group
	n int
}

func (h *hanging) SetPartitions(ctx context.Context, _ uint64, _ model.PartitionTable) error {
	h.n++
	<-ctx.Done()
	return model.Errorf(model.CodeUnknownOutcome, "no answer").WithCause(ctx.Err())
}

func TestDutyOptions(t *testing.T) {
	t.Parallel()
	g := &group{}
	ok := DutyOptions{Members: g, Tables: g, Proposer: g}
	for name, change := range map[string]func(*DutyOptions){
		"no members":       func(o *DutyOptions) { o.Members = nil },
		"no tables":        func(o *DutyOptions) { o.Tables = nil },
		"no proposer":      func(o *DutyOptions) { o.Proposer = nil },
		"negative wait":    func(o *DutyOptions) { o.Interval = -1 },
		"negative timeout": func(o *DutyOptions) { o.ProposeTimeout = -1 },
	} {
		o := ok
		change(&o)
		if _, err := NewDuty(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := NewDuty(ok); err != nil {
		t.Error(err)
	}
}
