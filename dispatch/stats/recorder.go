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

// place is where the slot of a minute is.
func (p *pair) place(minute int64) **slot {
	return &p.ring[uint64(minute)%uint64(slots)] //nolint:gosec // only the remainder counts
}

// at is the slot of a minute; nil: nothing happened in it. The caller holds the
// recorder's mu.
func (p *pair) at(minute int64) *slot {
	if s := *p.place(minute); s != nil && s.minute == minute {
		return s
	}
	return nil
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
	at := p.place(minute)
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
	c := Counts{Profiles: make(map[string]*Profile, len(pairs))}
	for _, p := range pairs {
		var sum sum
		// Pair by pair, so that attempts do not wait for all of them.
		r.mu.Lock()
		for minute := first; minute <= last; minute++ {
			if s := p.at(minute); s != nil {
				sum.add(s)
			}
		}
		r.mu.Unlock()
		if sum.slots > 0 {
			c.Profiles[p.key.profile] = sum.profile()
		}
	}
	return c
}

// sum is what slots have together. Its maps are made once, at the end: with
// 10,000 pairs they are what an answer takes longest for.
type sum struct {
	slots                                       int
	outcomes                                    [len(classes)]int64
	took                                        [buckets]int64
	delivered, retried, dead, dropped, accepted int64
}

func (t *sum) add(s *slot) {
	t.slots++
	for i, n := range s.outcomes {
		t.outcomes[i] += int64(n)
	}
	for i, n := range s.took {
		t.took[i] += int64(n)
	}
	t.delivered += int64(s.delivered)
	t.retried += int64(s.retried)
	t.dead += int64(s.dead)
	t.dropped += int64(s.dropped)
	t.accepted += int64(s.accepted)
}

func (t *sum) profile() *Profile {
	p := &Profile{Outcomes: map[string]int64{}, Took: map[int]int64{}, Delivered: t.delivered, Retried: t.retried, Dead: t.dead, Dropped: t.dropped}
	for i, n := range t.outcomes {
		if n > 0 {
			p.Outcomes[classes[i]] = n
		}
	}
	for i, n := range t.took {
		if n > 0 {
			p.Took[i] = n
		}
	}
	return p
}
