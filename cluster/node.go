package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"example.com/belfry/cluster/transport"
)

// ErrRemoved is what Run returns when the cluster has removed this node.
var ErrRemoved = errors.New("this node was removed from the cluster; to join again, empty its data directory")

// removedFile in the data directory says that the node was removed.
const removedFile = "removed"

// Node is this node's part of the cluster. It is safe for concurrent use.
type Node struct {
	o       Options
	log     hclog.Logger
	self    raft.ServerID
	trans   *transport.Transport
	metrics *nodeMetrics
	groups  []*Group // the leader of the first leads the cluster
	known   bool     // this node had state of a cluster when it was opened

	ctx    context.Context //nolint:containedctx // the life of the node, from Open to Close
	cancel context.CancelFunc
	life   sync.Mutex // of closed and background
	closed bool
	wg     sync.WaitGroup
	kick   chan struct{} // a report is due now
	broken chan error    // has a value when the node can be of no more use

	drainMu  sync.Mutex // of setDrained; taken before mu
	mu       sync.Mutex
	terms    map[string]leadership
	leaving  map[string]time.Time // until when a node is given no lease, as it is to be taken out
	heard    map[string]peer      // by node id
	levels   levels               // what this node had applied
	view     view                 // what the leader last told
	grants   []grant              // that wait for the local state
	leaseEnd time.Time            // of the grants whose state this node has
	draining bool                 // it is about to stop, and asked to be given nothing
	drained  bool                 // by an operator
	quiet    bool                 // it is drained and has ended what it did
	// endQuiesce ends Options.Quiesce; nil: it does not run.
	endQuiesce context.CancelFunc
	refused    int           // answers in a row that say this node is not a member
	wasIn      bool          // this node was a member for sure
	changed    chan struct{} // closed and replaced when view changes
	memberCh   chan struct{} // has a value when the candidates may have changed
}

// leadership is a term that this node leads, and when it first noticed.
type leadership struct {
	term  uint64
	since time.Time
}

// Open starts the raft groups and the peer port. The node takes part in
// elections and answers peers at once; it reports, joins and does its duties
// only while Run runs.
func Open(ctx context.Context, o Options) (n *Node, err error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	incarnation := o.Incarnation
	if o.DataDir != "" {
		if _, err := os.Stat(filepath.Join(o.DataDir, removedFile)); err == nil {
			return nil, ErrRemoved
		}
	}
	if incarnation == "" {
		if incarnation, err = loadIncarnation(o.DataDir); err != nil {
			return nil, err
		}
	}
	n = &Node{
		o: o, log: o.Logger, self: serverID(o.NodeID, incarnation),
		terms: map[string]leadership{}, heard: map[string]peer{}, leaving: map[string]time.Time{},
		kick: make(chan struct{}, 1), broken: make(chan error, 1), changed: make(chan struct{}), memberCh: make(chan struct{}, 1),
	}
	if n.drained, err = wasDrained(o.DataDir); err != nil {
		return nil, err
	}
	n.quiet = n.drained // it does nothing yet
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n.metrics = newMetrics(o.Registerer, n)
	opened := n // a return with an error has set n to nil
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
			n = nil
		}
	}()
	names := make([]string, 0, len(o.Groups))
	for _, g := range o.Groups {
		names = append(names, g.Name)
	}
	n.trans, err = transport.Open(transport.Options{
		NodeID: o.NodeID, ServerID: string(n.self), Listen: o.PeerListen, Advertise: o.PeerAdvertise, Groups: names, TLS: o.TLS,
		Resolve: n.resolve, Network: o.Network, Logger: n.log.Named("peers"), Observe: n.metrics.call,
	})
	if err != nil {
		return nil, err
	}
	for _, spec := range o.Groups {
		g, err := n.openGroup(spec)
		if err != nil {
			return nil, err
		}
		n.groups = append(n.groups, g)
		n.Handle(methodPropose+g.name, g.servePropose)
		n.Handle(methodRead+g.name, g.serveRead)
		n.Handle(methodTransfer+g.name, g.serveTransfer)
	}
	n.known = len(n.groups[0].servers()) > 0
	// Only a vote says so for sure: the entry that adds a server may get lost
	// with its leader, but none gives it a vote before that one is committed.
	n.wasIn = votes(n.groups[0].servers(), n.self)
	if !n.known && len(o.Join) == 0 {
		return nil, errors.New("this data directory belongs to no cluster: start the first node with --bootstrap and the others with --join ADDRESS")
	}
	n.Handle(methodReport, n.serveReport)
	n.Handle(methodPing, n.servePing)
	n.Handle(methodJoin, n.serveJoin)
	n.Handle(methodRemove, n.serveRemove)
	n.Handle(methodDrain, n.serveDrain)
	n.Handle(methodDrainSelf, n.serveDrainSelf)
	return n, nil
}

// Run reports to the leaders, joins the cluster where that was asked for, and
// does the duties of the groups that this node leads, until ctx ends (then it
// returns nil) or the node can be of no more use: ErrRemoved, ErrLogFailed, or
// a refusal to join.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, g := range n.groups {
		wg.Go(func() { g.lead(ctx) })
		wg.Go(func() { g.catchUp(ctx) })
		wg.Go(func() { g.watchPace(ctx) })
	}
	wg.Go(func() {
		select {
		case err := <-n.broken:
			cancel(err)
		case <-ctx.Done():
		}
	})
	wg.Go(func() { n.report(ctx, cancel) })
	wg.Go(func() { n.join(ctx, cancel) })
	wg.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

// Close stops the groups and the peer port and waits for what they do. It does
// not hand over leadership; see Drain and TransferLeadership.
func (n *Node) Close() error {
	n.life.Lock()
	if n.closed {
		n.life.Unlock()
		return nil
	}
	n.closed = true
	n.life.Unlock()
	n.cancel()
	var errs []error
	for _, g := range slices.Backward(n.groups) {
		errs = append(errs, g.close())
	}
	if n.trans != nil {
		errs = append(errs, n.trans.Close())
	}
	n.wg.Wait()
	return errors.Join(errs...)
}

// background runs f unless the node is closed; Close waits for it.
func (n *Node) background(f func()) bool {
	n.life.Lock()
	defer n.life.Unlock()
	if n.closed {
		return false
	}
	n.wg.Go(f)
	return true
}

// Group gives the group of that name. A name that is not in Options panics.
func (n *Node) Group(name string) *Group {
	for _, g := range n.groups {
		if g.name == name {
			return g
		}
	}
	panic("cluster: no raft group " + name)
}

// NodeID is the id of this node.
func (n *Node) NodeID() string { return n.o.NodeID }

// PeerAddr is the address that peers use.
func (n *Node) PeerAddr() string { return n.trans.Addr() }

// Caller calls other nodes.
func (n *Node) Caller() transport.Caller { return n.trans }

// Handle registers a peer method. Names of this package hold a slash or are
// among report, ping, join, remove, drain and drain.self.
func (n *Node) Handle(method string, h transport.Handler) { n.trans.Handle(method, h) }

// resolve gives the peer address of a node: from the raft configuration, or
// from what the leader told.
func (n *Node) resolve(nodeID string) (string, bool) {
	for _, g := range n.groups {
		if s, ok := g.server(nodeID); ok {
			return string(s.Address), true
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, ok := n.heard[nodeID]; ok {
		return p.report.PeerAddress, true
	}
	for _, m := range n.view.members {
		if m.NodeID == nodeID {
			return m.PeerAddress, true
		}
	}
	return "", false
}

// catchUp marks the group as caught up once local state has what was
// committed before the start of this node.
func (g *Group) catchUp(ctx context.Context) {
	for ctx.Err() == nil {
		if err := g.Linearize(ctx); err == nil {
			g.caughtUp.Store(true)
			g.log.Debug("caught up with the group", "index", g.AppliedIndex())
			g.n.reportNow()
			return
		}
		sleep(ctx, lastRetry)
	}
}

// Ready returns nil when this node belongs to the cluster, knows the leader of
// every group and has applied what was committed when it started.
func (n *Node) Ready(context.Context) error {
	for _, g := range n.groups {
		switch _, ok := g.Leader(); {
		case !g.member():
			return fmt.Errorf("this node is not a member of group %s yet", g.name)
		case !ok:
			return fmt.Errorf("group %s has no leader", g.name)
		case !g.caughtUp.Load():
			return fmt.Errorf("group %s is still catching up", g.name)
		}
	}
	return nil
}
