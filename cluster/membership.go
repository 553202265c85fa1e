package cluster

import (
	"context"
	"encoding/json"
	"errors"
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
	// promoteLag is how many entries a new server may be behind when it gets
	// its vote.
	promoteLag = 256
	// reconcileEvery is how often a leader compares members.
	reconcileEvery = 200 * time.Millisecond
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

// join asks the nodes of Options.Join, in turn, until this node is a member.
// One that is a member already asks nobody.
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
	for turn := 0; ctx.Err() == nil && !n.groups[0].member(); turn++ {
		addr := n.o.Join[turn%len(n.o.Join)]
		callCtx, cancel := context.WithTimeout(ctx, 2*changeTimeout)
		_, err := n.trans.QueryAddr(callCtx, addr, methodJoin, body)
		cancel()
		switch model.CodeOf(err) { //nolint:exhaustive // everything else is worth another try
		case "":
			refused = 0
			n.log.Info("the cluster took this node in; waiting for its log", "through", addr)
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
	return nil, g.admit(r)
}

// admit adds a server without a vote, after taking out an earlier incarnation
// of the node.
func (g *Group) admit(r joinRequest) error {
	g.config.Lock()
	defer g.config.Unlock()
	if old, ok := g.server(r.NodeID); ok {
		if string(old.ID) == r.ServerID {
			return nil
		}
		// INV member-1: an earlier incarnation is taken out only when it can
		// hold no lease.
		if g.n.mayHoldLease(r.NodeID) {
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
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return errNotLeader.WithCause(err)
	default:
		return model.Errorf(model.CodeUnknownOutcome, "the outcome of the change of members is not known; look at the list of nodes").WithCause(err)
	}
}

// RemoveNode takes a node out of the cluster, from any node. Errors:
// CodeNotFound, CodeConflict when the rest would have no quorum, CodeUnavailable.
func (n *Node) RemoveNode(ctx context.Context, nodeID string) error {
	g := n.groups[0]
	return g.untilLeader(ctx, func() error {
		if g.IsLeader() {
			return g.expel(nodeID)
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

func (n *Node) serveRemove(_ context.Context, _ string, body []byte) ([]byte, error) {
	if !n.groups[0].IsLeader() {
		return nil, errNotLeader
	}
	return nil, n.groups[0].expel(string(body))
}

// expel removes a server from the first group; the reconcilers of the other
// groups follow. A leader does not remove itself: it hands over, and the
// caller asks the next one.
func (g *Group) expel(nodeID string) error {
	g.config.Lock()
	defer g.config.Unlock()
	s, ok := g.server(nodeID)
	if !ok {
		return model.Errorf(model.CodeNotFound, "the cluster has no node %q", nodeID)
	}
	voters, live := 0, 0
	servers := g.servers()
	for _, m := range g.n.leaderView(time.Now()) {
		if m.NodeID != nodeID && slices.ContainsFunc(servers, func(s raft.Server) bool { return nodeOf(s.ID) == m.NodeID && s.Suffrage == raft.Voter }) {
			voters++
			if m.Live {
				live++
			}
		}
	}
	if s.Suffrage == raft.Voter && live < voters/2+1 && time.Since(g.n.leads(g.name, g.raft.CurrentTerm())) < g.n.o.LeaseTTL {
		return unavailable("the leader has only just taken over and does not know yet who is live")
	}
	if s.Suffrage == raft.Voter && (voters == 0 || live < voters/2+1) {
		return model.Errorf(model.CodeConflict, "without node %s there would be %d live nodes of %d, which is no quorum: start the others or remove dead ones first", nodeID, live, voters)
	}
	if err := g.n.releasedElsewhere(s.ID); err != nil {
		return err
	}
	if s.ID == g.self {
		if err := <-g.ask(g.raft.LeadershipTransfer); err != nil {
			return errNotLeader.WithCause(err)
		}
		return errNotLeader
	}
	g.log.Info("node is removed", "node", nodeID)
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

func (g *Group) handOver() error {
	others := slices.ContainsFunc(g.servers(), func(s raft.Server) bool { return s.Suffrage == raft.Voter && s.ID != g.self })
	if !others {
		return model.Errorf(model.CodeConflict, "there is no other node that could lead")
	}
	if err := <-g.ask(g.raft.LeadershipTransfer); err != nil {
		return errNotLeader.WithCause(err)
	}
	return nil
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

// reconciler is the duty of every group's leader to give caught-up servers
// their vote, to keep addresses current and, in groups but the first, to have
// the members that the first has.
type reconciler struct{ g *Group }

// Name names the duty.
func (reconciler) Name() string { return "members" }

// Run compares until ctx ends.
func (r reconciler) Run(ctx context.Context, term uint64) error {
	for sleep(ctx, reconcileEvery) {
		if err := r.g.reconcile(ctx); err != nil && ctx.Err() == nil {
			r.g.log.Warn("the members of the group could not be brought up to date; trying again", "term", term, "error", err, "cause", errors.Unwrap(err))
		}
	}
	return nil
}

// reconcile makes at most one change.
func (g *Group) reconcile(ctx context.Context) error {
	first := g.n.groups[0]
	g.config.Lock()
	defer g.config.Unlock()
	have := g.servers()
	if g != first {
		want := first.servers()
		if !slices.ContainsFunc(want, func(s raft.Server) bool { return s.ID == g.self }) {
			return nil // this node knows too little of the first group
		}
		for _, s := range have {
			if slices.ContainsFunc(want, func(w raft.Server) bool { return w.ID == s.ID }) {
				continue
			}
			// Not on the word of a replica that may be behind.
			if err := first.Linearize(ctx); err != nil {
				return err
			}
			if slices.ContainsFunc(first.servers(), func(w raft.Server) bool { return w.ID == s.ID }) {
				return nil
			}
			return g.change(func() raft.Future { return g.raft.RemoveServer(s.ID, 0, changeTimeout) })
		}
		for _, w := range want {
			i := slices.IndexFunc(have, func(s raft.Server) bool { return s.ID == w.ID })
			switch {
			case i < 0:
				return g.change(func() raft.Future { return g.raft.AddNonvoter(w.ID, w.Address, 0, changeTimeout) })
			case have[i].Address != w.Address:
				return g.readdress(have[i], w.Address)
			}
		}
	}
	return g.promote(have)
}

// promote gives a vote to a server that has caught up, and a new address to
// one that reports from it.
func (g *Group) promote(have []raft.Server) error {
	now, commit := time.Now(), g.raft.CommitIndex()
	g.n.mu.Lock()
	heard := make(map[raft.ServerID]peer, len(have))
	for _, s := range have {
		if p := g.n.heard[nodeOf(s.ID)]; p.report.ServerID == string(s.ID) && now.Sub(p.at) <= g.n.o.LeaseTTL {
			heard[s.ID] = p
		}
	}
	g.n.mu.Unlock()
	for _, s := range have {
		p, ok := heard[s.ID]
		if !ok {
			continue
		}
		if g == g.n.groups[0] && string(s.Address) != p.report.PeerAddress {
			return g.readdress(s, raft.ServerAddress(p.report.PeerAddress))
		}
		if s.Suffrage != raft.Voter && p.report.Applied[g.name]+promoteLag >= commit && p.report.Applied[g.name] > 0 {
			g.log.Info("node has caught up and gets its vote", "node", nodeOf(s.ID))
			return g.change(func() raft.Future { return g.raft.AddVoter(s.ID, s.Address, 0, changeTimeout) })
		}
	}
	return nil
}

func (g *Group) readdress(s raft.Server, addr raft.ServerAddress) error {
	g.log.Info("node has a new address", "node", nodeOf(s.ID), "old", s.Address, "new", addr)
	if s.Suffrage == raft.Voter {
		return g.change(func() raft.Future { return g.raft.AddVoter(s.ID, addr, 0, changeTimeout) })
	}
	return g.change(func() raft.Future { return g.raft.AddNonvoter(s.ID, addr, 0, changeTimeout) })
}
