package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"example.com/belfry/cluster"
	"example.com/belfry/fsm"
	"example.com/belfry/fsm/model"
	"example.com/belfry/fsm/seal"
)

// BenchmarkConfigWrites compares linearizable PUTs over HTTP on three nodes with
// bare raft.Apply of the same bytes on the same kinds of stores: sent to the
// leader, and spread over all nodes, where two of three go one hop further and
// wait until the node that was asked has applied the change too. Compare the
// lines of one run: BENCH.md has the ratios.
func BenchmarkConfigWrites(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("raft/clients=%d", clients), func(b *testing.B) {
			r, cmd := rawRaft(b)
			spread(b, clients, func(int) error { return r.Apply(cmd, 10*time.Second).Error() })
		})
		for _, to := range []string{"leader", "all"} {
			b.Run(fmt.Sprintf("http_to_%s/clients=%d", to, clients), func(b *testing.B) {
				c := newTestCluster(b, 3)
				c.must(c.nodes[0], http.MethodPost, "/subscriptions/1/profiles", map[string]any{"profileId": "p", "webhook": map[string]any{"notifyUrl": "http://127.0.0.1:9/"}})
				keys := benchKeys(c)
				leader := c.leaderIndex()
				client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
				defer client.CloseIdleConnections()
				spread(b, clients, func(i int) error {
					at := leader
					if to == "all" {
						at = i % len(c.nodes)
					}
					return put(client, keys[i%len(keys)], "http://"+c.nodes[at].APIAddr()+"/subscriptions/1/profiles/p", benchPatch)
				})
			})
		}
	}
}

// benchKeys makes some keys: the rate limit of one is below what the leader can
// take.
func benchKeys(c *testCluster) []string {
	keys := make([]string, 8)
	for i := range keys {
		a := c.must(c.nodes[0], http.MethodPost, "/accounts/1/accounts/default/keys", map[string]any{"name": "bench", "scopes": []string{"subscriptions:manage"}})
		var made struct {
			Key string `json:"key"`
		}
		if err := json.Unmarshal(a.body, &made); err != nil || made.Key == "" {
			c.tb.Fatalf("key: %s, %v", a, err)
		}
		keys[i] = made.Key
	}
	return keys
}

const benchPatch = `{"headers":{"X-Env":"prod"},"rateLimit":100}`

func put(client *http.Client, key, url, body string) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPut, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "App "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return err
}

// spread runs do b.N times from so many clients at once.
func spread(b *testing.B, clients int, do func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range clients {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
}

// rawProposer is raft without anything around it.
type rawProposer struct{ r *raft.Raft }

func (p rawProposer) Propose(_ context.Context, cmd []byte) (uint64, []byte, error) {
	f := p.r.Apply(cmd, 10*time.Second)
	if err := f.Error(); err != nil {
		return 0, nil, err
	}
	if err, ok := f.Response().(error); ok {
		return f.Index(), nil, err
	}
	resp, _ := f.Response().([]byte)
	return f.Index(), resp, nil
}

// recorder keeps the bytes of the last command.
type recorder struct {
	rawProposer
	last []byte
}

func (p *recorder) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	p.last = cmd
	return p.rawProposer.Propose(ctx, cmd)
}

// rawRaft starts three bare raft servers with the stores and timeouts of a node
// and returns the leader and the bytes of one profile update.
func rawRaft(b *testing.B) (leader *raft.Raft, cmd []byte) {
	b.Helper()
	log := hclog.NewNullLogger()
	var servers []raft.Server
	var rafts []*raft.Raft
	var stores []*fsm.Store
	var starts []func(raft.Configuration) error
	for i := range 3 {
		dir := b.TempDir()
		store, err := fsm.Open(fsm.Options{Path: filepath.Join(dir, "config.db")})
		if err != nil {
			b.Fatal(err)
		}
		logs, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db")})
		if err != nil {
			b.Fatal(err)
		}
		trans, err := raft.NewTCPTransportWithLogger("127.0.0.1:0", nil, 3, 10*time.Second, log)
		if err != nil {
			b.Fatal(err)
		}
		conf := raft.DefaultConfig()
		conf.LocalID = raft.ServerID(fmt.Sprintf("n%d", i+1))
		conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = cluster.DefaultHeartbeat, cluster.DefaultHeartbeat, cluster.DefaultHeartbeat
		conf.BatchApplyCh, conf.MaxAppendEntries = true, 256
		conf.Logger = log
		snaps := raft.NewDiscardSnapshotStore()
		servers = append(servers, raft.Server{ID: conf.LocalID, Address: trans.LocalAddr()})
		stores = append(stores, store)
		starts = append(starts, func(c raft.Configuration) error {
			if err := raft.BootstrapCluster(conf, logs, logs, snaps, trans, c); err != nil {
				return err
			}
			r, err := raft.NewRaft(conf, store, logs, logs, snaps, trans)
			if err != nil {
				return err
			}
			rafts = append(rafts, r)
			b.Cleanup(func() {
				if err := r.Shutdown().Error(); err != nil {
					b.Error(err)
				}
				_, _, _ = trans.Close(), logs.Close(), store.Close()
			})
			return nil
		})
	}
	for _, start := range starts {
		if err := start(raft.Configuration{Servers: servers}); err != nil {
			b.Fatal(err)
		}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	at := -1
	for deadline := time.After(20 * time.Second); at < 0; {
		for i, r := range rafts {
			if r.State() == raft.Leader {
				at = i
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.Fatal("no leader")
		}
	}
	leader = rafts[at]
	ring, err := seal.NewRing()
	if err != nil {
		b.Fatal(err)
	}
	rec := &recorder{rawProposer: rawProposer{leader}}
	w := fsm.NewWriter(fsm.WriterOptions{Proposer: rec, Sealer: seal.NewSealer(ring, stores[at].DataKey), Store: stores[at], Now: time.Now, CatchUp: func(context.Context) error { return nil }})
	account := model.Account{ID: model.DefaultAccount, Name: "Default"}
	key := model.Key{Account: account.ID, ID: "k", Name: "k", Hash: bytes.Repeat([]byte{1}, 32), Scopes: model.AllScopes()}
	if err := w.Bootstrap(b.Context(), system, account, key); err != nil {
		b.Fatal(err)
	}
	if _, err := w.CreateProfile(b.Context(), system, model.ProfileDraft{Profile: model.Profile{Account: account.ID, ID: "p", URL: "http://127.0.0.1:9/"}}); err != nil {
		b.Fatal(err)
	}
	by := model.Actor{Name: "system", From: "127.0.0.1", RequestID: "0195c0de-0000-7000-8000-000000000000"}
	if _, err := w.UpdateProfile(b.Context(), by, account.ID, "p", model.ProfilePatch{
		Headers: model.Some(map[string]string{"X-Env": "prod"}), RateLimit: model.Some(100),
	}); err != nil {
		b.Fatal(err)
	}
	return leader, rec.last
}
