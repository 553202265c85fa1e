package node

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"example.com/belfry/api"
	"example.com/belfry/cluster"
	"example.com/belfry/dispatch/partition"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm"
	"example.com/belfry/fsm/model"
)

// members shows the cluster as the API and the duty of the partitions declare
// it.
type members struct {
	cluster *cluster.Node
	table   *ownership
}

var (
	_ api.Cluster       = members{}
	_ partition.Members = candidates{}
)

// Linearize returns once local reads of the config are current.
func (m members) Linearize(ctx context.Context) error {
	return m.cluster.Group(groupConfig).Linearize(ctx)
}

// StateAge bounds how old this node's config is.
func (m members) StateAge() (age time.Duration, known bool) {
	age = m.cluster.StateAge()
	return age, age != math.MaxInt64
}

// AppliedEverywhere reports whether every live voter has applied index.
func (m members) AppliedEverywhere(index uint64) bool { return m.cluster.AppliedEverywhere(index) }

// NodeID is this node's id.
func (m members) NodeID() string { return m.cluster.NodeID() }

// Nodes lists the members.
func (m members) Nodes() []api.NodeStatus {
	ms := m.cluster.Members()
	out := make([]api.NodeStatus, len(ms))
	for i, x := range ms {
		role := cluster.RoleFollower
		if x.Leader {
			role = cluster.RoleLeader
		}
		out[i] = api.NodeStatus{
			NodeID: x.NodeID, APIAddress: x.APIAddress, PeerAddress: x.PeerAddress, Role: role,
			Voter: x.Voter, Live: x.Live, Draining: x.Draining || x.Drained, AppliedIndex: x.Commands,
		}
	}
	return out
}

// Partitions lists who owns what.
func (m members) Partitions() []api.PartitionStatus {
	t := m.table.Table()
	out := make([]api.PartitionStatus, len(t.Slots))
	for i, s := range t.Slots {
		out[i] = api.PartitionStatus{Partition: i, Owner: s.Owner, Epoch: s.Epoch}
	}
	return out
}

// TransferLeadership has another node lead the cluster.
func (m members) TransferLeadership(ctx context.Context) error {
	return m.cluster.TransferLeadership(ctx, groupConfig)
}

// RemoveNode takes a node out of the cluster.
func (m members) RemoveNode(ctx context.Context, nodeID string) error {
	return m.cluster.RemoveNode(ctx, nodeID)
}

// SetDraining has a node give its partitions away and be given none, or ends
// that.
func (m members) SetDraining(ctx context.Context, nodeID string, on bool) error {
	return m.cluster.SetDrained(ctx, nodeID, on)
}

// others are the ids of the other members.
func (m members) others() []string {
	var ids []string
	for _, x := range m.cluster.Members() {
		if x.NodeID != m.cluster.NodeID() {
			ids = append(ids, x.NodeID)
		}
	}
	return ids
}

// hasHeir reports whether another node could take this node's work.
func (m members) hasHeir() bool {
	for _, x := range m.cluster.Members() {
		if x.NodeID != m.cluster.NodeID() && x.Voter && x.Live && !x.Draining && !x.Drained {
			return true
		}
	}
	return false
}

// advertised are the addresses of every member, both listeners, as host:port.
func (m members) advertised() []string {
	var out []string
	for _, x := range m.cluster.Members() {
		out = append(out, x.PeerAddress, x.APIAddress)
	}
	return out
}

// candidates are the nodes that may hold a lease, for the duty.
type candidates struct{ cluster *cluster.Node }

// Members lists them.
func (c candidates) Members() []partition.Member {
	cs := c.cluster.Candidates()
	out := make([]partition.Member, len(cs))
	for i, x := range cs {
		out[i] = partition.Member(x)
	}
	return out
}

// tableWriter proposes partition tables once the node has its writer: the
// duty must be known to the cluster before the cluster runs, and a node that
// joins has its keys, and so its writer, from the cluster.
type tableWriter struct{ writer atomic.Pointer[fsm.Writer] }

// SetPartitions proposes a table. CodeUnavailable: the node is still starting.
func (t *tableWriter) SetPartitions(ctx context.Context, prevVersion uint64, next model.PartitionTable) error {
	w := t.writer.Load()
	if w == nil {
		return model.Errorf(model.CodeUnavailable, "this node is still starting")
	}
	return w.SetPartitions(ctx, prevVersion, next)
}

// tester makes the connection test with a stored certificate.
type tester struct {
	certificates configSource
	opener       opener
	sender       *webhook.Sender
}

var _ api.ConnectionTester = tester{}

// TestConnection makes the handshake. CodeNotFound: there is no such
// certificate.
func (t tester) TestConnection(ctx context.Context, account, certificateID, url string) (api.ConnectionTest, error) {
	c, err := t.certificates.Certificate(account, certificateID)
	if err != nil {
		return api.ConnectionTest{}, err
	}
	cert, err := clientCertificate(t.opener, c)
	if err != nil {
		return api.ConnectionTest{}, model.Errorf(model.CodeInternal, "the stored certificate cannot be used").WithCause(err)
	}
	got := t.sender.TestConnection(ctx, &webhook.Destination{
		Account: account, URL: url, Certificate: cert, CertificateKey: certificateKey(c),
		ConnectTimeout: model.DefaultConnectTimeoutMs * time.Millisecond,
		ReadTimeout:    model.DefaultReadTimeoutMs * time.Millisecond,
	})
	return api.ConnectionTest{Success: got.Success, FailReasons: got.FailReasons, Hint: got.Hint}, nil
}
