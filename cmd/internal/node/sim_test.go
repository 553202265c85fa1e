package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/belfry/cluster"
	"example.com/belfry/cluster/clustertest"
	"example.com/belfry/dispatch"
	"example.com/belfry/dispatch/attemptlog"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/index"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/partition"
	"example.com/belfry/fsm"
	"example.com/belfry/fsm/model"
	"example.com/belfry/fsm/seal"
)

// sim is a whole cluster in virtual time: raft groups, stores, index,
// publishers, dispatchers and the duty of the partitions are the real ones;
// wires, disks of raft, clocks and webhooks are not.
type sim struct {
	*clustertest.Cluster

	t     *testing.T
	seed  uint64
	ring  *seal.Ring
	truth *truth
	log   hclog.Logger
	nodes map[string]*simNode
	ids   []string
	load  *simLoad
	knobs simKnobs
	clock map[string]*atomic.Int64 // by how much, in ns, a node's wall clock is off

	rounds int
	begin  time.Time
	did    []string // what was done, with its time

	mu      sync.Mutex
	newest  model.PartitionTable // that any node has applied
	moved   [model.Partitions]time.Time
	crashes int // of any node
	aborts  int // of these, by a disk that failed
	clocks  int // how often a clock was set

	clocksBefore int // until the last round
}

// simKnobs are what a seed decides of the cluster and of the load.
type simKnobs struct {
	heartbeat, lease    time.Duration
	threshold, trailing uint64
	calm                int  // the pauses of clients are so many times as long
	late                bool // some deliveries take more than an hour
}

func newKnobs(seed uint64) simKnobs {
	rng := simRand(seed, "knobs")
	pick := func(ds ...time.Duration) time.Duration { return ds[rng.IntN(len(ds))] }
	k := simKnobs{
		heartbeat: pick(300*time.Millisecond, 300*time.Millisecond, 500*time.Millisecond, time.Second),
		lease:     pick(cluster.DefaultLeaseTTL, cluster.DefaultLeaseTTL, 2*time.Second),
		threshold: []uint64{64, 128, 1024}[rng.IntN(3)], trailing: []uint64{32, 64, 128}[rng.IntN(3)],
		calm: []int{1, 4, 15}[rng.IntN(3)], late: seed%2 == 0,
	}
	if k.late { // fewer heartbeats make long waits cheap
		k.heartbeat, k.lease = time.Second, 2*time.Second
	}
	return k
}

// simNode is one node. It is made anew at every start, on the same directory.
type simNode struct {
	s       *sim
	id, dir string

	cluster    *cluster.Node
	store      *fsm.Store
	outbox     *outbox.Store
	index      *index.Index
	resolver   *resolver
	ownership  *ownership
	waker      *waker
	tables     tableWriter
	writer     *fsm.Writer
	publisher  *dispatch.Publisher
	dispatcher *dispatch.Dispatcher

	down   atomic.Bool
	dead   chan struct{} // closed then
	kill   func()        // makes it so; only the first call does anything
	jammed atomic.Bool   // the file of the outbox cannot be written
	cancel context.CancelFunc
	parts  sync.WaitGroup

	mu     sync.Mutex
	paused chan struct{} // nil: it runs; closed when it goes on
}

// between draws a pause of a client, of so many milliseconds where it is not
// calm.
func (k simKnobs) between(rng *rand.Rand, from, to int) time.Duration {
	return time.Duration(k.calm*(from+rng.IntN(to-from))) * time.Millisecond
}

func newSim(t *testing.T, nodes int, seed uint64) *sim {
	t.Helper()
	s := &sim{
		t: t, seed: seed, rounds: simRounds(), begin: time.Now(), knobs: newKnobs(seed), truth: newTruth(seed, func(text string) { t.Error(text) }),
		nodes: map[string]*simNode{}, log: hclog.NewNullLogger(), clock: map[string]*atomic.Int64{},
	}
	s.truth.lease = s.knobs.lease
	if os.Getenv(envSimSeed) != "" {
		s.log = hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: os.Stderr})
	}
	var err error
	if s.ring, err = seal.NewRing(); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	s.ids = simIDs(nodes)
	for _, id := range s.ids {
		s.clock[id] = &atomic.Int64{}
		if err := os.Mkdir(filepath.Join(root, id), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.Cluster = clustertest.New(t, clustertest.Options{
		Nodes: nodes, Seed: seed, Logger: s.log,
		Groups: func(id string) []cluster.GroupSpec {
			n := &simNode{s: s, id: id, dir: filepath.Join(root, id), dead: make(chan struct{})}
			n.kill = sync.OnceFunc(func() {
				n.down.Store(true)
				close(n.dead)
			})
			n.down.Store(true) // until it has started
			n.openStores()
			s.mu.Lock()
			s.nodes[id] = n
			s.mu.Unlock()
			// Snapshots are frequent and logs short, so that who was away for a
			// while comes back through a snapshot.
			k := s.knobs
			return []cluster.GroupSpec{
				{Name: groupConfig, FSM: n.store, DurableFSM: true, SnapshotThreshold: k.threshold / 2, SnapshotInterval: 3 * time.Second, TrailingLogs: k.trailing / 2},
				{Name: groupEvents, FSM: n.outbox, DurableFSM: true, Marks: true, SnapshotThreshold: k.threshold, SnapshotInterval: 3 * time.Second, TrailingLogs: k.trailing},
			}
		},
		Change:  func(o *cluster.Options) { o.HeartbeatTimeout, o.LeaseTTL = s.knobs.heartbeat, s.knobs.lease },
		Started: func(c *cluster.Node) { s.node(c.NodeID()).start(c) },
		Aborted: func(id string) {
			s.log.Info("ABORT", "node", id)
			s.mu.Lock()
			s.aborts++
			s.mu.Unlock()
			s.node(id).kill()
		},
	})
	s.Net.Latency(time.Millisecond, time.Millisecond)
	return s
}

func simIDs(nodes int) (ids []string) {
	for i := range nodes {
		ids = append(ids, fmt.Sprintf("n%d", i+1))
	}
	return ids
}

// String sums up what was done to the cluster and what came of it.
func (s *sim) String() string {
	failures := 0
	for _, id := range s.ids {
		failures += s.Disk(id).Failures()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d crashes, %d nodes ended as one of %d failed writes; %s", s.crashes, s.aborts, failures, s.truth)
}

// simRand is a stream of random numbers of its own for every purpose.
func simRand(seed uint64, purpose string) *rand.Rand {
	h := uint64(14695981039346656037)
	for i := range len(purpose) {
		h = (h ^ uint64(purpose[i])) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h))
}

func (s *sim) node(id string) *simNode {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[id]
}

func (s *sim) close() {
	if s.load != nil {
		s.load.end()
	}
	for _, id := range s.Running() {
		s.crash(id)
	}
}

// openStores opens what lies in the directory, as Node.openStores does.
func (n *simNode) openStores() {
	t := n.s.t
	t.Helper()
	n.index, n.ownership, n.waker, n.resolver = index.New(), newOwnership(), &waker{}, newResolver(nil, nil)
	var err error
	n.store, err = fsm.Open(fsm.Options{
		Path: filepath.Join(n.dir, "config.db"), NoSync: true,
		Observers: []fsm.Observer{invalidator{n.resolver}, n.index, n.ownership, tableWatch{n.s}, n.waker},
	})
	if err != nil {
		t.Fatal(err)
	}
	n.resolver.config = n.store
	n.outbox, err = outbox.Open(outbox.Options{
		Path: filepath.Join(n.dir, "outbox.db"), NoSync: true, MemoryBytes: 1 << 20, Logger: n.s.log.Named(n.id),
		Hooks: outbox.Hooks{BeforeCommit: func() error {
			if n.jammed.Load() {
				return clustertest.ErrDisk
			}
			return nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// start starts what Node.openCluster, openKeys and openDelivery do.
func (n *simNode) start(c *cluster.Node) {
	t := n.s.t
	t.Helper()
	n.cluster = c
	duty, err := partition.NewDuty(partition.DutyOptions{
		Members: candidates{c}, Tables: n.ownership, Proposer: &n.tables, Changed: c.CandidatesChanged(), Logger: n.s.log.Named(n.id),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.AddDuty(groupConfig, duty)
	sealer := seal.NewSealer(n.s.ring, n.store.DataKey)
	n.resolver.opener = sealer
	n.writer = fsm.NewWriter(fsm.WriterOptions{Proposer: mortal{n, groupConfig}, Sealer: sealer, Store: n.store, Now: n.now, CatchUp: n.catchUp})
	n.tables.writer.Store(n.writer)
	if n.publisher, err = dispatch.NewPublisher(dispatch.PublisherOptions{
		NodeID: n.id, Index: n.index, Proposer: mortal{n, groupEvents}, Outbox: n.outbox, Staleness: c.StateAge, Logger: n.s.log.Named(n.id),
	}); err != nil {
		t.Fatal(err)
	}
	if n.dispatcher, err = dispatch.NewDispatcher(dispatch.DispatcherOptions{
		NodeID: n.id, Outbox: n.outbox, Attempts: noHistory{}, Sender: simSender{n}, Resolver: n.resolver, Subscriptions: n.index,
		Lease: c, Ownership: n.ownership, Proposer: mortal{n, groupEvents}, DrainTimeout: time.Millisecond,
		OnGone: n.gone, Logger: n.s.log.Named(n.id),
	}); err != nil {
		t.Fatal(err)
	}
	n.waker.attach(n.dispatcher)
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	select {
	case <-n.dead: // its disk has failed already
	default:
		n.down.Store(false)
	}
	for _, part := range []func(context.Context) error{n.outbox.Run, n.publisher.Run, n.dispatcher.Run} {
		n.parts.Go(func() {
			if err := part(ctx); err != nil {
				t.Errorf("%s: %v", n.id, err)
			}
		})
	}
}

// crash ends a node without a goodbye, or what is left of one that ended by
// itself: what the outbox has not flushed is gone, what raft has on its disk is
// not.
func (s *sim) crash(id string) {
	s.t.Helper()
	n := s.node(id)
	synctest.Wait() // no flush is under way, so the copy is a file that a crash leaves
	file := filepath.Join(n.dir, "outbox.db")
	left, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.crashes++
	s.mu.Unlock()
	n.kill()
	n.cancel()
	n.jammed.Store(false)
	s.Crash(id)
	n.parts.Wait()
	if err := errors.Join(n.store.Close(), n.outbox.Close(), os.WriteFile(file, left, 0o600)); err != nil {
		s.t.Fatal(err)
	}
}

// ended lists the nodes that have ended by themselves.
func (s *sim) ended() (ids []string) {
	for _, id := range s.Running() {
		over, err := s.Over(id)
		if over {
			s.log.Info("OVER", "node", id, "error", err)
		}
		if over || s.node(id).down.Load() {
			ids = append(ids, id)
		}
	}
	return ids
}

// wipe empties the disk of a node that has crashed.
func (s *sim) wipe(id string) {
	s.t.Helper()
	s.Wipe(id)
	for _, file := range []string{"config.db", "outbox.db"} {
		if err := os.Remove(filepath.Join(s.node(id).dir, file)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// tableWatch notes the newest partition table of all nodes.
type tableWatch struct{ s *sim }

// Committed looks at the table.
func (w tableWatch) Committed(v model.View, _ model.ChangeSet) { w.Restored(v) }

// Restored looks at the table.
func (w tableWatch) Restored(v model.View) {
	t := v.Partitions()
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if t.Version <= w.s.newest.Version {
		return
	}
	for p := range t.Slots {
		if t.Slots[p] != w.s.newest.Slots[p] {
			w.s.moved[p] = time.Now()
		}
	}
	w.s.newest = t
}

// noHistory is an attempt log that forgets.
type noHistory struct{}

func (noHistory) Record(*event.Event, attemptlog.Entry) {}

func (noHistory) Lookup(string, string) (event.Record, bool, error) {
	return event.Record{}, false, nil
}
