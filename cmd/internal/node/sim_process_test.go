package node

import (
	"context"
	"time"

	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

// pause stops a node as SIGSTOP does, as far as others can tell: nothing that
// it sends leaves it, nothing that reaches it is read, its disk does not move,
// and clients and webhooks wait for it. What it does not model is that the
// goroutines of the node stand still: its timers fire, so it knows by its own
// doing that time has passed, where a real one learns of it from its clock
// when it goes on. ChaosPause stops real processes.
func (n *simNode) pause() {
	if n.down.Load() {
		return
	}
	n.s.Net.Isolate(n.id, n.s.ids...)
	n.s.Disk(n.id).Pause()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.paused == nil {
		n.paused = make(chan struct{})
	}
}

// resume ends a pause.
func (n *simNode) resume() {
	if n.goOn() {
		n.s.Net.Join(n.id)
	}
}

// goOn ends a pause, but leaves the node cut off. It reports whether the node
// was paused.
func (n *simNode) goOn() bool {
	n.mu.Lock()
	paused := n.paused
	n.paused = nil
	n.mu.Unlock()
	if paused == nil {
		return false
	}
	close(paused)
	n.s.Disk(n.id).Resume()
	return true
}

// runs waits while the node is paused, and reports false when it has ended or
// ctx is over.
func (n *simNode) runs(ctx context.Context) bool {
	for {
		n.mu.Lock()
		paused := n.paused
		n.mu.Unlock()
		if paused == nil {
			return !n.down.Load() && ctx.Err() == nil
		}
		select {
		case <-paused:
		case <-n.dead:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// setClock sets the wall clock of a node off by d.
func (s *sim) setClock(id string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clock[id].Swap(int64(d)) != int64(d) {
		s.clocks++
	}
}

// off reports whether a clock is off.
func (s *sim) off() bool {
	for _, id := range s.ids {
		if s.clock[id].Load() != 0 {
			return true
		}
	}
	return false
}

// now is what the wall clock of the node shows.
func (n *simNode) now() time.Time {
	return time.Now().Add(time.Duration(n.s.clock[n.id].Load()))
}

// mortal proposes as long as the node lives, with the times of its wall clock.
type mortal struct {
	n     *simNode
	group string
}

func (m mortal) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	if !m.n.runs(ctx) {
		return 0, nil, model.Errorf(model.CodeUnavailable, "the node is dead")
	}
	if m.group == groupEvents {
		cmd = m.n.stamped(cmd)
	}
	index, resp, err := m.n.cluster.Group(m.group).Propose(ctx, cmd)
	m.n.runs(ctx) // what it would learn is no answer before it goes on
	return index, resp, err
}

// catchUp brings the config of the node up to date, as members.Linearize does.
func (n *simNode) catchUp(ctx context.Context) error {
	if !n.runs(ctx) {
		return model.Errorf(model.CodeUnavailable, "the node is dead")
	}
	err := n.cluster.Group(groupConfig).Linearize(ctx)
	n.runs(ctx)
	return err
}

// stamped is a command of the event group with the times as the node's wall
// clock shows them. The node itself waits by the right clock: as does a node
// whose clock is set right after it has stamped, or the next owner of what was
// stamped. Its leases are not concerned, for they are on the monotonic clock.
func (n *simNode) stamped(cmd []byte) []byte {
	off := time.Duration(n.s.clock[n.id].Load())
	if off == 0 {
		return cmd
	}
	c, err := outbox.Decode(cmd)
	if err != nil {
		n.s.t.Errorf("%s proposes what nobody can decode: %v", n.id, err)
		return cmd
	}
	switch c := c.(type) {
	case *outbox.Accept:
		c.At = c.At.Add(off)
		for i := range c.Events {
			if !c.Events[i].ForgetAt.IsZero() {
				c.Events[i].ForgetAt = c.Events[i].ForgetAt.Add(off)
			}
		}
	case *outbox.Settle:
		c.At = c.At.Add(off)
		for i := range c.Settlements {
			if !c.Settlements[i].NextAt.IsZero() {
				c.Settlements[i].NextAt = c.Settlements[i].NextAt.Add(off)
			}
		}
	default: // the others carry no time, or are not proposed here
	}
	return outbox.Encode(c)
}
