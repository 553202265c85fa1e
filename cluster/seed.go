package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// seedTerm is the term of what Seed makes; the first election has the next.
const seedTerm = 1

var (
	keyCurrentTerm = []byte("CurrentTerm") // raft's name of it

	errNotEmpty = errors.New("the data directory has a raft group already: name an empty one")
)

// SeedOptions are the node of a new cluster of one, made of a state.
type SeedOptions struct {
	// NodeID and DataDir are those that the node will start with; PeerAddress is
	// the address that other nodes will dial. The data directory has no raft
	// group of these names.
	NodeID, DataDir, PeerAddress string
	// Log is that of the GroupSpec of the group that Seed is told of; empty:
	// LogBolt.
	Log    string
	Logger hclog.Logger // nil: none
}

// Seed makes a raft group in a data directory whose only member is the node, and
// whose state is what write writes, after the command at index: what the
// Persist of the state machine's snapshot writes. The node takes it over when it
// is opened, with Options.Bootstrap for its other groups; its state machine
// must be empty.
func Seed(o SeedOptions, group string, index uint64, write func(io.Writer) error) (err error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if !nodeIDPattern.MatchString(o.NodeID) || o.PeerAddress == "" {
		return fmt.Errorf("node id %q and peer address %q must be those of the node", o.NodeID, o.PeerAddress)
	}
	incarnation, err := loadIncarnation(o.DataDir)
	if err != nil {
		return err
	}
	stores, err := openStores(filepath.Join(o.DataDir, "raft", group), orElse(o.Log, LogBolt), o.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stores.Close()) }()
	has, err := raft.HasExistingState(stores.Log, stores.Stable, stores.Snapshots)
	if err != nil {
		return fmt.Errorf("look for existing state: %w", err)
	}
	if has {
		return errNotEmpty
	}
	self := raft.Server{ID: serverID(o.NodeID, incarnation), Address: raft.ServerAddress(o.PeerAddress)}
	members := raft.Configuration{Servers: []raft.Server{self}}
	_, trans := raft.NewInmemTransport(self.Address) // only to encode the address
	if err := stores.Stable.SetUint64(keyCurrentTerm, seedTerm); err != nil {
		return fmt.Errorf("write the term: %w", err)
	}
	sink, err := stores.Snapshots.Create(raft.SnapshotVersionMax, index, seedTerm, members, index, trans)
	if err != nil {
		return fmt.Errorf("make a snapshot: %w", err)
	}
	_, err = sink.Write(binary.BigEndian.AppendUint64(snapshotMagic[:], index))
	if err == nil {
		err = write(sink)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write the snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}
