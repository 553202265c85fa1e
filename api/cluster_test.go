package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

// The state of the cluster is told without asking the leader, and with its age.
func TestCluster_reads(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cluster.err = model.Errorf(model.CodeUnavailable, "there is no leader right now")
	for age, want := range map[time.Duration]string{0: "0", 1999 * time.Microsecond: "2", 2 * time.Millisecond: "2", time.Hour: "3600000"} {
		h.cluster.stale = age
		h.cluster.nodes, h.cluster.partitions = nil, nil
		for url, empty := range map[string]string{"/cluster/1/nodes": `{"nodes":[]}`, "/cluster/1/partitions": `{"partitions":[]}`} {
			if got := (scenario{method: "GET", url: url, key: keyAdmin, status: 200, headers: map[string]string{headerStaleness: want}}).on(t, h); got != empty {
				t.Errorf("%s: %s", url, got)
			}
		}
	}
	h.cluster.nodes = []NodeStatus{{NodeID: "n1", APIAddress: "a:1", PeerAddress: "a:2", Role: "LEADER", Voter: true, Live: true, AppliedIndex: 7}, {NodeID: "n2", Role: "FOLLOWER", Draining: true}}
	h.cluster.partitions = []PartitionStatus{{Partition: 0, Owner: "n1", Epoch: 3}, {Partition: 1}}
	for url, want := range map[string]string{
		"/cluster/1/nodes": `{"nodes":[{"nodeId":"n1","apiAddress":"a:1","peerAddress":"a:2","role":"LEADER","voter":true,"live":true,"draining":false,"appliedIndex":7},` +
			`{"nodeId":"n2","apiAddress":"","peerAddress":"","role":"FOLLOWER","voter":false,"live":false,"draining":true,"appliedIndex":0}]}`,
		"/cluster/1/partitions": `{"partitions":[{"partition":0,"owner":"n1","epoch":3},{"partition":1,"owner":"","epoch":0}]}`,
	} {
		if got := h.must(t, "GET", url, keyAdmin, "", 200); got != want {
			t.Errorf("%s: %s", url, got)
		}
		h.must(t, "GET", url, keyFull, "", 403)
	}
	if h.cluster.linearized > 0 {
		t.Error("the leader was asked")
	}
}

// Leadership moves with an empty body or an empty object, and what stands in
// the way is passed on.
func TestCluster_transfer(t *testing.T) {
	t.Parallel()
	const url = "/cluster/1/leader/transfer"
	h := newHarness(t)
	h.must(t, "POST", url, keyAdmin, "", 204)
	h.must(t, "POST", url, keyAdmin, "{}", 204)
	if _, at := refusal(t, h.must(t, "POST", url, keyAdmin, `{"to":"n2"}`, 400)); at["/to"] == "" {
		t.Errorf("an unknown member names %v", at)
	}
	for _, body := range []string{"[]", "null", "{", `"n2"`} {
		h.must(t, "POST", url, keyAdmin, body, 400)
	}
	if h.cluster.transfers != 2 {
		t.Errorf("%d transfers, want 2", h.cluster.transfers)
	}
	clusterErrors(t, h, "POST", url)
}

// A node is removed by its id, and one that is not there is not asked for.
func TestCluster_remove(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cluster.nodes = []NodeStatus{{NodeID: "n1"}, {NodeID: "n/2"}}
	h.must(t, "DELETE", "/cluster/1/nodes/n%2F2", keyAdmin, "", 204)
	for _, id := range []string{"none", "n", "N1", "n1%20", "..", canary} {
		if p, _ := refusal(t, h.must(t, "DELETE", "/cluster/1/nodes/"+id, keyAdmin, "", 404)); strings.Contains(p.Detail, canary) {
			t.Errorf("the id is repeated: %s", p.Detail)
		}
	}
	if !slices.Equal(h.cluster.removed, []string{"n/2"}) {
		t.Errorf("removed %v", h.cluster.removed)
	}
	clusterErrors(t, h, "DELETE", "/cluster/1/nodes/n1")
}

// A node is drained by its id, with an empty body or an empty object, and the
// drain is ended without one.
func TestCluster_drain(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cluster.nodes = []NodeStatus{{NodeID: "n1"}, {NodeID: "n/2"}}
	h.must(t, "POST", "/cluster/1/nodes/n%2F2/drain", keyAdmin, "", 204)
	h.must(t, "POST", "/cluster/1/nodes/n1/drain", keyAdmin, "{}", 204)
	h.must(t, "DELETE", "/cluster/1/nodes/n1/drain", keyAdmin, "", 204)
	if _, at := refusal(t, h.must(t, "POST", "/cluster/1/nodes/n1/drain", keyAdmin, `{"for":"1h"}`, 400)); at["/for"] == "" {
		t.Errorf("an unknown member names %v", at)
	}
	for _, method := range []string{"POST", "DELETE"} {
		h.must(t, method, "/cluster/1/nodes/none/drain", keyAdmin, "", 404)
		h.must(t, method, "/cluster/1/nodes/n1/drain", keyFull, "", 403)
	}
	if want := []string{"n/2", "n1", "-n1"}; !slices.Equal(h.cluster.drains, want) {
		t.Errorf("drained %v, want %v", h.cluster.drains, want)
	}
	clusterErrors(t, h, "DELETE", "/cluster/1/nodes/n1/drain")
	clusterErrors(t, h, "POST", "/cluster/1/nodes/n1/drain")
}

// clusterErrors tries what the cluster can answer to a change.
func clusterErrors(t *testing.T, h *harness, method, url string) {
	t.Helper()
	for _, row := range []struct {
		err    error
		status int
		detail string
	}{
		{model.Errorf(model.CodeConflict, "there is no other node that could lead"), 409, "there is no other node that could lead"},
		{model.Errorf(model.CodeNotFound, `the cluster has no node "n1"`), 404, "the cluster has no node"},
		{model.Errorf(model.CodeUnavailable, "there is no leader right now"), 503, "there is no leader right now"},
		{model.Errorf(model.CodeUnknownOutcome, "the answer was lost"), 503, "the answer was lost"},
		{errors.New("secret place: raft"), 500, meanings[model.CodeInternal].fixed},
		{context.DeadlineExceeded, 500, meanings[model.CodeInternal].fixed},
	} {
		h.cluster.err = row.err
		if row.status == 404 && method == "POST" {
			continue // a transfer names no node
		}
		p, _ := refusal(t, h.must(t, method, url, keyAdmin, "", row.status))
		if !strings.HasPrefix(p.Detail, row.detail) || p.Code != model.CodeOf(row.err) {
			t.Errorf("%v: %+v", row.err, p)
		}
	}
}
