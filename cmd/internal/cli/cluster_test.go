package cli

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// clusterNode answers like a node: per "METHOD path?query" one answer after the
// other, the last of them again and again.
type clusterNode struct {
	*httptest.Server

	mu      sync.Mutex
	answers map[string][]string
	asked   []string
}

func newClusterNode(t *testing.T, answers map[string][]string) *clusterNode {
	t.Helper()
	n := &clusterNode{answers: maps.Clone(answers)}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		what := r.Method + " " + r.URL.RequestURI()
		n.asked = append(n.asked, what)
		if r.Header.Get("Authorization") != "App a-key-of-sixteen" {
			t.Errorf("asked with %q", r.Header.Get("Authorization"))
		}
		as, ok := n.answers[what]
		if !ok {
			w.Header().Set("Belfry-Error-Code", "conflict")
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"detail":"without node n1 no live node would be left that delivers","code":"conflict"}`)
			return
		}
		if len(as) > 1 {
			n.answers[what] = as[1:]
		}
		if as[0] == "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, as[0])
	}))
	t.Cleanup(n.Close)
	return n
}

func (n *clusterNode) run(t *testing.T, args ...string) outcome {
	t.Helper()
	return run(t, "", []string{envAPIKey + "=a-key-of-sixteen", envURL + "=" + n.URL}, append([]string{"cluster"}, args...)...)
}

func TestCluster_nodes(t *testing.T) {
	t.Parallel()
	n := newClusterNode(t, map[string][]string{
		"GET /cluster/1/nodes": {`{"nodes":[{"nodeId":"n1","role":"LEADER","voter":true,"live":true,"apiAddress":"a:1"},{"nodeId":"n2","role":"FOLLOWER","voter":true,"live":true,"draining":true},` +
			`{"nodeId":"n3","role":"FOLLOWER","voter":true},{"nodeId":"n4","role":"FOLLOWER","live":true},{"nodeId":"n5","role":"FOLLOWER","voter":true,"live":true}]}`},
		"GET /cluster/1/health": {`{"nodes":[{"nodeId":"n1","version":"v1","uptimeSeconds":61,"ready":true,"partitions":64,"groups":[{"group":"config","lag":3},{"group":"events-0","lag":7}],"disk":{"freeBytes":1073741824}},` +
			`{"nodeId":"n5","ready":false,"groups":[{"group":"config"}]}]}`},
	})
	got := n.run(t, "nodes")
	got.expect(t, ExitOK, "")
	var rows []string
	for line := range strings.Lines(got.out) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"NODE ROLE STATE VERSION UP PARTITIONS BEHIND DISK FREE API",
		"n1 LEADER live v1 1m1s 64 7 1024 MiB a:1",
		"n2 FOLLOWER drained - - - - -",
		"n3 FOLLOWER silent - - - - -",
		"n4 FOLLOWER no vote - - - - -",
		"n5 FOLLOWER not ready 0s 0 - 0 MiB",
	}
	if !slices.Equal(rows, want) {
		t.Errorf("printed\n%s\nwant\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
}

// A drain returns when the partitions have moved, and says when they have not.
func TestCluster_drain(t *testing.T) {
	t.Parallel()
	const owns, empty = `{"partitions":[{"partition":0,"owner":"n2"},{"partition":1,"owner":"n1"}]}`, `{"partitions":[{"partition":0,"owner":"n1"}]}`
	answers := map[string][]string{
		"POST /cluster/1/nodes/n2/drain": {""}, "DELETE /cluster/1/nodes/n2/drain": {""}, "DELETE /cluster/1/nodes/n2": {""}, "POST /cluster/1/leader/transfer": {""},
		"GET /cluster/1/partitions": {owns, owns, empty, owns},
	}
	n := newClusterNode(t, answers)
	got := n.run(t, "drain", "n2")
	got.expect(t, ExitOK, "")
	if got.out != "n2 is drained\n" || len(n.asked) != 4 {
		t.Errorf("printed %q after %v", got.out, n.asked)
	}
	n.run(t, "drain", "n2", "--wait", "1s").expect(t, ExitFailed, "n2 was told, and still owns 1 partitions after 1s")
	n = newClusterNode(t, answers) // the other may yet be told of the last question of a run that was over
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"drain", "n2", "--wait", "0"}, "n2 is drained\n"},
		{[]string{"undrain", "n2"}, "n2 delivers again\n"},
		{[]string{"remove", "n2"}, "n2 was removed\n"},
		{[]string{"transfer"}, "another node leads\n"},
	} {
		got := n.run(t, tc.args...)
		got.expect(t, ExitOK, "")
		if got.out != tc.want {
			t.Errorf("%v printed %q", tc.args, got.out)
		}
	}
	if want := []string{"POST /cluster/1/nodes/n2/drain", "DELETE /cluster/1/nodes/n2/drain", "DELETE /cluster/1/nodes/n2", "POST /cluster/1/leader/transfer"}; !slices.Equal(n.asked, want) {
		t.Errorf("asked %v, want %v", n.asked, want)
	}
	n.run(t, "drain", "n1").expect(t, ExitFailed, "without node n1 no live node would be left that delivers")
}

func TestCluster_digests(t *testing.T) {
	t.Parallel()
	row := func(node string, index int, sum, err string) string {
		return fmt.Sprintf(`{"nodeId":%q,"group":"g","index":%d,"sha256":%q,"error":%q}`, node, index, sum, err)
	}
	all := func(rows ...string) string { return `{"digests":[` + strings.Join(rows, ",") + `]}` }
	same := all(row("n1", 7, "aa", ""), row("n2", 7, "aa", ""), row("n3", 8, "bb", ""))
	for _, tc := range []struct {
		name, config, events string
		code                 int
		say                  string
	}{
		{"equal", same, same, ExitOK, ""},
		{"one node", all(row("n1", 7, "aa", "")), all(row("n1", 9, "aa", "")), ExitOK, ""},
		{"different", same, all(row("n1", 7, "aa", ""), row("n2", 7, "ab", "")), ExitFailed, "different states of events: one of them is damaged"},
		{"different indices", all(row("n1", 7, "aa", ""), row("n2", 8, "bb", "")), same, ExitFailed, "no two nodes were at one index of config"},
		{"silent", `{"digests":[` + row("n1", 7, "aa", "") + `],"unreachableNodes":["n2"]}`, same, ExitFailed, "no two nodes"},
		{"slow", all(row("n1", 7, "aa", ""), row("n2", 0, "", "it took too long")), same, ExitFailed, "no two nodes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n := newClusterNode(t, map[string][]string{"GET /cluster/1/digests?group=config": {tc.config}, "GET /cluster/1/digests?group=events": {tc.events}})
			got := n.run(t, "digests")
			got.expect(t, tc.code, tc.say)
			if !strings.Contains(got.out, "config") || !strings.Contains(got.out, "n1") {
				t.Errorf("printed %q", got.out)
			}
		})
	}
}

func TestCluster_usage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"drain"}, {"drain", "n1", "n2"}, {"undrain"}, {"remove"}} {
		run(t, "", []string{envAPIKey + "=a-key-of-sixteen"}, append([]string{"cluster"}, args...)...).expect(t, ExitUsage, "takes the id of one node")
	}
	run(t, "", nil, "cluster", "nodes").expect(t, ExitUsage, "set BELFRY_API_KEY")
	run(t, "", nil, "cluster", "node").expect(t, ExitUsage, `is not a command of "belfry cluster"; did you mean nodes?`)
	run(t, "", []string{envAPIKey + "=a-key-of-sixteen"}, "cluster", "nodes", "--url", "localhost").expect(t, ExitUsage, "--url: ")
}
