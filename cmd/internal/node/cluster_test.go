package node

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"example.com/belfry/config"
)

// leaderIndex finds the leader among the nodes that run.
func (c *testCluster) leaderIndex() int {
	c.tb.Helper()
	found := -1
	c.eventually("a leader that all running nodes agree on", func() bool {
		found = -1
		for _, tn := range c.nodes {
			if tn.stopped {
				continue
			}
			var out struct {
				Nodes []struct{ NodeID, Role string }
			}
			if a := c.do(tn, http.MethodGet, "/cluster/1/nodes", nil); a.status != 200 || json.Unmarshal(a.body, &out) != nil {
				return false
			}
			here := -1
			for _, row := range out.Nodes {
				for i, tn := range c.nodes {
					if row.Role == "LEADER" && row.NodeID == tn.cfg.NodeID {
						here = i
					}
				}
			}
			if here < 0 || c.nodes[here].stopped || found >= 0 && found != here {
				return false
			}
			found = here
		}
		return found >= 0
	})
	return found
}

// owners returns how many partitions each node owns.
func (c *testCluster) owners(tn *testNode) map[string]int {
	c.tb.Helper()
	var out struct {
		Partitions []struct {
			Partition int
			Owner     string
			Epoch     uint64
		}
	}
	if err := json.Unmarshal(c.must(tn, http.MethodGet, "/cluster/1/partitions", nil).body, &out); err != nil {
		c.tb.Fatal(err)
	}
	if len(out.Partitions) != 64 {
		c.tb.Fatalf("%d partitions, want 64", len(out.Partitions))
	}
	owners := map[string]int{}
	for _, p := range out.Partitions {
		owners[p.Owner]++
	}
	return owners
}

func (c *testCluster) waitBalanced(tn *testNode, want ...string) {
	c.tb.Helper()
	c.eventually(fmt.Sprintf("partitions balanced over %v", want), func() bool {
		owners := c.owners(tn)
		if len(owners) != len(want) {
			return false
		}
		for _, id := range want {
			if n := owners[id]; n < 64/len(want) || n > 64/len(want)+1 {
				return false
			}
		}
		return true
	})
}

func TestCluster_anyNodeServesEverything(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	h := newHook(t)
	c.waitBalanced(c.nodes[2], "n1", "n2", "n3")

	// What one node has answered, every other node reads at once.
	for i, tn := range c.nodes {
		channel := []string{"SMS", "EMAIL", "VIBER"}[i]
		subscribe(c, tn, channel, "dlr", h.URL+"/"+channel, "DELIVERY")
		for _, reader := range c.nodes {
			path := "/subscriptions/1/subscription/" + channel + "/dlr"
			if a := c.do(reader, http.MethodGet, path, nil); a.status != 200 {
				t.Errorf("%s reads what %s wrote: %s", reader.cfg.NodeID, tn.cfg.NodeID, a)
			}
		}
		c.must(c.nodes[(i+1)%3], http.MethodDelete, "/subscriptions/1/subscription/"+channel+"/dlr", nil)
		for _, what := range []string{"profiles/dlr-hook", "security/dlr-auth"} {
			c.must(c.nodes[(i+2)%3], http.MethodDelete, "/subscriptions/1/"+what, nil)
		}
	}

	subscribe(c, c.nodes[0], "SMS", "dlr", h.URL, "DELIVERY")
	c.eventually("every node's index knows the subscription", func() bool {
		for i, tn := range c.nodes {
			a := c.must(tn, http.MethodPost, "/events/1/events", report("probe-"+strconv.Itoa(i)))
			if strings.Contains(string(a.body), `"deliveries":0`) {
				return false
			}
		}
		return true
	})
	want := map[string]bool{}
	for i := range 30 {
		id := fmt.Sprintf("m-%d", i)
		want[id] = true
		c.must(c.nodes[i%3], http.MethodPost, "/events/1/events", report(id))
	}
	seen := map[string]int{}
	for len(want) > 0 {
		var body struct {
			Results []struct{ MessageID string }
		}
		if err := json.Unmarshal(h.next(t).body, &body); err != nil {
			t.Fatal(err)
		}
		for _, r := range body.Results {
			seen[r.MessageID]++
			delete(want, r.MessageID)
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
	// Any node tells the story of an event, wherever it was delivered.
	for _, tn := range c.nodes {
		c.eventually("m-7 is delivered, says "+tn.cfg.NodeID, func() bool {
			body := string(c.must(tn, http.MethodGet, "/events/1/events/m-7", nil).body)
			return strings.Contains(body, `"status":"DELIVERED"`) && strings.Contains(body, `"attempt":1`)
		})
	}
}

func TestCluster_leaderLeaves_anotherTakesOver(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	h := newHook(t)
	subscribe(c, c.nodes[0], "SMS", "dlr", h.URL, "DELIVERY")

	old := c.leaderIndex()
	c.stop(c.nodes[old])
	alive := c.nodes[(old+1)%3]
	now := c.leaderIndex()
	if now == old {
		t.Fatal("the stopped node still leads")
	}
	c.eventually("the partitions of the stopped node have moved", func() bool {
		return c.owners(alive)[c.nodes[old].cfg.NodeID] == 0
	})
	c.must(alive, http.MethodPost, "/events/1/events", report("m-1"))
	h.next(t)

	// It comes back, catches up, and gets its share again.
	c.must(alive, http.MethodPut, "/subscriptions/1/profiles/dlr-hook", map[string]any{"headers": map[string]string{"X-Later": "yes"}})
	c.nodes[old] = c.start(c.nodes[old].cfg)
	if a := c.must(c.nodes[old], http.MethodGet, "/subscriptions/1/profiles/dlr-hook", nil); !strings.Contains(string(a.body), `"X-Later":"yes"`) {
		t.Errorf("the node that came back reads %s", a)
	}
	c.waitVoters(3)
	c.waitBalanced(c.nodes[old], "n1", "n2", "n3")
}

func TestCluster_withoutQuorum(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	subscribe(c, c.nodes[0], "SMS", "dlr", "http://127.0.0.1:9/", "DELIVERY")
	c.eventually("the last node has the subscription", func() bool {
		return c.do(c.nodes[2], http.MethodGet, "/subscriptions/1/subscription/SMS/dlr?consistency=stale", nil).status == 200
	})
	// Not stopped gracefully: that would hand over and leave. The peer ports
	// close at once.
	c.crash(c.nodes[0])
	c.crash(c.nodes[1])
	last := c.nodes[2]

	c.eventually("readiness goes", func() bool {
		return c.do(last, http.MethodGet, "/readyz", nil).status == http.StatusServiceUnavailable
	})
	for _, tt := range []struct {
		method, path string
		body         any
	}{
		{http.MethodGet, "/subscriptions/1/subscription/SMS/dlr", nil},
		{http.MethodPost, "/subscriptions/1/profiles", map[string]any{"profileId": "p", "webhook": map[string]any{"notifyUrl": "http://127.0.0.1:9/"}}},
		{http.MethodPost, "/events/1/events", report("m-1")},
	} {
		a := c.do(last, tt.method, tt.path, tt.body)
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s %s without a quorum: %s, Retry-After %q; want 503 with one", tt.method, tt.path, a, a.header.Get("Retry-After"))
		}
	}
	a := c.do(last, http.MethodGet, "/subscriptions/1/subscription/SMS/dlr?consistency=stale", nil)
	if a.status != 200 || a.header.Get("Belfry-Staleness-Ms") == "" {
		t.Errorf("stale read without a quorum: %s %v", a, a.header)
	}
	for path, want := range map[string]int{"/livez": 200, "/metrics": 200, "/cluster/1/nodes": 200, "/openapi.yaml": 200} {
		if a := c.do(last, http.MethodGet, path, nil); a.status != want {
			t.Errorf("GET %s without a quorum: %d, want %d", path, a.status, want)
		}
	}
}

func TestCluster_transferAndRemove(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	old := c.leaderIndex()
	c.must(c.nodes[(old+1)%3], http.MethodPost, "/cluster/1/leader/transfer", nil)
	c.eventually("another node leads", func() bool { return c.leaderIndex() != old })

	gone := c.nodes[old]
	c.stop(gone)
	left := c.nodes[(old+1)%3]
	c.must(left, http.MethodDelete, "/cluster/1/nodes/"+gone.cfg.NodeID, nil)
	c.waitVoters(2)
	c.eventually("the removed node is not listed", func() bool {
		return !strings.Contains(string(c.must(left, http.MethodGet, "/cluster/1/nodes", nil).body), `"`+gone.cfg.NodeID+`"`)
	})
	if a := c.do(left, http.MethodDelete, "/cluster/1/nodes/"+gone.cfg.NodeID, nil); a.status != http.StatusNotFound {
		t.Errorf("removing it again: %s, want 404", a)
	}
}

// A node that lost its disk joins as a new one under its old name.
func TestCluster_wipedNodeComesBackAsANewOne(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	subscribe(c, c.nodes[0], "SMS", "dlr", "http://127.0.0.1:9/", "DELIVERY")
	c.crash(c.nodes[2])
	cfg := c.nodes[2].cfg
	cfg.DataDir += "-new-disk"
	cfg.Join = []string{c.nodes[0].PeerAddr()}
	c.nodes[2] = c.start(cfg)
	c.waitVoters(3)
	if a := c.must(c.nodes[2], http.MethodGet, "/subscriptions/1/subscription/SMS/dlr", nil); a.status != 200 {
		t.Errorf("the new disk holds %s", a)
	}
}

func TestCluster_peerTLS(t *testing.T) {
	t.Parallel()
	files := peerFiles(t)
	c := newTestCluster(t, 3, func(cfg *config.Config) {
		cfg.Dev = false
		cfg.MasterKeyFile = files.masterKey
		cfg.PeerTLSCert, cfg.PeerTLSKey, cfg.PeerTLSCA = files.cert, files.key, files.ca
		cfg.EgressAllow = []string{"127.0.0.0/8"}
	})
	h := newHook(t)
	subscribe(c, c.nodes[1], "SMS", "dlr", h.URL, "DELIVERY")
	c.must(c.nodes[1], http.MethodPost, "/events/1/events", report("m-1"))
	h.next(t)
}
