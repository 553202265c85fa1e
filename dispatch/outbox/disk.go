package outbox

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/codec"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// The buckets of the file. A snapshot is their content in this order.
var (
	bucketMeta       = []byte("meta")       // names below → numbers
	bucketClaims     = []byte("claims")     // partition (1 byte) → owner, epoch
	bucketEvents     = []byte("events")     // seq → eventDisk
	bucketDeliveries = []byte("deliveries") // seq → what never changes of a delivery
	bucketProgress   = []byte("progress")   // seq → what changes; absent: never tried
	bucketReceipts   = []byte("receipts")   // key → receipt
	bucketByEvent    = []byte("byEvent")    // event key ‖ delivery seq → nothing

	buckets = [][]byte{
		bucketMeta, bucketClaims, bucketEvents, bucketDeliveries, bucketProgress, bucketReceipts, bucketByEvent,
	}
)

var (
	metaIndex  = []byte("index")  // the file is the state after this log index
	metaTime   = []byte("time")   // log time, Unix ns
	metaSeq    = []byte("seq")    // next sequence number
	metaOrder  = []byte("order")  // next place in the queues of forgetting
	metaFormat = []byte("format") // of everything in the file
)

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 8), seq) }

func byEventKey(k key, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 24), k[:]...), seq)
}

func metaValue(v uint64) []byte { return seqKey(v) }

func readMeta(b *bolt.Bucket, name []byte) (uint64, error) {
	v := b.Get(name)
	if len(v) != 8 {
		return 0, fmt.Errorf("outbox: the file has no valid %s", name)
	}
	return binary.BigEndian.Uint64(v), nil
}

func encodeClaim(a model.Assignment) []byte {
	return codec.AppendUint(codec.AppendString(nil, a.Owner), a.Epoch)
}

func decodeClaim(b []byte) (model.Assignment, error) {
	r := codec.NewReader(b)
	a := model.Assignment{Owner: r.String(maxString), Epoch: r.Uint()}
	return a, r.Done()
}

// eventHead is what of an event must be known to rebuild memory.
type eventHead struct {
	receipt *key
	sizeKiB uint16
}

func encodeEventRow(e *eventRow) []byte {
	b := make([]byte, 0, e.hot.size)
	b = append(b, format)
	b = codec.AppendBool(b, e.receipt != nil)
	if e.receipt != nil {
		b = append(b, e.receipt.key[:]...)
	}
	b = codec.AppendUint(b, uint64(e.sizeKiB))
	b = codec.AppendUint(b, uint64(e.hot.acceptedAt)) //nolint:gosec // never negative: unixNano and max
	b = codec.AppendUint(b, e.hot.configIndex)
	return AppendEvent(b, &e.hot.e)
}

func readEventHead(r *codec.Reader) eventHead {
	var h eventHead
	if r.Byte() != format {
		r.Fail()
	}
	if r.Bool() {
		var k key
		r.Fixed(k[:])
		h.receipt = &k
	}
	h.sizeKiB = uint16(r.Int(1<<16 - 1)) //nolint:gosec // bounded by Int
	return h
}

func decodeEventRow(b []byte) (*eventHot, error) {
	r := codec.NewReader(b)
	readEventHead(r)
	h := &eventHot{acceptedAt: int64(r.Uint()), configIndex: r.Uint()} //nolint:gosec // written from an int64
	h.e = ReadEvent(r)
	return h, r.Done()
}

func encodeDelivery(r *row) []byte {
	b := codec.AppendUint([]byte{format}, r.ev.seq)
	b = codec.AppendString(b, r.lane.key.Account)
	b = codec.AppendString(b, r.hot.id)
	return appendTarget(b, &r.hot.target)
}

type deliveryDisk struct {
	eventSeq uint64
	account  string
	id       string
	target   Target
}

func decodeDelivery(b []byte) (deliveryDisk, error) {
	r := codec.NewReader(b)
	if r.Byte() != format {
		r.Fail()
	}
	d := deliveryDisk{eventSeq: r.Uint(), account: r.String(maxString), id: r.String(maxString)}
	d.target = readTarget(r)
	return d, r.Done()
}

type progress struct {
	status    uint8
	attempt   uint32
	nextAt    int64
	webhookID string
}

func encodeProgress(p progress) []byte {
	b := []byte{format, p.status}
	b = codec.AppendUint(b, uint64(p.attempt))
	b = codec.AppendUint(b, uint64(p.nextAt)) //nolint:gosec // never negative
	return codec.AppendString(b, p.webhookID)
}

func decodeProgress(b []byte) (progress, error) {
	r := codec.NewReader(b)
	if r.Byte() != format {
		r.Fail()
	}
	p := progress{status: r.Byte(), attempt: uint32(r.Int(maxNumber)), nextAt: int64(r.Uint())} //nolint:gosec // bounded
	p.webhookID = r.String(maxString)
	if p.status != retryingNo && p.status != deadNo || p.nextAt < 0 {
		r.Fail()
	}
	return p, r.Done()
}

func encodeReceipt(rec *receipt) []byte {
	b := append([]byte{format}, rec.digest[:]...)
	b = codec.AppendUint(b, uint64(rec.forgetAt)) //nolint:gosec // never negative
	b = codec.AppendUint(b, rec.order)
	b = codec.AppendUint(b, uint64(rec.count))
	return codec.AppendUint(b, uint64(rec.pending))
}

func decodeReceipt(k, b []byte) (*receipt, error) {
	r := codec.NewReader(b)
	rec := &receipt{flags: onDisk}
	if r.Byte() != format || copy(rec.key[:], k) != len(rec.key) {
		r.Fail()
	}
	r.Fixed(rec.digest[:])
	rec.forgetAt = int64(r.Uint()) //nolint:gosec // written from an int64
	rec.order = r.Uint()
	rec.count = uint32(r.Int(maxNumber))   //nolint:gosec // bounded
	rec.pending = uint32(r.Int(maxNumber)) //nolint:gosec // bounded
	return rec, r.Done()
}

// delivery puts the parts of a delivery together.
func (p progress) delivery(seq uint64, k LaneKey, id string, t Target, h *eventHot) Delivery {
	d := Delivery{
		ID: id, Seq: seq, Partition: k.Partition, Destination: k.Destination, Target: t,
		Event: h.e, AcceptedAt: fromNano(h.acceptedAt), ConfigIndex: h.configIndex,
		Status: statuses[p.status], Attempt: int(p.attempt), WebhookID: p.webhookID,
	}
	if d.Status == event.StatusRetrying {
		d.NextAt = fromNano(p.nextAt)
	}
	return d
}
