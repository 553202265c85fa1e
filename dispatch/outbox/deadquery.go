package outbox

import (
	"cmp"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const (
	// MaxDeadLook is how many dead letters one call of DeadLetters or
	// ReplayBatch looks at.
	MaxDeadLook = 1000
	// MaxDeadCount is how many dead letters one CountDead looks at.
	MaxDeadCount = 100_000

	// deadStep is how many are looked at without a pause: a page of them, with
	// their payloads, is in memory at a time.
	deadStep = 64
)

// deadRange is a part of an account's dead letters: DeadAt from lo to hi, both
// included.
type deadRange struct {
	account string
	lo, hi  int64
}

// rangeOf are the dead letters that f's times leave.
func rangeOf(account string, f *event.DeadFilter) deadRange {
	x := deadRange{account: account, hi: math.MaxInt64}
	if !f.From.IsZero() {
		x.lo = unixNano(f.From)
	}
	if !f.To.IsZero() {
		x.hi = unixNano(f.To) - 1
	}
	return x
}

// find returns the part of the account's list that is in the range, oldest
// first. It must be read under the lock.
func (st *state) find(x deadRange) []*row {
	a := st.accounts[x.account]
	if a == nil || x.lo > x.hi {
		return nil
	}
	rows := a.dead.rest()
	after := func(at int64) int {
		i, _ := slices.BinarySearchFunc(rows, at, func(r *row, at int64) int {
			if r.nextAt <= at {
				return -1
			}
			return 1
		})
		return i
	}
	return rows[after(x.lo-1):after(x.hi)]
}

// youngest copies the n youngest ones of the range and leaves the others in it.
// left: there are others.
func (s *Store) youngest(x *deadRange, n int) (sights []sight, left bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := s.st.find(*x)
	from := max(0, len(rows)-n)
	for _, r := range slices.Backward(rows[from:]) {
		x.hi = r.nextAt - 1
		if !r.forgotten() {
			sights = append(sights, s.st.sight(r))
		}
	}
	return sights, from > 0
}

// oldest copies about the n oldest ones of the range, whole requests, and leaves
// the others in it.
func (s *Store) oldest(x *deadRange, n int) (sights []sight, left bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := s.st.find(*x)
	for i, r := range rows {
		if i >= n && r.nextAt != rows[i-1].nextAt+1 {
			return sights, true
		}
		x.lo = r.nextAt + 1
		if !r.forgotten() {
			sights = append(sights, s.st.sight(r))
		}
	}
	return sights, false
}

// fillDead completes sights of dead letters; those that went meanwhile are nil.
func (s *Store) fillDead(sights []sight) ([]*event.DeadLetter, error) {
	out := make([]*event.DeadLetter, len(sights))
	if len(sights) == 0 {
		return out, nil
	}
	return out, s.view(func(tx *bolt.Tx) error {
		for i := range sights {
			x := &sights[i]
			d, ok, err := x.complete(tx)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			out[i] = &event.DeadLetter{
				DeliveryID: d.ID, ProfileID: d.Target.ProfileID, URL: d.Target.URL, SubscriptionIDs: d.Target.SubscriptionIDs,
				Event: d.Event, AcceptedAt: d.AcceptedAt, DeadAt: fromNano(x.p.nextAt), Attempts: d.Attempt, Failure: x.p.failure,
			}
		}
		return nil
	})
}

// DeadLetters lists dead letters of an account that fit f, from the youngest to
// the oldest; only such as died before the instant, where one is given. It looks
// at no more than MaxDeadLook, so that a page may be short.
func (s *Store) DeadLetters(account string, f event.DeadFilter, before time.Time, limit int) (event.DeadPage, error) {
	var page event.DeadPage
	x := rangeOf(account, &f)
	if !before.IsZero() {
		x.hi = min(x.hi, unixNano(before)-1)
	}
	for looked := 0; ; looked += deadStep {
		if looked >= MaxDeadLook {
			page.Next = fromNano(x.hi + 1)
			return page, nil
		}
		sights, left := s.youngest(&x, min(deadStep, MaxDeadLook-looked))
		found, err := s.fillDead(sights)
		if err != nil {
			return event.DeadPage{}, err
		}
		for i, d := range found {
			if d == nil || !f.Matches(d) {
				continue
			}
			page.DeadLetters = append(page.DeadLetters, *d)
			if len(page.DeadLetters) >= limit {
				if left || i < len(found)-1 {
					page.Next = d.DeadAt
				}
				return page, nil
			}
		}
		if !left {
			return page, nil
		}
	}
}

// DeadLetter returns one dead letter of an account; CodeNotFound.
func (s *Store) DeadLetter(account, deliveryID string) (event.DeadLetter, error) {
	none := model.Errorf(model.CodeNotFound, "there is no dead letter of delivery %q", deliveryID)
	s.mu.Lock()
	r := s.st.row(deliveryKey(deliveryID))
	if r == nil || r.status != deadNo || r.lane.key.Account != account {
		s.mu.Unlock()
		return event.DeadLetter{}, none
	}
	x := s.st.sight(r)
	s.mu.Unlock()
	found, err := s.fillDead([]sight{x})
	switch {
	case err != nil:
		return event.DeadLetter{}, err
	case found[0] == nil:
		return event.DeadLetter{}, none
	}
	return *found[0], nil
}

// CountDead counts the dead letters of an account that fit f, the youngest
// MaxDeadCount at most: it is what a replay shows as its total, not a promise.
func (s *Store) CountDead(account string, f event.DeadFilter) (int, error) {
	x := rangeOf(account, &f)
	byTime := f == event.DeadFilter{From: f.From, To: f.To}
	n, left := 0, true
	for looked := 0; left && looked < MaxDeadCount; looked += deadStep {
		var sights []sight
		sights, left = s.youngest(&x, deadStep)
		if byTime {
			n += len(sights)
			continue
		}
		found, err := s.fillDead(sights)
		if err != nil {
			return 0, err
		}
		for _, d := range found {
			if d != nil && f.Matches(d) {
				n++
			}
		}
	}
	return n, nil
}

// ReplayBatch finds the next dead letters of a job that runs, oldest first:
// those that fit its filter, were dead when it was created, and are after its
// cursor. Members of one request that died together are not parted, so there may
// be a few more than limit. upto and done are for the Revive that replays them.
// It looks at no more than about MaxDeadLook; there may be no ids, and the job
// go on all the same. CodeNotFound, and CodeConflict when the job is over.
func (s *Store) ReplayBatch(job event.ReplayJob, limit int) (ids []string, upto time.Time, done bool, err error) {
	s.mu.Lock()
	j := s.st.replay(job.Account, job.ID)
	switch {
	case j == nil:
		s.mu.Unlock()
		return nil, time.Time{}, false, noReplay(job.ID)
	case j.job.State != event.ReplayRunning:
		s.mu.Unlock()
		return nil, time.Time{}, false, notRunning(job.ID)
	}
	f, cursor := j.job.Filter, j.cursor
	x := rangeOf(job.Account, &f)
	x.lo, x.hi = max(x.lo, cursor+1), min(x.hi, unixNano(j.job.CreatedAt))
	s.mu.Unlock()

	last := int64(0)
	for looked := 0; looked < MaxDeadLook; looked += deadStep {
		sights, left := s.oldest(&x, deadStep)
		found, err := s.fillDead(sights)
		if err != nil {
			return nil, time.Time{}, false, err
		}
		for i, d := range found {
			at := sights[i].p.nextAt
			if len(ids) >= limit && len(ids) > 0 && at != last+1 {
				return ids, fromNano(last), false, nil
			}
			last = at
			if d != nil && f.Matches(d) {
				ids = append(ids, d.DeliveryID)
			}
		}
		if !left {
			return ids, fromNano(max(x.hi, cursor)), true, nil
		}
		last = x.lo - 1
	}
	return ids, fromNano(last), false, nil
}

// Replays are the jobs of an account, newest first.
func (s *Store) Replays(account string) []event.ReplayJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	var jobs []event.ReplayJob
	for _, j := range slices.Backward(s.st.replays[account]) {
		jobs = append(jobs, j.job)
	}
	return jobs
}

// ReplayJob returns one job; CodeNotFound.
func (s *Store) ReplayJob(account, id string) (event.ReplayJob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.st.replay(account, id); j != nil {
		return j.job, nil
	}
	return event.ReplayJob{}, noReplay(id)
}

// RunningReplays are the jobs of all accounts that run, in the order in which
// they were started.
func (s *Store) RunningReplays() []event.ReplayJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*replay
	for _, jobs := range s.st.replays {
		for _, j := range jobs {
			if j.job.State == event.ReplayRunning {
				found = append(found, j)
			}
		}
	}
	slices.SortFunc(found, func(x, y *replay) int { return cmp.Compare(x.number, y.number) })
	var jobs []event.ReplayJob
	for _, j := range found {
		jobs = append(jobs, j.job)
	}
	return jobs
}
