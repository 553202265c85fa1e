package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"example.com/belfry/fsm/model"
	"example.com/belfry/fsm/seal"
)

const (
	// devKeyFile is where a --dev node keeps the master key it made.
	devKeyFile = "master.keys"
	// methodDevKey is the peer call by which a --dev node that joins gets the
	// master key of the cluster. It exists in --dev only, where peers are on
	// loopback.
	methodDevKey = "dev.masterkey"
	// devKeyWait bounds how long a joining --dev node waits for the key.
	devKeyWait = 30 * time.Second
)

// masterKey returns the node's master key ring: from the configured file or,
// in --dev, from the data directory, where bootstrap makes one and a node that
// joins stores the one that fetch brings.
func masterKey(ctx context.Context, o keyOptions) (*seal.Ring, error) {
	if o.file != "" {
		r, err := seal.LoadRing(o.file)
		if err != nil {
			return nil, fmt.Errorf("--master-key-file: %w", err)
		}
		return r, nil
	}
	if !o.dev {
		return nil, errors.New("--master-key-file is required without --dev: make one with \"belfry keys create --out FILE\" and give every node the same file")
	}
	path := filepath.Join(o.dataDir, devKeyFile)
	r, err := seal.LoadRing(path)
	switch {
	case err == nil:
		return r, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("development master key: %w", err)
	case o.bootstrap:
		return seal.CreateRing(path)
	}
	ctx, cancel := context.WithTimeout(ctx, devKeyWait)
	defer cancel()
	b, err := o.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("get the development master key from the cluster: %w", err)
	}
	if r, err = seal.ParseRing(b); err != nil {
		return nil, fmt.Errorf("development master key from the cluster: %w", err)
	}
	if err := seal.WriteRing(path, r); err != nil {
		return nil, err
	}
	return r, nil
}

type keyOptions struct {
	file      string
	dataDir   string
	dev       bool
	bootstrap bool
	// fetch asks the cluster for the ring until ctx ends.
	fetch func(ctx context.Context) ([]byte, error)
}

// caller is the peer-call side of the cluster that the node uses.
type caller interface {
	Call(ctx context.Context, nodeID, method string, body []byte) ([]byte, error)
}

// fetchDevKey asks the leader, whoever it is at the time, every 100 ms.
func fetchDevKey(ctx context.Context, c caller, leader func() (string, bool)) ([]byte, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	err := error(model.Errorf(model.CodeUnavailable, "no leader is known"))
	for {
		if id, ok := leader(); ok {
			var b []byte
			if b, err = c.Call(ctx, id, methodDevKey, nil); err == nil {
				return b, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
