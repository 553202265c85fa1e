package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"example.com/belfry/cluster/transport"
	"example.com/belfry/fsm/model"
)

// Group is one raft group on this node. It is safe for concurrent use.
type Group struct {
	name    string
	n       *Node
	log     hclog.Logger
	self    raft.ServerID
	raft    *raft.Raft
	machine *machine
	acks    *acks
	gate    gate // of proposals to the local raft
	// slowHandOver limits how often this node hands over because of its disk.
	slowHandOver seldom
	writes       pace // of its log
	stores       Stores
	trans        *raft.NetworkTransport
	metrics      *groupMetrics

	// barrier is the last term of which this node, as its leader, has applied
	// every entry of earlier terms.
	barrier     atomic.Uint64
	caughtUp    atomic.Bool
	hints       *hints
	inbox       *inbox
	leaderReads rounds
	reads       rounds
	lastCommand lastCommand
	// config, when it has a value, is taken: it keeps membership changes of this
	// leader one after another.
	config chan struct{}
	// started: raft may be asked for its configuration.
	started atomic.Bool

	asked sync.WaitGroup // requests to raft without an answer so far

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when the leader may have changed
	duties  []Duty
	closing bool // nothing more is asked of raft
	dialled map[raft.ServerID]raft.ServerAddress
}

var (
	errNotLeader = unavailable("this node is not the leader")
	errNoQuorum  = unavailable("no quorum of the cluster answers")
	errNoLeader  = unavailable("no leader is known")
	errStopping  = unavailable("this node is stopping")
)

func unavailable(text string) *model.Error {
	return &model.Error{Code: model.CodeUnavailable, Message: text, RetryAfter: 1}
}

func (n *Node) openGroup(spec GroupSpec) (g *Group, err error) {
	log := n.log.Named(spec.Name)
	g = &Group{
		name: spec.Name, n: n, log: log, self: n.self, acks: newAcks(), changed: make(chan struct{}), config: make(chan struct{}, 1), dialled: map[raft.ServerID]raft.ServerAddress{},
		machine: newMachine(spec.FSM, spec.DurableFSM), metrics: n.metrics.group(spec.Name),
	}
	g.leaderReads.run, g.reads.run = g.leaderRead, g.read
	g.hints = newHints(g)
	g.machine.committed = g.hints.committed
	if n.o.Stores != nil {
		g.stores, err = n.o.Stores(spec.Name)
	} else {
		g.stores, err = openStores(filepath.Join(n.o.DataDir, "raft", spec.Name), spec.Log, log)
	}
	if err != nil {
		return nil, fmt.Errorf("raft group %s: %w", spec.Name, err)
	}
	g.stores.Log = &slowLog{LogStore: &failStopLog{LogStore: g.stores.Log, failed: g.logFailed}, slow: g.logSlow, writes: &g.writes}
	opened := g // a return with an error has set g to nil
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("raft group %s: %w", spec.Name, err), opened.close())
			g = nil
		}
	}()
	conf := raft.DefaultConfig()
	conf.LocalID = g.self
	conf.HeartbeatTimeout, conf.ElectionTimeout = n.o.HeartbeatTimeout, n.o.ElectionTimeout
	conf.LeaderLeaseTimeout = n.o.HeartbeatTimeout
	conf.CommitTimeout = n.o.CommitTimeout
	conf.MaxAppendEntries, conf.BatchApplyCh = spec.MaxAppend, true
	conf.SnapshotThreshold, conf.SnapshotInterval, conf.TrailingLogs = spec.SnapshotThreshold, spec.SnapshotInterval, spec.TrailingLogs
	conf.Logger = raftLogger{log.Named("raft")}
	conf.NoLegacyTelemetry = true
	conf.ShutdownOnRemove = false // Run ends with ErrRemoved
	if spec.DurableFSM {
		if conf.NoSnapshotRestoreOnStart, err = skipRestore(spec.FSM.(durable), g.stores); err != nil { //nolint:forcetypeassert // Options.validate has checked it
			return nil, err
		}
	}
	has, err := raft.HasExistingState(g.stores.Log, g.stores.Stable, g.stores.Snapshots)
	if err != nil {
		return nil, fmt.Errorf("look for existing state: %w; %w", err, ErrDamaged)
	}
	stream, err := n.trans.Raft(spec.Name)
	if err != nil {
		return nil, err
	}
	g.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream, MaxPool: 3, Timeout: rpcTimeout(n.o.HeartbeatTimeout), Logger: log.Named("net"), MsgpackUseNewTimeFormat: true,
		ServerAddressProvider: g,
	})
	g.inbox = newInbox(g, g.trans.Consumer())
	trans := &ackTransport{g.trans, g.acks, g, g.inbox}
	if !has && n.o.Bootstrap {
		first := raft.Configuration{Servers: []raft.Server{{ID: g.self, Address: trans.LocalAddr()}}}
		if err = raft.BootstrapCluster(conf, g.stores.Log, g.stores.Stable, g.stores.Snapshots, trans, first); err != nil {
			return nil, fmt.Errorf("bootstrap: %w", err)
		}
	}
	snapshots := g.stores.Snapshots
	if spec.Marks {
		g.machine.flush = spec.FSM.(flusher).Flush //nolint:forcetypeassert // Options.validate has checked it
		snapshots = &markStore{SnapshotStore: snapshots, whole: g.wholeSnapshot}
	}
	if g.raft, err = raft.NewRaft(conf, g.machine, g.stores.Log, g.stores.Stable, snapshots, trans); err != nil {
		return nil, fmt.Errorf("start raft: %w; %w", err, ErrDamaged)
	}
	g.started.Store(true)
	g.raft.RegisterObserver(raft.NewObserver(nil, false, func(*raft.Observation) bool {
		g.notify()
		return false
	}))
	n.metrics.watch(g)
	return g, nil
}

// logFailed has Run end, as this node can take no more entries.
func (g *Group) logFailed(err error) {
	g.log.Error("the log cannot be written, this node stops", "error", err)
	select {
	case g.n.broken <- fmt.Errorf("raft group %s: %w", g.name, err):
	default: // the first one is the cause
	}
}

// ServerAddr makes raft dial a server by its identity and not only by its
// address; see transport.RaftAddress. It is for raft.
func (g *Group) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	var servers []raft.Server
	if g.started.Load() {
		servers = g.servers()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range servers {
		if s.ID == id {
			g.dialled[id] = s.Address
			break
		}
	}
	// A server that was taken out is still sent the entry that says so.
	if addr, ok := g.dialled[id]; ok {
		return raft.ServerAddress(transport.RaftAddress(string(id), string(addr))), nil
	}
	if id == g.self { // raft asks for it with every answer, also before this node is a member
		return raft.ServerAddress(transport.RaftAddress(string(id), string(g.trans.LocalAddr()))), nil
	}
	// Raft then takes the plain address, which the transport refuses.
	return "", fmt.Errorf("server %s is not in the configuration", id)
}

// rpcTimeout bounds one raft request. It is above the election timeout, so
// that a slow disk is not taken for a dead node.
func rpcTimeout(heartbeat time.Duration) time.Duration { return max(2*time.Second, 4*heartbeat) }

// close ends what openGroup opened, in the reverse order.
func (g *Group) close() error {
	var errs []error
	if g.raft != nil {
		g.mu.Lock()
		g.closing = true
		g.mu.Unlock()
		g.awaitAnswers()
		errs = append(errs, g.raft.Shutdown().Error())
	}
	if g.trans != nil {
		g.trans.CloseStreams()
		errs = append(errs, g.trans.Close())
	}
	if g.inbox != nil {
		g.inbox.close()
		g.inbox = nil
	}
	if g.stores.Close != nil {
		errs = append(errs, g.stores.Close())
		g.stores.Close = nil
	}
	return errors.Join(errs...)
}

// awaitAnswers waits for what raft has been asked. A leader whose followers
// are there but cannot write would not answer as long as it leads, so it is
// cut off from them when the leader lease should have been enough.
func (g *Group) awaitAnswers() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.asked.Wait()
	}()
	t := time.NewTimer(2 * g.n.o.HeartbeatTimeout)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		_ = g.trans.Close() // again in close, where errors count
		g.trans.CloseStreams()
		<-done
	}
}

func (g *Group) notify() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.changed)
	g.changed = make(chan struct{})
}

// LeaderChanged gives a channel that closes when the leader or the role of
// this node may have changed. Take it before looking.
func (g *Group) LeaderChanged() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Name is the name of the group.
func (g *Group) Name() string { return g.name }

// Leader gives the node that this node takes for the leader.
func (g *Group) Leader() (nodeID string, ok bool) {
	_, id := g.raft.LeaderWithID()
	return nodeOf(id), id != ""
}

// IsLeader reports whether this node takes itself for the leader. It may be
// wrong for as long as the heartbeat timeout; Linearize is the way to be sure.
func (g *Group) IsLeader() bool { return g.raft.State() == raft.Leader }

// Term is the current raft term.
func (g *Group) Term() uint64 { return g.raft.CurrentTerm() }

// AppliedIndex is the index of the last command the local state has.
func (g *Group) AppliedIndex() uint64 { return g.machine.applied.index() }

// WaitApplied returns when the local state has the command at index, or the
// error of ctx, or CodeUnavailable when the node is closed. index must be one
// that Propose returned.
func (g *Group) WaitApplied(ctx context.Context, index uint64) error {
	if g.AppliedIndex() >= index {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(g.n.ctx, func() { cancel(errStopping) })()
	return g.machine.applied.wait(ctx, index)
}

// keepUp is WaitApplied for LeaderWait at most: a node that is cut off may not
// have the index for a long time.
func (g *Group) keepUp(ctx context.Context, index uint64) error {
	ctx, cancel := context.WithTimeout(ctx, g.n.o.LeaderWait)
	defer cancel()
	return g.WaitApplied(ctx, index)
}

// servers gives the latest configuration of the group.
func (g *Group) servers() []raft.Server {
	f := g.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

func (g *Group) server(nodeID string) (raft.Server, bool) {
	for _, s := range g.servers() {
		if nodeOf(s.ID) == nodeID {
			return s, true
		}
	}
	return raft.Server{}, false
}

// Snapshot takes a snapshot now, if there is anything new.
func (g *Group) Snapshot() error {
	if err := <-g.ask(func() raft.Future { return g.raft.Snapshot() }); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fmt.Errorf("snapshot of group %s: %w", g.name, err)
	}
	return nil
}

// wholeSnapshot takes a snapshot that is not a mark. It is for the leader.
func (g *Group) wholeSnapshot() error {
	g.machine.wanted.Add(1)
	defer g.machine.wanted.Add(-1)
	// Raft takes none before the state machine has seen an entry of this life,
	// and the latest change of the members.
	if err := <-g.ask(func() raft.Future { return g.raft.Barrier(g.n.o.LeaderWait) }); err != nil {
		return err
	}
	return <-g.ask(func() raft.Future { return g.raft.Snapshot() })
}

// Members is how many servers the group has, as this node knows it.
func (g *Group) Members() int { return len(g.servers()) }

// member reports whether this incarnation belongs to the group.
func (g *Group) member() bool {
	s, ok := g.server(g.n.o.NodeID)
	return ok && s.ID == g.self
}

// passBarrier applies everything of earlier terms. It must precede the first
// read of a term and every duty.
func (g *Group) passBarrier(ctx context.Context, term uint64) error {
	if g.barrier.Load() == term {
		return nil
	}
	if err := g.wait(ctx, func() raft.Future { return g.raft.Barrier(g.n.o.LeaderWait) }); err != nil {
		return errNotLeader.WithCause(err)
	}
	if g.raft.CurrentTerm() != term {
		return errNotLeader
	}
	g.barrier.Store(term)
	return nil
}

// ask puts a request to raft and delivers its answer. Raft leaves requests that
// are queued when it shuts down without an answer, so close waits for the
// answers first: they take no longer than the leader lease.
func (g *Group) ask(request func() raft.Future) <-chan error {
	done := make(chan error, 1)
	g.mu.Lock()
	closing := g.closing
	if !closing {
		g.asked.Add(1)
	}
	g.mu.Unlock()
	if closing {
		done <- raft.ErrNotLeader
		return done
	}
	f := request()
	go func() {
		defer g.asked.Done()
		done <- f.Error()
	}()
	return done
}

// wait asks raft and waits for the answer or ctx.
func (g *Group) wait(ctx context.Context, request func() raft.Future) error {
	select {
	case err := <-g.ask(request):
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
