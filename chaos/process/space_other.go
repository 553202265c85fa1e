//go:build !linux

package process

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
)

// Namespaces returns why nodes cannot be in network namespaces here, or nil.
func Namespaces() error {
	return fmt.Errorf("network namespaces need Linux: %w", errors.ErrUnsupported)
}

// RunApart always fails.
func RunApart(context.Context, *exec.Cmd) (int, error) { return 0, Namespaces() }

// Apart reports whether RunApart started this process.
func Apart() bool { return false }

// LoopbackUp always fails.
func LoopbackUp() error { return Namespaces() }

// ProbeNamespaces always fails.
func ProbeNamespaces() error { return Namespaces() }

// space is a network of namespaces; there are none here.
type space struct{}

// host is the namespace of one node; there are none here.
type host struct{ addr netip.Addr }

func newSpace() (*space, error) { return nil, Namespaces() }

func (*space) suite() netip.Addr         { return netip.Addr{} }
func (*space) add(string) (*host, error) { return nil, Namespaces() }
func (*space) lose(Path, bool) error     { return Namespaces() }
func (*space) remove(*host) error        { return nil }
func (*space) close() error              { return nil }
func (*host) start(*exec.Cmd) error      { return Namespaces() }
func (*host) endpoint(uint16) string     { return "" }
