package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
)

func TestEvent_payloadTellsItsEvent(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, producer := range []string{"w3-1", "w3-2", "w3-11"} {
		for _, n := range []int64{0, 1, 15, 1 << 40} {
			for _, pad := range []int{0, 1, 17, 300} {
				e := Event{Account: "acct", Producer: producer, N: n, Pad: pad}
				b := e.AppendPayload(nil)
				if got, ok := ParsePayload(b); !ok || got != e || !json.Valid(b) {
					t.Errorf("%s: read as %+v, %t", b, got, ok)
				}
				if seen[string(b)] {
					t.Errorf("%s is the payload of two events", b)
				}
				seen[string(b)] = true
			}
		}
	}
}

func TestParsePayload_refusesAnyOtherByte(t *testing.T) {
	t.Parallel()
	b := Event{Account: "acct", Producer: "w3-1", N: 42, Pad: 40}.AppendPayload(nil)
	pad := bytes.Index(b, []byte(`"pad":"`)) + len(`"pad":"`)
	for name, other := range map[string][]byte{
		"flipped in the text": bytes.Replace(b, b[pad:pad+4], []byte("zzzz"), 1),
		"text cut":            append(bytes.Clone(b[:pad+20]), `"}`...),
		"cut":                 b[:len(b)-1],
		"space":               append(bytes.Clone(b), ' '),
		"other number":        bytes.Replace(b, []byte("42"), []byte("43"), 1),
		"none":                nil,
		"text of another":     bytes.Replace(b, []byte("w3-1"), []byte("w3-2"), 1),
	} {
		if e, ok := ParsePayload(other); ok {
			t.Errorf("%s: %s is taken for %+v", name, other, e)
		}
	}
}

func TestParseEventID(t *testing.T) {
	t.Parallel()
	e := Event{Producer: "w3-1", N: 17}
	if p, n, ok := ParseEventID(e.ID()); !ok || p != "w3-1" || n != 17 {
		t.Errorf("%s is read as %s, %d, %t", e.ID(), p, n, ok)
	}
	for _, id := range []string{"", "x", ".1", "x.", "x.-1", "x.1a"} {
		if _, _, ok := ParseEventID(id); ok {
			t.Errorf("%q is taken for the id of an event", id)
		}
	}
	if a, b := OrderingKey("p", 3, 4), OrderingKey("p", 7, 4); a != b || a == OrderingKey("p", 4, 4) {
		t.Errorf("keys %s and %s", a, b)
	}
}

func TestOp_code(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"in_use: the profile p is in use": "in_use", "": "", "no answer: EOF": "", "plain": "", "not_found: ": "not_found",
	} {
		if got := (&Op{Error: text}).Code(); got != want {
			t.Errorf("%s", fmt.Sprintf("%q has the code %q, want %q", text, got, want))
		}
	}
}
