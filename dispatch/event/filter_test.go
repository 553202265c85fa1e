package event

import (
	"testing"
	"time"
)

func TestFilter_matchesEvent(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	e := &Event{Channel: "SMS", Name: "DELIVERY", Resource: "r", ApplicationID: "app", EntityID: "ent", User: "u", OrderingKey: "k"}
	for _, tt := range []struct {
		name string
		f    Filter
		want bool
	}{
		{"empty", Filter{}, true},
		{"all", Filter{Channel: "SMS", Name: "DELIVERY", Resource: "r", ApplicationID: "app", EntityID: "ent", User: "u", OrderingKey: "k"}, true},
		{"channel", Filter{Channel: "sms"}, false},
		{"event", Filter{Channel: "SMS", Name: "SEEN"}, false},
		{"resource", Filter{Resource: "s"}, false},
		{"application", Filter{ApplicationID: "ap"}, false},
		{"entity", Filter{EntityID: "entity"}, false},
		{"user", Filter{User: "U"}, false},
		{"ordering key", Filter{OrderingKey: "u"}, false},
		{"of deliveries", Filter{Status: StatusDead, ProfileID: "p", SubscriptionID: "s"}, true},
		{"from then", Filter{From: at}, true},
		{"from later", Filter{From: at.Add(1)}, false},
		{"to then", Filter{To: at}, false},
		{"to later", Filter{To: at.Add(1)}, true},
		{"between", Filter{From: at, To: at.Add(1)}, true},
	} {
		if got := tt.f.MatchesEvent(e, at); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestFilter_matchesDelivery(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		f    Filter
		want bool
	}{
		{"empty", Filter{}, true},
		{"of events", Filter{Channel: "x", From: time.Unix(1, 0)}, true},
		{"all", Filter{Status: StatusDead, ProfileID: "p", SubscriptionID: "s2"}, true},
		{"status", Filter{Status: StatusPending, ProfileID: "p"}, false},
		{"profile", Filter{Status: StatusDead, ProfileID: "q"}, false},
		{"subscription", Filter{SubscriptionID: "s3"}, false},
	} {
		if got := tt.f.MatchesDelivery(StatusDead, "p", []string{"s1", "s2"}); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if (&Filter{SubscriptionID: "s"}).MatchesDelivery(StatusDead, "", nil) {
		t.Error("a delivery to a URL has no subscription")
	}
}

func TestDeadFilter_matches(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	d := &DeadLetter{ProfileID: "p", DeadAt: at, Event: Event{ID: "e", Channel: "SMS", Name: "DELIVERY"}}
	for _, tt := range []struct {
		name string
		f    DeadFilter
		want bool
	}{
		{"empty", DeadFilter{}, true},
		{"all", DeadFilter{ProfileID: "p", Channel: "SMS", Name: "DELIVERY", EventID: "e", From: at, To: at.Add(1)}, true},
		{"profile", DeadFilter{ProfileID: "q"}, false},
		{"channel", DeadFilter{Channel: "MMS"}, false},
		{"event", DeadFilter{Name: "SEEN"}, false},
		{"event id", DeadFilter{EventID: "E"}, false},
		{"from later", DeadFilter{From: at.Add(1)}, false},
		{"to then", DeadFilter{To: at}, false},
	} {
		if got := tt.f.Matches(d); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
