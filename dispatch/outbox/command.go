package outbox

import (
	"errors"
	"fmt"

	"example.com/belfry/dispatch/codec"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// format is the first byte of every command, answer and row of this package.
const format = 2

// The tags of commands. They are part of the log's format: append only.
const (
	tagAccept byte = 1
	tagSettle byte = 2
	tagClaim  byte = 3
	tagRetain byte = 4
	tagRevive byte = 5
	tagStart  byte = 6
	tagCancel byte = 7
	// tagBundle is a Settle with bundles.
	tagBundle byte = 8
)

// Limits of what a command may hold. They bound what a decoder allocates; the
// proposers stay far below them.
const (
	maxString  = 64 << 10
	maxPayload = 1<<24 - 1
	maxNumber  = 1 << 30
)

// ErrUnknownCommand says that a command has a format or tag that this version
// does not know.
var ErrUnknownCommand = errors.New("outbox: unknown command")

// Command is one of *Accept, *Settle, *Claim, *Retain, *Revive, *StartReplay
// and *CancelReplay.
//
//sumtype:decl
type Command interface{ command() }

func (*Accept) command()       {}
func (*Settle) command()       {}
func (*Claim) command()        {}
func (*Retain) command()       {}
func (*Revive) command()       {}
func (*StartReplay) command()  {}
func (*CancelReplay) command() {}

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
		return encodeSettle(c)
	case *Claim:
		b := codec.AppendCount([]byte{format, tagClaim}, c.Partition)
		b = codec.AppendString(b, c.Owner)
		return codec.AppendUint(b, c.Epoch)
	case *Retain:
		return appendRetain([]byte{format, tagRetain}, c)
	case *Revive:
		return appendRevive(append(make([]byte, 0, 64+40*len(c.IDs)), format, tagRevive), c)
	case *StartReplay:
		return appendReplay(codec.AppendTime([]byte{format, tagStart}, c.At), &c.Job)
	case *CancelReplay:
		b := codec.AppendTime([]byte{format, tagCancel}, c.At)
		return codec.AppendString(codec.AppendString(b, c.Account), c.ID)
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
	case tagBundle:
		s := readSettle(r)
		s.Bundles = readBundles(r)
		c = s
	case tagClaim:
		c = &Claim{Partition: r.Int(model.Partitions - 1), Owner: r.String(maxString), Epoch: r.Uint()}
	case tagRetain:
		c = readRetain(r)
	case tagRevive:
		c = readRevive(r)
	case tagStart:
		c = &StartReplay{At: r.Time(), Job: readReplay(r)}
	case tagCancel:
		c = &CancelReplay{At: r.Time(), Account: r.String(maxString), ID: r.String(maxString)}
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
		if s.Status == event.StatusDead {
			b = codec.AppendString(b, s.Failure.Outcome)
			b = codec.AppendCount(b, s.Failure.StatusCode)
			b = codec.AppendString(b, cutText(s.Failure.Error, MaxFailureError))
		}
	}
	return b
}

func readSettle(r *codec.Reader) *Settle {
	c := &Settle{At: r.Time()}
	for range r.Count() {
		if r.Failed() {
			return c
		}
		s := Settlement{
			DeliveryID: r.String(maxString),
			Partition:  r.Int(model.Partitions - 1),
			Epoch:      r.Uint(),
			Status:     readStatus(r),
			Attempt:    r.Int(maxNumber),
			NextAt:     r.Time(),
			WebhookID:  r.String(maxString),
		}
		if s.Status == event.StatusDead {
			s.Failure = readFailure(r)
			if len(s.Failure.Error) > MaxFailureError {
				r.Fail()
			}
		}
		c.Settlements = append(c.Settlements, s)
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
