package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Nodes lists the members of the cluster.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	out, err := get[struct {
		Nodes []Node `json:"nodes"`
	}](ctx, c, "/cluster/1/nodes", nil)
	return out.Nodes, err
}

// Partitions lists the partitions of the event plane.
func (c *Client) Partitions(ctx context.Context) ([]Partition, error) {
	out, err := get[struct {
		Partitions []Partition `json:"partitions"`
	}](ctx, c, "/cluster/1/partitions", nil)
	return out.Partitions, err
}

// TransferLeadership returns when another node leads.
func (c *Client) TransferLeadership(ctx context.Context) error {
	return c.do(ctx, call{method: http.MethodPost, path: "/cluster/1/leader/transfer"})
}

// RemoveNode removes a node that is gone for good.
func (c *Client) RemoveNode(ctx context.Context, nodeID string) error {
	return c.del(ctx, path("/cluster/1/nodes", nodeID))
}

// DrainNode has a node end what is in flight, give its partitions away and be
// given none, until UndrainNode. It returns when the node has noted it.
func (c *Client) DrainNode(ctx context.Context, nodeID string) error {
	return c.do(ctx, call{method: http.MethodPost, path: path("/cluster/1/nodes", nodeID, "drain"), repeatable: true})
}

// UndrainNode ends the drain of a node.
func (c *Client) UndrainNode(ctx context.Context, nodeID string) error {
	return c.del(ctx, path("/cluster/1/nodes", nodeID, "drain"))
}

// BackupForm is the media type of a backup.
const BackupForm = "application/octet-stream"

// Backup writes a backup of the configuration to w, as a file for "belfry backup
// restore". stale: as the node has it, also without a quorum. An answer that
// breaks off is an error. Only ctx bounds the time for it.
func (c *Client) Backup(ctx context.Context, stale bool, w io.Writer) error {
	return c.do(ctx, call{method: http.MethodGet, path: "/cluster/1/backup", query: Read{Stale: stale}.query(), accept: BackupForm, out: w, repeatable: true})
}

// ClusterHealth shows how every node is, as the nodes say.
func (c *Client) ClusterHealth(ctx context.Context) (ClusterHealth, error) {
	return get[ClusterHealth](ctx, c, "/cluster/1/health", nil)
}

// Digests sums up the state of a group, GroupConfig or GroupEvents, on every
// node, or on one; "" is every. It reads the whole state of each.
func (c *Client) Digests(ctx context.Context, group, nodeID string) (Digests, error) {
	q := url.Values{"group": {group}}
	if nodeID != "" {
		q.Set("nodeId", nodeID)
	}
	return get[Digests](ctx, c, "/cluster/1/digests", q)
}

// GroupConfig and GroupEvents are what Digests sums up.
const (
	GroupConfig = "config"
	GroupEvents = "events"
)

type (
	// ClusterHealth is how the nodes are. Unreachable ones did not answer. At is
	// of the clock that the offsets refer to.
	ClusterHealth struct {
		At          time.Time    `json:"at"`
		Nodes       []NodeHealth `json:"nodes"`
		Unreachable []string     `json:"unreachableNodes"`
	}
	// NodeHealth is what a node says of itself.
	NodeHealth struct {
		NodeID        string    `json:"nodeId"`
		Version       string    `json:"version"`
		At            time.Time `json:"at"`
		StartedAt     time.Time `json:"startedAt"`
		UptimeSeconds float64   `json:"uptimeSeconds"`
		Ready         bool      `json:"ready"`
		NotReady      string    `json:"notReady,omitempty"` // why not
		Draining      bool      `json:"draining"`
		Partitions    int       `json:"partitions"`
		// ClockOffsetMs is how far its clock is ahead of that of the node that
		// was asked, give or take ClockErrorMs; nil: it is that node.
		ClockOffsetMs *float64      `json:"clockOffsetMs,omitempty"`
		ClockErrorMs  *float64      `json:"clockErrorMs,omitempty"`
		Groups        []GroupHealth `json:"groups"`
		Disk          DiskHealth    `json:"disk"`
	}
	// GroupHealth is one raft group on one node.
	GroupHealth struct {
		Group         string `json:"group"`
		Role          string `json:"role"` // LEADER, FOLLOWER or CANDIDATE
		Leader        string `json:"leader,omitempty"`
		Term          uint64 `json:"term"`
		LastIndex     uint64 `json:"lastIndex"`
		CommitIndex   uint64 `json:"commitIndex"`
		AppliedIndex  uint64 `json:"appliedIndex"`
		SnapshotIndex uint64 `json:"snapshotIndex"`
		// Lag is nil when the leader did not answer, LeaderContactMs when the
		// node has heard from none.
		Lag             *uint64  `json:"lag,omitempty"`
		LeaderContactMs *float64 `json:"leaderContactMs,omitempty"`
	}
	// DiskHealth is the file system of a node's data directory and what of it
	// the node takes, in bytes.
	DiskHealth struct {
		TotalBytes    int64  `json:"totalBytes"`
		FreeBytes     int64  `json:"freeBytes"`
		MinFreeBytes  int64  `json:"minFreeBytes"`
		RaftBytes     int64  `json:"raftBytes"`
		ConfigBytes   int64  `json:"configBytes"`
		OutboxBytes   int64  `json:"outboxBytes"`
		AttemptsBytes int64  `json:"attemptsBytes"`
		OtherBytes    int64  `json:"otherBytes"`
		Error         string `json:"error,omitempty"`
	}

	// Digests are those of the nodes; unreachable ones did not answer.
	Digests struct {
		Digests     []Digest `json:"digests"`
		Unreachable []string `json:"unreachableNodes"`
	}
	// Digest is that of a node's state after the command at Index: equal on all
	// nodes at an equal index. Error is why there is none.
	Digest struct {
		NodeID string `json:"nodeId"`
		Group  string `json:"group"`
		Index  uint64 `json:"index"`
		SHA256 string `json:"sha256,omitempty"`
		Error  string `json:"error,omitempty"`
	}
)
