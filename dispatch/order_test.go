package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// orderly makes n numbered events of some keys; without keys all share "".
func orderly(n int, build func(payload string) event.Event, keys ...string) []event.Event {
	es := []event.Event{}
	for i := range n {
		key := ""
		if len(keys) > 0 {
			key = keys[i%len(keys)]
		}
		e := build(fmt.Sprintf(`{"n":%d,"key":%q}`, i, key))
		e.OrderingKey = key
		es = append(es, e)
	}
	return es
}

type numbered struct {
	N   int    `json:"n"`
	Key string `json:"key"`
}

// arrivals reads the numbers out of a body of either form.
func arrivals(t *testing.T, body string) []numbered {
	t.Helper()
	var one numbered
	var all struct{ Results []numbered }
	if strings.HasPrefix(body, `{"results":`) {
		if err := json.Unmarshal([]byte(body), &all); err != nil {
			t.Fatal(err)
		}
		return all.Results
	}
	if err := json.Unmarshal([]byte(body), &one); err != nil {
		t.Fatal(err)
	}
	return []numbered{one}
}

// INV outbox-12, outbox-13 as a receiver sees them: what it has taken, by key
// (KEY) or altogether (STRICT), is in the order of acceptance, whatever fails in
// between, and nothing of a key is under way twice.
func TestDispatcher_order(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		order model.Ordering
		make  func(string) event.Event
		keys  []string
	}{
		{"strict", model.OrderingStrict, flatEvent, nil},
		{"strict in batches", model.OrderingStrict, batching, nil},
		{"keys", model.OrderingKey, flatEvent, []string{"a", "b", "c"}},
		{"keys in batches", model.OrderingKey, batching, []string{"a", "b", "c"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				t := w.t
				const events = 300
				rnd := rand.New(rand.NewPCG(1, 2))
				var taken []numbered
				under := map[string]bool{}
				chain := func(x numbered) string {
					if tc.order == model.OrderingStrict {
						return ""
					}
					return x.Key
				}
				w.sender.script(func(_ context.Context, _ int, r *webhook.Request) webhook.Result {
					xs := arrivals(t, string(r.Body))
					w.sender.mu.Lock()
					fail, wait := rnd.IntN(5) == 0, time.Duration(rnd.IntN(50))*time.Millisecond
					mine := map[string]bool{}
					for _, x := range xs {
						if under[chain(x)] && !mine[chain(x)] {
							t.Errorf("event %d went out while one of its chain was under way", x.N)
						}
						mine[chain(x)], under[chain(x)] = true, true
					}
					w.sender.mu.Unlock()
					time.Sleep(wait)
					w.sender.mu.Lock()
					defer w.sender.mu.Unlock()
					for c := range mine {
						delete(under, c)
					}
					if fail {
						return webhook.Result{Class: webhook.ClassTemporary, StatusCode: 404}
					}
					taken = append(taken, xs...)
					return ok200
				})
				w.profile("p", func(p *model.Profile) {
					p.Ordering, p.MaxBucketSize = tc.order, 7
					p.Retry = &model.Retry{Policy: model.RetryCustom, Schedule: slices.Repeat([]int64{1}, 50)}
				})
				es := orderly(events, tc.make, tc.keys...)
				w.accept("p", es[:events/2]...)
				w.start()
				for i := events / 2; i < events; i += 10 {
					pass(200 * time.Millisecond)
					w.accept("p", es[i:i+10]...)
				}
				pass(time.Hour)
				w.wantPending(0)
				last := map[string]int{}
				for _, x := range taken {
					if prev, seen := last[chain(x)]; seen && x.N <= prev {
						t.Fatalf("event %d was taken after event %d", x.N, prev)
					}
					last[chain(x)] = x.N
				}
				if len(taken) != events {
					t.Errorf("%d events were taken, want %d", len(taken), events)
				}
			})
		})
	}
}

// A key that is stuck delays no other, and events without a key none at all.
func TestDispatcher_stuckKey(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", func(p *model.Profile) { p.Ordering = model.OrderingKey })
		w.sender.script(func(_ context.Context, _ int, r *webhook.Request) webhook.Result {
			if strings.Contains(string(r.Body), `"key":"stuck"`) {
				return webhook.Result{Class: webhook.ClassTemporary, StatusCode: 404}
			}
			return ok200
		})
		w.accept("p", orderly(90, flatEvent, "stuck", "fine", "")...)
		w.start()
		pass(time.Second)
		w.wantPending(30)
		stuck := 0
		for _, s := range w.sender.requests() {
			if strings.Contains(s.body, `"stuck"`) {
				stuck++
			}
		}
		if stuck != 1 {
			t.Errorf("%d requests of the stuck key, want its first event alone", stuck)
		}
	})
}

// The order of a profile can change while events wait.
func TestDispatcher_orderChanges(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", nil)
		w.sender.script(always(webhook.ClassTemporary, 404))
		w.accept("p", orderly(50, flatEvent)...)
		w.start()
		pass(time.Second)
		var got []int
		w.sender.script(func(_ context.Context, _ int, r *webhook.Request) webhook.Result {
			w.sender.mu.Lock()
			defer w.sender.mu.Unlock()
			got = append(got, arrivals(t, string(r.Body))[0].N)
			return ok200
		})
		w.profile("p", func(p *model.Profile) { p.Ordering = model.OrderingStrict })
		pass(time.Hour)
		w.wantPending(0)
		if len(got) != 50 || !slices.IsSorted(got) {
			t.Errorf("taken in the order %v, want that of acceptance", got)
		}
	})
}
