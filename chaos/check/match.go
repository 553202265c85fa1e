package check

import (
	"slices"

	"example.com/belfry/chaos/history"
)

// matcher answers which subscriptions concern a topic.
type matcher struct {
	h       *History
	byTopic map[topic][]*timeline
}

func (h *History) matcher() *matcher { return &matcher{h, map[topic][]*timeline{}} }

// fits reports whether s asks for events of t, whose account and channel are
// its own.
func fits(s *history.Subscription, t topic) bool {
	return s != nil && (len(s.Events) == 0 || slices.Contains(s.Events, t.event)) &&
		(len(s.Applications) == 0 || slices.Contains(s.Applications, t.application))
}

// timelines are the subscriptions that may have matched t at some time.
func (m *matcher) timelines(t topic) []*timeline {
	ts, ok := m.byTopic[t]
	if ok {
		return ts
	}
	for k, tl := range m.h.subs {
		if k.account == t.account && k.channel == t.channel &&
			slices.ContainsFunc(tl.ops, func(op *configOp) bool { return fits(op.in.Subscription, t) }) {
			ts = append(ts, tl)
		}
	}
	m.byTopic[t] = ts
	return ts
}

// mayReach reports whether an event of t may have been for the destination: a
// subscription with that profile may have matched it.
func (m *matcher) mayReach(t topic, profile string) bool {
	for _, tl := range m.timelines(t) {
		for _, op := range tl.ops {
			if op.in.Subscription != nil && op.in.Subscription.Profile == profile && fits(op.in.Subscription, t) {
				return true
			}
		}
	}
	return false
}

// at is what the subscription surely is during all of [from, to] on nodes; nil
// when that is not certain, or it is surely not there.
//
// A node matches against the config that it has applied. It has surely applied
// a change when it answered that, or anything linearizable that was asked
// after the change was answered.
func (h *History) at(tl *timeline, from, to int64, nodes []string) *history.Subscription {
	var last *configOp
	for _, op := range tl.ops {
		if op.Call > to {
			break
		}
		if op.Outcome == history.Unknown && op.verb == "create" && last != nil {
			continue // it exists: a late create has no effect
		}
		if op.Outcome != history.OK || op.Return > from || last != nil && op.Call <= last.Return {
			return nil
		}
		last = op
	}
	if last == nil || last.in.Subscription == nil {
		return nil
	}
	for _, n := range nodes {
		if !h.upToDate(n, last.Return, from) {
			return nil
		}
	}
	return last.in.Subscription
}

// cancelled reports whether a delivery that was owed at t may have gone with
// its subscription, its profile or its account.
func (h *History) cancelled(tl *timeline, d *dest, t int64) bool {
	gone := func(op *configOp) bool { return op.verb == "delete" && (op.Return > t || op.Outcome != history.OK) }
	return slices.ContainsFunc(tl.ops, gone) || slices.ContainsFunc(d.profile, gone) || h.deletedAccounts[d.account]
}
