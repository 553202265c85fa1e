package check

import (
	"cmp"
	"fmt"
	"slices"
)

// MaxViolations is how many violations a Verdict keeps; the rest is counted.
const MaxViolations = 50

// Violation is one thing that must not have happened.
type Violation struct {
	// What says what happened, with the ids to find it in the history.
	What string `json:"what"`
	// At is when it showed, in ns since the run began.
	At int64 `json:"at"`
	// Node is the node it is laid to, if that is known.
	Node string `json:"node,omitempty"`
	// Key is the object, event or destination it concerns.
	Key string `json:"key,omitempty"`
}

// Verdict is what one checker says of one history.
type Verdict struct {
	Name      string `json:"name"`      // as in chaos/DESIGN.md: "lost"
	Invariant string `json:"invariant"` // "I1"
	// Checked is how many things were looked at. With 0 the history holds
	// nothing that the checker could judge, and the verdict says nothing.
	Checked int `json:"checked"`
	// Violations are the first MaxViolations; Total is how many there were.
	Violations []Violation `json:"violations,omitempty"`
	Total      int         `json:"total"`
	// Unknown is how many things could not be decided.
	Unknown int                `json:"unknown"`
	Notes   []string           `json:"notes,omitempty"`
	Figures map[string]float64 `json:"figures,omitempty"`
	// Artifacts are files for people, by their names: drawings of histories
	// that are not linearizable.
	Artifacts map[string][]byte `json:"-"`
}

// Passed reports whether nothing is wrong. A Verdict that checked nothing
// passes too: whether that is enough is for the caller to say.
func (v *Verdict) Passed() bool { return v.Total == 0 }

// violate notes a violation. The earliest are kept, in order of time.
func (v *Verdict) violate(x Violation) {
	v.Total++
	i, _ := slices.BinarySearchFunc(v.Violations, x, func(a, b Violation) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.What, b.What)) })
	if i < MaxViolations {
		v.Violations = slices.Insert(v.Violations, i, x)
		v.Violations = v.Violations[:min(len(v.Violations), MaxViolations)]
	}
}

// note adds a remark.
func (v *Verdict) note(format string, args ...any) {
	v.Notes = append(v.Notes, fmt.Sprintf(format, args...))
}

// figure sets a figure.
func (v *Verdict) figure(name string, x float64) {
	if v.Figures == nil {
		v.Figures = map[string]float64{}
	}
	v.Figures[name] = x
}

// artifact adds a file, unless there are many already.
func (v *Verdict) artifact(name string, b []byte) {
	if v.Artifacts == nil {
		v.Artifacts = map[string][]byte{}
	}
	if len(v.Artifacts) < MaxViolations {
		v.Artifacts[name] = b
	}
}

// quantile is the q-quantile (0 to 1) of xs by nearest rank; it sorts xs. With
// none it is 0.
func quantile[T cmp.Ordered](xs []T, q float64) T {
	if len(xs) == 0 {
		var zero T
		return zero
	}
	slices.Sort(xs)
	return xs[min(len(xs)-1, max(0, int(q*float64(len(xs)))))]
}
