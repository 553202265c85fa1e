package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hashicorp/go-hclog"

	"example.com/belfry/cluster"
	"example.com/belfry/fsm"
)

// RestoreOptions say what becomes of a backup: the first node of a new cluster.
type RestoreOptions struct {
	// Backup is the file.
	Backup string
	// NodeID, DataDir and PeerAddress are those that the node will be started
	// with; the address is the one that other nodes dial.
	NodeID, DataDir, PeerAddress string
	Logger                       hclog.Logger // nil: none
}

// CheckBackup reads a backup to its end and returns the index it is of. It needs
// as much room for temporary files as the backup has.
func CheckBackup(path string) (index uint64, err error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return fsm.CheckBackup(f, "")
}

// Restore makes an empty data directory one of the first node of a new cluster
// that has the configuration of a backup. The backup is checked first, and the
// directory is left as it was when that fails. The node must be started with
// --bootstrap, for the events, of which there are none.
func Restore(o RestoreOptions) (index uint64, err error) {
	if index, err = CheckBackup(o.Backup); err != nil {
		return 0, fmt.Errorf("%s: %w", o.Backup, err)
	}
	switch entries, err := os.ReadDir(o.DataDir); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return 0, fmt.Errorf("--data-dir: %w", err)
	default:
		for _, e := range entries {
			if e.Name() != devKeyFile {
				return 0, fmt.Errorf("--data-dir %s is not empty: a backup is restored to a new node only", o.DataDir)
			}
		}
	}
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return 0, fmt.Errorf("--data-dir: %w", err)
	}
	err = cluster.Seed(cluster.SeedOptions{NodeID: o.NodeID, DataDir: o.DataDir, PeerAddress: o.PeerAddress, Logger: o.Logger}, groupConfig, index, func(w io.Writer) (err error) {
		f, err := os.Open(o.Backup)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		_, err = io.Copy(w, f)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%w; empty %s before the next try", err, o.DataDir)
	}
	return index, nil
}
