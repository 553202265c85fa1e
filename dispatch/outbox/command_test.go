package outbox

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"example.com/belfry/dispatch/codec"
	"example.com/belfry/dispatch/event"
)

func sampleCommands() map[string]Command {
	no := false
	return map[string]Command{
		"accept": &Accept{
			At: testEpoch, ConfigIndex: 7, NodeID: "n1",
			Events: []AcceptedEvent{{
				Event: event.Event{
					Account: "acme", ID: "e1", GivenID: true, Channel: "SMS", Name: "DELIVERY", Format: "JSON",
					ApplicationID: "shop", EntityID: "eu", CallsConfigurationID: "c", Resource: "r", User: "u",
					OccurredAt: testEpoch.Add(-time.Hour), ReceivedAt: testEpoch.Add(5), OrderingKey: "k",
					Webhook: &event.Webhook{URL: "https://example.org/", ContentType: "application/json", Notify: &no},
					Payload: []byte(`{"a":1}`),
				},
				Request: 3, Digest: [32]byte{1, 31: 2}, ForgetAt: testEpoch.Add(24 * time.Hour),
				Targets: []Target{
					{DeliveryID: "d1", Partition: 63, ProfileID: "p", SubscriptionIDs: []string{"s1", "s2"}},
					{DeliveryID: "d2", URL: "https://example.org/", ContentType: "application/xml"},
				},
			}, {Event: event.Event{Account: "acme", ID: "e2"}}},
		},
		"settle": &Settle{At: testEpoch, Settlements: []Settlement{
			{DeliveryID: "d1", Partition: 63, Epoch: 9, Status: event.StatusRetrying, Attempt: 2, NextAt: testEpoch.Add(time.Minute), WebhookID: "bat_1"},
			{DeliveryID: "d2", Status: event.StatusDelivered, Attempt: 1},
			{
				DeliveryID: "d3", Status: event.StatusDead, Attempt: 21, WebhookID: "d3",
				Failure: event.Failure{Outcome: "client-error", StatusCode: 404, Error: "no"},
			},
		}},
		"bundle": &Settle{
			At:          testEpoch,
			Settlements: []Settlement{{DeliveryID: "d2", Status: event.StatusDropped, Attempt: 1}},
			Bundles: []Bundle{{
				Partition: 63, Epoch: 9, WebhookID: "bat_2", Members: []Member{{DeliveryID: "d1"}, {DeliveryID: "d4", Mark: 300}},
			}, {WebhookID: "d5", Members: []Member{{DeliveryID: "d5", Mark: 7}}}},
		},
		"claim":  &Claim{Partition: 5, Owner: "n2", Epoch: 300},
		"retain": &Retain{At: testEpoch, Retention: Retention{Age: time.Hour, Bytes: 1 << 33, Count: 7}},
		"revive": &Revive{At: testEpoch, Account: "acme", IDs: []string{"d1", "d2"}, JobID: "r1", Upto: testEpoch.Add(1), Done: true},
		"startReplay": &StartReplay{At: testEpoch, Job: event.ReplayJob{
			ID: "r1", Account: "acme", Rate: 100, CreatedBy: "ops", Total: 9,
			Filter: event.DeadFilter{ProfileID: "p", Channel: "SMS", Name: "DELIVERY", EventID: "e1", From: testEpoch, To: testEpoch.Add(1)},
		}},
		"cancelReplay": &CancelReplay{At: testEpoch, Account: "acme", ID: "r1"},
	}
}

// TestEncode_golden pins the bytes in the log. A change here breaks logs that
// exist: give the new form a format or tag of its own instead.
func TestEncode_golden(t *testing.T) {
	t.Parallel()
	for name, c := range sampleCommands() {
		raw := Encode(c)
		want, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(raw); got != strings.TrimSpace(string(want)) {
			t.Errorf("%s: got %s", name, got)
		}
		back, err := Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, back); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDecode_refuses(t *testing.T) {
	t.Parallel()
	claim := Encode(sampleCommands()["claim"])
	for name, b := range map[string][]byte{
		"nothing":          nil,
		"format before":    append([]byte{format - 1}, claim[1:]...),
		"format to come":   append([]byte{format + 1}, claim[1:]...),
		"tag":              {format, 99},
		"rest":             append(bytes.Clone(claim), 0),
		"cut":              claim[:len(claim)-1],
		"long number":      {format, tagClaim, 0x85, 0x00, 0, 0},
		"partition 64":     {format, tagClaim, 64, 0, 0},
		"state of a job":   replaceByte(Encode(&StartReplay{Job: event.ReplayJob{State: event.ReplayDone}}), 2, 9),
		"long error":       longError(MaxFailureError + 1),
		"no bundle":        append(codec.AppendTime([]byte{format, tagBundle}, testEpoch), 0, 0),
		"no members":       append(codec.AppendTime([]byte{format, tagBundle}, testEpoch), 0, 1, 0, 0, 1, 'w', 0),
		"no webhook id":    append(codec.AppendTime([]byte{format, tagBundle}, testEpoch), 0, 1, 0, 0, 0, 1, 1, 'd', 0),
		"endless bundles":  append(codec.AppendTime([]byte{format, tagBundle}, testEpoch), 0, 0xff, 0xff, 0xff, 0x7f),
		"count beyond end": append(codec.AppendTime([]byte{format, tagSettle}, testEpoch), 0xff, 0xff, 0xff, 0x7f),
	} {
		if _, err := Decode(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Decode([]byte{format, 99}); !errors.Is(err, ErrUnknownCommand) {
		t.Errorf("unknown tag: got %v", err)
	}
}

// replaceByte changes the last byte that is from to to.
func replaceByte(b []byte, from, to byte) []byte {
	b[bytes.LastIndexByte(b, from)] = to
	return b
}

// longError is a settlement whose failure has a text of n bytes.
func longError(n int) []byte {
	b := Encode(&Settle{At: testEpoch, Settlements: []Settlement{{Status: event.StatusDead, Failure: event.Failure{Outcome: "x"}}}})
	return codec.AppendString(b[:len(b)-1], strings.Repeat("x", n))
}

func TestDecode_failureText(t *testing.T) {
	t.Parallel()
	if _, err := Decode(longError(MaxFailureError)); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	for _, tc := range []struct {
		in   string
		want int
	}{
		{strings.Repeat("x", MaxFailureError), MaxFailureError},
		{strings.Repeat("x", MaxFailureError+1), MaxFailureError},
		{strings.Repeat("x", MaxFailureError-1) + "é", MaxFailureError - 1},
		{strings.Repeat("\x80", MaxFailureError+1), 0},
	} {
		if got := cutText(tc.in, MaxFailureError); len(got) != tc.want || !strings.HasPrefix(tc.in, got) {
			t.Errorf("cut to %d bytes, want %d", len(got), tc.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range sampleCommands() {
		f.Add(Encode(c))
	}
	f.Add([]byte{format, tagAccept})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			return
		}
		if again := Encode(c); !bytes.Equal(again, b) {
			t.Errorf("decoded and encoded again:\n%x\n%x", b, again)
		}
	})
}

func FuzzDecodeAnswers(f *testing.F) {
	f.Add(EncodeResults([]Result{{Status: event.Accepted, Deliveries: 2}, {Status: event.Duplicate}, {Conflict: true}, {Refused: true}}))
	f.Add(EncodeVerdicts([]Verdict{Settled, Superseded, Fenced, Exhausted}))
	f.Add(EncodeClaimed(300))
	f.Add(EncodeReplay(event.ReplayJob{ID: "r1", State: event.ReplayRunning, CreatedAt: testEpoch, Rate: 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if rs, err := DecodeResults(b); err == nil && !bytes.Equal(EncodeResults(rs), b) {
			t.Errorf("results: %x", b)
		}
		if vs, err := DecodeVerdicts(b); err == nil && !bytes.Equal(EncodeVerdicts(vs), b) {
			t.Errorf("verdicts: %x", b)
		}
		if n, err := DecodeClaimed(b); err == nil && !bytes.Equal(EncodeClaimed(n), b) {
			t.Errorf("claim: %x", b)
		}
		if j, err := DecodeReplay(b); err == nil && !bytes.Equal(EncodeReplay(j), b) {
			t.Errorf("replay: %x", b)
		}
	})
}

func FuzzDecodeRows(f *testing.F) {
	f.Add(encodeProgress(progress{status: retryingNo, attempt: 3, nextAt: 5, webhookID: "w"}))
	f.Add(encodeProgress(progress{status: pendingNo, nextAt: 5, webhookID: "w"}))
	f.Add(encodeProgress(progress{
		status: deadNo, attempt: 9, base: 4, nextAt: 5, series: series{at: 3, pos: 2}, failure: event.Failure{Outcome: "o", StatusCode: 404, Error: "e"},
	}))
	f.Add(encodeReplay(&replay{job: event.ReplayJob{ID: "r"}, cursor: 7}))
	f.Add(encodeReceipt(&receipt{forgetAt: 1, order: 2, count: toUint24(3)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodeProgress(b); err == nil && !bytes.Equal(encodeProgress(p), b) {
			t.Errorf("progress: %x", b)
		}
		if r, err := decodeReceipt(make([]byte, 8), b); err == nil && r.forgetAt >= 0 && !bytes.Equal(encodeReceipt(&r), b) {
			t.Errorf("receipt: %x", b)
		}
		if j, err := decodeReplay(b); err == nil && !bytes.Equal(encodeReplay(j), b) {
			t.Errorf("replay: %x", b)
		}
		// The others must not panic.
		_, _ = decodeDelivery(b)
		_, _ = decodeEventRow(b)
		_, _ = decodeClaim(b)
	})
}

func TestApply_unknownCommandPanics(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	defer func() {
		if recover() == nil {
			t.Error("an unknown command was skipped")
		}
	}()
	s.Apply(&raft.Log{Index: 1, Type: raft.LogCommand, Data: []byte{format, 99}})
}
