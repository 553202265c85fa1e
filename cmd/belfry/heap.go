package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// heapHeadroom is how much garbage the heap may hold beside what is live. Go
	// lets it be as much as what is live, so with a backlog of millions a node
	// would take twice the memory that it needs.
	heapHeadroom = 64 << 20
	heapInterval = 2 * time.Second
	// The collector runs no rarer than Go has it, and no more often than it can
	// bear.
	maxGCPercent = 100
	minGCPercent = 20
)

// gcPercent is the growth of the heap over what is live, in percent, at which
// the collector runs next.
func gcPercent(live uint64) int {
	if live == 0 {
		return maxGCPercent
	}
	return int(max(minGCPercent, min(maxGCPercent, 100*heapHeadroom/live)))
}

// paceHeap keeps the garbage within heapHeadroom until ctx ends. It does
// nothing where the operator has set GOGC.
func paceHeap(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	tick := time.NewTicker(heapInterval)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for now := maxGCPercent; ; {
		metrics.Read(sample)
		if p := gcPercent(sample[0].Value.Uint64()); p != now {
			debug.SetGCPercent(p)
			now = p
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
