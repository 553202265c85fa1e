package node

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/belfry/cluster"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// maxFindings is how many violations a simulation tells before it is silent.
const maxFindings = 10

// truth knows what was asked for and what arrived. It stands outside of the
// cluster and of what is done to it.
type truth struct {
	report func(text string)
	lease  time.Duration

	mu       sync.Mutex
	rng      *rand.Rand
	faulty   bool // something was done to the cluster
	findings int

	events     map[eventName]*simEvent
	requests   []*simRequest
	deliveries map[deliveryName]*simDelivery
	batches    map[string]string // webhook-id → members
	refused    map[string]int    // webhook-id → how often
	lines      map[lineName][]*simEvent
	turn       int // of requests
	creds      map[lineName]*credential
	disabled   map[lineName]time.Time // since when, of profiles
	enables    int                    // begun and ended enablings
	unsure     bool                   // one of them has an unknown outcome
	quiet      bool                   // webhooks that say 410 do so no more
	late       time.Duration          // latest start after a partition had moved away
	counts     struct{ arrivals, repeated, receipts, unknown, refused, conflicts, foreign, gaps, credentials, old int }
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
	request      int      // in which it was first sent, from 1
	turn         int      // within the request
	sentAt       time.Time
	receiptAt    time.Time // of the first receipt
	receipted    bool
	checked      bool // that nothing of it is lost
	possible     bool // it was taken or may have been
}

// simRequest is a request whose outcome its client never learned.
type simRequest struct{ events []*simEvent }

type simDelivery struct {
	arrivals int
	repeated int  // of those, when it was answered
	taken    bool // the receiver took it
	answered bool // a living node was told last that it took it or wants no more
	ids      []string
	ended    time.Time     // when a living node got the last answer
	patience time.Duration // that the last answer asked for
	first    struct {      // what was true at the first arrival
		epoch           uint64
		crashes, clocks int
		off             bool // a clock was off
		moving          bool // its partition had just moved
	}
}

func newTruth(seed uint64, report func(text string)) *truth {
	return &truth{
		report: report, lease: cluster.DefaultLeaseTTL, rng: simRand(seed, "webhooks"), events: map[eventName]*simEvent{},
		deliveries: map[deliveryName]*simDelivery{}, batches: map[string]string{}, refused: map[string]int{}, lines: map[lineName][]*simEvent{},
		disabled: map[lineName]time.Time{}, creds: map[lineName]*credential{},
	}
}

// String sums up what happened.
func (w *truth) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.counts
	return fmt.Sprintf("%d events, %d receipts, %d unknown, %d refused, %d conflicts; %d deliveries in %d arrivals, %d repeated, %d waits checked, %d starts up to %v after a move, %d of %d credentials just replaced",
		len(w.events), c.receipts, c.unknown, c.refused, c.conflicts, len(w.deliveries), c.arrivals, c.repeated, c.gaps, c.foreign, w.late, c.old, c.credentials)
}

// violated tells a violation. w.mu is held.
func (w *truth) violated(format string, args ...any) {
	if w.findings++; w.findings <= maxFindings {
		w.report(time.Now().Format("15:04:05.000 ") + fmt.Sprintf(format, args...))
	}
}

// lostAnswer is the error of a request that was taken without a word.
const lostAnswer = "the answer was lost"

// arrive checks a request and decides what becomes of it.
func (w *truth) arrive(s sighting, r *webhook.Request) plan {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.answer(r.Destination.ProfileID, r.WebhookID)
	p.names = w.judge(s, r, p.result.Class == webhook.ClassOK || p.result.Error == lostAnswer)
	return p
}

// judge checks a request, which its receiver takes or not. w.mu is held.
func (w *truth) judge(s sighting, r *webhook.Request, taken bool) []deliveryName {
	destination := destinationOf(r.Destination)
	if !s.leased {
		w.violated("INV dispatch-1: %s starts %s of %s without a lease", s.node, r.WebhookID, destination)
	}
	if s.strange {
		// A partition that moves away from a living node may see a start of
		// its owner before that has heard so, no longer than its lease lasts.
		w.counts.foreign++
		if w.late = max(w.late, s.since); s.since > w.lease {
			w.violated("INV lease-4: %s starts %s of %s, which it lost %v ago", s.node, r.WebhookID, destination, s.since)
		}
	}
	w.revoked(r, destination)
	w.current(r, destination, s)
	names, members := w.open(r, destination)
	if before, known := w.batches[r.WebhookID]; known && before != members {
		w.violated("INV dispatch-4: webhook-id %s is for %s, and was for %s", r.WebhookID, members, before)
	}
	w.batches[r.WebhookID] = members
	w.ordered(names, s)
	for _, name := range names {
		w.note(name, r, s, taken)
	}
	return names
}

func destinationOf(d *webhook.Destination) string {
	if d.ProfileID == "" {
		return "u:" + d.URL
	}
	return "p:" + d.ProfileID
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
		case !slices.Contains(sent.destinations, destination) && (sent.Webhook != nil || !changing(sent.Channel)):
			w.violated("event %s went to %s, it is owed to %v", e.ID, destination, sent.destinations)
		}
	}
	return names, members
}

// changing reports whether what subscriptions a channel has changes under load.
func changing(channel string) bool {
	return channel == channelGrowing || channel == channelPassing || channel == channelGone
}

// note takes one arrival of a delivery down. w.mu is held.
func (w *truth) note(name deliveryName, r *webhook.Request, s sighting, taken bool) {
	d := w.deliveries[name]
	if d == nil {
		d = &simDelivery{}
		d.first.epoch, d.first.crashes, d.first.clocks, d.first.moving = s.epoch, s.crashes, s.clocks, s.since <= w.lease
		d.first.off = s.off
		w.deliveries[name] = d
	}
	if !slices.Contains(d.ids, r.WebhookID) {
		d.ids = append(d.ids, r.WebhookID)
	}
	if e := w.events[name.eventName]; len(d.ids) > 1 && (!w.faulty || e != nil && !model.Batches(e.Channel, e.Name)) {
		w.violated("I8: event %s came to %s under %v", name.id, name.destination, d.ids)
	}
	w.contract(name, d, s)
	w.counts.arrivals++
	d.arrivals++
	d.taken = d.taken || taken
}

// answered notes what a living node was told.
func (w *truth) answered(names []deliveryName, res webhook.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		d := w.deliveries[name]
		d.ended, d.patience = time.Now(), res.RetryAfter
		d.answered = res.Class == webhook.ClassOK || res.Class == webhook.ClassGone
	}
}

// faults notes that something is done to the cluster from now on.
func (w *truth) faults() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faulty = true
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
	w.unsure = false
	clear(w.lines) // what of it has no receipt by now may have been taken or not
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
