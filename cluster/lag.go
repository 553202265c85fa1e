package cluster

import "time"

const (
	// behindFor is how old an entry may be that this node has applied and another
	// has not, before that one is given no work: what it is to do is in entries
	// that it does not have, and what it has done in ones that do not get through.
	// levelWithin is how old, for it to be given work again.
	behindFor   = 2 * time.Second
	levelWithin = behindFor / 2
	// levelEvery is the least time between two notes of what this node has applied.
	levelEvery = 100 * time.Millisecond
)

// levels is what a node had applied, at times back to behindFor. It is guarded
// by Node.mu. The zero value is ready.
type levels struct {
	at      [behindFor/levelEvery + 1]time.Time
	applied [behindFor/levelEvery + 1]map[string]uint64
	n       int // notes so far
}

// note keeps applied, which must not be changed afterwards.
func (l *levels) note(now time.Time, applied map[string]uint64) {
	if l.n > 0 && now.Sub(l.at[(l.n-1)%len(l.at)]) < levelEvery {
		return
	}
	l.at[l.n%len(l.at)], l.applied[l.n%len(l.at)] = now, applied
	l.n++
}

// before is the newest note that is at least age old; nil: there is none.
func (l *levels) before(now time.Time, age time.Duration) map[string]uint64 {
	for i := l.n - 1; i >= max(0, l.n-len(l.at)); i-- {
		if now.Sub(l.at[i%len(l.at)]) >= age {
			return l.applied[i%len(l.at)]
		}
	}
	return nil
}

// behind reports whether a node that has applied so much is behind, when it
// was so far.
func (l *levels) behind(now time.Time, applied map[string]uint64, was bool) bool {
	age := behindFor
	if was {
		age = levelWithin
	}
	for group, index := range l.before(now, age) {
		if applied[group] < index {
			return true
		}
	}
	return false
}

// behind reports whether a node is too far behind to be given work. Where that
// is so of more than a minority, the load is to blame and not the nodes.
// n.mu is held.
//
// INV lag-1: who cannot know its work, or report it done, has none.
func (n *Node) behind(nodeID string, voters int) bool {
	lag := 0
	for _, p := range n.heard {
		if p.behind && time.Since(p.at) <= n.o.LeaseTTL {
			lag++
		}
	}
	return n.heard[nodeID].behind && lag <= (voters-1)/2
}
