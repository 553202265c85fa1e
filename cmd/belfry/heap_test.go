package main

import (
	"runtime/metrics"
	"testing"
)

func TestGCPercent(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{
		0: 100, 1 << 20: 100, heapHeadroom: 100, heapHeadroom + heapHeadroom/2: 66, 2 * heapHeadroom: 50, 5 * heapHeadroom: 20, 1 << 40: 20,
	} {
		if got := gcPercent(live); got != want {
			t.Errorf("with %d bytes live: got %d, want %d", live, got, want)
		}
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		t.Error("the runtime does not tell how much of the heap is live")
	}
}
