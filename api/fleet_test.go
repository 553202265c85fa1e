package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

// fakeFleet answers what tests set.
type fakeFleet struct {
	health  ClusterHealth
	digests ClusterDigests
	asked   []string // group and node of Digests
}

func (f *fakeFleet) Health(context.Context) ClusterHealth { return f.health }
func (f *fakeFleet) Digests(_ context.Context, group, nodeID string) ClusterDigests {
	f.asked = append(f.asked, group+" "+nodeID)
	return f.digests
}

func fleetHarness(t *testing.T, f *fakeFleet) *harness {
	t.Helper()
	h := newHarness(t, func(o *Options) { o.Fleet = f })
	h.cluster.nodes = []NodeStatus{{NodeID: "n1", Role: "LEADER"}, {NodeID: "n2", Role: "FOLLOWER"}}
	h.cluster.err = model.Errorf(model.CodeUnavailable, "there is no leader right now")
	return h
}

// The health of the nodes is told without a quorum, whole, and to the
// operator only.
func TestFleet_health(t *testing.T) {
	t.Parallel()
	f := &fakeFleet{}
	h := fleetHarness(t, f)
	const url = "/cluster/1/health"
	if got := h.must(t, "GET", url, keyAdmin, "", 200); got != `{"at":"0001-01-01T00:00:00Z","nodes":[],"unreachableNodes":[]}` {
		t.Errorf("nothing is %s", got)
	}
	at := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	lag, ms := uint64(3), 1.5
	f.health = ClusterHealth{At: at, Unreachable: []string{"n3"}, Nodes: []NodeHealth{
		{NodeID: "n1", Version: "v1", At: at, StartedAt: at, UptimeSeconds: 2.5, Ready: true, Partitions: 64, Groups: []GroupHealth{
			{Group: "config", Role: "LEADER", Leader: "n1", Term: 2, LastIndex: 9, CommitIndex: 8, AppliedIndex: 7, SnapshotIndex: 1, Lag: &lag, LeaderContactMs: &ms},
		}, Disk: DiskHealth{TotalBytes: 100, FreeBytes: 50, MinFreeBytes: 5, RaftBytes: 4, ConfigBytes: 3, OutboxBytes: 2, AttemptsBytes: 1}},
		{NodeID: "n2", At: at, StartedAt: at, NotReady: "group config has no leader", Draining: true, ClockOffsetMs: &ms, ClockErrorMs: &ms, Disk: DiskHealth{Error: "no"}},
	}}
	want := `{"at":"2026-11-26T10:00:00Z","nodes":[{"nodeId":"n1","version":"v1","at":"2026-11-26T10:00:00Z","startedAt":"2026-11-26T10:00:00Z","uptimeSeconds":2.5,` +
		`"ready":true,"draining":false,"partitions":64,"groups":[{"group":"config","role":"LEADER","leader":"n1","term":2,"lastIndex":9,"commitIndex":8,"appliedIndex":7,` +
		`"snapshotIndex":1,"lag":3,"leaderContactMs":1.5}],"disk":{"totalBytes":100,"freeBytes":50,"minFreeBytes":5,"raftBytes":4,"configBytes":3,"outboxBytes":2,` +
		`"attemptsBytes":1,"otherBytes":0}},{"nodeId":"n2","version":"","at":"2026-11-26T10:00:00Z","startedAt":"2026-11-26T10:00:00Z","uptimeSeconds":0,"ready":false,` +
		`"notReady":"group config has no leader","draining":true,"partitions":0,"clockOffsetMs":1.5,"clockErrorMs":1.5,"groups":[],"disk":{"totalBytes":0,"freeBytes":0,` +
		`"minFreeBytes":0,"raftBytes":0,"configBytes":0,"outboxBytes":0,"attemptsBytes":0,"otherBytes":0,"error":"no"}}],"unreachableNodes":["n3"]}`
	if got := h.must(t, "GET", url, keyAdmin, "", 200); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	h.must(t, "GET", url, keyFull, "", 403)
	h.must(t, "GET", url+"?nodeId=n1", keyAdmin, "", 400)
	if h.cluster.linearized > 0 {
		t.Error("the leader was asked")
	}
}

// Digests are made of the group and the node that were asked for, and of
// nothing that is not there.
func TestFleet_digests(t *testing.T) {
	t.Parallel()
	f := &fakeFleet{digests: ClusterDigests{Digests: []NodeDigest{{NodeID: "n1", Group: "config", Index: 7, SHA256: "ab"}, {NodeID: "n2", Group: "config", Error: "it took too long"}}}}
	h := fleetHarness(t, f)
	const url = "/cluster/1/digests"
	want := `{"digests":[{"nodeId":"n1","group":"config","index":7,"sha256":"ab"},{"nodeId":"n2","group":"config","index":0,"error":"it took too long"}],"unreachableNodes":[]}`
	if got := h.must(t, "GET", url, keyAdmin, "", 200); got != want {
		t.Errorf("got %s", got)
	}
	h.must(t, "GET", url+"?group=events&nodeId=n2", keyAdmin, "", 200)
	for query, status := range map[string]int{"?group=raft": 400, "?group=": 400, "?nodeId=": 400, "?node=n1": 400, "?nodeId=n1&nodeId=n2": 400, "?nodeId=n3": 404} {
		h.must(t, "GET", url+query, keyAdmin, "", status)
	}
	h.must(t, "GET", url, keyFull, "", 403)
	if got := strings.Join(f.asked, ","); got != "config ,events n2" {
		t.Errorf("asked for %q", got)
	}
}

// A node without a fleet says so.
func TestFleet_missing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.must(t, "GET", "/cluster/1/health", keyAdmin, "", 503)
	h.must(t, "GET", "/cluster/1/digests", keyAdmin, "", 503)
}
