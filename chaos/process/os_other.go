//go:build !linux

package process

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
)

func signalPause(*os.Process, bool) {}

// socketOwner needs the tables of Linux.
func socketOwner(_, _ netip.AddrPort, _ map[int]string) (int, error) {
	return 0, fmt.Errorf("whose connection it is: %w", errors.ErrUnsupported)
}
