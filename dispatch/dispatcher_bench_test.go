package dispatch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/belfry/dispatch/attemptlog"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// noHistory is an attempt log that forgets.
type noHistory struct{}

func (noHistory) Record(*event.Event, attemptlog.Entry) {}
func (noHistory) Lookup(string, string) (event.Record, bool, error) {
	return event.Record{}, false, nil
}

// steadySender answers well after the time that a receiver takes.
type steadySender struct{ delay time.Duration }

func (s steadySender) Send(context.Context, *webhook.Request) webhook.Result {
	began := time.Now()
	if s.delay > 0 {
		time.Sleep(s.delay)
	}
	return webhook.Result{Class: webhook.ClassOK, StatusCode: 200, Started: began, Duration: time.Since(began)}
}

// BENCH: go test -run '^$' -bench Dispatch -benchtime 200000x ./dispatch
// A backlog of 1 KiB events is delivered: in requests of 100 or of one, to some
// destinations, where a commit takes a while. Three replicas apply, on this
// goroutine's account, and do not flush: no disk is measured.
func BenchmarkDispatch(b *testing.B) {
	for _, bucket := range []int{100, 1} {
		for _, destinations := range []int{1, 16} {
			for _, commit := range []time.Duration{0, 2 * time.Millisecond, 10 * time.Millisecond} {
				name := fmt.Sprintf("bucket=%d/destinations=%d/commit=%v", bucket, destinations, commit)
				b.Run(name, func(b *testing.B) { benchmarkDispatch(b, bucket, destinations, commit) })
			}
		}
	}
}

func benchmarkDispatch(b *testing.B, bucket, destinations int, commit time.Duration) {
	b.Helper()
	group, config := &fakeGroup{}, newFakeConfig("n1")
	for range 3 {
		group.stores = append(group.stores, openOutbox(b))
	}
	o := DispatcherOptions{
		NodeID: "n1", Outbox: group.stores[0], Attempts: noHistory{}, Sender: steadySender{time.Millisecond}, Resolver: config,
		Subscriptions: config, Lease: config, Ownership: config, Proposer: group,
	}
	if commit > 0 {
		o.Proposer = pipe{group, commit}
	}
	for i := range destinations {
		id := fmt.Sprint("p", i)
		config.profiles["acme/"+id] = model.Profile{
			Account: "acme", ID: id, URL: "https://" + id + ".example.org/hook", MaxBucketSize: bucket, WindowSize: 50,
		}
	}
	payload := make([]byte, 1024)
	for n := 0; n < b.N; n += 500 {
		c := &outbox.Accept{At: time.Now(), NodeID: "n1", ConfigIndex: 1}
		for i := n; i < min(b.N, n+500); i++ {
			e := batching(string(payload))
			e.Account, e.ID = "acme", fmt.Sprintf("0198f2c4-6f0a-7000-8000-%012d", i)
			p := i % destinations
			c.Events = append(c.Events, outbox.AcceptedEvent{
				Event: e, Request: i, Digest: sha256.Sum256(e.Payload),
				Targets: []outbox.Target{{
					DeliveryID: fmt.Sprintf("0198f2c4-6f0a-7001-8000-%012d", i), Partition: p, ProfileID: fmt.Sprint("p", p),
					SubscriptionIDs: []string{"s"},
				}},
			})
		}
		if _, _, err := group.Propose(b.Context(), outbox.Encode(c)); err != nil {
			b.Fatal(err)
		}
	}
	d, err := NewDispatcher(o)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	for _, s := range group.stores {
		if err := s.Flush(); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	b.ReportAllocs()
	b.ResetTimer()
	began := usedCPU(b)
	running.Go(func() { _ = d.Run(ctx) })
	for group.stores[0].Stats().Pending > 0 {
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(float64((usedCPU(b)-began).Microseconds())/float64(b.N), "cpu-µs/delivery")
	cancel()
	running.Wait()
}

// usedCPU is what this process has used of the processors: unlike the time that
// passes it does not depend on who else uses them.
func usedCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
