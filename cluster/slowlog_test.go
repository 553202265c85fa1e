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
