package api

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const (
	eventsPath = "/events/1/events"
	typeNDJSON = "application/x-ndjson"
)

func (s *Server) eventRoutes() []route {
	return []route{
		{
			method: http.MethodPost, path: eventsPath, scope: model.ScopeEventsWrite, maxBody: s.o.Limits.EventBody,
			media: []string{typeJSON, typeNDJSON}, frequent: true, handle: s.publishEvents,
		},
		{method: http.MethodGet, path: eventsPath + "/{eventId}", scope: model.ScopeEventsRead, handle: s.getEvent},
	}
}

func (s *Server) events() (Events, error) {
	if s.o.Events == nil {
		return nil, model.Errorf(model.CodeUnavailable, "this node does not take events yet")
	}
	return s.o.Events, nil
}

// publishEvents takes one event, an array or lines of them: all or none.
func (s *Server) publishEvents(r *request) error {
	plane, err := s.events()
	if err != nil {
		return err
	}
	b, err := r.body()
	if err != nil {
		return err
	}
	form := event.FormJSON
	if t, _, err := mime.ParseMediaType(r.http.Header.Get("Content-Type")); err == nil && t == typeNDJSON {
		form = event.FormNDJSON
	}
	es, err := event.Decode(b, form, event.Options{
		Account: r.caller.account, ReceivedAt: s.o.Now().UTC(), MaxEventBytes: s.o.Limits.EventBytes, MaxEvents: s.o.Limits.BatchEvents,
		Known: knownEvent, NewID: newEventID,
	})
	if err != nil {
		return eventError(err)
	}
	single := form == event.FormJSON && bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte{'{'})
	if err := s.checkOverrides(es, single); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	receipts, err := plane.Publish(ctx, es)
	if err != nil {
		return publishError(err, single)
	}
	return r.json(http.StatusAccepted, receiptsOut{Events: listOf(receipts)})
}

func knownEvent(channel, name string) event.Knowledge {
	c, ok := model.ChannelByName(channel)
	switch {
	case !ok:
		return event.UnknownChannel
	case !c.Has(name):
		return event.UnknownEvent
	}
	return event.KnownEvent
}

// newEventID makes an id that sorts by time.
func newEventID() string {
	return uuid.Must(uuid.NewV7()).String() // fails only without randomness, which never happens
}

// eventError turns a complaint of the decoder into ours.
func eventError(err error) error {
	e, ok := errors.AsType[*event.Error](err)
	switch {
	case !ok:
		return err
	case e.Pointer == "":
		return model.Errorf(model.CodeInvalid, "%s", e.Error())
	}
	return model.Invalid(e.Pointer, "%s", e.Reason)
}

// checkOverrides asks the policy about the URLs that came with the events. The
// dialer asks again, after DNS.
func (s *Server) checkOverrides(es []*event.Event, single bool) error {
	if s.o.URLs == nil {
		return nil
	}
	for i, e := range es {
		if e.Webhook == nil || e.Webhook.URL == "" {
			continue
		}
		err := s.o.URLs.CheckURL(e.Webhook.URL)
		if err == nil {
			continue
		}
		at := "/webhook/url"
		if !single {
			at = "/" + strconv.Itoa(i) + at
		}
		if me, ok := errors.AsType[*model.Error](err); ok && me.Code == model.CodeInvalid {
			return model.Invalid(at, "%s", me.Message)
		}
		return err
	}
	return nil
}

// publishError makes the pointer of a refusal fit the form of the body: one
// object has no position.
func publishError(err error, single bool) error {
	e, ok := errors.AsType[*model.Error](err)
	if !ok || !single {
		return err
	}
	if rest, cut := strings.CutPrefix(e.Field, "/0/"); cut {
		c := *e
		c.Field = "/" + rest
		return &c
	}
	return err
}

// getEvent shows an event with its deliveries and their attempts.
func (s *Server) getEvent(r *request) error {
	plane, err := s.events()
	if err != nil {
		return err
	}
	id := r.param("eventId")
	if msg := event.CheckID(id); msg != "" {
		return model.Invalid("eventId", "%s", msg)
	}
	rec, err := plane.Event(r.ctx(), r.caller.account, id)
	if err != nil {
		if model.CodeOf(err) == model.CodeNotFound {
			return model.Errorf(model.CodeNotFound, "there is no such event, or it is no longer kept")
		}
		return err
	}
	return r.json(http.StatusOK, recordWire(rec))
}

// recordWire leaves lists in place and drops the time of a next attempt that
// will not come.
func recordWire(rec event.Record) event.Record {
	ds := make([]event.Delivery, len(rec.Deliveries))
	for i, d := range rec.Deliveries {
		if d.Status.Final() {
			d.NextAttemptAt = nil
		}
		d.Attempts = listOf(d.Attempts)
		ds[i] = d
	}
	rec.Deliveries = ds
	return rec
}
