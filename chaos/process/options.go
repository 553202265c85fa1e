package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// Options says what cluster is made.
type Options struct {
	// Binary is the path of the belfry binary, as Build returns it.
	Binary string
	// Dir holds everything of the cluster: data directories, the stores of lossy
	// disks, logs. It must exist and is not removed by Close.
	Dir string
	// Nodes is how many nodes there are: 1, 3 or 5.
	Nodes int
	// AdminKey is the first admin API key of the account "default", at least 16
	// characters.
	AdminKey string
	// Knobs are settings that are drawn at random.
	Knobs Knobs
	// Flags are added to the command line of every node, NodeFlags to that of
	// one, by its id.
	Flags     []string
	NodeFlags map[string][]string
	// Env is added to the environment of every node, such as "GODEBUG=…".
	Env []string
	// Lossy puts the data directories on disks that can lose what was not synced
	// and can fail. LossyDisks says whether that is possible here.
	Lossy bool
	// Namespaces puts every node into a network namespace of its own, with TLS
	// between them and without --dev. Namespaces() says whether that is possible here.
	// There is one such cluster at a time in a process.
	Namespaces bool
	// Seed decides the jitter of the network.
	Seed uint64
}

func (o *Options) validate() error {
	switch {
	case o.Binary == "":
		return errors.New("process: Options needs a binary")
	case o.Dir == "":
		return errors.New("process: Options needs a directory")
	case o.Nodes != 1 && o.Nodes != 3 && o.Nodes != 5:
		return fmt.Errorf("process: a cluster has 1, 3 or 5 nodes, not %d", o.Nodes)
	case len(o.AdminKey) < 16:
		return errors.New("process: Options needs an admin key of at least 16 characters")
	}
	if o.Namespaces {
		if err := Namespaces(); err != nil {
			return err
		}
	}
	if o.Lossy {
		return LossyDisks()
	}
	return nil
}

// Knobs are settings that change when things happen in a node, and not what it
// promises. The zero value is what belfry does by default.
type Knobs struct {
	// SnapshotThreshold is after how many log entries a snapshot is taken; 0: the default.
	SnapshotThreshold int `json:"snapshotThreshold,omitempty"`
	// Heartbeat is both the heartbeat and the election timeout; 0: the default.
	Heartbeat time.Duration `json:"heartbeat,omitempty"`
	// EventsLog is "wal" or "bolt"; empty: the default.
	EventsLog string `json:"eventsLog,omitempty"`
	// MemoryBudget is in bytes, at least 1 MiB; 0: the default.
	MemoryBudget int `json:"memoryBudget,omitempty"`
}

// RandomKnobs draws settings that make rare paths frequent, such as snapshots
// all the time.
func RandomKnobs(rng *rand.Rand) Knobs {
	return Knobs{
		SnapshotThreshold: pick(rng, 50, 100, 1000),
		Heartbeat:         pick(rng, 300*time.Millisecond, 300*time.Millisecond, 500*time.Millisecond),
		EventsLog:         pick(rng, "wal", "wal", "bolt"),
		MemoryBudget:      pick(rng, 0, 1<<20, 8<<20),
	}
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// Flags is how belfry serve is told.
func (k Knobs) Flags() []string {
	var out []string
	if k.SnapshotThreshold > 0 {
		out = append(out, "--snapshot-threshold", strconv.Itoa(k.SnapshotThreshold))
	}
	if k.Heartbeat > 0 {
		out = append(out, "--heartbeat-timeout", k.Heartbeat.String(), "--election-timeout", k.Heartbeat.String())
	}
	if k.EventsLog != "" {
		out = append(out, "--events-log", k.EventsLog)
	}
	if k.MemoryBudget > 0 {
		out = append(out, "--memory-budget", strconv.Itoa(k.MemoryBudget)+"B")
	}
	return out
}
