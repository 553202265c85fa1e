package cluster

import (
	"testing"
	"time"
)

// TestLevels: INV lag-1, a node is behind when it lacks what another one had applied
// behindFor ago, in any group, and until it has what that had levelWithin ago.
func TestLevels(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	var l levels
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	had := func(d time.Duration) map[string]uint64 { // 1,000 entries a second
		return map[string]uint64{"a": uint64(d / time.Millisecond), "b": 7}
	}
	if l.behind(begin, nil, false) {
		t.Error("before the first note somebody is behind")
	}
	const now = 10 * time.Second
	for d := time.Duration(0); d <= now; d += levelEvery / 4 { // three of four are too early
		l.note(at(d), had(d))
	}
	missing := had(now)
	delete(missing, "b")
	for name, c := range map[string]struct {
		applied   map[string]uint64
		was, want bool
	}{
		"level":                       {had(now), false, false},
		"as late as can be":           {had(now - behindFor), false, false},
		"later":                       {had(now - behindFor - time.Millisecond), false, true},
		"no better than before":       {had(now - behindFor), true, true},
		"not quite level again":       {had(now - levelWithin - time.Millisecond), true, true},
		"level again":                 {had(now - levelWithin), true, false},
		"another group is not there":  {missing, false, true},
		"all is there, and was not":   {had(now), true, false},
		"nothing is there, as before": {nil, true, true},
	} {
		if got := l.behind(at(now), c.applied, c.was); got != c.want {
			t.Errorf("%s: got %t, want %t", name, got, c.want)
		}
	}
}

// TestNode_behind: INV lag-1, where more than a minority is behind nobody is.
func TestNode_behind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		voters, behind int
		want           bool
	}{{1, 1, false}, {3, 0, false}, {3, 1, true}, {3, 2, false}, {5, 2, true}, {5, 3, false}} {
		n := &Node{o: Options{LeaseTTL: time.Second}, heard: map[string]peer{"old": {behind: true, at: time.Now().Add(-time.Hour)}}}
		for i := range c.behind {
			n.heard[string(rune('a'+i))] = peer{behind: true, at: time.Now()}
		}
		if got := n.behind("a", c.voters); got != c.want {
			t.Errorf("%d of %d: got %t, want %t", c.behind, c.voters, got, c.want)
		}
	}
}
