// Package clustertest runs whole clusters in one process, on a network and
// disks in memory, so that a test in a testing/synctest bubble sees hundreds
// of failovers a second.
//
// The raft groups, the peer port and the membership are the real ones; only
// the wires, the disks and the clock are not. Wires and disks can fail: see
// transport.Mem and Disk.
package clustertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/belfry/cluster"
	"example.com/belfry/cluster/transport"
)

// Options of New. Nodes and Groups are required.
type Options struct {
	// Nodes is how many nodes the cluster begins with.
	Nodes int
	// Groups makes the raft groups of a node, also when it starts again. A
	// state machine that keeps its state on disk is the same one again.
	Groups func(nodeID string) []cluster.GroupSpec
	// Started is called when a node has been opened and before it runs.
	Started func(n *cluster.Node)
	// Change may alter the options of a node before it starts.
	Change func(o *cluster.Options)
	// Aborted is called when a node has ended by itself, as its disk could not
	// be written where raft cannot go on without. Nothing of it reaches the
	// network any more; it must be ended by Crash. It must not block. nil: the
	// test fails then.
	Aborted func(nodeID string)
	// Seed is that of the network's jitter and of the disks' failures.
	Seed   uint64
	Logger hclog.Logger
}

// Cluster is a cluster in memory. Its methods are for one goroutine.
type Cluster struct {
	tb    testing.TB
	o     Options
	Net   *transport.Mem
	nodes map[string]*member
}

type member struct {
	id          string
	incarnation int
	disk        *Disk
	node        *cluster.Node // nil: it does not run
	cancel      context.CancelFunc
	ended       chan error
}

// New starts the nodes n1, n2, … and returns when all of them vote in all groups.
func New(tb testing.TB, o Options) *Cluster {
	tb.Helper()
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	c := &Cluster{tb: tb, o: o, Net: transport.NewMem(o.Seed), nodes: map[string]*member{}}
	tb.Cleanup(c.Close)
	for i := range o.Nodes {
		c.Add(fmt.Sprintf("n%d", i+1))
	}
	c.WaitVoters(o.Nodes)
	return c
}

// Close crashes every node.
func (c *Cluster) Close() {
	for _, id := range c.Running() {
		c.Crash(id)
	}
}

func addr(id string) string { return id + ":1" }

// Add makes a node with an empty disk. The first of the cluster makes the
// cluster, the others join it.
func (c *Cluster) Add(id string) {
	c.tb.Helper()
	if c.nodes[id] != nil {
		c.tb.Fatalf("node %s exists", id)
	}
	c.nodes[id] = &member{id: id, disk: c.newDisk(id)}
	c.Start(id)
}

func (c *Cluster) newDisk(id string) *Disk {
	return newDisk(c.o.Seed, id, func() {
		c.Net.Reset(id)
		if c.o.Aborted != nil {
			c.o.Aborted(id)
		} else {
			c.tb.Errorf("the disk of %s failed and the node has ended", id)
		}
	})
}

// Disk gives the disk of a node, whether it runs or not, until its next Wipe.
func (c *Cluster) Disk(id string) *Disk { return c.nodes[id].disk }

// Wipe empties the disk of a node that does not run.
func (c *Cluster) Wipe(id string) {
	m := c.nodes[id]
	m.disk = c.newDisk(id)
	m.incarnation++
}

// Start starts a node on its disk.
func (c *Cluster) Start(id string) {
	c.tb.Helper()
	m := c.nodes[id]
	o := cluster.Options{
		NodeID: id, PeerListen: addr(id), APIAddress: "api-" + id, Groups: c.o.Groups(id), Logger: c.o.Logger.Named(id),
		Network: c.Net.Host(id), Incarnation: fmt.Sprintf("%016x", m.incarnation),
		Stores: func(group string) (cluster.Stores, error) { return m.disk.stores(group), nil },
	}
	m.disk.begin()
	for _, other := range c.ids() {
		if other != id {
			o.Join = append(o.Join, addr(other))
		}
	}
	o.Bootstrap = len(o.Join) == 0
	if c.o.Change != nil {
		c.o.Change(&o)
	}
	n, err := cluster.Open(context.Background(), o)
	if err != nil {
		c.tb.Fatalf("open %s: %v", id, err)
	}
	if c.o.Started != nil {
		c.o.Started(n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.node, m.cancel, m.ended = n, cancel, make(chan error, 1)
	ended := m.ended
	go func() { ended <- n.Run(ctx) }()
}

// Crash ends a node without a goodbye. Its disk stays as it is: what it writes
// while its parts come to their end goes nowhere.
func (c *Cluster) Crash(id string) {
	c.tb.Helper()
	m := c.nodes[id]
	if m == nil || m.node == nil {
		return
	}
	m.disk.end()
	c.Net.Reset(id)
	m.cancel()
	if err := m.node.Close(); err != nil {
		c.tb.Errorf("close %s: %v", id, err)
	}
	// A log that cannot be written is what a crash looks like to the node.
	if err := <-m.ended; err != nil && !errors.Is(err, cluster.ErrRemoved) && !errors.Is(err, cluster.ErrLogFailed) {
		c.tb.Errorf("run %s: %v", id, err)
	}
	m.node = nil
}

// Ended gives what Run of the node returned, once it did.
func (c *Cluster) Ended(id string) error {
	m := c.nodes[id]
	err := <-m.ended
	m.ended <- err
	return err
}

// Over reports whether Run of the node has returned, and with what. The caller
// knows then, so Crash does not complain of it.
func (c *Cluster) Over(id string) (over bool, err error) {
	m := c.nodes[id]
	if m.node == nil {
		return false, nil
	}
	select {
	case err = <-m.ended:
		m.ended <- nil
		return true, err
	default:
		return false, nil
	}
}

// Node gives a node that runs, or nil.
func (c *Cluster) Node(id string) *cluster.Node {
	if m := c.nodes[id]; m != nil {
		return m.node
	}
	return nil
}

func (c *Cluster) ids() []string {
	var ids []string
	for id := range c.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Running lists the nodes that run, sorted.
func (c *Cluster) Running() []string {
	return slices.DeleteFunc(c.ids(), func(id string) bool { return c.nodes[id].node == nil })
}

// waitLimit is how long, in virtual time, a Wait lasts before the test fails.
const waitLimit = time.Minute

// Wait asks every 10 ms of virtual time until ok.
func (c *Cluster) Wait(what string, ok func() bool) {
	c.tb.Helper()
	for begin := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) { //nolint:forbidigo // virtual time
		if time.Since(begin) > waitLimit {
			c.tb.Fatalf("not within %s: %s", waitLimit, what)
		}
	}
}

// Leader gives the node that leads the group, if exactly one of those that run
// says so.
func (c *Cluster) Leader(group string) (id string, ok bool) {
	for _, r := range c.Running() {
		if c.Node(r).Group(group).IsLeader() {
			if ok {
				return "", false
			}
			id, ok = r, true
		}
	}
	return id, ok
}

// WaitLeader waits for a leader of the group.
func (c *Cluster) WaitLeader(group string) (id string) {
	c.tb.Helper()
	c.Wait("a leader of "+group, func() (ok bool) {
		id, ok = c.Leader(group)
		return ok
	})
	return id
}

// WaitVoters waits until every node that runs sees want live voters and is ready.
func (c *Cluster) WaitVoters(want int) {
	c.tb.Helper()
	c.Wait(fmt.Sprintf("%d live voters", want), func() bool { return c.Voters(want) })
}

// Voters reports whether every node that runs sees want live voters and is ready.
func (c *Cluster) Voters(want int) bool {
	for _, id := range c.Running() {
		n := c.Node(id)
		if n.Ready(context.Background()) != nil {
			return false
		}
		live := 0
		for _, m := range n.Members() {
			if m.Voter && m.Live {
				live++
			}
		}
		if live != want {
			return false
		}
	}
	return true
}
