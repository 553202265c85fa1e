package stats

import (
	"maps"
	"math"
	"slices"
	"time"

	"example.com/belfry/dispatch/event"
)

// Counts are what one node, or several, did for an account. They travel between
// nodes as JSON.
type Counts struct {
	Profiles map[string]*Profile `json:"profiles,omitempty"`
}

// Profile is what was done for one profile.
type Profile struct {
	Outcomes  map[string]int64 `json:"outcomes,omitempty"` // attempts by class
	Delivered int64            `json:"delivered,omitempty"`
	Retried   int64            `json:"retried,omitempty"`
	Dead      int64            `json:"dead,omitempty"`
	Dropped   int64            `json:"dropped,omitempty"`
	// Took counts attempts by how long they took: bucket → count. The buckets
	// are the same on all nodes of a version.
	Took map[int]int64 `json:"took,omitempty"`
}

// Merge adds the counts of another node.
func (c *Counts) Merge(o Counts) {
	for id, p := range o.Profiles {
		if p != nil {
			c.profile(id).add(p)
		}
	}
}

func (c *Counts) profile(id string) *Profile {
	p := c.Profiles[id]
	if p == nil {
		if c.Profiles == nil {
			c.Profiles = map[string]*Profile{}
		}
		p = &Profile{Outcomes: map[string]int64{}, Took: map[int]int64{}}
		c.Profiles[id] = p
	}
	return p
}

func (p *Profile) add(o *Profile) {
	for class, n := range o.Outcomes {
		p.Outcomes[class] += n
	}
	for bucket, n := range o.Took {
		p.Took[bucket] += n
	}
	p.Delivered += o.Delivered
	p.Retried += o.Retried
	p.Dead += o.Dead
	p.Dropped += o.Dropped
}

// Stats computes the figures of the counts of a window. Its beginning is moved
// to where the slots of the Snapshot begin, so that rates are not too high.
// What is owed is not known here. The outcomes are the maps of c, not copies.
func (c *Counts) Stats(from, to time.Time) event.Stats {
	from = since(from, to)
	s := event.Stats{From: from, To: to, Profiles: make([]event.ProfileStats, 0, len(c.Profiles))}
	total := Profile{Outcomes: map[string]int64{}, Took: map[int]int64{}}
	for _, id := range slices.Sorted(maps.Keys(c.Profiles)) {
		p := c.Profiles[id]
		total.add(p)
		s.Profiles = append(s.Profiles, p.stats(id, to.Sub(from)))
	}
	s.Total = total.stats("", to.Sub(from))
	return s
}

// since is the beginning of the first slot of a window: slots are whole
// minutes, and there are no more than those of Window.
func since(from, to time.Time) time.Time {
	if first := to.Add(-Window); from.Before(first) {
		from = first
	}
	return from.Truncate(slotLength)
}

func (p *Profile) stats(id string, window time.Duration) event.ProfileStats {
	out := event.ProfileStats{
		ProfileID: id, Outcomes: p.Outcomes,
		Delivered: p.Delivered, Retried: p.Retried, Dead: p.Dead, Dropped: p.Dropped,
	}
	if out.Outcomes == nil {
		out.Outcomes = map[string]int64{}
	}
	if window > 0 {
		out.RatePerSecond = math.Round(float64(p.Delivered)/window.Seconds()*1000) / 1000
	}
	for _, n := range p.Outcomes {
		out.Attempts += n
	}
	if out.Attempts > 0 {
		rate := float64(p.Outcomes[classOK]) / float64(out.Attempts)
		out.SuccessRate = &rate
	}
	var h histogram
	var timed int64
	for bucket, n := range p.Took {
		if bucket >= 0 && bucket < buckets && n > 0 {
			h[bucket] += n
			timed += n
		}
	}
	if timed > 0 {
		out.LatencyMs = &event.Quantile{P50: h.quantile(0.5, timed), P90: h.quantile(0.9, timed), P99: h.quantile(0.99, timed)}
	}
	return out
}
