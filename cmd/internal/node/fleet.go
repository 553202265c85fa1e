package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/belfry/api"
	"example.com/belfry/cluster"
	"example.com/belfry/fsm/model"
)

const (
	// methodHealth and methodDigest ask a node how it is, and for the digest of
	// its state.
	methodHealth = "node.health"
	methodDigest = "node.digest"
	// digestTimeout is how long a node may take for one digest, with waiting for
	// its turn.
	digestTimeout = 5 * time.Second
)

// digester gives the digest of a state with its index.
type digester func(ctx context.Context) (index uint64, sum [32]byte, err error)

// fleet implements api.Fleet over all nodes.
type fleet struct {
	self   string
	health func(ctx context.Context) api.NodeHealth // of this node
	states map[string]digester                      // by the name that the API has for a group
	turn   chan struct{}                            // capacity 1: a digest reads a whole state
	caller caller
	// peers returns the ids of the other members.
	peers func() []string
	now   func() time.Time
	log   hclog.Logger
}

var _ api.Fleet = (*fleet)(nil)

type healthQuery struct{}

// Health gathers what the nodes say of themselves.
func (f *fleet) Health(ctx context.Context) api.ClusterHealth {
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	h := api.ClusterHealth{At: f.now().UTC(), Nodes: []api.NodeHealth{f.health(ctx)}}
	sent := f.now()
	h.Unreachable = gather(ctx, f.caller, f.peers(), methodHealth, healthQuery{}, func(n api.NodeHealth) {
		n.ClockOffsetMs, n.ClockErrorMs = offset(sent, f.now(), n.At)
		h.Nodes = append(h.Nodes, n)
	})
	slices.SortFunc(h.Nodes, func(a, b api.NodeHealth) int { return cmp.Compare(a.NodeID, b.NodeID) })
	addLag(h.Nodes)
	return h
}

func (f *fleet) serveHealth(ctx context.Context, _ healthQuery) (api.NodeHealth, error) {
	return f.health(ctx), nil
}

// offset says by how much a clock is ahead that showed at some time between
// two of this one, and how wrong that may be, in milliseconds.
func offset(sent, received, at time.Time) (ahead, wrong *float64) {
	// Wall clocks are compared, but the time between is measured.
	took := received.Sub(sent)
	middle := sent.Round(0).Add(took / 2)
	a, w := milliseconds(at.Sub(middle)), milliseconds(took/2)
	return &a, &w
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// addLag counts what the nodes have not applied of what the leader of each
// group says is committed. Of two that say they lead, the later counts.
func addLag(nodes []api.NodeHealth) {
	leaders := map[string]api.GroupHealth{}
	for _, n := range nodes {
		for _, g := range n.Groups {
			if l, ok := leaders[g.Group]; g.Role == cluster.RoleLeader && (!ok || g.Term > l.Term) {
				leaders[g.Group] = g
			}
		}
	}
	for _, n := range nodes {
		for i := range n.Groups {
			g := &n.Groups[i]
			if l, ok := leaders[g.Group]; ok {
				// Asked a moment later, a follower may be ahead.
				lag := l.CommitIndex - min(l.CommitIndex, g.AppliedIndex)
				g.Lag = &lag
			}
		}
	}
}

// groupsHealth translates what the cluster says of the groups here.
func groupsHealth(hs []cluster.GroupHealth, now time.Time) []api.GroupHealth {
	out := make([]api.GroupHealth, len(hs))
	for i, h := range hs {
		out[i] = api.GroupHealth{
			Group: h.Group, Role: h.Role, Leader: h.Leader, Term: h.Term,
			LastIndex: h.Last, CommitIndex: h.Commit, AppliedIndex: h.Applied, SnapshotIndex: h.Snapshot,
		}
		if !h.Contact.IsZero() {
			ago := milliseconds(max(0, now.Sub(h.Contact)))
			out[i].LeaderContactMs = &ago
		}
	}
	return out
}

type digestQuery struct {
	Group string `json:"group"`
}

// Digests gathers the digests of a group, of every node or of one.
func (f *fleet) Digests(ctx context.Context, group, nodeID string) api.ClusterDigests {
	ctx, cancel := context.WithTimeout(ctx, digestTimeout+gatherTimeout)
	defer cancel()
	peers := f.peers()
	if nodeID != "" {
		peers = slices.DeleteFunc(peers, func(id string) bool { return id != nodeID })
	}
	own := make(chan []api.NodeDigest, 1)
	go func() {
		var ds []api.NodeDigest
		if nodeID == "" || nodeID == f.self {
			ds = []api.NodeDigest{f.digest(ctx, group)}
		}
		own <- ds
	}()
	var out api.ClusterDigests
	out.Unreachable = gather(ctx, f.caller, peers, methodDigest, digestQuery{group}, func(d api.NodeDigest) {
		out.Digests = append(out.Digests, d)
	})
	out.Digests = append(out.Digests, <-own...)
	slices.SortFunc(out.Digests, func(a, b api.NodeDigest) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return out
}

func (f *fleet) serveDigest(ctx context.Context, q digestQuery) (api.NodeDigest, error) {
	if f.states[q.Group] == nil {
		return api.NodeDigest{}, model.Errorf(model.CodeInvalid, "there is no group %q", q.Group)
	}
	return f.digest(ctx, q.Group), nil
}

var errDigestSlow = errors.New("it took longer than " + digestTimeout.String())

// digest makes that of this node, when it is its turn.
func (f *fleet) digest(ctx context.Context, group string) api.NodeDigest {
	d := api.NodeDigest{NodeID: f.self, Group: group}
	ctx, cancel := context.WithTimeoutCause(ctx, digestTimeout, errDigestSlow)
	defer cancel()
	var sum [32]byte
	var err error
	select {
	case f.turn <- struct{}{}:
		d.Index, sum, err = f.states[group](ctx)
		<-f.turn
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	switch {
	case errors.Is(err, errDigestSlow):
		d.Index, d.Error = 0, err.Error()
	case err != nil:
		f.log.Warn("the digest of a state cannot be made", "group", group, "error", err)
		d.Index, d.Error = 0, "the state cannot be read; the log of the node says why"
	default:
		d.SHA256 = hex.EncodeToString(sum[:])
	}
	return d
}

// newFleet makes the part of the node that asks all nodes, and answers for this
// one.
func (n *Node) newFleet(ready []api.Check) *fleet {
	disk := &usage{dir: n.cfg.DataDir, minFree: int64(n.cfg.MinFreeDisk), now: time.Now}
	f := &fleet{
		self: n.cfg.NodeID, turn: make(chan struct{}, 1), caller: n.cluster.Caller(), peers: n.members.others, now: time.Now, log: n.log,
		states: map[string]digester{api.GroupConfig: n.store.DigestAt, api.GroupEvents: n.outbox.DigestAt},
	}
	f.health = func(ctx context.Context) api.NodeHealth {
		h := api.NodeHealth{
			NodeID: n.cfg.NodeID, Version: n.version, StartedAt: n.began.UTC(), UptimeSeconds: time.Since(n.began).Seconds(),
			Ready: true, Partitions: n.ownership.owned(n.cfg.NodeID), Disk: disk.disk(ctx), Groups: groupsHealth(n.cluster.Health(), time.Now()),
		}
		h.Draining = n.cluster.Drained()
		for _, c := range ready {
			if err := c.Run(ctx); err != nil && h.Ready {
				h.Ready, h.NotReady = false, err.Error()
			}
		}
		h.At = time.Now().UTC() // last, because the time that all this took is not the clock's
		return h
	}
	return f
}
