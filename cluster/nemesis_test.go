package cluster_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/cluster"
	"example.com/belfry/cluster/clustertest"
	"example.com/belfry/fsm/model"
)

// simSeeds is how many seeds TestNemesis runs by default. BELFRY_SIM_SEEDS=N
// runs N more, and BELFRY_SIM_SEED=X that one only.
const simSeeds = 4

func seeds(t *testing.T) []uint64 {
	t.Helper()
	number := func(name string) uint64 {
		v := os.Getenv(name)
		if v == "" {
			return 0
		}
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("%s=%q: %v", name, v, err)
		}
		return n
	}
	if one := number("BELFRY_SIM_SEED"); one != 0 {
		return []uint64{one}
	}
	var out []uint64
	for i := range simSeeds + number("BELFRY_SIM_SEEDS") {
		out = append(out, i+1)
	}
	return out
}

// TestNemesis: partitions, one-way cuts, crashes, wiped disks, transfers and
// changes of members, at random, under writes and reads at every node. Then
//   - every acknowledged command is at its place in every state, once, and the
//     states are equal;
//   - none whose proposal provably failed is there (INV propose-1);
//   - writes and reads were linearizable (INV read-1);
//   - a leader was never wrong about a lease (INV lease-1 to lease-5, member-1);
//   - the cluster is whole again soon after it was left alone.
func TestNemesis(t *testing.T) {
	t.Parallel()
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				newNemesis(t, seed).run()
				if t.Failed() {
					t.Logf("to see it again: BELFRY_SIM_SEED=%d go test ./cluster -run TestNemesis", seed)
				}
			})
		})
	}
}

const (
	nemesisSteps   = 40
	nemesisClients = 2 // per node
)

type nemesis struct {
	*sim

	w     *leaseWatch
	rng   *rand.Rand
	nodes []string

	mu      sync.Mutex
	ledgers map[*cluster.Node]*ledger
	top     uint64            // the highest place that was acknowledged or read
	placed  map[string]uint64 // acknowledged commands
	refused map[string]bool   // commands that are not in the log
	reads   int
}

func newNemesis(t *testing.T, seed uint64) *nemesis {
	t.Helper()
	n := &nemesis{
		w: newLeaseWatch(), rng: rand.New(rand.NewPCG(seed, 7)), ledgers: map[*cluster.Node]*ledger{},
		placed: map[string]uint64{}, refused: map[string]bool{},
	}
	size := 3 + 2*n.rng.IntN(2)
	threshold, trailing := []uint64{20, 100, 5000}[n.rng.IntN(3)], []uint64{5, 100}[n.rng.IntN(2)]
	heartbeat := []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second}[n.rng.IntN(3)]
	latency, jitter := time.Duration(n.rng.IntN(5))*time.Millisecond, time.Duration(n.rng.IntN(5))*time.Millisecond
	t.Logf("%d nodes, heartbeat %s, latency %s + %s, snapshot after %d, %d trailing", size, heartbeat, latency, jitter, threshold, trailing)
	n.sim = newSim(t, 0, n.w.watched, func(o *clustertest.Options) {
		groups, started := o.Groups, o.Started
		o.Seed = seed
		o.Groups = func(id string) []cluster.GroupSpec {
			gs := groups(id)
			for i := range gs {
				gs[i].SnapshotThreshold, gs[i].SnapshotInterval, gs[i].TrailingLogs = threshold, time.Second, trailing
			}
			return gs
		}
		o.Started = func(c *cluster.Node) {
			l := n.ledger(c.NodeID())
			n.mu.Lock()
			n.ledgers[c] = l
			n.mu.Unlock()
			started(c)
		}
		o.Change = func(o *cluster.Options) {
			o.HeartbeatTimeout, o.LeaseTTL = heartbeat, max(heartbeat, cluster.DefaultLeaseTTL)
		}
	})
	n.Net.Latency(latency, jitter)
	for i := range size {
		n.nodes = append(n.nodes, fmt.Sprintf("n%d", i+1))
		n.Add(n.nodes[i])
	}
	n.WaitVoters(size)
	return n
}

// at gives a node that runs and its state, for clients.
func (n *nemesis) at(id string) (*cluster.Group, *ledger) {
	n.w.mu.Lock()
	c := n.w.nodes[id]
	n.w.mu.Unlock()
	if c == nil {
		return nil, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return c.Group("config"), n.ledgers[c]
}

// client writes and reads at one node.
func (n *nemesis) client(ctx context.Context, id, name string, rng *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		if g, l := n.at(id); g != nil {
			limit := time.Duration(100+rng.IntN(3000)) * time.Millisecond
			if rng.IntN(3) == 0 {
				n.write(g, fmt.Sprintf("%s-%d", name, i), limit)
			} else {
				n.readAt(id, g, l, limit)
			}
		}
		time.Sleep(time.Duration(1+rng.IntN(100)) * time.Millisecond)
	}
}

func (n *nemesis) write(g *cluster.Group, cmd string, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	n.mu.Lock()
	before := n.top
	n.mu.Unlock()
	_, resp, err := g.Propose(ctx, []byte(cmd))
	n.mu.Lock()
	defer n.mu.Unlock()
	switch model.CodeOf(err) { //nolint:exhaustive // there are no others
	case "":
		place := binary.BigEndian.Uint64(resp)
		if place <= before {
			n.t.Errorf("%s was acknowledged at %d, but %d was known before it was proposed", cmd, place, before)
		}
		n.placed[cmd] = place
		n.top = max(n.top, place)
	case model.CodeUnavailable:
		n.refused[cmd] = true
	case model.CodeUnknownOutcome:
	default:
		n.t.Errorf("%s: %v", cmd, err)
	}
}

func (n *nemesis) readAt(id string, g *cluster.Group, l *ledger, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	n.mu.Lock()
	before := n.top
	n.mu.Unlock()
	err := g.Linearize(ctx)
	got := l.length()
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err == nil && got < before:
		n.t.Errorf("%s reads %d commands, but %d were known before", id, got, before)
	case err == nil:
		n.reads++
		n.top = max(n.top, got)
	case model.CodeOf(err) != model.CodeUnavailable:
		n.t.Errorf("read at %s: %v", id, err)
	}
}

func (n *nemesis) some() string { return n.nodes[n.rng.IntN(len(n.nodes))] }

func (n *nemesis) pause(most time.Duration) { time.Sleep(time.Duration(n.rng.Int64N(int64(most)))) }

// revive starts what does not run, and what has ended, as a supervisor would. A
// node that was removed comes back with an empty disk.
func (n *nemesis) revive() {
	for _, id := range n.nodes {
		if over, err := n.Over(id); over {
			n.w.crash(n.sim, id)
			if errors.Is(err, cluster.ErrRemoved) {
				n.Wipe(id)
			} else if code := model.CodeOf(err); code != model.CodeConflict { // its earlier self may live
				n.t.Errorf("%s ended with %v", id, err)
			}
		}
		if n.Node(id) == nil {
			n.Start(id)
		}
	}
}

// whole heals and waits until all are voters again.
func (n *nemesis) whole() {
	n.Net.Heal()
	n.Wait(fmt.Sprintf("all of %v vote again", n.nodes), func() bool {
		n.revive()
		return n.Voters(len(n.nodes))
	})
}

func (n *nemesis) step() {
	switch n.rng.IntN(10) {
	case 0, 1:
		n.Net.Isolate(n.some(), n.nodes...)
	case 2:
		for range 1 + n.rng.IntN(3) {
			n.Net.Cut(n.some(), n.some())
		}
	case 3:
		if leader, ok := n.Leader("config"); ok {
			for _, o := range n.others(leader) {
				n.Net.Cut(o, leader)
			}
		}
	case 4, 5:
		n.w.crash(n.sim, n.some())
	case 6:
		if at := n.Node(n.some()); at != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = at.TransferLeadership(ctx, []string{"config", "events"}[n.rng.IntN(2)])
			cancel()
		}
	case 7: // only when no other disk is missing: a quorum must be left
		n.whole()
		id := n.some()
		n.w.crash(n.sim, id)
		n.Wipe(id)
		n.Start(id)
	case 8:
		n.whole()
		id := n.some()
		at := n.Node(n.some())
		n.disturb(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_ = at.RemoveNode(ctx, id)
		})
	default:
		n.Net.Heal()
		n.revive()
	}
}

// disturb runs f and lets the leader end while it runs, or not.
func (n *nemesis) disturb(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	n.pause(2 * time.Second)
	if leader, ok := n.Leader("config"); ok && n.rng.IntN(2) == 0 {
		n.w.crash(n.sim, leader)
	}
	<-done
}

func (n *nemesis) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, id := range n.nodes {
		for c := range nemesisClients {
			rng := rand.New(rand.NewPCG(n.rng.Uint64(), 1))
			wg.Go(func() { n.client(ctx, id, fmt.Sprintf("%s.%d", id, c), rng) })
		}
	}
	begin := time.Now()
	for range nemesisSteps {
		n.step()
		n.pause(2 * time.Second)
		if n.rng.IntN(3) == 0 {
			n.Net.Heal()
			n.revive()
		}
	}
	n.whole()
	cancel()
	wg.Wait()
	n.propose(n.nodes[0], "config", "end")
	n.check()
	n.Close()
	n.t.Logf("%s: %d writes acknowledged, %d refused, %d reads, %d looks at leases", time.Since(begin).Round(time.Second), len(n.placed), len(n.refused), n.reads, n.w.looks)
	n.w.check(n.t, 1000)
}

func (n *nemesis) check() {
	var all []string
	for i, id := range n.nodes {
		if err := n.config(id).Linearize(context.Background()); err != nil {
			n.t.Errorf("read at %s at the end: %v", id, err)
		}
		got := n.ledger(id).list()
		if i == 0 {
			all = got
		} else if !slices.Equal(all, got) {
			n.t.Errorf("%s has another state than %s: %d and %d commands", id, n.nodes[0], len(got), len(all))
		}
	}
	once := map[string]bool{}
	for _, cmd := range all {
		if once[cmd] {
			n.t.Errorf("%s is there twice", cmd)
		}
		if n.refused[cmd] {
			n.t.Errorf("%s is there, though its proposal provably failed", cmd)
		}
		once[cmd] = true
	}
	for cmd, place := range n.placed {
		if place > uint64(len(all)) || all[place-1] != cmd {
			n.t.Errorf("%s was acknowledged at %d and is not there", cmd, place)
		}
	}
	if len(n.placed) < 100 || n.reads < 200 {
		n.t.Errorf("only %d writes and %d reads succeeded", len(n.placed), n.reads)
	}
}
