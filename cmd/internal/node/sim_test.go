package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
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

// Environment of the simulations: how many further seeds to run, and one seed
// to run alone, with its log on standard error. A seed repeats what is done to
// the cluster, not the order in which the goroutines of the cluster run.
const (
	envSimSeeds = "BELFRY_SIM_SEEDS"
	envSimSeed  = "BELFRY_SIM_SEED"
)

// simSeeds are the seeds of a test: the fixed ones, and as many new ones as
// the environment asks for.
func simSeeds(t *testing.T, fixed ...uint64) []uint64 {
	t.Helper()
	if s := os.Getenv(envSimSeed); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", envSimSeed, err)
		}
		return []uint64{seed}
	}
	n := 0
	if s := os.Getenv(envSimSeeds); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("%s: %v", envSimSeeds, err)
		}
	}
	if testing.Short() {
		fixed = fixed[:1]
	}
	for range n {
		fixed = append(fixed, rand.Uint64N(1e9))
	}
	return fixed
}

// simulate runs f in virtual time for every seed and tells how fast time went.
func simulate(t *testing.T, nodes int, fixed []uint64, f func(s *sim)) {
	t.Helper()
	for _, seed := range simSeeds(t, fixed...) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			defer func() {
				if t.Failed() {
					t.Logf("run it again with %s=%d go test -run '%s' ./cmd/internal/node", envSimSeed, seed, t.Name())
				}
			}()
			begin := time.Now()
			var virtual time.Duration
			var did string
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				s := newSim(t, nodes, seed)
				defer s.close()
				f(s)
				virtual, did = time.Since(begin), s.truth.String()
			})
			wall := time.Since(begin)
			t.Logf("%v of virtual time in %v: %.0f s per s; %s", virtual.Round(time.Second), wall.Round(time.Millisecond),
				virtual.Seconds()/wall.Seconds(), did)
		})
	}
}

// sim is a whole cluster in virtual time: raft groups, stores, index,
// publishers, dispatchers and the duty of the partitions are the real ones;
// wires, disks of raft, clocks and webhooks are not.
type sim struct {
	*clustertest.Cluster

	t     *testing.T
	seed  uint64
	rng   *rand.Rand // of the nemesis
	ring  *seal.Ring
	truth *truth
	log   hclog.Logger
	nodes map[string]*simNode
	ids   []string
	load  *simLoad

	mu     sync.Mutex
	newest model.PartitionTable // that any node has applied
	moved  [model.Partitions]time.Time
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
	cancel context.CancelFunc
	parts  sync.WaitGroup
}

func newSim(t *testing.T, nodes int, seed uint64) *sim {
	t.Helper()
	s := &sim{t: t, seed: seed, rng: simRand(seed, "nemesis"), truth: newTruth(t, seed), nodes: map[string]*simNode{}, log: hclog.NewNullLogger()}
	if os.Getenv(envSimSeed) != "" {
		s.log = hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: os.Stderr})
	}
	var err error
	if s.ring, err = seal.NewRing(); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for i := range nodes {
		id := fmt.Sprintf("n%d", i+1)
		s.ids = append(s.ids, id)
		if err := os.Mkdir(filepath.Join(root, id), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.Cluster = clustertest.New(t, clustertest.Options{
		Nodes: nodes, Seed: seed, Logger: s.log,
		Groups: func(id string) []cluster.GroupSpec {
			n := &simNode{s: s, id: id, dir: filepath.Join(root, id), dead: make(chan struct{})}
			n.down.Store(true) // until it has started
			n.openStores()
			s.mu.Lock()
			s.nodes[id] = n
			s.mu.Unlock()
			// Snapshots are frequent and logs short, so that who was away for a
			// while comes back through a snapshot.
			return []cluster.GroupSpec{
				{Name: groupConfig, FSM: n.store, DurableFSM: true, SnapshotThreshold: 64, SnapshotInterval: 3 * time.Second, TrailingLogs: 32},
				{Name: groupEvents, FSM: n.outbox, DurableFSM: true, SnapshotThreshold: 128, SnapshotInterval: 3 * time.Second, TrailingLogs: 64},
			}
		},
		Started: func(c *cluster.Node) { s.node(c.NodeID()).start(c) },
	})
	s.Net.Latency(time.Millisecond, time.Millisecond)
	return s
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
	n.outbox, err = outbox.Open(outbox.Options{Path: filepath.Join(n.dir, "outbox.db"), NoSync: true, MemoryBytes: 1 << 20, Logger: n.s.log.Named(n.id)})
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
	n.writer = fsm.NewWriter(fsm.WriterOptions{Proposer: mortal{n, groupConfig}, Sealer: sealer, Store: n.store, Now: time.Now})
	n.tables.writer.Store(n.writer)
	if n.publisher, err = dispatch.NewPublisher(dispatch.PublisherOptions{
		NodeID: n.id, Index: n.index, Proposer: mortal{n, groupEvents}, Outbox: n.outbox, Staleness: c.StateAge, Logger: n.s.log.Named(n.id),
	}); err != nil {
		t.Fatal(err)
	}
	if n.dispatcher, err = dispatch.NewDispatcher(dispatch.DispatcherOptions{
		NodeID: n.id, Outbox: n.outbox, Attempts: noHistory{}, Sender: simSender{n}, Resolver: n.resolver, Subscriptions: n.index,
		Lease: c, Ownership: n.ownership, Proposer: mortal{n, groupEvents}, DrainTimeout: time.Millisecond, Logger: n.s.log.Named(n.id),
	}); err != nil {
		t.Fatal(err)
	}
	n.waker.attach(n.dispatcher)
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.down.Store(false)
	for _, part := range []func(context.Context) error{n.outbox.Run, n.publisher.Run, n.dispatcher.Run} {
		n.parts.Go(func() {
			if err := part(ctx); err != nil {
				t.Errorf("%s: %v", n.id, err)
			}
		})
	}
}

// crash ends a node without a goodbye: what the outbox has not flushed is
// gone, what raft has on its disk is not.
func (s *sim) crash(id string) {
	s.t.Helper()
	n := s.node(id)
	synctest.Wait() // no flush is under way, so the copy is a file that a crash leaves
	file := filepath.Join(n.dir, "outbox.db")
	left, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	n.down.Store(true)
	close(n.dead)
	n.cancel()
	s.Crash(id)
	n.parts.Wait()
	if err := errors.Join(n.store.Close(), n.outbox.Close(), os.WriteFile(file, left, 0o600)); err != nil {
		s.t.Fatal(err)
	}
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

// mortal proposes as long as the node lives.
type mortal struct {
	n     *simNode
	group string
}

func (m mortal) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	if m.n.down.Load() {
		return 0, nil, model.Errorf(model.CodeUnavailable, "the node is dead")
	}
	return m.n.cluster.Group(m.group).Propose(ctx, cmd)
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
