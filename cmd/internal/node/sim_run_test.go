package node

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Environment of the simulations: how many further seeds every test runs, how
// many hours of virtual time TestSim_hours runs further seeds for, and one seed
// to run alone, with its log on standard error. A seed repeats what is done to
// the cluster and when, not the order in which the goroutines of the cluster
// run.
const (
	envSimSeeds = "BELFRY_SIM_SEEDS"
	envSimHours = "BELFRY_SIM_HOURS"
	envSimSeed  = "BELFRY_SIM_SEED"
)

// envNumber is a number from the environment; 0 when there is none.
func envNumber(t *testing.T, name string) uint64 {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// simSeeds are the seeds of a test: the fixed ones, and as many new ones as
// the environment asks for.
func simSeeds(t *testing.T, fixed ...uint64) []uint64 {
	t.Helper()
	if seed := envNumber(t, envSimSeed); seed != 0 {
		return []uint64{seed}
	}
	if testing.Short() {
		fixed = fixed[:1]
	}
	for range envNumber(t, envSimSeeds) {
		fixed = append(fixed, newSeed())
	}
	return fixed
}

func newSeed() uint64 { return 1 + rand.Uint64N(1e9) }

// simulate runs f in virtual time for every seed and tells how fast time went.
func simulate(t *testing.T, nodes int, fixed []uint64, f func(s *sim)) {
	t.Helper()
	for _, seed := range simSeeds(t, fixed...) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			simulateOne(t, nodes, seed, t.Name(), f)
		})
	}
}

// simulateOne runs f in virtual time and returns how much of it went by. When
// it fails, it says what was done and how to do it again: by the test again.
func simulateOne(t *testing.T, nodes int, seed uint64, again string, f func(s *sim)) (virtual time.Duration) {
	t.Helper()
	var did, schedule string
	defer func() {
		if t.Failed() {
			t.Logf("seed %d of %d nodes; what was done:\n%s\nrun it again with: %s=%d go test -count=1 -v -run '^%s$' ./cmd/internal/node",
				seed, nodes, schedule, envSimSeed, seed, strings.Split(again, "/")[0])
		}
	}()
	begin := time.Now()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := newSim(t, nodes, seed)
		defer func() {
			virtual, did, schedule = time.Since(begin), s.String(), strings.Join(s.did, "\n")
			s.close()
		}()
		f(s)
	})
	wall := time.Since(begin)
	t.Logf("%v of virtual time in %v: %.0f s per s; %s", virtual.Round(time.Second), wall.Round(time.Millisecond),
		virtual.Seconds()/wall.Seconds(), did)
	return virtual
}

// TestSim_faultFree: without faults every delivery is taken exactly once.
func TestSim_faultFree(t *testing.T) {
	t.Parallel()
	simulate(t, 3, []uint64{1}, func(s *sim) {
		s.setUp()
		l := s.newLoad(simClients)
		for round := range s.rounds {
			l.begin(round)
			time.Sleep(6 * time.Second)
			l.end()
			s.check(l, round, time.Now())
		}
	})
}

// TestSim_three and TestSim_five: whatever is done to the cluster, nothing that
// was answered with a receipt is lost, and all else that truth checks.
func TestSim_three(t *testing.T) {
	t.Parallel()
	simulate(t, 3, []uint64{1, 3}, (*sim).nemesis)
}

func TestSim_five(t *testing.T) {
	t.Parallel()
	simulate(t, 5, []uint64{1}, (*sim).nemesis)
}

// TestSim_hours runs new seeds, as many at a time as there are processors,
// until so much virtual time has gone by.
func TestSim_hours(t *testing.T) {
	want := time.Duration(envNumber(t, envSimHours)) * time.Hour
	if want == 0 {
		t.Skip("set " + envSimHours)
	}
	var virtual, failed atomic.Int64
	var runs atomic.Int64
	begin := time.Now()
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for time.Duration(virtual.Load()) < want && failed.Load() < maxFailedSeeds {
				nodes, again, seed := 3, "TestSim_three", newSeed()
				if runs.Add(1)%4 == 0 {
					nodes, again = 5, "TestSim_five"
				}
				if !t.Run(fmt.Sprintf("%d/seed=%d", nodes, seed), func(t *testing.T) {
					virtual.Add(int64(simulateOne(t, nodes, seed, again, (*sim).nemesis)))
				}) {
					failed.Add(1)
				}
			}
		})
	}
	workers.Wait()
	total, wall := time.Duration(virtual.Load()), time.Since(begin)
	t.Logf("%d seeds, %d failed: %v of virtual time in %v: %.0f s per s, %d at a time", runs.Load(), failed.Load(), total.Round(time.Second),
		wall.Round(time.Second), total.Seconds()/wall.Seconds(), runtime.GOMAXPROCS(0))
}

const (
	simClients = 4
	simWriters = 3 // of resources, and of objects that refer to each other
	// maxFailedSeeds ends a run of many seeds: more of them say nothing new.
	maxFailedSeeds = 5
)

// simRounds is how often a simulation drains and checks.
func simRounds() int {
	if testing.Short() {
		return 2
	}
	return 8
}
