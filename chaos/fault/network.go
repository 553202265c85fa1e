package fault

import (
	"context"
	"fmt"
	"strings"
	"time"

	"example.com/belfry/chaos/process"
)

func networkNemeses() []Nemesis {
	net := func(id, name string, takes func(int) int, begin func(context.Context, Env) (Active, error)) Nemesis {
		return Nemesis{ID: id, Name: name, Parts: Network, Takes: takes, Cuts: true, Begin: begin}
	}
	five := func(name string, begin func(context.Context, Env) (Active, error)) Nemesis {
		return Nemesis{ID: "N5", Name: name, Parts: Network, Takes: majority, Cuts: true, FiveNodes: true, Begin: begin}
	}
	broad := func(id, name string, part Part, begin func(context.Context, Env) (Active, error)) Nemesis {
		return Nemesis{ID: id, Name: name, Parts: part, Takes: none, Broad: true, Cuts: part == Network, Proxied: part == Network, Begin: begin}
	}
	slow := func(name string, begin func(context.Context, Env) (Active, error)) Nemesis {
		x := net("N6", name, one, begin)
		x.Proxied = true
		return x
	}
	return []Nemesis{
		net("N3", "halves", minority, beginHalves),
		net("N3", "isolate-one", one, beginIsolate(anyOf(one))),
		net("N3", "isolate-leader", one, beginIsolate(theLeader)),
		net("N4", "deaf-one", one, beginOneWay(anyOf(one), true)),
		net("N4", "deaf-leader", one, beginOneWay(theLeader, true)),
		net("N4", "mute-one", one, beginOneWay(anyOf(one), false)),
		net("N4", "mute-leader", one, beginOneWay(theLeader, false)),
		net("N4", "one-path", one, beginOnePath),
		five("ring", beginRing),
		five("bridge", beginBridge),
		broad("N6", "slow-all", Network, beginSlowAll),
		slow("slow-leader", beginSlowLeader),
		slow("drip", beginDrip),
		broad("N6", "resets", Network, beginResets),
		broad("N19", "replies-lost", Replies, beginRepliesLost),
	}
}

// across lists the paths from any of a to any of b, and back if both.
func across(a, b []string, both bool) []process.Path {
	var out []process.Path
	for _, x := range a {
		for _, y := range b {
			if x == y {
				continue
			}
			out = append(out, process.Path{From: x, To: y})
			if both {
				out = append(out, process.Path{From: y, To: x})
			}
		}
	}
	return out
}

// shape changes paths until it is undone.
func shape(e Env, what string, nodes []string, paths []process.Path, f func(*process.Shape)) Active {
	undo := e.Cluster.Net().Change(paths, f)
	return Active{what, nodes, undone(func(context.Context) error {
		undo()
		return nil
	})}
}

func cut(e Env, what string, nodes []string, paths []process.Path) Active {
	return shape(e, what, nodes, paths, func(s *process.Shape) { s.Cut = true })
}

// beginHalves makes a partition with a majority on one side.
func beginHalves(_ context.Context, e Env) (Active, error) {
	small := e.some(minority(len(e.Cluster.Nodes())))
	rest := e.except(small...)
	return cut(e, list(small)+" | "+strings.Join(rest, ", "), ids(small), across(ids(small), rest, true)), nil
}

func beginIsolate(who choose) func(context.Context, Env) (Active, error) {
	return func(ctx context.Context, e Env) (Active, error) {
		nodes, err := who(ctx, e)
		if err != nil {
			return Active{}, err
		}
		rest := e.except(nodes...)
		return cut(e, list(nodes)+" | "+strings.Join(rest, ", "), ids(nodes), across(ids(nodes), rest, true)), nil
	}
}

// beginOneWay makes a node deaf, so that nothing of the others reaches it, or
// mute, so that nothing of it reaches the others.
func beginOneWay(who choose, deaf bool) func(context.Context, Env) (Active, error) {
	return func(ctx context.Context, e Env) (Active, error) {
		nodes, err := who(ctx, e)
		if err != nil {
			return Active{}, err
		}
		rest := e.except(nodes...)
		if deaf {
			return cut(e, list(nodes)+" hears nobody", ids(nodes), across(rest, ids(nodes), false)), nil
		}
		return cut(e, "nobody hears "+list(nodes), ids(nodes), across(ids(nodes), rest, false)), nil
	}
}

// beginOnePath cuts one direction between two nodes. Both are victims: which of
// them is cut off from the others depends on who leads.
func beginOnePath(_ context.Context, e Env) (Active, error) {
	two := ids(e.some(2))
	if e.Rng.IntN(2) == 0 {
		two[0], two[1] = two[1], two[0]
	}
	return cut(e, two[1]+" does not hear "+two[0], two, across(two[:1], two[1:], false)), nil
}

// beginRing leaves every node its two neighbours on a random ring: each sees a
// majority, no two see the same.
func beginRing(_ context.Context, e Env) (Active, error) {
	nodes := e.Cluster.IDs()
	e.Rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	return cut(e, "ring of "+strings.Join(nodes, ", "), nodes, ringCuts(nodes)), nil
}

// ringCuts is what is cut so that only neighbours on the ring see each other.
func ringCuts(nodes []string) []process.Path {
	var out []process.Path
	n := len(nodes)
	for i := range n {
		for j := i + 2; j < n; j++ {
			if i == 0 && j == n-1 {
				continue
			}
			out = append(out, across(nodes[i:i+1], nodes[j:j+1], true)...)
		}
	}
	return out
}

// beginBridge makes two halves that only one node joins.
func beginBridge(_ context.Context, e Env) (Active, error) {
	nodes := e.Cluster.IDs()
	e.Rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	half := len(nodes) / 2
	a, bridge, b := nodes[:half], nodes[half], nodes[half+1:]
	what := fmt.Sprintf("%s | %s, bridged by %s", strings.Join(a, ", "), strings.Join(b, ", "), bridge)
	return cut(e, what, nodes, across(a, b, true)), nil
}

// beginSlowAll delays everything between nodes, but less than an election
// takes.
func beginSlowAll(_ context.Context, e Env) (Active, error) {
	lat, jit := e.between(5*time.Millisecond, 40*time.Millisecond), e.between(0, 40*time.Millisecond)
	nodes := e.Cluster.IDs()
	return shape(e, fmt.Sprintf("%s and up to %s more between all", lat, jit), nodes, across(nodes, nodes, false), func(s *process.Shape) {
		s.Latency, s.Jitter = lat, jit
	}), nil
}

// beginSlowLeader delays what the leader sends and hears, about as long as an
// election takes.
func beginSlowLeader(ctx context.Context, e Env) (Active, error) {
	n, err := e.leader(ctx)
	if err != nil {
		return Active{}, err
	}
	lat, jit := e.between(50*time.Millisecond, 400*time.Millisecond), e.between(0, 200*time.Millisecond)
	return shape(e, fmt.Sprintf("%s and up to %s more around %s", lat, jit, n.ID()), []string{n.ID()}, across([]string{n.ID()}, e.except(n), true), func(s *process.Shape) {
		s.Latency, s.Jitter = lat, jit
	}), nil
}

// beginDrip leaves a node very little bandwidth to the others.
func beginDrip(_ context.Context, e Env) (Active, error) {
	n := e.some(1)[0]
	rate := 1 << (11 + e.Rng.IntN(5)) // 2 to 32 KiB/s
	return shape(e, fmt.Sprintf("%d bytes/s around %s", rate, n.ID()), []string{n.ID()}, across([]string{n.ID()}, e.except(n), true), func(s *process.Shape) {
		s.BytesPerSecond = rate
	}), nil
}

// beginResets breaks the connections of one pair after the other.
func beginResets(_ context.Context, e Env) (Active, error) {
	broken := 0
	stop := run(func(ctx context.Context) error {
		return repeat(ctx, func() time.Duration { return e.between(50*time.Millisecond, 500*time.Millisecond) }, func() error {
			two := ids(e.some(2))
			broken += e.Cluster.Net().Reset(two[0], two[1])
			return nil
		})
	})
	return Active{"resetting connections between nodes", e.Cluster.IDs(), func(context.Context) (Aftermath, error) {
		err := stop()
		return Aftermath{Note: fmt.Sprintf("reset %d connections", broken)}, err
	}}, nil
}

// beginRepliesLost lets requests of clients through and loses the answers, for
// a fifth of a second out of about half of one.
func beginRepliesLost(_ context.Context, e Env) (Active, error) {
	net := e.Cluster.Net()
	var paths []process.Path
	for _, id := range e.Cluster.IDs() {
		paths = append(paths, process.Path{From: id, To: process.Clients})
	}
	stop := run(func(ctx context.Context) error {
		return repeat(ctx, func() time.Duration { return e.between(100*time.Millisecond, 500*time.Millisecond) }, func() error {
			undo := net.Change(paths, func(s *process.Shape) { s.Sever = true })
			defer undo()
			_ = sleep(ctx, 200*time.Millisecond) // repeat sees that ctx is over
			return nil
		})
	})
	return Active{"losing answers to clients", e.Cluster.IDs(), undone(func(context.Context) error { return stop() })}, nil
}
