//go:build chaos && linux

package process

import (
	"fmt"
	"os"
	"testing"
)

// belfry is built when the first test needs it.
var belfry Builder

func TestMain(m *testing.M) {
	m.Run() // its code becomes the exit code
	if err := belfry.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
