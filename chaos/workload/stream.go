package workload

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"example.com/belfry/chaos/history"
)

const eventsPath = "/events/1/events"

// stream is a producer: it posts the events 0, 1, 2 … under their own ids, and
// those whose post was not answered well again until it is. So they are
// accepted in the order of their numbers.
type stream struct {
	*client
	producer string
	channel  string
	event    string
	app      string // applicationId; empty: none
	pad      int
	keys     int // see history.Post
	next     int64
	body     []byte
}

func (e *env) stream(a Account, producer string, node int, pinned bool, channel string) *stream {
	return &stream{
		client: e.client(producer, node, pinned, a), producer: e.name + "-" + producer,
		channel: channel, event: eventDelivery,
	}
}

// encode writes the events next … next+n-1 as the body of a post. Nothing in
// them needs to be escaped.
func (s *stream) encode(n int) {
	b := append(s.body[:0], '[')
	for i := range n {
		e := history.Event{Account: s.account, Producer: s.producer, N: s.next + int64(i), Pad: s.pad}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"eventId":"`...)
		b = append(b, e.ID()...)
		b = append(b, `","channel":"`...)
		b = append(b, s.channel...)
		b = append(b, `","event":"`...)
		b = append(b, s.event...)
		if s.app != "" {
			b = append(b, `","applicationId":"`...)
			b = append(b, s.app...)
		}
		if s.keys > 0 {
			b = append(b, `","orderingKey":"`...)
			b = append(b, history.OrderingKey(s.producer, e.N, s.keys)...)
		}
		b = append(b, `","payload":`...)
		b = append(e.AppendPayload(b), '}')
	}
	b = append(b, ']')
	if n == 1 { // the other form of a body
		b = b[1 : len(b)-1]
	}
	s.body = b
}

// post posts the next n events until they are taken. It reports whether they
// were; false means that ctx ended first, or that they were refused for good.
// Either way the numbers are used up.
func (s *stream) post(ctx context.Context, n int) bool {
	s.encode(n)
	defer func() { s.next += int64(n) }()
	in := history.Post{
		Account: s.account, Producer: s.producer, Channel: s.channel, Event: s.event, Application: s.app,
		From: s.next, N: n, Pad: s.pad, Keys: s.keys,
	}
	wait := firstWait
	for in.Try = 1; ; in.Try++ {
		a := s.once(ctx, in)
		if a.ok() || !a.again() {
			return a.ok()
		}
		if a.status == http.StatusTooManyRequests {
			if sec, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil && sec > 0 {
				wait = min(time.Duration(sec)*time.Second, time.Second)
			}
		}
		if !pause(ctx, wait) {
			return false
		}
		wait = min(2*wait, lastWait)
	}
}

// once sends the encoded events one time and records it.
func (s *stream) once(ctx context.Context, in history.Post) answer {
	a := s.send(ctx, request{method: http.MethodPost, path: eventsPath, body: s.body, change: true})
	var out any
	if p, ok := s.receipts(&a, in); ok {
		out = p
	}
	s.note(history.EventPost, s.producer, in, out, a)
	return a
}

// receipts sums up the receipts. Those that do not fit the events are kept in
// the history as an error text of an operation that is OK.
func (s *stream) receipts(a *answer, in history.Post) (history.Posted, bool) {
	var body struct {
		Events []struct {
			EventID    string `json:"eventId"`
			Status     string `json:"status"`
			Deliveries int    `json:"deliveries"`
		} `json:"events"`
	}
	var p history.Posted
	if !a.decode(&body) {
		return p, false
	}
	if len(body.Events) != in.N {
		a.text = fmt.Sprintf("answer: %d receipts for %d events", len(body.Events), in.N)
		return p, false
	}
	for i, r := range body.Events {
		want := history.Event{Producer: in.Producer, N: in.From + int64(i)}
		if r.EventID != want.ID() {
			a.text = fmt.Sprintf("answer: receipt %d is for %q, not %s", i, r.EventID, want.ID())
			return p, false
		}
		if r.Status == "DUPLICATE" {
			p.Duplicates++
		}
		p.Each = append(p.Each, r.Deliveries)
	}
	p.Deliveries = p.Each[0]
	for _, d := range p.Each {
		if d != p.Deliveries {
			p.Deliveries = -1
		}
	}
	if p.Deliveries >= 0 {
		p.Each = nil
	}
	return p, true
}
