package api

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const (
	eventsPath     = "/events/1/events"
	typeNDJSON     = "application/x-ndjson"
	typeCloudEvent = "application/cloudevents+json"
	typeCloudBatch = "application/cloudevents-batch+json"
)

func (s *Server) eventRoutes() []route {
	return []route{
		{
			method: http.MethodPost, path: eventsPath, scope: model.ScopeEventsWrite, maxBody: s.o.Limits.EventBody,
			media: []string{typeJSON, typeNDJSON, typeCloudEvent, typeCloudBatch}, checksMedia: true, frequent: true, handle: s.publishEvents,
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

// submission is a request to publish, taken apart.
type submission struct {
	events []*event.Event
	single bool // one event that is no item of a list
	cloud  bool // CloudEvents
}

// publishEvents takes one event, an array or lines of them: all or none.
func (s *Server) publishEvents(r *request) error {
	plane, err := s.events()
	if err != nil {
		return err
	}
	in, err := r.submission()
	if err != nil {
		return err
	}
	if err := s.checkOverrides(in.events, in.single); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	receipts, err := plane.Publish(ctx, in.events)
	if err != nil {
		return in.publishError(err)
	}
	return r.json(http.StatusAccepted, receiptsOut{Events: listOf(receipts)})
}

// submission reads the body in the form that the headers tell.
func (r *request) submission() (submission, error) {
	media := r.http.Header.Get("Content-Type")
	t, _, err := mime.ParseMediaType(media)
	if err != nil {
		t = ""
	}
	o := event.Options{
		Account: r.caller.account, ReceivedAt: r.s.o.Now().UTC(), MaxEventBytes: r.s.o.Limits.EventBytes, MaxEvents: r.s.o.Limits.BatchEvents,
		Known: knownEvent, NewID: newEventID,
	}
	var form event.Form
	in := submission{}
	switch {
	case t == typeCloudEvent:
		form, in.single, in.cloud = event.FormCloudEvent, true, true
	case t == typeCloudBatch:
		form, in.cloud = event.FormCloudBatch, true
	case event.Binary(r.http.Header):
		return r.binarySubmission(media, o)
	case t == typeNDJSON:
		form = event.FormNDJSON
	case t == typeJSON || r.http.ContentLength == 0: // an empty body is complained about as such
		form = event.FormJSON
	default:
		return submission{}, r.badMedia()
	}
	b, err := r.body()
	if err != nil {
		return submission{}, err
	}
	if form == event.FormJSON {
		in.single = bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte{'{'})
	}
	in.events, err = event.Decode(b, form, o)
	if err != nil {
		return submission{}, eventError(err)
	}
	return in, nil
}

// binarySubmission reads a CloudEvent whose attributes are headers. The
// Content-Type is that of its data then.
func (r *request) binarySubmission(media string, o event.Options) (submission, error) {
	if media != "" && (!event.JSONMedia(media) || strings.HasPrefix(strings.ToLower(media), "application/cloudevents")) {
		return submission{}, model.Errorf(codeMediaType, "the Content-Type of a CloudEvent in binary mode must be application/json or end in +json")
	}
	b, err := r.body()
	if err != nil {
		return submission{}, err
	}
	es, err := event.DecodeBinary(r.http.Header, b, o)
	if err != nil {
		return submission{}, eventError(err)
	}
	return submission{events: es, single: true, cloud: true}, nil
}

func knownEvent(channel, name string) event.Knowledge {
	c, ok := model.ChannelByName(channel)
	switch {
	case !ok:
		return event.UnknownChannel
	case c.Reserved:
		return event.ReservedChannel
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
	case e.TooLarge && e.Pointer == "":
		return model.Errorf(model.CodeTooLarge, "%s", e.Error())
	case e.TooLarge:
		return &model.Error{Code: model.CodeTooLarge, Field: e.Pointer, Message: e.Reason}
	}
	code := model.CodeInvalid
	if e.TooLarge {
		code = model.CodeTooLarge
	}
	if e.Pointer == "" {
		return model.Errorf(code, "%s", e.Error())
	}
	return &model.Error{Code: code, Field: e.Pointer, Message: e.Reason}
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

// publishError makes the pointers of a refusal fit the form of the body: one
// event has no position, and a CloudEvent calls its id another name.
func (in submission) publishError(err error) error {
	e, ok := errors.AsType[*model.Error](err)
	if !ok || !in.single && !in.cloud {
		return err
	}
	c := *e
	c.Field = in.pointer(c.Field)
	c.Fields = slices.Clone(c.Fields)
	for i := range c.Fields {
		c.Fields[i].Field = in.pointer(c.Fields[i].Field)
	}
	return &c
}

func (in submission) pointer(p string) string {
	if rest, cut := strings.CutPrefix(p, "/0/"); cut && in.single {
		p = "/" + rest
	}
	if head, cut := strings.CutSuffix(p, "/eventId"); cut && in.cloud {
		p = head + "/id"
	}
	return p
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
		return notFoundAs(err, model.Errorf(model.CodeNotFound, "there is no such event, or it is no longer kept"))
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
