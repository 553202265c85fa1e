package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/belfry/config"
)

type always struct{}

func (always) Lease() (bool, time.Time) { return true, time.Time{} }

// quietNode is a drainer whose work and partitions a test decides.
type quietNode struct {
	*drainer

	busy, owned atomic.Int64
	fail        atomic.Bool
}

func newQuietNode() *quietNode {
	q := &quietNode{}
	q.drainer = &drainer{
		gate: &gate{of: always{}}, owned: func() int { return int(q.owned.Load()) }, timeout: 10 * time.Second, log: hclog.NewNullLogger(),
		busy: func(context.Context) (int, error) {
			if q.fail.Load() {
				return 0, errors.New("nobody answers")
			}
			return int(q.busy.Load()), nil
		},
	}
	q.owned.Store(64)
	return q
}

func (q *quietNode) open() bool { ok, _ := q.gate.Lease(); return ok }

// A drained node starts nothing from the first moment on, waits for what is in
// flight, and delivers again when its partitions are gone.
func TestDrainer_waitsForWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQuietNode()
		q.busy.Store(3)
		time.AfterFunc(2*time.Second, func() { q.busy.Store(0) })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		begin := time.Now()
		time.AfterFunc(time.Millisecond, func() {
			if q.open() {
				t.Error("something may start while the rest ends")
			}
		})
		q.quiesce(ctx)
		if took := time.Since(begin); took < 2*time.Second || took > 2*time.Second+2*quietCheck {
			t.Errorf("it took %s", took)
		}
		time.Sleep(5 * time.Second)
		if q.open() {
			t.Error("something may start before the partitions have moved")
		}
		q.owned.Store(0)
		time.Sleep(2 * quietCheck)
		if !q.open() {
			t.Error("the gate stays closed")
		}
	})
}

// What does not end, and partitions that nobody takes, are waited for no longer
// than is said.
func TestDrainer_limits(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(q *quietNode){
		"requests that hang":         func(q *quietNode) { q.busy.Store(1) },
		"a dispatcher that is ended": func(q *quietNode) { q.fail.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newQuietNode()
				set(q)
				begin := time.Now()
				q.quiesce(t.Context())
				if took := time.Since(begin); took != q.timeout {
					t.Errorf("it took %s, want %s", took, q.timeout)
				}
				time.Sleep(movingTimeout - time.Millisecond)
				if q.open() {
					t.Error("the gate is open before its time")
				}
				time.Sleep(2 * time.Millisecond)
				if !q.open() {
					t.Error("the gate stays closed though the partitions stay")
				}
			})
		})
	}
}

// A drain that is ended opens the gate, but not that of the next one.
func TestDrainer_ended(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQuietNode()
		q.busy.Store(1)
		first, end := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, end)
		begin := time.Now()
		q.quiesce(first)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("after the end it went on for %s", took-time.Second)
		}
		second, end := context.WithCancel(t.Context())
		defer end()
		go q.quiesce(second)
		time.Sleep(time.Second)
		if q.open() {
			t.Error("the end of the first drain has opened the gate of the second")
		}
		end()
		synctest.Wait()
		time.Sleep(time.Millisecond)
		if !q.open() {
			t.Error("the gate stays closed")
		}
	})
}

// drainingOn reports whether a node says that another is drained.
func (c *testCluster) drainingOn(tn *testNode, id string) bool {
	c.tb.Helper()
	var out struct {
		Nodes []struct {
			NodeID   string
			Draining bool
		}
	}
	if err := json.Unmarshal(c.must(tn, http.MethodGet, "/cluster/1/nodes", nil).body, &out); err != nil {
		c.tb.Fatal(err)
	}
	for _, n := range out.Nodes {
		if n.NodeID == id {
			return n.Draining
		}
	}
	return false
}

// TestCluster_drain: a drained node ends what it sends, is given nothing, and
// sends nothing twice; a restart changes nothing; the last one is refused.
func TestCluster_drain(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, func(cfg *config.Config) { cfg.DrainTimeout = 10 * time.Second })
	n1, n2 := c.nodes[0], c.nodes[1]
	c.waitBalanced(n1, "n1", "n2", "n3")
	h := newHook(t)
	for i := range 20 {
		subscribe(c, n1, "SMS", fmt.Sprint("dlr", i), h.URL+fmt.Sprint("/", i), "DELIVERY")
	}
	const events = 40
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range events {
			c.must(c.nodes[2], http.MethodPost, "/events/1/events", report(fmt.Sprint("e", i)))
		}
	}()
	c.must(n1, http.MethodPost, "/cluster/1/nodes/n2/drain", nil)
	if !c.drainingOn(n1, "n2") {
		t.Error("the list of nodes does not show the drain")
	}
	c.waitBalanced(n1, "n1", "n3")
	if a := c.do(n2, http.MethodGet, "/readyz", nil); a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "drained failed: an operator has drained this node") {
		t.Errorf("the drained node says %s", a)
	}
	<-sent
	seen := map[string]int{} // what has waited for the same webhook may come in one request
	for len(seen) < 20*events {
		r := h.next(t)
		var batch struct{ Results []struct{ MessageID string } }
		if err := json.Unmarshal(r.body, &batch); err != nil || len(batch.Results) == 0 {
			t.Fatalf("%q: %v", r.body, err)
		}
		for _, e := range batch.Results {
			seen[r.path+" "+e.MessageID]++
		}
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}

	c.stop(n2)
	c.nodes[1] = c.start(n2.cfg)
	n2 = c.nodes[1]
	c.eventually("n2 is live again and still drained", func() bool {
		a := c.do(n2, http.MethodGet, "/readyz", nil)
		return strings.Contains(string(a.body), "[-]drained") && !strings.Contains(string(a.body), "[-]cluster") && c.drainingOn(n1, "n2")
	})
	if owners := c.owners(n2); owners["n2"] > 0 {
		t.Errorf("after its restart n2 owns %d partitions", owners["n2"])
	}
	c.must(n2, http.MethodPost, "/cluster/1/nodes/n1/drain", nil)
	c.waitBalanced(n2, "n3")
	if a := c.do(n2, http.MethodPost, "/cluster/1/nodes/n3/drain", nil); a.status != http.StatusConflict || !strings.Contains(string(a.body), "no live node would be left that delivers") {
		t.Errorf("the last one: %s", a)
	}
	c.must(n2, http.MethodDelete, "/cluster/1/nodes/n1/drain", nil)
	c.must(n2, http.MethodDelete, "/cluster/1/nodes/n2/drain", nil)
	c.must(n2, http.MethodDelete, "/cluster/1/nodes/n2/drain", nil)
	c.waitBalanced(n2, "n1", "n2", "n3")
	c.eventually("n2 is ready", func() bool { return c.do(n2, http.MethodGet, "/readyz", nil).status == http.StatusOK })
}
