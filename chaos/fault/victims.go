package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/belfry/chaos/process"
)

// leaderWithin bounds how long a nemesis that needs the leader looks for it.
const leaderWithin = 5 * time.Second

// some picks k nodes at random.
func (e Env) some(k int) []*process.Node {
	nodes := e.Cluster.Nodes()
	e.Rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	nodes = nodes[:min(k, len(nodes))]
	slices.SortFunc(nodes, func(a, b *process.Node) int { return strings.Compare(a.ID(), b.ID()) })
	return nodes
}

func (e Env) leader(ctx context.Context) (*process.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderWithin)
	defer cancel()
	return e.Cluster.Leader(ctx)
}

// follower picks a node that does not lead.
func (e Env) follower(ctx context.Context) (*process.Node, error) {
	leader, err := e.leader(ctx)
	if err != nil {
		return nil, err
	}
	nodes := slices.DeleteFunc(e.some(len(e.Cluster.Nodes())), func(n *process.Node) bool { return n == leader })
	if len(nodes) == 0 {
		return nil, errors.New("there is no follower")
	}
	return nodes[e.Rng.IntN(len(nodes))], nil
}

// except lists the ids of all nodes but those.
func (e Env) except(nodes ...*process.Node) []string {
	out := e.Cluster.IDs()
	return slices.DeleteFunc(out, func(id string) bool {
		return slices.ContainsFunc(nodes, func(n *process.Node) bool { return n.ID() == id })
	})
}

func ids(nodes []*process.Node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.ID())
	}
	return out
}

// list is how nodes are named in reports.
func list(nodes []*process.Node) string { return strings.Join(ids(nodes), ", ") }

// between draws a duration.
func (e Env) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(e.Rng.Int64N(int64(hi-lo)+1))
}

// bringUp has nodes run, whatever was done to them.
func bringUp(nodes []*process.Node) error {
	var errs []error
	for _, n := range nodes {
		if n.Alive() {
			n.Resume()
		} else {
			errs = append(errs, n.Start())
		}
	}
	return errors.Join(errs...)
}

// run starts f, which goes on until its context ends, and returns what ends it
// and waits for it.
func run(f func(ctx context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

// repeat calls f until ctx ends, with waits between that wait draws.
func repeat(ctx context.Context, wait func() time.Duration, f func() error) error {
	for sleep(ctx, wait()) == nil {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// gone waits until a process has ended.
func gone(ctx context.Context, n *process.Node, within time.Duration) bool {
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-n.Done():
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// rejoin gives a node an empty disk and has it join again.
func rejoin(n *process.Node) error {
	n.Kill()
	if err := n.Wipe(); err != nil {
		return err
	}
	return n.Start()
}

// undone is an Undo that can only fail.
func undone(f func(ctx context.Context) error) func(context.Context) (Aftermath, error) {
	return func(ctx context.Context) (Aftermath, error) {
		if err := f(ctx); err != nil {
			return Aftermath{}, fmt.Errorf("undo: %w", err)
		}
		return Aftermath{}, nil
	}
}
