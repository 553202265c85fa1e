//go:build chaos && linux

package fault

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"example.com/belfry/chaos/process"
)

// Every class of files is damaged in every way on a follower, under load: the
// node goes on or stops and says what to do, and the cluster is whole again
// when its disk was replaced.
func TestChaosDamage_everyClass(t *testing.T) {
	path, err := belfry.Path(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c, err := process.Open(ctx, process.Options{
		Binary: path, Dir: t.TempDir(), Nodes: 3, AdminKey: "chaos-admin-key-0123456789abcdef", Knobs: process.Knobs{SnapshotThreshold: 50},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	defer run(func(ctx context.Context) error { return load(ctx, c) })()
	if err := sleep(ctx, 2*time.Second); err != nil { // until there is something to damage
		t.Fatal(err)
	}
	ways := map[string]func(*process.Node, string, *rand.Rand) (string, error){
		"bit": (*process.Node).FlipBit, "bit2": (*process.Node).FlipBit, "cut": (*process.Node).Truncate,
	}
	for i, class := range process.FileClasses() {
		for way, damage := range ways {
			e := Env{Cluster: c, Rng: rand.New(rand.NewPCG(uint64(i), uint64(len(way))))}
			n, err := e.follower(ctx)
			if err != nil {
				t.Fatal(err)
			}
			files, err := n.Files(class)
			if err != nil {
				t.Fatal(err)
			}
			if len(files) == 0 { // snapshots come every half a minute
				continue
			}
			n.Kill()
			what, err := damage(n, files[len(files)-1], e.Rng)
			if err != nil {
				t.Fatal(err)
			}
			from := n.LogSize()
			active, err := startDamaged(n, what)
			if err != nil {
				t.Fatal(err)
			}
			if err := sleep(ctx, 700*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			after, err := active.Undo(ctx)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s %s: %+v", way, what, after)
			if after.Problem != "" {
				t.Errorf("%s\n%s", after.Problem, n.LogFrom(from))
			}
			if _, err := c.Converge(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
}
