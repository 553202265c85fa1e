package partition

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/fsm/model"
)

// Defaults of DutyOptions.
const (
	DefaultInterval       = 200 * time.Millisecond
	DefaultProposeTimeout = 5 * time.Second
)

// Members tells who is there, as the leader sees it: every node that may
// still hold a lease, members of the cluster or not any more.
type Members interface {
	Members() []Member
}

// Tables is the partition table as this node has applied it.
type Tables interface {
	Table() model.PartitionTable
}

// Proposer writes the table to the config group. CodeConflict: the table is
// not at prevVersion any more.
type Proposer interface {
	SetPartitions(ctx context.Context, prevVersion uint64, t model.PartitionTable) error
}

// DutyOptions of NewDuty. Members, Tables and Proposer are required.
type DutyOptions struct {
	Members  Members
	Tables   Tables
	Proposer Proposer
	// Changed, when not nil, has a value whenever it is worth looking before
	// the interval is over.
	Changed <-chan struct{}

	Interval       time.Duration         // between two looks; 0: DefaultInterval
	ProposeTimeout time.Duration         // 0: DefaultProposeTimeout
	Logger         hclog.Logger          // nil: none
	Registerer     prometheus.Registerer // nil: none
}

func (o *DutyOptions) validate() error {
	switch {
	case o.Members == nil, o.Tables == nil, o.Proposer == nil:
		return errors.New("partition: DutyOptions lacks a collaborator")
	case o.Interval < 0, o.ProposeTimeout < 0:
		return errors.New("partition: DutyOptions must not be negative")
	}
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	if o.ProposeTimeout == 0 {
		o.ProposeTimeout = DefaultProposeTimeout
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return nil
}

// Duty keeps the partition table right while this node leads the config group.
type Duty struct {
	opts    DutyOptions
	log     hclog.Logger
	metrics *Metrics
}

// NewDuty checks the options. Nothing runs before Run.
func NewDuty(o DutyOptions) (*Duty, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Duty{opts: o, log: o.Logger.Named("partition"), metrics: NewMetrics(o.Registerer)}, nil
}

// Name names the duty.
func (d *Duty) Name() string { return "partitions" }

// Run assigns partitions until ctx ends; then it returns nil. It must run on
// the leader only, after it has applied everything of the terms before. A
// proposal that fails, or whose outcome is unknown, is not repeated as it is:
// the next look starts from the table as it is then.
func (d *Duty) Run(ctx context.Context, term uint64) error {
	log := d.log.With("term", term)
	tick := time.NewTicker(d.opts.Interval)
	defer tick.Stop()
	var failing model.Code
	for ctx.Err() == nil {
		err := d.look(ctx, log)
		code := model.CodeOf(err)
		if err != nil && ctx.Err() == nil {
			d.metrics.failures.Inc()
			if code != failing { // said once, not five times a second
				log.Warn("partitions could not be assigned; the next look tries again", "code", code, "error", err)
			}
		}
		failing = code
		select {
		case <-tick.C:
		case <-d.opts.Changed:
		case <-ctx.Done():
		}
	}
	return nil
}

// look proposes the table that should be, if it is not.
func (d *Duty) look(ctx context.Context, log hclog.Logger) error {
	prev := d.opts.Tables.Table()
	next := Assign(prev, d.opts.Members.Members())
	if next == prev {
		return nil // INV partition-5: a cluster in which nothing changes writes nothing
	}
	ctx, cancel := context.WithTimeout(ctx, d.opts.ProposeTimeout)
	defer cancel()
	if err := d.opts.Proposer.SetPartitions(ctx, prev.Version, next); err != nil {
		return err
	}
	moved := 0
	owned := map[string]int{}
	for i, a := range next.Slots {
		owned[a.Owner]++
		if a != prev.Slots[i] {
			moved++
		}
	}
	d.metrics.moves.Add(float64(moved))
	log.Info("partitions assigned", "version", next.Version, "moved", moved, "owners", owned)
	return nil
}
