package dispatch

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

// MaxBatchBytes bounds the body of a request that carries several payloads.
// One payload alone may be larger.
const MaxBatchBytes = 1 << 20

// webhookIDPrefix marks the webhook-id of a request with several deliveries.
const webhookIDPrefix = "bat_"

// request is what goes out in one HTTP request, before its destination is
// known.
type request struct {
	deliveries []outbox.Delivery
	webhookID  string
	permit     func() bool // asked right before it is written; nil: it may be
}

// takeBatch removes the next request from a lane's queue: what was sent
// together before goes together again; otherwise the head of the queue and
// whatever of its family is queued with it, up to limit deliveries and maxBytes
// of body. inOrder: only what follows the head without a gap.
//
// INV dispatch-4: a retry has the members and the webhook-id of its first
// attempt; where a member is missing (it is still in flight from before its
// partition went away and came back, or was dropped), the rest goes under
// another id. A receiver may rely on an id to stand for the same body.
func takeBatch(queue []outbox.Delivery, limit, maxBytes int, inOrder bool) (request, []outbox.Delivery) {
	head := &queue[0]
	if !model.Batches(head.Event.Channel, head.Event.Name) {
		return request{deliveries: queue[:1:1], webhookID: newWebhookID(queue[:1])}, queue[1:]
	}
	size := bodyOverhead + len(head.Event.Payload)
	with := func(d *outbox.Delivery, n int) bool {
		switch {
		case d.WebhookID != head.WebhookID:
			return false
		case head.WebhookID != "":
			return true
		}
		return n < limit && size+1+len(d.Event.Payload) <= maxBytes && sameFamily(head, d)
	}
	rest := make([]outbox.Delivery, 0, len(queue)-1)
	q := request{deliveries: []outbox.Delivery{*head}}
	for i := 1; i < len(queue); i++ {
		d := &queue[i]
		if (!inOrder || len(rest) == 0) && with(d, len(q.deliveries)) {
			q.deliveries = append(q.deliveries, *d)
			size += 1 + len(d.Event.Payload)
		} else {
			rest = append(rest, *d)
		}
	}
	q.webhookID = newWebhookID(q.deliveries)
	return q, rest
}

// groupBytes is the least size of the body of a request that begins with the
// delivery at i: with everything that was sent together with it before.
func groupBytes(queue []outbox.Delivery, i int) int {
	head := &queue[i]
	n := bodyOverhead + len(head.Event.Payload)
	if head.WebhookID == "" || !model.Batches(head.Event.Channel, head.Event.Name) {
		return n
	}
	for j := range queue {
		if j != i && queue[j].WebhookID == head.WebhookID {
			n += 1 + len(queue[j].Event.Payload)
		}
	}
	return n
}

// size is about how many bytes the body has.
func (q *request) size() int {
	n := bodyOverhead
	for i := range q.deliveries {
		n += 1 + len(q.deliveries[i].Event.Payload)
	}
	return n
}

func sameFamily(a, b *outbox.Delivery) bool {
	return a.Event.Channel == b.Event.Channel && a.Event.Name == b.Event.Name &&
		a.Event.Format == b.Event.Format && a.Target.ContentType == b.Target.ContentType
}

// newWebhookID is the delivery's own id when it travels alone, and a name of
// the exact members otherwise.
func newWebhookID(ds []outbox.Delivery) string {
	if len(ds) == 1 {
		return ds[0].ID
	}
	h := sha256.New()
	for i := range ds {
		h.Write([]byte(ds[i].ID))
		h.Write([]byte{0})
	}
	return webhookIDPrefix + hex.EncodeToString(h.Sum(nil)[:16])
}

const (
	bodyOpen, bodyClose = `{"results":[`, `]}`
	bodyOverhead        = len(bodyOpen) + len(bodyClose)
)

// body is the payload as it came, or {"results":[…]} for the families that
// batch. The bytes of a payload are never changed.
func (q *request) body() []byte {
	first := &q.deliveries[0].Event
	if !model.Batches(first.Channel, first.Name) {
		return first.Payload
	}
	size := bodyOverhead + len(q.deliveries)
	for i := range q.deliveries {
		size += len(q.deliveries[i].Event.Payload)
	}
	b := append(make([]byte, 0, size), bodyOpen...)
	for i := range q.deliveries {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, q.deliveries[i].Event.Payload...)
	}
	return append(b, bodyClose...)
}

// headers describe the request to the receiver.
func (q *request) headers() map[string]string {
	first := &q.deliveries[0]
	h := map[string]string{
		"Belfry-Channel": first.Event.Channel,
		"Belfry-Event":   first.Event.Name,
		"Belfry-Attempt": strconv.Itoa(first.Attempt + 1),
	}
	if len(q.deliveries) == 1 {
		h["Belfry-Event-Id"] = first.Event.ID
	}
	if first.Event.Format != "" {
		h["Belfry-Format"] = first.Event.Format
	}
	return h
}
