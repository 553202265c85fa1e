package node

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// simRound is one turn of the nemesis: faults, then healing, then checks.
type simRound struct {
	Before time.Duration // of load without a fault
	Faults []simFault    // at the same time
	Hold   time.Duration // how long they last
	After  time.Duration // of load after healing
}

// simFault is a fault with all that was drawn for it. Which node leads is
// known only when it happens.
type simFault struct {
	Name  string
	Nodes []string // all of them, in the order in which they are hit
	Some  int      // so many of them are a minority
	Steps []simStep
	Size  float64 // from 0 to 1
}

// simStep is a part of faults that go on and off.
type simStep struct {
	Node     string
	On, Then time.Duration
	Size     float64 // from -1 to 1
}

// String is a line of the schedule.
func (r simRound) String() string {
	var names []string
	for _, f := range r.Faults {
		names = append(names, f.String())
	}
	return fmt.Sprintf("after %v: %s, for %v, then %v healed", r.Before, strings.Join(names, " and "), r.Hold, r.After)
}

func (f simFault) String() string {
	return fmt.Sprintf("%s (%s, size %.2f)", f.Name, strings.Join(f.Nodes, " "), f.Size)
}

// newSchedule is what a seed does to a cluster. It draws on nothing else.
func newSchedule(seed uint64, ids []string, rounds int) []simRound {
	rng := simRand(seed, "nemesis")
	between := func(from, to int) time.Duration {
		return time.Duration(from+rng.IntN(to-from)) * time.Millisecond
	}
	var names []string
	for _, f := range simFaults {
		names = append(names, f.name)
	}
	var out []simRound
	for range rounds {
		r := simRound{Before: between(300, 1500), Hold: between(300, 6000), After: between(500, 2500)}
		if rng.IntN(4) == 0 {
			r.Hold = between(10000, 25000) // long enough to be away from the log
		}
		n := 1
		if rng.IntN(3) == 0 {
			n = 2
		}
		for _, i := range rng.Perm(len(names))[:n] {
			r.Faults = append(r.Faults, newFault(rng, names[i], ids))
		}
		out = append(out, r)
	}
	return out
}

func newFault(rng *rand.Rand, name string, ids []string) simFault {
	f := simFault{Name: name, Nodes: slices.Clone(ids), Some: 1 + rng.IntN(len(ids)/2), Size: rng.Float64()}
	rng.Shuffle(len(f.Nodes), func(i, j int) { f.Nodes[i], f.Nodes[j] = f.Nodes[j], f.Nodes[i] })
	for range 5 {
		f.Steps = append(f.Steps, simStep{
			Node: ids[rng.IntN(len(ids))], Size: 2*rng.Float64() - 1,
			On: time.Duration(100+rng.IntN(1100)) * time.Millisecond, Then: time.Duration(rng.IntN(500)) * time.Millisecond,
		})
	}
	return f
}

// TestSim_schedule: a seed does the same things at the same times again, and
// another seed does others; in many seeds everything is done.
func TestSim_schedule(t *testing.T) {
	t.Parallel()
	ids := simIDs(5)
	seen := map[string]int{}
	for seed := range uint64(200) {
		a, b := newSchedule(seed, ids, 8), newSchedule(seed, ids, 8)
		if d := cmp.Diff(a, b); d != "" {
			t.Fatalf("seed %d has two schedules:\n%s", seed, d)
		}
		if cmp.Equal(a, newSchedule(seed+1, ids, 8)) {
			t.Errorf("seeds %d and %d have the same schedule", seed, seed+1)
		}
		for _, r := range a {
			for _, f := range r.Faults {
				seen[f.Name]++
			}
		}
	}
	for _, f := range simFaults {
		if seen[f.name] == 0 {
			t.Errorf("%q was never drawn", f.name)
		}
	}
}

// TestSim_replay: two runs of a seed do to the cluster what its schedule says,
// in that order.
func TestSim_replay(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs two simulations")
	}
	var runs [2][]string
	for i := range runs {
		simulateOne(t, 3, 7, t.Name(), func(s *sim) {
			s.rounds = 3
			s.nemesis()
			for _, line := range s.did {
				_, what, _ := strings.Cut(line, " ") // the time when a cluster has drained is not the seed's
				runs[i] = append(runs[i], what)
			}
		})
	}
	var want []string
	for _, r := range newSchedule(7, simIDs(3), 3) {
		want = append(want, r.String())
	}
	for i := range runs {
		if d := cmp.Diff(want, runs[i]); d != "" {
			t.Errorf("run %d did not keep to the schedule:\n%s", i, d)
		}
	}
}
