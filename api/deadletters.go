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

const deadLettersPath = "/events/1/dead-letters"

func (s *Server) deadLetterRoutes() []route {
	const one = deadLettersPath + "/{deliveryId}"
	return []route{
		{method: http.MethodGet, path: deadLettersPath, scope: model.ScopeEventsRead, handle: s.listDeadLetters},
		{method: http.MethodGet, path: one, scope: model.ScopeEventsRead, handle: s.getDeadLetter},
		{method: http.MethodPost, path: one + "/replay", scope: model.ScopeEventsWrite, handle: s.replayDeadLetter},
	}
}

type (
	deadLettersOut struct {
		DeadLetters []deadLetterOut[bareEvent] `json:"deadLetters"`
		NextCursor  string                     `json:"nextCursor,omitempty"`
	}
	// deadLetterOut is a dead letter; E is event.Event, or bareEvent in a list.
	deadLetterOut[E event.Event | bareEvent] struct {
		DeliveryID      string        `json:"deliveryId"`
		ProfileID       string        `json:"profileId,omitempty"`
		SubscriptionIDs []string      `json:"subscriptionIds,omitempty"`
		URL             string        `json:"url,omitempty"`
		AcceptedAt      time.Time     `json:"acceptedAt"`
		DeadAt          time.Time     `json:"deadAt"`
		Attempts        int           `json:"attempts"`
		Failure         event.Failure `json:"failure"`
		Event           E             `json:"event"`
	}
	deliveryOut struct {
		DeliveryID string `json:"deliveryId"`
	}
)

func deadLetterWire[E event.Event | bareEvent](d event.DeadLetter, e E) deadLetterOut[E] {
	return deadLetterOut[E]{
		DeliveryID: d.DeliveryID, ProfileID: d.ProfileID, SubscriptionIDs: d.SubscriptionIDs, URL: d.URL,
		AcceptedAt: d.AcceptedAt, DeadAt: d.DeadAt, Attempts: d.Attempts, Failure: d.Failure, Event: e,
	}
}

// checkDeadFilter refuses what no dead letter can fit. at is what stands
// before the names of the members.
func checkDeadFilter(f *event.DeadFilter, at string, v *model.Violations) {
	texts := []struct{ name, value string }{{"profileId", f.ProfileID}, {"channel", f.Channel}, {"event", f.Name}, {"eventId", f.EventID}}
	for _, t := range texts {
		if msg := model.CheckText(t.value, 0, event.MaxFieldLength); msg != "" {
			v.Add(at+t.name, "%s", msg)
			return
		}
	}
	checkCatalogue(f.Channel, f.Name, at, v)
	checkRange(f.From, f.To, at, v)
}

// listDeadLetters lists the dead letters of the account that fit, from the
// youngest to the oldest.
func (s *Server) listDeadLetters(r *request) error {
	archive, err := s.archive()
	if err != nil {
		return err
	}
	p := r.strictQuery()
	f := event.DeadFilter{
		ProfileID: p.text("profileId"), Channel: p.text("channel"), Name: p.text("event"), EventID: p.text("eventId"), From: p.time("from"), To: p.time("to"),
	}
	checkDeadFilter(&f, "", &p.v)
	form := r.exportForm()
	limit, before := p.exportLimit(form), p.deadCursor()
	if err := p.err(); err != nil {
		return err
	}
	if form != formPage {
		return r.export(exportOfDead(form, before, func(ctx context.Context, before time.Time, limit int) (event.DeadPage, error) {
			return archive.DeadLetters(ctx, r.caller.account, f, before, limit)
		}))
	}
	page, err := archive.DeadLetters(r.ctx(), r.caller.account, f, before, limit)
	if err != nil {
		return err
	}
	out := deadLettersOut{DeadLetters: make([]deadLetterOut[bareEvent], 0, len(page.DeadLetters))}
	for _, d := range page.DeadLetters {
		out.DeadLetters = append(out.DeadLetters, deadLetterWire(d, bareEvent{Event: d.Event}))
	}
	if !page.Next.IsZero() {
		out.NextCursor = writeCursor(cursorDead, page.Next, "")
	}
	return r.json(http.StatusOK, out)
}

func exportOfDead(form exportForm, before time.Time, look func(context.Context, time.Time, int) (event.DeadPage, error)) export {
	return export{
		form: form, name: "dead-letters",
		columns: slices.Concat([]string{"deadAt", "deliveryId", "profileId", "subscriptionIds", "url", "acceptedAt", "attempts", "outcome", "statusCode", "error"}, eventColumns),
		next: func(ctx context.Context, limit int) (out exportPart, err error) {
			page, err := look(ctx, before, limit)
			if err != nil {
				return out, err
			}
			for _, d := range page.DeadLetters {
				out.rows = append(out.rows, exportRow{deadLetterWire(d, bareEvent{Event: d.Event}), [][]string{slices.Concat([]string{
					cellOf(d.DeadAt), d.DeliveryID, d.ProfileID, strings.Join(d.SubscriptionIDs, " "), d.URL, cellOf(d.AcceptedAt), strconv.Itoa(d.Attempts),
					d.Failure.Outcome, number(d.Failure.StatusCode), d.Failure.Error,
				}, eventCells(&d.Event))}})
			}
			before = page.Next
			if out.more = !before.IsZero(); out.more {
				out.cursor = writeCursor(cursorDead, before, "")
			}
			return out, nil
		},
	}
}

// deliveryID is the id in the path; one that no delivery can have is not
// asked for.
func (r *request) deliveryID() (string, error) {
	id := r.param("deliveryId")
	if event.CheckID(id) != "" {
		return "", errNoDeadLetter()
	}
	return id, nil
}

func errNoDeadLetter() error {
	return model.Errorf(model.CodeNotFound, "there is no dead letter of this delivery: it was never given up, was sent again, or is no longer kept")
}

func (s *Server) getDeadLetter(r *request) error {
	archive, err := s.archive()
	if err != nil {
		return err
	}
	if err := r.noQuery(); err != nil {
		return err
	}
	id, err := r.deliveryID()
	if err != nil {
		return err
	}
	d, err := archive.DeadLetter(r.ctx(), r.caller.account, id)
	if err != nil {
		return notFoundAs(err, errNoDeadLetter())
	}
	return r.json(http.StatusOK, deadLetterWire(d, d.Event))
}

// replayDeadLetter sends one dead letter again, as the delivery that it was.
func (s *Server) replayDeadLetter(r *request) error {
	archive, err := s.archive()
	if err != nil {
		return err
	}
	if err := r.noQuery(); err != nil {
		return err
	}
	if err := r.noBody(); err != nil {
		return err
	}
	id, err := r.deliveryID()
	if err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	if err := archive.Replay(ctx, r.caller.account, id); err != nil {
		return notFoundAs(err, errNoDeadLetter())
	}
	return r.json(http.StatusAccepted, deliveryOut{DeliveryID: id})
}
