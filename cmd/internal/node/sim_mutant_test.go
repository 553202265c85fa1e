package node

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// witness feeds a truth with arrivals that no cluster made.
type witness struct {
	*truth

	found []string
	now   sighting
	auth  *webhook.Auth // of the next arrivals
}

func newWitness() *witness {
	x := &witness{}
	x.truth = newTruth(1, func(text string) { x.found = append(x.found, text) })
	x.now = sighting{node: "n1", leased: true, since: time.Hour, epoch: 1}
	return x
}

// post has a client of acme post an event and get a receipt a second later.
func (x *witness) post(id, channel, key string, profiles ...string) *simEvent {
	e := &simEvent{Event: event.Event{Account: "acme", ID: id, Channel: channel, Name: "DELIVERY", OrderingKey: key}, possible: true}
	for _, p := range profiles {
		e.destinations = append(e.destinations, "p:"+p)
	}
	x.sent([]*simEvent{e})
	time.Sleep(time.Second)
	e.receipted, e.receiptAt = true, time.Now()
	time.Sleep(time.Second)
	return e
}

// replaced has the profile ok-1 of acme get version 2 of its credential.
func (x *witness) replaced() {
	x.giving("acme", []string{"ok-1"}, 2)
	x.gave("acme", []string{"ok-1"}, 2)
	x.bare("acme", "ok-1", false)
}

// arrivalAs has e1 arrive there, and be taken, with a version of a credential.
func (x *witness) arrivalAs(version int) {
	x.auth = &webhook.Auth{Type: model.CredentialsBasic, Username: versionName(version)}
	defer func() { x.auth = nil }()
	x.arrival("ok-1", "w1", true, "e1")
}

// arrival has a request arrive with events of acme.
func (x *witness) arrival(profile, webhookID string, taken bool, ids ...string) {
	var items []string
	for _, id := range ids {
		items = append(items, fmt.Sprintf(`{"account":"acme","id":%q}`, id))
	}
	names := x.judge(x.now, &webhook.Request{
		WebhookID: webhookID, Body: fmt.Appendf(nil, `{"results":[%s]}`, strings.Join(items, ",")),
		Destination: &webhook.Destination{Account: "acme", ProfileID: profile, Auth: x.auth},
	}, taken)
	res := webhook.Result{Class: webhook.ClassTemporary, StatusCode: 400}
	if taken {
		res = webhook.Result{Class: webhook.ClassOK, StatusCode: 200}
	}
	x.answered(names, res)
}

func (x *witness) end() { x.settled(func(eventName) []string { return nil }) }

// TestSim_findings: the truth finds what it is there to find, and nothing in
// what is as it should be.
func TestSim_findings(t *testing.T) {
	t.Parallel()
	type test struct {
		name string
		want string // "": no finding
		do   func(x *witness)
	}
	for _, test := range []test{
		{"as it should be", "", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1", "dead-1")
			x.arrival("ok-1", "w1", true, "e1")
			for _, wait := range []time.Duration{0, time.Second, 2 * time.Second} {
				time.Sleep(wait)
				x.arrival("dead-1", "w2", false, "e1")
			}
			x.settled(func(eventName) []string { return []string{"p:dead-1"} })
		}},
		{"lost", "is lost: p:ok-2", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1", "ok-2")
			x.arrival("ok-1", "w1", true, "e1")
			x.end()
		}},
		{"never taken", "is lost", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.arrival("ok-1", "w1", false, "e1")
			x.end()
		}},
		{"half of a request", "of a request were taken", func(x *witness) {
			a, b := x.post("e1", "SMS", "", "ok-1"), x.post("e2", "SMS", "", "ok-1")
			a.receipted, b.receipted = false, false
			x.requests = append(x.requests, &simRequest{[]*simEvent{a, b}})
			x.arrival("ok-1", "w1", true, "e1")
			x.end()
		}},
		{"invented", "was invented", func(x *witness) { x.arrival("ok-1", "w1", true, "e1") }},
		{"refused and sent", "was answered unavailable and went out", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1").possible = false
			x.arrival("ok-1", "w1", true, "e1")
		}},
		{"crossed accounts", "of account bolt", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			names := []byte(`{"results":[{"account":"acme","id":"e1"}]}`)
			x.judge(x.now, &webhook.Request{WebhookID: "w1", Body: names, Destination: &webhook.Destination{Account: "bolt", ProfileID: "ok-1"}}, true)
		}},
		{"not subscribed", "it is owed to", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.arrival("ok-2", "w1", true, "e1")
		}},
		{"twice without a fault", "again without a fault", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.arrival("ok-1", "w1", true, "e1")
			x.arrival("ok-1", "w1", true, "e1")
		}},
		{"twice after a handover", "", func(x *witness) {
			x.faults()
			x.post("e1", "SMS", "", "ok-1")
			x.arrival("ok-1", "w1", true, "e1")
			x.now.epoch++
			x.arrival("ok-1", "w1", true, "e1")
		}},
		{"three times after a handover", "2 times after it was answered, though its outcome was lost at most 1 times", func(x *witness) {
			x.faults()
			x.post("e1", "SMS", "", "ok-1")
			for range 3 {
				x.arrival("ok-1", "w1", true, "e1")
				x.now.epoch = 2
			}
		}},
		{"under another id", "came to p:ok-1 under", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.arrival("ok-1", "w1", false, "e1")
			time.Sleep(time.Second)
			x.arrival("ok-1", "w2", true, "e1")
		}},
		{"another batch under the same id", "INV dispatch-4", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.post("e2", "SMS", "", "ok-1")
			x.arrival("ok-1", "w1", false, "e1")
			x.arrival("ok-1", "w1", true, "e1", "e2")
		}},
		{"too many attempts", "its policy allows 3", func(x *witness) {
			x.post("e1", "SMS", "", "dead-1")
			for range 4 {
				x.arrival("dead-1", "w1", false, "e1")
				time.Sleep(2 * time.Second)
			}
		}},
		{"too early a retry", "not before 900ms is due", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.arrival("ok-1", "w1", false, "e1")
			time.Sleep(890 * time.Millisecond)
			x.arrival("ok-1", "w1", true, "e1")
		}},
		{"too late a retry", "1s was due", func(x *witness) {
			x.post("e1", "SMS", "", "dead-1")
			x.arrival("dead-1", "w1", false, "e1")
			time.Sleep(3 * time.Second)
			x.arrival("dead-1", "w1", true, "e1")
		}},
		{"out of order by key", "comes to p:key-1 before e1", func(x *witness) {
			x.post("e1", "VIBER", "k", "key-1")
			x.post("e2", "VIBER", "k", "key-1")
			x.arrival("key-1", "w1", false, "e1")
			x.arrival("key-1", "w2", true, "e2")
		}},
		{"other keys overtake", "", func(x *witness) {
			x.post("e1", "VIBER", "k", "key-1")
			x.post("e2", "VIBER", "l", "key-1")
			x.post("e3", "VIBER", "", "key-1")
			x.arrival("key-1", "w2", true, "e2", "e3")
			x.arrival("key-1", "w1", true, "e1")
		}},
		{"out of order", "comes to p:strict-1 before e1", func(x *witness) {
			x.post("e1", "VIBER", "", "strict-1")
			x.post("e2", "VIBER", "k", "strict-1")
			x.arrival("strict-1", "w1", true, "e2")
		}},
		{"out of order in one request", "comes to p:strict-1 before e1", func(x *witness) {
			x.post("e1", "VIBER", "", "strict-1")
			x.post("e2", "VIBER", "", "strict-1")
			x.arrival("strict-1", "w1", true, "e2", "e1")
		}},
		{"in order", "", func(x *witness) {
			for i := range 5 {
				x.post(fmt.Sprint("e", i), "VIBER", "", "strict-1")
			}
			x.arrival("strict-1", "w1", true, "e0", "e1", "e2")
			x.arrival("strict-1", "w2", true, "e3", "e4")
		}},
		{"after a dead letter", "", func(x *witness) {
			x.post("e1", "VIBER", "", "strict-1")
			x.post("e2", "VIBER", "", "strict-1")
			x.now.dead = func(name deliveryName) bool { return name.id == "e1" }
			x.arrival("strict-1", "w2", true, "e2")
		}},
		{"without a lease", "INV dispatch-1", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.now.leased = false
			x.arrival("ok-1", "w1", true, "e1")
		}},
		{"by an owner of the past", "INV lease-4", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.now.strange = true
			x.arrival("ok-1", "w1", true, "e1")
		}},
		{"to a disabled profile", "after its profile was disabled", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.disabling()("acme", "ok-1", nil)
			time.Sleep(1001 * time.Millisecond)
			x.arrival("ok-1", "w1", true, "e1")
		}},
		{"with a credential that was replaced", "I7: n1 starts w1 to p:ok-1 with v1", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.replaced()
			time.Sleep(time.Second + time.Millisecond)
			x.arrivalAs(1)
		}},
		{"with one that was replaced just now", "", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.replaced()
			time.Sleep(time.Second)
			x.arrivalAs(1)
		}},
		{"with one that may have come back", "", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.replaced()
			x.loosen("acme", []string{"ok-1"}, 1)
			time.Sleep(time.Minute)
			x.arrivalAs(1)
		}},
		{"with one that was never given", "was given up to v2", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.replaced()
			x.arrivalAs(3)
		}},
		{"without one", "without a credential", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.replaced()
			time.Sleep(time.Minute)
			x.arrival("ok-1", "w1", true, "e1")
		}},
		{"without one that was taken away", "", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.replaced()
			x.bare("acme", "ok-1", true)
			time.Sleep(time.Minute)
			x.arrival("ok-1", "w1", true, "e1")
		}},
		{"to one that is enabled again", "", func(x *witness) {
			x.post("e1", "SMS", "", "ok-1")
			x.disabling()("acme", "ok-1", nil)
			x.enabling("acme", "ok-1")(nil)
			time.Sleep(2 * time.Second)
			x.arrival("ok-1", "w1", true, "e1")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				x := newWitness()
				test.do(x)
				found := strings.Join(x.found, "\n")
				if test.want == "" && found != "" || !strings.Contains(found, test.want) {
					t.Errorf("found %q, want %q", found, test.want)
				}
			})
		})
	}
}

// brokenView is a state with holes. What it does not override must not be
// asked for.
type brokenView struct {
	model.View

	subscriptions []model.Subscription
	profiles      []model.Profile
	securities    []string
}

func (v brokenView) Subscriptions(string) iter.Seq[model.Subscription] {
	return slices.Values(v.subscriptions)
}

func (v brokenView) Profiles(string) iter.Seq[model.Profile] { return slices.Values(v.profiles) }

func (v brokenView) Profile(account, id string) (model.Profile, bool) {
	for _, p := range v.profiles {
		if p.Account == account && p.ID == id {
			return p, true
		}
	}
	return model.Profile{}, false
}

func (v brokenView) Security(_, id string) (model.Security, bool) {
	return model.Security{}, slices.Contains(v.securities, id)
}

func (v brokenView) Certificate(string, string) (model.Certificate, bool) {
	return model.Certificate{}, false
}

// TestSim_dangling: what a state refers to and does not have is found.
func TestSim_dangling(t *testing.T) {
	t.Parallel()
	got := dangling(brokenView{
		subscriptions: []model.Subscription{
			{Account: "acme", ID: "whole", ProfileID: "p1"},
			{Account: "acme", ID: "s1", ProfileID: "gone"},
			{Account: "bolt", ID: "s2", ProfileID: "p1"}, // the profile is another account's
		},
		profiles: []model.Profile{
			{Account: "acme", ID: "p1", SecurityID: "sec"},
			{Account: "acme", ID: "p2", SecurityID: "gone"},
			{Account: "acme", ID: "p3", CertificateID: "gone"},
		},
		securities: []string{"sec"},
	})
	want := []string{
		"subscription s1 refers to profile gone", "subscription s2 refers to profile p1",
		"profile p2 refers to security setting gone", "profile p3 refers to certificate gone",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
