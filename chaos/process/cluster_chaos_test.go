//go:build chaos && linux

package process

import (
	"context"
	"math/rand/v2"
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
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	c, err := Open(ctx, Options{Binary: path, Dir: t.TempDir(), Nodes: nodes, AdminKey: adminKey, Lossy: lossy})
	must(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
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
