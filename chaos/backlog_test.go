//go:build chaos

package chaos

import (
	"context"
	"slices"
	"testing"
	"time"
)

const (
	backlogEvents  = 1_000_000
	backlogPayload = 1000 // with its envelope about 1 KiB
	healthyEvents  = 100_000
	// healthyRuns is how often the healthy throughput is taken before the backlog,
	// beside it and after it; medians are compared.
	healthyRuns = 3

	// maxBacklogMiB is what a node may hold with the backlog, beside the pages of
	// its files. An event id that a client gave is remembered in memory, whether
	// there is a backlog or not: that is what idsMiB is for.
	maxBacklogMiB = 300
	idsMiB        = 100
)

// TestChaosBacklog piles up a million events of 1 KiB behind a destination that
// is down: memory, the throughput of a healthy destination beside it, the
// restart of a node, and how fast the backlog drains when it heals.
func TestChaosBacklog(t *testing.T) {
	t.Run("idsOfNodes", func(t *testing.T) { testBacklog(t, false, maxBacklogMiB) })
	t.Run("idsOfClients", func(t *testing.T) { testBacklog(t, true, maxBacklogMiB+idsMiB) })
}

func testBacklog(t *testing.T, ids bool, limit int) {
	t.Helper()
	backlog := volume(t, backlogEvents)
	ctx, cancel := context.WithTimeout(context.Background(), 14*time.Minute)
	defer cancel()
	c := newCluster(t, 3, "--account-event-rate", "1000000")
	// SMS goes to the destination that is down, MMS to the healthy one.
	dead, healthy := newLedger(t, backlog), newLedger(t, (1+3*healthyRuns)*healthyEvents)
	dead.down.Store(true)
	knobs := map[string]any{"windowSize": 50, "retry": map[string]any{"policy": "custom", "schedule": []int{5, 5, 10, 10, 30, 60, 60, 60, 60, 60, 60, 60}}}
	c.subscribe(ctx, "SMS", "down", dead.url, knobs)
	c.subscribe(ctx, "MMS", "up", healthy.url, knobs)

	sent := 0
	throughput := func(runs int, when string) (rates []float64) {
		t.Helper()
		for range runs {
			began := time.Now()
			if err := c.stream(ctx, "MMS", sent, sent+healthyEvents, backlogPayload, ids, 0); err != nil {
				t.Fatal(err)
			}
			sent += healthyEvents
			if err := healthy.until(ctx, sent); err != nil {
				t.Fatal(err)
			}
			rate := healthyEvents / time.Since(began).Seconds()
			t.Logf("healthy destination, %s: %.0f/s", when, rate)
			rates = append(rates, rate)
		}
		return rates
	}
	throughput(1, "new files, not counted")
	without := throughput(healthyRuns, "before the backlog")
	began := time.Now()
	if err := c.stream(ctx, "SMS", 0, backlog, backlogPayload, ids, 0); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events of 1 KiB piled up at %.0f/s", backlog, float64(backlog)/time.Since(began).Seconds())
	beside := median(throughput(healthyRuns, "beside the backlog"))
	for _, p := range c.nodes {
		resident, own := p.memory()
		t.Logf("%s: %d MiB resident, %d MiB of them its own and not pages of files", p.id, resident>>10, own>>10)
		if own>>10 > limit {
			t.Errorf("%s holds %d MiB, want at most %d", p.id, own>>10, limit)
		}
	}
	restartWithBacklog(ctx, t, c.nodes[1])

	dead.down.Store(false)
	if err := dead.until(ctx, 1); err != nil {
		t.Fatal(err)
	}
	first := time.Now()
	if err := dead.until(ctx, backlog); err != nil {
		t.Fatal(err)
	}
	drain := float64(backlog) / time.Since(first).Seconds()
	usual := median(append(without, throughput(healthyRuns, "after the backlog")...))
	t.Logf("beside the backlog the healthy throughput is %.2f of that without it", beside/usual)
	if beside < 0.9*usual {
		t.Errorf("beside the backlog the healthy throughput is %.2f of that without, want at least 0.9", beside/usual)
	}
	t.Logf("the backlog drained at %.0f/s: ratio %.2f to the healthy throughput without it", drain, drain/usual)
	if drain < 0.8*usual {
		t.Errorf("the backlog drained at %.2f of the normal rate, want at least 0.8", drain/usual)
	}
}

// restartWithBacklog kills a node and starts it again.
func restartWithBacklog(ctx context.Context, t *testing.T, p *process) {
	t.Helper()
	p.kill()
	began := time.Now()
	p.start()
	p.ready(ctx)
	ready := time.Since(began)
	t.Logf("a node with the backlog is ready %v after its start", ready.Round(time.Millisecond))
	if ready > 10*time.Second {
		t.Errorf("ready after %v, want at most 10 s", ready)
	}
}

// median is the middle one, or the mean of the two in the middle.
func median(of []float64) float64 {
	s := slices.Sorted(slices.Values(of))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
