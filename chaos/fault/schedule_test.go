package fault

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/chaos/process"
)

func plan(t *testing.T, seed uint64, l Limits) Schedule {
	t.Helper()
	s, err := Plan(seed, l)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var limits = []Limits{
	{Kind: Kind{Nodes: 3}, Total: time.Hour, Pairs: 50},
	{Kind: Kind{Nodes: 3, Lossy: true}, Total: time.Hour, Pairs: 50},
	{Kind: Kind{Nodes: 5, Lossy: true}, Total: 2 * time.Hour, Pairs: 100},
	{Kind: Kind{Nodes: 5, Lossy: true, Namespaces: true}, Total: time.Hour, Pairs: 50},
	{Kind: Kind{Nodes: 5}, Total: time.Hour, Shortest: time.Second, Longest: time.Second},
	{Kind: Kind{Nodes: 3}, Total: 10 * time.Minute, Only: []string{"kill-all", "transfer"}, Pairs: 100},
}

func TestPlan_deterministic(t *testing.T) {
	t.Parallel()
	for _, l := range limits {
		a, b := plan(t, 7, l), plan(t, 7, l)
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("one seed, two schedules:\n%s", diff)
		}
		if c := plan(t, 8, l); cmp.Equal(a.Steps, c.Steps) {
			t.Errorf("two seeds, one schedule for %+v", l)
		}
	}
}

// What Plan makes is within the limits, can be played, and is quiet for a
// quarter of the time.
func TestPlan_limits(t *testing.T) {
	t.Parallel()
	for _, l := range limits {
		for seed := range uint64(50) {
			s := plan(t, seed, l)
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			var busy, last time.Duration
			pairs := 0
			for _, x := range s.Steps {
				if time.Duration(x.At) < last {
					t.Fatalf("a fault begins at %s, while one lasts until %s", time.Duration(x.At), last)
				}
				last = time.Duration(x.At + x.For)
				busy += time.Duration(x.For)
				pairs += len(x.Faults) - 1
			}
			if last > l.Total {
				t.Errorf("the last fault ends at %s of %s", last, l.Total)
			}
			if share := float64(busy) / float64(last); share < 0.73 || share > 0.77 {
				t.Errorf("faults last %.0f%% of the time", share*100)
			}
			if (pairs > 0) != (l.Pairs > 0) {
				t.Errorf("%d pairs with Pairs %d", pairs, l.Pairs)
			}
		}
	}
}

// Every nemesis that is possible comes before any comes again.
func TestPlan_all(t *testing.T) {
	t.Parallel()
	s := plan(t, 1, Limits{Kind: Kind{Nodes: 5, Lossy: true}, Total: 2 * time.Hour})
	seen := map[string]bool{}
	if len(s.Steps) < len(All()) {
		t.Fatalf("%d steps for %d nemeses", len(s.Steps), len(All()))
	}
	for _, x := range s.Steps[:len(All())] {
		seen[x.Faults[0]] = true
	}
	for _, x := range All() {
		if !seen[x.Name] {
			t.Errorf("%s did not come", x.Name)
		}
	}
	for _, x := range plan(t, 1, Limits{Kind: Kind{Nodes: 3}, Total: 2 * time.Hour}).Steps {
		n, _ := ByName(x.Faults[0])
		if n.Lossy || n.FiveNodes {
			t.Errorf("%s on three nodes with plain disks", n.Name)
		}
	}
	for _, x := range plan(t, 1, Limits{Kind: Kind{Nodes: 5, Lossy: true, Namespaces: true}, Total: 2 * time.Hour}).Steps {
		if n, _ := ByName(x.Faults[0]); n.Proxied {
			t.Errorf("%s between network namespaces", n.Name)
		}
	}
}

func TestPlan_refuses(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]Limits{
		"one node":        {Kind: Kind{Nodes: 1}, Total: time.Hour},
		"unknown nemesis": {Kind: Kind{Nodes: 3}, Total: time.Hour, Only: []string{"kill-one", "kil-one"}},
		"none possible":   {Kind: Kind{Nodes: 3}, Total: time.Hour, Only: []string{"ring", "power-all"}},
		"needs proxies":   {Kind: Kind{Nodes: 3, Namespaces: true}, Total: time.Hour, Only: []string{"drip", "resets", "slow-all", "slow-leader"}},
		"longest below":   {Kind: Kind{Nodes: 3}, Total: time.Hour, Shortest: time.Minute, Longest: time.Second},
	} {
		if s, err := Plan(1, l); err == nil {
			t.Errorf("%s: planned %s", name, s)
		}
	}
}

func TestSchedule_json(t *testing.T) {
	t.Parallel()
	s := plan(t, 3, Limits{Kind: Kind{Nodes: 3}, Total: 5 * time.Minute, Pairs: 50})
	s.Kind = Kind{Nodes: 3, Namespaces: true} // as a kind that has all of it
	s.Steps = slices.DeleteFunc(s.Steps, func(x Step) bool {
		return slices.ContainsFunc(x.Faults, func(name string) bool { n, _ := ByName(name); return n.Proxied })
	})
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseSchedule(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, back); diff != "" {
		t.Errorf("after JSON:\n%s", diff)
	}
	if got := strings.Count(s.String(), "\n"); got != len(s.Steps)+1 {
		t.Errorf("%d lines for %d steps:\n%s", got, len(s.Steps), s)
	}
}

func TestParseSchedule_refuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no JSON":           `{`,
		"no duration":       `{"nodes":3,"steps":[{"at":"1s","for":"1 s","faults":["kill-one"]}]}`,
		"nothing":           `{"nodes":3,"steps":[{"at":"1s","for":"1s"}]}`,
		"no time":           `{"nodes":3,"steps":[{"at":"1s","for":"0s","faults":["kill-one"]}]}`,
		"unknown":           `{"nodes":3,"steps":[{"at":"1s","for":"1s","faults":["nothing"]}]}`,
		"five nodes":        `{"nodes":3,"steps":[{"at":"1s","for":"1s","faults":["ring"]}]}`,
		"needs proxies":     `{"nodes":3,"namespaces":true,"steps":[{"at":"1s","for":"1s","faults":["drip"]}]}`,
		"two minorities":    `{"nodes":3,"steps":[{"at":"1s","for":"1s","faults":["kill-one","isolate-one"]}]}`,
		"two of processes":  `{"nodes":5,"steps":[{"at":"1s","for":"1s","faults":["kill-one","pause-one"]}]}`,
		"majority and more": `{"nodes":5,"steps":[{"at":"1s","for":"1s","faults":["kill-majority","isolate-one"]}]}`,
		"not alone":         `{"nodes":5,"steps":[{"at":"1s","for":"1s","faults":["wipe","resets"]}]}`,
		"three":             `{"nodes":5,"steps":[{"at":"1s","for":"1s","faults":["kill-one","resets","transfer"]}]}`,
	} {
		if s, err := ParseSchedule([]byte(text)); err == nil {
			t.Errorf("%s: took %s", name, s)
		}
	}
	if _, err := ParseSchedule([]byte(`{"nodes":5,"steps":[{"at":"1s","for":"1s","faults":["kill-one","isolate-one"]}]}`)); err != nil {
		t.Errorf("two single nodes of five: %v", err)
	}
}

// All pairs that go together leave a majority, or one takes it alone.
func TestTogether(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 5} {
		for _, a := range All() {
			for _, b := range All() {
				if Together(a, b, n) != Together(b, a, n) {
					t.Errorf("%s and %s: the order counts", a.Name, b.Name)
				}
				lost := a.Takes(n) + b.Takes(n)
				if Together(a, b, n) && lost > (n-1)/2 && lost != max(a.Takes(n), b.Takes(n)) {
					t.Errorf("%s and %s take %d of %d", a.Name, b.Name, lost, n)
				}
			}
		}
	}
}

func TestAll_names(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, x := range All() {
		if seen[x.Name] || x.Name == "" || x.ID == "" || x.Parts == 0 || x.Takes == nil || x.Begin == nil {
			t.Errorf("nemesis %q of %q is not whole or there twice", x.Name, x.ID)
		}
		seen[x.Name] = true
	}
	for _, id := range []string{"N1", "N2", "N3", "N4", "N5", "N6", "N7", "N8", "N9", "N10", "N11", "N12", "N15", "N19"} {
		if !slices.ContainsFunc(All(), func(x Nemesis) bool { return x.ID == id }) {
			t.Errorf("no nemesis for %s", id)
		}
	}
}

// On the ring every node sees itself and two others, and no two the same.
func TestRingCuts(t *testing.T) {
	t.Parallel()
	nodes := []string{"a", "b", "c", "d", "e"}
	cuts := map[process.Path]bool{}
	for _, p := range ringCuts(nodes) {
		cuts[p] = true
	}
	want := map[string]string{"a": "abe", "b": "abc", "c": "bcd", "d": "cde", "e": "ade"}
	for _, x := range nodes {
		sees := ""
		for _, y := range nodes {
			if !cuts[process.Path{From: x, To: y}] && !cuts[process.Path{From: y, To: x}] {
				sees += y
			}
		}
		if sees != want[x] {
			t.Errorf("%s sees %s, want %s", x, sees, want[x])
		}
	}
}
