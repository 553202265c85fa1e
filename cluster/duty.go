package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Duty is work of a group's leader. Run is called with the term once this node
// leads it and has applied everything of earlier terms; ctx ends when it leads
// no more. A Run that returns earlier is called again after dutyPause.
type Duty interface {
	Name() string
	Run(ctx context.Context, term uint64) error
}

// dutyPause is between two runs of a duty that returned in the same term, and
// between two tries to confirm a term.
const dutyPause = 200 * time.Millisecond

// AddDuty gives a group's leader something to do. Call it before Run.
func (n *Node) AddDuty(group string, d Duty) {
	g := n.Group(group)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.duties = append(g.duties, d)
}

// lead runs the duties of the group in every term that this node leads, until
// ctx ends.
func (g *Group) lead(ctx context.Context) {
	g.mu.Lock()
	duties := append([]Duty{reconciler{g}}, g.duties...)
	g.mu.Unlock()
	for ctx.Err() == nil {
		changed := g.LeaderChanged()
		if g.raft.State() == raft.Leader {
			g.serveTerm(ctx, g.raft.CurrentTerm(), duties)
			if g.raft.State() == raft.Leader {
				sleep(ctx, dutyPause)
				continue
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// serveTerm returns when the term is over for this node.
func (g *Group) serveTerm(ctx context.Context, term uint64, duties []Duty) {
	g.n.leads(g.name, term)
	if err := g.passBarrier(ctx, term); err != nil {
		g.log.Debug("leadership ended before it began", "term", term, "error", err)
		return
	}
	g.log.Info("this node leads", "term", term)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, d := range duties {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := d.Run(ctx, term); err != nil && ctx.Err() == nil {
					g.log.Error("a duty of the leader ended and will be run again", "duty", d.Name(), "error", err)
				}
				sleep(ctx, dutyPause)
			}
		})
	}
	for {
		changed := g.LeaderChanged()
		if g.raft.State() != raft.Leader || g.raft.CurrentTerm() != term {
			g.log.Info("this node does not lead any more", "term", term)
			cancel()
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// sleep waits for d or ctx and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
