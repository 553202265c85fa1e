package dispatch

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
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

// grouping says what a request may carry.
type grouping struct {
	limit    int // deliveries
	maxBytes int // of body
	inOrder  bool
	// frontier holds what an owner before may have sent alone. It goes alone.
	frontier outbox.Frontier
}

// takeBatch removes the next request from a lane's queue: what was sent, or
// bundled, together before goes together again; otherwise the head of the queue
// and whatever of its family is queued with it, in the order of acceptance.
// inOrder: only what follows the head without a gap.
//
// INV dispatch-4: a repetition has the members and the webhook-id of the first
// attempt; where a member is missing (it is still in flight from before its
// partition went away and came back, or was dropped), the rest goes under
// another id. A receiver may rely on an id to stand for the same body.
func takeBatch(queue []outbox.Delivery, g grouping) (request, []outbox.Delivery) {
	head := &queue[0]
	if !model.Batches(head.Event.Channel, head.Event.Name) || g.frontier.Holds(head) {
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
		return n < g.limit && size+1+len(d.Event.Payload) <= g.maxBytes && sameFamily(head, d) && !g.frontier.Holds(d)
	}
	var members []int
	for i := range queue {
		if i == 0 || (!g.inOrder || i == len(members)) && with(&queue[i], len(members)) {
			members = append(members, i)
			if i > 0 {
				size += 1 + len(queue[i].Event.Payload)
			}
		}
	}
	q, rest := pick(queue, members)
	// The order in the queue depends on what this owner did before; the body and
	// the id of the request must not, for the next owner has to make the same.
	slices.SortStableFunc(q.deliveries, func(a, b outbox.Delivery) int { return cmp.Compare(a.Seq, b.Seq) })
	q.webhookID = newWebhookID(q.deliveries)
	return q, rest
}

// pick parts a queue into the members of a request, given by their places, and
// the rest. It copies nothing where the members are the first ones.
func pick(queue []outbox.Delivery, members []int) (q request, rest []outbox.Delivery) {
	n := len(members)
	if members[n-1] == n-1 {
		return request{deliveries: queue[:n:n]}, queue[n:]
	}
	q.deliveries = make([]outbox.Delivery, 0, n)
	rest = make([]outbox.Delivery, 0, len(queue)-n)
	for i := range queue {
		if len(q.deliveries) < n && members[len(q.deliveries)] == i {
			q.deliveries = append(q.deliveries, queue[i])
		} else {
			rest = append(rest, queue[i])
		}
	}
	return q, rest
}

// unbundled reports whether the outbox does not have it on record yet that the
// deliveries belong to this request. Where an only member goes under its own id
// there is nothing to record.
func (q *request) unbundled() bool {
	have := q.deliveries[0].WebhookID // of all, see takeBatch
	return q.webhookID != have && (have != "" || len(q.deliveries) > 1)
}

// bundle is what has to be on record before the request goes out.
func (q *request) bundle(epoch uint64) outbox.Bundle {
	b := outbox.Bundle{
		Partition: q.deliveries[0].Partition, Epoch: epoch, WebhookID: q.webhookID,
		Members: make([]outbox.Member, len(q.deliveries)),
	}
	for i := range q.deliveries {
		b.Members[i] = outbox.Member{DeliveryID: q.deliveries[i].ID, Mark: q.deliveries[i].Mark}
	}
	return b
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
