package outbox

import (
	"example.com/belfry/dispatch/codec"
	"example.com/belfry/dispatch/event"
)

// The kinds of a Result. They are part of the format of answers.
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

// EncodeVerdicts gives the answer to a Settle or a Revive: one verdict for each
// settlement and bundle, or id.
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
		if v > Exhausted {
			r.Fail()
		}
		vs = append(vs, v)
	}
	return vs, r.Done()
}

// EncodeClaimed gives the answer to a Claim: the epoch that there was.
func EncodeClaimed(before uint64) []byte { return codec.AppendUint([]byte{format}, before) }

// DecodeClaimed is the inverse of EncodeClaimed.
func DecodeClaimed(b []byte) (before uint64, err error) {
	if len(b) == 0 || b[0] != format {
		return 0, ErrUnknownCommand
	}
	r := codec.NewReader(b[1:])
	before = r.Uint()
	return before, r.Done()
}

// EncodeReplay gives the answer to a StartReplay or a CancelReplay.
func EncodeReplay(j event.ReplayJob) []byte { return appendReplay([]byte{format}, &j) }

// DecodeReplay is the inverse of EncodeReplay.
func DecodeReplay(b []byte) (event.ReplayJob, error) {
	if len(b) == 0 || b[0] != format {
		return event.ReplayJob{}, ErrUnknownCommand
	}
	r := codec.NewReader(b[1:])
	j := readReplay(r)
	return j, r.Done()
}
