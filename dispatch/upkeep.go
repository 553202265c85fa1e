package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

const (
	// MaxReplayBatch is how many dead letters one command sends again.
	MaxReplayBatch = 500
	// replayInterval is between two batches of replay jobs, idleInterval
	// between two looks for one, retentionInterval between two at the retention.
	replayInterval    = 100 * time.Millisecond
	idleInterval      = time.Second
	retentionInterval = time.Minute
	// replayBurst is how much of a second's worth a job may send at once.
	replayBurst = 5
)

// UpkeepOptions of NewUpkeep. Store and Proposer are required.
type UpkeepOptions struct {
	Store    *outbox.Store
	Proposer Proposer
	// Retention is what this node is configured with; the leader's rules.
	Retention outbox.Retention
	Logger    hclog.Logger // nil: none
}

// Upkeep is what the leader of the event group does for it: it puts its
// retention of dead letters in force, and drives the replay jobs.
//
// INV dispatch-10: a replay job moves only by commands that carry its progress,
// so a new leader goes on where the one before was.
type Upkeep struct {
	opts   UpkeepOptions
	log    hclog.Logger
	rates  map[string]*rate.Limiter // of running jobs, by account and id
	looked time.Time                // at the retention
	failed model.Code
}

// NewUpkeep checks the options. Nothing runs before Run.
func NewUpkeep(o UpkeepOptions) (*Upkeep, error) {
	if o.Store == nil || o.Proposer == nil {
		return nil, errors.New("dispatch: UpkeepOptions lacks a collaborator")
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return &Upkeep{opts: o, log: o.Logger.Named("upkeep"), rates: map[string]*rate.Limiter{}}, nil
}

// Name names the duty.
func (u *Upkeep) Name() string { return "outbox upkeep" }

// Run works until ctx ends; then it returns nil. It must run on the leader of
// the event group only, after it has applied everything of the terms before.
func (u *Upkeep) Run(ctx context.Context, term uint64) error {
	log := u.log.With("term", term)
	u.looked = time.Time{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		err := u.look(ctx)
		code := model.CodeOf(err)
		if err != nil && code != u.failed && ctx.Err() == nil { // said once, not ten times a second
			log.Warn("replays or the retention of dead letters wait; the next look tries again", "code", code, "error", err)
		}
		u.failed = code
		if len(u.rates) > 0 {
			timer.Reset(replayInterval)
		} else {
			timer.Reset(idleInterval)
		}
	}
}

func (u *Upkeep) look(ctx context.Context) error {
	var errs []error
	if now := time.Now(); now.Sub(u.looked) >= retentionInterval {
		if err := u.retain(ctx, now); err != nil {
			return err // the next look tries again
		}
		u.looked = now
	}
	jobs := u.opts.Store.RunningReplays()
	running := map[string]*rate.Limiter{}
	for i := range jobs {
		job := &jobs[i]
		id := job.Account + "/" + job.ID
		l := u.rates[id]
		if l == nil {
			l = rate.NewLimiter(rate.Limit(job.Rate), max(1, job.Rate/replayBurst))
		}
		running[id] = l
		errs = append(errs, u.replay(ctx, job, l))
	}
	u.rates = running
	return errors.Join(errs...)
}

// retain puts the configured retention in force, and has what is too old go
// when nothing else moves the log's time.
func (u *Upkeep) retain(ctx context.Context, now time.Time) error {
	if u.opts.Store.Retention() == u.opts.Retention && !u.opts.Store.RetentionDue(now) {
		return nil
	}
	r := u.opts.Retention
	return u.propose(ctx, &outbox.Retain{At: now, Retention: r})
}

// replay sends the next dead letters of a job again, as many as its rate
// allows now.
func (u *Upkeep) replay(ctx context.Context, job *event.ReplayJob, l *rate.Limiter) error {
	now := time.Now()
	n := min(int(l.TokensAt(now)), MaxReplayBatch)
	if n < 1 {
		return nil
	}
	ids, upto, done, err := u.opts.Store.ReplayBatch(*job, n)
	if err != nil {
		return err
	}
	if len(ids) == 0 && !done && upto.IsZero() {
		return nil
	}
	err = u.propose(ctx, &outbox.Revive{At: now, Account: job.Account, JobID: job.ID, IDs: ids, Upto: upto, Done: done})
	if err != nil && model.CodeOf(err) != model.CodeConflict { // cancelled meanwhile
		return err
	}
	// Members of one request are not parted, so there may be more than the burst,
	// which is as much as one reservation takes: the others are a debt.
	for left := len(ids); left > 0; left -= l.Burst() {
		l.ReserveN(now, min(left, l.Burst()))
	}
	return nil
}

func (u *Upkeep) propose(ctx context.Context, c outbox.Command) error {
	ctx, cancel := context.WithTimeout(ctx, DefaultProposeTimeout)
	defer cancel()
	_, _, err := u.opts.Proposer.Propose(ctx, outbox.Encode(c))
	return err
}
