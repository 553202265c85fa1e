package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "example.com/belfry"

// pkg is what "go list" says of one package of this module.
type pkg struct {
	ImportPath, Name, Dir, Doc, Export string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

// rel is the import path without the module.
func (p *pkg) rel() string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

var root = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
})

func rootDir(tb testing.TB) string {
	tb.Helper()
	dir, err := root()
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// list runs go list in the root of the module. What does not compile is the
// business of the build: -e goes on without it.
func list(tb testing.TB, args ...string) []*pkg {
	tb.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-json"}, args...)...)
	cmd.Dir = rootDir(tb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("go list %v: %v\n%s", args, err, stderr.Bytes())
	}
	var ps []*pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		p := &pkg{}
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			tb.Fatal(err)
		}
		ps = append(ps, p)
	}
}

// within reports whether path is dir or below it.
func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// rule says what a part of the module may import of the rest of the module.
type rule struct {
	// part is a folder; the most specific rule counts.
	part string
	// may are the folders of the module that it may import, beside its own
	// part.
	may []string
	// stdOnly forbids everything outside of the standard library and may.
	stdOnly bool
	// not are packages outside of the module that it must not import.
	not []string
}

// rules are the layers. Siblings (fsm, cluster, dispatch, api) share leaves
// and meet in cmd/internal/node.
var rules = []rule{
	{part: "fsm/model", stdOnly: true},
	{part: "fsm/seal", may: []string{"fsm/model"}},
	{part: "fsm", not: []string{"math/rand", "math/rand/v2", "crypto/rand"}},
	{part: "cluster", may: []string{"fsm/model"}},
	{part: "dispatch/event", stdOnly: true},
	{part: "dispatch/index", may: []string{"fsm/model", "dispatch/event"}, stdOnly: true},
	{part: "dispatch", may: []string{"fsm/model"}},
	{part: "api", may: []string{"fsm/model", "dispatch/event"}, not: []string{"go.etcd.io/bbolt", "github.com/hashicorp/raft"}},
	{part: "api/client", may: []string{"fsm/model", "dispatch/event"}},
	{part: "api/console", may: []string{"fsm/model", "dispatch/event", "api/client"}},
	{part: "config", may: []string{"fsm/model"}},
	{part: "chaos", may: []string{"api/client", "fsm/model"}},
	{part: "cmd/belfry", may: []string{"cmd/internal/cli", "cmd/internal/node"}},
	{part: "cmd/internal/node", may: []string{"fsm", "cluster", "dispatch", "api", "config"}},
	{part: "cmd/internal/cli", may: []string{"config", "fsm/model", "fsm/seal", "dispatch/event", "cmd/internal", "api/client"}},
	{part: "cmd/internal/demo", may: []string{"fsm/model", "dispatch/event/sample", "cmd/internal/rest", "cmd/internal/signature", "api/client"}},
	{part: "cmd/internal/rest", may: []string{"fsm/model"}},
	{part: "cmd/internal/signature", may: []string{"fsm/model"}, stdOnly: true},
	{part: "cmd/internal/gendocs", may: []string{"config"}},
	{part: "cmd/internal/layout"},
}

// nowhere lists what no package imports, tests included, and why.
var nowhere = map[string]string{
	"log":                         "use the injected hclog.Logger",
	"log/slog":                    "use the injected hclog.Logger (fsm/model implements slog.LogValuer and is the exception)",
	"math/rand":                   "use math/rand/v2",
	"github.com/pkg/errors":       "use errors and fmt",
	"github.com/stretchr/testify": "standard library plus go-cmp",
}

// ruleOf finds the most specific rule.
func ruleOf(rel string) (rule, bool) {
	var best rule
	for _, r := range rules {
		if within(rel, r.part) && len(r.part) > len(best.part) {
			best = r
		}
	}
	return best, best.part != ""
}

// violation says why a package that is rel must not import imp, or "".
func violation(rel, imp string) string {
	r, ok := ruleOf(rel)
	if !ok {
		return "belongs to no layer: give it a rule in cmd/internal/layout"
	}
	if slices.Contains(r.not, imp) {
		return "must not import " + imp
	}
	if !within(imp, module) {
		std := !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".")
		if r.stdOnly && !std {
			return "imports " + imp + ", it may import the standard library only"
		}
		return ""
	}
	target := strings.TrimPrefix(strings.TrimPrefix(imp, module), "/")
	if within(target, r.part) {
		return ""
	}
	if target == "cmd/internal/node" && r.part != "cmd/belfry" {
		return "imports the node, which only main may"
	}
	if slices.ContainsFunc(r.may, func(m string) bool { return within(target, m) }) {
		return ""
	}
	return "imports " + target + ", which is outside of its layer"
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./...") {
		for _, imp := range p.Imports {
			if msg := violation(p.rel(), imp); msg != "" {
				t.Errorf("%s %s", p.rel(), msg)
			}
		}
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for bad, why := range nowhere {
				if (imp == bad || within(imp, bad) && strings.Contains(bad, ".")) && p.rel() != "fsm/model" {
					t.Errorf("%s imports %s: %s", p.rel(), imp, why)
				}
			}
		}
	}
}

// The rules refuse what they are there to refuse.
func TestViolation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rel, imp string
		ok       bool
	}{
		{"fsm", "cluster", false},
		{"fsm", "fsm/model", true},
		{"fsm", "fsm/seal", true},
		{"fsm/model", "fsm", false},
		{"fsm/model", "github.com/google/uuid", false},
		{"fsm", "crypto/rand", false},
		{"fsm/seal", "crypto/rand", true},
		{"cluster", "fsm", false},
		{"cluster/transport", "fsm/model", true},
		{"cluster/transport", "dispatch/event", false},
		{"dispatch", "cluster", false},
		{"dispatch/outbox", "dispatch/event", true},
		{"dispatch/index", "dispatch/outbox", false},
		{"dispatch/webhook", "code.dny.dev/ssrf", true},
		{"dispatch/event", "fsm/model", false},
		{"api", "dispatch/event", true},
		{"api", "dispatch", false},
		{"api", "dispatch/webhook", false},
		{"api", "go.etcd.io/bbolt", false},
		{"api", "config", false},
		{"config", "fsm/model", true},
		{"config", "fsm", false},
		{"cmd/internal/node", "api", true},
		{"cmd/internal/node", "cmd/internal/cli", false},
		{"cmd/internal/cli", "cmd/internal/node", false},
		{"cmd/belfry", "cmd/internal/node", true},
		{"cmd/internal/demo", "fsm", false},
		{"util", "fmt", false},
	} {
		imp := tt.imp
		if _, known := ruleOf(imp); known {
			imp = module + "/" + imp
		}
		if msg := violation(tt.rel, imp); (msg == "") != tt.ok {
			t.Errorf("%s imports %s: %q, want ok=%t", tt.rel, tt.imp, msg, tt.ok)
		}
	}
}

func TestPackageNames(t *testing.T) {
	t.Parallel()
	banned := []string{"util", "utils", "common", "types", "mocks", "helper", "helpers", "misc", "pkg", "base", "shared", "interfaces"}
	for _, p := range list(t, "./...") {
		for part := range strings.SplitSeq(p.rel(), "/") {
			if slices.Contains(banned, part) {
				t.Errorf("%s: %q says nothing about what is in it", p.rel(), part)
			}
		}
		if p.Name != "main" && p.Name != filepath.Base(p.ImportPath) {
			t.Errorf("%s is called package %s", p.rel(), p.Name)
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.rel())
		}
	}
}
