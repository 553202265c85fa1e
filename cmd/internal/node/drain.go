package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/belfry/dispatch"
)

const (
	// quietCheck is how often a node that is drained looks whether it has ended
	// what it does.
	quietCheck = 50 * time.Millisecond
	// movingTimeout is how long a drained node that still owns partitions waits
	// for them to move before it delivers again what they owe: nobody may be
	// able to take them.
	movingTimeout = 10 * time.Second
)

var errDrained = errors.New("an operator has drained this node: it delivers nothing until its drain is ended")

// gate is the lease of the dispatcher. A node that is drained closes it, ends
// what is in flight and only then gives its partitions away: the epoch of the
// next owner would refuse the settlements of the rest, which would be sent twice.
type gate struct {
	of     dispatch.Lease
	closed atomic.Pointer[context.Context] // of the drain that closed it; nil: it is open
}

// Lease is that of the node while the gate is open.
func (g *gate) Lease() (valid bool, until time.Time) {
	if g.closed.Load() != nil {
		return false, time.Time{}
	}
	return g.of.Lease()
}

// drainer ends what a drained node does.
type drainer struct {
	gate *gate
	busy func(ctx context.Context) (int, error)
	// owned counts the node's partitions.
	owned   func() int
	timeout time.Duration // for what is in flight
	log     hclog.Logger
}

// quiesce returns when nothing is in flight, after the timeout, or at the end
// of ctx. The gate opens again when the partitions have moved, or cannot.
func (d *drainer) quiesce(ctx context.Context) {
	d.gate.closed.Store(&ctx)
	d.log.Info("this node is drained: it ends what is in flight, then its partitions move")
	if ctx.Err() == nil && !d.until(ctx, d.timeout, func() bool {
		n, err := d.busy(ctx)
		return err == nil && n == 0
	}) && ctx.Err() == nil {
		d.log.Warn("requests did not end in time; what they were sent for is sent again by the next owner")
	}
	// On a goroutine of its own, as the partitions move only after the return.
	go func() {
		d.until(ctx, movingTimeout, func() bool { return d.owned() == 0 })
		d.gate.closed.CompareAndSwap(&ctx, nil) // unless there is another drain by now
	}()
}

// until asks every quietCheck until ok; it reports whether that was in time.
func (d *drainer) until(ctx context.Context, limit time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(quietCheck)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// quiesce is that of the cluster's options. Before there is a dispatcher,
// nothing is in flight.
func (n *Node) quiesce(ctx context.Context) {
	if d := n.drainer.Load(); d != nil {
		d.quiesce(ctx)
	}
}

// undrained is the readiness check of a node that may be drained.
func (n *Node) undrained(context.Context) error {
	if n.cluster.Drained() {
		return errDrained
	}
	return nil
}
