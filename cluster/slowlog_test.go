package cluster

import (
	"testing"
	"time"
)

func TestSeldom(t *testing.T) {
	t.Parallel()
	var s seldom
	now := time.Now()
	for i, c := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {0, false}, {slowPause - 1, false}, {slowPause, true}, {slowPause + 1, false}, {2 * slowPause, true}} {
		if got := s.pass(now.Add(c.after)); got != c.want {
			t.Errorf("%d: %s after the first: %v, want %v", i, c.after, got, c.want)
		}
	}
}

// TestWaiting: INV lead-2, an entry that is committed at the last moment is not
// late, and one that is not is, whatever is committed before it.
func TestWaiting(t *testing.T) {
	t.Parallel()
	looks := int(stalled / stallCheck)
	for name, c := range map[string]struct {
		committed func(look int) uint64
		late      int // the look that tells; -1: none does
	}{
		"in time":           {func(look int) uint64 { return uint64(max(0, look-looks)) + 1 }, -1},
		"one late":          {func(look int) uint64 { return uint64(max(0, look-looks)) }, looks},
		"the first is late": {func(int) uint64 { return 0 }, looks},
		"all at once":       {func(look int) uint64 { return uint64(look + 1) }, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var w waiting
			got := -1
			for look := range 3 * looks {
				if w.look(uint64(look+1), c.committed(look)) && got < 0 {
					got = look
				}
			}
			if got != c.late {
				t.Errorf("late at look %d, want %d", got, c.late)
			}
		})
	}
}
