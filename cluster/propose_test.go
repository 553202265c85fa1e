package cluster

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"example.com/belfry/fsm/model"
)

func TestOutcome_roundTrip(t *testing.T) {
	t.Parallel()
	full := &model.Error{Code: model.CodeConflict, Message: "m", Field: "f", RetryAfter: 3, Fields: []model.FieldError{{Field: "g", Message: "n"}}}
	for name, o := range map[string]outcome{
		"index only":       {index: 1},
		"answer":           {index: 1<<64 - 1, resp: []byte("answer")},
		"answer with zero": {index: 2, resp: []byte{0}},
		"error":            {index: 3, err: full},
	} {
		got, err := decodeOutcome(encodeOutcome(o))
		if err != nil || got.index != o.index || !bytes.Equal(got.resp, o.resp) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		if diff := cmp.Diff(o.err, got.err, cmpopts.IgnoreUnexported(model.Error{})); diff != "" {
			t.Errorf("%s: error (-want +got):\n%s", name, diff)
		}
	}
	got, err := decodeOutcome(encodeOutcome(outcome{index: 4, err: errors.New("canary")}))
	if err != nil || model.CodeOf(got.err) != model.CodeInternal || bytes.Contains([]byte(got.err.Error()), []byte("canary")) {
		t.Errorf("an error without a code: %v, %v", got.err, err)
	}
}

// FuzzDecodeOutcome: what cannot be read has an unknown outcome, for the
// command may be applied; what can be read is written the same way.
func FuzzDecodeOutcome(f *testing.F) {
	f.Add(encodeOutcome(outcome{index: 7, resp: []byte("x")}))
	f.Add(encodeOutcome(outcome{index: 7, err: model.Invalid("f", "m")}))
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add([]byte{frameError, 0, 0, 0, 0, 0, 0, 0, 1, '{', '}'})
	f.Add([]byte{frameOK, 0, 0})
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeOutcome(b)
		if err != nil {
			if model.CodeOf(err) != model.CodeUnknownOutcome || o.index != 0 || o.err != nil || o.resp != nil {
				t.Errorf("%x: %+v, %v", b, o, err)
			}
			return
		}
		again, err := decodeOutcome(encodeOutcome(o))
		if err != nil || again.index != o.index || !bytes.Equal(again.resp, o.resp) || model.CodeOf(again.err) != model.CodeOf(o.err) {
			t.Errorf("%x: %+v became %+v, %v", b, o, again, err)
		}
	})
}
