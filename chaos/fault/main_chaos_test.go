//go:build chaos && linux

package fault

import (
	"fmt"
	"os"
	"testing"

	"example.com/belfry/chaos/process"
)

// belfry is built when the first test needs it.
var belfry process.Builder

func TestMain(m *testing.M) {
	m.Run() // its code becomes the exit code
	if err := belfry.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
