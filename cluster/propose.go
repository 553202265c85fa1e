package cluster

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/fsm/model"
)

const (
	methodPropose = "propose/"
	methodRead    = "read/"

	firstRetry = 20 * time.Millisecond
	lastRetry  = 250 * time.Millisecond

	frameOK    byte = 0
	frameError byte = 1
	frameHead       = 1 + 8
)

// outcome is what the state machine answered at an index.
type outcome struct {
	index uint64
	resp  []byte
	err   error
}

// Propose replicates cmd and returns the index it was applied at and what the
// state machine answered, once the state of this node has that index. On a
// follower it goes to the leader, one hop.
//
// Errors are *model.Error: what the state machine answered (then index is
// set); CodeUnavailable when provably nothing was appended, after LeaderWait
// or the end of ctx; CodeUnknownOutcome when cmd may still be applied, or is
// and the state of this node does not have it after LeaderWait (index is set);
// CodeTooLarge over MaxCommand. INV propose-1: a command is sent again only on
// proof that it was not appended. So the outcome is unknown too when the leader
// is silent and another one was elected: that is said a heartbeat after this
// node has learnt of it.
func (g *Group) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	if len(cmd) > MaxCommand {
		return 0, nil, model.Errorf(model.CodeTooLarge, "a command of %d bytes is over the limit of %d", len(cmd), MaxCommand)
	}
	var o outcome
	err := g.untilLeader(ctx, func() (err error) {
		o, err = g.tryPropose(ctx, cmd)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	if err := g.keepUp(ctx, o.index); err != nil {
		return o.index, nil, model.Errorf(model.CodeUnknownOutcome, "the change is committed but this node has not caught up with it").WithCause(err)
	}
	return o.index, o.resp, o.err
}

// untilLeader runs try again as long as it says CodeUnavailable, within
// LeaderWait and ctx.
func (g *Group) untilLeader(ctx context.Context, try func() error) error {
	return g.until(ctx, g.n.o.LeaderWait, try)
}

func (g *Group) until(ctx context.Context, limit time.Duration, try func() error) error {
	giveUp := time.NewTimer(limit)
	defer giveUp.Stop()
	delay := firstRetry
	for {
		changed := g.LeaderChanged()
		err := try()
		if err == nil {
			return nil
		}
		e, ok := errors.AsType[*model.Error](err)
		if !ok || e.Code != model.CodeUnavailable {
			return err
		}
		e = e.WithCause(err)
		e.RetryAfter = 1
		again := time.NewTimer(delay + rand.N(delay)) //nolint:gosec // spreads retries
		select {
		case <-changed:
		case <-again.C:
		case <-giveUp.C:
			again.Stop()
			return e
		case <-ctx.Done():
			again.Stop()
			return e
		case <-g.n.ctx.Done():
			again.Stop()
			return e
		}
		again.Stop()
		delay = min(2*delay, lastRetry)
	}
}

func (g *Group) tryPropose(ctx context.Context, cmd []byte) (outcome, error) {
	if ctx.Err() != nil {
		return outcome{}, errNoLeader.WithCause(ctx.Err())
	}
	if g.IsLeader() {
		return g.apply(ctx, cmd)
	}
	leader, ok := g.Leader()
	if !ok || leader == g.n.o.NodeID {
		return outcome{}, errNoLeader
	}
	g.metrics.forwarded.Inc()
	// A leader that hands over answers what it has taken, a little later than
	// its successor shows itself.
	ctx, cancel := g.untilSuccessor(ctx, leader, g.n.o.HeartbeatTimeout)
	defer cancel()
	reply, err := g.n.trans.Call(ctx, leader, methodPropose+g.name, cmd)
	if err != nil {
		return outcome{}, err
	}
	return decodeOutcome(reply)
}

// apply proposes to the local raft.
func (g *Group) apply(ctx context.Context, cmd []byte) (outcome, error) {
	begin := time.Now()
	if err := g.gate.pass(ctx); err != nil {
		return outcome{}, errNotLeader.WithCause(err)
	}
	var f raft.ApplyFuture
	err := g.wait(ctx, func() raft.Future {
		f = g.raft.ApplyLog(raft.Log{Data: cmd}, g.n.o.LeaderWait)
		return f
	})
	switch {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout):
		return outcome{}, errNotLeader.WithCause(err)
	default: // leadership lost, timeout, shutdown, a failed disk: it may be in the log
		return outcome{}, model.Errorf(model.CodeUnknownOutcome, "the outcome of the change is not known; it may be repeated with the same id").WithCause(err)
	}
	g.metrics.commit.Observe(time.Since(begin).Seconds())
	o := outcome{index: f.Index()}
	switch r := f.Response().(type) {
	case nil:
	case []byte:
		o.resp = r
	case error:
		o.err = r
		if _, ok := errors.AsType[*model.Error](r); !ok {
			o.err = model.Errorf(model.CodeInternal, "internal error").WithCause(r)
		}
	default:
		o.err = model.Errorf(model.CodeInternal, "the state machine answered with a %T", r)
	}
	return o, nil
}

// servePropose answers a follower. It never forwards: one hop.
func (g *Group) servePropose(ctx context.Context, _ string, cmd []byte) ([]byte, error) {
	if !g.IsLeader() {
		return nil, errNotLeader
	}
	o, err := g.apply(ctx, cmd)
	if err != nil {
		return nil, err
	}
	g.hints.tell() // the caller waits for its own state
	return encodeOutcome(o), nil
}

func encodeOutcome(o outcome) []byte {
	payload, kind := o.resp, frameOK
	if o.err != nil {
		e, ok := errors.AsType[*model.Error](o.err)
		if !ok { // apply makes only these
			e = model.Errorf(model.CodeInternal, "internal error")
		}
		kind = frameError
		var err error
		if payload, err = json.Marshal(e); err != nil { // strings and ints always encode
			panic(err)
		}
	}
	b := make([]byte, 0, frameHead+len(payload))
	b = append(b, kind)
	b = binary.BigEndian.AppendUint64(b, o.index)
	return append(b, payload...)
}

func decodeOutcome(b []byte) (outcome, error) {
	if len(b) < frameHead || b[0] > frameError {
		return outcome{}, model.Errorf(model.CodeUnknownOutcome, "the leader's answer could not be read")
	}
	o := outcome{index: binary.BigEndian.Uint64(b[1:frameHead])}
	if b[0] == frameOK {
		if len(b) > frameHead {
			o.resp = b[frameHead:]
		}
		return o, nil
	}
	e := new(model.Error)
	if err := json.Unmarshal(b[frameHead:], e); err != nil || e.Code == "" {
		return outcome{}, model.Errorf(model.CodeUnknownOutcome, "the leader's answer could not be read").WithCause(err)
	}
	o.err = e
	return o, nil
}
