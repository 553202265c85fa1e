package stats

import (
	"container/list"
	"time"

	"example.com/belfry/dispatch/event"
)

// ofAccount is the profile that what concerns an account as a whole is counted
// for. No profile has such an id.
const ofAccount = "\x00"

// Accepted counts n events that were taken for an account, whether something
// is owed for them or not.
func (r *Recorder) Accepted(account string, n int) {
	if n <= 0 {
		return
	}
	minute := minuteOf(r.opts.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slot(account, ofAccount, minute).accepted += uint32(n) //nolint:gosec // events of one request are few
}

// Minutes are what one node, or several, counted minute by minute. They travel
// between nodes as JSON.
type Minutes struct {
	// Minutes since the Unix epoch; those in which nothing happened are missing.
	Minutes map[int64]*Minute `json:"minutes,omitempty"`
}

// Minute is what was counted in one minute.
type Minute struct {
	Profile
	Accepted int64 `json:"accepted,omitempty"`
}

func (m *Minutes) minute(at int64) *Minute {
	x := m.Minutes[at]
	if x == nil {
		if m.Minutes == nil {
			m.Minutes = map[int64]*Minute{}
		}
		x = &Minute{Profile: Profile{Outcomes: map[string]int64{}, Took: map[int]int64{}}}
		m.Minutes[at] = x
	}
	return x
}

// Merge adds the minutes of another node.
func (m *Minutes) Merge(o Minutes) {
	for at, x := range o.Minutes {
		if x != nil {
			own := m.minute(at)
			own.add(&x.Profile)
			own.Accepted += x.Accepted
		}
	}
}

// Series is Snapshot minute by minute, of one profile, or of the whole account
// for "".
func (r *Recorder) Series(account, profileID string, window time.Duration) Minutes {
	now := r.opts.Now()
	first, last := minuteOf(since(now.Add(-window), now)), minuteOf(now)
	sums := map[int64]*sum{}
	for _, e := range r.pairsOf(account, profileID) {
		p := e.Value.(*pair)
		// Pair by pair, so that attempts do not wait for all of them.
		r.mu.Lock()
		for minute := first; minute <= last; minute++ {
			s := p.at(minute)
			if s == nil {
				continue
			}
			if sums[minute] == nil {
				sums[minute] = &sum{}
			}
			sums[minute].add(s)
		}
		r.mu.Unlock()
	}
	m := Minutes{Minutes: make(map[int64]*Minute, len(sums))}
	for at, x := range sums {
		m.Minutes[at] = &Minute{Profile: *x.profile(), Accepted: x.accepted}
	}
	return m
}

// pairsOf are the pairs of one profile, or all of an account for "".
func (r *Recorder) pairsOf(account, profileID string) []*list.Element {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*list.Element
	for key, e := range r.pairs {
		if key.account == account && (profileID == "" || key.profile == profileID) {
			out = append(out, e)
		}
	}
	return out
}

// Series computes one point for every minute of a window, the empty ones too.
// The last one has only begun.
func (m *Minutes) Series(from, to time.Time) event.Series {
	from = since(from, to)
	s := event.Series{From: from, To: to, StepSeconds: int(slotLength / time.Second)}
	for at := minuteOf(from); at <= minuteOf(to); at++ {
		p := event.SeriesPoint{At: time.Unix(at*int64(slotLength/time.Second), 0).UTC()}
		if x := m.Minutes[at]; x != nil {
			st := x.stats("", slotLength)
			p.Accepted, p.Attempts, p.Failed = x.Accepted, st.Attempts, st.Attempts-x.Outcomes[classOK]
			p.Delivered, p.Retried, p.Dead, p.LatencyMs = st.Delivered, st.Retried, st.Dead, st.LatencyMs
		}
		s.Points = append(s.Points, p)
	}
	return s
}
