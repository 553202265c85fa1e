package workload

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"example.com/belfry/chaos/history"
)

const (
	registerPinned   = 8
	registerFailover = 2
	registerObjects  = 5   // that are used at a time
	registerOps      = 180 // on one object; deciding linearizability gets hard with more
	registerRate     = 100
)

// register is W1: clients at different nodes make, read, change and delete
// profiles that nothing refers to. Each is a register whose value is its URL;
// no value is written twice.
type register struct {
	*env
	account Account
	objects [registerObjects]rotation
}

// rotation gives the name of an object and, after so many uses, of the next.
type rotation struct {
	uses atomic.Int64
}

// name counts one use.
func (r *rotation) name(prefix string, per int64) string {
	return fmt.Sprintf("%s-%d", prefix, (r.uses.Add(1)-1)/per)
}

func newRegister(e *env) Workload { return &register{env: e} }

// SetUp implements Workload.
func (w *register) SetUp(ctx context.Context) (err error) {
	w.account, err = w.makeAccount(ctx, "w1")
	return err
}

// Run implements Workload.
func (w *register) Run(ctx context.Context) error {
	var clients []func()
	interval := every(registerPinned+registerFailover, w.rate(registerRate))
	for i := range registerPinned + registerFailover {
		c := w.client(fmt.Sprint(i+1), i, i < registerPinned, w.account)
		clients = append(clients, func() {
			for c.pace(ctx, interval) {
				w.step(ctx, c)
			}
		})
	}
	all(clients...)
	return nil
}

func (w *register) step(ctx context.Context, c *client) {
	slot := c.rng.IntN(registerObjects)
	id := w.objects[slot].name(fmt.Sprintf("r%d", slot), registerOps)
	in := history.Config{Account: w.account.ID, Group: id}
	value := fmt.Sprintf("http://register.invalid/%s.%d", c.process, c.seq+1)
	switch n := c.rng.IntN(100); {
	case n < 40:
		c.read(ctx, history.ProfileGet, id, in)
	case n < 50:
		c.read(ctx, history.ProfileGetStale, id, in)
	case n < 65:
		in.Profile = &history.Profile{URL: value}
		c.change(ctx, history.ProfileCreate, id, in)
	case n < 90:
		in.Profile = &history.Profile{URL: value, Set: []string{setURL}}
		c.change(ctx, history.ProfilePut, id, in)
	default:
		c.change(ctx, history.ProfileDelete, id, in)
	}
}

const (
	hierarchyClients = 6
	hierarchyOps     = 190 // of one epoch
	hierarchyRate    = 60
	// certificateShare keeps below what an account may ask of certificates in
	// a minute: 100 requests.
	certificateShare = 2 // of 100 operations
)

// hierarchy is W2: clients make, connect and delete security settings,
// certificates, profiles and subscriptions, so few of them that they are
// in each other's way all the time. After some operations an epoch begins, with
// new objects; those of two epochs never meet.
type hierarchy struct {
	*env
	account  Account
	epoch    rotation
	versions atomic.Int64 // of security settings: no two changes write the same
}

func newHierarchy(e *env) Workload { return &hierarchy{env: e} }

// SetUp implements Workload.
func (w *hierarchy) SetUp(ctx context.Context) (err error) {
	w.account, err = w.makeAccount(ctx, "w2", channelSMS)
	return err
}

// Run implements Workload.
func (w *hierarchy) Run(ctx context.Context) error {
	var clients []func()
	interval := every(hierarchyClients, w.rate(hierarchyRate))
	for i := range hierarchyClients {
		c := w.client(fmt.Sprint(i+1), i, i%3 != 2, w.account)
		clients = append(clients, func() {
			for c.pace(ctx, interval) {
				w.step(ctx, c, w.epoch.name("e", hierarchyOps))
			}
		})
	}
	all(clients...)
	return nil
}

// The objects of an epoch: 2 settings, 1 certificate, 3 profiles, 2
// subscriptions.
func (c *client) authID(epoch string) string {
	return epoch + "-a" + pick(c.rng, "0", "1")
}

func (c *client) profileID(epoch string) string {
	return epoch + "-p" + pick(c.rng, "0", "1", "2")
}

func (c *client) subscriptionID(epoch string) string {
	return epoch + "-s" + pick(c.rng, "0", "1")
}

func (w *hierarchy) step(ctx context.Context, c *client, epoch string) {
	in := history.Config{Account: w.account.ID, Group: epoch}
	certificate := epoch + "-c0"
	n := c.rng.IntN(100)
	switch {
	case n < certificateShare:
		switch c.rng.IntN(3) {
		case 0:
			c.read(ctx, history.CertificateGet, certificate, in)
		case 1:
			c.change(ctx, history.CertificateDelete, certificate, in)
		default:
			c.change(ctx, history.CertificateCreate, certificate, in)
		}
	case n < 30:
		w.read(ctx, c, epoch, in)
	case n < 55:
		w.remove(ctx, c, epoch, in)
	case n < 80:
		w.create(ctx, c, epoch, in)
	default:
		w.put(ctx, c, epoch, in)
	}
}

func (w *hierarchy) read(ctx context.Context, c *client, epoch string, in history.Config) {
	switch c.rng.IntN(3) {
	case 0:
		c.read(ctx, history.SecurityGet, c.authID(epoch), in)
	case 1:
		c.read(ctx, history.ProfileGet, c.profileID(epoch), in)
	default:
		in.Channel = channelSMS
		c.read(ctx, history.SubscriptionGet, c.subscriptionID(epoch), in)
	}
}

func (w *hierarchy) remove(ctx context.Context, c *client, epoch string, in history.Config) {
	switch c.rng.IntN(3) {
	case 0:
		c.change(ctx, history.SecurityDelete, c.authID(epoch), in)
	case 1:
		c.change(ctx, history.ProfileDelete, c.profileID(epoch), in)
	default:
		in.Channel = channelSMS
		c.change(ctx, history.SubscriptionDelete, c.subscriptionID(epoch), in)
	}
}

// newProfile is a profile that may refer to a setting and to the certificate.
func (w *hierarchy) newProfile(c *client, epoch string) *history.Profile {
	p := &history.Profile{URL: fmt.Sprintf("http://hierarchy.invalid/%s.%d", c.process, c.seq+1)}
	if c.rng.IntN(2) == 0 {
		p.Auth = c.authID(epoch)
	}
	if c.rng.IntN(8) == 0 {
		p.Certificate = epoch + "-c0"
	}
	return p
}

func (w *hierarchy) create(ctx context.Context, c *client, epoch string, in history.Config) {
	auth := func() *history.Security {
		return &history.Security{ID: c.authID(epoch), Type: pick(c.rng, typeBasic, typeHMAC, typeCustom), Version: int(w.versions.Add(1))}
	}
	switch c.rng.IntN(4) {
	case 0:
		in.Security = auth()
		id := in.Security.ID
		in.Security.ID = ""
		c.change(ctx, history.SecurityCreate, id, in)
	case 1:
		in.Profile = w.newProfile(c, epoch)
		if c.rng.IntN(3) == 0 {
			in.Security, in.Profile.Auth = auth(), ""
		}
		c.change(ctx, history.ProfileCreate, c.profileID(epoch), in)
	default:
		in.Channel = channelSMS
		in.Subscription = &history.Subscription{Events: []string{eventDelivery}, Profile: c.profileID(epoch)}
		if c.rng.IntN(2) == 0 { // all at once
			in.Profile = w.newProfile(c, epoch)
			if c.rng.IntN(2) == 0 {
				in.Security, in.Profile.Auth = auth(), ""
			}
		}
		c.change(ctx, history.SubscriptionCreate, c.subscriptionID(epoch), in)
	}
}

func (w *hierarchy) put(ctx context.Context, c *client, epoch string, in history.Config) {
	switch c.rng.IntN(3) {
	case 0:
		in.Security = &history.Security{Type: pick(c.rng, typeBasic, typeHMAC, typeCustom), Version: int(w.versions.Add(1))}
		c.change(ctx, history.SecurityPut, c.authID(epoch), in)
	case 1:
		in.Profile = w.newProfile(c, epoch)
		in.Profile.Set = []string{setURL, setAuth, setCertificate}
		c.change(ctx, history.ProfilePut, c.profileID(epoch), in)
	default:
		in.Channel = channelSMS
		in.Subscription = &history.Subscription{Events: []string{eventDelivery}, Profile: c.profileID(epoch)}
		c.change(ctx, history.SubscriptionPut, c.subscriptionID(epoch), in)
	}
}

// certificate is the content of every certificate that is uploaded.
func (e *env) certificate() string {
	e.mu.Lock()
	once := e.content
	if once == nil {
		once = sync.OnceValue(func() string {
			text, err := uploadContent()
			if err != nil {
				return "" // belfry refuses it, which the history shows
			}
			return text
		})
		e.content = once
	}
	e.mu.Unlock()
	return once()
}

// createKey makes an API key with every scope of an account. Its name is in
// the history, its secret is not.
func (c *client) createKey(ctx context.Context, account, name string) (secret, id string, a answer) {
	in := history.Config{Account: account, Request: c.requestID()}
	a = c.send(ctx, request{
		method: http.MethodPost, path: configPath(whatAccount, "", account) + "/keys", change: true, id: in.Request,
		body: map[string]any{"name": name, "scopes": []string{"subscriptions:manage", "events:write", "events:read", "accounts:manage", "audit:read"}},
	})
	var out struct {
		KeyID string `json:"keyId"`
		Key   string `json:"key"`
	}
	a.decode(&out)
	c.note(history.KeyCreate, name, in, nil, a)
	return out.Key, out.KeyID, a
}
