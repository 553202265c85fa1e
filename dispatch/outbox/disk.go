package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

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
	bucketProgress   = []byte("progress")   // seq → what changes; absent: never tried nor bundled
	bucketReceipts   = []byte("receipts")   // born → receipt
	bucketByEvent    = []byte("byEvent")    // hash of the account ‖ event id ‖ delivery seq → nothing
	bucketReplays    = []byte("replays")    // number → replay job

	buckets = [][]byte{
		bucketMeta, bucketClaims, bucketEvents, bucketDeliveries, bucketProgress, bucketReceipts, bucketByEvent, bucketReplays,
	}
)

// fileFormat is that of the file and of snapshots as a whole; rows have their
// own.
const fileFormat = 5

var (
	metaIndex  = []byte("index")  // the file is the state after this log index
	metaTime   = []byte("time")   // log time, Unix ns
	metaSeq    = []byte("seq")    // next sequence number
	metaOrder  = []byte("order")  // next place in the queues of forgetting
	metaFormat = []byte("format") // of everything in the file
	metaDead   = []byte("dead")   // the youngest DeadAt there was, Unix ns
	metaDue    = []byte("due")    // when the last replayed request became due, Unix ns

	// What Retain set; 0: nothing.
	metaDeadAge   = []byte("deadAge")
	metaDeadBytes = []byte("deadBytes")
	metaDeadCount = []byte("deadCount")
)

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 8), seq) }

func metaValue(v uint64) []byte { return seqKey(v) }

func readMeta(b *bolt.Bucket, name []byte) (uint64, error) {
	v, err := getRow(b, name)
	if err != nil || len(v) != 8 {
		return 0, errors.Join(fmt.Errorf("outbox: the file has no valid %s", name), err)
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
	given bool // the id was given by the client, so there is a receipt or was one
	size  int
	slot  uint16
}

func encodeEventRow(e *eventRow) []byte {
	b := make([]byte, 0, e.hot.size+sumBytes)
	b = append(b, format)
	b = codec.AppendBool(b, e.hot.e.GivenID)
	b = codec.AppendCount(b, e.size.int())
	b = codec.AppendUint(b, uint64(slotOf(e.hot.e.OrderingKey)))
	b = codec.AppendUint(b, uint64(e.hot.acceptedAt)) //nolint:gosec // never negative: unixNano and max
	b = codec.AppendUint(b, e.hot.configIndex)
	return AppendEvent(b, &e.hot.e)
}

func readEventHead(r *codec.Reader) eventHead {
	var h eventHead
	if r.Byte() != format {
		r.Fail()
	}
	h.given = r.Bool()
	h.size = r.Int(maxPayload)
	h.slot = uint16(r.Int(math.MaxUint16)) //nolint:gosec // bounded by Int
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

// progress is what changes of a delivery.
type progress struct {
	status    uint8
	attempt   uint16
	base      uint16
	nextAt    int64
	series    series // zero: of the first series
	webhookID string
	failure   event.Failure // of a dead letter
}

func encodeProgress(p progress) []byte {
	b := []byte{format, p.status}
	b = codec.AppendUint(b, uint64(p.attempt))
	b = codec.AppendUint(b, uint64(p.base))
	b = codec.AppendUint(b, uint64(p.nextAt))    //nolint:gosec // never negative
	b = codec.AppendUint(b, uint64(p.series.at)) //nolint:gosec // never negative
	b = codec.AppendUint(b, p.series.pos)
	b = codec.AppendString(b, p.webhookID)
	if p.status == deadNo {
		b = codec.AppendString(b, p.failure.Outcome)
		b = codec.AppendCount(b, p.failure.StatusCode)
		b = codec.AppendString(b, p.failure.Error)
	}
	return b
}

func decodeProgress(b []byte) (progress, error) {
	r := codec.NewReader(b)
	if r.Byte() != format {
		r.Fail()
	}
	p := progress{
		status: r.Byte(), attempt: uint16(r.Int(math.MaxUint16)), base: uint16(r.Int(math.MaxUint16)), //nolint:gosec // bounded
		nextAt: int64(r.Uint()), series: series{at: int64(r.Uint()), pos: r.Uint()}, //nolint:gosec // checked below
	}
	p.webhookID = r.String(maxString)
	if p.status == deadNo {
		p.failure = readFailure(r)
	}
	bundled := p.status == pendingNo && p.nextAt > 0 && p.attempt == 0 && p.series == series{}
	if !bundled && p.status != retryingNo && p.status != deadNo || p.nextAt < 0 || p.series.at < 0 || p.base > p.attempt {
		r.Fail()
	}
	return p, r.Done()
}

func readFailure(r *codec.Reader) event.Failure {
	return event.Failure{Outcome: r.String(maxString), StatusCode: r.Int(maxNumber), Error: r.String(maxString)}
}

func encodeReceipt(rec *receipt) []byte {
	b := append([]byte{format}, rec.key[:]...)
	b = append(b, rec.digest[:]...)
	b = codec.AppendUint(b, uint64(rec.forgetAt)) //nolint:gosec // never negative
	b = codec.AppendUint(b, rec.order)
	b = codec.AppendCount(b, rec.count.int())
	return codec.AppendCount(b, rec.pending.int())
}

func decodeReceipt(k, b []byte) (receipt, error) {
	r := codec.NewReader(b)
	rec := receipt{flags: onDisk}
	if r.Byte() != format || len(k) != 8 {
		r.Fail()
	} else {
		rec.born = binary.BigEndian.Uint64(k)
	}
	r.Fixed(rec.key[:])
	r.Fixed(rec.digest[:])
	rec.forgetAt = int64(r.Uint()) //nolint:gosec // written from an int64
	rec.order = r.Uint()
	rec.count = toUint24(r.Int(maxUint24))
	rec.pending = toUint24(r.Int(maxUint24))
	return rec, r.Done()
}

// delivery puts the parts of a delivery together.
func (p progress) delivery(seq uint64, k LaneKey, id string, t Target, h *eventHot) Delivery {
	d := Delivery{
		ID: id, Seq: seq, Partition: k.Partition, Destination: k.Destination, Target: t,
		Event: h.e, AcceptedAt: fromNano(h.acceptedAt), ConfigIndex: h.configIndex,
		Status: statuses[p.status], Attempt: int(p.attempt), WebhookID: p.webhookID,
		Base: int(p.base), SeriesAt: fromNano(h.acceptedAt),
	}
	if p.series.pos > 0 {
		d.SeriesAt = fromNano(p.series.at)
	}
	if !d.Status.Final() {
		d.Mark = uint64(p.nextAt) //nolint:gosec // never negative
	}
	if d.Status == event.StatusRetrying {
		d.NextAt = fromNano(p.nextAt)
	}
	return d
}

func encodeReplay(j *replay) []byte {
	b := codec.AppendUint([]byte{format}, uint64(j.cursor)) //nolint:gosec // never negative
	return appendReplay(b, &j.job)
}

func decodeReplay(b []byte) (*replay, error) {
	r := codec.NewReader(b)
	if r.Byte() != format {
		r.Fail()
	}
	j := &replay{cursor: int64(r.Uint())} //nolint:gosec // checked below
	j.job = readReplay(r)
	if j.cursor < 0 {
		r.Fail()
	}
	return j, r.Done()
}
