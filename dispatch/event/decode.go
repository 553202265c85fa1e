package event

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Form says how a body holds its events.
type Form int

// The forms of a body.
const (
	FormJSON   Form = iota // one object or an array of objects
	FormNDJSON             // one object per line
)

// Error says what is wrong with a body and where. It never repeats a value of
// the request.
type Error struct {
	// Pointer is a JSON pointer into the body; empty for the body as a
	// whole. For NDJSON its first part is the number of the event, from 0.
	Pointer string
	Reason  string
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

// ContentTypeJSON is the only form of deliveries so far.
const ContentTypeJSON = "application/json"

// Decode reads the events of one body, in their order, or says what is wrong
// with the first bad one: an *Error. The events hold no memory of body. The
// caller bounds the body's size.
//
// INV event-3: all events or none.
func Decode(body []byte, form Form, o Options) ([]*Event, error) {
	if o.MaxEventBytes <= 0 {
		o.MaxEventBytes = DefaultMaxEventBytes
	}
	o.MaxEventBytes = min(o.MaxEventBytes, MaxEventBytes)
	if o.MaxEvents <= 0 {
		o.MaxEvents = MaxBatchEvents
	}
	if !utf8.Valid(body) {
		return nil, &Error{Reason: "is not valid UTF-8"}
	}
	d := decoder{scanner: scanner{b: body}, o: o}
	d.space()
	if d.i == len(body) {
		return nil, &Error{Reason: "is empty; it must hold at least one event"}
	}
	var err *Error
	switch {
	case form == FormNDJSON:
		err = d.lines()
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
		return &Error{Pointer: at, Reason: "is larger than the limit of " + strconv.Itoa(d.o.MaxEventBytes) + " bytes for one event"}
	}
	e, err := d.event(d.b[start:d.i], at)
	if err != nil {
		return err
	}
	d.events = append(d.events, e)
	return nil
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

// complete checks what only the whole event shows.
func (d *decoder) complete(e *Event, at string) *Error {
	const absent = "must not be null, empty or absent"
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
	case KnownEvent:
	}
	return nil
}

func textOf(dst *string, v []byte, where string) *Error {
	if isNull(v) {
		return nil
	}
	if v[0] != '"' {
		return &Error{Pointer: where, Reason: "must be a string"}
	}
	s := unquote(v)
	if utf8.RuneCountInString(s) > MaxFieldLength {
		return &Error{Pointer: where, Reason: "must be at most " + strconv.Itoa(MaxFieldLength) + " characters long"}
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return &Error{Pointer: where, Reason: "must not contain control characters"}
	}
	*dst = s
	return nil
}

// CheckID says what is wrong with an eventId, or "".
func CheckID(id string) string {
	switch {
	case id == "":
		return "must not be empty; leave it out to have one made"
	case len(id) > MaxIDLength:
		return "must be at most " + strconv.Itoa(MaxIDLength) + " bytes long"
	case id == "." || id == "..":
		return "must not be . or .."
	case !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "may hold printable characters only"
	}
	return ""
}

func (e *Event) takeID(v []byte, where string) *Error {
	if isNull(v) {
		return nil
	}
	if v[0] != '"' {
		return &Error{Pointer: where, Reason: "must be a string"}
	}
	id := unquote(v)
	if msg := CheckID(id); msg != "" {
		return &Error{Pointer: where, Reason: msg}
	}
	e.ID, e.GivenID = id, true
	return nil
}

func timeOf(dst *time.Time, v []byte, where string) *Error {
	if isNull(v) {
		return nil
	}
	var t time.Time
	if v[0] != '"' || t.UnmarshalText([]byte(unquote(v))) != nil || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
		return &Error{Pointer: where, Reason: "must be a time such as 2026-01-31T12:00:00Z (RFC 3339)"}
	}
	*dst = t.UTC()
	return nil
}

func (e *Event) takePayload(v []byte, where string) *Error {
	if isNull(v) {
		return nil // complete names it
	}
	if v[0] != '{' {
		return &Error{Pointer: where, Reason: "must be an object"}
	}
	var b bytes.Buffer
	b.Grow(len(v))
	_ = json.Compact(&b, v) // checked by skip: cannot fail
	e.Payload = b.Bytes()
	return nil
}

func (e *Event) takeWebhook(v []byte, where string) *Error {
	if isNull(v) {
		return nil
	}
	if v[0] != '{' {
		return &Error{Pointer: where, Reason: "must be an object"}
	}
	var w Webhook
	err := members(v, where, func(name string, v []byte) (bool, *Error) {
		at := where + "/" + name
		switch name {
		case "url":
			return true, urlOf(&w.URL, v, at)
		case "contentType":
			if err := textOf(&w.ContentType, v, at); err != nil {
				return true, err
			}
			if w.ContentType != "" && w.ContentType != ContentTypeJSON {
				return true, &Error{Pointer: at, Reason: "must be " + ContentTypeJSON + "; other forms are not delivered yet"}
			}
			return true, nil
		case "notify":
			if isNull(v) {
				return true, nil
			}
			if v[0] != 't' && v[0] != 'f' {
				return true, &Error{Pointer: at, Reason: "must be true or false"}
			}
			notify := v[0] == 't'
			w.Notify = &notify
			return true, nil
		default:
			return false, nil
		}
	})
	if err != nil {
		return err
	}
	e.Webhook = &w
	return nil
}

func urlOf(dst *string, v []byte, where string) *Error {
	if isNull(v) {
		return nil
	}
	if v[0] != '"' {
		return &Error{Pointer: where, Reason: "must be a string"}
	}
	s := unquote(v)
	if s == "" {
		return nil
	}
	if msg := CheckURL(s); msg != "" {
		return &Error{Pointer: where, Reason: msg}
	}
	*dst = s
	return nil
}

// CheckURL says what is wrong with the shape of a webhook URL, or "". Whether
// its address may be dialled is decided where the dial happens.
func CheckURL(s string) string {
	if len(s) > MaxURLLength {
		return "must be at most " + strconv.Itoa(MaxURLLength) + " bytes long"
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' || unicode.IsControl(r) }) {
		return "must not contain spaces, control characters or backslashes"
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "must be an absolute http or https URL"
	}
	if u.User != nil {
		return "must not contain a user name or password; use a security setting"
	}
	if strings.ContainsRune(s, '#') {
		return "must not contain a fragment"
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return "must have a port between 1 and 65535"
		}
	}
	return ""
}
