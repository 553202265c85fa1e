package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Duration is a time.Duration that JSON has as text, such as "1.5s".
type Duration time.Duration

// MarshalText writes the form of time.Duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Step is one fault, or two at once.
type Step struct {
	// At is since the schedule began. A step begins later when the cluster took
	// long to recover from the one before.
	At Duration `json:"at"`
	// For is how long the fault lasts.
	For Duration `json:"for"`
	// Faults are names of nemeses.
	Faults []string `json:"faults"`
}

// Schedule is what is broken when. It is data: the same Schedule on the same
// kind of cluster does the same.
type Schedule struct {
	// Seed decides the choices that the nemeses make, such as which node.
	Seed uint64 `json:"seed"`
	Kind
	Total Duration `json:"total"` // with the quiet at the end
	Steps []Step   `json:"steps"`
}

// Limits says what Plan may choose from.
type Limits struct {
	Kind
	// Total is how long the schedule is. It ends quietly.
	Total time.Duration
	// Shortest and Longest bound one fault; 0: 2 s and 15 s.
	Shortest, Longest time.Duration
	// Only names the nemeses to choose from; empty: all that are possible.
	Only []string
	// Pairs is how many of 100 steps are two faults at once.
	Pairs int
}

// Plan draws a schedule. It is pure: one seed and the same limits give one
// schedule. Every nemesis there is to choose from comes once before any comes
// again. A quarter of the time is quiet.
func Plan(seed uint64, l Limits) (Schedule, error) {
	if l.Shortest == 0 {
		l.Shortest = 2 * time.Second
	}
	if l.Longest == 0 {
		l.Longest = max(l.Shortest, 15*time.Second)
	}
	from, err := l.choices()
	if err != nil {
		return Schedule{}, err
	}
	rng := rand.New(rand.NewPCG(seed, 0x706c616e)) //nolint:gosec // a schedule
	s := Schedule{Seed: seed, Kind: l.Kind, Total: Duration(l.Total)}
	var deck []Nemesis
	draw := func(ok func(Nemesis) bool) (Nemesis, bool) {
		i := slices.IndexFunc(deck, ok)
		if i < 0 {
			return Nemesis{}, false
		}
		x := deck[i]
		deck = slices.Delete(deck, i, i+1)
		return x, true
	}
	for at := quiet(l.Shortest); ; {
		if len(deck) == 0 {
			deck = slices.Clone(from)
			rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		d := l.Shortest + time.Duration(rng.Int64N(int64(l.Longest-l.Shortest)+1))
		d = d.Round(100 * time.Millisecond)
		if at+d+quiet(d) > l.Total {
			return s, nil
		}
		a, _ := draw(func(Nemesis) bool { return true })
		step := Step{At: Duration(at), For: Duration(d), Faults: []string{a.Name}}
		if rng.IntN(100) < l.Pairs {
			if b, ok := draw(func(b Nemesis) bool { return Together(a, b, l.Nodes) }); ok {
				step.Faults = append(step.Faults, b.Name)
			}
		}
		s.Steps = append(s.Steps, step)
		at += d + quiet(d)
	}
}

// quiet is the time without faults after one that lasted d: a third of it, so
// that a quarter of all time is quiet.
func quiet(d time.Duration) time.Duration { return d / 3 }

func (l Limits) choices() ([]Nemesis, error) {
	if l.Shortest <= 0 || l.Longest < l.Shortest {
		return nil, errors.New("fault: Limits need a shortest fault above 0 and a longest one not below it")
	}
	var out []Nemesis
	for _, x := range All() {
		if x.Possible(l.Kind) && (len(l.Only) == 0 || slices.Contains(l.Only, x.Name)) {
			out = append(out, x)
		}
	}
	for _, name := range l.Only {
		if _, ok := ByName(name); !ok {
			return nil, fmt.Errorf("fault: there is no nemesis %q", name)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("fault: no nemesis is possible on %s, of %v", l.Kind, l.Only)
	}
	return out, nil
}

// Validate says why s cannot be played, or nil. Plan makes none such; a file may.
func (s Schedule) Validate() error {
	for i, step := range s.Steps {
		if len(step.Faults) == 0 || len(step.Faults) > 2 || step.For <= 0 || step.At < 0 {
			return fmt.Errorf("fault: step %d: one or two faults, for longer than 0: %+v", i, step)
		}
		var xs []Nemesis
		for _, name := range step.Faults {
			x, ok := ByName(name)
			if !ok {
				return fmt.Errorf("fault: step %d: there is no nemesis %q", i, name)
			}
			if !x.Possible(s.Kind) {
				return fmt.Errorf("fault: step %d: %s is not possible on %s", i, name, s.Kind)
			}
			xs = append(xs, x)
		}
		if len(xs) == 2 && !Together(xs[0], xs[1], s.Nodes) {
			return fmt.Errorf("fault: step %d: %s and %s do not go together on %d nodes", i, xs[0].Name, xs[1].Name, s.Nodes)
		}
	}
	return nil
}

// ParseSchedule reads the JSON of a Schedule and validates it.
func ParseSchedule(b []byte) (Schedule, error) {
	var s Schedule
	if err := json.Unmarshal(b, &s); err != nil {
		return Schedule{}, fmt.Errorf("fault: schedule: %w", err)
	}
	return s, s.Validate()
}

// String has a line for every step.
func (s Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %s, %s\n", s.Seed, s.Kind, time.Duration(s.Total))
	for _, x := range s.Steps {
		fmt.Fprintf(&b, "%8s  %-8s %s\n", time.Duration(x.At).Round(100*time.Millisecond), time.Duration(x.For), strings.Join(x.Faults, " + "))
	}
	return b.String()
}
