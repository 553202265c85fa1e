package console

import (
	"sync"
	"testing"
)

// Each file parses, also when many ask for it first.
func TestTemplates_each(t *testing.T) {
	t.Parallel()
	pages, err := newTemplates()
	if err != nil {
		t.Fatal(err)
	}
	if len(pages.byFile) < 40 {
		t.Errorf("there are only %d templates", len(pages.byFile))
	}
	var wg sync.WaitGroup
	for file, load := range pages.byFile {
		for range 2 {
			wg.Go(func() {
				if set, err := load(); err != nil || set.Lookup(file) == nil {
					t.Errorf("%s: %v", file, err)
				}
			})
		}
	}
	wg.Wait()
}
