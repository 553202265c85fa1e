package event

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Form says how a body holds its events.
type Form int

// The forms of a body.
const (
	FormJSON   Form = iota // one object or an array of objects
	FormNDJSON             // one object per line
	// FormCloudEvent is one CloudEvent and FormCloudBatch an array of them, in
	// the JSON format of CloudEvents 1.0. The binary mode has DecodeBinary.
	FormCloudEvent
	FormCloudBatch
)

// Error says what is wrong with a body and where. It never repeats a value of
// the request.
type Error struct {
	// Pointer is a JSON pointer into the body; empty for the body as a
	// whole. For NDJSON its first part is the number of the event, from 0. In
	// the binary mode of CloudEvents its part is the attribute: /type is the
	// header ce-type, /data the body.
	Pointer string
	Reason  string
	// TooLarge: one event is larger than the limit. Nothing else is wrong so far.
	TooLarge bool
}

// Error gives pointer and reason.
func (e *Error) Error() string {
	if e.Pointer == "" {
		return "the body " + e.Reason
	}
	return e.Pointer + " " + e.Reason
}

// Knowledge is what is known of a channel and an event of it.
type Knowledge int

// What Options.Known can answer.
const (
	KnownEvent Knowledge = iota
	UnknownChannel
	UnknownEvent
	ReservedChannel // nobody can publish to it
)

// Options says what Decode fills in and checks against. Known and NewID must
// be set.
type Options struct {
	Account    string
	ReceivedAt time.Time
	// MaxEventBytes bounds one event as sent. 0: DefaultMaxEventBytes; values
	// above the constant of the same name count as that.
	MaxEventBytes int
	// MaxEvents bounds the events of one body. 0: MaxBatchEvents.
	MaxEvents int
	Known     func(channel, event string) Knowledge
	// NewID makes the id of an event that came without one (UUIDv7).
	NewID func() string
}

// The forms of deliveries.
const (
	ContentTypeJSON = "application/json"
	ContentTypeXML  = "application/xml" // of the events that have an XML form
)

// fill puts the defaults in place and keeps to the hard bound.
func (o *Options) fill() {
	if o.MaxEventBytes <= 0 {
		o.MaxEventBytes = DefaultMaxEventBytes
	}
	o.MaxEventBytes = min(o.MaxEventBytes, MaxEventBytes)
	if o.MaxEvents <= 0 {
		o.MaxEvents = MaxBatchEvents
	}
}

// Decode reads the events of one body, in their order, or says what is wrong
// with the first bad one: an *Error. The events hold no memory of body. The
// caller bounds the body's size.
//
// INV event-3: all events or none.
func Decode(body []byte, form Form, o Options) ([]*Event, error) {
	o.fill()
	if !utf8.Valid(body) {
		return nil, &Error{Reason: "is not valid UTF-8"}
	}
	d := decoder{scanner: scanner{b: body}, o: o}
	d.read = d.event
	if form == FormCloudEvent || form == FormCloudBatch {
		d.read = d.cloudEvent
	}
	d.space()
	if d.i == len(body) {
		return nil, &Error{Reason: "is empty; it must hold at least one event"}
	}
	var err *Error
	switch {
	case form == FormNDJSON:
		err = d.lines()
	case form == FormCloudBatch && d.peek() != '[':
		err = &Error{Reason: "must be an array of CloudEvents"}
	case form == FormCloudEvent && d.peek() != '{':
		err = &Error{Reason: "must be one CloudEvent, an object"}
	case d.peek() == '[':
		err = d.array()
	default:
		err = d.one("")
	}
	if err != nil {
		return nil, err
	}
	d.space()
	if d.i < len(body) {
		return nil, &Error{Reason: "goes on after its JSON value, near byte " + strconv.Itoa(d.i)}
	}
	return d.events, nil
}

type decoder struct {
	scanner
	o      Options
	read   func(raw []byte, at string) (*Event, *Error)
	events []*Event
}

func (d *decoder) item() string { return "/" + strconv.Itoa(len(d.events)) }

func (d *decoder) room() *Error {
	if len(d.events) < d.o.MaxEvents {
		return nil
	}
	return &Error{Pointer: d.item(), Reason: "is one event too many: a request may hold " + strconv.Itoa(d.o.MaxEvents)}
}

func (d *decoder) array() *Error {
	d.i++
	d.space()
	if d.peek() == ']' {
		return &Error{Reason: "is an empty array; it must hold at least one event"}
	}
	for {
		if err := d.room(); err != nil {
			return err
		}
		if err := d.one(d.item()); err != nil {
			return err
		}
		d.space()
		if d.take(']') {
			return nil
		}
		if !d.take(',') {
			return d.fault("")
		}
	}
}

// lines reads one event per line: an event may not run over its end.
func (d *decoder) lines() *Error {
	whole := d.b
	for d.space(); d.i < len(whole); d.space() {
		if err := d.room(); err != nil {
			return err
		}
		end := bytes.IndexByte(whole[d.i:], '\n')
		if end < 0 {
			end = len(whole) - d.i
		}
		next := d.i + end
		d.b = whole[:next]
		at := d.item()
		if err := d.one(at); err != nil {
			return err
		}
		if d.space(); d.i < next {
			return &Error{Pointer: at, Reason: "must be one JSON object on a line of its own"}
		}
		d.b = whole
	}
	return nil
}

// one reads the event at the scanner's place.
//
// INV event-1: its bytes are measured before anything is made of them.
func (d *decoder) one(at string) *Error {
	d.space()
	if d.peek() != '{' {
		if at == "" {
			return &Error{Reason: "must be an object or an array of objects"}
		}
		return &Error{Pointer: at, Reason: "must be an object"}
	}
	start := d.i
	switch d.skip(MaxJSONDepth + 1) { // the event itself is one level more than its payload
	case scanBad:
		return d.fault(at)
	case scanDeep:
		return &Error{Pointer: at, Reason: "is nested deeper than " + strconv.Itoa(MaxJSONDepth) + " levels"}
	case scanOK:
	}
	if d.i-start > d.o.MaxEventBytes {
		return tooLarge(at, d.o.MaxEventBytes)
	}
	e, err := d.read(d.b[start:d.i], at)
	if err != nil {
		return err
	}
	d.events = append(d.events, e)
	return nil
}

func tooLarge(at string, limit int) *Error {
	return &Error{Pointer: at, Reason: "is larger than the limit of " + strconv.Itoa(limit) + " bytes for one event", TooLarge: true}
}

// members calls take for each member of a checked object, in order, and
// refuses what take does not know and what comes twice.
func members(raw []byte, at string, take func(name string, value []byte) (known bool, err *Error)) *Error {
	s := scanner{b: raw, i: 1}
	var names [24]string
	seen := names[:0]
	for s.space(); s.peek() != '}'; s.space() {
		from := s.i
		s.text()
		name := unquote(raw[from:s.i])
		s.space()
		s.i++ // the colon
		s.space()
		from = s.i
		s.skip(len(raw))
		if slices.Contains(seen, name) {
			return &Error{Pointer: at + "/" + shownName(name), Reason: "is given twice"}
		}
		seen = append(seen, name)
		known, err := take(name, raw[from:s.i])
		if err != nil {
			return err
		}
		if !known {
			return &Error{Pointer: at + "/" + shownName(name), Reason: "is not a member of an event"}
		}
		s.space()
		s.take(',')
	}
	return nil
}

// maxShownName bounds a member name in an error.
const maxShownName = 64

// shownName makes a client's member name fit for a pointer in an answer.
func shownName(n string) string {
	if len(n) > maxShownName {
		n = n[:maxShownName]
	}
	n = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f {
			return '?'
		}
		return r
	}, n)
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(n)
}

func isNull(v []byte) bool { return v[0] == 'n' }

func (d *decoder) event(raw []byte, at string) (*Event, *Error) {
	e := &Event{Account: d.o.Account, ReceivedAt: d.o.ReceivedAt}
	err := members(raw, at, func(name string, v []byte) (bool, *Error) {
		where := at + "/" + name
		if dst := e.textMember(name); dst != nil {
			return true, textOf(dst, v, where)
		}
		switch name {
		case "eventId":
			return true, e.takeID(v, where)
		case "occurredAt":
			return true, timeOf(&e.OccurredAt, v, where)
		case "webhook":
			return true, e.takeWebhook(v, where)
		case "payload":
			return true, e.takePayload(v, where)
		default:
			return false, nil
		}
	})
	if err != nil {
		return nil, err
	}
	if err := d.complete(e, at); err != nil {
		return nil, err
	}
	if e.ID == "" {
		e.ID = d.o.NewID()
	}
	return e, nil
}

// textMember is where a plain text member goes, nil for other members.
func (e *Event) textMember(name string) *string {
	switch name {
	case "channel":
		return &e.Channel
	case "event":
		return &e.Name
	case "format":
		return &e.Format
	case "applicationId":
		return &e.ApplicationID
	case "entityId":
		return &e.EntityID
	case "callsConfigurationId":
		return &e.CallsConfigurationID
	case "resource":
		return &e.Resource
	case "user":
		return &e.User
	case "orderingKey":
		return &e.OrderingKey
	default:
		return nil
	}
}

const absent = "must not be null, empty or absent"

// complete checks what only the whole event shows.
func (d *decoder) complete(e *Event, at string) *Error {
	switch {
	case e.Channel == "":
		return &Error{Pointer: at + "/channel", Reason: absent}
	case e.Name == "":
		return &Error{Pointer: at + "/event", Reason: absent}
	case e.Payload == nil:
		return &Error{Pointer: at + "/payload", Reason: "must not be null or absent; it must be an object"}
	}
	switch d.o.Known(e.Channel, e.Name) {
	case UnknownChannel:
		return &Error{Pointer: at + "/channel", Reason: "is not a channel of the catalogue"}
	case UnknownEvent:
		return &Error{Pointer: at + "/event", Reason: "is not an event of this channel"}
	case ReservedChannel:
		return &Error{Pointer: at + "/channel", Reason: "is reserved for what belfry itself tells"}
	case KnownEvent:
	}
	return nil
}
