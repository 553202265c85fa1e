package node

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/belfry/cluster"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/partition"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// maxFindings is how many violations a simulation tells before it is silent.
const maxFindings = 10

// truth knows what was asked for and what arrived. It stands outside of the
// cluster and of what is done to it.
type truth struct {
	t *testing.T

	mu       sync.Mutex
	rng      *rand.Rand
	faulty   bool // something was done to the cluster
	findings int

	events     map[eventName]*simEvent
	requests   []*simRequest
	deliveries map[deliveryName]*simDelivery
	batches    map[string]string // webhook-id → members
	late       time.Duration     // latest start after a partition had moved away
	counts     struct{ arrivals, repeated, receipts, unknown, refused, conflicts, foreign int }
}

type eventName struct{ account, id string }

type deliveryName struct {
	eventName

	destination string
}

// simEvent is an event that a client sent, perhaps several times.
type simEvent struct {
	event.Event

	destinations []string // that it is owed to
	receipted    bool
	checked      bool // that nothing of it is lost
	possible     bool // it was taken or may have been
}

// simRequest is a request whose outcome its client never learned.
type simRequest struct{ events []*simEvent }

type simDelivery struct {
	arrivals int
	taken    bool // the receiver took it
	answered bool // and a living node was told so
	ids      []string
}

func newTruth(t *testing.T, seed uint64) *truth {
	t.Helper()
	return &truth{
		t: t, rng: simRand(seed, "webhooks"), events: map[eventName]*simEvent{}, deliveries: map[deliveryName]*simDelivery{},
		batches: map[string]string{},
	}
}

// String sums up what happened.
func (w *truth) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.counts
	return fmt.Sprintf("%d events, %d receipts, %d unknown, %d refused, %d conflicts; %d deliveries in %d arrivals, %d repeated, %d starts up to %v after a move",
		len(w.events), c.receipts, c.unknown, c.refused, c.conflicts, len(w.deliveries), c.arrivals, c.repeated, c.foreign, w.late)
}

// violated tells a violation. w.mu is held.
func (w *truth) violated(format string, args ...any) {
	if w.findings++; w.findings <= maxFindings {
		w.t.Errorf(time.Now().Format("15:04:05.000 ")+format, args...)
	}
}

// The ways of the webhooks, by the head of the profile's name.
const (
	wayOK    = "ok"    // takes everything
	wayFlaky = "flaky" // fails, hangs, takes without a word
	wayBusy  = "busy"  // asks for patience
	wayDead  = "dead"  // refuses everything
)

// simSender is the way from a node to the webhooks.
type simSender struct{ n *simNode }

// Send lets a request arrive and waits for the answer.
func (x simSender) Send(ctx context.Context, r *webhook.Request) webhook.Result {
	if x.n.down.Load() {
		return webhook.Result{Class: webhook.ClassTemporary, Error: "the node is dead", Started: time.Now()}
	}
	valid, _ := x.n.cluster.Lease()
	plan := x.n.s.truth.arrive(x.n, r, valid)
	started := time.Now()
	timer := time.NewTimer(plan.after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-x.n.dead:
	}
	if x.n.down.Load() || ctx.Err() != nil {
		plan.result = webhook.Result{Class: webhook.ClassTemporary, Error: "cut off"}
	}
	if plan.result.Class == webhook.ClassOK {
		x.n.s.truth.answered(plan.names)
	}
	plan.result.Started, plan.result.Duration = started, time.Since(started)
	return plan.result
}

// plan is what a webhook does with a request.
type plan struct {
	names  []deliveryName
	after  time.Duration
	result webhook.Result
}

// arrive checks a request and decides what becomes of it.
func (w *truth) arrive(n *simNode, r *webhook.Request, leased bool) plan {
	d := r.Destination
	destination := "p:" + d.ProfileID
	if d.ProfileID == "" {
		destination = "u:" + d.URL
	}
	strange, since := n.s.stranger(n.id, partition.Of(d.Account, destination))

	w.mu.Lock()
	defer w.mu.Unlock()
	if !leased {
		w.violated("INV dispatch-1: %s starts %s of %s without a lease", n.id, r.WebhookID, destination)
	}
	if strange {
		// A partition that moves away from a living node may see a start of
		// its owner before that has heard so, no longer than its lease lasts.
		w.counts.foreign++
		if w.late = max(w.late, since); since > cluster.DefaultLeaseTTL {
			w.violated("INV lease-4: %s starts %s of %s, which it lost %v ago", n.id, r.WebhookID, destination, since)
		}
	}
	p := w.answer(d.ProfileID)
	names, members := w.open(r, destination)
	if before, known := w.batches[r.WebhookID]; known && before != members {
		w.violated("INV dispatch-4: webhook-id %s is for %s, and was for %s", r.WebhookID, members, before)
	}
	w.batches[r.WebhookID] = members
	for _, name := range names {
		w.note(name, r, p.result.Class == webhook.ClassOK || p.result.Error == lostAnswer)
	}
	p.names = names
	return p
}

const lostAnswer = "the answer was lost"

func (w *truth) answer(profile string) plan {
	p := plan{after: time.Duration(w.rng.IntN(20)) * time.Millisecond, result: webhook.Result{Class: webhook.ClassOK, StatusCode: 200}}
	failed := webhook.Result{Class: webhook.ClassTemporary, StatusCode: 500}
	way, _, _ := strings.Cut(profile, "-")
	switch x := w.rng.Float64(); {
	case way == wayDead:
		p.result = webhook.Result{Class: webhook.ClassTemporary, StatusCode: 400}
	case way == wayFlaky && x < 0.25:
		p.result = failed
	case way == wayFlaky && x < 0.30:
		p.result = webhook.Result{Class: webhook.ClassTemporary, Error: lostAnswer}
	case way == wayFlaky && x < 0.35:
		p.after, p.result = 10*time.Second, webhook.Result{Class: webhook.ClassTemporary, Error: "timeout"}
	case way == wayBusy && x < 0.2:
		p.result = webhook.Result{Class: webhook.ClassThrottled, StatusCode: 429, RetryAfter: time.Duration(1+w.rng.IntN(3)) * time.Second}
	}
	return p
}

// open reads which events a request carries and checks that they are ours.
func (w *truth) open(r *webhook.Request, destination string) (names []deliveryName, members string) {
	type payload struct{ Account, ID, Body string }
	var body struct{ Results []payload }
	if !strings.HasPrefix(string(r.Body), `{"results":`) {
		body.Results = make([]payload, 1)
	}
	into := any(&body)
	if body.Results != nil {
		into = &body.Results[0]
	}
	if err := json.Unmarshal(r.Body, into); err != nil {
		w.violated("a webhook got %q: %v", r.Body, err)
	}
	for _, e := range body.Results {
		name := deliveryName{eventName{e.Account, e.ID}, destination}
		names = append(names, name)
		members += " " + e.ID
		sent := w.events[name.eventName]
		switch {
		case e.Account != r.Destination.Account:
			w.violated("event %s of account %s went to %s of account %s", e.ID, e.Account, destination, r.Destination.Account)
		case sent == nil:
			w.violated("event %s of account %s was invented", e.ID, e.Account)
		case !sent.possible:
			w.violated("event %s was answered unavailable and went out all the same", e.ID)
		case !slices.Contains(sent.destinations, destination) && sent.Channel != channelGrowing && sent.Channel != channelPassing:
			w.violated("event %s went to %s, it is owed to %v", e.ID, destination, sent.destinations)
		}
	}
	return names, members
}

// note takes one arrival of a delivery down.
func (w *truth) note(name deliveryName, r *webhook.Request, taken bool) {
	d := w.deliveries[name]
	if d == nil {
		d = &simDelivery{}
		w.deliveries[name] = d
	}
	if !slices.Contains(d.ids, r.WebhookID) {
		d.ids = append(d.ids, r.WebhookID)
	}
	if e := w.events[name.eventName]; len(d.ids) > 1 && (!w.faulty || e != nil && !model.Batches(e.Channel, e.Name)) {
		w.violated("event %s came to %s under %v", name.id, name.destination, d.ids)
	}
	if d.answered {
		w.counts.repeated++
		if !w.faulty {
			w.violated("event %s came to %s again without a fault", name.id, name.destination)
		}
	}
	w.counts.arrivals++
	d.arrivals++
	d.taken = d.taken || taken
}

func (w *truth) answered(names []deliveryName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		w.deliveries[name].answered = true
	}
}

// faults notes that something is done to the cluster from now on.
func (w *truth) faults() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faulty = true
}

// stranger reports whether the newest table gives the partition to another
// node, and since when.
func (s *sim) stranger(id string, p int) (strange bool, since time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest.Slots[p].Owner == id {
		return false, 0
	}
	return true, time.Since(s.moved[p])
}

// settled checks, once nothing is pending, that every event with a receipt was
// delivered or is dead, and that requests of unknown outcome were taken as a
// whole or not at all.
func (w *truth) settled(dead func(name eventName) []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, e := range w.events {
		if e.receipted && !e.checked {
			e.checked = true
			w.complete(name, e, dead(name))
		}
	}
	for _, r := range w.requests {
		here := 0
		owed := 0
		for _, e := range r.events {
			if len(e.destinations) == 0 {
				continue
			}
			owed++
			name := eventName{e.Account, e.ID}
			if letters := dead(name); len(letters) > 0 || w.seen(name, e) {
				here++
				w.complete(name, e, letters)
			}
		}
		if here != 0 && here != owed {
			w.violated("INV publish-3: %d of %d events of a request were taken, %s among them", here, owed, r.events[0].ID)
		}
	}
	w.requests = nil
}

func (w *truth) seen(name eventName, e *simEvent) bool {
	return slices.ContainsFunc(e.destinations, func(d string) bool { return w.deliveries[deliveryName{name, d}] != nil })
}

func (w *truth) complete(name eventName, e *simEvent, dead []string) {
	for _, destination := range e.destinations {
		d := w.deliveries[deliveryName{name, destination}]
		switch {
		case d != nil && d.taken:
		case slices.Contains(dead, destination):
		default:
			w.violated("event %s of account %s is lost: %s never took it (%+v), dead letters %v", name.id, name.account, destination, d, dead)
		}
	}
}
