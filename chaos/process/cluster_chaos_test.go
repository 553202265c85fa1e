//go:build chaos && linux

package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

const adminKey = "chaos-admin-key-0123456789abcdef"

func open(t *testing.T, nodes int, lossy bool) (*Cluster, context.Context) {
	t.Helper()
	if err := LossyDisks(); lossy && err != nil {
		t.Skip(err)
	}
	path, err := belfry.Path(t.Context())
	must(t, err)
	return openWith(t, Options{Binary: path, Nodes: nodes, Lossy: lossy})
}

// openWith fills in what is the same for all.
func openWith(t *testing.T, o Options) (*Cluster, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	o.Dir, o.AdminKey = t.TempDir(), adminKey
	c, err := Open(ctx, o)
	must(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for _, n := range c.Nodes() {
			if t.Failed() {
				t.Logf("%s:\n%s", n.ID(), n.LogFrom(n.LogSize()-8<<10))
			}
		}
		for _, x := range c.Crashes() {
			t.Errorf("crash of %s: %s\n%s", x.Node, x.Status, x.Output)
		}
	})
	return c, ctx
}

func TestChaosCluster_powerFailure(t *testing.T) {
	c, ctx := open(t, 3, true)
	for i := range 4 {
		var rng *rand.Rand
		if i > 0 {
			rng = rand.New(rand.NewPCG(1, uint64(i)))
		}
		for _, n := range c.Nodes() {
			lost, err := n.PowerFail(rng)
			must(t, err)
			t.Logf("%s lost %d", n.ID(), lost)
		}
		for _, n := range c.Nodes() {
			must(t, n.Start())
		}
		begin := time.Now()
		_, err := c.Converge(ctx)
		must(t, err)
		t.Logf("converged after %s", time.Since(begin))
	}
}

// binaryEnv is for the process that apart starts: nothing can be built without a
// network.
const binaryEnv = "CHAOS_TEST_BINARY"

// Nodes in network namespaces elect another leader when theirs is cut off, are
// whole again when packets arrive again, and take a new node in and let it go.
func TestChaosCluster_namespaces(t *testing.T) {
	path := os.Getenv(binaryEnv)
	if path == "" {
		needRoot(t)
		var err error
		path, err = belfry.Path(t.Context())
		must(t, err)
	}
	if !apart(t, binaryEnv+"="+path) {
		return
	}
	c, ctx := openWith(t, Options{Binary: path, Nodes: 3, Namespaces: true})
	old, err := c.Leader(ctx)
	must(t, err)
	var paths []Path
	var rest *Node // one of those that are not cut off
	for _, n := range c.Nodes() {
		if n != old {
			rest = n
			paths = append(paths, Path{n.ID(), old.ID()}, Path{old.ID(), n.ID()})
		}
	}
	begin := time.Now()
	heal := c.Net().Change(paths, func(s *Shape) { s.Cut = true })
	must(t, poll(ctx, func() error {
		ms, err := rest.Members(ctx)
		for _, m := range ms {
			if m.Role == "LEADER" && m.NodeID != old.ID() {
				return err
			}
		}
		return errors.Join(err, errors.New("none but the one that is cut off leads"))
	}))
	t.Logf("another leads after %s", time.Since(begin))
	begin = time.Now()
	heal()
	_, err = c.Converge(ctx)
	must(t, err)
	t.Logf("converged after %s", time.Since(begin))

	n, err := c.AddNode()
	must(t, err)
	if want := fmt.Sprintf("%s:%d", spaceAddr(hostsFrom+4), spacePeer); n.peerProxy != want {
		t.Errorf("the fourth node is at %s, want %s", n.peerProxy, want)
	}
	_, err = c.Converge(ctx)
	must(t, err)
	n.ExpectExit()
	must(t, c.RemoveMember(ctx, n.ID()))
	must(t, c.DropNode(n))
	_, err = c.Converge(ctx)
	must(t, err)
}
