package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/index"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

// Defaults of PublisherOptions.
const (
	DefaultIdempotencyWindow = 24 * time.Hour
	DefaultMaxStaleness      = 5 * time.Second
	DefaultGroupDelay        = 2 * time.Millisecond
	DefaultMaxGroupEvents    = 256
	DefaultMaxGroupBytes     = 128 << 10
	DefaultMaxGroups         = 8
	DefaultMaxQueuedEvents   = 32_768
	DefaultMaxQueuedBytes    = 64 << 20
	DefaultProposeTimeout    = 10 * time.Second
)

// Limits of one request. A request is one entry of the log or none, so what it
// fans out to is bounded by what an entry may hold.
const (
	// MaxTargets is how many deliveries the events of one request may come to.
	// It is above the quota of profiles, so one event alone is always taken.
	MaxTargets = 16_384
	// MaxRequestBytes is how large the entry of one request may be: its events
	// with their targets. It is below the limit of a command of the log.
	MaxRequestBytes = 7 << 20
)

// Tables gives the matching table of now. It is index.Index.
type Tables interface {
	Snapshot() *index.Table
}

// PublisherOptions of NewPublisher. NodeID, Index, Proposer and Outbox are
// required.
type PublisherOptions struct {
	NodeID   string
	Index    Tables
	Proposer Proposer
	// Outbox is the local replica; it knows the event ids of before.
	Outbox *outbox.Store

	// Staleness is how old the local config may be; nil: it is never old. A
	// node that was cut off would match against subscriptions of the past, and
	// what matches nothing asks no quorum: it has to refuse instead.
	Staleness    func() time.Duration
	MaxStaleness time.Duration // 0: DefaultMaxStaleness

	Admission Admission
	Tail      Tail // nil: none
	// Accepted is told how many events of an account were taken, those that are
	// known already left out. nil: nobody.
	Accepted func(account string, n int)

	IdempotencyWindow time.Duration // 0: DefaultIdempotencyWindow
	GroupDelay        time.Duration // of a request, for others to join it; 0: DefaultGroupDelay
	MaxGroupEvents    int           // 0: DefaultMaxGroupEvents; a larger request travels alone
	MaxGroupBytes     int           // 0: DefaultMaxGroupBytes; a larger request travels alone
	MaxGroups         int           // on their way at a time; 0: DefaultMaxGroups
	MaxQueuedEvents   int           // taken and not answered; 0: DefaultMaxQueuedEvents
	MaxQueuedBytes    int           // taken and not answered; 0: DefaultMaxQueuedBytes
	ProposeTimeout    time.Duration // 0: DefaultProposeTimeout

	Registerer prometheus.Registerer // nil: none
	Logger     hclog.Logger          // nil: none
}

func (o *PublisherOptions) validate() error {
	switch {
	case o.NodeID == "":
		return errors.New("dispatch: PublisherOptions.NodeID is required")
	case o.Index == nil, o.Proposer == nil, o.Outbox == nil:
		return errors.New("dispatch: PublisherOptions lacks a collaborator")
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&o.MaxStaleness, DefaultMaxStaleness},
		{&o.IdempotencyWindow, DefaultIdempotencyWindow},
		{&o.GroupDelay, DefaultGroupDelay},
		{&o.ProposeTimeout, DefaultProposeTimeout},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
		if *d.v < 0 {
			return errors.New("dispatch: PublisherOptions must not be negative")
		}
	}
	for _, n := range []struct {
		v   *int
		def int
	}{
		{&o.MaxGroupEvents, DefaultMaxGroupEvents},
		{&o.MaxGroupBytes, DefaultMaxGroupBytes},
		{&o.MaxGroups, DefaultMaxGroups},
		{&o.MaxQueuedEvents, DefaultMaxQueuedEvents},
		{&o.MaxQueuedBytes, DefaultMaxQueuedBytes},
		{&o.Admission.AccountRate, DefaultAccountRate},
		{&o.Admission.MaxAccountBacklog, DefaultMaxAccountBacklog},
		{&o.Admission.MaxBacklog, DefaultMaxBacklog},
	} {
		if *n.v == 0 {
			*n.v = n.def
		}
		if *n.v < 0 {
			return errors.New("dispatch: PublisherOptions must not be negative")
		}
	}
	if o.MaxQueuedEvents < event.MaxBatchEvents || o.MaxQueuedBytes < MaxRequestBytes {
		return errors.New("dispatch: PublisherOptions.MaxQueuedEvents and MaxQueuedBytes must have room for one request")
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return nil
}

// Publisher takes events: it matches them, groups them with those of other
// callers, and has the event group keep what is owed.
type Publisher struct {
	opts    PublisherOptions
	log     hclog.Logger
	metrics *publishMetrics
	gate    *turnstile

	more chan struct{} // the queue may have something to start

	mu      sync.Mutex
	stopped bool
	queue   []*submission // not on their way yet
	waiting load          // of queue
	held    load          // of queue and of what is on its way
}

// load is how much there is of something.
type load struct{ events, bytes int }

func (l *load) add(s *submission) {
	l.events += len(s.events)
	l.bytes += s.bytes
}

func (l *load) sub(s *submission) {
	l.events -= len(s.events)
	l.bytes -= s.bytes
}

// submission is the part of a request that the event group has to decide.
type submission struct {
	events      []outbox.AcceptedEvent
	bytes       int
	configIndex uint64
	since       time.Time
	done        chan answer // has room for the one answer
}

type answer struct {
	results []outbox.Result // one per event of the submission
	err     error
}

// NewPublisher checks the options. Nothing is proposed before Run.
func NewPublisher(o PublisherOptions) (*Publisher, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Publisher{
		opts: o, log: o.Logger.Named("publish"), metrics: newPublishMetrics(o.Registerer),
		gate: newTurnstile(o.Admission, owed{o.Outbox}), more: make(chan struct{}, 1),
	}, nil
}

// Publish takes all events, which are of one account, or none. Receipts are in the order of es; they come
// back only after the deliveries are on the disks of a quorum. Errors are
// *model.Error: CodeConflict when an event id that the client gave is known
// with another content (Field is "/<i>/eventId"), CodeTooLarge over MaxTargets
// or MaxRequestBytes, CodeLimit when too much is on its way or owed already
// or comes too fast, CodeUnavailable when nothing was taken, CodeUnknownOutcome when the events
// may still be taken: with ids that the client gave they can be repeated.
func (p *Publisher) Publish(ctx context.Context, es []*event.Event) ([]event.Receipt, error) {
	begin := time.Now()
	receipts, deliveries, err := p.publish(ctx, es)
	p.metrics.seconds.Observe(time.Since(begin).Seconds())
	p.metrics.count(len(es), receipts, deliveries, err)
	if err == nil {
		p.count(es, receipts)
		p.watch(es, receipts)
	}
	return receipts, err
}

// count tells how many events were taken.
func (p *Publisher) count(es []*event.Event, receipts []event.Receipt) {
	if p.opts.Accepted == nil || len(es) == 0 {
		return
	}
	n := 0
	for _, r := range receipts {
		if r.Status == event.Accepted {
			n++
		}
	}
	p.opts.Accepted(es[0].Account, n)
}

// watch shows what was taken to those who follow the live tail.
func (p *Publisher) watch(es []*event.Event, receipts []event.Receipt) {
	if p.opts.Tail == nil || len(es) == 0 || !p.opts.Tail.Wanted(es[0].Account) {
		return
	}
	for i, e := range es {
		if receipts[i].Status != event.Accepted {
			continue
		}
		entry := tailEntry(event.TailAccepted, p.opts.NodeID, e)
		entry.Deliveries = &receipts[i].Deliveries
		p.opts.Tail.Append(e.Account, entry)
	}
}

// Current returns nil while what events are matched against is not too old,
// else CodeUnavailable: then nothing is taken.
func (p *Publisher) Current() error {
	if p.opts.Staleness != nil && p.opts.Staleness() > p.opts.MaxStaleness {
		return unavailable("this node has not heard from the cluster lately, so its subscriptions may be out of date")
	}
	return nil
}

// publish returns also how many deliveries were made.
func (p *Publisher) publish(ctx context.Context, es []*event.Event) ([]event.Receipt, int, error) {
	if ctx.Err() != nil {
		return nil, 0, unavailable("the request ended before its events were looked at").WithCause(ctx.Err())
	}
	if err := p.Current(); err != nil {
		return nil, 0, err
	}
	if len(es) > 0 {
		if err := p.gate.admit(es[0].Account, len(es)); err != nil {
			return nil, 0, err
		}
	}
	q, err := p.match(es)
	if err != nil {
		return nil, 0, err
	}
	if len(q.propose.events) == 0 {
		return q.receipts, 0, nil // nothing is owed and nothing was known: nothing is written
	}
	// INV publish-4: a receipt follows the answer of the event group, which
	// comes after a quorum has the events on disk.
	results, err := p.submit(ctx, q.propose)
	if err != nil {
		return nil, 0, err
	}
	deliveries, err := q.settle(results)
	if err != nil {
		return nil, 0, err
	}
	return q.receipts, deliveries, nil
}

func unavailable(text string) *model.Error {
	return &model.Error{Code: model.CodeUnavailable, Message: text, RetryAfter: 1}
}
