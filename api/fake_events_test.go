package api

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// search is what Search and DeadLetters were asked last.
type search struct {
	account string
	filter  event.Filter
	after   event.Ref
	dead    event.DeadFilter
	before  time.Time
	limit   int
}

// fakeArchive keeps what it shows in memory, by account, and notes what it is
// asked.
type fakeArchive struct {
	mu    sync.Mutex
	page  map[string]event.Page
	dead  map[string][]event.DeadLetter
	next  time.Time // of DeadLetters
	jobs  map[string][]event.ReplayJob
	asked search
	again []string // account/delivery
	// fail, when set, is what everything answers.
	fail error
}

func newFakeArchive() *fakeArchive {
	return &fakeArchive{page: map[string]event.Page{}, dead: map[string][]event.DeadLetter{}, jobs: map[string][]event.ReplayJob{}}
}

var errUnbounded = errors.New("a change without a limit of time")

func bounded(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		return errUnbounded
	}
	return nil
}

func (f *fakeArchive) Search(_ context.Context, account string, fl event.Filter, after event.Ref, limit int) (event.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = search{account: account, filter: fl, after: after, limit: limit}
	return f.page[account], f.fail
}

func (f *fakeArchive) DeadLetters(_ context.Context, account string, fl event.DeadFilter, before time.Time, limit int) (event.DeadPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = search{account: account, dead: fl, before: before, limit: limit}
	return event.DeadPage{DeadLetters: f.dead[account], Next: f.next}, f.fail
}

func (f *fakeArchive) DeadLetter(_ context.Context, account, id string) (event.DeadLetter, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.dead[account], func(d event.DeadLetter) bool { return d.DeliveryID == id })
	switch {
	case f.fail != nil:
		return event.DeadLetter{}, f.fail
	case i < 0:
		return event.DeadLetter{}, model.Errorf(model.CodeNotFound, "not there")
	}
	return f.dead[account][i], nil
}

func (f *fakeArchive) Replay(ctx context.Context, account, id string) error {
	if _, err := f.DeadLetter(ctx, account, id); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.again = append(f.again, path(account, id))
	return bounded(ctx)
}

func (f *fakeArchive) StartReplay(ctx context.Context, job event.ReplayJob) (event.ReplayJob, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return event.ReplayJob{}, f.fail
	}
	job.State, job.CreatedAt, job.Total = event.ReplayRunning, time.Unix(0, 0).UTC(), 7
	f.jobs[job.Account] = append([]event.ReplayJob{job}, f.jobs[job.Account]...)
	return job, bounded(ctx)
}

func (f *fakeArchive) Replays(_ context.Context, account string) ([]event.ReplayJob, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.jobs[account]), f.fail
}

// job finds one; the caller holds the lock.
func (f *fakeArchive) job(account, id string) (*event.ReplayJob, error) {
	i := slices.IndexFunc(f.jobs[account], func(j event.ReplayJob) bool { return j.ID == id })
	switch {
	case f.fail != nil:
		return nil, f.fail
	case i < 0:
		return nil, model.Errorf(model.CodeNotFound, "not there")
	}
	return &f.jobs[account][i], nil
}

func (f *fakeArchive) ReplayJob(_ context.Context, account, id string) (event.ReplayJob, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j, err := f.job(account, id)
	if err != nil {
		return event.ReplayJob{}, err
	}
	return *j, nil
}

func (f *fakeArchive) CancelReplay(ctx context.Context, account, id string) (event.ReplayJob, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	j, err := f.job(account, id)
	if err != nil {
		return event.ReplayJob{}, err
	}
	j.State, j.FinishedAt = event.ReplayCancelled, time.Unix(1, 0).UTC()
	return *j, bounded(ctx)
}

// fakeWatcher shows what tests put in, and notes what it is asked.
type fakeWatcher struct {
	mu sync.Mutex
	// tail, when set, runs a tail; else it sends one entry and ends.
	tail    func(ctx context.Context, send func(event.TailBatch) error) error
	filter  event.TailFilter
	account string
	matched *event.Event
	report  event.MatchReport
	tested  []string // account/profile/channel/event
	result  event.TestReport
	window  time.Duration
	stats   event.Stats
	profile string // of a series
	series  event.Series
	fail    error
}

func (f *fakeWatcher) Tail(ctx context.Context, account string, fl event.TailFilter, send func(event.TailBatch) error) error {
	f.mu.Lock()
	f.account, f.filter = account, fl
	run, fail := f.tail, f.fail
	f.mu.Unlock()
	switch {
	case fail != nil:
		return fail
	case run != nil:
		return run(ctx, send)
	}
	return send(event.TailBatch{Entries: []event.TailEntry{tailEntry("e1")}})
}

func tailEntry(id string) event.TailEntry {
	return event.TailEntry{Kind: event.TailAccepted, At: time.Unix(0, 0).UTC(), NodeID: "n1", EventID: id, Channel: "SMS", Name: "DELIVERY", Deliveries: new(2)}
}

func (f *fakeWatcher) Match(_ context.Context, e *event.Event) (event.MatchReport, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.matched = e
	return f.report, f.fail
}

func (f *fakeWatcher) TestProfile(ctx context.Context, account, profile, channel, name string) (event.TestReport, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tested = append(f.tested, path(account, profile, channel, name))
	switch {
	case f.fail != nil:
		return event.TestReport{}, f.fail
	case account != accAcme:
		return event.TestReport{}, model.Errorf(model.CodeNotFound, "not there")
	}
	return f.result, bounded(ctx)
}

func (f *fakeWatcher) Stats(_ context.Context, account string, window time.Duration) (event.Stats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.account, f.window = account, window
	return f.stats, f.fail
}

func (f *fakeWatcher) Series(_ context.Context, account, profile string, window time.Duration) (event.Series, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.account, f.profile, f.window = account, profile, window
	s := f.series
	if s.StepSeconds == 0 {
		s.StepSeconds = 60
	}
	return s, f.fail
}

// watchHarness is a harness over an archive and a watcher.
func watchHarness(t *testing.T, change ...func(*Options)) (*harness, *fakeArchive, *fakeWatcher) {
	t.Helper()
	a, w := newFakeArchive(), &fakeWatcher{}
	return newHarness(t, append([]func(*Options){func(o *Options) { o.Archive, o.Watcher = a, w }}, change...)...), a, w
}

// sampleDead is a dead letter of account acme.
func sampleDead() event.DeadLetter {
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	return event.DeadLetter{
		DeliveryID: "d1", ProfileID: "prof-1", SubscriptionIDs: []string{"sub-1"}, AcceptedAt: at, DeadAt: at.Add(time.Minute), Attempts: 3,
		Event:   event.Event{Account: accAcme, ID: "e1", Channel: "SMS", Name: "DELIVERY", ReceivedAt: at, Payload: []byte(`{"text":"of acme.example"}`)},
		Failure: event.Failure{Outcome: "temporary", StatusCode: 503, Error: "the receiver answered 503"},
	}
}
