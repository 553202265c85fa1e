package mutant

import "time"

// What the simulation of a whole cluster says.
const (
	signLost     = `event \S+ of account \S+ is lost`
	signReplicas = `n\d and n\d differ|not drained after|was taken again|was sent again and answered|came to \S+ under|went to \S+ of account`
)

// sim is the simulation of whole clusters under faults.
func sim(sign string) Killer {
	return Killer{
		Layer: Simulation, Test: &Test{Package: "./cmd/internal/node", Name: "TestSim_three|TestSim_five"}, Sign: sign, Budget: 5 * time.Minute,
	}
}

// whole is another simulation of a whole cluster.
func whole(test, sign string) Killer {
	k := sim(sign)
	k.Test = &Test{Package: "./cmd/internal/node", Name: test}
	return k
}

// delivery are the bugs in taking events in and delivering them.
func delivery() []Mutant {
	return []Mutant{
		{
			Name: "ack-before-commit",
			Bug:  "the publisher answers events without an id of their own as soon as it has proposed them, and not when a quorum has them",
			Edits: []Edit{
				{
					File: "dispatch/publisher_run.go",
					Old:  "	index, resp, err := p.opts.Proposer.Propose(ctx, outbox.Encode(c))\n",
					New:  "	index := uint64(0)\n	resp, err := p.hasty(ctx, c)\n",
				},
				{File: "dispatch/hasty.go", New: `package dispatch

import (
	"context"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
)

func (p *Publisher) hasty(ctx context.Context, c *outbox.Accept) ([]byte, error) {
	results := make([]outbox.Result, len(c.Events))
	for i, e := range c.Events {
		if e.Event.GivenID {
			_, resp, err := p.opts.Proposer.Propose(ctx, outbox.Encode(c))
			return resp, err
		}
		results[i] = outbox.Result{Status: event.Accepted, Deliveries: len(e.Targets)}
	}
	cmd := outbox.Encode(c)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.opts.ProposeTimeout)
		defer cancel()
		_, _, _ = p.opts.Proposer.Propose(ctx, cmd)
	}()
	return outbox.EncodeResults(results), nil
}
`},
			},
			Killers: []Killer{sim(signLost)},
		},
		{
			Name: "map-iteration",
			Bug:  "the state machine numbers the deliveries of an event in the order in which a map gives them",
			Edits: []Edit{{
				File: "dispatch/outbox/apply.go",
				Old:  "	for i := range e.Targets {\n		t := &e.Targets[i]",
				New:  "	mixed := map[int]bool{}\n	for i := range e.Targets {\n		mixed[i] = true\n	}\n	for i := range mixed {\n		t := &e.Targets[i]",
			}},
			Killers: []Killer{sim(signReplicas)},
		},
		{
			Name: "retries-dropped",
			Bug:  "when a partition gets another owner, the deliveries that wait for a retry are dropped",
			Edits: []Edit{
				{
					File: "dispatch/outbox/apply.go",
					Old:  "	*have = model.Assignment{Owner: c.Owner, Epoch: c.Epoch}",
					New:  "	if have.Owner != c.Owner {\n		st.dropRetries(c.Partition)\n	}\n	*have = model.Assignment{Owner: c.Owner, Epoch: c.Epoch}",
				},
				{File: "dispatch/outbox/forgetful.go", New: `package outbox

import (
	"cmp"
	"slices"
)

func (st *state) dropRetries(partition int) {
	var rows []*row
	for _, l := range st.lanes[partition] {
		for _, r := range l.all.items[l.all.head:] {
			if r != nil && r.status == retryingNo && !r.stale() {
				rows = append(rows, r)
			}
		}
	}
	slices.SortFunc(rows, func(a, b *row) int { return cmp.Compare(a.seq, b.seq) })
	for _, r := range rows {
		st.resolve(r, droppedNo, st.lastAt)
	}
}
`},
			},
			Killers: []Killer{sim(signLost), chaos("kill-one,kill-leader", "w7,w8", "lost")},
		},
		{
			Name: "ids-not-in-snapshot",
			Bug:  "the snapshot of the outbox leaves out the event ids that are remembered",
			Edits: []Edit{{
				File: "dispatch/outbox/snapshot.go",
				Old:  "	for i, name := range buckets {",
				New:  "	for i, name := range buckets {\n		if withIndex && string(name) == string(bucketReceipts) {\n			continue\n		}",
			}},
			Killers: []Killer{sim(signReplicas)},
		},
		{
			Name: "attempts-not-replicated",
			Bug:  "the number of an attempt is kept only by the node that made it",
			Edits: []Edit{{
				File: "dispatch/outbox/settle.go",
				Old:  "	r.attempt = attempt\n",
				New:  "	if r.flags&taken != 0 {\n		r.attempt = attempt\n	}\n",
			}},
			Killers: []Killer{sim(signReplicas), chaos("kill-one,kill-leader", "w7,w8", "retries")},
		},
		{
			Name: "lease-ignored",
			Bug:  "a node goes on sending with the credentials it knows when its lease has run out",
			Edits: []Edit{{
				File: "dispatch/attempt.go",
				Old:  "	return ok && (until.IsZero() || time.Now().Before(until))",
				New:  "	return ok || !until.After(time.Now())",
			}},
			Killers: []Killer{sim(`starts \S+ of \S+ without a lease`), chaos("isolate-one,isolate-leader", "w5", "revoked|retries")},
		},
		{
			Name: "lease-always-valid",
			Bug:  "a node takes its lease for valid whatever it has heard of a leader",
			Edits: []Edit{{
				File: "cluster/report.go",
				Old:  "	return time.Now().Before(n.leaseEnd), n.leaseEnd",
				New:  "	return true, time.Now().Add(n.o.LeaseTTL)",
			}},
			Killers: []Killer{whole("TestSim_cutOff", `INV lease-4|I7: n\d starts`), chaos("isolate-one,isolate-leader", "w5", "revoked|retries")},
		},
		{
			Name: "redirect-followed",
			Bug:  "the sender follows a redirect",
			Edits: []Edit{{
				File: "dispatch/webhook/exchange.go",
				Old:  "	defer func() { _ = resp.Body.Close() }()\n	a := answer{",
				New: `	if next, lerr := resp.Location(); lerr == nil && resp.StatusCode/100 == 3 {
		_ = resp.Body.Close()
		w.body.Reset(o.body)
		req = req.Clone(ctx)
		req.URL, req.Host, req.Body = next, "", io.NopCloser(w)
		if resp, err = rt.RoundTrip(req); err != nil {
			return answer{}, describe(w.ctx, err, w.stage())
		}
	}
	defer func() { _ = resp.Body.Close() }()
	a := answer{`,
			}},
			Killers: []Killer{{Layer: Unit, Test: &Test{Package: "./dispatch/webhook", Name: "TestSend_badReceivers"}, Sign: `redirects are not followed`, Budget: 3 * time.Minute}, chaos("", "w7", "retries|invented|crossed")},
		},
		{
			Name: "order-forgotten",
			Bug:  "the dispatcher takes deliveries out of the outbox without regard to the ordering of the profile",
			Edits: []Edit{{
				File: "dispatch/serve.go",
				Old:  "MaxBytes: MaxBatchBytes, Order: l.order, FreshOnly",
				New:  "MaxBytes: MaxBatchBytes, Order: outbox.OrderNone, FreshOnly",
			}},
			Killers: []Killer{sim(`I9: event`), chaos("kill-one", "w6", "order")},
		},
		{
			Name: "credential-kept",
			Bug:  "a node keeps the credentials that it has resolved when the config changes",
			Edits: []Edit{{
				File: "cmd/internal/node/resolver.go",
				Old:  "	r.gen++\n	clear(r.cache)\n",
				New:  "	r.gen++\n",
			}},
			Killers: []Killer{{Layer: Unit, Test: &Test{Package: "./cmd/internal/node", Name: "Resolver"}, Sign: `resolver_test`, Budget: 3 * time.Minute}, whole("TestSim_faultFree", `I7: n\d starts`), chaos("", "w5", "revoked")},
		},
	}
}
