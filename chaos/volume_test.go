//go:build chaos

package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// postBatch is how many events one request of a stream carries.
const postBatch = 100

// volume is how many events the tests of volume send; BELFRY_CHAOS_EVENTS sets
// another number.
func volume(tb testing.TB, def int) int {
	tb.Helper()
	text := os.Getenv("BELFRY_CHAOS_EVENTS")
	if text == "" {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < postBatch {
		tb.Fatalf("BELFRY_CHAOS_EVENTS must be a number from %d, is %q", postBatch, text)
	}
	return n
}

// ledger is a webhook that keeps book of numbered events: how often each
// arrived, and whether every time under the same webhook-id.
type ledger struct {
	url  string
	seed maphash.Seed

	mu       sync.Mutex
	arrived  []uint8
	ids      []uint64
	distinct int
	again    int // arrivals after the first
	renamed  int // of those, under another webhook-id
	goal     int
	reached  chan struct{}

	down atomic.Bool // answers 503
}

func newLedger(tb testing.TB, events int) *ledger {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &ledger{
		url: "http://" + l.Addr().String() + "/hook", seed: maphash.MakeSeed(),
		arrived: make([]uint8, events), ids: make([]uint64, events),
	}
	srv := &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }()
	tb.Cleanup(func() { _ = srv.Close() })
	return r
}

func (r *ledger) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	b, err := io.ReadAll(req.Body)
	if r.down.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var body struct {
		Results []struct {
			N int `json:"n"`
		} `json:"results"`
	}
	if err != nil || json.Unmarshal(b, &body) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	id := maphash.String(r.seed, req.Header.Get("webhook-id"))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range body.Results {
		if r.arrived[e.N] == 0 {
			r.arrived[e.N], r.ids[e.N] = 1, id
			r.distinct++
			continue
		}
		r.again++
		if r.ids[e.N] != id {
			r.renamed++
		}
	}
	if r.reached != nil && r.distinct >= r.goal {
		close(r.reached)
		r.reached = nil
	}
}

// until waits until so many distinct events have arrived.
func (r *ledger) until(ctx context.Context, n int) error {
	r.mu.Lock()
	if r.distinct >= n {
		r.mu.Unlock()
		return nil
	}
	c := make(chan struct{})
	r.goal, r.reached = n, c
	r.mu.Unlock()
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Errorf("%d of %d arrived", r.distinct, n)
	}
}

// eventID is the id that a client gives to its n-th event: those that follow
// each other have nothing in common, as with random ids.
func eventID(channel string, n int) string {
	return fmt.Sprintf("%s-%016x", channel, uint64(n)*0x9e3779b97f4a7c15)
}

// stream posts the events [from, to) to all nodes in batches. With ids, a
// batch without a clear answer is sent again, to the next node, until it is
// acknowledged: that must not double it. perSecond paces it; 0: as fast as it is
// taken.
func (c *cluster) stream(ctx context.Context, channel string, from, to, pad int, ids bool, perSecond int) error {
	const clients = 8
	filler := string(bytes.Repeat([]byte{'x'}, pad))
	var next atomic.Int64
	next.Store(int64(from))
	errs := make(chan error, clients)
	began := time.Now()
	pace := func(n int) {
		if perSecond > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(n-from) * time.Second / time.Duration(perSecond))))
		}
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	for i := range clients {
		go func() {
			errs <- func() error {
				var body bytes.Buffer
				for {
					n := int(next.Add(postBatch)) - postBatch
					if n >= to {
						return nil
					}
					pace(n)
					body.Reset()
					body.WriteByte('[')
					for k := n; k < min(n+postBatch, to); k++ {
						if k > n {
							body.WriteByte(',')
						}
						if ids {
							fmt.Fprintf(&body, `{"eventId":%q,`, eventID(channel, k))
						} else {
							body.WriteByte('{')
						}
						fmt.Fprintf(&body, `"channel":%q,"event":"DELIVERY","payload":{"n":%d,"text":%q}}`, channel, k, filler)
					}
					body.WriteByte(']')
					for try := i; ; try++ {
						err := post(ctx, client, c.nodes[try%len(c.nodes)].api, body.Bytes())
						if err == nil {
							break
						}
						if !ids || ctx.Err() != nil {
							return err
						}
					}
				}
			}()
		}()
	}
	var all []error
	for range clients {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// post sends one batch. 429 waits for its turn.
func post(ctx context.Context, client *http.Client, addr string, body []byte) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/events/1/events", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "App "+adminKey)
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		switch {
		case err != nil:
			return err
		case resp.StatusCode == http.StatusAccepted:
			return nil
		case resp.StatusCode != http.StatusTooManyRequests:
			return fmt.Errorf("%s: %s", resp.Status, answer)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// missing tells what the cluster knows of an event that did not arrive.
func (c *cluster) missing(ctx context.Context, r *ledger) string {
	r.mu.Lock()
	n := slices.Index(r.arrived, 0)
	r.mu.Unlock()
	var record, stats json.RawMessage
	err := c.call(ctx, http.MethodGet, c.nodes[0].api, "/events/1/events/"+eventID("SMS", n), nil, &record)
	err = errors.Join(err, c.call(ctx, http.MethodGet, c.nodes[0].api, "/events/1/stats", nil, &stats))
	return fmt.Sprintf("event %d: %s; figures: %s; %v", n, record, stats, err)
}

// subscribe makes a subscription to the deliveries of a channel with a profile
// of its own.
func (c *cluster) subscribe(ctx context.Context, channel, profile, url string, knobs map[string]any) {
	c.tb.Helper()
	p := map[string]any{"profileId": profile, "webhook": map[string]any{"notifyUrl": url}}
	maps.Copy(p, knobs)
	create := map[string]any{"subscriptionId": profile, "events": []string{"DELIVERY"}, "profile": p}
	if err := c.call(ctx, http.MethodPost, c.nodes[0].api, "/subscriptions/1/subscription/"+channel, create, nil); err != nil {
		c.tb.Fatal(err)
	}
	// A node matches against the config it has applied; a read brings it up to
	// date, so that the first events do not come before the subscription.
	for _, p := range c.nodes {
		if err := c.call(ctx, http.MethodGet, p.api, "/subscriptions/1/profiles/"+profile, nil, nil); err != nil {
			c.tb.Fatal(err)
		}
	}
}

// TestChaosExactlyOnce sends a million events through three nodes without
// faults: every one arrives, none twice.
func TestChaosExactlyOnce(t *testing.T) {
	events := volume(t, 1_000_000)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	c := newCluster(t, 3, "--account-event-rate", "1000000")
	recv := newLedger(t, events)
	c.subscribe(ctx, "SMS", "hook", recv.url, map[string]any{"windowSize": 50})
	began := time.Now()
	if err := c.stream(ctx, "SMS", 0, events, 200, false, 0); err != nil {
		t.Fatal(err)
	}
	accepted := time.Since(began)
	if err := recv.until(ctx, events); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	recv.mu.Lock()
	defer recv.mu.Unlock()
	if recv.again != 0 {
		t.Errorf("%d arrivals were not the first of their event", recv.again)
	}
	t.Logf("%d events, 1 destination: accepted in %v (%.0f/s), arrived in %v (%.0f/s), 0 lost, %d twice",
		events, accepted.Round(time.Millisecond), float64(events)/accepted.Seconds(), took.Round(time.Millisecond), float64(events)/took.Seconds(), recv.again)
}

// killedRate is the pace under kills, in events per second: one that the
// machine keeps up with, so that what is in flight when a node dies is what the
// rate makes, and not all that a window of 20 batches of 100 holds.
const killedRate = 5000

// TestChaosVolumeUnderKills sends as many while a node, in turn, is killed
// every twenty seconds: every event arrives, and what arrives again does so
// under the webhook-id it had.
func TestChaosVolumeUnderKills(t *testing.T) {
	events := volume(t, 1_000_000)
	const between = 20 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	c := newCluster(t, 3, "--account-event-rate", "1000000")
	recv := newLedger(t, events)
	c.subscribe(ctx, "SMS", "hook", recv.url, nil)
	began := time.Now()
	sent := make(chan error, 1)
	go func() { sent <- c.stream(ctx, "SMS", 0, events, 200, true, killedRate) }()
	kills := 0
	tick := time.NewTicker(between)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case err := <-sent:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		case <-tick.C:
			victim := c.nodes[kills%len(c.nodes)]
			victim.kill()
			victim.start()
			victim.ready(ctx)
			kills++
		}
	}
	accepted := time.Since(began)
	// The receiver is always there, so nothing has to wait for a retry long.
	rest, cancelRest := context.WithTimeout(ctx, 3*time.Minute)
	defer cancelRest()
	if err := recv.until(rest, events); err != nil {
		t.Fatalf("%v after %d kills; %s", err, kills, c.missing(ctx, recv))
	}
	recv.mu.Lock()
	defer recv.mu.Unlock()
	if share := float64(recv.again) / float64(events); share > 0.001 {
		t.Errorf("%d of %d arrived again: %.3f %%, want at most 0.1 %%", recv.again, events, 100*share)
	}
	if recv.renamed > 0 {
		t.Errorf("%d arrived again under another webhook-id", recv.renamed)
	}
	t.Logf("%d events, %d kills: accepted in %v (%.0f/s), 0 lost, %d again (%.4f %%), %d of them under another webhook-id",
		events, kills, accepted.Round(time.Millisecond), float64(events)/accepted.Seconds(), recv.again, 100*float64(recv.again)/float64(events), recv.renamed)
}
