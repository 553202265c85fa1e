package outbox

import (
	"context"
	"errors"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
)

// The digest comes with the index of the state that it was made of, whatever
// was flushed before, and ends with its context.
func TestStore_digestAt(t *testing.T) {
	t.Parallel()
	a, b := openTest(t, Options{}), openTest(t, Options{})
	for _, s := range []*Store{a, b} {
		d := drive(t, s)
		d.accept(testEpoch, given("a"), 1, time.Hour, "a1", "a2")
		if s == a {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		d.settle(testEpoch, Settlement{DeliveryID: "a1", Status: event.StatusDelivered, Attempt: 1})
	}
	index, sum, err := a.DigestAt(t.Context())
	if err != nil || index != 2 {
		t.Fatalf("the digest is of index %d, %v", index, err)
	}
	if other, want, err := b.DigestAt(t.Context()); err != nil || other != index || want != sum {
		t.Errorf("the digests at %d and %d are %x and %x, %v", index, other, sum, want, err)
	}
	if want, err := a.Digest(); err != nil || want != sum {
		t.Errorf("the digest is %x, want %x, %v", sum, want, err)
	}
	drive(t, b).settle(testEpoch, Settlement{DeliveryID: "a2", Status: event.StatusDelivered, Attempt: 1})
	if next, other, err := b.DigestAt(t.Context()); err != nil || next != 3 || other == sum {
		t.Errorf("after a change the digest at %d is %x, %v", next, other, err)
	}
	cause := errors.New("it takes too long")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, _, err := a.DigestAt(ctx); !errors.Is(err, cause) {
		t.Errorf("without time the error is %v", err)
	}
}
