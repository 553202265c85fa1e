package dispatch

import (
	"context"
	"time"

	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

// Run claims the partitions that the table gives this node and delivers what
// they owe, until ctx ends. Then it starts nothing new, waits DrainTimeout at
// most for requests in flight, settles what came of them, and returns nil.
// What could not be settled in time is sent again by the next owner.
func (d *Dispatcher) Run(ctx context.Context) error {
	// Requests and settlements outlive ctx for a while: see drain.
	sendCtx, cancelSend := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelSend()
	settleCtx, cancelSettle := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelSettle()

	in := make(chan finding, d.opts.MaxUnsettled+model.MaxMaxBucketSize)
	left := make(chan int, 1)
	st := &settler{
		proposer: d.opts.Proposer, metrics: d.metrics, warn: d.log.Warn, in: in,
		done: func(g settledGroup) {
			select {
			case d.settled <- g:
			case <-settleCtx.Done():
			}
		},
	}
	go func() { left <- st.run(settleCtx) }()

	s := newScheduler(sendCtx, d, in)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	s.reassign(ctx)
	for ctx.Err() == nil {
		if wait := s.schedule(); wait >= 0 {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
		case <-d.opts.Outbox.Work():
			s.fresh()
		case <-d.opts.Ownership.Changed():
			s.reassign(ctx)
		case c := <-d.claimed:
			s.own(c)
		case a := <-d.results:
			s.finish(a)
		case g := <-d.settled:
			s.answered(g)
		case <-d.wake:
			s.wakeHeld()
		case f := <-d.asks:
			f(s)
		case <-timer.C:
		}
	}
	s.drain(in, left, cancelSend, cancelSettle)
	return nil
}

// drain ends a Run in order: requests, then settlements, then ownership. What
// waits for its bundle does not start any more: no quorum may be there to answer.
func (s *scheduler) drain(in chan finding, left <-chan int, cancelSend, cancelSettle context.CancelFunc) {
	s.claims.Wait()
	for a := range s.bundling {
		s.unbundle(a)
		s.giveUp(a.request.deliveries)
	}
	timeout := time.NewTimer(s.d.opts.DrainTimeout)
	defer timeout.Stop()
	for s.all.used > 0 {
		select {
		case a := <-s.d.results:
			s.finish(a)
		case g := <-s.d.settled:
			s.answered(g)
		case <-timeout.C:
			s.d.log.Warn("requests in flight did not end in time and are cut off", "requests", s.all.used)
			cancelSend()
		}
	}
	s.sends.Wait()
	close(in)
	timeout.Reset(s.d.opts.DrainTimeout)
	for running := true; running; {
		select {
		case g := <-s.d.settled:
			s.answered(g)
		case n := <-left:
			if n > 0 {
				s.d.log.Warn("outcomes could not be settled before the stop; those deliveries are sent again", "settlements", n)
			}
			running = false
		case <-timeout.C:
			cancelSettle()
		}
	}
	for p := range s.owned {
		s.lose(p)
	}
	s.d.hooks.Wait()
}

// reassign compares the partition table with what this node has.
func (s *scheduler) reassign(ctx context.Context) {
	table := s.d.opts.Ownership.Table()
	for p, slot := range table.Slots {
		have := s.owned[p]
		mine := slot.Owner == s.d.opts.NodeID
		if have != nil && (!mine || have.epoch != slot.Epoch) {
			s.lose(p)
			have = nil
		}
		if mine && have == nil {
			claimCtx, cancel := context.WithCancel(ctx)
			s.owned[p] = &ownedPartition{epoch: slot.Epoch, cancel: cancel}
			s.claims.Go(func() { s.d.claim(claimCtx, p, slot.Epoch) })
		}
	}
}

// claim raises the epoch in the event group. When it returns without error
// this node has applied all that owners before have settled.
func (d *Dispatcher) claim(ctx context.Context, partition int, epoch uint64) {
	c := claim{partition: partition, epoch: epoch}
	cmd := outbox.Encode(&outbox.Claim{Partition: partition, Owner: d.opts.NodeID, Epoch: epoch})
	for {
		_, resp, err := d.opts.Proposer.Propose(ctx, cmd)
		if model.CodeOf(err) == model.CodeConflict {
			// The event group has seen a newer table than this node.
			d.log.Info("a partition was claimed by its next owner already", "partition", partition, "epoch", epoch, "error", err)
			return
		}
		var before uint64
		if err == nil {
			before, err = outbox.DecodeClaimed(resp)
		}
		if err == nil {
			c.inherited = before > 0
			break
		}
		if ctx.Err() != nil {
			return
		}
		d.log.Debug("a partition cannot be claimed yet", "partition", partition, "epoch", epoch, "error", err)
		if !sleep(ctx, claimBackoff) {
			return
		}
	}
	select {
	case d.claimed <- c:
	case <-ctx.Done():
	}
}

// own starts the lanes of a partition that was claimed.
func (s *scheduler) own(c claim) {
	o := s.owned[c.partition]
	if o == nil || o.epoch != c.epoch || o.claimed {
		return
	}
	o.claimed = true
	for _, k := range s.d.opts.Outbox.Watch(c.partition) {
		l := s.lane(k)
		l.inherited = c.inherited
		s.makeReady(l)
	}
	s.countPartitions()
}

// lose lets go of a partition.
func (s *scheduler) lose(p int) {
	s.halt(p)
	s.owned[p].cancel()
	delete(s.owned, p)
	s.countPartitions()
}

// outdone is told that outcomes of a partition were refused because somebody
// has claimed it with a later epoch. This node is about to hear so; until the
// table says it, nothing that it sends can be settled.
//
// INV dispatch-14: after a refusal by its epoch a partition is served no more
// until the table gives it another one.
func (s *scheduler) outdone(p int, epoch uint64) {
	if o := s.owned[p]; o != nil && o.claimed && o.epoch == epoch {
		s.d.log.Info("a partition was claimed by its next owner already", "partition", p, "epoch", epoch)
		s.halt(p)
		s.countPartitions()
	}
}

// halt stops the lanes of a partition. What is in flight ends by itself; its
// settlement is accepted or refused by its epoch.
func (s *scheduler) halt(p int) {
	o := s.owned[p]
	for k, l := range s.lanes {
		if k.Partition != p {
			continue
		}
		for i := range l.queue {
			delete(s.have, l.queue[i].ID)
		}
		s.setQueue(l, nil)
		s.forget(l)
	}
	if o.claimed {
		s.d.opts.Outbox.Unwatch(p)
	}
	o.claimed = false
}

func (s *scheduler) countPartitions() {
	n := 0
	for _, o := range s.owned {
		if o.claimed {
			n++
		}
	}
	s.d.metrics.partitions.Set(float64(n))
	s.d.metrics.lanes.Set(float64(len(s.lanes)))
}
