package index

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// BENCH: go test -run '^$' -bench . -benchtime 200000x ./dispatch/index
// (the change benchmarks: -bench Change -benchtime 2000x).

// generated is a view of subscriptions that are made while they are read, so
// that a measurement of memory sees the index alone.
type generated struct {
	model.View
	accounts, perAccount int
}

func (g *generated) Index() uint64 { return 1 }

func (g *generated) Profiles(string) iter.Seq[model.Profile] {
	return func(func(model.Profile) bool) {}
}

func (g *generated) Subscriptions(string) iter.Seq[model.Subscription] {
	return func(yield func(model.Subscription) bool) {
		for a := range g.accounts {
			for i := range g.perAccount {
				if !yield(g.subscription(a, i)) {
					return
				}
			}
		}
	}
}

func (g *generated) Subscription(account, _, id string) (model.Subscription, bool) {
	var a, i int
	_, errA := fmt.Sscanf(account, "account-%d", &a)
	_, errI := fmt.Sscanf(id, "subscription-%d", &i)
	s := g.subscription(a, i)
	s.ProfileID = "moved"
	return s, errA == nil && errI == nil
}

// subscription asks for one event of one application and entity; applications
// are shared by many, so only both together are selective.
func (g *generated) subscription(a, i int) model.Subscription {
	return model.Subscription{
		Account: "account-" + strconv.Itoa(a), Channel: "SMS", ID: "subscription-" + strconv.Itoa(i), ProfileID: "profile-" + strconv.Itoa(i%1000),
		Events:   []model.EventRef{{Event: "DELIVERY"}},
		Criteria: []model.Criterion{{ApplicationID: "application-" + strconv.Itoa(i%100), EntityID: "entity-" + strconv.Itoa(i/100)}},
	}
}

func (g *generated) event(a, i int) *event.Event {
	s := g.subscription(a, i)
	return &event.Event{
		Account: s.Account, Channel: s.Channel, Name: "DELIVERY",
		ApplicationID: s.Criteria[0].ApplicationID, EntityID: s.Criteria[0].EntityID, Resource: "Acme",
	}
}

var sizes = []struct {
	name string
	g    generated
}{
	{"100k_one_account", generated{accounts: 1, perAccount: 100_000}},
	{"1M_1000_accounts", generated{accounts: 1000, perAccount: 1000}},
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkMatch(b *testing.B) {
	for _, size := range sizes {
		before := heap()
		x := New()
		x.Restored(&size.g)
		bytes := float64(heap()-before) / float64(x.Snapshot().Len())
		r := rand.New(rand.NewPCG(1, 1))
		for _, kind := range []string{"one", "none"} {
			es := make([]*event.Event, 1<<14)
			for i := range es {
				es[i] = size.g.event(r.IntN(size.g.accounts), r.IntN(size.g.perAccount))
				if kind == "none" {
					es[i].EntityID = "no such entity"
				}
			}
			b.Run(size.name+"/"+kind, func(b *testing.B) {
				b.ReportAllocs()
				dst := make([]Target, 0, 4)
				for i := 0; b.Loop(); i++ {
					dst = x.Match(dst[:0], es[i%len(es)])
				}
				if want := 1; (len(dst) == want) != (kind == "one") {
					b.Fatalf("%d targets", len(dst))
				}
				b.ReportMetric(bytes, "B/subscription")
			})
		}
		runtime.KeepAlive(x)
	}
}

func BenchmarkRestored(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			for b.Loop() {
				New().Restored(&size.g)
			}
		})
	}
}

// BenchmarkChange replaces one of the account's subscriptions per commit.
func BenchmarkChange(b *testing.B) {
	open := generated{accounts: 1, perAccount: 100_000}
	for _, c := range []struct {
		name string
		view interface {
			model.View
			change(i int) model.Change
		}
	}{
		{"100k_one_account", &moves{open}},
		{"100k_open_in_one_account", &openMoves{moves{open}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			x := New()
			x.Restored(c.view)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				x.Committed(c.view, model.ChangeSet{Index: 2, Changes: []model.Change{c.view.change(i)}})
			}
		})
	}
}

// moves puts subscriptions on another profile and back.
type moves struct{ generated }

func (c *moves) change(i int) model.Change {
	return model.Change{
		Entity: model.EntitySubscription, Account: "account-0", Channel: "SMS", ID: "subscription-" + strconv.Itoa(i*7919%c.perAccount),
	}
}

// openMoves is moves with subscriptions that match everything: all have one
// posting of one hash.
type openMoves struct{ moves }

func (c *openMoves) Subscriptions(account string) iter.Seq[model.Subscription] {
	return func(yield func(model.Subscription) bool) {
		for s := range c.moves.Subscriptions(account) {
			s.Events, s.Criteria = nil, nil
			if !yield(s) {
				return
			}
		}
	}
}

func (c *openMoves) Subscription(account, channel, id string) (model.Subscription, bool) {
	s, ok := c.moves.Subscription(account, channel, id)
	s.Events, s.Criteria = nil, nil
	return s, ok
}
