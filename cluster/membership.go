package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/fsm/model"
)

const (
	methodPing     = "ping"
	methodJoin     = "join"
	methodRemove   = "remove"
	methodTransfer = "transfer/"

	// joinPause is between two tries to join; joinRefusals is how many times in
	// a row the cluster must refuse before the node gives up.
	joinPause    = 500 * time.Millisecond
	joinRefusals = 6
	// changeTimeout bounds one change of a raft configuration.
	changeTimeout = 5 * time.Second
)

type joinRequest struct {
	NodeID      string   `json:"nodeId"`
	ServerID    string   `json:"serverId"`
	PeerAddress string   `json:"peerAddress"`
	Groups      []string `json:"groups"`
	Hops        int      `json:"hops"`
}

func (n *Node) groupNames() []string {
	names := make([]string, 0, len(n.groups))
	for _, g := range n.groups {
		names = append(names, g.name)
	}
	return names
}

// join asks the nodes of Options.Join, in turn, until one has taken this node in.
// One that is a member asks nobody, unless a leader does not know it: the entry
// that made it one can get lost with the leader before. It does not ask again
// later: that would undo its removal (INV member-2).
func (n *Node) join(ctx context.Context, fail context.CancelCauseFunc) {
	if len(n.o.Join) == 0 {
		return
	}
	req := joinRequest{NodeID: n.o.NodeID, ServerID: string(n.self), PeerAddress: n.trans.Addr(), Groups: n.groupNames()}
	body, err := json.Marshal(req)
	if err != nil { // strings always encode
		panic(err)
	}
	refused := 0
	for turn := 0; ctx.Err() == nil; turn++ {
		n.mu.Lock()
		wasIn, stranger := n.wasIn, n.refused > 0
		n.mu.Unlock()
		if wasIn {
			return
		}
		if n.groups[0].member() && !stranger {
			sleep(ctx, joinPause)
			continue
		}
		addr := n.o.Join[turn%len(n.o.Join)]
		callCtx, cancel := context.WithTimeout(ctx, 2*changeTimeout)
		_, err := n.trans.QueryAddr(callCtx, addr, methodJoin, body)
		cancel()
		switch model.CodeOf(err) { //nolint:exhaustive // everything else is worth another try
		case "":
			n.mu.Lock()
			n.wasIn, n.refused = true, 0 // what leaders said before counts no more
			n.mu.Unlock()
			n.log.Info("the cluster took this node in; waiting for its log", "through", addr)
			return
		case model.CodeConflict, model.CodeInvalid, model.CodeLimit:
			refused++
			n.log.Warn("the cluster refuses this node", "through", addr, "error", err)
			if refused >= joinRefusals {
				fail(err)
				return
			}
		default:
			n.log.Debug("cannot join yet", "through", addr, "error", err)
		}
		sleep(ctx, joinPause)
	}
}

// servePing tells who listens here.
func (n *Node) servePing(context.Context, string, []byte) ([]byte, error) { return []byte(n.self), nil }

// serveJoin takes a node in, or hands the request to the leader.
func (n *Node) serveJoin(ctx context.Context, _ string, body []byte) ([]byte, error) {
	var r joinRequest
	if err := json.Unmarshal(body, &r); err != nil || !nodeIDPattern.MatchString(r.NodeID) || !strings.HasPrefix(r.ServerID, r.NodeID+".") || r.PeerAddress == "" {
		return nil, model.Errorf(model.CodeInvalid, "the request to join could not be read")
	}
	g := n.groups[0]
	if !g.IsLeader() {
		leader, ok := g.Leader()
		if !ok || leader == n.o.NodeID || r.Hops > 0 {
			return nil, errNoLeader
		}
		r.Hops++
		fwd, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		return n.trans.Query(ctx, leader, methodJoin, fwd)
	}
	if !slices.Equal(r.Groups, n.groupNames()) {
		return nil, model.Errorf(model.CodeInvalid, "the cluster has the raft groups %v and node %s has %v: give all nodes the same settings", n.groupNames(), r.NodeID, r.Groups)
	}
	who, err := n.trans.QueryAddr(ctx, r.PeerAddress, methodPing, nil)
	if err != nil {
		return nil, model.Errorf(model.CodeInvalid, "node %s cannot be reached at %s: set --peer-advertise to an address that the other nodes can dial", r.NodeID, r.PeerAddress)
	}
	if string(who) != r.ServerID {
		return nil, model.Errorf(model.CodeInvalid, "at %s another node answers than %s: set --peer-advertise to the address of this node", r.PeerAddress, r.NodeID)
	}
	return nil, g.changing(ctx, func() error { return g.admit(r) })
}

// changing runs f, which changes members, alone. f goes on when ctx ends: then
// the outcome is not known.
func (g *Group) changing(ctx context.Context, f func() error) error {
	select {
	case g.config <- struct{}{}:
	case <-ctx.Done():
		return unavailable("another change of members is under way").WithCause(ctx.Err())
	}
	done := make(chan error, 1)
	started := g.n.background(func() {
		defer func() { <-g.config }()
		done <- f()
	})
	if !started {
		<-g.config
		return errStopping
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errUnknownChange.WithCause(ctx.Err())
	}
}

var errUnknownChange = model.Errorf(model.CodeUnknownOutcome, "the outcome of the change of members is not known; look at the list of nodes")

// admit adds a server without a vote, after taking out an earlier incarnation
// of the node.
func (g *Group) admit(r joinRequest) error {
	if old, ok := g.server(r.NodeID); ok {
		if string(old.ID) == r.ServerID { // for sure, once everything so far is committed
			return g.change(func() raft.Future { return g.raft.Barrier(changeTimeout) })
		}
		// INV member-1, and a new node must not push out one that lives.
		if g.n.mayHoldLease(r.NodeID) || g.n.hears(old.ID) {
			return model.Errorf(model.CodeConflict, "node id %s is in use by a node at %s: choose another --node-id, or stop that node first", r.NodeID, old.Address)
		}
		g.log.Warn("node comes with an empty disk; its earlier incarnation is taken out", "node", r.NodeID, "old", old.ID, "new", r.ServerID)
		if err := g.change(func() raft.Future { return g.raft.RemoveServer(old.ID, 0, changeTimeout) }); err != nil {
			return err
		}
	}
	for _, s := range g.servers() {
		if string(s.Address) == r.PeerAddress {
			return model.Errorf(model.CodeConflict, "the address %s belongs to node %s: give this node another one, or remove that node first", r.PeerAddress, nodeOf(s.ID))
		}
	}
	if len(g.servers()) >= MaxMembers {
		return model.Errorf(model.CodeLimit, "the cluster has %d nodes, which is the limit", MaxMembers)
	}
	g.log.Info("node joins", "node", r.NodeID, "address", r.PeerAddress)
	return g.change(func() raft.Future {
		return g.raft.AddNonvoter(raft.ServerID(r.ServerID), raft.ServerAddress(r.PeerAddress), 0, changeTimeout)
	})
}

// hears reports whether a server has reported within the lease time.
func (n *Node) hears(id raft.ServerID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.heard[nodeOf(id)]
	return p.report.ServerID == string(id) && time.Since(p.at) <= n.o.LeaseTTL
}

// retire has a node given no lease for as long as it takes to take it out.
func (n *Node) retire(nodeID string, until time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leaving[nodeID] = until
	maps.DeleteFunc(n.leaving, func(id string, _ time.Time) bool { return !n.leaves(id) })
}

// removeLimit bounds RemoveNode: a node that lives keeps its lease for a while.
func (n *Node) removeLimit() time.Duration { return n.o.LeaderWait + n.o.LeaseTTL + 2*n.slack() }

func (n *Node) mayHoldLease(nodeID string) bool {
	for _, c := range n.Candidates() {
		if c.NodeID == nodeID {
			return !c.LeaseExpired
		}
	}
	return false
}

// change waits for a change of the configuration.
func (g *Group) change(request func() raft.Future) error {
	err := <-g.ask(request)
	switch {
	case err == nil:
		g.n.candidatesChanged()
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout):
		return errNotLeader.WithCause(err)
	default:
		return errUnknownChange.WithCause(err)
	}
}

// RemoveNode takes a node out of the cluster, from any node, when its lease has
// run out. Errors: CodeNotFound, CodeConflict when the rest would have no
// quorum, CodeUnavailable.
func (n *Node) RemoveNode(ctx context.Context, nodeID string) error {
	g := n.groups[0]
	return g.until(ctx, n.removeLimit(), func() error {
		if g.IsLeader() {
			return g.changing(ctx, func() error { return g.expel(nodeID) })
		}
		leader, ok := g.Leader()
		if !ok || leader == n.o.NodeID {
			return errNoLeader
		}
		_, err := n.trans.Call(ctx, leader, methodRemove, []byte(nodeID))
		return err
	})
}

// Leave takes this node out of the cluster for good.
func (n *Node) Leave(ctx context.Context) error { return n.RemoveNode(ctx, n.o.NodeID) }

func (n *Node) serveRemove(ctx context.Context, _ string, body []byte) ([]byte, error) {
	g := n.groups[0]
	if !g.IsLeader() {
		return nil, errNotLeader
	}
	return nil, g.changing(ctx, func() error { return g.expel(string(body)) })
}

// expel removes a server from the first group; the reconcilers of the other
// groups follow. A leader does not remove itself: it hands over, and the
// caller asks the next one.
func (g *Group) expel(nodeID string) error {
	s, ok := g.server(nodeID)
	if !ok {
		return model.Errorf(model.CodeNotFound, "the cluster has no node %q", nodeID)
	}
	voters, live, working := 0, 0, 0
	servers := g.servers()
	for _, m := range g.n.leaderView(time.Now()) {
		if m.NodeID != nodeID && slices.ContainsFunc(servers, func(s raft.Server) bool { return nodeOf(s.ID) == m.NodeID && s.Suffrage == raft.Voter }) {
			voters++
			if m.Live {
				live++
			}
			if !m.Drained {
				working++
			}
		}
	}
	if s.Suffrage == raft.Voter && live < voters/2+1 && time.Since(g.n.leads(g.name, g.raft.CurrentTerm())) < g.n.o.LeaseTTL {
		return unavailable("the leader has only just taken over and does not know yet who is live")
	}
	if s.Suffrage == raft.Voter && (voters == 0 || live < voters/2+1) {
		return model.Errorf(model.CodeConflict, "without node %s there would be %d live nodes of %d, which is no quorum: start the others or remove dead ones first", nodeID, live, voters)
	}
	if s.Suffrage == raft.Voter && working == 0 {
		return model.Errorf(model.CodeConflict, "without node %s all nodes would be drained, and none would deliver: end the drain of another first", nodeID)
	}
	if err := g.n.releasedElsewhere(s.ID); err != nil {
		return err
	}
	if s.ID == g.self {
		if err := g.handOver(); err != nil {
			return err
		}
		return errNotLeader
	}
	// INV member-1: a server is taken out only when it can hold no lease. Who
	// leads next does not know of it, and would give its work to others at once.
	g.n.retire(nodeID, time.Now().Add(g.n.o.LeaderWait))
	if g.n.mayHoldLease(nodeID) {
		return unavailable("the lease of the node has to run out first")
	}
	g.log.Info("node is removed", "node", nodeID)
	// INV member-2: it is told so, and ends, when that is committed.
	g.n.retire(nodeID, time.Now().Add(math.MaxInt64))
	defer g.n.retire(nodeID, time.Time{})
	return g.change(func() raft.Future { return g.raft.RemoveServer(s.ID, 0, changeTimeout) })
}

// releasedElsewhere returns nil when the other groups can do without a server
// that the first group is about to remove, also when it ends at once: it leads
// none of them, and the others have their votes. What is missing is on its way
// and worth waiting for.
//
// INV member-3: a node is taken out only when every group keeps a quorum.
func (n *Node) releasedElsewhere(id raft.ServerID) error {
	want := n.groups[0].servers()
	for _, g := range n.groups[1:] {
		if leader, ok := g.Leader(); !ok {
			return unavailable("group " + g.name + " has no leader, so it cannot let go of the node")
		} else if leader == nodeOf(id) {
			ctx, cancel := context.WithTimeout(n.ctx, changeTimeout)
			err := n.TransferLeadership(ctx, g.name)
			cancel()
			if err != nil && model.CodeOf(err) != model.CodeConflict {
				return errNotLeader.WithCause(err)
			}
			return unavailable("the node leads group " + g.name + " and has to hand it over first")
		}
		have := g.servers()
		for _, w := range want {
			if w.ID != id && w.Suffrage == raft.Voter && !votes(have, w.ID) {
				return unavailable("node " + nodeOf(w.ID) + " has no vote in group " + g.name + " yet")
			}
		}
	}
	return nil
}

func votes(servers []raft.Server, id raft.ServerID) bool {
	return slices.ContainsFunc(servers, func(s raft.Server) bool { return s.ID == id && s.Suffrage == raft.Voter })
}

// votesInAll reports whether a server has its vote in every group, as far as
// this node knows.
func (n *Node) votesInAll(id raft.ServerID) bool {
	return !slices.ContainsFunc(n.groups, func(g *Group) bool { return !votes(g.servers(), id) })
}

// TransferLeadership has another node lead the group, asked at any node.
// Errors: CodeConflict when there is no other voter, CodeUnavailable.
func (n *Node) TransferLeadership(ctx context.Context, group string) error {
	g := n.Group(group)
	return g.untilLeader(ctx, func() error {
		if g.IsLeader() {
			return g.handOver()
		}
		leader, ok := g.Leader()
		if !ok || leader == n.o.NodeID {
			return errNoLeader
		}
		_, err := n.trans.Call(ctx, leader, methodTransfer+g.name, nil)
		return err
	})
}

func (g *Group) serveTransfer(context.Context, string, []byte) ([]byte, error) {
	if !g.IsLeader() {
		return nil, errNotLeader
	}
	return nil, g.handOver()
}

// HandOver moves the leadership of every group that this node leads to another
// one, where there is one. It is for the end of a node.
func (n *Node) HandOver(ctx context.Context) error {
	var errs []error
	for _, g := range n.groups {
		if !g.IsLeader() {
			continue
		}
		done := make(chan error, 1)
		n.background(func() { done <- g.handOver() })
		select {
		case err := <-done:
			if model.CodeOf(err) != model.CodeConflict {
				errs = append(errs, err)
			}
		case <-ctx.Done():
			errs = append(errs, context.Cause(ctx))
		}
	}
	return errors.Join(errs...)
}
