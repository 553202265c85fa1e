package console

import (
	"net/url"
	"strconv"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// eventView is one event with what became of it.
type eventView struct {
	event.Record
	At  time.Time
	Fan []fanOut
	// Summary says what became of it in a few words.
	Summary string
	// Moving: something may still happen, so the page looks again.
	Moving bool
	// Why is the address that explains which subscriptions it fits.
	Why string
	// Suppressed: its submit asked for no delivery.
	Suppressed bool
}

// fanOut is one delivery of an event.
type fanOut struct {
	event.Delivery
	Name string
	Tone string
	Rows []attemptRow
	// Replay is where its dead letter is sent again; empty: it is none.
	Replay string
}

// attemptRow is one attempt in the timeline of a delivery.
type attemptRow struct {
	event.Attempt
	Words, Tone, Href string
	// Gap is the time since the attempt before; empty for the first.
	Gap string
	// Share is the duration in percent of the slowest attempt of the event.
	Share int
}

func showEvent(v *visit) (*answer, error) {
	id := v.param("id")
	rec, err := v.api.Event(v.ctx(), id)
	if err != nil {
		return nil, err
	}
	view := eventView{Record: rec, At: acceptedAt(&rec.Event, rec.AcceptedAt), Why: matchAddress(&rec.Event), Suppressed: rec.Suppressed()}
	slowest := int64(1)
	counts := map[event.Status]int{}
	for _, d := range rec.Deliveries {
		counts[d.Status]++
		// One that is dead may be replayed, by a button of this page or by a job.
		view.Moving = view.Moving || !d.Status.Final() || d.Status == event.StatusDead
		for _, a := range d.Attempts {
			slowest = max(slowest, a.DurationMs)
		}
	}
	for _, d := range rec.Deliveries {
		view.Fan = append(view.Fan, fanOf(id, d, slowest))
	}
	var list []statusCount
	for _, s := range statuses {
		if counts[s] > 0 {
			list = append(list, statusCount{s, counts[s]})
		}
	}
	view.Summary = countWords(list)
	return v.show(view).titled("%s", id).under("Events", at("/events")), nil
}

func fanOf(id string, d event.Delivery, slowest int64) fanOut {
	out := fanOut{Delivery: d, Name: destinationOf(d.ProfileID), Tone: statusTone(d.Status)}
	if d.Status == event.StatusDead {
		out.Replay = at("/dead-letters/{}/replay", d.DeliveryID)
	}
	var before time.Time
	for _, a := range d.Attempts {
		row := attemptRow{Attempt: a, Href: attemptAddress(id, d.DeliveryID, a.Attempt), Share: int(max(1, a.DurationMs*100/slowest))}
		row.Words, row.Tone = outcome(a.Outcome)
		if !before.IsZero() {
			row.Gap = duration(a.At.Sub(before))
		}
		before = a.At
		out.Rows = append(out.Rows, row)
	}
	return out
}

func attemptAddress(id, delivery string, n int) string {
	return at("/events/{}/deliveries/{}/{}", id, delivery, strconv.Itoa(n))
}

func statusTone(s event.Status) string {
	switch s {
	case event.StatusDelivered:
		return "ok"
	case event.StatusRetrying:
		return "warn"
	case event.StatusDead:
		return "bad"
	case event.StatusPending:
		return "info"
	case event.StatusDropped:
	}
	return ""
}

// matchAddress asks which subscriptions an event fits.
func matchAddress(e *event.Event) string {
	q := url.Values{}
	for name, value := range map[string]string{
		"channel": e.Channel, "event": e.Name, "applicationId": e.ApplicationID, "entityId": e.EntityID,
		"callsConfigurationId": e.CallsConfigurationID, "resource": e.Resource, "user": e.User,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return address(at("/match"), q)
}

// findAttempt finds an attempt of an event and its delivery.
func findAttempt(rec *event.Record, delivery, number string) (*event.Delivery, int, error) {
	n, err := strconv.Atoi(number)
	for i := range rec.Deliveries {
		d := &rec.Deliveries[i]
		if d.DeliveryID != delivery || err != nil {
			continue
		}
		for j := range d.Attempts {
			if d.Attempts[j].Attempt == n {
				return d, j, nil
			}
		}
	}
	return nil, 0, model.Errorf(model.CodeNotFound, "there is no such attempt, or it is no longer kept, or the node that made it does not answer")
}
