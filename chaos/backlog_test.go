//go:build chaos

package chaos

import (
	"context"
	"testing"
	"time"
)

const (
	backlogEvents  = 1_000_000
	backlogPayload = 1000 // with its envelope about 1 KiB
	healthyEvents  = 100_000
)

// TestChaosBacklog piles up a million events of 1 KiB behind a destination that
// is down: memory, the throughput of a healthy destination beside it, the
// restart of a node, and how fast the backlog drains when it heals.
func TestChaosBacklog(t *testing.T) {
	backlog := volume(t, backlogEvents)
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	c := newCluster(t, 3, "--account-event-rate", "1000000")
	// SMS goes to the destination that is down, MMS to the healthy one.
	dead, healthy := newLedger(t, backlog), newLedger(t, 2*healthyEvents)
	dead.down.Store(true)
	knobs := map[string]any{"windowSize": 50, "retry": map[string]any{"policy": "custom", "schedule": []int{5, 5, 10, 10, 30, 60, 60, 60, 60, 60, 60, 60}}}
	c.subscribe(ctx, "SMS", "down", dead.url, knobs)
	c.subscribe(ctx, "MMS", "up", healthy.url, knobs)

	throughput := func(from int) float64 {
		t.Helper()
		began := time.Now()
		if err := c.stream(ctx, "MMS", from, from+healthyEvents, backlogPayload, false, 0); err != nil {
			t.Fatal(err)
		}
		if err := healthy.until(ctx, from+healthyEvents); err != nil {
			t.Fatal(err)
		}
		return healthyEvents / time.Since(began).Seconds()
	}
	before := throughput(0)
	began := time.Now()
	if err := c.stream(ctx, "SMS", 0, backlog, backlogPayload, false, 0); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events of 1 KiB piled up at %.0f/s", backlog, float64(backlog)/time.Since(began).Seconds())
	beside := throughput(healthyEvents)
	for _, p := range c.nodes {
		resident, own := p.memory()
		t.Logf("%s: %d MiB resident, %d MiB of them its own and not pages of files", p.id, resident>>10, own>>10)
		if own>>10 > 300 {
			t.Errorf("%s holds %d MiB, want at most 300", p.id, own>>10)
		}
	}
	t.Logf("healthy destination: %.0f/s without backlog, %.0f/s with: ratio %.2f", before, beside, beside/before)
	if beside < 0.9*before {
		t.Errorf("beside the backlog the healthy throughput is %.2f of what it was, want at least 0.9", beside/before)
	}

	victim := c.nodes[1]
	victim.kill()
	restart := time.Now()
	victim.start()
	victim.ready(ctx)
	ready := time.Since(restart)
	t.Logf("a node with the backlog is ready %v after its start", ready.Round(time.Millisecond))
	if ready > 10*time.Second {
		t.Errorf("ready after %v, want at most 10 s", ready)
	}

	dead.down.Store(false)
	if err := dead.until(ctx, 1); err != nil {
		t.Fatal(err)
	}
	first := time.Now()
	if err := dead.until(ctx, backlog); err != nil {
		t.Fatal(err)
	}
	drain := float64(backlog) / time.Since(first).Seconds()
	t.Logf("the backlog drained at %.0f/s: ratio %.2f to the healthy throughput without backlog", drain, drain/before)
	if drain < 0.8*before {
		t.Errorf("the backlog drained at %.2f of the normal rate, want at least 0.8", drain/before)
	}
}
