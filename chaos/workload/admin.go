package workload

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"example.com/belfry/chaos/history"
)

const (
	adminRate     = 10              // changes of keys and accounts per second
	transferEvery = 7 * time.Second // on average
	keyUses       = 3
)

// admin is W9: what an operator does. Leadership moves; API keys are made, used
// at all nodes, deleted and tried again; accounts come and go.
type admin struct {
	*env
	account Account
}

func newAdmin(e *env) Workload { return &admin{env: e} }

// SetUp implements Workload.
func (w *admin) SetUp(ctx context.Context) (err error) {
	w.account, err = w.makeAccount(ctx, "w9")
	return err
}

// Run implements Workload.
func (w *admin) Run(ctx context.Context) error {
	interval := every(2, w.rate(adminRate))
	mover := w.client("leader", 0, false, w.env.admin())
	keys := w.client("keys", 1, false, w.account)
	accounts := w.client("accounts", 2, false, w.env.admin())
	all(
		func() {
			for mover.pace(ctx, transferEvery) {
				mover.node = mover.rng.IntN(len(w.o.Target.Nodes()))
				a := mover.send(ctx, request{method: http.MethodPost, path: "/cluster/1/leader/transfer", change: true})
				mover.note(history.LeaderTransfer, "", nil, nil, a)
			}
		},
		func() {
			for i := 0; keys.pace(ctx, interval); i++ {
				w.key(ctx, keys, fmt.Sprintf("k%d", i), interval)
			}
		},
		func() {
			for i := 0; accounts.pace(ctx, interval); i++ {
				w.churn(ctx, accounts, fmt.Sprintf("w9-%d", i), interval)
			}
		},
	)
	return nil
}

// key is the life of one API key. Its uses after the delete are over some
// seconds, so that a node that still knows it shows.
func (w *admin) key(ctx context.Context, c *client, name string, interval time.Duration) {
	secret, id, a := c.createKey(ctx, w.account.ID, name)
	if !a.ok() || secret == "" {
		return
	}
	for range keyUses {
		c.use(ctx, name, secret)
	}
	in := history.Config{Account: w.account.ID}
	deleted := false
	_ = c.insist(ctx, func() answer { // the history says what came of it
		in.Request = c.requestID()
		a := c.send(ctx, request{
			method: http.MethodDelete, change: true, id: in.Request,
			path: configPath(whatAccount, "", w.account.ID) + "/keys/" + url.PathEscape(id),
		})
		c.note(history.KeyDelete, name, in, nil, a)
		deleted = a.ok()
		return a
	})
	for range 2 * len(w.o.Target.Nodes()) {
		if !deleted || !c.pace(ctx, interval) {
			return
		}
		c.use(ctx, name, secret)
	}
}

// use makes a stale read, which needs no quorum, with a key at the next node.
func (c *client) use(ctx context.Context, name, secret string) {
	c.node++
	a := c.send(ctx, request{method: http.MethodGet, path: configPath(whatProfile, "", "") + "?size=1&consistency=stale", key: secret})
	c.note(history.KeyUse, name, history.Config{Account: c.account}, nil, a)
}

// churn is the life of one account.
func (w *admin) churn(ctx context.Context, c *client, id string, interval time.Duration) {
	in := history.Config{Account: adminAccount, Group: id}
	for _, step := range []func(){
		func() { c.change(ctx, history.AccountCreate, id, in) },
		func() { c.read(ctx, history.AccountGet, id, in) },
		func() { c.change(ctx, history.AccountDelete, id, in) },
		func() { c.read(ctx, history.AccountGet, id, in) },
	} {
		step()
		if !c.pace(ctx, interval) {
			return
		}
	}
}
