package cluster

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const quick, slow = time.Millisecond, 100 * time.Millisecond
	for name, c := range map[string]struct {
		slow, quick int // writes, in this order
		later       time.Duration
		want        time.Duration
	}{
		"nothing":          {},
		"too few":          {slow: paceWrites - 1},
		"just enough":      {slow: paceWrites, want: slow},
		"most of them":     {slow: paceWrites, quick: paceWrites / 2, want: slow},
		"no longer":        {slow: paceWrites, quick: paceWrites/2 + 1, want: quick},
		"as old as can be": {slow: paceWrites, later: paceAge, want: slow},
		"too old":          {slow: paceWrites, later: paceAge + 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p pace
			for range c.slow {
				p.note(now, slow)
			}
			for range c.quick {
				p.note(now, quick)
			}
			if got := p.usual(now.Add(c.later)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
