package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/fsm/model"
)

const (
	methodReport = "report"
	// refusalsUntilRemoved is how many times in a row the leader must call
	// this node a stranger before it believes it.
	refusalsUntilRemoved = 3
)

// nodeReport is what a node tells leaders several times per lease. A ready
// report asks for a lease.
type nodeReport struct {
	NodeID      string            `json:"nodeId"`
	ServerID    string            `json:"serverId"`
	PeerAddress string            `json:"peerAddress"`
	APIAddress  string            `json:"apiAddress"`
	Draining    bool              `json:"draining"` // it wants no work, and what it has given to others
	Drained     bool              `json:"drained"`  // by an operator
	Ready       bool              `json:"ready"`
	Commands    uint64            `json:"commands"` // last applied command of the first group
	Applied     map[string]uint64 `json:"applied"`  // raft index by group
	// WriteNs is how long its log takes to write, by group; absent: not known.
	WriteNs map[string]int64 `json:"writeNs,omitempty"`
}

// reportReply is the answer. Granted grants a lease that began Behind before
// the report was sent, to a node whose state of the first group has Commands.
type reportReply struct {
	Leader        string   `json:"leader,omitempty"` // of the first group, when that is another node
	LeaderAddress string   `json:"leaderAddress,omitempty"`
	Stranger      bool     `json:"stranger,omitempty"` // the sender is not a member
	Granted       bool     `json:"granted,omitempty"`
	BehindNs      int64    `json:"behindNs,omitempty"`
	Commands      uint64   `json:"commands,omitempty"` // last command the leader has applied
	Members       []Member `json:"members,omitempty"`
}

// peer is what this node heard from another.
type peer struct {
	report nodeReport
	at     time.Time // of any report
	lease  time.Time // of the last one that asked for a lease
	behind bool      // see levels
}

// grant is a lease with the command that the state of its holder must have.
type grant struct {
	end      time.Time
	commands uint64
}

// view is the member list as the leader told it.
type view struct {
	members []Member
	at      time.Time
}

// leads notes a term that this node leads and returns since when it knows.
// INV lease-2: what a leader before may have granted ends within the lease
// time of that moment.
func (n *Node) leads(group string, term uint64) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.terms[group]
	if l.term != term {
		l = leadership{term, time.Now()}
		n.terms[group] = l
	}
	return l.since
}

// reportNow has the next report sent without waiting for its time.
func (n *Node) reportNow() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

func (n *Node) ownReport() nodeReport {
	r := nodeReport{
		NodeID: n.o.NodeID, ServerID: string(n.self), PeerAddress: n.trans.Addr(), APIAddress: n.o.APIAddress,
		Ready: n.Ready(n.ctx) == nil, Commands: n.groups[0].AppliedIndex(), Applied: map[string]uint64{}, WriteNs: map[string]int64{},
	}
	for _, g := range n.groups {
		r.Applied[g.name] = g.raft.AppliedIndex()
		if d := g.writes.usual(time.Now()); d > 0 {
			r.WriteNs[g.name] = int64(d)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r.Draining, r.Drained = n.draining || n.quiet, n.drained
	n.levels.note(time.Now(), r.Applied)
	return r
}

// report tells the leaders about this node, reportsPerLease times per lease.
func (n *Node) report(ctx context.Context, fail context.CancelCauseFunc) {
	tick := time.NewTicker(n.o.LeaseTTL / reportsPerLease)
	defer tick.Stop()
	// A leader of another group that does not answer must not cost a lease.
	var others sync.WaitGroup
	defer others.Wait()
	busy := make(chan struct{}, 1)
	hint, turn := "", 0
	for {
		r := n.ownReport()
		leader, known := n.groups[0].Leader()
		switch {
		case known && leader == n.o.NodeID:
			hint = ""
			n.take(time.Now(), n.receive(r))
		case known:
			hint = ""
			n.tellLeader(ctx, leader, r)
		default: // ask around; who is asked names the leader
			addrs := n.addresses()
			if hint != "" {
				addrs = []string{hint}
			}
			if len(addrs) > 0 {
				turn++
				hint = n.tell(ctx, addrs[turn%len(addrs)], r)
			}
		}
		select {
		case busy <- struct{}{}:
			others.Go(func() {
				n.tellOthers(ctx, r, leader)
				<-busy
			})
		default:
		}
		if n.removed() {
			n.log.Error("this node was removed from the cluster")
			fail(errors.Join(ErrRemoved, n.markRemoved()))
			return
		}
		select {
		case <-tick.C:
		case <-n.kick:
		case <-ctx.Done():
			return
		}
	}
}

// tellLeader reports to the leader of the cluster, until there is another.
func (n *Node) tellLeader(ctx context.Context, leader string, r nodeReport) {
	addr, ok := n.resolve(leader)
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			changed := n.groups[0].LeaderChanged()
			if id, ok := n.groups[0].Leader(); ok && id != leader {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}()
	n.tell(ctx, addr, r)
}

// tellOthers reports to the leaders of the other groups, for they promote and
// remove servers of theirs. They grant nothing.
func (n *Node) tellOthers(ctx context.Context, r nodeReport, first string) {
	told := map[string]bool{first: true, n.o.NodeID: true}
	for _, g := range n.groups[1:] {
		id, ok := g.Leader()
		if !ok || told[id] {
			continue
		}
		told[id] = true
		if addr, ok := n.resolve(id); ok {
			n.tell(ctx, addr, r)
		}
	}
}

// addresses are where a leader may be asked for.
func (n *Node) addresses() []string {
	addrs := slices.Clone(n.o.Join)
	for _, s := range n.groups[0].servers() {
		addrs = append(addrs, string(s.Address))
	}
	slices.Sort(addrs)
	addrs = slices.Compact(addrs)
	return slices.DeleteFunc(addrs, func(a string) bool { return a == n.trans.Addr() })
}

// tell sends one report and returns where the leader is, when the receiver
// says so.
func (n *Node) tell(ctx context.Context, addr string, r nodeReport) (hint string) {
	body, err := json.Marshal(r)
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	ctx, cancel := context.WithTimeout(ctx, n.o.LeaseTTL)
	defer cancel()
	sent := time.Now()
	reply, err := n.trans.QueryAddr(ctx, addr, methodReport, body)
	if err != nil {
		n.metrics.reports.WithLabelValues("lost").Inc()
		return ""
	}
	var a reportReply
	if err := json.Unmarshal(reply, &a); err != nil {
		n.metrics.reports.WithLabelValues("lost").Inc()
		n.log.Warn("the answer to a report could not be read", "peer", addr, "error", err)
		return ""
	}
	n.take(sent, a)
	return a.LeaderAddress
}

// take keeps the answer to a report that was sent at sent.
func (n *Node) take(sent time.Time, a reportReply) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a.Granted {
		n.metrics.reports.WithLabelValues("granted").Inc()
		// INV lease-1: a lease is counted from before the question was sent,
		// on this node's monotonic clock.
		n.grants = append(n.grants, grant{sent.Add(n.o.LeaseTTL - time.Duration(a.BehindNs)), a.Commands})
		n.useGrants()
	} else {
		n.metrics.reports.WithLabelValues("refused").Inc()
	}
	switch {
	case a.Stranger:
		n.refused++
	case a.Members != nil:
		n.refused = 0
		n.wasIn = n.wasIn || a.Granted // only voters get leases, and only what is committed makes a voter
	}
	if a.Members != nil {
		n.view = view{a.Members, time.Now()}
		close(n.changed)
		n.changed = make(chan struct{})
	}
}

func (n *Node) removed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.wasIn && n.refused >= refusalsUntilRemoved
}

func (n *Node) markRemoved() error {
	if n.o.DataDir == "" {
		return nil
	}
	return writeFile(n.o.DataDir+"/"+removedFile, []byte(time.Now().UTC().Format(time.RFC3339)+"\n"))
}

// serveReport takes the report of another node.
func (n *Node) serveReport(_ context.Context, _ string, body []byte) ([]byte, error) {
	var r nodeReport
	if err := json.Unmarshal(body, &r); err != nil || r.NodeID == "" || !strings.HasPrefix(r.ServerID, r.NodeID+".") {
		return nil, model.Errorf(model.CodeInvalid, "the report could not be read")
	}
	return json.Marshal(n.receive(r))
}

// receive keeps a report and, as the leader of the cluster, answers it with a
// lease and the member list.
func (n *Node) receive(r nodeReport) reportReply {
	now := time.Now()
	g := n.groups[0]
	term := g.raft.CurrentTerm()
	server, isMember := g.server(r.NodeID)
	isMember = isMember && string(server.ID) == r.ServerID
	leading := g.raft.State() == raft.Leader
	if leading {
		n.leads(g.name, term)
	}
	n.mu.Lock()
	p, leaves, lags := n.heard[r.NodeID], n.leaves(r.NodeID), false
	news := p.report.Draining != r.Draining || p.report.Drained != r.Drained || p.report.Ready != r.Ready || p.report.ServerID != r.ServerID
	if isMember || p.report.ServerID != "" && p.report.ServerID == r.ServerID {
		p.report, p.at, p.behind = r, now, n.levels.behind(now, r.Applied, p.behind)
		if r.Ready && isMember && !leaves {
			p.lease = now // INV lease-3: noted before it is granted
		}
		lags, news = p.behind != n.heard[r.NodeID].behind, news || p.behind != n.heard[r.NodeID].behind
		n.heard[r.NodeID] = p
	}
	n.mu.Unlock()
	if lags && leading && r.Ready {
		g.log.Warn("a node has fallen behind, or is level again: what is behind is given no work, unless most are", "node", r.NodeID, "behind", p.behind)
	}
	if news {
		n.candidatesChanged()
	}
	if !leading {
		a := reportReply{}
		if id, ok := g.Leader(); ok && id != n.o.NodeID {
			a.Leader = id
			a.LeaderAddress, _ = n.resolve(id)
		}
		return a
	}
	quorum := g.quorumContact(term)
	if quorum.IsZero() || time.Since(quorum) > n.o.LeaseTTL || g.raft.CurrentTerm() != term || g.raft.State() != raft.Leader {
		return reportReply{}
	}
	if !isMember {
		// INV member-2: only what is committed is told.
		return reportReply{Stranger: !leaves && g.barrier.Load() == term}
	}
	a := reportReply{Members: n.leaderView(now)}
	// Before the barrier of its term the leader may lack what a leader before
	// has committed.
	if r.Ready && server.Suffrage == raft.Voter && !leaves && g.barrier.Load() == term {
		commands, err := g.committed()
		if err != nil {
			g.log.Warn("nobody gets a lease: the log could not be read", "error", err)
			return a
		}
		a.Granted, a.BehindNs, a.Commands = true, max(0, now.Sub(quorum).Nanoseconds()), commands
	}
	return a
}

// useGrants takes over the grants whose state this node has by now. n.mu is
// held.
//
// INV lease-4: a lease counts only on a state that has all that the leader had
// when it granted it. Else a node that comes back would go on with work that
// it does not know it has lost.
func (n *Node) useGrants() {
	now, have := time.Now(), n.groups[0].AppliedIndex()
	n.grants = slices.DeleteFunc(n.grants, func(g grant) bool {
		if g.commands <= have && g.end.After(n.leaseEnd) {
			n.leaseEnd = g.end
		}
		return g.commands <= have || !now.Before(g.end)
	})
}

// Lease reports whether this node may start deliveries, and until when: it has
// heard from a leader within the lease time, and has caught up with what the
// leader had then. until is on the monotonic clock.
func (n *Node) Lease() (valid bool, until time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.useGrants()
	return time.Now().Before(n.leaseEnd), n.leaseEnd
}

// StateAge bounds how old the local state of the first group is: it has
// everything that was acknowledged anywhere longer ago than that. Before the
// first lease there is no bound, which math.MaxInt64 says: nobody knows how
// long this node was away. To have heard from the leader gives none either: its
// heartbeats come before what it has to send.
func (n *Node) StateAge() time.Duration {
	age := time.Duration(math.MaxInt64)
	if _, until := n.Lease(); !until.IsZero() {
		age = time.Since(until) + n.o.LeaseTTL
	}
	// After the barrier of its term a leader that has applied what is committed
	// has all that was acknowledged while a quorum followed it.
	g := n.groups[0]
	term := g.raft.CurrentTerm()
	if g.raft.State() == raft.Leader && g.barrier.Load() == term {
		quorum := g.quorumContact(term)
		commands, err := g.committed()
		if err == nil && commands <= g.AppliedIndex() && !quorum.IsZero() {
			age = min(age, time.Since(quorum))
		}
	}
	return age
}
