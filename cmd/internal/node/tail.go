package node

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"example.com/belfry/dispatch/event"
)

type tailQuery struct {
	Account string           `json:"account"`
	Filter  event.TailFilter `json:"filter"`
	Since   uint64           `json:"since"`
}

// tailAnswer is what one node has to tell.
type tailAnswer struct {
	Entries []event.TailEntry `json:"entries,omitempty"`
	Next    uint64            `json:"next"`
	Dropped uint64            `json:"dropped,omitempty"`
}

// tailNews is one answer of one node, or that it did not answer.
type tailNews struct {
	node string
	tailAnswer
	away bool
}

// Tail follows every node with a loop of its own, which asks what came since,
// and gathers what they say into batches.
func (w *watcher) Tail(ctx context.Context, account string, f event.TailFilter, send func(event.TailBatch) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()
	news := make(chan tailNews)
	follow := func(node string, ask func(ctx context.Context, since uint64) (tailAnswer, error)) context.CancelFunc {
		nodeCtx, stop := context.WithCancel(ctx)
		loops.Go(func() { followNode(nodeCtx, node, ask, news) })
		return stop
	}
	defer follow(w.self, func(ctx context.Context, since uint64) (tailAnswer, error) {
		return w.serveTail(ctx, tailQuery{account, f, since})
	})()

	followed := map[string]context.CancelFunc{}
	look := func() {
		peers := w.peers()
		for _, id := range peers {
			if followed[id] == nil {
				followed[id] = follow(id, func(ctx context.Context, since uint64) (tailAnswer, error) {
					return w.askTail(ctx, id, tailQuery{account, f, since})
				})
			}
		}
		for id, stop := range followed {
			if !slices.Contains(peers, id) {
				stop()
				delete(followed, id)
			}
		}
	}
	look()
	members := time.NewTicker(tailPeers)
	defer members.Stop()
	heartbeat := time.NewTimer(tailHeartbeat)
	defer heartbeat.Stop()
	away := map[string]bool{}
	for {
		var b event.TailBatch
		changed := false
		take := func(n tailNews) {
			b.Entries = append(b.Entries, n.Entries...)
			b.Dropped += n.Dropped
			if n.away != away[n.node] {
				away[n.node], changed = n.away, true
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-members.C:
			look()
			for id := range away {
				if id != w.self && followed[id] == nil {
					changed = changed || away[id]
					delete(away, id)
				}
			}
		case <-heartbeat.C:
			changed = true
		case n := <-news:
			take(n)
			gatherNews(ctx, news, take)
		}
		if len(b.Entries) == 0 && b.Dropped == 0 && !changed {
			continue
		}
		b.Unreachable = names(away)
		slices.SortStableFunc(b.Entries, func(x, y event.TailEntry) int { return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.NodeID, y.NodeID)) })
		if err := send(b); err != nil {
			return err
		}
		heartbeat.Reset(tailHeartbeat)
	}
}

func names(set map[string]bool) (out []string) {
	for id, in := range set {
		if in {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// gatherNews takes what comes within tailGather.
func gatherNews(ctx context.Context, news <-chan tailNews, take func(tailNews)) {
	timer := time.NewTimer(tailGather)
	defer timer.Stop()
	for {
		select {
		case n := <-news:
			take(n)
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// followNode asks one node again and again until ctx ends. A node that starts
// anew numbers its entries anew; since 0 means from now on.
func followNode(ctx context.Context, node string, ask func(ctx context.Context, since uint64) (tailAnswer, error), news chan<- tailNews) {
	var since uint64
	failed := false
	for ctx.Err() == nil {
		a, err := ask(ctx, since)
		if ctx.Err() != nil {
			return
		}
		n := tailNews{node: node, tailAnswer: a, away: err != nil}
		if err == nil {
			since = a.Next
		}
		if len(a.Entries) > 0 || a.Dropped > 0 || n.away != failed {
			failed = n.away
			select {
			case news <- n:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			select {
			case <-time.After(tailRetry):
			case <-ctx.Done():
			}
		}
	}
}

// askTail asks another node.
func (w *watcher) askTail(ctx context.Context, id string, q tailQuery) (tailAnswer, error) {
	var a tailAnswer
	body, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	ctx, cancel := context.WithTimeout(ctx, tailWait+gatherTimeout)
	defer cancel()
	b, err := w.caller.Call(ctx, id, methodTail, body)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(b, &a)
}

// serveTail answers for this node, after tailWait at the latest.
func (w *watcher) serveTail(ctx context.Context, q tailQuery) (tailAnswer, error) {
	entries, next, dropped, err := w.ring.Poll(ctx, q.Account, q.Filter, q.Since, tailMax, tailWait)
	return tailAnswer{Entries: entries, Next: next, Dropped: dropped}, err
}
