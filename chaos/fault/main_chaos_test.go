//go:build chaos && linux

package fault

import (
	"context"
	"os"
	"sync"
	"testing"

	"example.com/belfry/chaos/process"
)

// binaryDir holds the binary under test for the life of the test process.
var binaryDir string

func TestMain(m *testing.M) {
	m.Run() // its code becomes the exit code
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir)
	}
}

// build builds belfry once.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "belfry-chaos-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	return process.Build(context.Background(), dir, "")
})
