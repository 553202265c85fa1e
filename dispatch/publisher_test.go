package dispatch

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/index"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/partition"
	"example.com/belfry/fsm/model"
)

// subscriptions is a config of subscriptions alone, as the index reads it.
type subscriptions struct {
	model.View // what the index must not ask for is nil

	index uint64
	byID  map[string]model.Subscription
}

func (c *subscriptions) Index() uint64 { return c.index }

func (c *subscriptions) Subscription(_, _, id string) (model.Subscription, bool) {
	s, ok := c.byID[id]
	return s, ok
}

func (c *subscriptions) Subscriptions(string) iter.Seq[model.Subscription] {
	return func(yield func(model.Subscription) bool) {
		for _, s := range c.byID {
			if !yield(s) {
				return
			}
		}
	}
}

func (c *subscriptions) Profiles(string) iter.Seq[model.Profile] {
	return func(func(model.Profile) bool) {}
}

// desk is a publisher before a fake event group.
type desk struct {
	t      testing.TB
	group  *fakeGroup
	store  *outbox.Store
	config *subscriptions
	index  *index.Index
	reg    *prometheus.Registry
	opts   PublisherOptions
	p      *Publisher
	stop   func()

	mu      sync.Mutex
	accepts []*outbox.Accept
}

func newDesk(tb testing.TB) *desk {
	tb.Helper()
	d := &desk{t: tb, group: &fakeGroup{}, config: &subscriptions{byID: map[string]model.Subscription{}}, index: index.New()}
	d.store = openOutbox(tb)
	d.group.stores = []*outbox.Store{d.store}
	d.reg = prometheus.NewPedanticRegistry()
	d.opts = PublisherOptions{NodeID: "n1", Index: d.index, Proposer: d, Outbox: d.store, Registerer: d.reg}
	return d
}

// Propose notes what is proposed.
func (d *desk) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	c, err := outbox.Decode(cmd)
	if err != nil {
		return 0, nil, err
	}
	d.mu.Lock()
	d.accepts = append(d.accepts, c.(*outbox.Accept))
	d.mu.Unlock()
	return d.group.Propose(ctx, cmd)
}

func (d *desk) proposed() []*outbox.Accept {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.accepts)
}

// start runs the publisher; stop ends it.
func (d *desk) start() {
	d.t.Helper()
	var err error
	if d.p, err = NewPublisher(d.opts); err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.p.Run(ctx) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			d.t.Errorf("Run: %v", err)
		}
	})
}

// subscribe lets a subscription of a profile take delivery reports of SMS.
func (d *desk) subscribe(id, profile string) {
	d.config.index++
	d.config.byID[id] = model.Subscription{
		Account: "acme", Channel: "SMS", ID: id, ProfileID: profile, Events: []model.EventRef{{Event: "DELIVERY"}},
	}
	d.index.Committed(d.config, model.ChangeSet{Index: d.config.index, Changes: []model.Change{
		{Entity: model.EntitySubscription, Account: "acme", Channel: "SMS", ID: id},
	}})
}

// atDesk runs f in virtual time with a publisher that runs.
func atDesk(t *testing.T, prepare, f func(d *desk)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		if prepare != nil {
			prepare(d)
		}
		d.start()
		defer func() { d.stop() }()
		f(d)
	})
}

// sms is an event; one with an id is one that the client named.
func sms(name, id, payload string) *event.Event {
	e := &event.Event{Account: "acme", ID: id, GivenID: id != "", Channel: "SMS", Name: name, Payload: []byte(payload)}
	if id == "" {
		e.ID = uuid.Must(uuid.NewV7()).String()
	}
	return e
}

func (d *desk) publish(es ...*event.Event) ([]event.Receipt, error) {
	return d.p.Publish(context.Background(), es)
}

// must publishes and shows the receipts as "STATUS/deliveries".
func (d *desk) must(es ...*event.Event) string {
	d.t.Helper()
	rs, err := d.publish(es...)
	if err != nil {
		d.t.Fatal(err)
	}
	var out []string
	for i, r := range rs {
		if r.EventID != es[i].ID {
			d.t.Errorf("receipt %d is of event %q, want %q", i, r.EventID, es[i].ID)
		}
		out = append(out, fmt.Sprintf("%s/%d", r.Status, r.Deliveries))
	}
	return strings.Join(out, " ")
}

// wantError checks code and pointers of a refusal.
func (d *desk) wantError(err error, code model.Code, fields ...string) {
	d.t.Helper()
	e, ok := err.(*model.Error) //nolint:errorlint // the type is promised
	if !ok || e.Code != code {
		d.t.Fatalf("error %v (%s), want code %s", err, model.CodeOf(err), code)
	}
	var got []string
	for _, v := range e.Violations() {
		got = append(got, v.Field)
	}
	if !slices.Equal(got, fields) {
		d.t.Errorf("%v names %v, want %v", err, got, fields)
	}
}

func TestNewPublisher_options(t *testing.T) {
	t.Parallel()
	good := newDesk(t).opts
	for name, edit := range map[string]func(o *PublisherOptions){
		"":                                  func(*PublisherOptions) {},
		"NodeID is required":                func(o *PublisherOptions) { o.NodeID = "" },
		"lacks a collaborator":              func(o *PublisherOptions) { o.Outbox = nil },
		"must not be negative":              func(o *PublisherOptions) { o.GroupDelay = -1 },
		"PublisherOptions must not be nega": func(o *PublisherOptions) { o.MaxGroups = -1 },
		"must have room for one request":    func(o *PublisherOptions) { o.MaxQueuedEvents = event.MaxBatchEvents - 1 },
		"MaxQueuedBytes must have room":     func(o *PublisherOptions) { o.MaxQueuedBytes = MaxRequestBytes - 1 },
	} {
		o := good
		o.Registerer = nil
		edit(&o)
		_, err := NewPublisher(o)
		if name == "" && err != nil || name != "" && (err == nil || !strings.Contains(err.Error(), name)) {
			t.Errorf("%q: error %v", name, err)
		}
	}
}

// TestPublish_targets checks INV publish-2 and the overrides.
func TestPublish_targets(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.subscribe("s1", "p1")
		d.subscribe("s2", "p1")
		d.subscribe("s3", "p2")
	}, func(d *desk) {
		t := d.t
		yes, no := true, false
		over := sms("DELIVERY", "", `{}`)
		over.Webhook = &event.Webhook{URL: "https://else.example.org/", ContentType: "application/json"}
		loud := sms("DELIVERY", "", `{}`)
		loud.Webhook = &event.Webhook{Notify: &yes}
		silent := sms("DELIVERY", "", `{}`)
		silent.Webhook = &event.Webhook{URL: "https://else.example.org/", Notify: &no}
		got := d.must(sms("DELIVERY", "", `{}`), over, loud, silent, sms("SEEN", "", `{}`))
		if want := "ACCEPTED/2 ACCEPTED/1 ACCEPTED/2 ACCEPTED/0 ACCEPTED/0"; got != want {
			t.Errorf("receipts: got %s, want %s", got, want)
		}
		cs := d.proposed()
		if len(cs) != 1 || cs[0].ConfigIndex != 3 || cs[0].NodeID != "n1" || !cs[0].At.Equal(time.Now()) {
			t.Fatalf("proposed: %+v", cs)
		}
		var targets []outbox.Target
		ids := map[string]bool{}
		for _, e := range cs[0].Events {
			for _, g := range e.Targets {
				if u, err := uuid.Parse(g.DeliveryID); err != nil || u.Version() != 7 || ids[g.DeliveryID] {
					t.Errorf("delivery id %q is no new UUIDv7", g.DeliveryID)
				}
				ids[g.DeliveryID] = true
				if want := partition.Of("acme", g.Destination()); g.Partition != want {
					t.Errorf("partition %d, want %d", g.Partition, want)
				}
				g.DeliveryID, g.Partition = "", 0
				targets = append(targets, g)
			}
		}
		matched := []outbox.Target{{ProfileID: "p1", SubscriptionIDs: []string{"s1", "s2"}}, {ProfileID: "p2", SubscriptionIDs: []string{"s3"}}}
		want := slices.Concat(matched, []outbox.Target{{URL: "https://else.example.org/", ContentType: "application/json"}}, matched)
		if diff := cmp.Diff(want, targets); diff != "" {
			t.Errorf("targets (-want +got):\n%s", diff)
		}
		if n := d.store.Stats().Pending; n != 5 {
			t.Errorf("%d deliveries are owed, want 5", n)
		}
	})
}

// TestPublish_unmatched: what is owed to nobody writes nothing, unless its id
// is known.
func TestPublish_unmatched(t *testing.T) {
	atDesk(t, func(d *desk) { d.subscribe("s1", "p1") }, func(d *desk) {
		t := d.t
		if got := d.must(sms("SEEN", "a", `1`), sms("SEEN", "", `2`)); got != "ACCEPTED/0 ACCEPTED/0" || len(d.proposed()) != 0 {
			t.Errorf("%s and %d entries, want none", got, len(d.proposed()))
		}
		d.must(sms("DELIVERY", "b", `1`))
		// The subscription goes; the id stays known.
		delete(d.config.byID, "s1")
		d.index.Restored(d.config)
		if got := d.must(sms("DELIVERY", "b", `1`)); got != "DUPLICATE/1" {
			t.Errorf("repeated: %s", got)
		}
		_, err := d.publish(sms("SEEN", "c", `1`), sms("DELIVERY", "b", `2`))
		d.wantError(err, model.CodeConflict, "/1/eventId")
		if n := len(d.proposed()); n != 3 {
			t.Errorf("%d entries, want 3", n)
		}
	})
}

func TestPublish_duplicates(t *testing.T) {
	told := map[string]int{}
	atDesk(t, func(d *desk) {
		d.subscribe("s1", "p1")
		d.opts.Accepted = func(account string, n int) { told[account] += n }
	}, func(d *desk) {
		t := d.t
		a, b := sms("DELIVERY", "a", `1`), sms("DELIVERY", "b", `1`)
		if got := d.must(a, sms("DELIVERY", "a", `1`), b); got != "ACCEPTED/1 DUPLICATE/1 ACCEPTED/1" {
			t.Errorf("in one request: %s", got)
		}
		if got := d.must(a, sms("DELIVERY", "c", `1`), a); got != "DUPLICATE/1 ACCEPTED/1 DUPLICATE/1" {
			t.Errorf("in two requests: %s", got)
		}
		_, err := d.publish(sms("DELIVERY", "x", `1`), b, sms("DELIVERY", "x", `2`))
		d.wantError(err, model.CodeConflict, "/2/eventId")
		// INV publish-3: the new event of the same request is not taken.
		_, err = d.publish(sms("DELIVERY", "new", `1`), sms("DELIVERY", "a", `other`), sms("DELIVERY", "b", `other`))
		d.wantError(err, model.CodeConflict, "/1/eventId", "/2/eventId")
		if got := d.must(sms("DELIVERY", "new", `another`)); got != "ACCEPTED/1" {
			t.Errorf("after a refusal: %s", got)
		}
		// The same id of another account is another event.
		e := sms("DELIVERY", "a", `other`)
		e.Account = "bolt"
		if got := d.must(e); got != "ACCEPTED/0" {
			t.Errorf("another account: %s", got)
		}
		if n := d.store.Stats().Pending; n != 4 {
			t.Errorf("%d deliveries are owed, want 4", n)
		}
		want := map[string]float64{outcomeAccepted: 4, outcomeUnmatched: 1, outcomeDuplicate: 3, outcomeConflict: 6, outcomeRefused: 0, outcomeUnknown: 0}
		for o, n := range want {
			if got := testutil.ToFloat64(d.p.metrics.events.WithLabelValues(o)); got != n {
				t.Errorf("%s: counted %v, want %v", o, got, n)
			}
		}
		if n := testutil.ToFloat64(d.p.metrics.deliveries); n != 4 {
			t.Errorf("counted %v deliveries, want 4", n)
		}
		if told[a.Account] != 4 || told["bolt"] != 1 {
			t.Errorf("told of %v, want 4 and 1", told)
		}
	})
}

func TestPublish_idempotencyWindow(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.subscribe("s1", "p1")
		d.opts.IdempotencyWindow = time.Hour
	}, func(d *desk) {
		d.must(sms("DELIVERY", "a", `1`))
		if at := d.proposed()[0].Events[0].ForgetAt; !at.Equal(time.Now().Add(time.Hour)) {
			d.t.Errorf("forgotten at %v, want in an hour", at)
		}
	})
}

// TestPublish_oneSnapshot checks INV publish-1: config commits go on between
// and inside of requests, and every entry's targets are those of its index.
func TestPublish_oneSnapshot(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.opts.MaxGroupEvents = 1 // one request per entry
	d.subscribe("s", "p1")
	d.start()
	defer d.stop()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 2; ; i++ { // at index i there is exactly profile p<i>
			select {
			case <-stop:
				return
			default:
			}
			d.subscribe("s", "p"+strconv.Itoa(i))
		}
	})
	seen := map[uint64]bool{}
	for len(seen) < 50 {
		if _, err := d.publish(sms("DELIVERY", "", `1`), sms("DELIVERY", "", `2`)); err != nil {
			t.Fatal(err)
		}
		cs := d.proposed()
		seen[cs[len(cs)-1].ConfigIndex] = true
	}
	close(stop)
	wg.Wait()
	for _, c := range d.proposed() {
		for _, e := range c.Events {
			if want := "p" + strconv.FormatUint(c.ConfigIndex, 10); len(e.Targets) != 1 || e.Targets[0].ProfileID != want {
				t.Fatalf("config index %d with targets %+v", c.ConfigIndex, e.Targets)
			}
		}
	}
}

// TestPublish_newestIndex: requests that were matched at different config
// states travel in one entry under the newest.
func TestPublish_newestIndex(t *testing.T) {
	atDesk(t, func(d *desk) {
		d.subscribe("s1", "p1")
		d.opts.Proposer = slowProposer{d, 10 * time.Millisecond}
		d.opts.GroupDelay = time.Second
	}, func(d *desk) {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { d.must(sms("DELIVERY", "", `1`)) })
			synctest.Wait()
			d.subscribe("s2", "p2")
		}
		wg.Wait()
		cs := d.proposed()
		if len(cs) != 2 || len(cs[0].Events) != 1 || len(cs[1].Events) != 2 || cs[1].ConfigIndex != 3 {
			d.t.Errorf("proposed %+v", cs)
		}
	})
}

func TestPublish_commandSize(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 255)
	yes := true
	e := event.Event{
		Account: long, ID: long, GivenID: true, Channel: long, Name: long, Format: long, ApplicationID: long, EntityID: long,
		CallsConfigurationID: long, Resource: long, User: long, OccurredAt: time.Now(), ReceivedAt: time.Now(), OrderingKey: long,
		Webhook: &event.Webhook{URL: strings.Repeat("u", event.MaxURLLength), ContentType: long, Notify: &yes},
		Payload: make([]byte, event.MaxEventBytes),
	}
	g := outbox.Target{DeliveryID: long, Partition: 63, ProfileID: long, URL: long, ContentType: long}
	for range 300 {
		g.SubscriptionIDs = append(g.SubscriptionIDs, long)
	}
	for name, a := range map[string]outbox.AcceptedEvent{
		"small": {Event: *sms("DELIVERY", "a", `1`), Targets: []outbox.Target{{DeliveryID: "d", ProfileID: "p", SubscriptionIDs: []string{"s"}}}},
		"large": {Event: e, Request: 1000, ForgetAt: time.Now(), Targets: slices.Repeat([]outbox.Target{g}, 300)},
	} {
		empty := len(outbox.Encode(&outbox.Accept{}))
		got, bound := len(outbox.Encode(&outbox.Accept{Events: []outbox.AcceptedEvent{a}}))-empty, commandSize(&a)
		if got > bound || bound > got*5/4+eventOverhead+targetOverhead {
			t.Errorf("%s: %d bytes, bounded by %d", name, got, bound)
		}
	}
}
