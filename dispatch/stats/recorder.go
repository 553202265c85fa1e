package stats

import (
	"container/list"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/dispatch/event"
)

// Defaults of Options and limits.
const (
	// DefaultMaxPairs is how many pairs of account and profile have figures.
	DefaultMaxPairs = 10_000
	// DefaultMaxSlots bounds the minutes of all pairs together: a slot takes
	// about 350 bytes, so these 70 MB.
	DefaultMaxSlots = 200_000
	// Window is how far the figures reach back.
	Window = time.Hour

	slotLength = time.Minute
	// slots are those of Window and the one that has begun.
	slots = int(Window/slotLength) + 1
)

// classes are the verdicts of package webhook; what is none of them is the
// last. The set is closed, so that a slot has room for all of them.
var classes = [...]string{classOK, "temporary", "throttled", "gone", "auth", "blocked", "other"}

const classOK = "ok"

// Options of New.
type Options struct {
	MaxPairs   int                   // 0: DefaultMaxPairs; the least recently used one goes
	MaxSlots   int                   // 0: DefaultMaxSlots; the least recently used pair goes
	Now        func() time.Time      // nil: time.Now
	Registerer prometheus.Registerer // nil: none
}

// Recorder counts attempts and deliveries. It is safe for concurrent use.
type Recorder struct {
	opts    Options
	evicted prometheus.Counter

	mu    sync.Mutex                // guards what follows
	pairs map[pairKey]*list.Element // of *pair
	order *list.List                // front: used last
	slots int                       // that are allocated
}

type pairKey struct{ account, profile string }

// pair is what is counted for one profile: a ring of minutes, each made when
// the first thing happens in it and used again after Window.
type pair struct {
	key  pairKey
	ring [slots]*slot
}

type slot struct {
	minute                            int64 // since the Unix epoch
	outcomes                          [len(classes)]uint32
	delivered, retried, dead, dropped uint32
	accepted                          uint32 // of ofAccount
	took                              [buckets]uint32
}

// New makes an empty Recorder.
func New(o Options) *Recorder {
	if o.MaxPairs <= 0 {
		o.MaxPairs = DefaultMaxPairs
	}
	if o.MaxSlots <= 0 {
		o.MaxSlots = DefaultMaxSlots
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Recorder{
		opts: o, pairs: map[pairKey]*list.Element{}, order: list.New(),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "belfry_stats_evicted_total", Help: "Profiles whose figures were dropped because too many had some.",
		}),
	}
	if o.Registerer != nil {
		o.Registerer.MustRegister(r.evicted)
	}
	return r
}

func minuteOf(t time.Time) int64 { return t.Unix() / int64(slotLength/time.Second) }

// Attempt counts one request to a profile, or to a URL of a submit when
// profileID is empty.
func (r *Recorder) Attempt(account, profileID, class string, took time.Duration) {
	c, bucket := classIndex(class), bucketOf(took)
	minute := minuteOf(r.opts.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.slot(account, profileID, minute)
	s.outcomes[c]++
	s.took[bucket]++
}

func classIndex(class string) int {
	for i, c := range classes {
		if c == class {
			return i
		}
	}
	return len(classes) - 1
}

// Deliveries counts n deliveries that came to a status after an attempt, or
// without one.
func (r *Recorder) Deliveries(account, profileID string, status event.Status, n int) {
	if n <= 0 {
		return
	}
	minute := minuteOf(r.opts.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.slot(account, profileID, minute)
	switch add := uint32(n); status { //nolint:gosec // deliveries of one request are few
	case event.StatusDelivered:
		s.delivered += add
	case event.StatusRetrying:
		s.retried += add
	case event.StatusDead:
		s.dead += add
	case event.StatusDropped:
		s.dropped += add
	case event.StatusPending: // nothing happened
	}
}

// slot finds or makes the slot of a pair. The caller holds mu.
func (r *Recorder) slot(account, profile string, minute int64) *slot {
	key := pairKey{account, profile}
	e := r.pairs[key]
	if e == nil {
		e = r.order.PushFront(&pair{key: key})
		r.pairs[key] = e
		if len(r.pairs) > r.opts.MaxPairs {
			r.evict()
		}
	} else {
		r.order.MoveToFront(e)
	}
	p := e.Value.(*pair)
	at := &p.ring[uint64(minute)%uint64(slots)] //nolint:gosec // only the remainder counts
	switch {
	case *at == nil:
		*at = &slot{}
		if r.slots++; r.slots > r.opts.MaxSlots && r.order.Len() > 1 {
			r.evict()
		}
	case (*at).minute != minute:
		**at = slot{}
	}
	(*at).minute = minute
	return *at
}

// evict drops the pair that was used the longest ago. The caller holds mu.
func (r *Recorder) evict() {
	p := r.order.Remove(r.order.Back()).(*pair)
	delete(r.pairs, p.key)
	for _, s := range p.ring {
		if s != nil {
			r.slots--
		}
	}
	r.evicted.Inc()
}

// Snapshot sums up what was counted for an account within the window, from the
// beginning of its first minute on; at most Window.
func (r *Recorder) Snapshot(account string, window time.Duration) Counts {
	now := r.opts.Now()
	first, last := minuteOf(since(now.Add(-window), now)), minuteOf(now)
	r.mu.Lock()
	var pairs []*pair
	for key, e := range r.pairs {
		if key.account == account && key.profile != ofAccount {
			pairs = append(pairs, e.Value.(*pair))
		}
	}
	r.mu.Unlock()
	var c Counts
	for _, p := range pairs {
		var sum Profile
		found := false
		// Pair by pair, so that attempts do not wait for all of them.
		r.mu.Lock()
		for _, s := range p.ring {
			if s != nil && first <= s.minute && s.minute <= last {
				if !found {
					found, sum = true, Profile{Outcomes: map[string]int64{}, Took: map[int]int64{}}
				}
				s.addTo(&sum)
			}
		}
		r.mu.Unlock()
		if found {
			c.profile(p.key.profile).add(&sum)
		}
	}
	return c
}

func (s *slot) addTo(p *Profile) {
	for i, n := range s.outcomes {
		if n > 0 {
			p.Outcomes[classes[i]] += int64(n)
		}
	}
	for i, n := range s.took {
		if n > 0 {
			p.Took[i] += int64(n)
		}
	}
	p.Delivered += int64(s.delivered)
	p.Retried += int64(s.retried)
	p.Dead += int64(s.dead)
	p.Dropped += int64(s.dropped)
}
