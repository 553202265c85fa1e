package dispatch

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

const (
	wrongURL = "https://wrong.example.org/hook"
	rightURL = "https://right.example.org/hook"
	aDay     = 24 * time.Hour
)

// at is the profile with that URL.
func at(url string) func(p *model.Profile) {
	return func(p *model.Profile) {
		p.URL, p.WindowSize = url, 1
		p.Retry = &model.Retry{Policy: model.RetryCustom, Schedule: slices.Repeat([]int64{3600}, 100)}
	}
}

// requestsTo counts the requests to a URL.
func (w *world) requestsTo(url string) int {
	n := 0
	for _, r := range w.sender.requests() {
		if r.url == url {
			n++
		}
	}
	return n
}

// unsubscribe deletes a subscription.
func (w *world) unsubscribe(id string) {
	w.config.edit(func() { w.config.gone[id] = true })
	w.d.ConfigChanged()
}

// throttledWorld has 50 deliveries for profile p, of which the first was
// answered with a Retry-After of a day.
func throttledWorld(w *world, edit func(p *model.Profile)) {
	w.sender.script(func(_ context.Context, _ int, r *webhook.Request) webhook.Result {
		if r.Destination.URL == wrongURL {
			return webhook.Result{Class: webhook.ClassThrottled, StatusCode: 429, RetryAfter: aDay}
		}
		return ok200
	})
	w.profile("p", func(p *model.Profile) {
		at(wrongURL)(p)
		if edit != nil {
			edit(p)
		}
	})
	e := flatEvent(`{}`)
	e.OrderingKey = "k"
	w.accept("p", many(50, e)...)
	w.start()
	pass(time.Hour)
	w.wantPending(50)
	if n := w.requestsTo(wrongURL); n != 1 {
		w.t.Fatalf("%d requests to a destination that asked for a day's rest, want 1", n)
	}
}

// INV dispatch-12: a Retry-After holds the URL that said it and no other.
func TestDispatcher_retryAfterAndConfig(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		change  func(w *world)
		pending int // a second after the change
	}{
		{"another profile is changed", func(w *world) { w.profile("q", nil) }, 50},
		{"another subscription is deleted", func(w *world) { w.unsubscribe("sub-q") }, 50},
		{"the same URL again", func(w *world) { w.profile("p", at(wrongURL)) }, 50},
		{"disabled and enabled", func(w *world) {
			w.profile("p", func(p *model.Profile) { at(wrongURL)(p); p.Disabled = true })
			pass(time.Minute)
			w.profile("q", nil)
			pass(time.Minute)
			w.profile("p", at(wrongURL))
		}, 50},
		// What was attempted waits for its own next attempt.
		{"the URL is corrected", func(w *world) { w.profile("p", at(rightURL)) }, 1},
		{"corrected while disabled", func(w *world) {
			w.profile("p", func(p *model.Profile) { at(rightURL)(p); p.Disabled = true })
			pass(time.Minute)
			w.profile("p", at(rightURL))
		}, 1},
		{"the profile is deleted", func(w *world) {
			w.config.edit(func() { delete(w.config.profiles, "acme/p") })
			w.d.ConfigChanged()
		}, 0},
		{"deleted and made anew", func(w *world) {
			p := w.config.profiles["acme/p"]
			w.config.edit(func() { delete(w.config.profiles, "acme/p") })
			w.d.ConfigChanged()
			pass(2 * time.Second)
			w.config.edit(func() { w.config.profiles["acme/p"] = p })
			w.accept("p", flatEvent(`{}`))
		}, 1},
		{"its subscription is deleted", func(w *world) { w.unsubscribe("sub-p") }, 0},
		{"right after another change", func(w *world) {
			w.profile("q", nil)
			pass(time.Millisecond)
			w.unsubscribe("sub-p")
		}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				throttledWorld(w, nil)
				tc.change(w)
				pass(time.Second)
				w.wantPending(tc.pending)
				pass(21 * time.Hour)
				if n := w.requestsTo(wrongURL); n != 1 {
					t.Errorf("%d requests to the old URL, want no other before the day is over", n)
				}
			})
		})
	}
}

// What is on its way, or has an outcome that is not settled, when the config
// changes is looked at when it is back.
func TestDispatcher_unsettledWhileItsSubscriptionGoes(t *testing.T) {
	bubble(t, func(w *world) {
		w.sender.script(func(context.Context, int, *webhook.Request) webhook.Result {
			return webhook.Result{Class: webhook.ClassThrottled, StatusCode: 429, RetryAfter: aDay}
		})
		w.profile("p", at(wrongURL))
		w.accept("p", many(50, flatEvent(`{}`))...)
		w.group.set(func(cmd outbox.Command) (bool, error) {
			if _, settles := cmd.(*outbox.Settle); settles {
				return false, model.Errorf(model.CodeUnavailable, "no leader is known")
			}
			return false, nil
		})
		w.start()
		pass(time.Second)
		if n := w.requestsTo(wrongURL); n == 0 {
			t.Fatal("nothing was sent")
		}
		w.unsubscribe("sub-p")
		pass(time.Minute)
		w.wantPending(50)
		w.group.set(nil)
		pass(time.Minute)
		w.wantPending(0)
	})
}

// The end of a hold comes in spite of everything that was looked at meanwhile.
func TestDispatcher_retryAfterEnds(t *testing.T) {
	bubble(t, func(w *world) {
		throttledWorld(w, nil)
		for range 100 {
			w.profile("q", nil)
			pass(300 * time.Millisecond)
		}
		w.sender.script(nil)
		pass(22 * time.Hour)
		w.wantPending(50)
		pass(2 * time.Hour)
		w.wantPending(0)
	})
}

// slowly429 answers every request to the URL after ten seconds with a
// Retry-After of a day.
func slowly429(url string) func(context.Context, int, *webhook.Request) webhook.Result {
	return func(_ context.Context, _ int, r *webhook.Request) webhook.Result {
		time.Sleep(10 * time.Second)
		if r.Destination.URL == url {
			return webhook.Result{Class: webhook.ClassThrottled, StatusCode: 429, RetryAfter: aDay}
		}
		return ok200
	}
}

// A Retry-After that comes when the lane knows of another URL already is not
// for that one.
func TestDispatcher_retryAfterOfTheURLBefore(t *testing.T) {
	bubble(t, func(w *world) {
		w.sender.script(slowly429(wrongURL))
		w.profile("p", at(wrongURL))
		w.accept("p", many(49, flatEvent(`{}`))...)
		w.start()
		pass(time.Second)
		w.profile("p", at(rightURL))
		w.accept("p", flatEvent(`{}`)) // the lane looks
		pass(30 * time.Minute)
		w.wantPending(1)
		if n := w.requestsTo(wrongURL); n != 1 {
			w.t.Errorf("%d requests to the old URL, want 1", n)
		}
	})
}

// A request goes to the URL of the moment it is sent. What it says counts though
// the lane has not heard of that URL yet.
func TestDispatcher_retryAfterOfTheURLAfter(t *testing.T) {
	bubble(t, func(w *world) {
		w.profile("p", at(wrongURL))
		w.sender.script(slowly429(rightURL))
		w.accept("p", many(50, flatEvent(`{}`))...)
		w.start()
		pass(time.Second)
		p := w.config.profiles["acme/p"]
		p.URL = rightURL
		w.config.mu.Lock()
		w.config.profiles["acme/p"] = p // with no index of its own yet
		w.config.mu.Unlock()
		pass(23 * time.Hour)
		if a, b := w.requestsTo(wrongURL), w.requestsTo(rightURL); a != 1 || b != 1 {
			w.t.Errorf("%d requests to the old URL and %d to the new one, want one each", a, b)
		}
	})
}

// With an order too, where one delivery after the other comes to the front.
func TestDispatcher_retryAfterAndOrder(t *testing.T) {
	t.Parallel()
	for _, o := range []model.Ordering{model.OrderingKey, model.OrderingStrict} {
		t.Run(string(o), func(t *testing.T) {
			bubble(t, func(w *world) {
				throttledWorld(w, func(p *model.Profile) { p.Ordering = o })
				w.unsubscribe("sub-q")
				pass(time.Minute)
				w.wantPending(50)
				w.unsubscribe("sub-p")
				pass(time.Second)
				w.wantPending(0)
				if n := len(w.sender.requests()); n != 1 {
					t.Errorf("%d requests, want 1", n)
				}
			})
		})
	}
}

// An open breaker does not keep requests from a corrected URL, which is probed
// at once and heard of; another profile's change does not bring a probe.
func TestDispatcher_breakerAndConfig(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		change  func(w *world)
		pending func(n int) bool
		told    string
	}{
		{"another profile is changed", func(w *world) { w.profile("q", nil) }, func(n int) bool { return n == 50 }, "destination.failing"},
		{"the URL is corrected", func(w *world) { w.profile("p", at(rightURL)) }, func(n int) bool { return n < 20 }, "destination.recovered"},
		{"the profile is deleted", func(w *world) {
			w.config.edit(func() { delete(w.config.profiles, "acme/p") })
			w.d.ConfigChanged()
		}, func(n int) bool { return n == 0 }, "destination.failing"},
		{"its subscription is deleted", func(w *world) { w.unsubscribe("sub-p") }, func(n int) bool { return n == 0 }, "destination.failing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				told := make(chan string, 100)
				w.opts.OnNotice = func(n Notice) { told <- n.Name }
				w.sender.script(func(ctx context.Context, _ int, r *webhook.Request) webhook.Result {
					if r.Destination.URL == wrongURL {
						return hangs(ctx, time.Second)
					}
					return ok200
				})
				w.profile("p", at(wrongURL))
				w.accept("p", many(50, flatEvent(`{}`))...)
				w.start()
				pass(30 * time.Minute)
				for ; ; pass(time.Second) { // until a probe has just failed
					rs := w.sender.requests()
					if ago := time.Since(rs[len(rs)-1].at); ago > 2*time.Second && ago < 5*time.Second {
						break
					}
				}
				before := w.requestsTo(wrongURL)
				tc.change(w)
				pass(2 * time.Second)
				if n := w.pending(); !tc.pending(n) {
					t.Errorf("%d of 50 are pending", n)
				}
				if n := w.requestsTo(wrongURL) - before; n != 0 {
					t.Errorf("%d requests to the old URL after the change, want none", n)
				}
				last := ""
				for len(told) > 0 {
					last = <-told
				}
				if last != tc.told {
					t.Errorf("the last notice is %q, want %q", last, tc.told)
				}
			})
		})
	}
}

func TestBreaker_renew(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Unix(1000, 0)
	for range breakerUnanswered - 1 {
		b.failure(now, now, true)
	}
	b.renew(now)
	if b.failing() || b.failure(now, now, true) {
		t.Error("failures of another URL count")
	}
	for range breakerUnanswered {
		b.failure(now, now, true)
	}
	b.renew(now)
	if b.blocked(now) || !b.probing() {
		t.Error("after it was renewed an open breaker does not let one probe go")
	}
	b.failure(now, now, true)
	if !b.blocked(now.Add(2*minBreakerOpen-1)) || b.blocked(now.Add(2*minBreakerOpen)) {
		t.Errorf("after the first probe failed it is closed until %v", b.until)
	}
}

// impatient ends a test that would never end: whoever looks at the config over
// and over leaves virtual time where it is.
type impatient struct {
	*fakeConfig
	looks atomic.Int64
}

func (c *impatient) ConfigIndex() uint64 {
	if c.looks.Add(1) > 100_000 {
		panic("the dispatcher looks at the config again and again")
	}
	return c.fakeConfig.ConfigIndex()
}

// A lane that waits, and is owed something that was matched at a younger config
// than this node has, is not sifted over and over.
func TestDispatcher_siftsOnceWhileItsConfigIsBehind(t *testing.T) {
	bubble(t, func(w *world) {
		w.opts.Subscriptions = &impatient{fakeConfig: w.config}
		throttledWorld(w, nil)
		const ahead = 100
		w.config.edit(func() { w.config.index += ahead })
		w.accept("p", flatEvent(`{}`))
		w.config.edit(func() { w.config.index -= ahead })
		w.d.ConfigChanged()
		pass(time.Hour)
		w.wantPending(51)
		w.config.edit(func() { w.config.index += ahead })
		w.unsubscribe("sub-p")
		pass(time.Minute)
		w.wantPending(0)
	})
}
