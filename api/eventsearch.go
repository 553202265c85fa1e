package api

import (
	"net/http"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// deliveryStates are the states that a filter can ask for.
var deliveryStates = []event.Status{
	event.StatusPending, event.StatusRetrying, event.StatusDelivered, event.StatusDead, event.StatusDropped,
}

func (s *Server) eventSearchRoutes() []route {
	return []route{
		{method: http.MethodGet, path: eventsPath, scope: model.ScopeEventsRead, handle: s.searchEvents},
	}
}

func (s *Server) archive() (Archive, error) {
	if s.o.Archive == nil {
		return nil, model.Errorf(model.CodeUnavailable, "this node does not show events yet")
	}
	return s.o.Archive, nil
}

type (
	eventsOut struct {
		Events      []eventSummary `json:"events"`
		NextCursor  string         `json:"nextCursor,omitempty"`
		Unreachable []string       `json:"unreachableNodes,omitempty"`
	}
	// bareEvent is an event without its payload.
	bareEvent struct {
		event.Event
		Payload *struct{} `json:"payload,omitempty"` // hides that of Event
	}
	eventSummary struct {
		bareEvent
		AcceptedAt time.Time         `json:"acceptedAt,omitzero"`
		Deliveries []deliverySummary `json:"deliveries"`
	}
	deliverySummary struct {
		DeliveryID      string       `json:"deliveryId"`
		ProfileID       string       `json:"profileId,omitempty"`
		SubscriptionIDs []string     `json:"subscriptionIds,omitempty"`
		URL             string       `json:"url"`
		Status          event.Status `json:"status"`
		Attempts        int          `json:"attempts"`
		LastStatusCode  int          `json:"lastStatusCode,omitempty"`
		LastOutcome     string       `json:"lastOutcome,omitempty"`
		NextAttemptAt   *time.Time   `json:"nextAttemptAt,omitempty"`
	}
)

// searchEvents lists the events of the account that fit, newest first.
func (s *Server) searchEvents(r *request) error {
	archive, err := s.archive()
	if err != nil {
		return err
	}
	p := r.strictQuery()
	f := event.Filter{
		Channel: p.text("channel"), Name: p.text("event"), Resource: p.text("resource"), ApplicationID: p.text("applicationId"), EntityID: p.text("entityId"),
		Status: choice(p, "status", deliveryStates...), ProfileID: p.text("profileId"), SubscriptionID: p.text("subscriptionId"),
		From: p.time("from"), To: p.time("to"),
	}
	checkCatalogue(f.Channel, f.Name, "", &p.v)
	checkRange(f.From, f.To, "", &p.v)
	limit, after := p.limit(), p.eventCursor()
	if err := p.err(); err != nil {
		return err
	}
	page, err := archive.Search(r.ctx(), r.caller.account, f, after, limit)
	if err != nil {
		return err
	}
	out := eventsOut{Events: make([]eventSummary, 0, len(page.Records)), Unreachable: page.Unreachable}
	for _, rec := range page.Records {
		out.Events = append(out.Events, summaryWire(rec))
	}
	if page.Next != (event.Ref{}) {
		out.NextCursor = writeCursor(cursorEvents, page.Next.AcceptedAt, page.Next.EventID)
	}
	return r.json(http.StatusOK, out)
}

func summaryWire(rec event.Record) eventSummary {
	out := eventSummary{bareEvent: bareEvent{Event: rec.Event}, AcceptedAt: rec.AcceptedAt, Deliveries: make([]deliverySummary, 0, len(rec.Deliveries))}
	for _, d := range rec.Deliveries {
		sum := deliverySummary{
			DeliveryID: d.DeliveryID, ProfileID: d.ProfileID, SubscriptionIDs: d.SubscriptionIDs, URL: d.URL, Status: d.Status, Attempts: len(d.Attempts),
		}
		if n := len(d.Attempts); n > 0 {
			// The number of the last one counts those of nodes that did not answer.
			last := d.Attempts[n-1]
			sum.Attempts, sum.LastStatusCode, sum.LastOutcome = max(n, last.Attempt), last.StatusCode, last.Outcome
		}
		if !d.Status.Final() {
			sum.NextAttemptAt = d.NextAttemptAt
		}
		out.Deliveries = append(out.Deliveries, sum)
	}
	return out
}
