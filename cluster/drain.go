package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"example.com/belfry/fsm/model"
)

const (
	methodDrain     = "drain"      // asks the leader
	methodDrainSelf = "drain.self" // tells the node

	// drainedFile in the data directory says that an operator drained the node.
	drainedFile = "drained"
)

// drainRequest has a node drained (On), or takes that back.
type drainRequest struct {
	NodeID string `json:"nodeId"`
	On     bool   `json:"on"`
}

// SetDrained has a node be given no work, until SetDrained takes that back,
// asked at any node. It stays a member and a voter, and may lead. The node
// keeps it in its data directory, so that a restart changes nothing; it goes
// with the data directory. SetDrained returns when the node has noted it and
// this node knows; Options.Quiesce and the moving of the work come after.
//
// Errors: CodeNotFound, CodeConflict when the node does not answer or no other
// live voter would be left that takes work, CodeUnavailable, CodeUnknownOutcome.
func (n *Node) SetDrained(ctx context.Context, nodeID string, drained bool) error {
	g, r := n.groups[0], drainRequest{nodeID, drained}
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	err = g.until(ctx, n.o.LeaderWait+n.o.LeaseTTL, func() error {
		if g.IsLeader() {
			return g.changing(ctx, func() error { return n.drain(r) })
		}
		leader, ok := g.Leader()
		if !ok || leader == n.o.NodeID {
			return errNoLeader
		}
		_, err := n.trans.Query(ctx, leader, methodDrain, body)
		return err
	})
	if err == nil {
		n.awaitDrained(ctx, r)
	}
	return err
}

// Drained reports whether an operator has drained this node.
func (n *Node) Drained() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.drained
}

func (n *Node) serveDrain(ctx context.Context, _ string, body []byte) ([]byte, error) {
	var r drainRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, model.Errorf(model.CodeInvalid, "the request could not be read")
	}
	g := n.groups[0]
	if !g.IsLeader() {
		return nil, errNotLeader
	}
	return nil, g.changing(ctx, func() error { return n.drain(r) })
}

// drain tells the node, as the leader, when that leaves somebody who works.
// Changes come one after another, so two nodes cannot be drained because each
// relies on the other.
func (n *Node) drain(r drainRequest) error {
	members := n.leaderView(time.Now())
	var target *Member
	workers := 0
	for i := range members {
		switch m := &members[i]; {
		case m.NodeID == r.NodeID:
			target = m
		case m.Voter && m.Live && !m.Draining && !m.Drained:
			workers++
		}
	}
	g := n.groups[0]
	fresh := time.Since(n.leads(g.name, g.raft.CurrentTerm())) < n.o.LeaseTTL
	switch {
	case target == nil:
		return model.Errorf(model.CodeNotFound, "the cluster has no node %q", r.NodeID)
	case fresh && (!target.Live || r.On && workers == 0):
		return unavailable("the leader has only just taken over and does not know yet who is live")
	case !target.Live:
		return model.Errorf(model.CodeConflict, "node %s does not answer: what it had to do goes to others by itself", r.NodeID)
	case r.On && workers == 0:
		return model.Errorf(model.CodeConflict, "without node %s no live node would be left that delivers: start another or end its drain first", r.NodeID)
	}
	report, err := n.tellDrained(r)
	if err != nil {
		return err
	}
	n.receive(report)
	n.log.Info("a node was told whether it is drained", "node", r.NodeID, "drained", r.On)
	return nil
}

// tellDrained has the node note it, and returns its report.
func (n *Node) tellDrained(r drainRequest) (report nodeReport, err error) {
	if r.NodeID == n.o.NodeID {
		err = n.setDrained(r.On)
		return n.ownReport(), err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return report, fmt.Errorf("encode the request: %w", err)
	}
	ctx, cancel := context.WithTimeout(n.ctx, changeTimeout)
	defer cancel()
	reply, err := n.trans.Query(ctx, r.NodeID, methodDrainSelf, body)
	if err != nil {
		return report, err
	}
	if err := json.Unmarshal(reply, &report); err != nil || report.NodeID != r.NodeID {
		return report, model.Errorf(model.CodeUnknownOutcome, "the answer of node %s could not be read", r.NodeID)
	}
	return report, nil
}

func (n *Node) serveDrainSelf(_ context.Context, _ string, body []byte) ([]byte, error) {
	var r drainRequest
	if err := json.Unmarshal(body, &r); err != nil || r.NodeID != n.o.NodeID {
		return nil, model.Errorf(model.CodeInvalid, "the request is for another node")
	}
	if err := n.setDrained(r.On); err != nil {
		return nil, err
	}
	return json.Marshal(n.ownReport())
}

// setDrained notes it on disk and then in memory.
func (n *Node) setDrained(on bool) error {
	n.drainMu.Lock()
	defer n.drainMu.Unlock()
	if n.Drained() == on {
		return nil
	}
	if n.o.DataDir != "" {
		if err := markDrained(n.o.DataDir, on); err != nil {
			n.log.Error("whether the node is drained cannot be written", "error", err)
			return model.Errorf(model.CodeInternal, "node %s cannot write to its data directory", n.o.NodeID).WithCause(err)
		}
	}
	n.mu.Lock()
	n.drained, n.quiet = on, on && n.o.Quiesce == nil
	if n.endQuiesce != nil {
		n.endQuiesce()
		n.endQuiesce = nil
	}
	if on && n.o.Quiesce != nil {
		ctx, cancel := context.WithCancel(n.ctx)
		n.endQuiesce = cancel
		if !n.background(func() { n.quiesce(ctx) }) {
			cancel()
		}
	}
	n.mu.Unlock()
	n.reportNow()
	return nil
}

// quiesce lets the node end what it does before its work is given to others.
func (n *Node) quiesce(ctx context.Context) {
	n.o.Quiesce(ctx)
	n.mu.Lock()
	if ctx.Err() == nil {
		n.quiet = true
	}
	n.mu.Unlock()
	n.reportNow()
}

func markDrained(dir string, on bool) error {
	path := filepath.Join(dir, drainedFile)
	if on {
		return writeFile(path, []byte(time.Now().UTC().Format(time.RFC3339)+"\n"))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// wasDrained reports whether the data directory says so.
func wasDrained(dir string) (bool, error) {
	if dir == "" {
		return false, nil
	}
	switch _, err := os.Stat(filepath.Join(dir, drainedFile)); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("look whether the node is drained: %w", err)
	}
}

// awaitDrained waits until the list of members here shows what was asked for, a
// lease time at most.
func (n *Node) awaitDrained(ctx context.Context, r drainRequest) {
	ctx, cancel := context.WithTimeout(ctx, n.o.LeaseTTL)
	defer cancel()
	for {
		n.mu.Lock()
		changed := n.changed
		n.mu.Unlock()
		for _, m := range n.Members() {
			if m.NodeID == r.NodeID && m.Drained == r.On {
				return
			}
		}
		n.reportNow()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
