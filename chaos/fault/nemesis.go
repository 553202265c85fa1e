package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"example.com/belfry/chaos/process"
)

// Part is what a nemesis lays hands on. Two that share a part do not go
// together.
type Part uint8

// The parts.
const (
	Processes Part = 1 << iota
	Network
	Disks
	Membership
	Replies
)

// Nemesis is one way to break a cluster.
type Nemesis struct {
	// ID is the number in the test plan, such as "N1"; several share one.
	ID string
	// Name names it in schedules, such as "kill-leader".
	Name string
	// Parts are what it lays hands on.
	Parts Part
	// Takes says how many of n nodes it takes out of the quorum at most. 0: it
	// hinders all a little and takes none.
	Takes func(n int) int
	// Broad: it hinders more nodes than it takes, so progress is not promised
	// under it.
	Broad bool
	// Cuts: a victim may live and hear nothing. Kills: processes end. Damages:
	// files are damaged or gone. Planned: an orderly step, nobody fails.
	Cuts, Kills, Damages, Planned bool
	// FiveNodes: it makes no sense with fewer. Lossy: it needs lossy disks.
	// Proxied: it needs proxies between the nodes, as it does more than cut.
	FiveNodes, Lossy, Proxied bool
	// Alone: nothing goes with it.
	Alone bool
	// Begin breaks. It returns how to undo that, even if the fault is over by
	// itself, and says what exactly was done. After Undo all nodes run and are
	// on their way to converge. An error says that it could not begin, and that
	// nothing is left of it.
	Begin func(ctx context.Context, e Env) (Active, error)
}

// Env is what a nemesis works with.
type Env struct {
	Cluster *process.Cluster
	Rng     *rand.Rand
	// For is how long the fault is going to last.
	For time.Duration
}

// Active is a fault that has begun.
type Active struct {
	// What was done, in words, and Nodes, to whom.
	What  string
	Nodes []string
	// Undo makes good. It returns an error when it cannot.
	Undo func(ctx context.Context) (Aftermath, error)
}

// Aftermath is what undoing showed.
type Aftermath struct {
	// Note says what came of the fault, such as "n2 had ended".
	Note string
	// Stopped is what a node said that would not run on damaged files.
	Stopped string
	// Problem is a promise of belfry that was broken; empty: none was seen.
	Problem string
}

// Minority reports whether a cluster of n nodes must go on working under it.
func (x Nemesis) Minority(n int) bool { return !x.Broad && x.Takes(n) <= (n-1)/2 }

// Kind is what of a cluster decides which nemeses can be played on it.
type Kind struct {
	Nodes int `json:"nodes"`
	// Lossy: its disks can lose data and fail.
	Lossy bool `json:"lossy"`
	// Namespaces: its nodes are in network namespaces, without proxies between them.
	Namespaces bool `json:"namespaces,omitempty"`
}

// KindOf is the kind of a cluster.
func KindOf(c *process.Cluster) Kind {
	return Kind{Nodes: len(c.Nodes()), Lossy: c.Lossy(), Namespaces: c.Namespaces()}
}

// String names it as in "3 nodes, lossy disks true, namespaces false".
func (k Kind) String() string {
	return fmt.Sprintf("%d nodes, lossy disks %t, namespaces %t", k.Nodes, k.Lossy, k.Namespaces)
}

// Possible reports whether it can be played on a cluster of that kind.
func (x Nemesis) Possible(k Kind) bool {
	return k.Nodes >= 3 && (k.Nodes >= 5 || !x.FiveNodes) && (k.Lossy || !x.Lossy) && (!k.Namespaces || !x.Proxied)
}

// Together reports whether a and b may be played at once on n nodes: they
// share no part, and if one of them takes a majority, the other takes none;
// else the majority stays.
func Together(a, b Nemesis, n int) bool {
	if a.Alone || b.Alone || a.Parts&b.Parts != 0 {
		return false
	}
	if a.Takes(n) == 0 || b.Takes(n) == 0 {
		return true
	}
	return a.Takes(n)+b.Takes(n) <= (n-1)/2
}

// None, one, a minority, a majority and all, for Nemesis.Takes.
func none(int) int       { return 0 }
func one(int) int        { return 1 }
func minority(n int) int { return (n - 1) / 2 }
func majority(n int) int { return n/2 + 1 }
func all(n int) int      { return n }

// All lists every nemesis.
func All() []Nemesis {
	return slices.Concat(processNemeses(), networkNemeses(), diskNemeses(), memberNemeses())
}

// ByName finds a nemesis.
func ByName(name string) (Nemesis, bool) {
	for _, x := range All() {
		if x.Name == name {
			return x, true
		}
	}
	return Nemesis{}, false
}
