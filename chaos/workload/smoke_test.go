//go:build chaos

package workload

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"example.com/belfry/chaos/history"
)

const smokeKey = "smoke-admin-key-0123456789abcdef"

// one is a target of one node.
type one struct{ url string }

func (o one) Nodes() []Node { return []Node{{ID: "n1", URL: o.url}} }

// startNode builds belfry and runs one node until the test ends.
func startNode(t *testing.T) one {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "belfry")
	if out, err := exec.Command("go", "build", "-o", path, "example.com/belfry/cmd/belfry").CombinedOutput(); err != nil {
		t.Fatalf("build belfry: %v\n%s", err, out)
	}
	var addrs [2]string
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs[i] = l.Addr().String()
		_ = l.Close()
	}
	var log bytes.Buffer
	cmd := exec.Command(path, "serve", "--node-id", "n1", "--data-dir", filepath.Join(dir, "n1"), "--api-addr", addrs[0], "--peer-addr", addrs[1], "--dev", "--bootstrap")
	cmd.Env = append(os.Environ(), "BELFRY_ADMIN_KEY="+smokeKey, "BELFRY_LOG_LEVEL=warn")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("output of the node:\n%s", log.Bytes()[max(0, log.Len()-8<<10):])
		}
	})
	target := one{"http://" + addrs[0]}
	for range 600 { // outside the process there is no signal to wait for
		if resp, err := newHTTP(time.Second).Get(target.url + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return target
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the node is not ready")
	return target
}

// TestChaosWorkloads runs every workload on one node without faults: what they
// must have recorded is in the histories, and what they posted arrived.
func TestChaosWorkloads(t *testing.T) {
	target := startNode(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	if keep := os.Getenv("CHAOS_KEEP"); keep != "" { // an empty directory: the histories stay there
		dir = keep
	}
	o := Options{Target: target, AdminKey: smokeKey, Dir: dir, Clock: history.NewClock(), Seed: 1}
	final, err := NewFinal(o)
	if err != nil {
		t.Fatal(err)
	}
	final.Begin(ctx)
	var ws []Workload
	for _, name := range Names() {
		w, err := New(name, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.SetUp(ctx); err != nil {
			t.Fatal(err)
		}
		ws = append(ws, w)
	}
	run, end := context.WithTimeout(ctx, 18*time.Second)
	defer end()
	var wg sync.WaitGroup
	for _, w := range ws {
		wg.Go(func() {
			if err := w.Run(run); err != nil {
				t.Errorf("%s: %v", w.Name(), err)
			}
		})
	}
	wg.Wait()
	for _, w := range ws {
		if err := w.Finish(ctx); err != nil {
			t.Errorf("%s: %v", w.Name(), err)
		}
	}
	drain, cancelDrain := context.WithTimeout(ctx, 50*time.Second)
	defer cancelDrain()
	began := time.Now()
	if err := final.Drain(drain); err != nil {
		t.Errorf("drain: %v", err)
	}
	t.Logf("drained in %v", time.Since(began))
	final.Read(ctx, ws...)
	for _, w := range ws {
		if err := w.Close(); err != nil {
			t.Errorf("%s: %v", w.Name(), err)
		}
	}
	if err := final.Close(); err != nil {
		t.Error(err)
	}
	checkSmoke(t, dir)
}

// kindsOf are those that a run without faults must have, each OK at least once.
var kindsOf = map[string][]string{
	"w1": {history.ProfileCreate, history.ProfileGet, history.ProfileGetStale, history.ProfilePut, history.ProfileDelete},
	"w2": {
		history.SubscriptionCreate, history.SubscriptionGet, history.SubscriptionPut, history.SubscriptionDelete, history.ProfileCreate, history.ProfilePut,
		history.ProfileDelete, history.ProfileGet, history.SecurityCreate, history.SecurityGet, history.SecurityPut, history.SecurityDelete, history.CertificateCreate,
	},
	"w3":    {history.EventPost, history.Arrival, history.SubscriptionCreate},
	"w4":    {history.EventPost, history.Arrival, history.Barrier, history.SubscriptionPut, history.ProfilePut},
	"w5":    {history.EventPost, history.Arrival, history.SecurityPut},
	"w6":    {history.EventPost, history.Arrival},
	"w7":    {history.EventPost, history.Arrival, history.SubscriptionDelete},
	"w8":    {history.EventPost, history.Arrival, history.DeadList, history.DeadReplay, history.ReplayStart, history.ReplayGet},
	"w9":    {history.KeyCreate, history.KeyUse, history.KeyDelete, history.AccountCreate, history.AccountGet, history.AccountDelete},
	"final": {history.FinalAudit, history.FinalConfig, history.FinalDead, history.FinalDigest, history.FinalMetrics, history.FinalNodes, history.FinalPartitions, history.FinalReady, history.FinalStats, history.Drain},
}

func checkSmoke(t *testing.T, dir string) {
	t.Helper()
	for name, kinds := range kindsOf {
		ops, err := history.Read(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, op := range ops {
			count[op.Kind+" "+string(op.Outcome)]++
			if op.Outcome == history.Unknown && op.Kind != history.Arrival {
				t.Errorf("%s: the outcome of %s %s is unknown without a fault: %s", name, op.Kind, op.Key, op.Error)
			}
			if op.Outcome == history.OK && op.Error != "" {
				t.Errorf("%s: %s %s: %s", name, op.Kind, op.Key, op.Error)
			}
			if op.Call > op.Return || op.Call == 0 {
				t.Errorf("%s: %s %s was called at %d and returned at %d", name, op.Kind, op.Key, op.Call, op.Return)
			}
		}
		for _, k := range kinds {
			if count[k+" ok"] == 0 {
				t.Errorf("%s: no %s was OK: %v", name, k, count)
			}
		}
		t.Logf("%s: %d operations: %v", name, len(ops), count)
		checkArrivals(t, dir, name, ops)
	}
}

// checkArrivals compares what W3 and W6 posted with what arrived.
func checkArrivals(t *testing.T, dir, name string, ops []history.Op) {
	t.Helper()
	posted, arrived, auths := map[history.Event]int{}, map[history.Event]int{}, map[string]int{}
	for _, op := range ops {
		switch op.Kind {
		case history.EventPost:
			var in history.Post
			var out history.Posted
			unmarshal(t, op.In, &in)
			if op.Outcome != history.OK {
				t.Errorf("%s: %s: %d %s", name, op.Kind, op.Status, op.Error)
				continue
			}
			unmarshal(t, op.Out, &out)
			if out.Deliveries != 1 && (name == "w3" || name == "w6") {
				t.Errorf("%s: an event has %d deliveries: %s", name, out.Deliveries, op.Out)
			}
			for i := range in.N {
				posted[history.Event{Producer: in.Producer, N: in.From + int64(i)}] += out.Deliveries
			}
		case history.Arrival:
			var in history.Arrived
			unmarshal(t, op.In, &in)
			if len(in.Strange) > 0 || in.Version < 0 || in.Dest == "redirected" {
				t.Errorf("%s: a strange arrival: %s", name, op.In)
			}
			auths[in.Auth]++
			for _, r := range in.Runs {
				for i := range r.N {
					if op.Outcome == history.OK {
						arrived[history.Event{Producer: r.Producer, N: r.From + int64(i)}]++
					}
				}
			}
		}
	}
	if name == "w5" && (auths[typeBasic] == 0 || auths[typeHMAC] == 0 || auths[typeCustom] == 0) {
		t.Errorf("w5: arrivals by credential: %v", auths)
	}
	if name != "w3" && name != "w6" && name != "w8" {
		return
	}
	if len(posted) == 0 {
		t.Errorf("%s: nothing was posted", name)
	}
	dead := deadAtEnd(t, dir)
	for e, n := range posted {
		if arrived[e]+dead[e.ID()] != n {
			t.Errorf("%s: %s arrived %d times and is dead %d times, want %d in all", name, e.ID(), arrived[e], dead[e.ID()], n)
		}
	}
}

// deadAtEnd counts the dead letters of each event.
func deadAtEnd(t *testing.T, dir string) map[string]int {
	t.Helper()
	ops, err := history.Read(dir, "final")
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, op := range ops {
		if op.Kind == history.FinalDead {
			var out history.Dead
			unmarshal(t, op.Out, &out)
			for _, l := range out.Letters {
				n[l.EventID]++
			}
		}
	}
	return n
}

func unmarshal(t *testing.T, b json.RawMessage, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
}
