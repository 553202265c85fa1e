package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"example.com/belfry/dispatch"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// Channels with subscriptions that come and go while events are sent.
const (
	channelGrowing = "LINE" // gets one subscription after another
	channelPassing = "ZALO" // has one that is made and deleted
	channelGone    = "RCS"  // has one whose profile is disabled now and then, and then nothing is owed to it
)

// simRoute says which profiles of every account get an event.
type simRoute struct {
	channel, name string
	profiles      []string
}

var simRoutes = []simRoute{
	{"SMS", "DELIVERY", []string{"ok-1", "flaky-1"}}, // both of families that share requests
	{"SMS", "CLICK", []string{"ok-2", "busy-1"}},
	{"EMAIL", "OPEN", []string{"ok-3", "flaky-2", "dead-1"}},
	{"VOICE_VIDEO", "DELIVERY", []string{"flaky-1"}},
	{"WHATSAPP", "CLICK", []string{"slow-1", "slow-2"}}, // one by one, so that nothing is agreed upon before
	{"MOBILE_PUSH", "SEEN", nil},
	{channelGone, "DELIVERY", []string{"gone-1"}},
	{"VIBER", "DELIVERY", []string{"key-1", "strict-1"}}, // in order, several to a request
	{"VIBER", "CLICK", []string{"key-2", "strict-2"}},    // in order, one by one
	{channelGrowing, "DELIVERY", nil},
	{channelPassing, "DELIVERY", nil},
}

// lateRoute is the one with retries over more than an hour.
var lateRoute = simRoute{"OPEN_CHANNEL", "DELIVERY", []string{"late-1"}}

var simAccounts = []string{"acme", "bolt"}

// simPatience is how long a client waits for an answer.
const simPatience = 5 * time.Second

// setUp makes accounts, profiles and subscriptions.
func (s *sim) setUp() {
	s.t.Helper()
	for _, account := range simAccounts {
		s.config(func(ctx context.Context, n *simNode) error {
			_, err := n.writer.CreateAccount(ctx, system, model.Account{ID: account, Name: account})
			return err
		})
		made := map[string]bool{}
		for _, r := range append(slices.Clone(simRoutes), lateRoute) {
			for _, p := range r.profiles {
				s.subscribe(account, r.channel, r.name, r.channel+"-"+r.name+"-"+p, p, !made[p])
				made[p] = true
			}
		}
		s.secure(account)
		// A second subscription of a profile makes no second delivery.
		s.subscribe(account, "SMS", "DELIVERY", "again", "ok-1", false)
	}
	s.config(func(ctx context.Context, n *simNode) error {
		_, err := n.writer.CreateProfile(ctx, system, model.ProfileDraft{Profile: simProfile("acme", "register")})
		return err
	})
	s.Wait("every node has the config", func() bool {
		want := s.node(s.ids[0]).store.AppliedIndex()
		return !slices.ContainsFunc(s.ids, func(id string) bool { return s.node(id).store.AppliedIndex() != want })
	})
}

func simProfile(account, id string) model.Profile {
	return model.Profile{
		Account: account, ID: id, URL: "https://" + id + ".example.org/" + account, MaxBucketSize: 10, Ordering: simOrdering(id),
		Retry: &model.Retry{Policy: model.RetryCustom, Schedule: simSchedule(id)},
	}
}

func (s *sim) subscribe(account, channel, name, id, profile string, withProfile bool) {
	s.t.Helper()
	s.config(func(ctx context.Context, n *simNode) error {
		return n.subscribe(ctx, account, channel, name, id, profile, withProfile)
	})
}

func (n *simNode) subscribe(ctx context.Context, account, channel, name, id, profile string, withProfile bool) error {
	d := model.SubscriptionDraft{Subscription: model.Subscription{
		Account: account, Channel: channel, ID: id, ProfileID: profile, Events: []model.EventRef{{Event: name}},
	}}
	if withProfile {
		d.Profile = &model.ProfileDraft{Profile: simProfile(account, profile)}
	}
	_, err := n.writer.CreateSubscription(ctx, system, d)
	return err
}

// config changes the config before the load begins.
func (s *sim) config(f func(ctx context.Context, n *simNode) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), simPatience)
	defer cancel()
	if err := f(ctx, s.node(s.ids[0])); err != nil {
		s.t.Fatal(err)
	}
}

// simLoad is the clients of a simulation. They work between begin and end.
type simLoad struct {
	s       *sim
	clients []*simClient
	stop    chan struct{} // nil: they do not work
	routes  []simRoute
	wg      sync.WaitGroup

	// The register: the last acknowledged value, and those of unknown outcome.
	value, acked int
	unknown      []int

	resources *simResources
	rotators  []*rotator

	mu      sync.Mutex
	growing []time.Time // when the subscriptions of channelGrowing were acknowledged
	begun   int         // how many of them were begun
}

func (s *sim) newLoad(clients int) *simLoad {
	l := &simLoad{s: s, resources: newResources()}
	for i := range clients {
		l.clients = append(l.clients, &simClient{l: l, rng: simRand(s.seed, fmt.Sprint("client ", i)), name: fmt.Sprint("c", i)})
	}
	l.rotators = l.newRotators()
	s.load = l
	return l
}

// begin lets the clients send events and change the config.
func (l *simLoad) begin(round int) {
	l.stop, l.routes = make(chan struct{}), simRoutes
	if l.late(round) {
		l.routes = append(slices.Clone(simRoutes), lateRoute)
	}
	for _, r := range l.rotators {
		r.resume()
	}
	for _, c := range l.clients {
		l.wg.Go(c.run)
	}
	jobs := map[string]func(*rand.Rand){"register": l.register, "grow": l.grow, "pass": l.pass, "revive": l.revive}
	for i := range simWriters {
		jobs[fmt.Sprint("resources ", i)] = func(rng *rand.Rand) { l.resources.run(l, i, rng) }
		jobs[fmt.Sprint("tangle ", i)] = l.tangle
	}
	for i, r := range l.rotators {
		jobs[fmt.Sprint("rotator ", i)] = r.run
	}
	for name, f := range jobs {
		l.wg.Go(func() { f(simRand(l.s.seed, fmt.Sprint(name, " ", round))) })
	}
}

// late reports whether events of the round may take more than an hour: once in
// a simulation, so that the others drain soon.
func (l *simLoad) late(round int) bool { return l.s.knobs.late && round == l.s.rounds-1 }

func (l *simLoad) end() {
	if l.stop == nil {
		return
	}
	close(l.stop)
	l.wg.Wait()
	l.stop = nil
}

// sleep reports whether the load goes on after d.
func (l *simLoad) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.stop:
		return false
	}
}

// anyNode is a node that lives.
func (s *sim) anyNode(rng *rand.Rand) *simNode {
	for {
		for _, i := range rng.Perm(len(s.ids)) {
			if n := s.node(s.ids[i]); !n.down.Load() {
				return n
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// at has a node do something as a client sees it: the end of the node is an
// unknown outcome.
func (n *simNode) at(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, simPatience)
	defer cancel()
	err := f(ctx)
	if !n.runs(ctx) { // nor does an answer come while it is paused
		return model.Errorf(model.CodeUnknownOutcome, "the connection broke")
	}
	return err
}

// simClient sends events.
type simClient struct {
	l    *simLoad
	rng  *rand.Rand
	name string
	made int
	past []*simEvent // with a receipt and an id of its own
}

func (c *simClient) run() {
	for c.l.sleep(c.l.s.knobs.between(c.rng, 20, 120)) {
		if len(c.past) > 0 && c.rng.IntN(10) == 0 {
			c.repeat(c.past[c.rng.IntN(len(c.past))])
			continue
		}
		given := c.rng.IntN(2) == 0
		var es []*simEvent
		for range 1 + c.rng.IntN(4) {
			es = append(es, c.newEvent(given))
		}
		c.send(es, given)
	}
}

func (c *simClient) newEvent(given bool) *simEvent {
	r := c.l.routes[c.rng.IntN(len(c.l.routes))]
	account := simAccounts[c.rng.IntN(len(simAccounts))]
	e := &simEvent{Event: event.Event{
		Account: account, GivenID: given, Channel: r.channel, Name: r.name, ReceivedAt: time.Now(),
		ID: uuid.Must(uuid.NewV7()).String(),
	}}
	for _, p := range r.profiles {
		if r.channel != channelGone { // the receipt says so
			e.destinations = append(e.destinations, "p:"+p)
		}
	}
	if r.channel == "VIBER" && c.rng.IntN(4) > 0 {
		e.OrderingKey = fmt.Sprint("key ", c.rng.IntN(3))
	}
	if given {
		c.made++
		e.ID = fmt.Sprintf("%s-%d", c.name, c.made)
	}
	if c.rng.IntN(10) == 0 {
		e.Webhook = &event.Webhook{URL: "https://elsewhere.example.org/" + account}
		e.destinations = []string{"u:" + e.Webhook.URL}
	}
	e.Payload = fmt.Appendf(nil, `{"account":%q,"id":%q,"body":"%0*d"}`, account, e.ID, c.rng.IntN(2000), 0)
	return e
}

// send sends a request. Events with ids of their own are sent until there is
// an answer; others only when the answer was that nothing was taken.
func (c *simClient) send(es []*simEvent, given bool) {
	w := c.l.s.truth
	w.mu.Lock()
	w.sent(es)
	w.mu.Unlock()
	unknown := false
	for {
		receipts, err := c.publish(es)
		switch code := model.CodeOf(err); {
		case code == "":
			c.receipts(es, receipts, unknown)
			return
		case code == model.CodeUnknownOutcome:
			unknown = true
		case code != model.CodeUnavailable && code != model.CodeLimit:
			w.mu.Lock()
			w.violated("publish: %v", err)
			w.mu.Unlock()
		}
		if unknown && !given || !c.l.sleep(time.Duration(c.rng.IntN(500))*time.Millisecond) {
			break
		}
	}
	if unknown {
		w.mu.Lock()
		w.requests = append(w.requests, &simRequest{es})
		w.mu.Unlock()
	}
}

// publish makes one try.
func (c *simClient) publish(es []*simEvent) (receipts []event.Receipt, err error) {
	w := c.l.s.truth
	n := c.l.s.anyNode(c.rng)
	list := make([]*event.Event, len(es))
	w.mu.Lock()
	before := make([]bool, len(es))
	for i, e := range es {
		// It may go out before the answer comes.
		before[i], e.possible = e.possible, true
		copied := e.Event
		list[i] = &copied
	}
	w.mu.Unlock()
	visible := c.l.visible(time.Now().Add(-dispatch.DefaultMaxStaleness))
	err = n.at(c.l.s.t.Context(), func(ctx context.Context) (err error) {
		receipts, err = n.publisher.Publish(ctx, list)
		return err
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	switch model.CodeOf(err) { //nolint:exhaustive // all others are refusals
	case "":
		w.counts.receipts += len(es)
	case model.CodeUnknownOutcome:
		w.counts.unknown += len(es)
	case model.CodeConflict:
		w.counts.conflicts++
	default:
		w.counts.refused += len(es)
		for i, e := range es {
			e.possible = before[i]
		}
	}
	for i := range receipts {
		e := es[i]
		if err == nil && e.Channel == channelGrowing && e.Webhook == nil && receipts[i].Status == event.Accepted {
			if d := receipts[i].Deliveries; d < visible || d > c.l.begunSoFar() {
				w.violated("event %s at %s came to %d deliveries, %d subscriptions are older than %v", e.ID, n.id, d, visible, dispatch.DefaultMaxStaleness)
			}
		}
	}
	return receipts, err
}

// receipts takes the answer of a request down.
func (c *simClient) receipts(es []*simEvent, receipts []event.Receipt, unknown bool) {
	w := c.l.s.truth
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, e := range es {
		r := receipts[i]
		if r.EventID != e.ID || r.Status == event.Duplicate && !unknown && !w.faulty { // a node may have had to propose it twice
			w.violated("event %s has the receipt %+v", e.ID, r)
		}
		if e.Channel == channelGone && e.Webhook == nil && r.Deliveries > 0 {
			e.destinations = []string{"p:gone-1"}
		}
		if e.Channel == channelGrowing && e.Webhook == nil {
			e.destinations = nil
			for k := range r.Deliveries {
				e.destinations = append(e.destinations, fmt.Sprintf("p:ok-grown-%d", k))
			}
		}
		if e.Channel != channelPassing && r.Deliveries != len(e.destinations) {
			w.violated("event %s came to %d deliveries, it is owed to %v", e.ID, r.Deliveries, e.destinations)
		}
		e.receipted, e.receiptAt = true, time.Now()
		if e.GivenID && r.Deliveries > 0 && e.Channel != channelPassing {
			c.past = append(c.past, e)
		}
	}
}

// repeat sends an event that has a receipt once more, as it was or with
// another content.
func (c *simClient) repeat(e *simEvent) {
	changed := *e
	other := c.rng.IntN(2) == 0
	if other {
		changed.Payload = []byte(`{}`)
	}
	receipts, err := c.publish([]*simEvent{&changed})
	w := c.l.s.truth
	w.mu.Lock()
	defer w.mu.Unlock()
	switch code := model.CodeOf(err); {
	case code == model.CodeUnavailable, code == model.CodeUnknownOutcome, code == model.CodeLimit:
	case other && code != model.CodeConflict:
		w.violated("event %s was taken again with another content: %v %v", e.ID, receipts, err)
	case !other && (code != "" || receipts[0].Status != event.Duplicate || receipts[0].Deliveries != len(e.destinations)):
		w.violated("event %s with a receipt was sent again and answered %v, %v", e.ID, receipts, err)
	}
}

// visible is how many subscriptions of channelGrowing were there at an instant.
func (l *simLoad) visible(at time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(l.growing), func(t time.Time) bool { return t.After(at) }))
}

func (l *simLoad) begunSoFar() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.begun
}
