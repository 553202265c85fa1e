package node

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// ownInterval is how often the names of the nodes are looked up again.
	ownInterval = 30 * time.Second
	// ownTimeout bounds one look at one name.
	ownTimeout = 5 * time.Second
)

// ownAddresses are those of the cluster itself, which no webhook may reach.
// Nodes may be advertised by name: names are looked up in the background,
// because the guard asks for every connection and must not wait for DNS.
type ownAddresses struct {
	advertised func() []string // "host:port" of every member, both listeners
	lookup     func(ctx context.Context, network, host string) ([]netip.Addr, error)
	log        hclog.Logger

	mu    sync.Mutex
	names map[string][]netip.Addr // what a name meant last
}

// list returns the addresses of now. A name that was never looked up with
// success is missing.
func (o *ownAddresses) list() []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range o.advertised() {
		if p, err := netip.ParseAddrPort(a); err == nil {
			out = append(out, p)
			continue
		}
		host, port, ok := splitName(a)
		if !ok {
			continue
		}
		o.mu.Lock()
		for _, ip := range o.names[host] {
			out = append(out, netip.AddrPortFrom(ip, port))
		}
		o.mu.Unlock()
	}
	return out
}

func splitName(a string) (host string, port uint16, ok bool) {
	host, text, err := net.SplitHostPort(a)
	if err != nil {
		return "", 0, false
	}
	p, err := netip.ParseAddrPort("0.0.0.0:" + text)
	return host, p.Port(), err == nil && host != ""
}

// run looks the names up until ctx ends.
func (o *ownAddresses) run(ctx context.Context) error {
	tick := time.NewTicker(ownInterval)
	defer tick.Stop()
	for {
		o.refresh(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// refresh looks every name up once. One that cannot be looked up keeps what it
// meant before; one that is not advertised any more is forgotten.
func (o *ownAddresses) refresh(ctx context.Context) {
	next := map[string][]netip.Addr{}
	for _, a := range o.advertised() {
		host, _, ok := splitName(a)
		if _, numeric := netip.ParseAddr(host); !ok || numeric == nil || next[host] != nil {
			continue
		}
		lookupCtx, cancel := context.WithTimeout(ctx, ownTimeout)
		ips, err := o.lookup(lookupCtx, "ip", host)
		cancel()
		if err != nil {
			o.log.Debug("the name of a node cannot be looked up; webhooks are kept from what it meant before", "name", host, "error", err)
			o.mu.Lock()
			ips = slices.Clone(o.names[host])
			o.mu.Unlock()
		}
		for i := range ips {
			ips[i] = ips[i].Unmap()
		}
		next[host] = ips
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names = next
}
