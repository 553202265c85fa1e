package layout

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var citedTest = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")

// TestDocs_citedTestsExist: what docs name as the proof of a promise is there.
func TestDocs_citedTestsExist(t *testing.T) {
	t.Parallel()
	root := rootDir(t)
	declared := map[string]bool{}
	decl := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	for _, p := range list(t, "./...") {
		for _, files := range [][]string{p.TestGoFiles, p.XTestGoFiles} {
			for _, f := range files {
				b, err := os.ReadFile(filepath.Join(p.Dir, f))
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range decl.FindAllSubmatch(b, -1) {
					declared[string(m[1])] = true
				}
			}
		}
	}
	for _, page := range []string{"docs/guarantees.md", "docs/threat-model.md", "chaos/FOUND.md"} {
		b, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		cited := citedTest.FindAllSubmatch(b, -1)
		if len(cited) == 0 {
			t.Errorf("%s names no test", page)
		}
		for _, m := range cited {
			if !declared[string(m[1])] {
				t.Errorf("%s names %s, which there is not", page, m[1])
			}
		}
	}
}
