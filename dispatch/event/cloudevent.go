package event

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	cloudVersion = "1.0"
	// MaxAttributes bounds the attributes of one CloudEvent, its data included,
	// so that comparing their names stays cheap.
	MaxAttributes = 100
)

// JSONMedia reports whether a content type is JSON: application/json or one
// that ends in +json.
func JSONMedia(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == ContentTypeJSON || strings.HasSuffix(t, "+json"))
}

// cloudEvent gathers the attributes of one CloudEvent on their way into an
// Event.
type cloudEvent struct {
	e  *Event
	at string

	version, id, source, kind      string
	subject, partitionKey, payload string // payload: datacontenttype
	data                           string // the attribute that data came in
	count                          int
}

func (d *decoder) newCloudEvent(at string) *cloudEvent {
	return &cloudEvent{e: &Event{Account: d.o.Account, ReceivedAt: d.o.ReceivedAt, GivenID: true}, at: at}
}

func (c *cloudEvent) fault(attribute, reason string) *Error {
	return &Error{Pointer: c.at + "/" + attribute, Reason: reason}
}

// next counts an attribute and checks its name.
func (c *cloudEvent) next(name string) *Error {
	if c.count++; c.count > MaxAttributes {
		return &Error{Pointer: c.at, Reason: "has more than " + strconv.Itoa(MaxAttributes) + " attributes"}
	}
	ok := name != "" && !strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	if !ok && name != "data_base64" {
		return c.fault(shownName(name), "is not a name of an attribute: a to z and 0 to 9")
	}
	return nil
}

// target is where an attribute goes, nil for those that are not used.
// dataschema is one of them: what it says is not delivered.
func (c *cloudEvent) target(name string) (dst *string, extension bool) {
	switch name {
	case "specversion":
		return &c.version, false
	case "id":
		return &c.id, false
	case "source":
		return &c.source, false
	case "type":
		return &c.kind, false
	case "subject":
		return &c.subject, false
	case "datacontenttype":
		return &c.payload, false
	case "applicationid":
		return &c.e.ApplicationID, true
	case "entityid":
		return &c.e.EntityID, true
	case "callsconfigurationid":
		return &c.e.CallsConfigurationID, true
	case "resource":
		return &c.e.Resource, true
	case "user":
		return &c.e.User, true
	case "format":
		return &c.e.Format, true
	case "orderingkey":
		return &c.e.OrderingKey, true
	case "partitionkey":
		return &c.partitionKey, true
	default:
		return nil, true
	}
}

// cloudEvent reads an event in the JSON format.
func (d *decoder) cloudEvent(raw []byte, at string) (*Event, *Error) {
	c := d.newCloudEvent(at)
	err := members(raw, at, func(name string, v []byte) (bool, *Error) {
		if err := c.next(name); err != nil || isNull(v) { // null is absent
			return true, err
		}
		switch name {
		case "time":
			return true, timeOf(&c.e.OccurredAt, v, at+"/time")
		case "data", "data_base64":
			return true, c.takeMember(name, v)
		}
		dst, extension := c.target(name)
		if dst == nil {
			return true, nil
		}
		text, ok := attributeText(v, extension)
		if !ok {
			return true, c.fault(name, "must be a string")
		}
		*dst = text
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return c.finish(d)
}

// attributeText is the text of a value. Integers and truth values of
// extensions have one too, so that an event means the same in all modes.
func attributeText(v []byte, extension bool) (text string, ok bool) {
	switch c := v[0]; {
	case c == '"':
		return unquote(v), true
	case extension && (c == 't' || c == 'f'):
		return string(v), true
	case extension && (c == '-' || '0' <= c && c <= '9') && !strings.ContainsAny(string(v), ".eE"):
		return string(v), true
	}
	return "", false
}

// takeMember takes the payload out of data or data_base64.
func (c *cloudEvent) takeMember(name string, v []byte) *Error {
	if c.data != "" {
		return c.fault(name, "must not stand beside "+c.data)
	}
	c.data = name
	if name == "data" {
		return c.e.takePayload(v, c.at+"/data")
	}
	if v[0] != '"' {
		return c.fault(name, "must be a string")
	}
	b, err := base64.StdEncoding.DecodeString(unquote(v))
	if err != nil {
		return c.fault(name, "is not valid Base64")
	}
	return c.takeBytes(name, b)
}

// takeBytes takes the payload out of bytes that nothing has looked at.
func (c *cloudEvent) takeBytes(name string, b []byte) *Error {
	if !utf8.Valid(b) {
		return c.fault(name, "is not valid UTF-8")
	}
	s := scanner{b: b}
	s.space()
	start := s.i
	if s.peek() != '{' {
		return c.fault(name, "must be a JSON object")
	}
	switch s.skip(MaxJSONDepth) {
	case scanBad:
		return s.fault(c.at + "/" + name)
	case scanDeep:
		return c.fault(name, "is nested deeper than "+strconv.Itoa(MaxJSONDepth)+" levels")
	case scanOK:
	}
	end := s.i
	if s.space(); s.i < len(b) {
		return c.fault(name, "goes on after its JSON value, near byte "+strconv.Itoa(s.i))
	}
	return c.e.takePayload(b[start:end], c.at+"/"+name)
}

// finish checks what was gathered and gives the event.
func (c *cloudEvent) finish(d *decoder) (*Event, *Error) {
	if c.e.Resource == "" {
		c.e.Resource = c.subject
	}
	if c.e.OrderingKey == "" {
		c.e.OrderingKey = c.partitionKey
	}
	for _, check := range []func() *Error{c.checkContext, c.checkTexts, func() *Error { return c.checkType(d.o.Known) }, c.checkData} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	c.e.ID = cloudID(c.source, c.id)
	return c.e, nil
}

func (c *cloudEvent) checkContext() *Error {
	switch {
	case c.version != cloudVersion:
		return c.fault("specversion", "must be "+cloudVersion)
	case c.id == "":
		return c.fault("id", absent)
	case len(c.id) > MaxIDLength:
		return c.fault("id", "must be at most "+strconv.Itoa(MaxIDLength)+" bytes long")
	case !printable(c.id):
		return c.fault("id", "may hold printable characters only")
	case c.source == "":
		return c.fault("source", absent)
	case len(c.source) > MaxURLLength:
		return c.fault("source", "must be at most "+strconv.Itoa(MaxURLLength)+" bytes long")
	}
	if _, err := url.Parse(c.source); err != nil || !printable(c.source) || strings.Contains(c.source, " ") {
		return c.fault("source", "must be a URI reference")
	}
	return nil
}

// checkTexts checks what became plain text members.
func (c *cloudEvent) checkTexts() *Error {
	resource, key := "resource", "orderingkey"
	if c.e.Resource == c.subject {
		resource = "subject"
	}
	if c.e.OrderingKey == c.partitionKey {
		key = "partitionkey"
	}
	for _, m := range []struct{ attribute, value string }{
		{"applicationid", c.e.ApplicationID},
		{"entityid", c.e.EntityID},
		{"callsconfigurationid", c.e.CallsConfigurationID},
		{resource, c.e.Resource},
		{"user", c.e.User},
		{"format", c.e.Format},
		{key, c.e.OrderingKey},
	} {
		if msg := checkText(m.value); msg != "" {
			return c.fault(m.attribute, msg)
		}
	}
	return nil
}

// checkType reads CHANNEL.EVENT. Channels have no dots in their names.
func (c *cloudEvent) checkType(known func(channel, event string) Knowledge) *Error {
	if c.kind == "" {
		return c.fault("type", absent)
	}
	channel, name, ok := strings.Cut(c.kind, ".")
	if !ok || channel == "" || name == "" {
		return c.fault("type", "must be channel and event with a dot between them, such as SMS.DELIVERY")
	}
	c.e.Channel, c.e.Name = channel, name
	switch known(channel, name) {
	case UnknownChannel:
		return c.fault("type", "does not begin with a channel of the catalogue")
	case UnknownEvent:
		return c.fault("type", "does not name an event of this channel")
	case ReservedChannel:
		return c.fault("type", "names a channel that is reserved for what belfry itself tells")
	case KnownEvent:
	}
	return nil
}

func (c *cloudEvent) checkData() *Error {
	if c.payload != "" && !JSONMedia(c.payload) {
		return c.fault("datacontenttype", "must be "+ContentTypeJSON+" or end in +json")
	}
	if c.e.Payload == nil {
		return c.fault("data", "must not be null or absent; it must be an object")
	}
	return nil
}

// hashedID begins the id of an event whose source and id are too long.
const hashedID = "sha256:"

// cloudID is the eventId of a CloudEvent: source and id with a space between
// them, for the two together are its identity, and no source has a space. Of
// those that would be too long it is a hash.
//
// INV event-4: CloudEvents with other sources or ids have other eventIds.
func cloudID(source, id string) string {
	s := source + " " + id
	if len(s) <= MaxIDLength {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return hashedID + hex.EncodeToString(sum[:])
}

// takeTime takes the time out of a header.
func (c *cloudEvent) takeTime(s string) *Error {
	t, ok := parseTime(s)
	if !ok {
		return c.fault("time", badTime)
	}
	c.e.OccurredAt = t
	return nil
}
