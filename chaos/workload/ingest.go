package workload

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"example.com/belfry/chaos/history"
)

const (
	ingestAccounts = 3
	ingestRate     = 500 // events per second, unless Options.Ingest says another
	ingestPad      = 100 // bytes, of most events
	ingestBucket   = 100
)

// ingest is W3: events of many producers, under ids of their own, posted
// again when it is not known what became of them. Each account subscribes to
// three channels; one of them shares no requests.
type ingest struct {
	*env
	sink *sink
}

func newIngest(e *env) Workload { return &ingest{env: e} }

// SetUp implements Workload.
func (w *ingest) SetUp(ctx context.Context) error {
	var err error
	if w.sink, err = w.newSink(ctx, nil); err != nil {
		return err
	}
	channels := []string{channelSMS, channelMMS, channelEmail}
	for i := range ingestAccounts {
		a, err := w.makeAccount(ctx, fmt.Sprintf("w3a%d", i+1), channels...)
		if err != nil {
			return err
		}
		c := w.client("setup-"+a.ID, i, false, a)
		for _, ch := range channels {
			dest := a.ID + "-" + ch
			p := &history.Profile{URL: w.sink.url(a.ID, dest, 0), Bucket: ingestBucket, Schedule: shortSchedule()}
			if err := c.subscribe(ctx, a, ch, dest, p, nil); err != nil {
				return err
			}
		}
		if err := w.settle(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// shortSchedule keeps a delivery alive for some minutes of faults: ten waits of
// one second, then of five.
func shortSchedule() []int64 {
	s := make([]int64, 0, 60)
	for range 10 {
		s = append(s, 1)
	}
	for range 50 {
		s = append(s, 5)
	}
	return s
}

// subscribe makes a subscription with a profile of the same name.
func (c *client) subscribe(ctx context.Context, a Account, channel, dest string, p *history.Profile, applications []string) error {
	in := history.Config{
		Account: a.ID, Channel: channel, Profile: p,
		Subscription: &history.Subscription{Events: []string{eventDelivery}, Applications: applications, Profile: dest},
	}
	err := c.insist(ctx, func() answer {
		ans := c.change(ctx, history.SubscriptionCreate, dest, in)
		if ans.code == codeExists {
			ans.outcome = history.OK // by the try before, whose answer was lost
		}
		return ans
	})
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", dest, err)
	}
	return nil
}

// settle brings every node up to date, so that the first events find what SetUp
// made wherever they are posted.
func (e *env) settle(ctx context.Context, a Account) error {
	for i := range e.o.Target.Nodes() {
		c := e.client(fmt.Sprintf("settle-%s-%d", a.ID, i+1), i, true, a)
		for !c.barrier(ctx, a.ID) {
			if !pause(ctx, lastWait) {
				return fmt.Errorf("wait for node %d: %w", i+1, ctx.Err())
			}
		}
	}
	return nil
}

// Run implements Workload.
func (w *ingest) Run(ctx context.Context) error {
	var producers []func()
	accounts, nodes := w.Accounts(), len(w.o.Target.Nodes())
	// Of each account one producer stays at each node, and one goes to another
	// when it is not served: then an id is repeated at another node.
	n := len(accounts) * (nodes + 1)
	batch := w.o.Batch
	if w.o.Rate > 0 { // rare posts of many would come in gusts
		batch = max(1, min(batch, int(w.o.Rate/float64(n))))
	}
	for i, a := range accounts {
		for node := range nodes + 1 {
			ch := []string{channelSMS, channelMMS}[(i+node)%2]
			s := w.stream(a, fmt.Sprintf("%d-%d", i+1, node+1), node+i, node < nodes, ch)
			s.pad = ingestPad
			producers = append(producers, func() { w.produce(ctx, s, batch, n) })
		}
	}
	all(producers...)
	return nil
}

// produce posts batches, and now and then one event by itself or one of the
// channel that shares no requests. It keeps to its share of the rate; after a
// fault it makes up for what it missed for a second, not for all.
func (w *ingest) produce(ctx context.Context, s *stream, batch, producers int) {
	perEvent := time.Duration(float64(producers) / w.rate(cmp.Or(w.o.Ingest, ingestRate)) * float64(time.Second))
	batched := s.channel
	due := time.Now()
	for k := s.rng.IntN(10); ctx.Err() == nil; k++ {
		n := batch
		s.channel = batched
		switch k % 10 {
		case 3:
			n = 1
		case 7:
			s.channel, n = channelEmail, min(batch, 3)
		}
		s.post(ctx, n)
		due = due.Add(time.Duration(n) * perEvent)
		if late := time.Until(due); late > 0 {
			if !pause(ctx, late) {
				return
			}
		} else if late < -time.Second {
			due = time.Now().Add(-time.Second)
		}
	}
}
