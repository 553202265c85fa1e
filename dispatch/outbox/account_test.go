package outbox

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The list of events has what was put in and not taken out, wherever that was.
func TestEventList(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 2))
		var q eventList
		var want []uint64
		next := uint64(1)
		for range 5000 {
			if len(want) == 0 || r.IntN(10) < 5+int(seed)/2 {
				next += 1 + r.Uint64N(3)
				q.push(next)
				want = append(want, next)
				continue
			}
			i := r.IntN(len(want))
			if r.IntN(2) == 0 {
				i = max(0, len(want)-1-r.IntN(3)) // the young ones go first
			}
			q.drop(want[i])
			q.drop(want[i])  // once more, which changes nothing
			q.drop(next + 1) // and one that was never there
			want = slices.Delete(want, i, i+1)
		}
		got := slices.DeleteFunc(slices.Clone(q.rest()), went)
		if !slices.Equal(got, want) || q.live != len(want) {
			t.Errorf("seed %d: %d of %d events, want %d", seed, len(got), q.live, len(want))
		}
		if n := len(q.items); n > 2*q.live+ageSlack+1 {
			t.Errorf("seed %d: %d places for %d events", seed, n, q.live)
		}
	}
}
