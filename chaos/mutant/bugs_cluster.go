package mutant

import (
	"strings"
	"time"
)

// chaos is a run of three real nodes; without nemeses it has no faults. sign
// names the checkers of which one must find the mutant.
func chaos(nemeses, workloads, sign string) Killer {
	list := func(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) }
	return Killer{
		Layer: Chaos, Sign: "^(" + sign + "):", Budget: 5 * time.Minute,
		Run: &Run{Nodes: 3, Nemeses: list(nemeses), Workloads: list(workloads), Duration: 25 * time.Second},
	}
}

// busy has the workloads of a run ask as fast as two cores can answer: two
// requests must meet within a millisecond or so.
func busy(k Killer) Killer {
	k.Run.Rate = 400
	return k
}

// group is a simulation of bare raft groups.
func group(test, sign string) Killer {
	return Killer{Layer: Simulation, Test: &Test{Package: "./cluster", Name: test}, Sign: sign, Budget: 3 * time.Minute}
}

// WallClock has the wall clock of every process jump by seconds all the time,
// as an operator or a broken time server would have it. Timers and the
// monotonic clock go on as they should. In a testing/synctest bubble, where
// there is no monotonic reading, it adds one.
func WallClock() []Edit {
	return []Edit{
		{
			File: GoRoot + "src/time/time.go",
			Old:  "	if mono == 0 {\n		return Time{uint64(nsec), sec + unixToInternal, Local}\n	}\n	mono -= startNano\n",
			New:  "	if mono == 0 {\n		mono = (sec-946684800)*1e9 + int64(nsec) + 1 + startNano\n	}\n	sec += jump(mono)\n	mono -= startNano\n",
		},
		{File: GoRoot + "src/time/jump.go", New: `package time

// Every process jumps at moments of its own.
func jump(mono int64) int64 {
	return [8]int64{0, -6, -2, -9, -3, -12, -5, -15}[uint64(mono-startNano)/1300e6%8]
}
`},
	}
}

// consensus are the bugs in replication, reads and leases.
func consensus() []Mutant {
	return []Mutant{
		{
			Name: "fsync-skipped",
			Bug:  "the raft logs are written and not synced",
			Edits: []Edit{
				{
					File: "cluster/store.go",
					Old:  `filepath.Join(dir, "raft.db"),`,
					New:  `filepath.Join(dir, "raft.db"), NoSync: true,`,
				},
				{
					File: "cluster/store.go",
					Old:  `wal.Open(walDir, wal.WithLogger(`,
					New:  `wal.Open(walDir, wal.WithSegmentFiler(segment.NewFiler(walDir, hastyFS{walfs.New()})), wal.WithLogger(`,
				},
				{
					File: "cluster/store.go",
					Old:  "	wal \"github.com/hashicorp/raft-wal\"\n",
					New:  "	wal \"github.com/hashicorp/raft-wal\"\n	walfs \"github.com/hashicorp/raft-wal/fs\"\n	\"github.com/hashicorp/raft-wal/segment\"\n	waltypes \"github.com/hashicorp/raft-wal/types\"\n",
				},
				{
					File: "cluster/store.go",
					Old:  "// openStores opens the stores of a group under dir.\n",
					New: `type hastyFS struct{ *walfs.FS }

func (f hastyFS) Create(dir, name string, size uint64) (waltypes.WritableFile, error) {
	w, err := f.FS.Create(dir, name, size)
	return hastyFile{w}, err
}

func (f hastyFS) OpenWriter(dir, name string) (waltypes.WritableFile, error) {
	w, err := f.FS.OpenWriter(dir, name)
	return hastyFile{w}, err
}

type hastyFile struct{ waltypes.WritableFile }

func (hastyFile) Sync() error { return nil }

// openStores opens the stores of a group under dir.
`,
				},
			},
			Killers: []Killer{chaos("power-all", "w1,w3", "lost|linearizable|convergence|orderly|crashed")},
		},
		{
			Name: "stale-leader-reads",
			Bug:  "a leader answers reads without asking a quorum whether it still leads",
			Edits: []Edit{{
				File: "cluster/read.go",
				Old:  "	return index, g.confirm(ctx, term)",
				New:  "	return index, nil",
			}},
			Killers: []Killer{group("TestLeader_stuckDisk", `the old leader reads`)},
		},
		{
			Name: "no-barrier",
			Bug:  "a new leader answers reads before it has applied what earlier leaders committed",
			Edits: []Edit{{
				File: "cluster/read.go",
				Old:  "	if err := g.passBarrier(ctx, term); err != nil {\n		return 0, err\n	}\n",
				New:  "",
			}},
			Killers: []Killer{group("firstOfTerm|neverStale", `before the log of the term went on`)},
		},
		{
			Name: "follower-applies",
			Bug:  "a follower that gets no answer from the leader applies the command to its own state",
			Edits: []Edit{{
				File: "cluster/propose.go",
				Old:  "	if err != nil {\n		return outcome{}, err\n	}\n	return decodeOutcome(reply)",
				New: `	if model.CodeOf(err) == model.CodeUnknownOutcome {
		index := g.AppliedIndex() + 1
		resp, _ := g.machine.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: cmd}).([]byte)
		return outcome{index: index, resp: resp}, nil
	}
	if err != nil {
		return outcome{}, err
	}
	return decodeOutcome(reply)`,
			}},
			Killers: []Killer{sim(signReplicas + "|" + signLost), chaos("isolate-leader,pause-leader", "w1,w3", "linearizable|repeated-id|replicas|convergence|crashed|lost")},
		},
		{
			Name: "lease-by-wall-clock",
			Bug:  "a node measures its lease with the wall clock, which an operator or NTP may set back",
			Edits: []Edit{{
				File: "cluster/report.go",
				Old:  "grant{sent.Add(",
				New:  "grant{sent.Round(0).Add(",
			}},
			Killers: []Killer{{
				Layer: Simulation, Test: &Test{Package: "./cluster", Name: "Lease|TestNemesis"}, Fault: WallClock(),
				Sign: `while its lease is valid`, Budget: 6 * time.Minute,
			}},
		},
		{
			Name: "snapshot-without-a-table",
			Bug:  "the snapshot of the config leaves out the subscriptions",
			Edits: []Edit{{
				File: "fsm/snapshot.go",
				Old:  "	for i, name := range buckets {",
				New:  "	for i, name := range buckets {\n		if string(name) == string(bSubscription) {\n			continue\n		}",
			}},
			Killers: []Killer{sim(`came to \d+ deliveries, it is owed|` + signLost)},
		},
		{
			Name:    "delete-in-two-steps",
			Bug:     "that nothing uses a profile or security setting is checked before its delete is proposed, and not when it is applied",
			Instead: "cascade delete in two commands: belfry deletes no more than what it is asked to",
			Edits: []Edit{
				{
					File: "fsm/cmd_hierarchy.go",
					Old:  "	if err := t.unused(refProfile, p.Account, p.ID, \"subscription\"); err != nil {\n		return nil, err\n	}\n",
				},
				{
					File: "fsm/cmd_security.go",
					Old:  "	if err := t.unused(refSecurity, s.Account, s.ID, \"profile\"); err != nil {\n		return nil, err\n	}\n",
				},
				{
					File: "fsm/writer.go",
					Old:  "	return ask[model.Refs](ctx, w, DeleteProfile{",
					New:  "	if err := w.unused(refProfile, account, id, \"subscription\"); err != nil {\n		return model.Refs{}, err\n	}\n	return ask[model.Refs](ctx, w, DeleteProfile{",
				},
				{
					File: "fsm/writer.go",
					Old:  "	return ask[model.Refs](ctx, w, DeleteSecurity{",
					New:  "	if err := w.unused(refSecurity, account, id, \"profile\"); err != nil {\n		return model.Refs{}, err\n	}\n	return ask[model.Refs](ctx, w, DeleteSecurity{",
				},
				{File: "fsm/steps.go", New: `package fsm

import "go.etcd.io/bbolt"

func (w *Writer) unused(kind, account, id, by string) error {
	return w.o.Store.view(func(tx *bbolt.Tx) error { return (&txn{tx: tx}).unused(kind, account, id, by) })
}
`},
			},
			Killers: []Killer{{Layer: Model, Test: &Test{Package: "./fsm", Name: "TestStore_reference"}, Sign: `want "in_use" for`, Budget: 3 * time.Minute}, busy(chaos("", "w2", "linearizable|integrity"))},
		},
		{
			Name: "audit-forgotten",
			Bug:  "a change of a profile leaves no audit record",
			Edits: []Edit{{
				File: "fsm/cmd_hierarchy.go",
				Old:  "	return c.Account, \"profile.update\", c.ID",
				New:  "	return \"\", \"\", \"\"",
			}},
			Killers: []Killer{chaos("", "w1", "audit")},
		},
	}
}
