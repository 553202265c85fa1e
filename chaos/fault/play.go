package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"example.com/belfry/chaos/process"
)

// Phase is how far a step is.
type Phase string

// The phases, in this order. Begin comes before anything is broken and Broken
// when it is; Healing before anything is undone and Healed when all is;
// Converged when the cluster is whole again. Failed is in place of the last
// two when a fault could not be undone or the cluster did not become whole:
// that is the end.
const (
	Begin     Phase = "begin"
	Broken    Phase = "broken"
	Healing   Phase = "healing"
	Healed    Phase = "healed"
	Converged Phase = "converged"
	Failed    Phase = "failed"
)

// Told is what there is to say of one fault.
type Told struct {
	ID   string `json:"id"` // N1 … N19
	Name string `json:"name"`
	// Minority: the cluster must go on working, as far as this fault goes.
	Minority bool `json:"minority"`
	Cuts     bool `json:"cuts,omitempty"`
	Kills    bool `json:"kills,omitempty"`
	Damages  bool `json:"damages,omitempty"`
	Planned  bool `json:"planned,omitempty"`
	// Known from Broken on: what was done, to which nodes, and whether one of
	// those led before. Skipped says why it could not begin; then nothing was done.
	What    string   `json:"what,omitempty"`
	Nodes   []string `json:"nodes,omitempty"`
	Leader  bool     `json:"leader,omitempty"`
	Skipped string   `json:"skipped,omitempty"`
	// Known from Healed on.
	Aftermath
}

// Report tells of one step of a schedule.
type Report struct {
	Step   int    `json:"step"` // from 0
	Phase  Phase  `json:"phase"`
	Faults []Told `json:"faults"`
	// Took is, in ns, how long it took to break (Broken), to undo (Healed), and
	// from then to converge (Converged, Failed).
	Took time.Duration `json:"took,omitempty"`
	// Applied is the index of every node when all had converged.
	Applied map[string]uint64 `json:"applied,omitempty"`
	Error   string            `json:"error,omitempty"`
}

// undoWithin bounds undoing a fault, and convergeWithin waiting for the
// cluster afterwards. They are far above what is promised (10 s): a checker
// judges Report.Took.
const (
	undoWithin     = 90 * time.Second
	convergeWithin = 60 * time.Second
)

// Play plays s on c, which must be whole, and returns when the last fault is
// undone and the cluster whole again, or with an error when it does not become
// whole or a fault cannot be undone. When ctx ends, what is broken is undone
// and the error is ctx's. notify is called from one goroutine at a time.
func Play(ctx context.Context, s Schedule, c *process.Cluster, notify func(Report)) error {
	if err := s.Validate(); err != nil {
		return err
	}
	begun := time.Now()
	for i := range s.Steps {
		if err := sleep(ctx, time.Until(begun.Add(time.Duration(s.Steps[i].At)))); err != nil {
			return err
		}
		if err := playStep(ctx, s, i, c, notify); err != nil {
			return fmt.Errorf("step %d %v: %w", i, s.Steps[i].Faults, err)
		}
	}
	return sleep(ctx, time.Until(begun.Add(time.Duration(s.Total))))
}

// player plays one step.
type player struct {
	s      Schedule
	i      int // step
	c      *process.Cluster
	notify func(Report)
	told   []Told
	active []Active // as told; without Undo: skipped
}

func playStep(ctx context.Context, s Schedule, i int, c *process.Cluster, notify func(Report)) error {
	p := &player{s: s, i: i, c: c, notify: notify}
	for _, name := range s.Steps[i].Faults {
		x, _ := ByName(name) // Validate found it
		p.told = append(p.told, Told{
			ID: x.ID, Name: x.Name, Minority: x.Minority(s.Nodes), Cuts: x.Cuts, Kills: x.Kills, Damages: x.Damages, Planned: x.Planned,
		})
	}
	p.tell(Report{Phase: Begin})
	p.begin(ctx)
	waitErr := sleep(ctx, time.Duration(s.Steps[i].For))
	// What is broken is made good also when ctx is over.
	if err := errors.Join(p.undo(context.WithoutCancel(ctx)), waitErr); err != nil {
		return err
	}
	return p.converge(ctx)
}

func (p *player) tell(r Report) {
	r.Step, r.Faults = p.i, slices.Clone(p.told)
	p.notify(r)
}

func (p *player) begin(ctx context.Context) {
	// Without a leader now no victim leads.
	leader := ""
	if n, err := (Env{Cluster: p.c}).leader(ctx); err == nil {
		leader = n.ID()
	}
	begun := time.Now()
	step := p.s.Steps[p.i]
	for i, name := range step.Faults {
		x, _ := ByName(name)
		rng := rand.New(rand.NewPCG(p.s.Seed, uint64(p.i)<<8|uint64(i))) //nolint:gosec // a schedule
		a, err := x.Begin(ctx, Env{Cluster: p.c, Rng: rng, For: time.Duration(step.For)})
		if err != nil {
			a = Active{}
			p.told[i].Skipped = err.Error()
		}
		p.active = append(p.active, a)
		p.told[i].What, p.told[i].Nodes = a.What, a.Nodes
		p.told[i].Leader = slices.Contains(a.Nodes, leader)
	}
	p.tell(Report{Phase: Broken, Took: time.Since(begun)})
}

// undo makes good, last first.
func (p *player) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, undoWithin)
	defer cancel()
	p.tell(Report{Phase: Healing})
	begun := time.Now()
	var err error
	for j := len(p.active) - 1; j >= 0; j-- {
		if p.active[j].Undo == nil {
			continue
		}
		after, undoErr := p.active[j].Undo(ctx)
		p.told[j].Aftermath = after
		err = errors.Join(err, undoErr)
	}
	r := Report{Phase: Healed, Took: time.Since(begun)}
	if err != nil {
		r.Phase, r.Error = Failed, err.Error()
	}
	p.tell(r)
	return err
}

func (p *player) converge(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, convergeWithin)
	defer cancel()
	begun := time.Now()
	applied, err := p.c.Converge(ctx)
	r := Report{Phase: Converged, Took: time.Since(begun), Applied: applied}
	if err != nil {
		r.Phase, r.Error = Failed, err.Error()
	}
	p.tell(r)
	return err
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
