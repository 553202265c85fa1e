package node

import (
	"slices"
	"strings"
	"time"

	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// sighting is what was true of the cluster when a request arrived.
type sighting struct {
	node   string
	leased bool // the node had a lease
	// The newest partition table: whether it gives the partition to another
	// node, since when it gives it to whom it does, and the epoch.
	strange bool
	since   time.Duration
	epoch   uint64
	crashes int  // of all nodes, so far
	clocks  int  // how often a clock was set, so far
	off     bool // a clock is off
	// dead reports whether the node has a dead letter of the delivery. nil: no.
	dead func(name deliveryName) bool
}

// most is how many attempts the policy of a profile allows; 0: not known here.
func most(destination string) int {
	id, ok := strings.CutPrefix(destination, "p:")
	if !ok {
		return 0
	}
	return len(simSchedule(id)) + 1
}

// handovers is how often the outcome of an attempt of d may have been lost
// since its first arrival: with every change of the owner, and with every crash.
func (d *simDelivery) handovers(s sighting) int {
	n := int(s.epoch) - int(d.first.epoch) + s.crashes - d.first.crashes
	if d.first.moving {
		n++
	}
	return n
}

// contract checks an arrival against what is promised of duplicates (I8) and of
// retries (I10). It is called before the arrival is counted. w.mu is held.
func (w *truth) contract(name deliveryName, d *simDelivery, s sighting) {
	lost := d.handovers(s)
	if d.answered {
		d.answered = false // a repetition that is refused is tried again as if nothing had been
		d.repeated++
		w.counts.repeated++
		if !w.faulty {
			w.violated("I8: event %s came to %s again without a fault", name.id, name.destination)
		} else if d.repeated > lost {
			w.violated("I8: event %s came to %s %d times after it was answered, though its outcome was lost at most %d times (first %+v, now %+v)",
				name.id, name.destination, d.repeated, lost, d.first, s)
		}
		return
	}
	if limit := most(name.destination); limit > 0 && d.arrivals >= limit+max(0, lost) {
		w.violated("I10: event %s comes to %s for the %d. time, its policy allows %d and %d may have been lost", name.id, name.destination, d.arrivals+1, limit, lost)
	}
	w.gap(name, d, s, lost)
}

// simJitter is how far a wait may be off, to either side; and simSlack what a
// start may be late, when nothing is wrong: turns and rounds of consensus.
const (
	simJitter = 0.1
	simSlack  = time.Second
)

// gap checks the wait before a retry. Without a handover the arrivals say which
// retry it is.
func (w *truth) gap(name deliveryName, d *simDelivery, s sighting, lost int) {
	if d.arrivals == 0 || lost != 0 || s.clocks != d.first.clocks || s.off || d.first.off || d.ended.IsZero() {
		return
	}
	profile, ok := strings.CutPrefix(name.destination, "p:")
	schedule := simSchedule(profile)
	if !ok || d.arrivals > len(schedule) {
		return
	}
	wait := time.Duration(schedule[d.arrivals-1]) * time.Second
	least := max(time.Duration((1-simJitter)*float64(wait)), d.patience)
	if got := time.Since(d.ended); got < least-time.Millisecond {
		w.violated("I10: retry %d of event %s to %s comes %v after the answer, not before %v is due", d.arrivals, name.id, name.destination, got, least)
	} else if way(profile) == wayDead && !w.faulty && got > time.Duration((1+simJitter)*float64(wait))+simSlack {
		// Whose refusals say nothing of its health is not held back either.
		w.violated("I10: retry %d of event %s to %s comes %v after the answer, %v was due", d.arrivals, name.id, name.destination, got, wait)
	}
	w.counts.gaps++
}

// lineName is a queue in which order is promised.
type lineName struct{ account, destination, key string }

// lines are the queues an event stands in.
func (e *simEvent) lines() (ls []lineName) {
	for _, d := range e.destinations {
		switch profile, _ := strings.CutPrefix(d, "p:"); simOrdering(profile) {
		case model.OrderingKey:
			if e.OrderingKey != "" {
				ls = append(ls, lineName{e.Account, d, e.OrderingKey})
			}
		case model.OrderingStrict:
			ls = append(ls, lineName{e.Account, d, ""})
		case model.OrderingNone:
		}
	}
	return ls
}

// precedes reports whether e was accepted before f for sure.
func (e *simEvent) precedes(f *simEvent) bool {
	if e.request == f.request {
		return e.turn < f.turn
	}
	return e.receipted && e.receiptAt.Before(f.sentAt)
}

// ordered checks that what a request carries does not overtake (I9). w.mu is
// held.
func (w *truth) ordered(names []deliveryName, s sighting) {
	for i, name := range names {
		e := w.events[name.eventName]
		if e == nil {
			continue
		}
		for _, line := range e.lines() {
			if line.destination != name.destination {
				continue
			}
			queue := w.lines[line]
			for len(queue) > 0 && queue[0] != e && queue[0].receipted && w.resolved(queue[0], name.destination, s) {
				queue = queue[1:]
			}
			w.lines[line] = queue
			for _, before := range queue {
				other := deliveryName{eventName{before.Account, before.ID}, name.destination}
				if before == e || !before.precedes(e) || slices.Contains(names[:i], other) || w.resolved(before, name.destination, s) {
					continue
				}
				w.violated("I9: event %s comes to %s before %s, which was accepted before it and is not resolved (%+v)",
					name.id, name.destination, before.ID, w.deliveries[other])
			}
		}
	}
}

// resolved reports whether nothing has to wait for the event any more.
func (w *truth) resolved(e *simEvent, destination string, s sighting) bool {
	name := deliveryName{eventName{e.Account, e.ID}, destination}
	d := w.deliveries[name]
	return d != nil && (d.taken || d.arrivals >= most(destination)) || s.dead != nil && s.dead(name)
}

// sent notes that a request is sent for the first time. w.mu is held.
func (w *truth) sent(es []*simEvent) {
	w.turn++
	for i, e := range es {
		w.events[eventName{e.Account, e.ID}] = e
		e.request, e.turn, e.sentAt = w.turn, i, time.Now()
		for _, line := range e.lines() {
			w.lines[line] = append(w.lines[line], e)
		}
	}
}

// disabling and enabling are changes of a profile that are under way. Where one
// of them ends while another is, or with an unknown outcome, nobody knows which
// came last, and nothing is checked until the next enabling.
func (w *truth) disabling() (answered func(account, profile string, err error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	began := w.enables
	return func(account, profile string, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil && began == w.enables && began%2 == 0 && !w.unsure {
			w.disabled[lineName{account: account, destination: "p:" + profile}] = time.Now()
		}
	}
}

// enabling is for one client: enables is odd while it is at work.
func (w *truth) enabling(account, profile string) (answered func(err error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enables++
	delete(w.disabled, lineName{account: account, destination: "p:" + profile})
	return func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.enables++
		w.unsure = w.unsure || err != nil
	}
}

// revoked checks that nothing starts for a profile that was disabled longer ago
// than a lease lasts. w.mu is held.
func (w *truth) revoked(r *webhook.Request, destination string) {
	at, ok := w.disabled[lineName{account: r.Destination.Account, destination: destination}]
	if ok && time.Since(at) > w.lease {
		w.violated("I10: %s of %s starts %v after its profile was disabled", r.WebhookID, destination, time.Since(at))
	}
}
