package node

import (
	"cmp"
	"context"
	"slices"
	"time"

	"example.com/belfry/api"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/index"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/stats"
	"example.com/belfry/dispatch/tail"
	"example.com/belfry/fsm/model"
)

const (
	// methodTail, methodStats and methodSeries ask a node for its part of the
	// live tail, of the figures, and of those by the minute.
	methodTail   = "events.tail"
	methodStats  = "events.stats"
	methodSeries = "events.series"

	// tailWait is how long a node waits for something to tell, and tailMax how
	// many entries it tells at once.
	tailWait = time.Second
	tailMax  = 500
	// tailHeartbeat is how often a tail is told that nothing happened.
	tailHeartbeat = 10 * time.Second
	// tailGather is how long entries of several nodes are gathered into one batch.
	tailGather = 50 * time.Millisecond
	// tailRetry is the pause after a node did not answer, tailPeers how often
	// the members are looked at.
	tailRetry = time.Second
	tailPeers = 5 * time.Second
)

// watcher implements api.Watcher over all nodes.
type watcher struct {
	ring   *tail.Ring
	stats  *stats.Recorder
	outbox *outbox.Store
	index  *index.Index
	config matchSource
	test   func(ctx context.Context, account, profileID, channel, name string) (event.TestReport, error)
	caller caller
	peers  func() []string
	self   string
	now    func() time.Time
}

var _ api.Watcher = (*watcher)(nil)

// matchSource is the config that a match is explained from.
type matchSource interface {
	Profile(account, id string) (model.Profile, error)
	ListSubscriptions(account, channel string, f model.SubscriptionFilter, page, size int) (model.Page[model.Subscription], error)
}

// TestProfile makes one attempt from this node.
func (w *watcher) TestProfile(ctx context.Context, account, profileID, channel, name string) (event.TestReport, error) {
	return w.test(ctx, account, profileID, channel, name)
}

// Match explains, from this node's config, where an event would go.
func (w *watcher) Match(_ context.Context, e *event.Event) (event.MatchReport, error) {
	var r event.MatchReport
	table := w.index.Snapshot()
	matched := map[string]bool{}
	for _, t := range table.Match(nil, e) {
		note := ""
		if p, err := w.config.Profile(e.Account, t.ProfileID); err == nil && p.Disabled {
			note = "the profile is disabled: deliveries wait until it is enabled"
		}
		for _, id := range t.SubscriptionIDs {
			matched[id] = true
			r.Matched = append(r.Matched, event.MatchedSubscription{SubscriptionID: id, ProfileID: t.ProfileID, Note: note})
		}
	}
	slices.SortFunc(r.Matched, func(a, b event.MatchedSubscription) int { return cmp.Compare(a.SubscriptionID, b.SubscriptionID) })
	for s, err := range eachOf(func(page int) (model.Page[model.Subscription], error) {
		return w.config.ListSubscriptions(e.Account, e.Channel, model.SubscriptionFilter{}, page, pageSize)
	}) {
		switch {
		case err != nil:
			return r, err
		case matched[s.ID]:
			continue
		case len(r.Unmatched) == event.MaxUnmatched:
			r.More = true
			return r, nil
		}
		r.Unmatched = append(r.Unmatched, event.UnmatchedSubscription{
			SubscriptionID: s.ID, ProfileID: s.ProfileID, Reasons: index.Explain(&s, e),
		})
	}
	return r, nil
}

type statsQuery struct {
	Account string        `json:"account"`
	Window  time.Duration `json:"window"`
}

// Stats gathers the figures of attempts from all nodes; the backlog is in every
// replica.
func (w *watcher) Stats(ctx context.Context, account string, window time.Duration) (event.Stats, error) {
	counts := w.stats.Snapshot(account, window)
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	away := gather(ctx, w.caller, w.peers(), methodStats, statsQuery{account, window}, func(c stats.Counts) { counts.Merge(c) })
	to := w.now().UTC()
	st := counts.Stats(to.Add(-window), to)
	st.Unreachable = away
	lanes, err := w.outbox.Lanes(account)
	if err != nil {
		return st, err
	}
	addBacklog(&st, lanes)
	return st, nil
}

type seriesQuery struct {
	statsQuery
	Profile string `json:"profile,omitempty"`
}

// Series gathers the figures by the minute from all nodes. A node of a version
// that does not know the question counts as one that is away.
func (w *watcher) Series(ctx context.Context, account, profileID string, window time.Duration) (event.Series, error) {
	minutes := w.stats.Series(account, profileID, window)
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	q := seriesQuery{statsQuery{account, window}, profileID}
	away := gather(ctx, w.caller, w.peers(), methodSeries, q, func(m stats.Minutes) { minutes.Merge(m) })
	to := w.now().UTC()
	s := minutes.Series(to.Add(-window), to)
	s.Unreachable = away
	return s, nil
}

// serveSeries answers methodSeries.
func (w *watcher) serveSeries(_ context.Context, q seriesQuery) (stats.Minutes, error) {
	return w.stats.Series(q.Account, q.Profile, q.Window), nil
}

// addBacklog puts what is owed beside what was done.
func addBacklog(st *event.Stats, lanes []outbox.LaneBacklog) {
	places := make(map[string]int, len(st.Profiles))
	for i := range st.Profiles {
		places[st.Profiles[i].ProfileID] = i
	}
	for _, l := range lanes {
		id := profileOf(l.Destination)
		i, ok := places[id]
		if !ok {
			i = len(st.Profiles)
			places[id] = i
			st.Profiles = append(st.Profiles, event.ProfileStats{ProfileID: id, Outcomes: map[string]int64{}})
		}
		for _, p := range []*event.ProfileStats{&st.Profiles[i], &st.Total} {
			p.Backlog += l.Pending
			if !l.Oldest.IsZero() && (p.OldestPendingAt == nil || l.Oldest.Before(*p.OldestPendingAt)) {
				at := l.Oldest
				p.OldestPendingAt = &at
			}
		}
	}
	slices.SortFunc(st.Profiles, func(a, b event.ProfileStats) int { return cmp.Compare(a.ProfileID, b.ProfileID) })
}

// profileOf is the profile of a lane, or "" for one of a URL.
func profileOf(destination string) string {
	if len(destination) > 2 && destination[:2] == "p:" {
		return destination[2:]
	}
	return ""
}

// serveStats answers methodStats.
func (w *watcher) serveStats(_ context.Context, q statsQuery) (stats.Counts, error) {
	return w.stats.Snapshot(q.Account, q.Window), nil
}
