package cluster

import (
	"slices"
	"sync"
	"time"
)

const (
	// paceWrites is how many of the last writes of a log are looked at, and paceAge
	// how old the last of them may be to say anything.
	paceWrites = 9
	paceAge    = 5 * time.Second
)

// pace is how long a log usually takes to write: one slow write is no news, so
// it is the median of the last ones. The zero value is ready.
type pace struct {
	mu   sync.Mutex
	took [paceWrites]time.Duration
	n    int // writes noted so far
	last time.Time
}

func (p *pace) note(now time.Time, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took[p.n%paceWrites] = max(took, 1) // 0 is for what is not known
	p.n++
	p.last = now
}

// usual is the median, or 0 when there are too few writes or too old ones.
func (p *pace) usual(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n < paceWrites || now.Sub(p.last) > paceAge {
		return 0
	}
	sorted := p.took
	slices.Sort(sorted[:])
	return sorted[paceWrites/2]
}
