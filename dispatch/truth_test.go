package dispatch

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/dispatch/dispatchtest"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// Every status code, and no answer at all, against every policy, through the
// real sender: what becomes of the delivery, and after how many attempts.
func TestDispatcher_truthTable(t *testing.T) {
	t.Parallel()
	const hangs, resets = 0, 1 // in place of a status
	for _, p := range []struct {
		name     string
		retry    *model.Retry
		attempts int // until it is given up
	}{
		{"infobip", nil, 21},
		{"standard", &model.Retry{Policy: model.RetryStandard}, 10},
		{"custom", &model.Retry{Policy: model.RetryCustom, Schedule: []int64{60, 120}}, 3},
		{"one attempt", &model.Retry{Policy: model.RetryCustom, Schedule: []int64{60}, MaxAttempts: 1}, 1},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				receiver := dispatchtest.New(t, dispatchtest.Options{Memory: true})
				guard, err := webhook.NewGuard(webhook.GuardOptions{})
				if err != nil {
					t.Fatal(err)
				}
				sender, err := webhook.NewSender(webhook.SenderOptions{
					Guard: guard, DialContext: receiver.Dial,
					LookupNetIP: func(context.Context, string, string) ([]netip.Addr, error) {
						return []netip.Addr{netip.MustParseAddr(dispatchtest.MemoryAddress)}, nil
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				w.opts.Sender = sender
				ids := map[int]string{}
				for status := range 600 {
					answer := dispatchtest.Answer{Status: status}
					switch {
					case status == hangs:
						answer = dispatchtest.Answer{Hang: true}
					case status == resets:
						answer = dispatchtest.Answer{Close: true}
					case status < 200:
						continue
					}
					path := fmt.Sprintf("/%d", status)
					receiver.On(path, answer)
					profile := fmt.Sprint("p", status)
					w.profile(profile, func(pr *model.Profile) { pr.URL, pr.Retry = receiver.URL+path, p.retry })
					ids[status] = w.accept(profile, flatEvent(`{}`))[0]
				}
				w.start()
				time.Sleep(100 * time.Hour)
				synctest.Wait()
				arrived := map[string]int{}
				for _, a := range receiver.Arrivals() {
					arrived[a.Path]++
				}
				for status, id := range ids {
					want, attempts := event.StatusDead, p.attempts
					switch {
					case status >= 200 && status <= 299:
						want, attempts = event.StatusDelivered, 1
					case status == 410:
						attempts = 1
					}
					rec, ok := w.d.Lookup("acme", "e"+id[1:])
					d, dead, err := w.store.Delivery(id)
					if err != nil || dead != (want == event.StatusDead) || dead && (d.Status != want || d.Attempt != attempts) {
						t.Errorf("status %d: in the outbox %v as %s after %d attempts (%v), want %s after %d", status, dead, d.Status, d.Attempt, err, want, attempts)
					}
					if want == event.StatusDelivered && ok && rec.Deliveries[0].Status != want {
						t.Errorf("status %d: %s, want %s", status, rec.Deliveries[0].Status, want)
					}
					if n := arrived[fmt.Sprintf("/%d", status)]; n != attempts {
						t.Errorf("status %d: %d requests arrived, want %d", status, n, attempts)
					}
				}
				w.stop()
				if err := sender.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
