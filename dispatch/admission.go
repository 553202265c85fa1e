package dispatch

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

// Defaults of Admission.
const (
	DefaultAccountRate       = 20_000
	DefaultMaxAccountBacklog = 2_000_000
	DefaultMaxBacklog        = 4_000_000

	// maxRates is how many accounts' rates are remembered. One that is forgotten
	// begins with a full bucket again.
	maxRates = 10_000
	// backlogWait is what a client is told to wait when too much is owed, in
	// seconds: a backlog does not go away in one.
	backlogWait = 30
)

// Admission says what a node takes in. What it refuses is told, never dropped.
type Admission struct {
	// AccountRate bounds the events of one account on this node, per second; a
	// request of the largest size is always within the burst. 0:
	// DefaultAccountRate.
	AccountRate int
	// MaxAccountBacklog and MaxBacklog bound the deliveries that are owed, of one
	// account and of all. The request that passes them is still taken whole. 0:
	// DefaultMaxAccountBacklog, DefaultMaxBacklog.
	MaxAccountBacklog, MaxBacklog int
	// Disk returns nil while there is room on the disk, else an error with
	// CodeUnavailable. nil: there always is.
	Disk func() error
}

// backlog says what is owed. It is outbox.Store.
type backlog interface {
	// Backlog is the number of deliveries owed to an account, and to all.
	Backlog(account string) (own, all int)
}

// turnstile decides about a request before anything is made of it.
type turnstile struct {
	Admission
	backlog backlog

	mu         sync.Mutex
	young, old map[string]*rate.Limiter
}

func newTurnstile(a Admission, b backlog) *turnstile {
	return &turnstile{Admission: a, backlog: b, young: map[string]*rate.Limiter{}}
}

// admit returns nil or why n events of the account are not taken now.
//
// INV publish-7: what is over a limit is refused before anything of it is
// taken, with the time after which to try again.
func (g *turnstile) admit(account string, n int) error {
	if g.Disk != nil {
		if err := g.Disk(); err != nil {
			return err
		}
	}
	switch own, all := g.backlog.Backlog(account); {
	case own >= g.MaxAccountBacklog:
		return refuse(backlogWait, "%d deliveries of this account wait already, the limit is %d", own, g.MaxAccountBacklog)
	case all >= g.MaxBacklog:
		return refuse(backlogWait, "%d deliveries wait already, the limit is %d", all, g.MaxBacklog)
	}
	now := time.Now()
	r := g.bucket(account).ReserveN(now, n)
	if !r.OK() {
		return refuse(1, "%d events at once are more than the limit of %d per second", n, g.AccountRate)
	}
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return refuse(int(math.Ceil(wait.Seconds())), "the account sends more than %d events per second to this node", g.AccountRate)
	}
	return nil
}

// bucket is the account's; the map is kept small by forgetting generations.
func (g *turnstile) bucket(account string) *rate.Limiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.young[account]
	if l == nil {
		if l = g.old[account]; l == nil {
			l = rate.NewLimiter(rate.Limit(g.AccountRate), max(g.AccountRate, event.MaxBatchEvents))
		}
		if len(g.young) >= maxRates/2 {
			g.old, g.young = g.young, map[string]*rate.Limiter{}
		}
		g.young[account] = l
	}
	return l
}

func refuse(seconds int, format string, args ...any) error {
	e := model.Errorf(model.CodeLimit, format+"; send the events again later", args...)
	e.RetryAfter = max(1, seconds)
	return e
}

// owed reads the backlog from the local replica.
type owed struct{ store *outbox.Store }

// Backlog implements backlog.
func (o owed) Backlog(account string) (own, all int) {
	return o.store.Backlog(account), o.store.Pending()
}
