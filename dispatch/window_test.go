package dispatch

import (
	"context"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

func TestDispatcher_window(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		w.profile("p", func(p *model.Profile) { p.WindowSize = 20 })
		w.sender.script(func(context.Context, int, *webhook.Request) webhook.Result {
			time.Sleep(time.Second)
			return webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
		})
		var es []event.Event
		for range 50 {
			es = append(es, flatEvent(`{}`))
		}
		w.accept("p", es...)
		began := time.Now()
		w.start()
		pass(time.Minute)
		most, log := 0, w.sender.requests()
		for _, s := range log {
			most = max(most, s.concurrent)
		}
		if most != 20 || len(log) != 50 {
			t.Errorf("got %d requests, at most %d at a time, want 50 and 20", len(log), most)
		}
		// 2, 4, 8 and 16 at a time, then the 20 that are left.
		if last := log[49].at.Sub(began); last != 4*time.Second {
			t.Errorf("last request after %v, want 4s", last)
		}
	})
}
