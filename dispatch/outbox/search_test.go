package outbox

import (
	"fmt"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
)

// A Scan looks at no more than MaxScan events, but finishes an instant.
func TestScan_bounded(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{}))
	add := func(n int, at time.Time) {
		c := &Accept{At: at}
		for i := range n {
			id := fmt.Sprintf("%s-%04d", at.Format("05"), i)
			c.Events = append(c.Events, AcceptedEvent{
				Event: event.Event{Account: "acme", ID: id, Channel: "SMS", Payload: []byte(`{}`)}, Request: i,
				Targets: []Target{{DeliveryID: id, ProfileID: "p"}},
			})
		}
		d.apply(c)
	}
	add(1, testEpoch)
	add(MaxScan-1, testEpoch.Add(time.Second))
	none := event.Filter{Channel: "EMAIL"}
	if x, err := d.s.Scan("acme", &none, event.Ref{}, 10); err != nil || !x.Done {
		t.Errorf("below the limit: %+v, %v", x, err)
	}
	add(2, testEpoch.Add(2*time.Second))
	x, err := d.s.Scan("acme", &none, event.Ref{}, 10)
	if want := (event.Ref{AcceptedAt: testEpoch.Add(time.Second)}); err != nil || x.Done || x.Upto != want {
		t.Errorf("above the limit: %+v, %v", x, err)
	}
	if x, err = d.s.Scan("acme", &none, x.Upto, 10); err != nil || !x.Done {
		t.Errorf("the rest: %+v, %v", x, err)
	}
	all := event.Filter{}
	if x, err = d.s.Scan("acme", &all, event.Ref{}, 1); err != nil || x.Done || len(x.Refs) != 2 || x.Refs[0].EventID != "02-0001" {
		t.Errorf("an instant was cut: %+v, %v", x, err)
	}
	if x, err = d.s.Scan("acme", &all, x.Refs[0], 1); err != nil || len(x.Refs) != 1 || x.Refs[0].EventID != "02-0000" {
		t.Errorf("after the first of an instant: %+v, %v", x, err)
	}
	if x, err = d.s.Scan("bolt", &all, event.Ref{}, 1); err != nil || !x.Done || len(x.Refs) != 0 {
		t.Errorf("another account: %+v, %v", x, err)
	}
}

func TestLanes_bounded(t *testing.T) {
	t.Parallel()
	d := drive(t, openTest(t, Options{}))
	add := func(from, to int) {
		c := &Accept{At: testEpoch, Events: []AcceptedEvent{{Event: event.Event{Account: "acme", ID: fmt.Sprint(from)}}}}
		for i := from; i < to; i++ {
			id := fmt.Sprintf("%04d", i)
			c.Events[0].Targets = append(c.Events[0].Targets, Target{DeliveryID: id, ProfileID: id, Partition: i % 64})
		}
		d.apply(c)
	}
	add(0, MaxLanes)
	lanes, err := d.s.Lanes("acme")
	if err != nil || len(lanes) != MaxLanes || lanes[5].Destination != "p:0005" || lanes[5].Pending != 1 || !lanes[5].Oldest.Equal(testEpoch) {
		t.Errorf("at the limit: %d lanes, %v", len(lanes), err)
	}
	add(MaxLanes, MaxLanes+1)
	if lanes, err = d.s.Lanes("acme"); err != nil || len(lanes) != MaxLanes {
		t.Errorf("one above: %d lanes, %v", len(lanes), err)
	}
	if got := d.s.Backlog("acme"); got != MaxLanes+1 {
		t.Errorf("backlog: got %d", got)
	}
}
