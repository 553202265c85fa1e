package process

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
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
