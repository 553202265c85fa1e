package fault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/belfry/chaos/process"
)

func memberNemeses() []Nemesis {
	member := func(name string, begin func(context.Context, Env) (Active, error)) Nemesis {
		return Nemesis{ID: "N12", Name: name, Parts: Membership | Processes | Network, Takes: one, Kills: true, Alone: true, Begin: begin}
	}
	cutLeader := member("remove-cut-leader", beginRemove(theLeader, true))
	cutLeader.Cuts = true
	join := member("join-extra", beginJoin)
	join.Takes, join.Planned = none, true
	return []Nemesis{
		member("remove-one", beginRemove(anyOf(one), false)),
		member("remove-leader", beginRemove(theLeader, false)),
		cutLeader,
		join,
	}
}

const (
	// memberWithin bounds a change of membership.
	memberWithin = 20 * time.Second
	// endWithin is how long a node that was removed may go on to run, when it can
	// hear of it: it finishes what its webhooks have not answered yet, for the
	// default of --drain-timeout at most, and a little.
	endWithin = 35 * time.Second
)

// beginRemove takes a node out of the cluster while it runs; cut isolates it
// before. It comes back with an empty disk.
func beginRemove(who choose, isolate bool) func(context.Context, Env) (Active, error) {
	return func(ctx context.Context, e Env) (Active, error) {
		nodes, err := who(ctx, e)
		if err != nil {
			return Active{}, err
		}
		n := nodes[0]
		heal := func() {}
		what := "removed " + n.ID()
		if isolate {
			heal = e.Cluster.Net().Change(across(ids(nodes), e.except(n), true), func(s *process.Shape) { s.Cut = true })
			what = "isolated and removed " + n.ID()
		}
		n.ExpectExit()
		ctx, cancel := context.WithTimeout(ctx, memberWithin)
		defer cancel()
		if err := e.Cluster.RemoveMember(ctx, n.ID()); err != nil {
			heal()
			// It may be removed all the same: a node that is no member needs an
			// empty disk.
			return Active{}, errors.Join(err, rejoin(n))
		}
		return Active{what, ids(nodes), func(ctx context.Context) (Aftermath, error) {
			heal()
			var after Aftermath
			if !gone(ctx, n, endWithin) {
				after.Problem = fmt.Sprintf("%s was removed and still ran %s later", n.ID(), endWithin)
			}
			return after, rejoin(n)
		}}, nil
	}
}

// beginJoin has a new node join, which is removed again afterwards.
func beginJoin(_ context.Context, e Env) (Active, error) {
	n, err := e.Cluster.AddNode()
	if err != nil {
		return Active{}, err
	}
	return Active{n.ID() + " joined", []string{n.ID()}, func(ctx context.Context) (Aftermath, error) {
		var after Aftermath
		ready, cancel := context.WithTimeout(ctx, memberWithin)
		defer cancel()
		if err := n.Ready(ready); err != nil {
			after.Problem = fmt.Sprintf("a new node did not become ready: %v", err)
		}
		n.ExpectExit()
		err := e.Cluster.RemoveMember(ctx, n.ID())
		if err == nil && !gone(ctx, n, endWithin) {
			after.Problem = fmt.Sprintf("%s was removed and still ran %s later", n.ID(), endWithin)
		}
		return after, errors.Join(err, e.Cluster.DropNode(n))
	}}, nil
}
