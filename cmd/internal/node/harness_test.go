package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/belfry/config"
	"example.com/belfry/fsm/model"
)

// testKey is the admin key of every cluster under test.
const testKey = "test-admin-key-0123456789abcdef"

// syncBuffer collects log lines of several goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// testCluster is some nodes in this process, on real sockets and real disks.
type testCluster struct {
	tb    testing.TB
	root  string
	log   *syncBuffer
	nodes []*testNode
}

type testNode struct {
	*Node
	cfg     config.Config
	stopped bool
}

// newTestCluster starts n nodes and returns when all of them are live voters.
func newTestCluster(tb testing.TB, n int, change ...func(*config.Config)) *testCluster {
	tb.Helper()
	c := &testCluster{tb: tb, root: tb.TempDir(), log: &syncBuffer{}}
	tb.Cleanup(func() {
		for _, tn := range c.nodes {
			c.stop(tn)
		}
		if tb.Failed() && !testing.Short() {
			out := c.log.String()
			if len(out) > 16<<10 {
				out = "…" + out[len(out)-16<<10:]
			}
			tb.Logf("log of the cluster:\n%s", out)
		}
	})
	for i := range n {
		cfg := config.Default()
		cfg.NodeID = fmt.Sprintf("n%d", i+1)
		cfg.DataDir = filepath.Join(c.root, cfg.NodeID)
		cfg.APIAddr, cfg.PeerAddr = "127.0.0.1:0", "127.0.0.1:0"
		cfg.Dev = true
		cfg.AdminKey = model.NewSecret(testKey)
		if i == 0 {
			cfg.Bootstrap = true
		} else {
			cfg.Join = []string{c.nodes[0].PeerAddr()}
		}
		for _, f := range change {
			f(&cfg)
		}
		c.nodes = append(c.nodes, c.start(cfg))
	}
	c.waitVoters(n)
	return c
}

func (c *testCluster) start(cfg config.Config) *testNode {
	c.tb.Helper()
	nd, err := New(Options{
		Config:  cfg,
		Logger:  hclog.New(&hclog.LoggerOptions{Name: cfg.NodeID, Output: c.log, Level: hclog.Debug}),
		Version: "test",
	})
	if err != nil {
		c.tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := nd.Start(ctx); err != nil {
		c.tb.Fatalf("start %s: %v", cfg.NodeID, err)
	}
	// A restart must come back under the addresses that its peers know.
	cfg.APIAddr, cfg.PeerAddr = nd.APIAddr(), nd.PeerAddr()
	return &testNode{Node: nd, cfg: cfg}
}

func (c *testCluster) stop(tn *testNode) {
	c.tb.Helper()
	if tn.stopped {
		return
	}
	tn.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := tn.Stop(ctx); err != nil {
		c.tb.Errorf("stop %s: %v", tn.cfg.NodeID, err)
	}
}

// restart stops node i and starts it again on the same data directory.
func (c *testCluster) restart(i int) {
	c.tb.Helper()
	c.stop(c.nodes[i])
	c.nodes[i] = c.start(c.nodes[i].cfg)
	c.eventually("the node is ready again", func() bool { return c.do(c.nodes[i], http.MethodGet, "/readyz", nil).status == http.StatusOK })
}

// eventually asks until ok; the cluster is a set of real sockets and clocks,
// and what a test waits for here has no signal it could take.
func (c *testCluster) eventually(what string, ok func() bool) {
	c.tb.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			c.tb.Fatalf("not in 30 s: %s", what)
		case <-tick.C:
		}
	}
}

func (c *testCluster) waitVoters(n int) {
	c.tb.Helper()
	c.eventually(fmt.Sprintf("%d live voters on every node", n), func() bool {
		for _, tn := range c.nodes {
			if tn.stopped {
				continue
			}
			var out struct {
				Nodes []struct{ Voter, Live bool }
			}
			if a := c.do(tn, http.MethodGet, "/cluster/1/nodes", nil); a.status != 200 || json.Unmarshal(a.body, &out) != nil {
				return false
			}
			live := 0
			for _, row := range out.Nodes {
				if row.Voter && row.Live {
					live++
				}
			}
			if live != n || c.do(tn, http.MethodGet, "/readyz", nil).status != http.StatusOK {
				return false
			}
		}
		return true
	})
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// do makes one request as the admin; headers are name, value pairs.
func (c *testCluster) do(tn *testNode, method, path string, body any, headers ...string) answer {
	c.tb.Helper()
	var r io.Reader
	var text string
	switch b := body.(type) {
	case nil:
	case string:
		text = b
	default:
		j, err := json.Marshal(b)
		if err != nil {
			c.tb.Fatal(err)
		}
		text = string(j)
	}
	if body != nil {
		r = strings.NewReader(text)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+tn.APIAddr()+path, r)
	if err != nil {
		c.tb.Fatal(err)
	}
	req.Header.Set("Authorization", "App "+testKey)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := testClient.Do(req)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	a := answer{resp.StatusCode, resp.Header, b}
	checkAgainstDocument(c.tb, req, text, a)
	return a
}

var testClient = &http.Client{Timeout: 20 * time.Second}

// must is do for requests that have to succeed. As a client should, it makes
// a request again that is answered 503: on a busy machine a cluster changes its
// leader without being asked. That it exists as an answer to a repeated POST, or
// 404 to a repeated DELETE, says that the first was done.
func (c *testCluster) must(tn *testNode, method, path string, body any) answer {
	c.tb.Helper()
	var a answer
	again := false
	c.eventually(method+" "+path+" is served", func() bool {
		again = a.status == http.StatusServiceUnavailable
		a = c.do(tn, method, path, body)
		return a.status != http.StatusServiceUnavailable
	})
	done := again && (method == http.MethodPost && strings.Contains(string(a.body), "exists") || method == http.MethodDelete && a.status == http.StatusNotFound)
	if !done && (a.status < 200 || a.status > 299) {
		c.tb.Fatalf("%s %s: %s", method, path, a)
	}
	return a
}

// hook is a webhook that records what comes in and answers as it is told.
type hook struct {
	*httptest.Server
	status  chan int // the next answers; empty: 200
	arrived chan hookRequest
}

type hookRequest struct {
	path   string
	header http.Header
	body   []byte
}

func newHook(tb testing.TB) *hook {
	tb.Helper()
	h := &hook{status: make(chan int, 1000), arrived: make(chan hookRequest, 10000)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		select {
		case s := <-h.status:
			w.WriteHeader(s)
		default:
		}
		h.arrived <- hookRequest{r.URL.Path, r.Header.Clone(), b}
	}))
	tb.Cleanup(h.Close)
	return h
}

// next waits for the next arrival.
func (h *hook) next(tb testing.TB) hookRequest {
	tb.Helper()
	select {
	case r := <-h.arrived:
		return r
	case <-time.After(30 * time.Second):
		tb.Fatal("nothing arrived in 30 s")
		return hookRequest{}
	}
}
