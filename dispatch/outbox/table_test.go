package outbox

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

type tableValue struct {
	id key
	n  uint32
}

func (v *tableValue) name() key { return v.id }

// A table finds what a map finds, whatever came and went, with keys that crowd
// the same part of the index too; and it gives all of its memory back.
func TestTable_map(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		var tb table[tableValue, *tableValue]
		want := map[key]uint32{}
		places := map[key]uint32{}
		var keys []key
		r := rand.New(rand.NewPCG(seed, 1))
		for step := range uint32(40_000) {
			var k key
			binary.BigEndian.PutUint64(k[:], r.Uint64N(1<<(4+12*seed)))
			binary.BigEndian.PutUint64(k[8:], r.Uint64N(512)) // the same half, another key
			switch _, used := want[k]; {
			case !used && r.IntN(5) < 3:
				places[k] = tb.add(tableValue{k, step})
				want[k] = step
				keys = append(keys, k)
			case len(keys) > 0:
				i := r.IntN(len(keys))
				k, keys[i] = keys[i], keys[len(keys)-1]
				keys = keys[:len(keys)-1]
				tb.unlist(k)
				if _, found := tb.place(k); found {
					t.Fatalf("seed %d: %x is found after it was taken out", seed, k)
				}
				tb.release(places[k])
				delete(want, k)
			}
		}
		if tb.live != len(want) {
			t.Fatalf("seed %d: %d live, want %d", seed, tb.live, len(want))
		}
		for k, n := range want {
			place, ok := tb.place(k)
			if !ok || place != places[k] || tb.at(place).n != n {
				t.Fatalf("seed %d: %x is at %d, %v; want %d at %d", seed, k, place, ok, n, places[k])
			}
		}
		for k := range want {
			tb.unlist(k)
			tb.release(places[k])
		}
		if tb.chunks != nil || tb.index != nil {
			t.Errorf("seed %d: an empty table holds %d chunks", seed, len(tb.chunks))
		}
	}
}

func TestUint24(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{-1: 0, 0: 0, 1: 1, 70_000: 70_000, maxUint24: maxUint24, maxUint24 + 1: maxUint24} {
		if got := toUint24(n).int(); got != want {
			t.Errorf("%d is kept as %d, want %d", n, got, want)
		}
	}
}
