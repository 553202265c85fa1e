package dispatch

import (
	"context"
	"fmt"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
)

// pipe answers each proposal after the time a quorum takes, however many are
// on their way.
type pipe struct {
	Proposer
	delay time.Duration
}

func (p pipe) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	time.Sleep(p.delay)
	return p.Proposer.Propose(ctx, cmd)
}

// BENCH: go test -run '^$' -bench Publish -benchtime 2s ./dispatch
// delay is what the event group takes; clients publish one event at a time.
func BenchmarkPublish(b *testing.B) {
	for _, delay := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond} {
		for _, clients := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("delay=%v/clients=%d", delay, clients), func(b *testing.B) {
				d := newDesk(b)
				d.opts.Proposer = d.group
				if delay > 0 {
					d.opts.Proposer = pipe{d.group, delay}
				}
				d.subscribe("s1", "p1")
				d.start()
				defer d.stop()
				payload := string(make([]byte, 1024))
				b.ReportAllocs()
				b.SetParallelism((clients + 1) / 2)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := d.p.Publish(b.Context(), []*event.Event{sms("DELIVERY", "", payload)}); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}
