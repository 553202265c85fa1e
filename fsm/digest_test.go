package fsm

import (
	"context"
	"errors"
	"testing"
)

// The digest comes with the index of the state that it was made of, and ends
// with its context.
func TestStore_digestAt(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustDo(t, s, bootstrap(), CreateAccount{head(epoch), testAccount("a")})
	index, sum, err := s.DigestAt(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, err := s.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if sum != want || index != s.AppliedIndex() || index == 0 {
		t.Errorf("the digest at %d of %d is %x, want %x", index, s.AppliedIndex(), sum, want)
	}
	cause := errors.New("it takes too long")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, _, err := s.DigestAt(ctx); !errors.Is(err, cause) {
		t.Errorf("without time the error is %v", err)
	}
	mustDo(t, s, CreateAccount{head(epoch), testAccount("b")})
	if next, other, err := s.DigestAt(t.Context()); err != nil || next != index+1 || other == sum {
		t.Errorf("after a change the digest at %d is %x, %v", next, other, err)
	}
}
