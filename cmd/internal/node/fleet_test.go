package node

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"example.com/belfry/api"
	"example.com/belfry/cluster"
	"example.com/belfry/fsm/model"
)

// fleetOf routes calls to the fleets of other nodes; a nil one does not answer.
type fleetOf map[string]*fleet

func (p fleetOf) Call(ctx context.Context, nodeID, method string, body []byte) ([]byte, error) {
	f := p[nodeID]
	switch {
	case f == nil:
		return nil, errors.New("connection refused")
	case method == methodHealth:
		time.Sleep(10 * time.Millisecond) // in virtual time
		b, err := answers(f.serveHealth)(ctx, "n1", body)
		time.Sleep(20 * time.Millisecond)
		return b, err
	case method == methodDigest:
		return answers(f.serveDigest)(ctx, "n1", body)
	}
	return nil, errors.New("unknown method " + method)
}

func oneFleet(id string, health api.NodeHealth, ahead time.Duration, states map[string]digester) *fleet {
	health.NodeID = id
	return &fleet{
		self: id, turn: make(chan struct{}, 1), now: time.Now, log: hclog.NewNullLogger(), states: states,
		health: func(context.Context) api.NodeHealth {
			h := health
			h.At = time.Now().Add(ahead).UTC()
			return h
		},
	}
}

func groupOn(role string, term, commit, applied uint64) api.GroupHealth {
	return api.GroupHealth{Group: "config", Role: role, Term: term, CommitIndex: commit, AppliedIndex: applied}
}

// The health of all nodes: who did not answer is named, what each lacks is
// counted from what the leader of the latest term says, and clocks are compared.
func TestFleet_health(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		with := func(g api.GroupHealth) api.NodeHealth { return api.NodeHealth{Groups: []api.GroupHealth{g}} }
		f := oneFleet("n2", with(groupOn(cluster.RoleFollower, 4, 90, 80)), 0, nil)
		f.caller = fleetOf{
			"n1": oneFleet("n1", with(groupOn(cluster.RoleLeader, 3, 500, 500)), 2*time.Second, nil), // has not noticed yet
			"n3": oneFleet("n3", with(groupOn(cluster.RoleLeader, 4, 100, 95)), -time.Hour, nil),
			"n5": oneFleet("n5", api.NodeHealth{Groups: []api.GroupHealth{{Group: "events", Role: cluster.RoleCandidate}}}, 0, nil),
		}
		f.peers = func() []string { return []string{"n5", "n4", "n3", "n1"} }
		begin := time.Now()
		h := f.Health(t.Context())
		if !h.At.Equal(begin) || cmp.Diff([]string{"n4"}, h.Unreachable) != "" || len(h.Nodes) != 4 {
			t.Fatalf("the health is %+v", h)
		}
		lags, ids := map[string]uint64{}, ""
		for _, n := range h.Nodes {
			ids += n.NodeID
			if g := n.Groups[0]; g.Lag != nil {
				lags[n.NodeID] = *g.Lag
			}
		}
		if diff := cmp.Diff(map[string]uint64{"n1": 0, "n2": 20, "n3": 5}, lags); diff != "" || ids != "n1n2n3n5" {
			t.Errorf("%s (-want +got):\n%s", ids, diff)
		}
		if h.Nodes[1].ClockOffsetMs != nil {
			t.Error("the node that asked has an offset to itself")
		}
		for i, want := range map[int]float64{0: 2000, 2: -3_600_000, 3: 0} {
			n := h.Nodes[i]
			if n.ClockOffsetMs == nil || *n.ClockErrorMs != 15 || math.Abs(*n.ClockOffsetMs-want) > *n.ClockErrorMs {
				t.Errorf("the offset of %s is %v ± %v, want %v", n.NodeID, *n.ClockOffsetMs, *n.ClockErrorMs, want)
			}
		}
	})
}

func TestGroupsHealth(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	ms, zero := 1500.0, 0.0
	got := groupsHealth([]cluster.GroupHealth{
		{Group: "config", Role: cluster.RoleFollower, Leader: "n1", Term: 2, Last: 9, Commit: 8, Applied: 7, Snapshot: 1, Contact: now.Add(-1500 * time.Millisecond)},
		{Group: "events-0", Role: cluster.RoleCandidate},
		{Group: "ahead", Contact: now.Add(time.Second)},
	}, now)
	want := []api.GroupHealth{
		{Group: "config", Role: "FOLLOWER", Leader: "n1", Term: 2, LastIndex: 9, CommitIndex: 8, AppliedIndex: 7, SnapshotIndex: 1, LeaderContactMs: &ms},
		{Group: "events-0", Role: "CANDIDATE"},
		{Group: "ahead", LeaderContactMs: &zero},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Digests come from every node or from one, with the reason where there is none.
func TestFleet_digests(t *testing.T) {
	t.Parallel()
	state := func(index uint64, err error) map[string]digester {
		return map[string]digester{"config": func(context.Context) (uint64, [32]byte, error) { return index, [32]byte{0xab}, err }}
	}
	f := oneFleet("n2", api.NodeHealth{}, 0, state(7, nil))
	f.caller = fleetOf{"n1": oneFleet("n1", api.NodeHealth{}, 0, state(9, errors.New("secret place"))), "n3": oneFleet("n3", api.NodeHealth{}, 0, state(8, nil))}
	f.peers = func() []string { return []string{"n4", "n3", "n1"} }
	sum := "ab" + strings.Repeat("00", 31)
	n1 := api.NodeDigest{NodeID: "n1", Group: "config", Error: "the state cannot be read; the log of the node says why"}
	n2 := api.NodeDigest{NodeID: "n2", Group: "config", Index: 7, SHA256: sum}
	n3 := api.NodeDigest{NodeID: "n3", Group: "config", Index: 8, SHA256: sum}
	for of, want := range map[string]api.ClusterDigests{
		"":   {Digests: []api.NodeDigest{n1, n2, n3}, Unreachable: []string{"n4"}},
		"n2": {Digests: []api.NodeDigest{n2}},
		"n3": {Digests: []api.NodeDigest{n3}},
		"n4": {Unreachable: []string{"n4"}},
	} {
		if diff := cmp.Diff(want, f.Digests(t.Context(), "config", of)); diff != "" {
			t.Errorf("of %q (-want +got):\n%s", of, diff)
		}
	}
	if _, err := f.serveDigest(t.Context(), digestQuery{Group: "raft"}); model.CodeOf(err) != model.CodeInvalid {
		t.Errorf("an unknown group is answered with %v", err)
	}
}

// One digest is made at a time, and none takes longer than digestTimeout.
func TestFleet_digestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		busy := 0
		f := oneFleet("n1", api.NodeHealth{}, 0, map[string]digester{"config": func(ctx context.Context) (uint64, [32]byte, error) {
			if busy++; busy > 1 {
				t.Error("two digests at a time")
			}
			defer func() { busy-- }()
			select {
			case <-time.After(digestTimeout - time.Second):
				return 7, [32]byte{}, nil
			case <-ctx.Done():
				return 0, [32]byte{}, context.Cause(ctx)
			}
		}})
		done := make(chan api.NodeDigest)
		for range 2 {
			go func() { done <- f.digest(t.Context(), "config") }()
		}
		first, begin := <-done, time.Now()
		second := <-done
		if first.Error != "" || first.Index != 7 || second.Error != "it took longer than 5s" || second.SHA256 != "" || second.Index != 0 {
			t.Errorf("the digests are %+v and %+v", first, second)
		}
		if waited := time.Since(begin); waited != time.Second {
			t.Errorf("the second waited %s longer", waited)
		}
	})
}

// A real cluster says how it is from any node, and all states have one digest.
func TestCluster_healthAndDigests(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	c.waitBalanced(c.nodes[0], "n1", "n2", "n3")
	h := newHook(t)
	subscribe(c, c.nodes[0], "SMS", "dlr", h.URL, "DELIVERY")
	c.must(c.nodes[0], http.MethodPost, "/events/1/events", report("e1")) // the node that has the subscription
	h.next(t)

	var health api.ClusterHealth
	if err := json.Unmarshal(c.must(c.nodes[1], http.MethodGet, "/cluster/1/health", nil).body, &health); err != nil {
		t.Fatal(err)
	}
	if len(health.Nodes) != 3 || len(health.Unreachable) != 0 {
		t.Fatalf("the health is %+v", health)
	}
	leads := map[string]int{}
	for _, n := range health.Nodes {
		if !n.Ready || n.Draining || n.Version != "test" || n.UptimeSeconds <= 0 || n.Partitions < 21 || len(n.Groups) != 2 {
			t.Errorf("a node is %+v", n)
		}
		if d := n.Disk; d.Error != "" || d.FreeBytes <= 0 || d.RaftBytes <= 0 || d.ConfigBytes <= 0 || d.OutboxBytes <= 0 || d.AttemptsBytes <= 0 {
			t.Errorf("the disk of %s is %+v", n.NodeID, d)
		}
		if asked := n.NodeID == "n2"; asked != (n.ClockOffsetMs == nil) || !asked && math.Abs(*n.ClockOffsetMs) > *n.ClockErrorMs+50 {
			t.Errorf("the clock of %s: %+v", n.NodeID, n)
		}
		for _, g := range n.Groups {
			if g.Role == "LEADER" {
				leads[g.Group]++
			}
			if g.Leader == "" || g.Term == 0 || g.AppliedIndex == 0 || g.Lag == nil || g.LeaderContactMs == nil || *g.LeaderContactMs > 10_000 {
				t.Errorf("group %s on %s is %+v", g.Group, n.NodeID, g)
			}
		}
	}
	if diff := cmp.Diff(map[string]int{groupConfig: 1, groupEvents: 1}, leads); diff != "" {
		t.Errorf("leaders (-want +got):\n%s", diff)
	}

	for _, group := range []string{"config", "events"} {
		c.eventually("three equal indices of "+group, func() bool {
			var d api.ClusterDigests
			if err := json.Unmarshal(c.must(c.nodes[2], http.MethodGet, "/cluster/1/digests?group="+group, nil).body, &d); err != nil {
				t.Fatal(err)
			}
			if len(d.Digests) != 3 || d.Digests[0].Index != d.Digests[1].Index || d.Digests[0].Index != d.Digests[2].Index {
				return false
			}
			if a := d.Digests[0].SHA256; len(a) != 64 || a != d.Digests[1].SHA256 || a != d.Digests[2].SHA256 {
				t.Errorf("the digests of %s differ: %+v", group, d)
			}
			return true
		})
	}

	c.stop(c.nodes[0])
	c.eventually("n1 is named as unreachable", func() bool {
		var h api.ClusterHealth
		err := json.Unmarshal(c.must(c.nodes[2], http.MethodGet, "/cluster/1/health", nil).body, &h)
		return err == nil && len(h.Nodes) == 2 && len(h.Unreachable) == 1 && h.Unreachable[0] == "n1"
	})
}
