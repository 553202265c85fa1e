package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
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
		User: p.text("user"), OrderingKey: p.text("orderingKey"),
		Status: choice(p, "status", deliveryStates...), ProfileID: p.text("profileId"), SubscriptionID: p.text("subscriptionId"),
		From: p.time("from"), To: p.time("to"),
	}
	checkCatalogue(f.Channel, f.Name, "", &p.v)
	checkRange(f.From, f.To, "", &p.v)
	form := r.exportForm()
	limit, after := p.exportLimit(form), p.eventCursor()
	if err := p.err(); err != nil {
		return err
	}
	if form != formPage {
		return r.export(exportOfEvents(form, after, func(ctx context.Context, after event.Ref, limit int) (event.Page, error) {
			return archive.Search(ctx, r.caller.account, f, after, limit)
		}))
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

// exportOfEvents has a line for every delivery, and one for an event without.
func exportOfEvents(form exportForm, after event.Ref, look func(context.Context, event.Ref, int) (event.Page, error)) export {
	return export{
		form: form, name: "events", columns: slices.Concat([]string{"acceptedAt"}, eventColumns, []string{
			"deliveryId", "profileId", "subscriptionIds", "url", "status", "attempts", "lastStatusCode", "lastOutcome", "nextAttemptAt",
		}),
		next: func(ctx context.Context, limit int) (out exportPart, err error) {
			page, err := look(ctx, after, limit)
			if err != nil {
				return out, err
			}
			for _, rec := range page.Records {
				sum := summaryWire(rec)
				begin := append([]string{cellOf(sum.AcceptedAt)}, eventCells(&sum.Event)...)
				row := exportRow{json: sum}
				for _, d := range sum.Deliveries {
					next := ""
					if d.NextAttemptAt != nil {
						next = cellOf(*d.NextAttemptAt)
					}
					row.lines = append(row.lines, slices.Concat(begin, []string{
						d.DeliveryID, d.ProfileID, strings.Join(d.SubscriptionIDs, " "), d.URL, string(d.Status), strconv.Itoa(d.Attempts), number(d.LastStatusCode), d.LastOutcome, next,
					}))
				}
				if len(row.lines) == 0 {
					row.lines = [][]string{slices.Concat(begin, make([]string, 9))}
				}
				out.rows = append(out.rows, row)
			}
			after, out.unreachable = page.Next, page.Unreachable
			if out.more = after != (event.Ref{}); out.more {
				out.cursor = writeCursor(cursorEvents, after.AcceptedAt, after.EventID)
			}
			return out, nil
		},
	}
}

// eventColumns are the members of an event in a line of an export.
var eventColumns = []string{
	"eventId", "channel", "event", "format", "applicationId", "entityId", "callsConfigurationId", "resource", "user", "orderingKey", "occurredAt", "receivedAt",
}

func eventCells(e *event.Event) []string {
	return []string{
		e.ID, e.Channel, e.Name, e.Format, e.ApplicationID, e.EntityID, e.CallsConfigurationID, e.Resource, e.User, e.OrderingKey, cellOf(e.OccurredAt), cellOf(e.ReceivedAt),
	}
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
