//go:build chaos

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// kills is how often the leader dies in TestChaosFailover.
const kills = 20

// receiver counts the arrivals of every message id.
type receiver struct {
	mu      sync.Mutex
	arrived map[string]int
	url     string
	waiting map[string]chan struct{}
}

func newReceiver(tb testing.TB) *receiver {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &receiver{arrived: map[string]int{}, waiting: map[string]chan struct{}{}, url: "http://" + l.Addr().String() + "/hook"}
	srv := &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }()
	tb.Cleanup(func() { _ = srv.Close() })
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	b, err := io.ReadAll(req.Body)
	var body struct {
		Results []struct {
			MessageID string `json:"messageId"`
		} `json:"results"`
	}
	if err != nil || json.Unmarshal(b, &body) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range body.Results {
		r.arrived[e.MessageID]++
		if c, ok := r.waiting[e.MessageID]; ok {
			close(c)
			delete(r.waiting, e.MessageID)
		}
	}
}

// wait blocks until the message has arrived or ctx ends.
func (r *receiver) wait(ctx context.Context, id string) bool {
	r.mu.Lock()
	if r.arrived[id] > 0 {
		r.mu.Unlock()
		return true
	}
	c := make(chan struct{})
	r.waiting[id] = c
	r.mu.Unlock()
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// load writes without a pause through whichever node answers and remembers
// what was acknowledged.
type load struct {
	c    *cluster
	name string
	// unique gives every try a number of its own. A try that was not
	// acknowledged may still take effect, later than its successors.
	unique bool
	// write makes the n-th write through one node; nil means acknowledged.
	write func(ctx context.Context, p *process, n int) error

	mu    sync.Mutex
	acked []int
	// next is closed by the first acknowledgement of a write that began
	// after mark was set.
	mark time.Time
	next chan time.Time
}

// after returns a channel that delivers the moment of the first
// acknowledgement of a write that began after now.
func (l *load) after(now time.Time) <-chan time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mark, l.next = now, make(chan time.Time, 1)
	return l.next
}

func (l *load) run(ctx context.Context) {
	for n, i := 0, 0; ctx.Err() == nil; i++ {
		p := l.c.nodes[i%len(l.c.nodes)]
		begin := time.Now()
		// A write has 500 ms: a client that waits for a dead connection
		// measures its own patience, not the failover.
		wctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		err := l.write(wctx, p, n)
		cancel()
		if err != nil {
			if l.unique {
				n++
			}
			continue
		}
		end := time.Now()
		l.mu.Lock()
		l.acked = append(l.acked, n)
		if l.next != nil && begin.After(l.mark) {
			l.next <- end
			l.next = nil
		}
		l.mu.Unlock()
		n++
	}
}

// TestChaosFailover kills the leader of three processes again and again under
// load. Every acknowledged event must arrive, the last acknowledged config
// write must be there, and the figures for BENCH.md are printed.
func TestChaosFailover(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	c := newCluster(t, 3)
	recv := newReceiver(t)
	create := map[string]any{
		"subscriptionId": "dlr", "events": []string{"DELIVERY"},
		"profile": map[string]any{"profileId": "hook", "webhook": map[string]any{"notifyUrl": recv.url}},
	}
	if err := c.call(ctx, http.MethodPost, c.nodes[0].api, "/subscriptions/1/subscription/SMS", create, nil); err != nil {
		t.Fatal(err)
	}
	config := map[string]any{"profileId": "register", "webhook": map[string]any{"notifyUrl": recv.url}}
	if err := c.call(ctx, http.MethodPost, c.nodes[0].api, "/subscriptions/1/profiles", config, nil); err != nil {
		t.Fatal(err)
	}

	writes := &load{c: c, name: "config", unique: true, write: func(ctx context.Context, p *process, n int) error {
		return c.call(ctx, http.MethodPut, p.api, "/subscriptions/1/profiles/register",
			map[string]any{"headers": map[string]string{"X-N": strconv.Itoa(n)}}, nil)
	}}
	events := &load{c: c, name: "events", write: func(ctx context.Context, p *process, n int) error {
		id := fmt.Sprintf("m-%d", n)
		return c.call(ctx, http.MethodPost, p.api, "/events/1/events", map[string]any{
			"eventId": id, "channel": "SMS", "event": "DELIVERY", "payload": map[string]any{"messageId": id},
		}, nil)
	}}
	loadCtx, stopLoad := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { writes.run(loadCtx) })
	wg.Go(func() { events.run(loadCtx) })

	var toWrite, toAccept []time.Duration
	for i := range kills {
		victim := c.leader(ctx)
		killedAt := time.Now()
		victim.kill()
		w, e := writes.after(killedAt), events.after(killedAt)
		for range 2 {
			select {
			case at := <-w:
				toWrite, w = append(toWrite, at.Sub(killedAt)), nil
			case at := <-e:
				toAccept, e = append(toAccept, at.Sub(killedAt)), nil
			case <-ctx.Done():
				t.Fatalf("kill %d: no acknowledgement afterwards", i)
			}
		}
		victim.start()
		victim.ready(ctx)
		c.waitVoters(ctx, 3)
	}
	stopLoad()
	wg.Wait()

	lost := 0
	drain, cancelDrain := context.WithTimeout(ctx, 3*time.Minute)
	defer cancelDrain()
	for _, n := range events.acked {
		if !recv.wait(drain, fmt.Sprintf("m-%d", n)) {
			lost++
		}
	}
	recv.mu.Lock()
	duplicates := 0
	for _, n := range recv.arrived {
		duplicates += n - 1
	}
	total := len(recv.arrived)
	recv.mu.Unlock()

	var got struct {
		Headers map[string]string `json:"headers"`
	}
	if err := c.call(ctx, http.MethodGet, c.nodes[1].api, "/subscriptions/1/profiles/register", nil, &got); err != nil {
		t.Fatal(err)
	}
	last := writes.acked[len(writes.acked)-1]
	if n, err := strconv.Atoi(got.Headers["X-N"]); err != nil || n < last && slices.Contains(writes.acked, n) {
		t.Errorf("the register holds %q, but write %d was acknowledged", got.Headers["X-N"], last)
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged events never arrived", lost, len(events.acked))
	}
	report(t, "next accepted config write", toWrite)
	report(t, "next 202", toAccept)
	t.Logf("acknowledged: %d config writes, %d events; lost: %d; arrived: %d distinct, %d duplicates",
		len(writes.acked), len(events.acked), lost, total, duplicates)
}

func report(t *testing.T, what string, ds []time.Duration) {
	t.Helper()
	slices.Sort(ds)
	t.Logf("%s after kill -9 of the leader, %d kills: p50 %v, p99 %v, max %v",
		what, len(ds), ds[len(ds)/2], ds[min(len(ds)-1, len(ds)*99/100)], ds[len(ds)-1])
}
