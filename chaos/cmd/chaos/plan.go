package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/chaos/fault"
	"example.com/belfry/chaos/workload"
)

// spec is what one run does. It is data, and with the seed decides all of it
// but how goroutines and processes run.
type spec struct {
	Name      string
	Nodes     int
	Nemeses   []string // none: a run without faults
	Workloads []string
	// Faults is how long faults are played, with the quiet between them.
	Faults  time.Duration
	Longest time.Duration // of one fault
	Pairs   int           // of 100 steps that are two faults at once
	Seed    uint64
	Rate    float64 // operations of each workload per second; 0: as usual
	Ingest  float64 // events of W3 per second where Rate does not say; 0: as usual
	// Namespaces: the nodes are in network namespaces, where that is possible.
	Namespaces bool
	// Untimed: nothing is judged that a slow machine is to blame for.
	Untimed bool
}

// wallClock is a nemesis that is built into the binary: its wall clock jumps.
const wallClock = "wall-clock"

// needsLossy reports whether a nemesis of the run needs disks that lose what
// was not synced.
func (s spec) needsLossy() bool {
	return slices.ContainsFunc(s.Nemeses, func(name string) bool {
		n, ok := fault.ByName(name)
		return ok && n.Lossy
	})
}

func (s spec) jumps() bool { return slices.Contains(s.Nemeses, wallClock) }

// played are the nemeses of the player.
func (s spec) played() []string {
	return slices.DeleteFunc(slices.Clone(s.Nemeses), func(name string) bool { return name == wallClock })
}

// kind is that of its cluster.
func (s spec) kind(lossy bool) fault.Kind {
	return fault.Kind{Nodes: s.Nodes, Lossy: lossy, Namespaces: s.Namespaces}
}

// network says what is between its nodes.
func (s spec) network() string {
	if s.Namespaces {
		return "network namespaces"
	}
	return "proxies"
}

// schedule draws what is broken when.
func (s spec) schedule(lossy bool) (fault.Schedule, error) {
	if len(s.played()) == 0 {
		return fault.Schedule{Seed: s.Seed, Kind: s.kind(lossy), Total: fault.Duration(s.Faults)}, nil
	}
	return fault.Plan(s.Seed, fault.Limits{
		Kind: s.kind(lossy), Total: s.Faults, Shortest: shortest, Longest: s.Longest, Only: s.played(), Pairs: s.Pairs,
	})
}

// again is the command line that does the run once more.
func (s spec) again() string {
	nemeses := strings.Join(s.Nemeses, ",")
	if nemeses == "" {
		nemeses = none
	}
	number := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }
	out := fmt.Sprintf("go run ./chaos/cmd/chaos run -seed %d -nodes %d -nemesis %s -workload %s -seconds %s",
		s.Seed, s.Nodes, nemeses, strings.Join(s.Workloads, ","), number(s.Faults))
	if s.Longest != quickLongest {
		out += " -longest " + number(s.Longest)
	}
	if s.Rate != 0 {
		out += " -rate " + strconv.FormatFloat(s.Rate, 'f', -1, 64)
	}
	if s.Ingest != 0 {
		out += " -ingest " + strconv.FormatFloat(s.Ingest, 'f', -1, 64)
	}
	if s.Untimed {
		out += " -untimed"
	}
	if s.Pairs != 0 {
		out += fmt.Sprintf(" -pairs %d", s.Pairs)
	}
	if s.Namespaces {
		out += " -namespaces"
	}
	return out
}

func (s spec) validate() error {
	if s.Nodes != 3 && s.Nodes != 5 {
		return fmt.Errorf("%w: a cluster has 3 or 5 nodes, not %d", errUsage, s.Nodes)
	}
	for _, name := range s.played() {
		if n, ok := fault.ByName(name); !ok {
			return fmt.Errorf("%w: there is no nemesis %q; see chaos list", errUsage, name)
		} else if n.FiveNodes && s.Nodes < 5 {
			return fmt.Errorf("%w: %s needs 5 nodes", errUsage, name)
		} else if n.Proxied && s.Namespaces {
			return fmt.Errorf("%w: %s needs proxies between the nodes: leave -namespaces away", errUsage, name)
		}
	}
	for _, name := range s.Workloads {
		if !slices.Contains(workload.Names(), name) {
			return fmt.Errorf("%w: there is no workload %q; see chaos list", errUsage, name)
		}
	}
	return nil
}

// none is what -nemesis takes for a run without faults.
const none = "none"

const (
	shortest     = 2500 * time.Millisecond // of one fault
	quickFaults  = 30 * time.Second
	quickLongest = 5 * time.Second
	// cutLongest is for cuts: how events go on is judged from the fourth second on,
	// by two seconds at least.
	cutLongest = 7500 * time.Millisecond
	// longRun is one run of a long set. Histories of a longer one take the
	// checkers long.
	longRun     = 4 * time.Minute
	longLongest = 15 * time.Second
	longPairs   = 30
)

// quickSet has every nemesis and every workload once at least, in about eight
// minutes of two cores.
func quickSet() []spec {
	quick := func(name string, nodes int, workloads string, is func(fault.Nemesis) bool) spec {
		s := spec{Name: name, Nodes: nodes, Workloads: names(workloads), Longest: quickLongest}
		for _, n := range fault.All() {
			if is(n) {
				s.Nemeses = append(s.Nemeses, n.Name)
			}
		}
		// Long enough for each to come once, with the quiet after it.
		s.Faults = max(quickFaults, time.Duration(len(s.Nemeses))*quickLongest*7/5)
		return s
	}
	of := func(ids ...string) func(fault.Nemesis) bool {
		return func(n fault.Nemesis) bool { return slices.Contains(ids, n.ID) && !n.FiveNodes }
	}
	calm := quick("calm", 3, "w1,w3,w5,w6", of())
	calm.Faults = 15 * time.Second
	cuts := quick("partition", 3, "w1,w2,w4", of("N3", "N4"))
	cuts.Longest, cuts.Faults = cutLongest, time.Duration(len(cuts.Nemeses))*cutLongest*7/5
	five := quick("five", 5, "w1,w3", func(n fault.Nemesis) bool { return n.FiveNodes })
	cuts.Namespaces, five.Namespaces = true, true
	return []spec{
		calm,
		quick("kill", 3, "w1,w3,w6", of("N1")),
		quick("pause", 3, "w1,w5", of("N2")),
		cuts,
		quick("power", 3, "w1,w3", of("N7", "N8")),
		quick("disk", 3, "w1,w3", of("N10")),
		quick("damage", 3, "w1,w3", of("N9", "N11")),
		quick("network", 3, "w3,w7,w8", of("N6", "N19")),
		quick("rolling", 3, "w2,w3,w9", of("N15")),
		quick("members", 3, "w1,w3", of("N12")),
		five,
	}
}

// clockRun is with a wall clock that jumps in every process. Retries are due at
// a time of day, so they come early or late then; it has workloads whose
// receivers cause none.
func clockRun() spec {
	return spec{
		Name: "clock", Nodes: 3, Workloads: names("w1,w2,w3"), Nemeses: []string{wallClock, "kill-leader", "isolate-one", "isolate-leader"},
		Faults: quickFaults, Longest: quickLongest,
	}
}

// longSet is runs of all nemeses and workloads for about as long as it is told:
// of three runs one has five nodes, and every second one network namespaces and
// no nemeses that need proxies.
func longSet(total time.Duration) []spec {
	out := []spec{clockRun()}
	total -= out[0].Faults + overhead
	for i := 0; total > 0; i++ {
		s := spec{
			Name: fmt.Sprintf("long-%02d", i+1), Nodes: 3, Workloads: workload.Names(), Faults: min(longRun, max(time.Minute, total)),
			Longest: longLongest, Pairs: longPairs,
		}
		if i%3 == 2 {
			s.Nodes = 5
		}
		s.Namespaces = i%2 == 1
		s.Nemeses = possible(s.kind(true))
		out = append(out, s)
		total -= s.Faults + overhead
	}
	return out
}

// possible are the nemeses that can be played on a kind of cluster.
func possible(k fault.Kind) []string {
	var out []string
	for _, n := range fault.All() {
		if n.Possible(k) {
			out = append(out, n.Name)
		}
	}
	return out
}

// overhead is what a run takes beside its faults, about: starting, draining,
// reading and checking.
const overhead = 40 * time.Second
