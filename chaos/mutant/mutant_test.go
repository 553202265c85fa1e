package mutant

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// tree is where the sources are.
func tree(t *testing.T) Tree {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return Tree{Module: root, Go: strings.TrimSpace(string(out))}
}

// TestAll_fit: every edit fits the sources of today, and every mutant says what
// has to be known of it.
func TestAll_fit(t *testing.T) {
	t.Parallel()
	tr := tree(t)
	names := map[string]bool{}
	for _, m := range All() {
		if names[m.Name] || !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(m.Name) {
			t.Errorf("%q is no name, or another mutant's", m.Name)
		}
		names[m.Name] = true
		if m.Bug == "" || len(m.Edits) == 0 || len(m.Killers) == 0 {
			t.Errorf("%s has no bug, no edits or no killers: %+v", m.Name, m)
		}
		for _, k := range m.Killers {
			if _, err := regexp.Compile(k.Sign); err != nil || k.Sign == "" || (k.Test == nil) == (k.Run == nil) || k.Budget <= 0 || k.Layer == "" {
				t.Errorf("%s has a killer that is not whole: %+v, %v", m.Name, k, err)
			}
			if _, err := tr.Apply(append(m.Edits, k.Fault...)); err != nil {
				t.Errorf("%s: %v", m.Name, err)
			}
		}
	}
}

// TestAll_seeded: there are the bugs that chaos/DESIGN.md promises.
func TestAll_seeded(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"fsync-skipped", "ack-before-commit", "stale-leader-reads", "no-barrier", "lease-ignored", "delete-in-two-steps", "map-iteration",
		"retries-dropped", "ids-not-in-snapshot", "follower-applies", "snapshot-without-a-table", "redirect-followed", "attempts-not-replicated", "lease-by-wall-clock",
		"lease-always-valid",
	} {
		if _, ok := Find(name); !ok {
			t.Errorf("there is no mutant %s", name)
		}
	}
	if _, ok := Find("nothing"); ok {
		t.Error("a mutant was found that does not exist")
	}
}

// TestAll_found: every bug that FOUND.md tells of names the mutants that bring it
// back, which exist, or says that it has none; and each of them is named there.
func TestAll_found(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "FOUND.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, bugs, _ := strings.Cut(string(b), "\n## In belfry\n")
	bugs, _, _ = strings.Cut(bugs, "\n## ")
	named := map[string]bool{}
	entries := strings.Split(bugs, "\n### ")[1:]
	if len(entries) < 15 {
		t.Fatalf("FOUND.md has %d entries; the test does not understand it", len(entries))
	}
	for _, entry := range entries {
		title, rest, _ := strings.Cut(entry, "\n")
		i := strings.LastIndex(rest, "Mutant")
		if i < 0 {
			if !strings.Contains(rest, "No mutant: see `chaos/mutant/DESIGN.md`.") {
				t.Errorf("%q names no mutant", title)
			}
			continue
		}
		for _, name := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(rest[i:], -1) {
			named[name[1]] = true
			if _, ok := Find(name[1]); !ok {
				t.Errorf("%q names %s, which is no mutant", title, name[1])
			}
		}
	}
	for _, m := range slices.Concat(foundInCluster(), foundInDispatch(), foundInFiles()) {
		if !named[m.Name] {
			t.Errorf("FOUND.md does not name %s", m.Name)
		}
	}
}

// TestAll_compile: a mutant that does not compile is no mutant. All edits of
// the module are laid over it at once where they can be, which costs one build.
func TestAll_compile(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it builds belfry several times")
	}
	tr := tree(t)
	var rounds [][]Edit // of mutants that touch different files
next:
	for _, m := range All() {
		for i, edits := range rounds {
			if !share(edits, m.Edits) {
				rounds[i] = append(edits, m.Edits...)
				continue next
			}
		}
		rounds = append(rounds, append([]Edit(nil), m.Edits...))
	}
	for _, edits := range rounds {
		overlay, err := tr.Overlay(edits, t.TempDir())
		if err != nil {
			t.Error(err)
			continue
		}
		cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", os.DevNull, "./cmd/belfry")
		cmd.Dir = tr.Module
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func share(a, b []Edit) bool {
	for _, x := range a {
		for _, y := range b {
			if x.File == y.File {
				return true
			}
		}
	}
	return false
}

// module makes a module with one function and a test of it.
func module(t *testing.T) Tree {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":      "module x\n\ngo 1.26\n",
		"a/a.go":      "package a\n\nfunc Two() int { return 2 }\n",
		"a/a_test.go": "package a\n\nimport \"testing\"\n\nfunc TestTwo(t *testing.T) {\n\tif Two() != 2 {\n\t\tt.Error(\"it is not two\")\n\t}\n}\n",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Tree{Module: dir, Go: dir}
}

func TestTree_Apply(t *testing.T) {
	t.Parallel()
	tr := module(t)
	for _, tt := range []struct {
		name  string
		edits []Edit
		want  string // of a/a.go
		err   error  // ErrStale, or any other
	}{
		{"replaces", []Edit{{File: "a/a.go", Old: "return 2", New: "return 3"}}, "package a\n\nfunc Two() int { return 3 }\n", nil},
		{"one after the other", []Edit{{File: "a/a.go", Old: "return 2", New: "return 3"}, {File: "a/a.go", Old: "3", New: "4"}}, "package a\n\nfunc Two() int { return 4 }\n", nil},
		{"not there", []Edit{{File: "a/a.go", Old: "return 7", New: "return 3"}}, "", ErrStale},
		{"there twice", []Edit{{File: "a/a.go", Old: "n", New: "m"}}, "", ErrStale},
		{"new file that exists", []Edit{{File: "a/a.go", New: "package a"}}, "", ErrStale},
		{"no file", []Edit{{File: "a/b.go", Old: "x", New: "y"}}, "", os.ErrNotExist},
	} {
		got, err := tr.Apply(tt.edits)
		if !errors.Is(err, tt.err) || string(got["a/a.go"]) != tt.want {
			t.Errorf("%s: got %q, %v; want %q, %v", tt.name, got["a/a.go"], err, tt.want, tt.err)
		}
	}
	if _, err := tr.Apply([]Edit{{File: "a/a.go", Old: "return 2", New: "return ("}}); err == nil {
		t.Error("an edit that cannot be parsed was taken")
	}
}

func TestTree_Overlay(t *testing.T) {
	t.Parallel()
	tr := Tree{Module: "/m", Go: "/g"}
	dir := t.TempDir()
	path, err := tr.Overlay([]Edit{{File: "a/new.go", New: "package a"}, {File: GoRoot + "src/x/new.go", New: "package x"}}, dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Replace map[string]string }
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"/m/a/new.go": "package a", "/g/src/x/new.go": "package x"} {
		if text, err := os.ReadFile(got.Replace[name]); err != nil || string(text) != want {
			t.Errorf("%s: got %q, %v; want %q", name, text, err, want)
		}
	}
}

// TestHunter_Hunt tells the killed from the survivors and both from what says
// nothing.
func TestHunter_Hunt(t *testing.T) {
	t.Parallel()
	test := func(name, sign string) Killer {
		return Killer{Layer: Unit, Test: &Test{Package: "./a", Name: name}, Sign: sign, Budget: time.Minute}
	}
	wrong := []Edit{{File: "a/a.go", Old: "return 2", New: "return 3"}}
	fault := test("TestTwo", "not two")
	fault.Fault = wrong
	h := &Hunter{Tree: module(t), Dir: t.TempDir(), Chaos: func(_ context.Context, _, _ string, r Run) (string, error) {
		switch r.Nodes {
		case 1:
			return "", nil
		case 3:
			return "lost: one\n", nil
		}
		return "", errors.New("no such cluster")
	}}
	run := func(nodes int) Killer {
		return Killer{Layer: Chaos, Run: &Run{Nodes: nodes}, Sign: "^lost", Budget: time.Minute}
	}
	for _, tt := range []struct {
		name   string
		edits  []Edit
		killer Killer
		want   error
	}{
		{"killed", wrong, test("TestTwo", "it is not two"), nil},
		{"survives", []Edit{{File: "a/a.go", Old: "return 2", New: "return 1 + 1"}}, test("TestTwo", "it is not two"), ErrSurvived},
		{"fails in another way", wrong, test("TestTwo", "it is not three"), ErrBroken},
		{"does not compile", []Edit{{File: "a/a.go", Old: "return 2", New: "return two"}}, test("TestTwo", "."), ErrBroken},
		{"does not fit", []Edit{{File: "a/a.go", Old: "return 9", New: "return 2"}}, test("TestTwo", "."), ErrBroken},
		{"no such test", wrong, test("TestNothing", "."), ErrBroken},
		{"fails anyway", []Edit{{File: "a/b.go", New: "package a"}}, fault, ErrBroken},
		{"killed by a run", wrong, run(3), nil},
		{"survives a run", wrong, run(1), ErrSurvived},
		{"run without a result", wrong, run(2), ErrBroken},
	} {
		got := h.Hunt(t.Context(), Mutant{Name: strings.ReplaceAll(tt.name, " ", "-"), Edits: tt.edits}, tt.killer)
		if !errors.Is(got.Err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got.Err, tt.want)
		}
	}
}
