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
		}},
		"claim": &Claim{Partition: 5, Owner: "n2", Epoch: 300},
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
		"format":           {2, tagClaim},
		"tag":              {format, 99},
		"rest":             append(bytes.Clone(claim), 0),
		"cut":              claim[:len(claim)-1],
		"long number":      {format, tagClaim, 0x85, 0x00, 0, 0},
		"partition 64":     {format, tagClaim, 64, 0, 0},
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
	f.Add(EncodeVerdicts([]Verdict{Settled, Superseded, Fenced}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if rs, err := DecodeResults(b); err == nil && !bytes.Equal(EncodeResults(rs), b) {
			t.Errorf("results: %x", b)
		}
		if vs, err := DecodeVerdicts(b); err == nil && !bytes.Equal(EncodeVerdicts(vs), b) {
			t.Errorf("verdicts: %x", b)
		}
	})
}

func FuzzDecodeRows(f *testing.F) {
	f.Add(encodeProgress(progress{status: retryingNo, attempt: 3, nextAt: 5, webhookID: "w"}))
	f.Add(encodeReceipt(&receipt{forgetAt: 1, order: 2, count: 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := decodeProgress(b); err == nil && !bytes.Equal(encodeProgress(p), b) {
			t.Errorf("progress: %x", b)
		}
		if r, err := decodeReceipt(make([]byte, 16), b); err == nil && r.forgetAt >= 0 && !bytes.Equal(encodeReceipt(r), b) {
			t.Errorf("receipt: %x", b)
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
