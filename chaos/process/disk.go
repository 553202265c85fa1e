package process

import (
	"syscall"
	"time"
)

// DiskFault is what is wrong with a disk. The zero value is a good one.
type DiskFault struct {
	// SyncErr, when it is not 0, is how syncing a file or directory ends, such as EIO.
	SyncErr syscall.Errno
	// WriteErr, when it is not 0, is how writing ends, and making and growing
	// files, such as ENOSPC.
	WriteErr syscall.Errno
	// SyncTakes is added to every sync.
	SyncTakes time.Duration
}
