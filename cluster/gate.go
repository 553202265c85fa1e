package cluster

import (
	"context"
	"sync"
)

// gate keeps proposals waiting while the leader hands over. The zero gate is
// open.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when the gate opens; nil: it is open
}

// close shuts the gate, unless it is shut already.
func (g *gate) close() (open func(), mine bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		return nil, false
	}
	shut := make(chan struct{})
	g.shut = shut
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.shut = nil
		close(shut)
	}, true
}

// pass waits until the gate is open, or for ctx.
func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return nil
	}
	select {
	case <-shut:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
