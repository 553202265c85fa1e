package outbox

import (
	"slices"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// MaxReplayAttempt is the highest number of attempts a dead letter may have and
// still be replayed. It leaves room for a series below the highest attempt
// number, 65,535.
const MaxReplayAttempt = 60_000

// Revive is the command that makes dead letters of an account pending again, in
// a new series of attempts. Its answer is one verdict per id: Settled,
// Superseded (unknown, or not dead) or Exhausted.
type Revive struct {
	At      time.Time // the proposer's clock; Apply forces it monotonic
	Account string
	IDs     []string // of deliveries
	// JobID is the replay job that asks; empty: none. The command is refused
	// with CodeConflict when the job does not run any more.
	JobID string
	Upto  time.Time // DeadAt up to which the job has looked
	Done  bool      // the job is done with this
}

// StartReplay is the command that starts a replay job. Its answer is the job;
// CodeQuota: too many of the account run. The same id again gives the job as it
// is by then.
type StartReplay struct {
	At  time.Time       // the proposer's clock; Apply forces it monotonic
	Job event.ReplayJob // ID, Account, Filter, Rate, CreatedBy, Total
}

// CancelReplay is the command that ends a replay job. Its answer is the job; one
// that is over is returned as it is. CodeNotFound: there is none.
type CancelReplay struct {
	At      time.Time // the proposer's clock; Apply forces it monotonic
	Account string
	ID      string
}

// replay is a replay job.
type replay struct {
	job    event.ReplayJob
	number uint64 // of its creation, from nextOrder
	cursor int64  // DeadAt up to which it has looked
}

func (st *state) replay(account, id string) *replay {
	for _, j := range st.replays[account] {
		if j.job.ID == id {
			return j
		}
	}
	return nil
}

func (st *state) markReplay(j *replay) {
	st.dirtyReplays[j.number] = j
	st.dirtyBytes += 512
}

func (st *state) startReplay(c *StartReplay) (event.ReplayJob, *model.Error) {
	now := st.clock(c.At)
	account := c.Job.Account
	if j := st.replay(account, c.Job.ID); j != nil {
		return j.job, nil
	}
	if c.Job.ID == "" || account == "" || c.Job.Rate < 1 || c.Job.Rate > event.MaxReplayRate {
		return c.Job, model.Errorf(model.CodeInvalid, "a replay needs an id, an account, and a rate from 1 to %d", event.MaxReplayRate)
	}
	running := 0
	for _, j := range st.replays[account] {
		if j.job.State == event.ReplayRunning {
			running++
		}
	}
	// INV outbox-15: at most MaxRunningReplays jobs of an account run, and at
	// most MaxReplays are remembered.
	if running >= event.MaxRunningReplays {
		return c.Job, model.Errorf(model.CodeQuota, "at most %d replays of an account may run at a time", event.MaxRunningReplays)
	}
	// What dies from here on is younger than the job.
	st.dead.last = max(st.dead.last, now)
	j := &replay{job: c.Job, number: st.nextOrder}
	st.nextOrder++
	j.job.CreatedAt, j.job.FinishedAt = fromNano(st.dead.last), time.Time{}
	j.job.State, j.job.Replayed = event.ReplayRunning, 0
	st.replays[account] = append(st.replays[account], j)
	st.markReplay(j)
	if jobs := st.replays[account]; len(jobs) > event.MaxReplays {
		i := slices.IndexFunc(jobs, func(j *replay) bool { return j.job.State != event.ReplayRunning })
		st.dirtyReplays[jobs[i].number] = nil
		st.replays[account] = slices.Delete(jobs, i, i+1)
	}
	return j.job, nil
}

func (st *state) cancelReplay(c *CancelReplay) (event.ReplayJob, *model.Error) {
	now := st.clock(c.At)
	j := st.replay(c.Account, c.ID)
	if j == nil {
		return event.ReplayJob{}, noReplay(c.ID)
	}
	if j.job.State == event.ReplayRunning {
		j.job.State, j.job.FinishedAt = event.ReplayCancelled, fromNano(now)
		st.markReplay(j)
	}
	return j.job, nil
}

func noReplay(id string) *model.Error {
	return model.Errorf(model.CodeNotFound, "there is no replay %q", id)
}

func notRunning(id string) *model.Error {
	return model.Errorf(model.CodeConflict, "the replay %q does not run any more", id)
}

// revive replays dead letters.
//
// INV outbox-16: a job that is over replays nothing more.
func (st *state) revive(c *Revive) ([]Verdict, *model.Error) {
	now := st.clock(c.At)
	var j *replay
	if c.JobID != "" {
		if j = st.replay(c.Account, c.JobID); j == nil || j.job.State != event.ReplayRunning {
			return nil, notRunning(c.JobID)
		}
	}
	vs := make([]Verdict, len(c.IDs))
	before, settled := int64(-1), 0
	for i, id := range c.IDs {
		r := st.row(deliveryKey(id))
		switch {
		case r == nil || r.status != deadNo || r.lane.key.Account != c.Account:
			vs[i] = Superseded
			continue
		case r.attempt > MaxReplayAttempt:
			vs[i] = Exhausted
			continue
		}
		// Each request becomes due at an instant of its own, so that Take parts
		// them where it must and keeps the members of each together.
		if before < 0 || r.nextAt != before+1 {
			st.dead.due = max(now, st.dead.due+1)
		}
		before = r.nextAt
		st.reviveRow(r, now, st.dead.due)
		vs[i] = Settled
		settled++
	}
	if j != nil {
		j.job.Replayed += settled
		j.cursor = max(j.cursor, unixNano(c.Upto))
		if c.Done {
			j.job.State, j.job.FinishedAt = event.ReplayDone, fromNano(now)
		}
		st.markReplay(j)
	}
	return vs, nil
}

// reviveRow puts a row of its own in the place of the dead one, so that what
// lists still hold of the old one is stale for good. It goes to the end of its
// lane.
func (st *state) reviveRow(old *row, now, due int64) {
	r := *old
	r.flags = old.flags&onDisk | revived
	r.status, r.base, r.nextAt = retryingNo, old.attempt, due
	st.dropRow(old)
	delete(st.series, old)
	old.flags, old.hot = gone, nil
	st.unbury(old)

	if r.hot != nil {
		r.hot.failure = nil
	}
	r.lane = st.laneOf(old.lane.key)
	st.series[&r] = series{at: now, pos: st.nextSeq}
	st.nextSeq++
	st.addRow(&r)
	st.join(&r)
	st.markRow(&r)
	st.dirtyBytes += 64
	st.remember(r.ev)
}
