package workload

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"example.com/belfry/chaos/history"
)

const (
	revocationRate   = 30 // changes per second
	revocationEvents = 30 // per second
	revocationTurns  = 60 // changes of one destination
)

// revocation is W5: the credentials of destinations change all the time while
// events go there, now and then a setting is taken away and deleted, and at last
// the subscription. The receiver says which credential each request came with.
// A part of the requests fails, so that old deliveries meet new credentials.
//
// The versions of a destination only grow, also from one setting to the next.
type revocation struct {
	*env
	account Account
	sink    *sink
}

func newRevocation(e *env) Workload { return &revocation{env: e} }

// SetUp implements Workload.
func (w *revocation) SetUp(ctx context.Context) error {
	var err error
	if w.sink, err = w.newSink(ctx, w.behave); err != nil {
		return err
	}
	w.account, err = w.makeAccount(ctx, "w5", channelSMS)
	return err
}

// behave fails the first two attempts of one request in five.
func (w *revocation) behave(a history.Arrived) behaviour {
	h := fnv.New32a()
	_, _ = h.Write([]byte(a.WebhookID))
	if a.Attempt <= 2 && h.Sum32()%5 == 0 {
		return behaviour{name: "500x2", status: 500}
	}
	return behaviour{}
}

// Run implements Workload.
func (w *revocation) Run(ctx context.Context) error {
	var clients []func()
	kinds := []string{typeBasic, typeHMAC, typeCustom}
	for i, kind := range kinds {
		c := w.client("change-"+kind, i, false, w.account)
		clients = append(clients, func() {
			for life := 0; c.pace(ctx, firstWait); life++ {
				d := &guarded{revocation: w, client: c, kind: kind, dest: fmt.Sprintf("w5-%s-%d", kind, life)}
				d.live(ctx, every(len(kinds), w.rate(revocationRate)))
			}
		})
	}
	nodes := len(w.o.Target.Nodes())
	for i := range nodes {
		s := w.stream(w.account, fmt.Sprint(i+1), i, true, channelSMS)
		clients = append(clients, func() {
			for s.pace(ctx, every(nodes, revocationEvents)) {
				s.post(ctx, 1)
			}
		})
	}
	all(clients...)
	return nil
}

// guarded is one destination with its setting.
type guarded struct {
	*revocation
	*client
	kind, dest string
	auth       string // the setting in force
	version    int    // the last one given
	settings   int
}

func (d *guarded) config() history.Config { return history.Config{Account: d.revocation.account.ID} }

// newAuth names the next setting and gives it the next version.
func (d *guarded) newAuth() *history.Security {
	d.settings++
	d.version++
	id := fmt.Sprintf("%s-a%d", d.dest, d.settings)
	d.sink.keys.give(d.dest, id, d.version)
	return &history.Security{ID: id, Type: d.kind, Version: d.version}
}

// live makes the destination and changes it until its subscription is deleted
// or an outcome is unknown, other than of a change of credentials.
func (d *guarded) live(ctx context.Context, interval time.Duration) {
	in := d.config()
	in.Channel = channelSMS
	in.Subscription = &history.Subscription{Events: []string{eventDelivery}, Profile: d.dest}
	in.Security = d.newAuth()
	in.Profile = &history.Profile{URL: d.sink.url(d.revocation.account.ID, d.dest, 0), Bucket: 1, Schedule: shortSchedule()}
	d.auth = in.Security.ID
	a := d.change(ctx, history.SubscriptionCreate, d.dest, in)
	if a.outcome == history.Fail {
		return
	}
	for turn := 0; a.ok() && turn < revocationTurns; turn++ {
		if !d.pace(ctx, interval) {
			return
		}
		if turn%20 == 19 {
			a = d.replace(ctx)
			continue
		}
		if a = d.rotate(ctx); a.outcome != history.OK {
			a.outcome = history.OK // the next version makes it clear again
		}
	}
	in = d.config()
	in.Channel, in.Revokes = channelSMS, &history.Revocation{Dest: d.dest, All: true}
	_ = d.insist(ctx, func() answer { return d.change(ctx, history.SubscriptionDelete, d.dest, in) }) // the history says what came of it
}

// rotate gives the setting its next version.
func (d *guarded) rotate(ctx context.Context) answer {
	d.version++
	d.sink.keys.give(d.dest, d.auth, d.version)
	in := d.config()
	in.Security = &history.Security{Type: d.kind, Version: d.version}
	in.Revokes = &history.Revocation{Dest: d.dest, Below: d.version}
	return d.change(ctx, history.SecurityPut, d.auth, in)
}

// replace takes the setting from the profile, deletes it and puts another in
// its place.
func (d *guarded) replace(ctx context.Context) answer {
	in := d.config()
	in.Profile, in.Revokes = &history.Profile{Set: []string{setAuth}}, &history.Revocation{Dest: d.dest, Below: d.version + 1}
	if a := d.change(ctx, history.ProfilePut, d.dest, in); !a.ok() {
		return a
	}
	if a := d.change(ctx, history.SecurityDelete, d.auth, d.config()); !a.ok() {
		return a
	}
	// Long enough for a request with the old setting to be seen as one.
	if !pause(ctx, 3*time.Second) {
		return answer{}
	}
	next := d.newAuth()
	id := next.ID
	next.ID = ""
	in = d.config()
	in.Security = next
	if a := d.change(ctx, history.SecurityCreate, id, in); !a.ok() {
		return a
	}
	in = d.config()
	in.Profile = &history.Profile{Auth: id, Set: []string{setAuth}}
	in.Revokes = &history.Revocation{Dest: d.dest, Below: d.version}
	a := d.change(ctx, history.ProfilePut, d.dest, in)
	if a.ok() {
		d.auth = id
	}
	return a
}
