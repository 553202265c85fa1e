package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/dispatch/attemptlog"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// Defaults of DispatcherOptions.
const (
	DefaultMaxInFlight  = 1024
	DefaultMaxUnsettled = 16_384
	DefaultDrainTimeout = 20 * time.Second
)

const (
	// holdRecheck is how often a lane that is held (profile disabled) looks
	// again by itself; a config change makes it look at once.
	holdRecheck = 5 * time.Second
	// leaseRecheck is how often ready work looks for a lease.
	leaseRecheck = 50 * time.Millisecond
	// behindRecheck is how often work looks whether the local config has
	// caught up with the one it was matched at.
	behindRecheck = 20 * time.Millisecond
	claimBackoff  = 200 * time.Millisecond
)

// Sender makes one attempt. It is webhook.Sender.
type Sender interface {
	Send(ctx context.Context, r *webhook.Request) webhook.Result
}

// Resolver reads the current config.
type Resolver interface {
	// Resolve joins the profile with its credentials. CodeNotFound: the
	// profile is gone; any other error: it cannot be used as configured.
	Resolve(account, profileID string) (*webhook.Destination, error)
	// Profile returns the profile's knobs. CodeNotFound: it is gone.
	Profile(account, profileID string) (model.Profile, error)
}

// Subscriptions says which subscriptions are left. It is index.Index.
type Subscriptions interface {
	// Alive reports whether one of the subscriptions exists.
	Alive(account, channel string, subscriptionIDs []string) bool
	// ConfigIndex is the config state that Alive, and no older one the
	// Resolver, answers from.
	ConfigIndex() uint64
}

// Lease says whether this node may start attempts: it has heard from the
// leader so lately that nobody else owns its partitions.
type Lease interface {
	Lease() (valid bool, until time.Time)
}

// Ownership is the partition table.
type Ownership interface {
	Table() model.PartitionTable
	// Changed has a value whenever Table may answer differently than before.
	Changed() <-chan struct{}
}

// Attempts takes the history. It is attemptlog.Log.
type Attempts interface {
	Record(ev *event.Event, e attemptlog.Entry)
	Lookup(account, eventID string) (event.Record, bool, error)
}

// Figures counts what was attempted. It is stats.Recorder.
type Figures interface {
	Attempt(account, profileID, class string, took time.Duration)
	Deliveries(account, profileID string, status event.Status, n int)
}

// Tail shows what happens while it happens. It is tail.Ring. Neither method
// blocks.
type Tail interface {
	// Wanted reports whether anybody follows the account: if not, entries need
	// not be made.
	Wanted(account string) bool
	Append(account string, e event.TailEntry)
}

// DispatcherOptions of NewDispatcher. All interfaces, Outbox and NodeID are
// required.
type DispatcherOptions struct {
	NodeID        string
	Outbox        *outbox.Store
	Attempts      Attempts
	Sender        Sender
	Resolver      Resolver
	Subscriptions Subscriptions
	Lease         Lease
	Ownership     Ownership
	Proposer      Proposer

	// OnGone is called when a receiver answered 410: the node disables the
	// profile. It runs on a goroutine of its own and may block for a while; Run
	// waits for it. nil: nothing.
	OnGone func(account, profileID string)
	// OnNotice is given what an account may want to know. It must not block.
	// nil: nothing is told.
	OnNotice func(n Notice)

	Figures Figures // nil: none
	Tail    Tail    // nil: none

	MaxInFlight  int           // requests at a time; 0: DefaultMaxInFlight
	MaxUnsettled int           // deliveries in flight or not settled; 0: DefaultMaxUnsettled
	DrainTimeout time.Duration // for requests in flight at the stop, then as long for settling; 0: DefaultDrainTimeout

	Registerer prometheus.Registerer // nil: none
	Logger     hclog.Logger          // nil: none
	// Jitter returns a value from -1 to 1; nil: random.
	Jitter func() float64
}

func (o *DispatcherOptions) validate() error {
	switch {
	case o.NodeID == "":
		return errors.New("dispatch: DispatcherOptions.NodeID is required")
	case o.Outbox == nil, o.Attempts == nil, o.Sender == nil, o.Resolver == nil, o.Subscriptions == nil,
		o.Lease == nil, o.Ownership == nil, o.Proposer == nil:
		return errors.New("dispatch: DispatcherOptions lacks a collaborator")
	case o.MaxInFlight < 0, o.MaxUnsettled < 0, o.DrainTimeout < 0:
		return errors.New("dispatch: DispatcherOptions must not be negative")
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = DefaultMaxInFlight
	}
	if o.MaxUnsettled == 0 {
		o.MaxUnsettled = DefaultMaxUnsettled
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = DefaultDrainTimeout
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Jitter == nil {
		o.Jitter = randomJitter
	}
	return nil
}

// Dispatcher sends what the partitions of this node owe.
//
// One goroutine, in Run, owns the lanes and decides what starts next; each
// request has a goroutine of its own; one more settles the outcomes.
type Dispatcher struct {
	opts    DispatcherOptions
	log     hclog.Logger
	metrics *Metrics

	wake    chan struct{} // the config changed
	asks    chan func(*scheduler)
	claimed chan claim
	results chan *attempt
	settled chan settledGroup
	hooks   sync.WaitGroup
}

// claim is a partition this node has claimed in the event group.
type claim struct {
	partition int
	epoch     uint64
	inherited bool // somebody had claimed it before, perhaps this node
}

// settledGroup is the answer to a command of the settler.
type settledGroup struct {
	settlements []outbox.Settlement
	bundled     []*attempt
	verdicts    []outbox.Verdict // on the settlements, then on the bundles
}

// NewDispatcher checks the options. Nothing runs before Run.
func NewDispatcher(o DispatcherOptions) (*Dispatcher, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Dispatcher{
		opts: o, log: o.Logger.Named("dispatch"), metrics: NewMetrics(o.Registerer),
		wake:    make(chan struct{}, 1),
		asks:    make(chan func(*scheduler)),
		claimed: make(chan claim),
		results: make(chan *attempt, o.MaxInFlight),
		settled: make(chan settledGroup),
	}, nil
}

// ConfigChanged makes held lanes look at the config again. It never blocks,
// so an observer may call it on the apply goroutine.
func (d *Dispatcher) ConfigChanged() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Lookup is what this node knows of an event: what is owed, from the
// replicated state, and what this node attempted, from its log.
func (d *Dispatcher) Lookup(account, eventID string) (event.Record, bool) {
	rec, found, err := d.opts.Attempts.Lookup(account, eventID)
	if err != nil {
		d.log.Error("the attempt log cannot be searched", "error", err)
		rec, found = event.Record{}, false
	}
	owed, err := d.opts.Outbox.Event(account, eventID)
	if err != nil {
		d.log.Error("the outbox cannot be searched", "error", err)
	}
	for i := range owed {
		if rec.Channel == "" {
			rec.Event = owed[i].Event
		}
		rec.AcceptedAt = owed[i].AcceptedAt
		d.addOwed(&rec, &owed[i])
	}
	return rec, found || len(owed) > 0
}

func (d *Dispatcher) addOwed(rec *event.Record, o *outbox.Delivery) {
	var view *event.Delivery
	for i := range rec.Deliveries {
		if rec.Deliveries[i].DeliveryID == o.ID {
			view = &rec.Deliveries[i]
		}
	}
	if view == nil {
		rec.Deliveries = append(rec.Deliveries, event.Delivery{
			DeliveryID: o.ID, ProfileID: o.Target.ProfileID, SubscriptionIDs: o.Target.SubscriptionIDs,
			URL: d.currentURL(o), Attempts: []event.Attempt{},
		})
		view = &rec.Deliveries[len(rec.Deliveries)-1]
	}
	if view.Status.Final() && !o.Status.Final() {
		return // the outcome is known here and being settled
	}
	view.Status, view.NextAttemptAt = o.Status, nil
	if o.Status == event.StatusRetrying {
		at := o.NextAt
		view.NextAttemptAt = &at
	}
}

func (d *Dispatcher) currentURL(o *outbox.Delivery) string {
	if o.Target.URL != "" {
		return o.Target.URL
	}
	p, err := d.opts.Resolver.Profile(o.Event.Account, o.Target.ProfileID)
	if err != nil {
		return ""
	}
	return p.URL
}
