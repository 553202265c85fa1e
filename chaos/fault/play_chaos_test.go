//go:build chaos && linux

package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/chaos/process"
	"example.com/belfry/fsm/model"
)

// everyOnce plays each nemesis that ok takes for two seconds, and checks that
// the cluster is whole after each.
func everyOnce(t *testing.T, nodes int, ok func(Nemesis) bool) {
	t.Helper()
	path, err := belfry.Path(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lossy := process.LossyDisks() == nil
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c, err := process.Open(ctx, process.Options{
		Binary: path, Dir: t.TempDir(), Nodes: nodes, AdminKey: "chaos-admin-key-0123456789abcdef", Lossy: lossy,
		Knobs: process.Knobs{SnapshotThreshold: 50},
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
	s := Schedule{Seed: 1, Kind: KindOf(c)}
	for _, x := range All() {
		if x.Possible(s.Kind) && ok(x) {
			s.Steps = append(s.Steps, Step{For: Duration(2 * time.Second), Faults: []string{x.Name}})
		}
	}
	converged := 0
	err = Play(ctx, s, c, func(r Report) {
		tell(t, r)
		if r.Phase == Converged {
			converged++
		}
	})
	if err != nil || converged != len(s.Steps) {
		t.Errorf("converged after %d of %d faults: %v", converged, len(s.Steps), err)
	}
	for _, x := range c.Crashes() {
		t.Errorf("crash of %s: %s\n%s", x.Node, x.Status, x.Output)
	}
}

// load changes the config and posts events all the time, one node after the
// other, so that there is something that faults can hit.
func load(ctx context.Context, c *process.Cluster) error {
	httpClient := &http.Client{Timeout: time.Second}
	var clients []*client.Client
	for _, n := range c.Nodes() {
		cl, err := client.New(client.Options{BaseURLs: []string{n.URL()}, Key: model.NewSecret(c.AdminKey()), HTTPClient: httpClient})
		if err != nil {
			return err
		}
		clients = append(clients, cl)
	}
	i := 0
	return repeat(ctx, func() time.Duration { return 5 * time.Millisecond }, func() error {
		i++
		cl := clients[i%len(clients)]
		_, _ = cl.UpdateAccount(ctx, "default", client.AccountUpdate{Name: model.Some(fmt.Sprintf("name %d", i))})
		_, _ = cl.Publish(ctx, client.Event{EventID: fmt.Sprintf("e-%d", i), Channel: "SMS", Event: "DELIVERY", Payload: json.RawMessage(`{"a":1}`)})
		return nil
	})
}

func TestChaosPlay_processes(t *testing.T) {
	everyOnce(t, 3, func(x Nemesis) bool { return slices.Contains([]string{"N1", "N2", "N15"}, x.ID) })
}

func TestChaosPlay_network(t *testing.T) {
	everyOnce(t, 3, func(x Nemesis) bool { return slices.Contains([]string{"N3", "N4", "N6", "N19"}, x.ID) })
}

func TestChaosPlay_disks(t *testing.T) {
	everyOnce(t, 3, func(x Nemesis) bool { return x.Parts&Disks != 0 })
}

func TestChaosPlay_members(t *testing.T) {
	everyOnce(t, 3, func(x Nemesis) bool { return x.ID == "N12" })
}

func TestChaosPlay_five(t *testing.T) {
	everyOnce(t, 5, func(x Nemesis) bool { return x.FiveNodes })
}

// A drawn schedule with pairs of faults on five nodes and random knobs.
func TestChaosPlay_schedule(t *testing.T) {
	path, err := belfry.Path(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lossy := process.LossyDisks() == nil
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	c, err := process.Open(ctx, process.Options{
		Binary: path, Dir: t.TempDir(), Nodes: 5, AdminKey: "chaos-admin-key-0123456789abcdef", Lossy: lossy,
		Knobs: process.RandomKnobs(rand.New(rand.NewPCG(7, 7))),
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
	s, err := Plan(7, Limits{Kind: Kind{Nodes: 5, Lossy: lossy}, Total: time.Minute, Shortest: time.Second, Longest: 3 * time.Second, Pairs: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(s)
	pairs := 0
	if err := Play(ctx, s, c, func(r Report) { pairs += tell(t, r) }); err != nil || pairs == 0 {
		t.Errorf("played %d pairs: %v", pairs, err)
	}
}

// tell logs a report and fails the test over what should not be. It returns 1
// when a pair of faults is over.
func tell(t *testing.T, r Report) int {
	t.Helper()
	for _, x := range r.Faults {
		t.Logf("%d %s %s %v %v %s %+v", r.Step, x.Name, r.Phase, r.Took.Round(time.Millisecond), x.Nodes, x.What, x.Aftermath)
		if r.Phase == Healed && (x.Skipped != "" || x.Problem != "") {
			t.Errorf("%s: %s%s", x.Name, x.Skipped, x.Problem)
		}
	}
	if r.Error != "" {
		t.Errorf("step %d: %s", r.Step, r.Error)
	}
	if r.Phase == Converged && len(r.Faults) == 2 {
		return 1
	}
	return 0
}
