package partition

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"example.com/belfry/fsm/model"
)

// TestOfIsFrozen: deliveries are stored with their partition, so the values of
// the first release stand for ever.
func TestOfIsFrozen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		account, destination string
		want                 int
	}{
		{"", "", 19},
		{"default", "p:orders", 51},
		{"default", "p:a", 40},
		{"acme", "u:https://example.com/hook", 47},
		{"acme", "p:ünïcode", 0},
		{"a", "bc", 33},
		{"ab", "c", 36},
	} {
		if got := Of(c.account, c.destination); got != c.want {
			t.Errorf("Of(%q, %q) = %d, want %d", c.account, c.destination, got, c.want)
		}
	}
}

func TestOfSpreads(t *testing.T) {
	t.Parallel()
	var n [model.Partitions]int
	const each = 1000
	for i := range model.Partitions * each {
		n[Of("default", "p:profile-"+strconv.Itoa(i))]++
	}
	for p, have := range n {
		if have < each*8/10 || have > each*12/10 {
			t.Errorf("partition %d has %d of %d destinations", p, have, model.Partitions*each)
		}
	}
}

func live(ids ...string) []Member {
	var ms []Member
	for _, id := range ids {
		ms = append(ms, Member{NodeID: id, Live: true})
	}
	return ms
}

func counts(t model.PartitionTable) map[string]int {
	n := map[string]int{}
	for _, a := range t.Slots {
		n[a.Owner]++
	}
	return n
}

func TestAssignExamples(t *testing.T) {
	t.Parallel()
	three := Assign(model.PartitionTable{}, live("n1", "n2", "n3"))
	silent := []Member{{NodeID: "n1"}, {NodeID: "n2", Live: true}, {NodeID: "n3", Live: true}}
	expired := slices.Clone(silent)
	expired[0].LeaseExpired = true
	draining := live("n1", "n2", "n3")
	draining[0].Draining = true
	allDraining := live("n1", "n2", "n3")
	for i := range allDraining {
		allDraining[i].Draining = true
	}
	for _, c := range []struct {
		name    string
		prev    model.PartitionTable
		members []Member
		want    map[string]int
		moved   int
	}{
		{"nobody", model.PartitionTable{}, nil, map[string]int{"": 64}, 0},
		{"first node", model.PartitionTable{}, live("n1"), map[string]int{"n1": 64}, 64},
		{"three nodes", model.PartitionTable{}, live("n3", "n1", "n2"), map[string]int{"n1": 22, "n2": 21, "n3": 21}, 64},
		{"nothing new", three, live("n1", "n2", "n3"), map[string]int{"n1": 22, "n2": 21, "n3": 21}, 0},
		{"a fourth", three, live("n1", "n2", "n3", "n4"), map[string]int{"n1": 16, "n2": 16, "n3": 16, "n4": 16}, 16},
		{"silent", three, silent, map[string]int{"n1": 22, "n2": 21, "n3": 21}, 0},
		{"lease over", three, expired, map[string]int{"n2": 32, "n3": 32}, 22},
		{"removed", three, live("n2", "n3"), map[string]int{"n2": 32, "n3": 32}, 22},
		{"draining", three, draining, map[string]int{"n2": 32, "n3": 32}, 22},
		{"all draining", three, allDraining, map[string]int{"n1": 22, "n2": 21, "n3": 21}, 0},
		{"silent and a fourth", three, append(slices.Clone(silent), live("n4")...), map[string]int{"n1": 22, "n2": 14, "n3": 14, "n4": 14}, 14},
		{"named twice", three, append(live("n1", "n2", "n3"), live("n2")...), map[string]int{"n1": 22, "n2": 21, "n3": 21}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			next := Assign(c.prev, c.members)
			moved := 0
			for i := range next.Slots {
				if next.Slots[i] != c.prev.Slots[i] {
					moved++
				}
			}
			if got := counts(next); fmt.Sprint(got) != fmt.Sprint(c.want) || moved != c.moved {
				t.Errorf("owners %v with %d moved, want %v with %d", got, moved, c.want, c.moved)
			}
			if rises := next.Version - c.prev.Version; rises > 1 || (rises == 1) != (moved > 0) {
				t.Errorf("the version rose by %d with %d moved", rises, moved)
			}
		})
	}
}

// TestAssignProperties walks through random histories of a cluster. INV
// partition-1 to partition-4.
func TestAssignProperties(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		var prev model.PartitionTable
		var members []Member
		for step := range 60 {
			if step%5 == 0 {
				members = nil
				for i := range 1 + r.IntN(7) {
					members = append(members, Member{NodeID: "n" + strconv.Itoa(i)})
				}
			}
			for i := range members {
				m := &members[i]
				m.Live, m.Draining = r.IntN(4) > 0, r.IntN(6) == 0
				m.LeaseExpired = !m.Live && r.IntN(2) == 0
			}
			next := Assign(prev, members)
			check(t, prev, next, members)
			r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
			if again := Assign(prev, members); again != next {
				t.Fatalf("seed %d: the order of the members decides", seed)
			}
			if again := Assign(next, members); again != next {
				t.Fatalf("seed %d: assigning again changes something", seed)
			}
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
			prev = next
		}
	}
}

func check(t *testing.T, prev, next model.PartitionTable, members []Member) {
	t.Helper()
	byID := map[string]Member{}
	eligible := 0
	for _, m := range members {
		byID[m.NodeID] = m
		if m.Live && !m.Draining {
			eligible++
		}
	}
	if eligible == 0 {
		if next != prev {
			t.Error("something moved although nobody can take it")
		}
		return
	}
	moved, forced, held := 0, 0, 0
	have := map[string]int{} // of eligible nodes, before
	for i, a := range prev.Slots {
		b := next.Slots[i]
		m, known := byID[a.Owner]
		switch {
		case known && !m.Live && !m.LeaseExpired:
			held++
			if a != b {
				t.Errorf("slot %d was taken from %s, which may hold a lease", i, a.Owner)
			}
			continue
		case known && m.Live && !m.Draining:
			have[a.Owner]++
		default:
			forced++
		}
		if taker := byID[b.Owner]; !taker.Live || taker.Draining {
			t.Errorf("slot %d is with %q, which cannot own it", i, b.Owner)
		}
		switch {
		case a.Owner == b.Owner && a.Epoch != b.Epoch:
			t.Errorf("slot %d: the epoch rose without a new owner", i)
		case a.Owner != b.Owner && b.Epoch != a.Epoch+1:
			t.Errorf("slot %d: epoch %d after %d with a new owner", i, b.Epoch, a.Epoch)
		}
		if a != b {
			moved++
		}
	}
	low, odd := (model.Partitions-held)/eligible, (model.Partitions-held)%eligible
	least, above := forced, 0
	now := counts(next)
	for id, m := range byID {
		if !m.Live || m.Draining {
			continue
		}
		if now[id] < low || now[id] > low+min(odd, 1) {
			t.Errorf("%s owns %d, want %d or one more", id, now[id], low)
		}
		if have[id] > low {
			least += have[id] - low
			above++
		}
	}
	if least -= min(odd, above); moved != least {
		t.Errorf("%d slots moved, %d would do", moved, least)
	}
	if (next.Version != prev.Version) != (moved > 0) || next.Version > prev.Version+1 {
		t.Errorf("version %d after %d with %d moved", next.Version, prev.Version, moved)
	}
}
