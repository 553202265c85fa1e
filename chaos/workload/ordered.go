package workload

import (
	"context"
	"fmt"
	"hash/fnv"

	"example.com/belfry/chaos/history"
)

const (
	orderedRate      = 60 // events per second
	orderedProducers = 4
	orderedKeys      = 4
	orderedBatch     = 5
	orderedBucket    = 10
)

// ordered is W6: events with keys go to a profile that keeps the order of each
// key, and to one that keeps the order of all. A part of the requests fails, so
// that what comes after must wait.
type ordered struct {
	*env
	account Account
	sink    *sink
}

func newOrdered(e *env) Workload { return &ordered{env: e} }

// SetUp implements Workload.
func (w *ordered) SetUp(ctx context.Context) error {
	var err error
	if w.sink, err = w.newSink(ctx, w.behave); err != nil {
		return err
	}
	if w.account, err = w.makeAccount(ctx, "w6", channelSMS, channelMMS); err != nil {
		return err
	}
	c := w.client("setup", 0, false, w.account)
	for channel, ordering := range map[string]string{channelSMS: orderKey, channelMMS: orderStrict} {
		dest := "w6-" + ordering
		p := &history.Profile{URL: w.sink.url(w.account.ID, dest, 0), Bucket: orderedBucket, Ordering: ordering, Schedule: shortSchedule()}
		if err := c.subscribe(ctx, w.account, channel, dest, p, nil); err != nil {
			return err
		}
	}
	return w.settle(ctx, w.account)
}

// behave refuses one request in fifty, by its id, the first time.
func (w *ordered) behave(a history.Arrived) behaviour {
	h := fnv.New32a()
	_, _ = h.Write([]byte(a.WebhookID))
	if a.Attempt <= 1 && h.Sum32()%50 == 0 {
		return behaviour{name: "500x1", status: 500}
	}
	return behaviour{}
}

// Run implements Workload.
func (w *ordered) Run(ctx context.Context) error {
	var producers []func()
	interval := every(2*orderedProducers, w.rate(orderedRate)/orderedBatch)
	for i := range orderedProducers {
		for _, channel := range []string{channelSMS, channelMMS} {
			s := w.stream(w.account, fmt.Sprintf("%s-%d", channel, i+1), i, i%2 == 0, channel)
			s.keys = orderedKeys
			producers = append(producers, func() {
				for s.pace(ctx, interval) {
					s.post(ctx, orderedBatch)
				}
			})
		}
	}
	all(producers...)
	return nil
}
