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

// clusterOf has the nodes and gives them 64 partitions in turn.
func clusterOf(nodes ...client.Node) func(*fakeAPI) {
	return func(f *fakeAPI) {
		slots := []client.Partition{}
		for i := range 64 {
			if len(nodes) > 0 {
				slots = append(slots, client.Partition{Partition: i, Owner: nodes[i%len(nodes)].NodeID, Epoch: uint64(1 + i/20)})
			}
		}
		f.set("GET /cluster/1/nodes", map[string]any{"nodes": append([]client.Node{}, nodes...)})
		f.set("GET /cluster/1/partitions", map[string]any{"partitions": slots})
		f.set("GET /cluster/1/health", healthOfNodes(nodes))
	}
}

func member(id string, live bool, applied uint64) client.Node {
	return client.Node{NodeID: id, Role: "FOLLOWER", Voter: true, Live: live, AppliedIndex: applied, APIAddress: "https://" + "10.0.0.1:8600", PeerAddress: "10.0.0.1:8700"}
}

func threeNodes() []client.Node {
	n1, n2, n3 := member("n1", true, 120_345), member("n2", true, 120_340), member("n3", false, 90_000)
	n1.Role = roleLeader
	return []client.Node{n1, n2, n3}
}

func clusterFixtures() []fixture {
	var crowd []client.Node
	for i := range 40 {
		crowd = append(crowd, member(fmt.Sprintf("node-%d", i), true, 7))
	}
	named := func(name string) func(*fakeAPI) { return clusterOf(member(name, true, 1)) }
	fs := []fixture{
		{screen: "/cluster", path: "/cluster", kind: "empty", api: clusterOf(), want: []string{"knows of no members yet", "readyz?verbose"}},
		{
			screen: "/cluster", path: "/cluster", kind: "one", api: clusterOf(threeNodes()...),
			want: []string{"this node", "Leader", "2 of 3", "none may fail now", "21 wait for an owner", "64 partitions: n1 (A) owns 22, n2 (B) owns 21, n3 (C) owns 21", "not reachable", "30\u202f345"},
		},
		{screen: "/cluster", path: "/cluster", kind: "many", api: clusterOf(crowd...), want: []string{"node-39", "node-26 (27) owns 1"}},
		{screen: "/cluster", path: "/cluster", kind: "unicode", api: named(textUnicode)},
		{screen: "/cluster", path: "/cluster", kind: "rtl", api: named(textRTL)},
		{screen: "/cluster", path: "/cluster", kind: "long", api: named(longText)},
		{
			screen: "/cluster", path: "/cluster", kind: "outage", api: func(f *fakeAPI) { clusterOf(threeNodes()...)(f); f.noQuorum = true },
			want: []string{"Read only.", "was current 42 s ago", "Leader", `data-href="/console/cluster/transfer" role="link" aria-disabled="true"`}, not: []string{` href="/console/cluster/transfer"`, ` href="/console/cluster/nodes`},
		},
		{screen: "/cluster/transfer", path: "/cluster/transfer", kind: "one", api: clusterOf(threeNodes()...), want: []string{"Now n1 leads.", "Transfer the leadership"}},
		{screen: "/cluster/transfer", path: "/cluster/transfer", kind: "alone", api: clusterOf(member("n1", true, 1)), want: []string{"no other live voter"}},
		{
			screen: "/cluster/nodes/{node}/remove", path: "/cluster/nodes/n3/remove", kind: "one", api: clusterOf(threeNodes()...),
			want: []string{"Remove the node n3?", "2 voters will be left, of which 2 must be live"}, not: []string{"It is live now"},
		},
		{screen: "/cluster/nodes/{node}/remove", path: "/cluster/nodes/n2/remove", kind: "live", api: clusterOf(threeNodes()...), want: []string{"stop it first"}},
		{screen: "/cluster/nodes/{node}/remove", path: "/cluster/nodes/n9/remove", kind: "unknown", api: clusterOf(threeNodes()...), status: http.StatusNotFound},
	}
	return append(fs, drainFixtures()...)
}

func TestCluster_transfer(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("POST /cluster/1/leader/transfer", nil)
	clusterOf(threeNodes()...)(api)
	c := newConsole(t, api)
	res := post(t, c, "/cluster/transfer", nil)
	if res.Code != http.StatusSeeOther || res.Header().Get("Location") != Prefix+"/cluster" {
		t.Errorf("the answer is %d to %s", res.Code, res.Header().Get("Location"))
	}
	if n := len(api.seen("POST /cluster/1/leader/transfer")); n != 1 {
		t.Errorf("the API was asked %d times", n)
	}
	api.set("POST /cluster/1/leader/transfer", model.Errorf(model.CodeConflict, "no node is up to date"))
	if res = post(t, c, "/cluster/transfer", nil); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "No node is up to date") {
		t.Errorf("a refusal is answered %d\n%s", res.Code, res.Body)
	}
}

// A node is removed only by who types its name.
func TestCluster_remove(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("DELETE /cluster/1/nodes/n3", nil)
	clusterOf(threeNodes()...)(api)
	c := newConsole(t, api)
	if res := post(t, c, "/cluster/nodes/n3/remove", url.Values{"confirm": {"n2"}}); res.Code != http.StatusUnprocessableEntity {
		t.Errorf("another name is answered %d", res.Code)
	}
	if n := len(api.seen("DELETE /cluster")); n != 0 {
		t.Fatalf("the node was removed without its name")
	}
	if res := post(t, c, "/cluster/nodes/n3/remove", url.Values{"confirm": {"n3"}}); res.Code != http.StatusSeeOther {
		t.Errorf("the name is answered %d", res.Code)
	}
	if n := len(api.seen("DELETE /cluster/1/nodes/n3")); n != 1 {
		t.Errorf("the API was asked %d times", n)
	}
}

// Without a quorum nothing is sent to the API.
func TestCluster_outage(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	clusterOf(threeNodes()...)(api)
	api.noQuorum = true
	c := newConsole(t, api)
	for _, path := range []string{"/cluster/transfer", "/cluster/nodes/n3/remove", "/cluster/nodes/n2/drain", "/cluster/nodes/n2/undrain"} {
		if res := get(t, c, path); !strings.Contains(res.Body.String(), "group config has no leader") {
			t.Errorf("%s does not say why it cannot be done", path)
		}
		if res := post(t, c, path, url.Values{"confirm": {"n3"}}); res.Code != http.StatusServiceUnavailable {
			t.Errorf("POST %s = %d", path, res.Code)
		}
	}
	if n := len(api.seen("POST /cluster")) + len(api.seen("DELETE /cluster")); n != 0 {
		t.Errorf("%d changes were sent", n)
	}
}
