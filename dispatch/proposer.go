package dispatch

import "context"

// Proposer appends a command to the log of the event group and returns after
// this node has applied it, with the answer of the state machine. The error is
// a *model.Error; CodeUnavailable says that nothing was appended,
// CodeUnknownOutcome that it may still be applied, or with an index that it was
// and this node does not have it yet.
type Proposer interface {
	Propose(ctx context.Context, cmd []byte) (index uint64, resp []byte, err error)
}
