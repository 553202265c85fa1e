package api

import (
	"net/netip"
	"sync"
	"time"
)

// loginGuard slows down guessing of passwords: it counts failures by remote
// network and name, and by remote network alone, in a bounded table. It is
// local to the node.
type loginGuard struct {
	perName, perRemote int
	window             time.Duration
	half               int
	now                func() time.Time

	mu         sync.Mutex
	young, old map[loginKey]loginCount
}

type loginKey struct {
	remote netip.Prefix
	name   string // empty: all names
}

type loginCount struct {
	n     int
	until time.Time
}

// guessFactor is how many names' worth of failures one network may have.
const guessFactor = 10

func newLoginGuard(l Limits, now func() time.Time) *loginGuard {
	return &loginGuard{
		perName: l.FailedLogins, perRemote: guessFactor * l.FailedLogins, window: l.FailedLoginWindow,
		half: max(1, l.RateBuckets/2), now: now, young: map[loginKey]loginCount{},
	}
}

// network is what one attacker can be expected to have: an IPv4 address or an
// IPv6 /64.
func network(a netip.Addr) netip.Prefix {
	if a.Is6() {
		p, _ := a.Prefix(64) // 64 fits: cannot fail
		return p
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// allow gives 0, or how long the network must wait before it may try name.
func (g *loginGuard) allow(remote netip.Addr, name string) time.Duration {
	now, from := g.now(), network(remote)
	g.mu.Lock()
	defer g.mu.Unlock()
	var wait time.Duration
	for key, limit := range map[loginKey]int{{from, name}: g.perName, {from, ""}: g.perRemote} {
		if c := g.get(key); c.n >= limit && now.Before(c.until) {
			wait = max(wait, c.until.Sub(now))
		}
	}
	return wait
}

// failed counts one failure. The window starts with the first one.
func (g *loginGuard) failed(remote netip.Addr, name string) {
	now, from := g.now(), network(remote)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, key := range []loginKey{{from, name}, {from, ""}} {
		c := g.get(key)
		if !now.Before(c.until) {
			c = loginCount{until: now.Add(g.window)}
		}
		c.n++
		if len(g.young) >= g.half {
			g.old, g.young = g.young, map[loginKey]loginCount{}
		}
		g.young[key] = c
	}
}

func (g *loginGuard) get(k loginKey) loginCount {
	if c, ok := g.young[k]; ok {
		return c
	}
	return g.old[k]
}

// size is how many counts are kept.
func (g *loginGuard) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.young) + len(g.old)
}
