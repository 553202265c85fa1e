package console

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// healthOfNodes is what nodes say; those that are not live do not answer.
func healthOfNodes(nodes []client.Node) client.ClusterHealth {
	h := client.ClusterHealth{At: now, Unreachable: []string{}}
	for i, n := range nodes {
		if !n.Live {
			h.Unreachable = append(h.Unreachable, n.NodeID)
			continue
		}
		lag, contact, off, wrong := uint64(2000*i), 120.0, float64(900*i), 1.5
		x := client.NodeHealth{
			NodeID: n.NodeID, Version: "v1.2.3", At: now, StartedAt: now, UptimeSeconds: 93_784, Ready: !n.Draining, Draining: n.Draining, Partitions: 21,
			Groups: []client.GroupHealth{
				{Group: "config", Role: n.Role, Leader: "n1", Term: 7, LastIndex: 120_346, CommitIndex: 120_345, AppliedIndex: n.AppliedIndex, SnapshotIndex: 119_000, Lag: &lag, LeaderContactMs: &contact},
				{Group: "events-0", Role: "CANDIDATE"},
			},
			Disk: client.DiskHealth{TotalBytes: 100 << 30, FreeBytes: 40 << 30, MinFreeBytes: 512 << 20, RaftBytes: 130 << 20, ConfigBytes: 1 << 20, OutboxBytes: 12 << 20, AttemptsBytes: 999, OtherBytes: 1},
		}
		if n.Draining {
			x.NotReady = "an operator has drained this node"
		}
		if i > 0 {
			x.ClockOffsetMs, x.ClockErrorMs = &off, &wrong
		}
		h.Nodes = append(h.Nodes, x)
	}
	return h
}

// drainedNodes are three live nodes, the second of them drained.
func drainedNodes() []client.Node {
	ns := threeNodes()
	ns[1].Draining, ns[2].Live = true, true
	return ns
}

func digestsOf(rows ...client.Digest) map[string]any {
	return map[string]any{"digests": rows, "unreachableNodes": []string{}}
}

func drainFixtures() []fixture {
	sum := func(c string) string { return strings.Repeat(c, 64) }
	withDigests := func(rows ...client.Digest) func(*fakeAPI) {
		return func(f *fakeAPI) { f.set("GET /cluster/1/digests", digestsOf(rows...)) }
	}
	return []fixture{
		{
			screen: "/cluster", path: "/cluster", kind: "drained", api: clusterOf(drainedNodes()...),
			want: []string{"drained", "End the drain", "an operator has drained this node", "1 d 2 h", "40.0 GiB of 100 GiB free", "raft logs and snapshots 130 MiB", "900 ms ahead, within 1.5 ms", "asks for votes", "2\u202f000", "120 ms ago"},
		},
		{
			screen: "/cluster", path: "/cluster", kind: "no health", want: []string{"could not be read", "n1", "Leader"}, not: []string{"Raft groups"},
			api: func(f *fakeAPI) {
				clusterOf(threeNodes()...)(f)
				f.set("GET /cluster/1/health", model.Errorf(model.CodeUnavailable, "this node does not ask the others yet"))
			},
		},
		{screen: "/cluster/nodes/{node}/drain", path: "/cluster/nodes/n2/drain", kind: "one", api: clusterOf(threeNodes()...), want: []string{"Drain the node n2?", "1 node will be left to deliver", "nothing is sent twice"}},
		{screen: "/cluster/nodes/{node}/drain", path: "/cluster/nodes/n2/drain", kind: "already", api: clusterOf(drainedNodes()...), want: []string{"drained already"}},
		{screen: "/cluster/nodes/{node}/drain", path: "/cluster/nodes/n3/drain", kind: "silent", api: clusterOf(threeNodes()...), want: []string{"It does not answer"}},
		{screen: "/cluster/nodes/{node}/drain", path: "/cluster/nodes/n1/drain", kind: "last", api: clusterOf(member("n1", true, 1)), want: []string{"No other live node would be left"}},
		{screen: "/cluster/nodes/{node}/drain", path: "/cluster/nodes/n9/drain", kind: "unknown", api: clusterOf(threeNodes()...), status: http.StatusNotFound},
		{screen: "/cluster/nodes/{node}/undrain", path: "/cluster/nodes/n2/undrain", kind: "one", api: clusterOf(drainedNodes()...), want: []string{"End the drain of the node n2?", "its share of the partitions"}},
		{
			screen: "/cluster/digests", path: "/cluster/digests", kind: "one", want: []string{"All nodes have the same state.", "equal to 1 other", sum("a")},
			api: withDigests(client.Digest{NodeID: "n1", Index: 7, SHA256: sum("a")}, client.Digest{NodeID: "n2", Index: 7, SHA256: sum("a")}),
		},
		{
			screen: "/cluster/digests", path: "/cluster/digests", kind: "different", want: []string{"One of them is damaged", "differs from 1 node", "no other node is at this index", "it took longer than 5s"},
			api: withDigests(client.Digest{NodeID: "n1", Index: 7, SHA256: sum("a")}, client.Digest{NodeID: "n2", Index: 7, SHA256: sum("b")},
				client.Digest{NodeID: "n3", Index: 8, SHA256: sum("c")}, client.Digest{NodeID: textUnicode, Error: "it took longer than 5s"}),
		},
		{screen: "/cluster/digests", path: "/cluster/digests", kind: "alone", want: []string{"nothing could be compared"}, api: withDigests(client.Digest{NodeID: "n1", Index: 7, SHA256: sum("a")})},
		{screen: "/cluster/digests", path: "/cluster/digests", kind: "missing", want: []string{"does not ask the others yet"}, api: func(f *fakeAPI) {
			f.set("GET /cluster/1/digests", model.Errorf(model.CodeUnavailable, "this node does not ask the others yet"))
		}},
	}
}

// A node is drained and its drain ended with one request each, and a refusal of
// the API is shown with its reason.
func TestCluster_drain(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ path, route, say string }{
		{"/cluster/nodes/n2/drain", "POST /cluster/1/nodes/n2/drain", "is drained"},
		{"/cluster/nodes/n2/undrain", "DELETE /cluster/1/nodes/n2/drain", "was ended"},
	} {
		t.Run(tc.path, func(t *testing.T) {
			t.Parallel()
			api := newFakeAPI().set(tc.route, nil)
			clusterOf(threeNodes()...)(api)
			c := newConsole(t, api)
			if res := post(t, c, tc.path, nil); res.Code != http.StatusSeeOther || res.Header().Get("Location") != Prefix+"/cluster" {
				t.Errorf("the answer is %d to %s", res.Code, res.Header().Get("Location"))
			}
			if n := len(api.seen(tc.route)); n != 1 {
				t.Errorf("the API was asked %d times", n)
			}
			api.set(tc.route, model.Errorf(model.CodeConflict, "without node n2 no live node would be left that delivers"))
			if res := post(t, c, tc.path, url.Values{}); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "Without node n2 no live node would be left") {
				t.Errorf("a refusal is answered %d\n%s", res.Code, res.Body)
			}
		})
	}
}

func TestDiskOf(t *testing.T) {
	t.Parallel()
	for free, want := range map[int64]string{600: "ok", 199: "warn", 200: "ok", 99: "bad", 100: "warn"} {
		d := diskOf(client.DiskHealth{TotalBytes: 1000, FreeBytes: free, MinFreeBytes: 100})
		if d.Tone != want || d.Used != float64(1000-free)/10 {
			t.Errorf("with %d of 1000 free: %+v, want %s", free, d, want)
		}
	}
	if d := diskOf(client.DiskHealth{}); d.Used != 0 {
		t.Errorf("an unknown disk is used by %f %%", d.Used)
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 150 << 20: "150 MiB", 3 << 40: "3.0 TiB"} {
		if got := bytesOf(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

func TestClockOf(t *testing.T) {
	t.Parallel()
	ms := func(x float64) *float64 { return &x }
	for _, tc := range []struct {
		off, wrong  *float64
		words, tone string
	}{
		{nil, nil, "the one that others are compared with", ""},
		{ms(1), ms(1.5), "the same, within 1.5 ms", "ok"},
		{ms(-80), ms(1.5), "80 ms behind, within 1.5 ms", "ok"},
		{ms(501.5), ms(1.5), "502 ms ahead, within 1.5 ms", "ok"},
		{ms(502), ms(1.5), "502 ms ahead, within 1.5 ms", "warn"},
	} {
		if words, tone := clockOf(client.NodeHealth{ClockOffsetMs: tc.off, ClockErrorMs: tc.wrong}); words != tc.words || tone != tc.tone {
			t.Errorf("%s: got %q, %q, want %q, %q", fmt.Sprint(tc.off), words, tone, tc.words, tc.tone)
		}
	}
}
