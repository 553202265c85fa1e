// Package codec is the binary notation of the event plane: length-prefixed,
// canonical and strict, for commands, rows on disk and attempt records. It
// knows nothing of what it encodes.
//
// Every value has exactly one encoding, so equal values give equal bytes; the
// reader refuses everything else.
package codec

import (
	"encoding/binary"
	"errors"
	"time"
)

// ErrMalformed is the error of a reader whose input is not canonical,
// truncated, or longer than what was read.
var ErrMalformed = errors.New("malformed encoding")

// AppendString appends s with its length.
func AppendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// AppendBytes appends p with its length.
func AppendBytes(b, p []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(p)))
	return append(b, p...)
}

// AppendUint appends an unsigned number of variable length.
func AppendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// AppendCount appends a length or count, which is never negative.
func AppendCount(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(max(n, 0))) }

// AppendBool appends one byte, 0 or 1.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendTime appends t to the nanosecond. The location is not kept.
func AppendTime(b []byte, t time.Time) []byte {
	b = binary.AppendVarint(b, t.Unix())
	return AppendCount(b, t.Nanosecond())
}

// Reader reads what the Append functions wrote. The first error sticks and
// every later read returns zero values; look at it once with Done. The zero
// Reader is at the end of an empty input.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads from b. Nothing that is read shares memory with b.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Done returns ErrMalformed when anything went wrong or input is left over.
func (r *Reader) Done() error {
	if r.err == nil && len(r.b) != 0 {
		r.err = ErrMalformed
	}
	return r.err
}

// Failed reports whether a read went wrong already.
func (r *Reader) Failed() bool { return r.err != nil }

// Fail makes the reader fail: for values that are out of their range.
func (r *Reader) Fail() {
	r.err = ErrMalformed
	r.b = nil
}

// Uint reads an unsigned number. A longer form than the shortest is refused.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.err != nil || n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.Fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Int reads an unsigned number that must be at most limit.
func (r *Reader) Int(limit int) int {
	v := r.Uint()
	if v > uint64(max(limit, 0)) {
		r.Fail()
		return 0
	}
	return int(v) //nolint:gosec // bounded by limit, which is an int
}

// Count reads the number of items that follow. Every item takes at least one
// byte, so a count beyond the rest of the input is refused before anything is
// allocated for it.
func (r *Reader) Count() int { return r.Int(len(r.b)) }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if r.err != nil || len(r.b) == 0 {
		r.Fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// Bool reads one byte that must be 0 or 1.
func (r *Reader) Bool() bool {
	v := r.Byte()
	if v > 1 {
		r.Fail()
	}
	return v == 1
}

// take returns the next n bytes of the input itself.
func (r *Reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.Fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// String reads a string of at most limit bytes.
func (r *Reader) String(limit int) string { return string(r.take(r.Int(limit))) }

// Bytes reads a copy of a byte slice of at most limit bytes; nil when empty.
func (r *Reader) Bytes(limit int) []byte {
	v := r.take(r.Int(limit))
	if len(v) == 0 {
		return nil
	}
	return append(make([]byte, 0, len(v)), v...)
}

// Fixed fills dst.
func (r *Reader) Fixed(dst []byte) { copy(dst, r.take(len(dst))) }

// Time reads a time, in UTC.
func (r *Reader) Time() time.Time {
	sec, n := binary.Varint(r.b)
	if r.err != nil || n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.Fail()
		return time.Time{}
	}
	r.b = r.b[n:]
	nsec := r.Int(int(time.Second) - 1)
	if r.err != nil {
		return time.Time{}
	}
	return time.Unix(sec, int64(nsec)).UTC()
}
