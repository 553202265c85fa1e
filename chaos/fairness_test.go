//go:build chaos

package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	healthyAccounts = 10
	hangingHooks    = 1000
	// fairnessRun is how long each of the two measurements takes, and
	// fairnessGap the time between two events of one healthy account.
	fairnessRun = 40 * time.Second
	fairnessGap = 50 * time.Millisecond
)

// as posts with a key.
func (c *cluster) as(ctx context.Context, key, addr, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "App "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if b, err = io.ReadAll(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// account makes an account with a key for everything that concerns events.
func (c *cluster) account(ctx context.Context, id string) (key string) {
	c.tb.Helper()
	var made struct {
		Key string `json:"key"`
	}
	err := c.call(ctx, http.MethodPost, c.nodes[0].api, "/accounts/1/accounts", map[string]any{"accountId": id}, nil)
	if err == nil {
		err = c.call(ctx, http.MethodPost, c.nodes[0].api, "/accounts/1/accounts/"+id+"/keys",
			map[string]any{"scopes": []string{"subscriptions:manage", "events:write", "events:read"}}, &made)
	}
	if err != nil {
		c.tb.Fatal(err)
	}
	return made.Key
}

// stopwatch is a webhook that measures, from the time in the payload to the
// arrival; what goes to /hang is not answered.
type stopwatch struct {
	url  string
	end  chan struct{}
	mu   sync.Mutex
	late []time.Duration
	hung map[string]int // requests that were not answered, by path
	more chan struct{}  // has a value after an arrival
}

func newStopwatch(tb testing.TB) *stopwatch {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &stopwatch{url: "http://" + l.Addr().String(), end: make(chan struct{}), hung: map[string]int{}, more: make(chan struct{}, 1)}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }()
	tb.Cleanup(func() {
		close(s.end)
		_ = srv.Close()
	})
	return s
}

func (s *stopwatch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/in" {
		_, _ = io.Copy(io.Discard, r.Body)
		s.mu.Lock()
		s.hung[r.URL.Path]++
		s.mu.Unlock()
		s.tell()
		select {
		case <-r.Context().Done():
		case <-s.end:
		}
		return
	}
	var body struct {
		Results []struct {
			At int64 `json:"at"`
		} `json:"results"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range body.Results {
		s.late = append(s.late, now.Sub(time.Unix(0, e.At)))
	}
	s.tell()
}

func (s *stopwatch) tell() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// until waits until done holds, which is called under the lock, or ctx ends.
func (s *stopwatch) until(ctx context.Context, done func() bool) {
	for {
		s.mu.Lock()
		all := done()
		s.mu.Unlock()
		if all {
			return
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			return
		}
	}
}

// take returns what was measured since the last call, in order.
func (s *stopwatch) take() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.late
	s.late = nil
	slices.Sort(out)
	return out
}

// TestChaosFairness measures, in one run, how long events of ten healthy
// accounts take from the moment they are posted: alone, while an account gets
// 20,000 deliveries to a thousand destinations at once, and beside these when
// all of them hang.
func TestChaosFairness(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c := newCluster(t, 3)
	hook := newStopwatch(t)
	subscription := func(id, url string) map[string]any {
		return map[string]any{
			"subscriptionId": id, "events": []string{"DELIVERY"},
			"profile": map[string]any{"profileId": id, "webhook": map[string]any{"notifyUrl": url}},
		}
	}
	const path = "/subscriptions/1/subscription/SMS"
	var keys []string
	for i := range healthyAccounts {
		key := c.account(ctx, fmt.Sprintf("fine%d", i))
		keys = append(keys, key)
		if err := c.as(ctx, key, c.nodes[0].api, path, subscription("hook", hook.url+"/in"), nil); err != nil {
			t.Fatal(err)
		}
	}
	hog := c.account(ctx, "hog")
	var makers sync.WaitGroup
	for worker := range 8 {
		makers.Go(func() {
			for i := worker; i < hangingHooks; i += 8 {
				id := fmt.Sprintf("hang%d", i)
				if err := c.as(ctx, hog, c.nodes[0].api, path, subscription(id, hook.url+"/"+id), nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	makers.Wait()

	measure := func(stop <-chan time.Time) []time.Duration {
		hook.take()
		var senders sync.WaitGroup
		tick := time.NewTicker(fairnessGap / healthyAccounts)
		defer tick.Stop()
		sent := 0
		for n := 0; ; n++ {
			select {
			case <-tick.C:
				sent++
				senders.Go(func() {
					var answer any
					in := map[string]any{"channel": "SMS", "event": "DELIVERY", "payload": map[string]any{"at": time.Now().UnixNano()}}
					if err := c.as(ctx, keys[n%len(keys)], c.nodes[n%3].api, "/events/1/events", in, &answer); err != nil {
						t.Error(err)
					}
				})
				continue
			case <-stop:
			}
			senders.Wait()
			last, cancelLast := context.WithTimeout(ctx, 30*time.Second)
			defer cancelLast()
			hook.until(last, func() bool { return len(hook.late) >= sent })
			return hook.take()
		}
	}
	alone := measure(time.After(fairnessRun))
	var backlog []map[string]any
	for range 10 {
		backlog = append(backlog, map[string]any{"channel": "SMS", "event": "DELIVERY", "payload": map[string]any{}})
	}
	allHang := make(chan time.Time)
	go func() {
		defer close(allHang)
		for range 2 {
			if err := c.as(ctx, hog, c.nodes[0].api, "/events/1/events", backlog, nil); err != nil {
				t.Error(err)
			}
		}
		hook.until(ctx, func() bool { return len(hook.hung) == hangingHooks })
	}()
	onset := measure(allHang)
	beside := measure(time.After(fairnessRun))
	hook.mu.Lock()
	hung := 0
	for _, n := range hook.hung {
		hung += n
	}
	hook.mu.Unlock()
	p := func(ds []time.Duration, q float64) time.Duration {
		return ds[int(q*float64(len(ds)-1))].Round(10 * time.Microsecond)
	}
	for _, q := range []float64{0.5, 0.9, 0.99} {
		t.Logf("p%.0f from the post to the arrival: %v alone (%d events), %v beside %d destinations that hang (%d events, %d hanging requests): ratio %.2f",
			100*q, p(alone, q), len(alone), p(beside, q), hangingHooks, len(beside), hung, float64(p(beside, q))/float64(p(alone, q)))
		t.Logf("p%.0f until all of them hung: %v (%d events)", 100*q, p(onset, q), len(onset))
	}
	if len(beside) < len(alone)*9/10 {
		t.Errorf("%d events arrived beside the account that hangs, %d alone", len(beside), len(alone))
	}
}
