// Package report makes a page that a person can read, and a file that a program
// can, of a chaos run: what was done, what came of it, and what the checkers say.
// See DESIGN.md.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"example.com/belfry/chaos/check"
)

// The files that Write makes in the directory of a run, and WriteIndex above it.
const (
	JSONFile      = "report.json"
	HTMLFile      = "report.html"
	ArtifactsDir  = "artifacts"
	IndexJSONFile = "index.json"
	IndexHTMLFile = "index.html"
)

// Orderly names the verdict on what the nemeses saw themselves, beside those of
// chaos/check.
const Orderly = "orderly"

// Result is what a run says of belfry.
type Result string

// The results.
const (
	Passed Result = "passed"
	Failed Result = "failed"
	// Void: the suite itself failed, so that nothing can be said. It is no pass.
	Void Result = "void"
)

// Run is a chaos run.
type Run struct {
	Name    string `json:"name"`
	Version string `json:"version"` // of belfry, as it calls itself
	Seed    uint64 `json:"seed"`
	Nodes   int    `json:"nodes"`
	// Network is what is between the nodes: "proxies" or "network namespaces".
	Network string `json:"network,omitempty"`
	// Workloads and Nemeses are those that took part, by their names.
	Workloads []string `json:"workloads"`
	Nemeses   []string `json:"nemeses"`
	// Options are flags of the nodes that are not the default.
	Options []string `json:"options,omitempty"`
	// Schedule is what was to be broken when, in the form of the player.
	Schedule string `json:"schedule,omitempty"`
	// Again is a command line that makes the run once more.
	Again string    `json:"again,omitempty"`
	Begin time.Time `json:"begin"`
	// Took is the time from the start of the first node to the last read, ns.
	Took time.Duration `json:"took"`
	// VoidBecause says what went wrong in the suite; empty: nothing.
	VoidBecause string `json:"voidBecause,omitempty"`
	// Untimed: what the checks of time found does not count.
	Untimed  bool            `json:"untimed,omitempty"`
	Summary  Summary         `json:"summary"`
	Verdicts []check.Verdict `json:"verdicts"`
	// Crashes are the last words of processes that ended unasked.
	Crashes []Crash `json:"crashes,omitempty"`
	// Files are links, relative to the report: histories and logs of nodes.
	Files []string `json:"files,omitempty"`
}

// Crash is a process that ended though nobody asked it to.
type Crash struct {
	Node   string `json:"node"`
	At     int64  `json:"at"` // ns since the run began
	Status string `json:"status"`
	Output string `json:"output"`
}

// Result is Void before all else, Failed with any violation or crash, and Void
// too when no checker had anything to look at.
func (r *Run) Result() Result {
	if r.VoidBecause != "" {
		return Void
	}
	checked := 0
	for i := range r.Verdicts {
		if !r.Verdicts[i].Passed() {
			return Failed
		}
		checked += r.Verdicts[i].Checked
	}
	switch {
	case len(r.Crashes) > 0:
		return Failed
	case checked == 0:
		return Void
	}
	return Passed
}

// Violations is how many there are in all.
func (r *Run) Violations() int {
	n := 0
	for i := range r.Verdicts {
		n += r.Verdicts[i].Total
	}
	return n
}

// Write makes report.json, report.html and the artifacts of the verdicts in
// dir, which must exist. What is there from an earlier report is replaced.
func (r *Run) Write(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, ArtifactsDir)); err != nil {
		return fmt.Errorf("remove old artifacts: %w", err)
	}
	for i := range r.Verdicts {
		for name, b := range r.Verdicts[i].Artifacts {
			if err := writeArtifact(dir, artifactName(r.Verdicts[i].Name, name), b); err != nil {
				return err
			}
		}
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	page, err := r.page()
	if err != nil {
		return err
	}
	return errors.Join(write(dir, JSONFile, append(b, '\n')), write(dir, HTMLFile, page))
}

// Read reads the report.json of a run. Artifacts are not in it.
func Read(dir string) (*Run, error) {
	b, err := os.ReadFile(filepath.Join(dir, JSONFile)) //nolint:gosec // the caller's directory
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	r := new(Run)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read report in %s: %w", dir, err)
	}
	return r, nil
}

// artifactName makes one flat and harmless file name.
func artifactName(check, name string) string {
	b := []byte(check + "-" + name)
	for i, c := range b {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && (c != '.' || i == 0 || b[i-1] == '.') {
			b[i] = '_'
		}
	}
	return string(b)
}

func writeArtifact(dir, name string, b []byte) error {
	dir = filepath.Join(dir, ArtifactsDir)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("write artifact: %w", err)
	}
	return write(dir, name, b)
}

func write(dir, name string, b []byte) error {
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
