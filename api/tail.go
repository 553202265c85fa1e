package api

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const (
	tailPath        = "/events/1/tail"
	typeEventStream = "text/event-stream"
)

const (
	// TailHeartbeat is the longest that a Watcher lets a tail be silent.
	TailHeartbeat = 15 * time.Second
	// tailRecheck is how long a tail outlives the credentials that opened it.
	tailRecheck = 10 * time.Second
)

func (s *Server) tailRoutes() []route {
	return []route{{method: http.MethodGet, path: tailPath, scope: model.ScopeEventsRead, handle: s.tailEvents}}
}

// tailEvents streams what happens to the account's events until the client
// goes, stops reading, loses its rights, or the node is drained.
func (s *Server) tailEvents(r *request) error {
	watcher, err := s.watcher()
	if err != nil {
		return err
	}
	f, err := r.tailFilter()
	if err != nil {
		return err
	}
	ctx, leave, err := s.tails.enter(r.ctx(), r.caller.account)
	if err != nil {
		return err
	}
	defer leave()
	out := tailWriter{stream: newStream(r)}
	h := r.header()
	h.Set("Content-Type", typeEventStream)
	h.Set("X-Accel-Buffering", "no")
	r.w.WriteHeader(http.StatusOK)
	if r.http.Method == http.MethodHead {
		return nil
	}
	if err := out.start(); err != nil {
		return nil // the client is gone: there is nobody to tell
	}
	defer out.end()
	ctx, cancel := context.WithCancel(ctx)
	var recheck sync.WaitGroup
	recheck.Go(func() { s.watchCaller(ctx, cancel, r) })
	defer recheck.Wait()
	defer cancel()
	err = watcher.Tail(ctx, r.caller.account, f, func(b event.TailBatch) error {
		// INV api-9: what comes after the end of a tail is not sent, even if the
		// watcher has not noticed yet.
		if err := ctx.Err(); err != nil {
			return err
		}
		return out.batch(b)
	})
	if out.broken || ctx.Err() != nil {
		return nil // the ordinary ends of a tail
	}
	return err
}

// tailFilter reads the query of a tail.
func (r *request) tailFilter() (event.TailFilter, error) {
	p := r.strictQuery()
	f := event.TailFilter{
		Kind: choice(p, "kind", event.TailAccepted, event.TailAttempt), Channel: p.text("channel"), Name: p.text("event"), Resource: p.text("resource"),
		ApplicationID: p.text("applicationId"), EntityID: p.text("entityId"), User: p.text("user"), OrderingKey: p.text("orderingKey"),
		ProfileID: p.text("profileId"), SubscriptionID: p.text("subscriptionId"),
		Status: choice(p, "status", deliveryStates...),
	}
	checkCatalogue(f.Channel, f.Name, "", &p.v)
	return f, p.err()
}

// watchCaller ends a tail soon after its caller would not be let in any more.
func (s *Server) watchCaller(ctx context.Context, end context.CancelFunc, r *request) {
	t := time.NewTicker(tailRecheck)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		// A copy: the handler reads the caller meanwhile.
		again := request{s: s, http: r.http, route: r.route, id: r.id, caller: caller{remote: r.caller.remote}}
		err := s.identify(&again)
		code := model.CodeOf(err)
		refused := code == model.CodeUnauthorized || code == model.CodeForbidden // who cannot be checked right now stays
		if refused || err == nil && again.caller.account != r.caller.account {
			end()
			return
		}
	}
}

// tailWriter writes the stream of a tail.
type tailWriter struct {
	stream
	unreachable []string
}

// start sends the headers, so that the client knows that it is heard.
func (w *tailWriter) start() error {
	w.buf.WriteString(": keep-alive\n\n")
	return w.flush()
}

// batch sends one batch.
func (w *tailWriter) batch(b event.TailBatch) error {
	if b.Dropped > 0 {
		w.entry("dropped", map[string]uint64{"dropped": b.Dropped})
	}
	nodes := slices.Sorted(slices.Values(b.Unreachable))
	if !slices.Equal(nodes, w.unreachable) {
		w.unreachable = nodes
		w.entry("nodes", map[string][]string{"unreachableNodes": listOf(nodes)})
	}
	for i := range b.Entries {
		w.entry(string(b.Entries[i].Kind), &b.Entries[i])
	}
	if w.buf.Len() == 0 {
		w.buf.WriteString(": keep-alive\n\n")
	}
	return w.flush()
}

func (w *tailWriter) entry(name string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		w.r.s.log.Error("cannot encode an entry of a tail", "requestId", w.r.id, "error", err)
		return
	}
	w.buf.WriteString("event: " + name + "\ndata: ")
	w.buf.Write(b) // on one line: Marshal escapes line breaks
	w.buf.WriteString("\n\n")
}

// tails counts the open tails of this node and ends them when it is drained.
type tails struct {
	perAccount, all int // limits

	mu       sync.Mutex
	accounts map[string]int
	open     map[*context.CancelFunc]struct{}
	draining bool
}

func newTails(l Limits) *tails {
	return &tails{perAccount: l.AccountTails, all: l.Tails, accounts: map[string]int{}, open: map[*context.CancelFunc]struct{}{}}
}

// enter takes a place; leave gives it back. The context ends when the node is
// drained.
func (t *tails) enter(ctx context.Context, account string) (_ context.Context, leave func(), _ error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.draining:
		return nil, nil, model.Errorf(model.CodeUnavailable, "the node is being drained and will stop; ask another one")
	case t.accounts[account] >= t.perAccount:
		return nil, nil, model.Errorf(model.CodeLimit, "the account has %d live tails open on this node already, which is the limit", t.perAccount)
	case len(t.open) >= t.all:
		return nil, nil, model.Errorf(model.CodeLimit, "this node has %d live tails open already, which is the limit", t.all)
	}
	ctx, cancel := context.WithCancel(ctx)
	t.open[&cancel] = struct{}{}
	t.accounts[account]++
	return ctx, func() {
		cancel()
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.open, &cancel)
		if t.accounts[account]--; t.accounts[account] == 0 {
			delete(t.accounts, account)
		}
	}, nil
}

// drain ends the open tails and refuses new ones, until it is taken back.
func (t *tails) drain(draining bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draining = draining
	if !draining {
		return
	}
	for cancel := range t.open {
		(*cancel)()
	}
}
