package node

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/belfry/api"
	"example.com/belfry/config"
)

// freeAddress is one of loopback that nobody listens on.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// TestRestore: a backup of a cluster becomes a new one with the same
// configuration and secrets, which takes changes, delivers, and is joined.
func TestRestore(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	old := c.nodes[0]
	h := newHook(t)
	subscribe(c, old, "SMS", "dlr", h.URL, "DELIVERY")
	security := c.must(old, http.MethodGet, "/subscriptions/1/security/dlr-auth?reveal=true", nil).body
	file := filepath.Join(t.TempDir(), "one.backup")
	if err := os.WriteFile(file, c.must(old, http.MethodGet, "/cluster/1/backup", nil).body, 0o600); err != nil {
		t.Fatal(err)
	}
	c.must(old, http.MethodDelete, "/subscriptions/1/subscription/SMS/dlr", nil) // by mistake
	key, err := os.ReadFile(filepath.Join(old.cfg.DataDir, devKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	c.stop(old)

	cfg := old.cfg
	cfg.NodeID, cfg.DataDir, cfg.APIAddr, cfg.PeerAddr = "m1", filepath.Join(t.TempDir(), "m1"), "127.0.0.1:0", freeAddress(t)
	write(t, 0, cfg.DataDir, devKeyFile)
	if err := os.WriteFile(filepath.Join(cfg.DataDir, devKeyFile), key, 0o600); err != nil {
		t.Fatal(err)
	}
	index, err := Restore(RestoreOptions{Backup: file, NodeID: cfg.NodeID, DataDir: cfg.DataDir, PeerAddress: cfg.PeerAddr})
	if err != nil || index == 0 {
		t.Fatalf("restored index %d, %v", index, err)
	}
	if _, err := Restore(RestoreOptions{Backup: file, NodeID: cfg.NodeID, DataDir: cfg.DataDir, PeerAddress: cfg.PeerAddr}); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("the second restore: %v", err)
	}
	n := c.start(cfg)
	c.nodes = append(c.nodes, n)
	c.eventually("the restored node is ready", func() bool { return c.do(n, http.MethodGet, "/readyz", nil).status == http.StatusOK })
	if _, made := n.BootstrapKey(); made {
		t.Error("a new admin key was made")
	}
	c.must(n, http.MethodGet, "/subscriptions/1/subscription/SMS/dlr", nil)
	if got := c.must(n, http.MethodGet, "/subscriptions/1/security/dlr-auth?reveal=true", nil).body; string(got) != string(security) {
		t.Errorf("the secret is\n%s\nwant\n%s", got, security)
	}
	c.waitBalanced(n, "m1")
	c.must(n, http.MethodPost, "/events/1/events", report("after"))
	h.next(t)

	second := config.Default()
	second.NodeID, second.DataDir, second.APIAddr, second.PeerAddr = "m2", filepath.Join(t.TempDir(), "m2"), "127.0.0.1:0", "127.0.0.1:0"
	second.Dev, second.AdminKey, second.Join = true, cfg.AdminKey, []string{n.PeerAddr()}
	c.nodes = append(c.nodes, c.start(second))
	c.waitVoters(2)
	c.eventually("both have one state", func() bool {
		var d api.ClusterDigests
		err := json.Unmarshal(c.must(n, http.MethodGet, "/cluster/1/digests", nil).body, &d)
		return err == nil && len(d.Digests) == 2 && d.Digests[0].Index > index && d.Digests[0].SHA256 == d.Digests[1].SHA256 && d.Digests[0].SHA256 != ""
	})
	cfg.APIAddr = n.APIAddr()
	c.stop(n)
	n = c.start(cfg)
	c.nodes[1] = n
	c.eventually("it comes back", func() bool {
		return c.do(n, http.MethodGet, "/subscriptions/1/subscription/SMS/dlr", nil).status == http.StatusOK
	})
}

// What is no backup leaves the data directory alone.
func TestRestore_refused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "file")
	write(t, 1000, file)
	for name, o := range map[string]RestoreOptions{
		"no backup": {Backup: file, NodeID: "n1", DataDir: dir, PeerAddress: "127.0.0.1:1"},
		"no file":   {Backup: file + "x", NodeID: "n1", DataDir: dir, PeerAddress: "127.0.0.1:1"},
	} {
		if index, err := Restore(o); err == nil || index != 0 {
			t.Errorf("%s: restored index %d", name, index)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: the data directory was made", name)
		}
	}
}
