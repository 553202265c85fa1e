package cluster

import (
	"context"
	"errors"
	"time"
)

// errSucceeded ends the wait for a leader that another one has followed.
var errSucceeded = errors.New("another leader was elected before the one that was asked answered")

// untilSuccessor gives a context for a question to the leader that was known
// just before. It ends grace after this node has learnt of another leader, or of
// a later term of the same one: a leader that hangs or was cut off leaves its
// connections open, and the wait for its answer would be in vain. What the
// question did there is not known then.
func (g *Group) untilSuccessor(ctx context.Context, leader string, grace time.Duration) (context.Context, context.CancelFunc) {
	term := g.Term()
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		if g.awaitSuccessor(ctx, leader, term) && sleep(ctx, grace) {
			cancel(errSucceeded)
		}
	}()
	return ctx, func() { cancel(nil) }
}

// awaitSuccessor returns true when a leader is known that is not the one of
// the given term, or false at the end of ctx.
func (g *Group) awaitSuccessor(ctx context.Context, leader string, term uint64) bool {
	for {
		changed := g.LeaderChanged()
		if now, ok := g.Leader(); ok && (now != leader || g.Term() != term) {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}
