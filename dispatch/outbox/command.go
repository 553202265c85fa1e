package outbox

import (
	"errors"
	"fmt"

	"example.com/belfry/dispatch/codec"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// format is the first byte of every command, answer and row of this package.
const format = 1

// The tags of commands. They are part of the log's format: append only.
const (
	tagAccept byte = 1
	tagSettle byte = 2
	tagClaim  byte = 3
)

// Limits of what a command may hold. They bound what a decoder allocates; the
// proposers stay far below them.
const (
	maxString  = 64 << 10
	maxPayload = 16 << 20
	maxNumber  = 1 << 30
)

// ErrUnknownCommand says that a command has a format or tag that this version
// does not know.
var ErrUnknownCommand = errors.New("outbox: unknown command")

// Command is one of *Accept, *Settle and *Claim.
//
//sumtype:decl
type Command interface{ command() }

func (*Accept) command() {}
func (*Settle) command() {}
func (*Claim) command()  {}

// Encode gives the bytes of a command for the log.
func Encode(c Command) []byte {
	switch c := c.(type) {
	case *Accept:
		size := 64
		for i := range c.Events {
			size += 512 + len(c.Events[i].Event.Payload)
		}
		return appendAccept(append(make([]byte, 0, size), format, tagAccept), c)
	case *Settle:
		return appendSettle(append(make([]byte, 0, 32+96*len(c.Settlements)), format, tagSettle), c)
	case *Claim:
		b := codec.AppendCount([]byte{format, tagClaim}, c.Partition)
		b = codec.AppendString(b, c.Owner)
		return codec.AppendUint(b, c.Epoch)
	}
	panic(fmt.Sprintf("outbox: command of unknown type %T", c))
}

// Decode is the inverse of Encode. It refuses everything that Encode does not
// write; the result shares no memory with b.
func Decode(b []byte) (Command, error) {
	if len(b) < 2 || b[0] != format {
		return nil, ErrUnknownCommand
	}
	r := codec.NewReader(b[2:])
	var c Command
	switch b[1] {
	case tagAccept:
		c = readAccept(r)
	case tagSettle:
		c = readSettle(r)
	case tagClaim:
		c = &Claim{Partition: r.Int(model.Partitions - 1), Owner: r.String(maxString), Epoch: r.Uint()}
	default:
		return nil, ErrUnknownCommand
	}
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("outbox: command with tag %d: %w", b[1], err)
	}
	return c, nil
}

func appendAccept(b []byte, c *Accept) []byte {
	b = codec.AppendTime(b, c.At)
	b = codec.AppendUint(b, c.ConfigIndex)
	b = codec.AppendString(b, c.NodeID)
	b = codec.AppendCount(b, len(c.Events))
	for i := range c.Events {
		e := &c.Events[i]
		b = AppendEvent(b, &e.Event)
		b = codec.AppendCount(b, e.Request)
		b = append(b, e.Digest[:]...)
		b = codec.AppendTime(b, e.ForgetAt)
		b = codec.AppendCount(b, len(e.Targets))
		for j := range e.Targets {
			b = appendTarget(b, &e.Targets[j])
		}
	}
	return b
}

func readAccept(r *codec.Reader) *Accept {
	c := &Accept{At: r.Time(), ConfigIndex: r.Uint(), NodeID: r.String(maxString)}
	n := r.Count()
	for range n {
		if r.Failed() {
			return c
		}
		e := AcceptedEvent{Event: ReadEvent(r), Request: r.Int(maxNumber)}
		r.Fixed(e.Digest[:])
		e.ForgetAt = r.Time()
		for range r.Count() {
			if r.Failed() {
				return c
			}
			e.Targets = append(e.Targets, readTarget(r))
		}
		c.Events = append(c.Events, e)
	}
	return c
}

func appendTarget(b []byte, t *Target) []byte {
	b = codec.AppendString(b, t.DeliveryID)
	b = codec.AppendCount(b, t.Partition)
	b = codec.AppendString(b, t.ProfileID)
	b = codec.AppendString(b, t.URL)
	b = codec.AppendString(b, t.ContentType)
	b = codec.AppendCount(b, len(t.SubscriptionIDs))
	for _, s := range t.SubscriptionIDs {
		b = codec.AppendString(b, s)
	}
	return b
}

func readTarget(r *codec.Reader) Target {
	t := Target{
		DeliveryID:  r.String(maxString),
		Partition:   r.Int(model.Partitions - 1),
		ProfileID:   r.String(maxString),
		URL:         r.String(maxString),
		ContentType: r.String(maxString),
	}
	for range r.Count() {
		if r.Failed() {
			return t
		}
		t.SubscriptionIDs = append(t.SubscriptionIDs, r.String(maxString))
	}
	return t
}

// statuses gives every status its number on disk and in the log: append only.
var statuses = [...]event.Status{
	event.StatusPending, event.StatusRetrying, event.StatusDelivered, event.StatusDead, event.StatusDropped,
}

func statusNumber(s event.Status) byte {
	for i, have := range statuses {
		if have == s {
			return byte(i)
		}
	}
	panic(fmt.Sprintf("outbox: unknown delivery status %q", s))
}

func readStatus(r *codec.Reader) event.Status {
	n := r.Byte()
	if int(n) >= len(statuses) {
		r.Fail()
		return event.StatusPending
	}
	return statuses[n]
}

func appendSettle(b []byte, c *Settle) []byte {
	b = codec.AppendTime(b, c.At)
	b = codec.AppendCount(b, len(c.Settlements))
	for i := range c.Settlements {
		s := &c.Settlements[i]
		b = codec.AppendString(b, s.DeliveryID)
		b = codec.AppendCount(b, s.Partition)
		b = codec.AppendUint(b, s.Epoch)
		b = append(b, statusNumber(s.Status))
		b = codec.AppendCount(b, s.Attempt)
		b = codec.AppendTime(b, s.NextAt)
		b = codec.AppendString(b, s.WebhookID)
	}
	return b
}

func readSettle(r *codec.Reader) *Settle {
	c := &Settle{At: r.Time()}
	for range r.Count() {
		if r.Failed() {
			return c
		}
		c.Settlements = append(c.Settlements, Settlement{
			DeliveryID: r.String(maxString),
			Partition:  r.Int(model.Partitions - 1),
			Epoch:      r.Uint(),
			Status:     readStatus(r),
			Attempt:    r.Int(maxNumber),
			NextAt:     r.Time(),
			WebhookID:  r.String(maxString),
		})
	}
	return c
}

// AppendEvent appends the binary form of an event, payload included.
func AppendEvent(b []byte, e *event.Event) []byte {
	for _, s := range [...]string{
		e.Account, e.ID, e.Channel, e.Name, e.Format, e.ApplicationID, e.EntityID,
		e.CallsConfigurationID, e.Resource, e.User, e.OrderingKey,
	} {
		b = codec.AppendString(b, s)
	}
	b = codec.AppendBool(b, e.GivenID)
	b = codec.AppendTime(b, e.OccurredAt)
	b = codec.AppendTime(b, e.ReceivedAt)
	b = codec.AppendBool(b, e.Webhook != nil)
	if w := e.Webhook; w != nil {
		b = codec.AppendString(b, w.URL)
		b = codec.AppendString(b, w.ContentType)
		b = codec.AppendBool(b, w.Notify != nil)
		if w.Notify != nil {
			b = codec.AppendBool(b, *w.Notify)
		}
	}
	return codec.AppendBytes(b, e.Payload)
}

// ReadEvent is the inverse of AppendEvent. The payload is copied once.
func ReadEvent(r *codec.Reader) event.Event {
	var e event.Event
	for _, s := range [...]*string{
		&e.Account, &e.ID, &e.Channel, &e.Name, &e.Format, &e.ApplicationID, &e.EntityID,
		&e.CallsConfigurationID, &e.Resource, &e.User, &e.OrderingKey,
	} {
		*s = r.String(maxString)
	}
	e.GivenID = r.Bool()
	e.OccurredAt = r.Time()
	e.ReceivedAt = r.Time()
	if r.Bool() {
		w := &event.Webhook{URL: r.String(maxString), ContentType: r.String(maxString)}
		if r.Bool() {
			notify := r.Bool()
			w.Notify = &notify
		}
		e.Webhook = w
	}
	e.Payload = r.Bytes(maxPayload)
	return e
}

// Answers.

const (
	resultAccepted byte = iota
	resultDuplicate
	resultConflict
	resultRefused
)

// EncodeResults gives the answer to an Accept: one result per event, in order.
func EncodeResults(rs []Result) []byte {
	b := codec.AppendCount(append(make([]byte, 0, 8+2*len(rs)), format), len(rs))
	for _, r := range rs {
		switch {
		case r.Conflict:
			b = append(b, resultConflict)
		case r.Refused:
			b = append(b, resultRefused)
		case r.Status == event.Duplicate:
			b = append(b, resultDuplicate)
		default:
			b = append(b, resultAccepted)
		}
		b = codec.AppendCount(b, r.Deliveries)
	}
	return b
}

// DecodeResults is the inverse of EncodeResults.
func DecodeResults(b []byte) ([]Result, error) {
	if len(b) == 0 || b[0] != format {
		return nil, ErrUnknownCommand
	}
	r := codec.NewReader(b[1:])
	var rs []Result
	for range r.Count() {
		if r.Failed() {
			break
		}
		var res Result
		switch r.Byte() {
		case resultAccepted:
			res.Status = event.Accepted
		case resultDuplicate:
			res.Status = event.Duplicate
		case resultConflict:
			res.Conflict = true
		case resultRefused:
			res.Refused = true
		default:
			r.Fail()
		}
		res.Deliveries = r.Int(maxNumber)
		rs = append(rs, res)
	}
	return rs, r.Done()
}

// EncodeVerdicts gives the answer to a Settle: one verdict per settlement.
func EncodeVerdicts(vs []Verdict) []byte {
	b := codec.AppendCount(append(make([]byte, 0, 8+len(vs)), format), len(vs))
	for _, v := range vs {
		b = append(b, byte(v))
	}
	return b
}

// DecodeVerdicts is the inverse of EncodeVerdicts.
func DecodeVerdicts(b []byte) ([]Verdict, error) {
	if len(b) == 0 || b[0] != format {
		return nil, ErrUnknownCommand
	}
	r := codec.NewReader(b[1:])
	var vs []Verdict
	for range r.Count() {
		v := Verdict(r.Byte())
		if v > Fenced {
			r.Fail()
		}
		vs = append(vs, v)
	}
	return vs, r.Done()
}
