package check

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/chaos/history"
)

// revoked looks for requests that started later than the bound after an
// acknowledged change with what it replaced. A retry is a request of its own;
// one that was on its way when the change was answered started before.
func revoked(h *History, o Options, v *Verdict) {
	var worst int64
	for i := range h.config {
		op := &h.config[i]
		if op.Outcome != history.OK || op.in.Revokes == nil {
			continue
		}
		r := op.in.Revokes
		di, ok := h.destOf[destKey{op.in.Account, r.Dest}]
		if !ok {
			continue
		}
		v.Checked++
		d := &h.dests[di]
		until := h.restored(d, op)
		bound := h.bound(op.Return, o)
		exempt := h.exempt(d, op)
		from := sort.Search(len(d.arrivals), func(k int) bool { return h.arrivals[d.arrivals[k]].call > op.Return })
		for _, k := range d.arrivals[from:] {
			a := &h.arrivals[k]
			if a.call >= until {
				break
			}
			what := broken(r, a, exempt)
			if what == "" {
				continue
			}
			late := a.call - op.Return
			worst = max(worst, late)
			if late > int64(bound) {
				v.violate(Violation{
					What: fmt.Sprintf("%s %v after %s of %s was answered (bound %v)", what, time.Duration(late).Round(time.Millisecond), op.Kind, op.Key, bound),
					At:   a.call, Node: op.Node, Key: d.account + "/" + d.name,
				})
			}
		}
	}
	v.figure("latest_use_ms", float64(worst)/1e6)
	h.keysUsed(o, v)
}

// bound is the time after t during which what was replaced at t may be used.
func (h *History) bound(t int64, o Options) time.Duration {
	if h.faulty(t, t+int64(o.Revoked), int64(o.Revoked), func(f *history.Fault) bool { return f.Cuts || f.Kills }) {
		return o.RevokedFault
	}
	return o.Revoked
}

// exemption has the versions that may still come into force, because the
// outcome of their own change is unknown.
type exemption struct{ versions, urls map[int32]bool }

func (h *History) exempt(d *dest, change *configOp) exemption {
	e := exemption{map[int32]bool{}, map[int32]bool{}}
	for _, op := range h.unknown {
		if op.in.Account != d.account {
			continue
		}
		own := op.Key == change.Key || op.Key == d.name || op.in.Revokes != nil && op.in.Revokes.Dest == d.name ||
			op.in.Subscription != nil && op.in.Subscription.Profile == d.name
		if s := op.in.Security; s != nil && (own || op.what == "security" && op.verb == "create") {
			e.versions[int32(s.Version)] = true //nolint:gosec // small
		}
		if p := op.in.Profile; p != nil && own && p.URL != "" {
			if n, err := strconv.Atoi(p.URL[strings.LastIndexByte(p.URL, '/')+1:]); err == nil {
				e.urls[int32(n)] = true //nolint:gosec // small
			}
		}
	}
	return e
}

// broken says what of a is revoked by r, or "".
func broken(r *history.Revocation, a *arrival, e exemption) string {
	switch {
	case r.All:
		return "a request arrived"
	case a.auth != "" && a.version >= 0 && int(a.version) < r.Below && !e.versions[a.version]:
		return fmt.Sprintf("version %d of a credential arrived, not %d or later,", a.version, r.Below)
	case int(a.urlVersion) < r.URLBelow && !e.urls[a.urlVersion]:
		return fmt.Sprintf("a request arrived at version %d of the URL, not %d or later,", a.urlVersion, r.URLBelow)
	}
	return ""
}

// restored is when something may have given back what op took away: a new
// subscription. Versions only grow, so they are not given back. A change with
// an unknown outcome may come into force at any time.
func (h *History) restored(d *dest, op *configOp) int64 {
	until := h.end + 1
	if !op.in.Revokes.All {
		return until
	}
	for _, c := range d.subscribed {
		if c.Return >= op.Call || c.Outcome != history.OK {
			until = min(until, c.Call)
		}
	}
	return until
}

// keysUsed looks for API keys that authenticated later than the bound after
// their acknowledged delete. Names of keys are used once. A node that is cut off
// goes by what it has, for stale reads, and hears of no delete; what it lets in
// then is a figure.
func (h *History) keysUsed(o Options, v *Verdict) {
	type key struct{ account, name string }
	deleted := map[key]int64{}
	cutOff := 0
	defer func() { v.figure("deleted_keys_at_cut_nodes", float64(cutOff)) }()
	for i := range h.config {
		op := &h.config[i]
		if op.what != "key" {
			continue
		}
		k := key{op.in.Account, op.Key}
		switch {
		case op.verb == "delete" && op.Outcome == history.OK:
			deleted[k] = op.Return
		case op.verb == "create":
			delete(deleted, k)
		case op.verb == "use" && op.Outcome == history.OK:
			v.Checked++
			t, ok := deleted[k]
			if !ok || op.Call <= t+int64(h.bound(t, o)) {
				continue
			}
			if h.faulty(t, op.Call, 0, func(f *history.Fault) bool { return f.Cuts && slices.Contains(f.Nodes, op.Node) }) {
				cutOff++
			} else {
				v.violate(Violation{What: fmt.Sprintf("the key %s authenticated %v after its delete was answered", op.Key, time.Duration(op.Call-t).Round(time.Millisecond)), At: op.Call, Node: op.Node, Key: op.Key})
			}
		}
	}
}
