package tail

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/belfry/dispatch/event"
)

// Defaults of Options.
const (
	DefaultSize     = 2048
	DefaultIdle     = 30 * time.Second
	DefaultAccounts = 256
)

// Options of New.
type Options struct {
	Size     int           // entries kept per account; 0: DefaultSize
	Idle     time.Duration // an account that nobody asked about for so long is not followed any more; 0: DefaultIdle
	Accounts int           // followed at a time; the one asked about longest ago makes room; 0: DefaultAccounts
}

// Ring holds the newest entries of the accounts that are followed. All methods
// may be called from any goroutine.
type Ring struct {
	size, accounts int
	idle           time.Duration

	followed atomic.Int64 // accounts in rings: Wanted costs next to nothing without any

	mu    sync.Mutex
	rings map[string]*ring
}

// ring is one account. The entry with number n is at n modulo size.
type ring struct {
	entries []event.TailEntry
	start   uint64 // number of the first entry of all
	first   uint64 // number of the oldest entry that is kept
	next    uint64 // number of the next entry
	more    chan struct{}
	asked   time.Time
	gone    bool // dropped: those who wait for it return
}

// New makes a Ring that follows nobody yet.
func New(o Options) *Ring {
	r := &Ring{size: o.Size, accounts: o.Accounts, idle: o.Idle, rings: map[string]*ring{}}
	if r.size <= 0 {
		r.size = DefaultSize
	}
	if r.accounts <= 0 {
		r.accounts = DefaultAccounts
	}
	if r.idle <= 0 {
		r.idle = DefaultIdle
	}
	return r
}

// Wanted reports whether anybody follows the account. Entries of one that
// nobody follows need not be made.
func (r *Ring) Wanted(account string) bool {
	if r.followed.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(account) != nil
}

// of is the account's ring, nil when it is not followed. The caller holds mu.
func (r *Ring) of(account string) *ring {
	a := r.rings[account]
	if a != nil && time.Since(a.asked) >= r.idle {
		r.drop(account)
		return nil
	}
	return a
}

func (r *Ring) drop(account string) {
	r.rings[account].gone = true
	close(r.rings[account].more)
	delete(r.rings, account)
	r.followed.Store(int64(len(r.rings)))
}

// Append adds an entry of an account that is followed, in place of the oldest
// one where all places are taken. It does not block.
//
// The headers of an attempt, which are most of it, are not kept here.
//
// INV tail-1: at most Size entries of at most Accounts accounts are kept.
func (r *Ring) Append(account string, e event.TailEntry) {
	if r.followed.Load() == 0 {
		return
	}
	if a := e.Attempt; a != nil && (a.RequestHeaders != nil || a.ResponseHeaders != nil || a.HeadersCut) {
		short := *a
		short.RequestHeaders, short.ResponseHeaders, short.HeadersCut = nil, nil, false
		e.Attempt = &short
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.of(account)
	if a == nil {
		return
	}
	if a.next-a.first == uint64(r.size) { //nolint:gosec // positive
		a.first++
	}
	if place := int(a.next % uint64(r.size)); place < len(a.entries) { //nolint:gosec // positive, below size
		a.entries[place] = e
	} else {
		a.entries = append(a.entries, e)
	}
	a.next++
	close(a.more)
	a.more = make(chan struct{})
}

// Poll returns the entries of an account with numbers from since on that fit f,
// at most limit of them; if there are none it waits for one. After wait it
// returns what there is, which is nothing. since 0 means from now on; next is
// what to ask with the next time. dropped counts the account's entries that
// were replaced before this reader saw them, whether they fitted or not. The
// first Poll begins to follow the account.
//
// INV tail-2: a reader gets every entry of its account after the first Poll
// once, in order, or counted in dropped. Of other accounts it learns nothing.
func (r *Ring) Poll(ctx context.Context, account string, f event.TailFilter, since uint64, limit int, wait time.Duration,
) (entries []event.TailEntry, next, dropped uint64, err error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var a *ring
	for {
		more := func() <-chan struct{} {
			r.mu.Lock()
			defer r.mu.Unlock()
			if a == nil {
				a = r.follow(account)
			}
			a.asked = time.Now()
			if a.gone { // made room: the next Poll begins anew
				return nil
			}
			switch {
			case since == 0 || since > a.next:
				since = a.next
			case since < a.start: // of a ring that is gone: nobody counted since
				since = a.start
			}
			if since < a.first {
				dropped += a.first - since
				since = a.first
			}
			for ; since < a.next && len(entries) < limit; since++ {
				if e := &a.entries[since%uint64(r.size)]; matches(&f, e) { //nolint:gosec // positive
					entries = append(entries, *e)
				}
			}
			return a.more
		}()
		if len(entries) > 0 || dropped > 0 || more == nil {
			return entries, since, dropped, nil
		}
		select {
		case <-more:
		case <-timer.C:
			return nil, since, 0, nil
		case <-ctx.Done():
			return nil, since, 0, ctx.Err()
		}
	}
}

// follow finds or begins an account. The caller holds mu.
func (r *Ring) follow(account string) *ring {
	now := time.Now()
	a := r.of(account)
	if a == nil {
		if len(r.rings) >= r.accounts {
			r.evict()
		}
		// Numbers begin at the time, so that those of a ring that is gone, or of
		// the process before, are behind all of this one.
		start := uint64(now.UnixMicro()) * 1024
		start -= start % uint64(r.size) //nolint:gosec // positive
		a = &ring{start: start, first: start, next: start, more: make(chan struct{})}
		r.rings[account] = a
		r.followed.Store(int64(len(r.rings)))
	}
	return a
}

// evict drops the account that was asked about longest ago.
func (r *Ring) evict() {
	oldest := ""
	for name, a := range r.rings {
		if oldest == "" || a.asked.Before(r.rings[oldest].asked) {
			oldest = name
		}
	}
	r.drop(oldest)
}

// matches asks the filter about an entry.
func matches(f *event.TailFilter, e *event.TailEntry) bool {
	fits := func(want, have string) bool { return want == "" || want == have }
	if !fits(string(f.Kind), string(e.Kind)) || !fits(f.Channel, e.Channel) || !fits(f.Name, e.Name) ||
		!fits(f.Resource, e.Resource) || !fits(f.ApplicationID, e.ApplicationID) || !fits(f.EntityID, e.EntityID) ||
		!fits(f.User, e.User) || !fits(f.OrderingKey, e.OrderingKey) ||
		!fits(f.ProfileID, e.ProfileID) || !fits(string(f.Status), string(e.Status)) {
		return false
	}
	return f.SubscriptionID == "" || slices.Contains(e.SubscriptionIDs, f.SubscriptionID)
}
