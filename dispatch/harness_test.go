package dispatch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/dispatch/attemptlog"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// fakeGroup is an event group without raft: what is proposed is applied at
// once to every replica.
type fakeGroup struct {
	mu     sync.Mutex
	index  uint64
	stores []*outbox.Store
	// before may refuse a proposal, or let it happen and lose the answer.
	before func(cmd outbox.Command) (lose bool, err error)
}

func (g *fakeGroup) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c, err := outbox.Decode(cmd)
	if err != nil {
		return 0, nil, err
	}
	lose := false
	if g.before != nil {
		if lose, err = g.before(c); err != nil && !lose {
			return 0, nil, err
		}
	}
	g.index++
	var res any
	for _, s := range g.stores {
		res = s.Apply(&raft.Log{Index: g.index, Type: raft.LogCommand, Data: cmd})
	}
	if lose {
		return 0, nil, err
	}
	if e, ok := res.(*model.Error); ok {
		return g.index, nil, e
	}
	return g.index, res.([]byte), nil
}

func (g *fakeGroup) set(f func(cmd outbox.Command) (bool, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.before = f
}

// fakeConfig is Resolver, Subscriptions, Lease and Ownership.
type fakeConfig struct {
	mu       sync.Mutex
	index    uint64
	profiles map[string]model.Profile
	gone     map[string]bool // subscriptions
	broken   error
	noLease  bool
	table    model.PartitionTable
	changed  chan struct{}
}

func newFakeConfig(owner string) *fakeConfig {
	c := &fakeConfig{index: 1, profiles: map[string]model.Profile{}, gone: map[string]bool{}, changed: make(chan struct{}, 1)}
	c.assign(owner, 1)
	return c
}

func (c *fakeConfig) edit(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.index++
}

func (c *fakeConfig) assign(owner string, epoch uint64) {
	c.edit(func() {
		for p := range c.table.Slots {
			c.table.Slots[p] = model.Assignment{Owner: owner, Epoch: epoch}
		}
	})
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *fakeConfig) Resolve(account, id string) (*webhook.Destination, error) {
	p, err := c.Profile(account, id)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return nil, c.broken
	}
	return &webhook.Destination{Account: account, ProfileID: id, URL: p.URL}, nil
}

func (c *fakeConfig) Profile(account, id string) (model.Profile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.profiles[account+"/"+id]
	if !ok {
		return p, model.Errorf(model.CodeNotFound, "no such profile")
	}
	return p, nil
}

func (c *fakeConfig) Alive(_, _ string, ids []string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(ids, func(id string) bool { return !c.gone[id] })
}

func (c *fakeConfig) ConfigIndex() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index
}

func (c *fakeConfig) Lease() (bool, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.noLease, time.Time{}
}

func (c *fakeConfig) Table() model.PartitionTable {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.table
}

func (c *fakeConfig) Changed() <-chan struct{} { return c.changed }

// sent is one request as the receiver saw it.
type sent struct {
	at               time.Time
	profile, url, id string
	body             string
	headers          map[string]string
	concurrent       int
}

// fakeSender records requests and answers by script.
type fakeSender struct {
	mu       sync.Mutex
	log      []sent
	inFlight int
	answer   func(ctx context.Context, n int, r *webhook.Request) webhook.Result // nil: OK
}

func (f *fakeSender) Send(ctx context.Context, r *webhook.Request) webhook.Result {
	f.mu.Lock()
	f.inFlight++
	s := sent{
		at: time.Now(), profile: r.Destination.ProfileID, url: r.Destination.URL, id: r.WebhookID,
		body: string(r.Body), headers: r.Headers, concurrent: f.inFlight,
	}
	n := len(f.log)
	f.log = append(f.log, s)
	answer := f.answer
	f.mu.Unlock()
	res := webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
	if answer != nil {
		res = answer(ctx, n, r)
	}
	res.Started = s.at
	res.Duration = time.Since(s.at)
	f.mu.Lock()
	f.inFlight--
	f.mu.Unlock()
	return res
}

func (f *fakeSender) requests() []sent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.log)
}

func (f *fakeSender) script(answer func(ctx context.Context, n int, r *webhook.Request) webhook.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func always(class webhook.Class, status int) func(context.Context, int, *webhook.Request) webhook.Result {
	return func(context.Context, int, *webhook.Request) webhook.Result {
		return webhook.Result{Class: class, StatusCode: status}
	}
}

// world is one event group with one node in a synctest bubble.
type world struct {
	t      *testing.T
	group  *fakeGroup
	config *fakeConfig
	store  *outbox.Store
	log    *attemptlog.Log
	sender *fakeSender
	opts   DispatcherOptions
	d      *Dispatcher
	next   int

	stop func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, group: &fakeGroup{}, config: newFakeConfig("n1"), sender: &fakeSender{}}
	w.store = openOutbox(t)
	w.group.stores = []*outbox.Store{w.store}
	var err error
	w.log, err = attemptlog.Open(attemptlog.Options{Path: filepath.Join(t.TempDir(), "attempts.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.log.Close() })
	w.opts = DispatcherOptions{
		NodeID: "n1", Outbox: w.store, Attempts: w.log, Sender: w.sender, Resolver: w.config,
		Subscriptions: w.config, Lease: w.config, Ownership: w.config, Proposer: w.group,
		Jitter: func() float64 { return 0 },
	}
	return w
}

func openOutbox(tb testing.TB) *outbox.Store {
	tb.Helper()
	s, err := outbox.Open(outbox.Options{Path: filepath.Join(tb.TempDir(), "outbox.db"), NoSync: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// start runs the dispatcher; stop, or the end of the test, ends it.
func (w *world) start() {
	w.t.Helper()
	var err error
	if w.d, err = NewDispatcher(w.opts); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.d.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
}

func (w *world) profile(id string, edit func(p *model.Profile)) { w.profileOf("acme", id, edit) }

func (w *world) profileOf(account, id string, edit func(p *model.Profile)) {
	p := model.Profile{Account: account, ID: id, URL: "https://" + id + ".example.org/hook"}
	if edit != nil {
		edit(&p)
	}
	w.config.edit(func() { w.config.profiles[account+"/"+id] = p })
	if w.d != nil {
		w.d.ConfigChanged()
	}
}

// batching and flat are events of the two kinds.
func batching(payload string) event.Event {
	return event.Event{Channel: "SMS", Name: "DELIVERY", Payload: []byte(payload)}
}

func flatEvent(payload string) event.Event {
	return event.Event{Channel: "EMAIL", Name: "OPEN", Payload: []byte(payload)}
}

// accept puts events for a profile into the outbox, one command for all, and
// returns their delivery ids.
func (w *world) accept(profile string, events ...event.Event) []string {
	w.t.Helper()
	return w.acceptFor("acme", profile, events...)
}

func (w *world) acceptFor(account, profile string, events ...event.Event) []string {
	w.t.Helper()
	c := &outbox.Accept{At: time.Now(), NodeID: "n1", ConfigIndex: w.config.ConfigIndex()}
	var ids []string
	for _, e := range events {
		w.next++
		id := fmt.Sprintf("d%04d", w.next)
		e.Account, e.ID = account, fmt.Sprintf("e%04d", w.next)
		t := outbox.Target{DeliveryID: id, Partition: 5, ProfileID: profile, SubscriptionIDs: []string{"sub-" + profile}}
		if strings.Contains(profile, "://") {
			t.ProfileID, t.URL, t.SubscriptionIDs = "", profile, nil
		}
		c.Events = append(c.Events, outbox.AcceptedEvent{
			Event: e, Request: w.next, Digest: sha256.Sum256(e.Payload), Targets: []outbox.Target{t},
		})
		ids = append(ids, id)
	}
	if _, _, err := w.group.Propose(context.Background(), outbox.Encode(c)); err != nil {
		w.t.Fatal(err)
	}
	return ids
}

// bubble runs f in virtual time with a world, and stops the dispatcher.
func bubble(t *testing.T, f func(w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() {
			if w.stop != nil {
				w.stop()
			}
		}()
		f(w)
	})
}

func (w *world) pending() int { return w.store.Stats().Pending }

func (w *world) wantPending(want int) {
	w.t.Helper()
	if got := w.pending(); got != want {
		w.t.Errorf("pending: got %d, want %d", got, want)
	}
}

// pass lets virtual time go by and what it set off come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
