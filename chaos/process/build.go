package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Build compiles the belfry command into dir and returns the path of the
// binary. The go command must be found and the working directory be in the
// module. overlay, when it is not empty, is a JSON file for "go build
// -overlay"; that is how mutants are built.
func Build(ctx context.Context, dir, overlay string) (string, error) {
	path := filepath.Join(dir, "belfry")
	args := []string{"build", "-o", path}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "example.com/belfry/cmd/belfry")...) //nolint:gosec // paths of the caller
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build belfry: %w\n%s", err, out)
	}
	return path, nil
}

// Builder builds belfry once, when it is first asked for it, for all tests of a
// package. The zero value is ready; it is safe for concurrent use.
type Builder struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Path is that of the binary.
func (b *Builder) Path(ctx context.Context) (string, error) {
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "belfry-chaos-"); b.err == nil {
			b.path, b.err = Build(ctx, b.dir, "")
		}
	})
	return b.path, b.err
}

// Close removes what was built. Nothing may run it any more.
func (b *Builder) Close() error {
	if b.dir == "" {
		return nil
	}
	return os.RemoveAll(b.dir)
}
