package cluster

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/cluster/transport"
)

// The defaults and limits of a node.
const (
	// DefaultHeartbeat is the heartbeat and election timeout: measured, 300 ms
	// elects in 0.6 s and makes no false election on an overloaded host.
	DefaultHeartbeat = 300 * time.Millisecond
	// DefaultLeaseTTL is how long a partition lease lasts. All nodes of a
	// cluster must use the same value.
	DefaultLeaseTTL = time.Second
	// DefaultLeaderWait is how long a proposal or a linearizable read waits
	// for a leader before it answers CodeUnavailable.
	DefaultLeaderWait = 3 * time.Second
	// MaxCommand is how many bytes a proposal may have.
	MaxCommand = 8 << 20
	// MaxGroups is how many raft groups a node may have.
	MaxGroups = 16
	// MaxMembers is how many nodes a cluster may have.
	MaxMembers = 64

	defaultCommitTimeout     = 150 * time.Millisecond
	defaultSnapshotThreshold = 8192
	defaultSnapshotInterval  = 30 * time.Second
	defaultTrailingLogs      = 10240
	defaultMaxAppend         = 256
	reportsPerLease          = 5 // a lease survives four lost reports
)

// LogBolt and LogWAL are the kinds of log stores.
const (
	LogBolt = "bolt"
	LogWAL  = "wal"
)

// GroupSpec describes one raft group of a node.
type GroupSpec struct {
	// Name is the name on the wire and on disk, for ever.
	Name string
	// FSM gets only commands, never configuration entries. Its responses are
	// nil, []byte or error. A raft.BatchingFSM gets batches.
	FSM raft.FSM
	// Log is LogBolt (default) or LogWAL.
	Log string
	// DurableFSM says that the FSM keeps its state on disk and implements
	// AppliedIndex() uint64. It is restored from a snapshot at start only when
	// that is newer, and it must skip entries at or below its index.
	DurableFSM bool
	// Marks says that snapshots of a DurableFSM are only marks of how far its
	// file is complete; a whole one is taken when a node needs it to catch up.
	// The FSM must implement Flush() error, which returns when everything that
	// was applied is on disk. They are cheap, so they may be frequent.
	Marks bool
	// SnapshotThreshold, SnapshotInterval and TrailingLogs default to 8192
	// entries, 30 s and 10240 entries.
	SnapshotThreshold uint64
	SnapshotInterval  time.Duration
	TrailingLogs      uint64
	// MaxAppend is how many entries one request to a follower carries at most,
	// and how many are written at once; default 256. Where entries are large, it
	// bounds the memory for them.
	MaxAppend int
}

// Options configures a Node. NodeID, PeerListen and Groups are required, and
// DataDir unless Stores is given.
type Options struct {
	// NodeID names the node: 1 to 64 of A-Z a-z 0-9 - _ .
	NodeID  string
	DataDir string
	// PeerListen is the address to bind, PeerAdvertise what peers dial
	// (default: the bound address).
	PeerListen    string
	PeerAdvertise string
	// APIAddress is passed on to the other nodes; it is not used here.
	APIAddress string
	// Bootstrap makes a new cluster of this one node; Join enters a cluster
	// through any of its members' peer addresses. Both are ignored once the
	// node belongs to a cluster.
	Bootstrap bool
	Join      []string
	// TLS nil means plaintext peers.
	TLS *transport.TLS
	// Groups are the raft groups; the leader of the first is the leader of
	// the cluster. All nodes must have the same.
	Groups []GroupSpec

	HeartbeatTimeout time.Duration // default 300 ms
	ElectionTimeout  time.Duration // default: HeartbeatTimeout
	CommitTimeout    time.Duration // default 150 ms; hints make it a fallback
	LeaseTTL         time.Duration // default 1 s
	LeaderWait       time.Duration // default 3 s

	// Quiesce, when it is set, lets the node end what it does when an operator
	// has drained it; its work is given to others when Quiesce returns. ctx ends
	// when the drain is taken back. It is not called for a node that was drained
	// when it was opened.
	Quiesce func(ctx context.Context)

	Logger     hclog.Logger
	Registerer prometheus.Registerer
	// Network defaults to TCP; tests give one in memory.
	Network transport.Network
	// Stores opens the stores of a group; default: on disk under DataDir.
	Stores func(group string) (Stores, error)
	// Incarnation overrides the one kept in DataDir; for stores in memory.
	Incarnation string
}

var nodeIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func (o *Options) validate() error {
	if !nodeIDPattern.MatchString(o.NodeID) {
		return fmt.Errorf("node id %q must be 1 to 64 characters of A-Z a-z 0-9 . - _", o.NodeID)
	}
	if o.PeerListen == "" {
		return errors.New("a peer address to listen on is required")
	}
	if o.DataDir == "" && (o.Stores == nil || o.Incarnation == "") {
		return errors.New("a data directory is required")
	}
	if len(o.Groups) == 0 || len(o.Groups) > MaxGroups {
		return fmt.Errorf("1 to %d raft groups are required, got %d", MaxGroups, len(o.Groups))
	}
	seen := map[string]bool{}
	for i := range o.Groups {
		g := &o.Groups[i]
		if !nodeIDPattern.MatchString(g.Name) || strings.Trim(g.Name, ".") == "" || seen[g.Name] {
			return fmt.Errorf("raft group name %q is malformed or given twice", g.Name)
		}
		seen[g.Name] = true
		if g.FSM == nil {
			return fmt.Errorf("raft group %s has no state machine", g.Name)
		}
		if _, ok := g.FSM.(durable); g.DurableFSM && !ok {
			return fmt.Errorf("raft group %s: a durable state machine needs AppliedIndex() uint64", g.Name)
		}
		if _, ok := g.FSM.(flusher); g.Marks && (!ok || !g.DurableFSM) {
			return fmt.Errorf("raft group %s: marks need a durable state machine with Flush() error", g.Name)
		}
		g.Log = orElse(g.Log, LogBolt)
		if g.Log != LogBolt && g.Log != LogWAL {
			return fmt.Errorf("raft group %s: log %q must be %s or %s", g.Name, g.Log, LogBolt, LogWAL)
		}
		if g.SnapshotInterval < 0 {
			return fmt.Errorf("raft group %s: the snapshot interval %s is negative", g.Name, g.SnapshotInterval)
		}
		g.SnapshotThreshold = orElse(g.SnapshotThreshold, defaultSnapshotThreshold)
		g.SnapshotInterval = orElse(g.SnapshotInterval, defaultSnapshotInterval)
		g.TrailingLogs = orElse(g.TrailingLogs, defaultTrailingLogs)
		g.MaxAppend = orElse(g.MaxAppend, defaultMaxAppend)
	}
	o.HeartbeatTimeout = orElse(o.HeartbeatTimeout, DefaultHeartbeat)
	o.ElectionTimeout = orElse(o.ElectionTimeout, o.HeartbeatTimeout)
	o.CommitTimeout = orElse(o.CommitTimeout, defaultCommitTimeout)
	o.LeaseTTL = orElse(o.LeaseTTL, DefaultLeaseTTL)
	o.LeaderWait = orElse(o.LeaderWait, DefaultLeaderWait)
	for _, d := range []time.Duration{o.HeartbeatTimeout, o.CommitTimeout, o.LeaseTTL, o.LeaderWait} {
		if d < 0 {
			return fmt.Errorf("a time of %s is negative", d)
		}
	}
	if o.LeaseTTL < o.HeartbeatTimeout {
		return fmt.Errorf("the lease time %s is below the heartbeat timeout %s", o.LeaseTTL, o.HeartbeatTimeout)
	}
	if o.ElectionTimeout < o.HeartbeatTimeout {
		return fmt.Errorf("the election timeout %s is below the heartbeat timeout %s", o.ElectionTimeout, o.HeartbeatTimeout)
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Network == nil {
		o.Network = transport.TCP{}
	}
	return nil
}

func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
