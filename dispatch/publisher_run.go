package dispatch

import (
	"context"
	"slices"
	"sync"
	"time"

	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

// maxProposals is how often a group is proposed at most while its outcome is
// unknown: once more after a change of the leader, and once for another change
// right after it.
const maxProposals = 3

// submit waits for the answer of the event group, or the end of ctx.
func (p *Publisher) submit(ctx context.Context, s *submission) ([]outbox.Result, error) {
	s.done = make(chan answer, 1)
	if err := p.enqueue(s); err != nil {
		return nil, err
	}
	select {
	case a := <-s.done:
		return a.results, a.err
	case <-ctx.Done():
	}
	if p.withdraw(s) {
		return nil, unavailable("the request ended before its events were on their way").WithCause(ctx.Err())
	}
	// The events are on their way together with those of other callers, so
	// they go on without this one.
	select {
	case a := <-s.done:
		return a.results, a.err
	default:
		return nil, model.Errorf(model.CodeUnknownOutcome,
			"the request ended before its outcome was known; events with an eventId of yours may be sent again").WithCause(ctx.Err())
	}
}

// enqueue puts s into the queue.
//
// INV publish-6: what is taken and not answered is bounded; over the limit
// nothing of a request is taken.
func (p *Publisher) enqueue(s *submission) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.stopped:
		return errStopping
	case p.held.events+len(s.events) > p.opts.MaxQueuedEvents, p.held.bytes+s.bytes > p.opts.MaxQueuedBytes:
		e := model.Errorf(model.CodeLimit, "this node has as many events on their way as it may; send them again a little later")
		e.RetryAfter = 1
		return e
	}
	p.queue = append(p.queue, s)
	p.waiting.add(s)
	p.held.add(s)
	p.metrics.queued.Set(float64(p.held.events))
	if len(p.queue) == 1 || p.full() {
		select {
		case p.more <- struct{}{}:
		default:
		}
	}
	return nil
}

var errStopping = unavailable("this node is stopping")

// withdraw takes s out of the queue, unless it is on its way.
//
// INV publish-5: what is answered CodeUnavailable was not proposed.
func (p *Publisher) withdraw(s *submission) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.queue, s)
	if i < 0 {
		return false
	}
	p.queue = slices.Delete(p.queue, i, i+1)
	p.waiting.sub(s)
	p.release(s)
	return true
}

func (p *Publisher) release(s *submission) {
	p.held.sub(s)
	p.metrics.queued.Set(float64(p.held.events))
}

// full reports whether the queue fills a group.
func (p *Publisher) full() bool {
	return p.waiting.events >= p.opts.MaxGroupEvents || p.waiting.bytes >= p.opts.MaxGroupBytes
}

// Run groups what is published and proposes it, until ctx ends. Then it waits
// for the groups that are on their way, refuses the rest with CodeUnavailable,
// and returns nil.
//
// Grouping is a group commit: while nothing is on its way a request leaves at
// once. Otherwise it waits for the next group to be full, for the one before
// it to land, or for GroupDelay, so that a slow disk is kept busy with several
// groups and a fast one sees few.
func (p *Publisher) Run(ctx context.Context) error {
	// Groups on their way outlive ctx: other nodes may have them already.
	proposeCtx := context.WithoutCancel(ctx)
	landed := make(chan struct{}, p.opts.MaxGroups)
	var flights sync.WaitGroup
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for onWay := 0; ctx.Err() == nil; {
		group, wait := p.next(onWay)
		if group != nil {
			onWay++
			flights.Go(func() {
				p.propose(proposeCtx, group)
				landed <- struct{}{}
			})
			continue
		}
		if wait >= 0 {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
		case <-p.more:
		case <-landed:
			onWay--
		case <-timer.C:
		}
	}
	p.refuse()
	flights.Wait()
	return nil
}

// next takes the next group from the queue, or says how long to wait before
// looking again without being told; negative: for ever.
func (p *Publisher) next(onWay int) (group []*submission, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 || onWay >= p.opts.MaxGroups {
		return nil, -1
	}
	if onWay > 0 && !p.full() {
		if wait := p.opts.GroupDelay - time.Since(p.queue[0].since); wait > 0 {
			return nil, wait
		}
	}
	var size load
	n := 0
	for ; n < len(p.queue); n++ {
		s := p.queue[n]
		size.add(s)
		// A request is never parted, so a large one is a group alone.
		if n > 0 && (size.events > p.opts.MaxGroupEvents || size.bytes > p.opts.MaxGroupBytes) {
			break
		}
		p.waiting.sub(s)
	}
	group = slices.Clone(p.queue[:n])
	p.queue = slices.Delete(p.queue, 0, n)
	return group, 0
}

// refuse ends the queue.
func (p *Publisher) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	for _, s := range p.queue {
		s.done <- answer{err: errStopping}
		p.release(s)
	}
	p.queue, p.waiting = nil, load{}
}

// propose has the event group decide a group of requests, and tells their
// callers.
func (p *Publisher) propose(ctx context.Context, group []*submission) {
	ctx, cancel := context.WithTimeout(ctx, p.opts.ProposeTimeout)
	defer cancel()
	c := &outbox.Accept{At: time.Now(), NodeID: p.opts.NodeID}
	for n, s := range group {
		// The newest index stands for all: a config that is to judge the
		// targets must be as new as what any of them was matched at.
		c.ConfigIndex = max(c.ConfigIndex, s.configIndex)
		for i := range s.events {
			s.events[i].Request = n
		}
		c.Events = append(c.Events, s.events...)
	}
	p.metrics.group.Observe(float64(len(c.Events)))
	resp, err := p.decide(ctx, c)
	var results []outbox.Result
	if err == nil {
		if results, err = outbox.DecodeResults(resp); err == nil && len(results) != len(c.Events) {
			results = nil
			err = model.Errorf(model.CodeUnknownOutcome, "the outcome is not known: the answer does not fit the events")
		}
	}
	err = p.outcome(err)

	p.mu.Lock()
	for _, s := range group {
		p.release(s)
	}
	p.mu.Unlock()
	for _, s := range group {
		a := answer{err: err}
		if err == nil {
			a.results, results = results[:len(s.events)], results[len(s.events):]
		}
		s.done <- a
	}
}

// decide proposes a group and gives the answer of the event group. A proposal
// whose outcome is unknown, as when the leader fell silent with it, is made
// again if all its events have ids of the client: those are not taken twice.
// Others could be, when they were delivered in the meantime. With an index it is
// known to be taken, only not what the answer was.
func (p *Publisher) decide(ctx context.Context, c *outbox.Accept) ([]byte, error) {
	index, resp, err := p.opts.Proposer.Propose(ctx, outbox.Encode(c))
	for n := 1; n < maxProposals && model.CodeOf(err) == model.CodeUnknownOutcome && index == 0 && repeatable(c) && ctx.Err() == nil; n++ {
		unknown := err
		if index, resp, err = p.opts.Proposer.Propose(ctx, outbox.Encode(c)); model.CodeOf(err) == model.CodeUnavailable {
			return nil, unknown // INV publish-5: the proposal before may be taken
		}
	}
	return resp, err
}

// repeatable reports whether applying c once more changes nothing.
func repeatable(c *outbox.Accept) bool {
	return !slices.ContainsFunc(c.Events, func(e outbox.AcceptedEvent) bool { return !e.Event.GivenID })
}

// outcome turns the error of a proposal into what callers are told. What is
// not known to have failed is an unknown outcome.
func (p *Publisher) outcome(err error) error {
	switch model.CodeOf(err) { //nolint:exhaustive // everything else is not known to have failed
	case "", model.CodeUnavailable, model.CodeUnknownOutcome:
		return err
	default:
		p.log.Error("a group of events got an answer that does not belong to it", "error", err)
		return model.Errorf(model.CodeUnknownOutcome, "the outcome is not known").WithCause(err)
	}
}
