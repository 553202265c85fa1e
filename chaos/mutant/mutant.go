// Package mutant holds bugs that belfry does not have. Each is laid over the
// sources at build time and must be found by the checkers: a checker that lets
// one live has a hole. See DESIGN.md.
package mutant

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Mutant is one seeded bug.
type Mutant struct {
	// Name is in lower case with hyphens.
	Name string
	// Bug says in one sentence what this belfry does wrong.
	Bug string
	// Instead says what RELIABILITY.md names where belfry has no such place and
	// this is the nearest to it; mostly it is empty.
	Instead string
	Edits   []Edit
	// Killers are what must find it. The first is the cheapest.
	Killers []Killer
}

// Edit replaces Old, which must be in the file exactly once, by New. When Old
// is empty the file must not exist, and New is its content.
type Edit struct {
	// File is from the root of the module, with slashes, or begins with GoRoot.
	File     string
	Old, New string
}

// GoRoot begins the names of files of the standard library.
const GoRoot = "$GOROOT/"

// Killer is a check that must fail with the mutant and pass without it.
// Exactly one of Test and Run is set.
type Killer struct {
	// Layer is what kind of check it is, for the table.
	Layer Layer
	Test  *Test
	Run   *Run
	// Fault is laid over the sources as well, also for the check without the
	// mutant: something that goes wrong around belfry and must not matter.
	Fault []Edit
	// Sign is a regular expression that the output must match: a mutant that
	// ends in another way than expected is not found but broken.
	Sign string
	// Budget bounds the check, building included.
	Budget time.Duration
}

// Layer is a kind of check.
type Layer string

// The layers, from the cheapest.
const (
	Unit       Layer = "unit test"  // of the package: it looks at one step
	Model      Layer = "model test" // random operations against a reference
	Simulation Layer = "simulation" // a whole cluster in virtual time, with a history
	Chaos      Layer = "chaos run"  // real processes, with a history
)

// Test is a run of "go test".
type Test struct {
	Package string // such as "./cluster"
	Name    string // for -run
}

// Run is a run of "chaos run".
type Run struct {
	Nodes     int
	Nemeses   []string
	Workloads []string
	Duration  time.Duration // of the faults
	// Rate is how many operations per second each workload makes; 0: as usual.
	Rate float64
}

// ErrStale is wrapped by the errors about edits that do not fit the sources
// any more.
var ErrStale = errors.New("the edit does not fit the sources")

// Find gives the mutant with the name.
func Find(name string) (Mutant, bool) {
	for _, m := range All() {
		if m.Name == name {
			return m, true
		}
	}
	return Mutant{}, false
}

// Tree is where sources are: the root of the module and that of Go.
type Tree struct{ Module, Go string }

func (t Tree) path(name string) string {
	if rest, ok := strings.CutPrefix(name, GoRoot); ok {
		return filepath.Join(t.Go, filepath.FromSlash(rest))
	}
	return filepath.Join(t.Module, filepath.FromSlash(name))
}

// Apply gives the files that the edits change, by their names. It parses them,
// and it fails, with ErrStale, when an edit does not fit exactly once.
func (t Tree) Apply(edits []Edit) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, e := range edits {
		src, err := t.apply(e, out)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.File, err)
		}
		out[e.File] = src
	}
	for name, src := range out {
		if _, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t Tree) apply(e Edit, changed map[string][]byte) ([]byte, error) {
	src, known := changed[e.File]
	if !known {
		var err error
		src, err = os.ReadFile(t.path(e.File))
		switch {
		case e.Old == "" && errors.Is(err, fs.ErrNotExist):
			return []byte(e.New), nil
		case err != nil:
			return nil, err
		}
	}
	if e.Old == "" {
		return nil, fmt.Errorf("%w: the file exists", ErrStale)
	}
	if n := strings.Count(string(src), e.Old); n != 1 {
		return nil, fmt.Errorf("%w: what it replaces is there %d times:\n%s", ErrStale, n, e.Old)
	}
	return []byte(strings.Replace(string(src), e.Old, e.New, 1)), nil
}

// Overlay writes the changed files into dir, which must exist, and returns the
// path of the file that "go build -overlay" takes. Both roots must be absolute.
func (t Tree) Overlay(edits []Edit, dir string) (string, error) {
	sources, err := t.Apply(edits)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for name, src := range sources {
		path := filepath.Join(dir, strings.NewReplacer("/", "__", "$", "").Replace(name))
		if err := os.WriteFile(path, src, 0o600); err != nil {
			return "", err
		}
		replace[t.path(name)] = path
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o600)
}
