//go:build !linux

package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
)

// Disk is a disk that can lose what was not synced; there are none here.
type Disk struct{}

// LossyDisks returns why there can be no Disk here, or nil.
func LossyDisks() error { return fmt.Errorf("lossy disks need Linux: %w", errors.ErrUnsupported) }

// NewDisk always fails.
func NewDisk(string, string) (*Disk, error) { return nil, LossyDisks() }

// PowerFail always fails.
func (*Disk) PowerFail(*rand.Rand) (int, error) { return 0, LossyDisks() }

// SetFault does nothing.
func (*Disk) SetFault(DiskFault) {}

// Close does nothing.
func (*Disk) Close() error { return nil }
