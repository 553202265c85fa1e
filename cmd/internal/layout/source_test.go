package layout

import (
	"bytes"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// parsed is one source file.
type parsed struct {
	path string // from the root
	test bool
	file *ast.File
	fset *token.FileSet
}

// sources parses every file of the module that the default build sees.
func sources(tb testing.TB) []parsed {
	tb.Helper()
	dir := rootDir(tb)
	var out []parsed
	for _, p := range list(tb, "./...") {
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			path := filepath.Join(p.Dir, name)
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
			if err != nil {
				tb.Fatal(err)
			}
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				tb.Fatal(err)
			}
			out = append(out, parsed{filepath.ToSlash(rel), strings.HasSuffix(name, "_test.go"), f, fset})
		}
	}
	return out
}

// uses calls found for every pkg.Name in the file, where pkg is imported
// under its own name.
func (p parsed) uses(importPath string, found func(name string)) {
	local := ""
	for _, imp := range p.file.Imports {
		if strings.Trim(imp.Path.Value, `"`) == importPath {
			local = importPath[strings.LastIndexByte(importPath, '/')+1:]
			if imp.Name != nil {
				local = imp.Name.Name
			}
		}
	}
	if local == "" {
		return
	}
	ast.Inspect(p.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && id.Name == local {
				found(sel.Sel.Name)
			}
		}
		return true
	})
}

// Apply must be deterministic: the state machine reads no clock. The Writer
// stamps times, through its Options.
func TestSource_noClockInFSM(t *testing.T) {
	t.Parallel()
	clocks := []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep"}
	files := 0
	for _, p := range sources(t) {
		if p.test || filepath.ToSlash(filepath.Dir(p.path)) != "fsm" {
			continue
		}
		files++
		p.uses("time", func(name string) {
			if slices.Contains(clocks, name) {
				t.Errorf("%s: time.%s in the state machine: the proposer stamps the time into the command", p.path, name)
			}
		})
	}
	if files == 0 {
		t.Error("no file of fsm was looked at")
	}
}

// Outgoing connections are made in few places: to webhooks in dispatch/webhook
// behind the guard, to peers in cluster/transport, to nodes by the command
// line and by the chaos suite.
func TestSource_whoDials(t *testing.T) {
	t.Parallel()
	allowed := []string{"dispatch/webhook", "cluster/transport", "cluster/clustertest", "cmd/internal/rest", "api/client", "chaos"}
	dialers := map[string][]string{
		"net/http":   {"Client", "Transport", "DefaultClient", "DefaultTransport", "Get", "Post", "PostForm", "Head"},
		"net":        {"Dialer", "Dial", "DialTimeout", "DialTCP", "DialUDP", "DialIP", "Resolver", "LookupHost", "LookupIP"},
		"crypto/tls": {"Dial", "DialWithDialer", "Dialer"},
	}
	for _, p := range sources(t) {
		if p.test || slices.ContainsFunc(allowed, func(d string) bool { return within(p.path, d) }) {
			continue
		}
		for path, names := range dialers {
			p.uses(path, func(name string) {
				if slices.Contains(names, name) {
					t.Errorf("%s uses %s.%s: outgoing connections belong to %v", p.path, path, name, allowed)
				}
			})
		}
	}
}

// Only main exits.
func TestSource_whoExits(t *testing.T) {
	t.Parallel()
	for _, p := range sources(t) {
		if p.test || p.file.Name.Name == "main" {
			continue
		}
		p.uses("os", func(name string) {
			if name == "Exit" {
				t.Errorf("%s calls os.Exit: return an error", p.path)
			}
		})
	}
}

// A file that nobody can read in one go is split, and a package that is large
// enough to need an explanation has one.
func TestSource_sizes(t *testing.T) {
	t.Parallel()
	const maxLines, explained = 800, 500
	lines := map[string]int{}
	for _, p := range sources(t) {
		n := p.fset.File(p.file.Pos()).LineCount()
		if n > maxLines {
			t.Errorf("%s has %d lines, at most %d", p.path, n, maxLines)
		}
		if !p.test {
			lines[filepath.Dir(p.path)] += n
		}
	}
	for dir, n := range lines {
		if _, err := os.Stat(filepath.Join(rootDir(t), dir, "DESIGN.md")); err != nil && n > explained {
			t.Errorf("%s has %d lines and no DESIGN.md", dir, n)
		}
	}
}

// Logging calls take keys and values in pairs. The check knows the types, so
// that it looks at hclog only and at nothing that just has the same name.
func TestSource_hclogPairs(t *testing.T) {
	t.Parallel()
	exports := map[string]string{}
	for _, p := range list(t, "-deps", "-export", "./...") {
		exports[p.ImportPath] = p.Export
	}
	calls := 0
	for _, p := range list(t, "./...") {
		if !slices.Contains(p.Imports, hclogPath) && !slices.Contains(p.Deps, hclogPath) || len(p.GoFiles) == 0 {
			continue
		}
		var files []*ast.File
		fset := token.NewFileSet()
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		n, faults := oddPairs(t, fset, p.ImportPath, files, exports)
		calls += n
		for _, f := range faults {
			t.Error(f)
		}
	}
	if calls == 0 {
		t.Error("no logging call was looked at")
	}
}

const hclogPath = "github.com/hashicorp/go-hclog"

// oddPairs counts the logging calls of a package and names those whose
// arguments are no pairs, or whose keys are no text.
func oddPairs(tb testing.TB, fset *token.FileSet, path string, files []*ast.File, exports map[string]string) (calls int, faults []string) {
	tb.Helper()
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
	if _, err := conf.Check(path, fset, files, info); err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	// Arguments before the pairs.
	first := map[string]int{"Trace": 1, "Debug": 1, "Info": 1, "Warn": 1, "Error": 1, "Log": 2, "With": 0}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || call.Ellipsis.IsValid() {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || info.Selections[sel] == nil {
				return true
			}
			skip, ok := first[sel.Sel.Name]
			if !ok || !isHclog(info.Selections[sel].Obj()) || len(call.Args) < skip {
				return true
			}
			calls++
			pairs := call.Args[skip:]
			if len(pairs)%2 != 0 {
				faults = append(faults, fset.Position(call.Pos()).String()+": the keys and values of "+sel.Sel.Name+" are no pairs")
			}
			for i := 0; i < len(pairs); i += 2 {
				if b, ok := info.Types[pairs[i]].Type.Underlying().(*types.Basic); !ok || b.Info()&types.IsString == 0 {
					faults = append(faults, fset.Position(pairs[i].Pos()).String()+": a key of "+sel.Sel.Name+" is no text")
				}
			}
			return true
		})
	}
	return calls, faults
}

func isHclog(o types.Object) bool { return o.Pkg() != nil && o.Pkg().Path() == hclogPath }

// The check finds what it is there to find.
func TestOddPairs(t *testing.T) {
	t.Parallel()
	const src = `package p
import "github.com/hashicorp/go-hclog"
type other struct{}
func (other) Info(string, ...any) {}
func f(l hclog.Logger, err error, kv []any) {
	l.Info("fine", "a", 1, "b", 2)
	l.Warn("fine")
	l.Error("fine", kv...)
	other{}.Info("not ours", 1)
	l.Info("odd", err)
	l.With("odd").Debug("fine", "k", "v")
	l.Error("key", err, "v")
}`
	exports := map[string]string{}
	for _, p := range list(t, "-deps", "-export", hclogPath) {
		exports[p.ImportPath] = p.Export
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	calls, faults := oddPairs(t, fset, "p", []*ast.File{f}, exports)
	// The odd one also has a key that is no text.
	if calls != 6 || len(faults) != 4 {
		t.Errorf("%d calls, faults %q; want 6 and 4", calls, faults)
	}
}

// What lies at the top of the repository.
func TestTopLevel(t *testing.T) {
	t.Parallel()
	allowed := []string{
		".ci", ".gitignore", ".golangci.yml", "BENCH.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "go.mod", "go.sum",
		"api", "chaos", "cluster", "cmd", "config", "deploy", "dispatch", "docs", "fsm",
	}
	ignored := []string{".git", ".tools", "bin", "chaos-out", "cover", "data"} // as in .gitignore
	entries, err := os.ReadDir(rootDir(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		n := e.Name()
		if !slices.Contains(allowed, n) && !slices.Contains(ignored, n) && !strings.HasSuffix(n, ".test") && !strings.HasSuffix(n, ".out") {
			t.Errorf("%s is not expected at the top of the repository", n)
		}
	}
}

// Every direct dependency has a reason in docs/dependencies.md, and every
// reason a dependency.
func TestDependencies_documented(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile(filepath.Join(rootDir(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(rootDir(t), "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for line := range bytes.Lines(mod) {
		fields := strings.Fields(string(line))
		if len(fields) == 2 && strings.HasPrefix(fields[1], "v") && line[0] == '\t' {
			direct++
			if !bytes.Contains(doc, []byte("| `"+fields[0]+"` | "+fields[1]+" |")) {
				t.Errorf("docs/dependencies.md has no row for %s %s", fields[0], fields[1])
			}
		}
	}
	if rows := bytes.Count(doc, []byte("\n| `")); rows != direct {
		t.Errorf("docs/dependencies.md has %d rows for %d direct dependencies", rows, direct)
	}
}
