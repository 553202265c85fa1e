package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/belfry/chaos/process"
)

func diskNemeses() []Nemesis {
	power := func(id, name string, takes func(int) int, begin func(context.Context, Env) (Active, error)) Nemesis {
		return Nemesis{ID: id, Name: name, Parts: Processes | Disks, Takes: takes, Kills: true, Lossy: true, Begin: begin}
	}
	bad := func(name string, what string, f process.DiskFault) Nemesis {
		return Nemesis{ID: "N10", Name: name, Parts: Disks, Takes: one, Cuts: true, Kills: true, Lossy: true, Begin: beginDiskFault(what, f)}
	}
	damage := func(id, name string, begin func(context.Context, Env) (Active, error)) Nemesis {
		return Nemesis{ID: id, Name: name, Parts: Processes | Disks, Takes: one, Kills: true, Damages: true, Alone: true, Begin: begin}
	}
	powerCut := power("N8", "power-cut", majority, beginPowerCut)
	powerCut.Parts, powerCut.Cuts = Processes|Disks|Network, true
	blips := bad("disk-sync-blips", "", process.DiskFault{})
	blips.Parts, blips.Takes, blips.Begin = Processes|Disks, all, beginSyncBlips
	return []Nemesis{
		power("N7", "power-all", all, beginPower(anyOf(all))),
		power("N7", "power-one", one, beginPower(anyOf(one))),
		power("N7", "power-leader", one, beginPower(theLeader)),
		powerCut,
		damage("N9", "damage-bit", beginDamage((*process.Node).FlipBit)),
		damage("N9", "damage-cut", beginDamage((*process.Node).Truncate)),
		damage("N9", "damage-stale", beginStale),
		bad("disk-full", "is full", process.DiskFault{WriteErr: syscall.ENOSPC}),
		bad("disk-sync-fails", "fails to sync", process.DiskFault{SyncErr: syscall.EIO}),
		blips,
		bad("disk-slow", "takes 5 s to sync", process.DiskFault{SyncTakes: 5 * time.Second}),
		bad("disk-sluggish", "takes 100 ms to sync", process.DiskFault{SyncTakes: 100 * time.Millisecond}),
		damage("N11", "wipe", beginWipe),
	}
}

// powerOff fails the power of nodes at once and says what was lost. Of half of
// them chance keeps a part of what was not synced.
func powerOff(e Env, nodes []*process.Node) (string, error) {
	lost, errs := make([]string, len(nodes)), make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		var rng *rand.Rand
		if seed := e.Rng.Uint64(); seed%2 == 0 {
			rng = rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a schedule
		}
		wg.Go(func() {
			k, err := n.PowerFail(rng)
			lost[i], errs[i] = fmt.Sprintf("%s lost %d", n.ID(), k), err
		})
	}
	wg.Wait()
	return strings.Join(lost, ", "), errors.Join(errs...)
}

func beginPower(who choose) func(context.Context, Env) (Active, error) {
	return func(ctx context.Context, e Env) (Active, error) {
		nodes, err := who(ctx, e)
		if err != nil {
			return Active{}, err
		}
		lost, err := powerOff(e, nodes)
		if err != nil {
			return Active{}, errors.Join(err, bringUp(nodes))
		}
		return Active{"power failure: " + lost, ids(nodes), undone(func(context.Context) error { return bringUp(nodes) })}, nil
	}
}

// beginPowerCut isolates the leader and fails the power of a node of the rest,
// which comes back at once: what the rest has acknowledged is on its disks or
// lost.
func beginPowerCut(ctx context.Context, e Env) (Active, error) {
	leader, err := e.leader(ctx)
	if err != nil {
		return Active{}, err
	}
	rest := e.except(leader)
	victim := e.Cluster.Node(rest[e.Rng.IntN(len(rest))])
	undo := e.Cluster.Net().Change(across([]string{leader.ID()}, rest, true), func(s *process.Shape) { s.Cut = true })
	// The rest elects a leader and takes changes before the power fails.
	if err := sleep(ctx, e.For/2); err != nil {
		undo()
		return Active{}, err
	}
	lost, err := powerOff(e, []*process.Node{victim})
	if err = errors.Join(err, bringUp([]*process.Node{victim})); err != nil {
		undo()
		return Active{}, err
	}
	return Active{fmt.Sprintf("%s isolated, then power failure: %s", leader.ID(), lost), []string{leader.ID(), victim.ID()}, undone(func(context.Context) error {
		undo()
		return bringUp([]*process.Node{victim})
	})}, nil
}

// recoverWithin is how long a node may take to be ready on a disk that is good
// again, before it is restarted.
const recoverWithin = 15 * time.Second

func beginDiskFault(what string, f process.DiskFault) func(context.Context, Env) (Active, error) {
	return func(_ context.Context, e Env) (Active, error) {
		n := e.some(1)[0]
		n.ExpectExit() // to end is a proper answer to a disk that fails
		n.Disk().SetFault(f)
		return Active{fmt.Sprintf("the disk of %s %s", n.ID(), what), []string{n.ID()}, func(ctx context.Context) (Aftermath, error) {
			n.Disk().SetFault(process.DiskFault{})
			if !n.Alive() {
				return Aftermath{Note: n.ID() + " had ended"}, n.Start()
			}
			ctx, cancel := context.WithTimeout(ctx, recoverWithin)
			defer cancel()
			if err := n.Ready(ctx); err == nil {
				return Aftermath{Note: n.ID() + " went on"}, nil
			}
			if !n.Alive() {
				return Aftermath{Note: n.ID() + " ended"}, n.Start()
			}
			n.Kill()
			return Aftermath{Problem: fmt.Sprintf("%s neither ended nor was ready %s after its disk %s no more", n.ID(), recoverWithin, what)}, n.Start()
		}}, nil
	}
}

// beginSyncBlips fails the syncs of one node after the other for a moment, and
// the power of all at the end. What a failed sync should have written is lost,
// even if the next one succeeds: a node that goes on as if nothing had been
// loses what it acknowledged.
func beginSyncBlips(_ context.Context, e Env) (Active, error) {
	nodes := e.Cluster.Nodes()
	stop := run(func(ctx context.Context) error {
		return repeat(ctx, func() time.Duration { return e.between(50*time.Millisecond, 500*time.Millisecond) }, func() error {
			n := e.some(1)[0]
			if !n.Alive() {
				return n.Start()
			}
			n.ExpectExit()
			n.Disk().SetFault(process.DiskFault{SyncErr: syscall.EIO})
			defer n.Disk().SetFault(process.DiskFault{})
			_ = sleep(ctx, e.between(5*time.Millisecond, 200*time.Millisecond)) // repeat sees that ctx is over
			return nil
		})
	})
	return Active{"failing syncs for moments", ids(nodes), func(context.Context) (Aftermath, error) {
		err := stop()
		lost, powerErr := powerOff(e, nodes)
		return Aftermath{Note: "power failure: " + lost}, errors.Join(err, powerErr, bringUp(nodes))
	}}, nil
}

// beginDamage damages one file of a follower. Raft survives the loss of what
// a minority had, while the leader stays; if the leader were the victim, two
// that have less than it had acknowledged could lead.
func beginDamage(damage func(*process.Node, string, *rand.Rand) (string, error)) func(context.Context, Env) (Active, error) {
	return func(ctx context.Context, e Env) (Active, error) {
		n, err := e.follower(ctx)
		if err != nil {
			return Active{}, err
		}
		n.Kill()
		path, err := someFile(e, n)
		var what string
		if err == nil {
			what, err = damage(n, path, e.Rng)
		}
		if err != nil {
			return Active{}, errors.Join(err, n.Start())
		}
		return startDamaged(n, what)
	}
}

// someFile picks a file: first the class, or the many files of the log would
// be all there is.
func someFile(e Env, n *process.Node) (string, error) {
	classes := process.FileClasses()
	for _, i := range e.Rng.Perm(len(classes)) {
		files, err := n.Files(classes[i])
		if err != nil {
			return "", err
		}
		if len(files) > 0 {
			return files[e.Rng.IntN(len(files))], nil
		}
	}
	return "", fmt.Errorf("%s has no files", n.ID())
}

// beginStale puts back an old copy of one file of a follower.
func beginStale(ctx context.Context, e Env) (Active, error) {
	n, err := e.follower(ctx)
	if err != nil {
		return Active{}, err
	}
	n.Kill()
	path, err := someFile(e, n)
	var old process.Copy
	if err == nil {
		old, err = n.Save(path)
	}
	if err = errors.Join(err, n.Start()); err != nil {
		return Active{}, err
	}
	if err := errors.Join(n.Ready(ctx), sleep(ctx, e.For/2)); err != nil {
		return Active{}, err
	}
	n.Kill()
	what, err := n.PutBack(old)
	if err != nil { // such as a part of the log that is gone by now
		return Active{}, errors.Join(err, n.Start())
	}
	return startDamaged(n, what)
}

// startDamaged starts a node with a damaged file and says afterwards what it
// made of it. Its disk is replaced in any case: what it did not notice would
// be there at the next fault.
func startDamaged(n *process.Node, what string) (Active, error) {
	from := n.LogSize()
	if err := n.Start(); err != nil {
		return Active{}, err
	}
	n.ExpectExit()
	return Active{what, []string{n.ID()}, func(ctx context.Context) (Aftermath, error) {
		after := judgeDamaged(ctx, n, from)
		return after, rejoin(n)
	}}, nil
}

func judgeDamaged(ctx context.Context, n *process.Node, from int64) Aftermath {
	ctx, cancel := context.WithTimeout(ctx, recoverWithin)
	defer cancel()
	if n.Alive() {
		if err := n.Ready(ctx); err == nil {
			return Aftermath{Note: n.ID() + " went on"}
		}
	}
	if n.Alive() {
		return Aftermath{Problem: n.ID() + " runs with a damaged file and is not ready, and does not end"}
	}
	last := lastLine(n.LogFrom(from))
	if !saysWhatToDo(last) {
		return Aftermath{Problem: n.ID() + " ended over a damaged file and does not say what to do: " + last}
	}
	return Aftermath{Note: n.ID() + " ended", Stopped: last}
}

// lastLine is the last line that says why a program ended: of a panic its
// first.
func lastLine(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	for _, l := range lines {
		if strings.HasPrefix(l, "panic: ") || strings.HasPrefix(l, "fatal error: ") || strings.HasPrefix(l, "unexpected fault address") {
			return l
		}
	}
	return lines[len(lines)-1]
}

// saysWhatToDo reports whether a message leads the operator on.
func saysWhatToDo(s string) bool {
	for _, remedy := range []string{"empty data directory", "empty the data directory", "join again", "restore this node", "replace"} {
		if strings.Contains(s, remedy) {
			return true
		}
	}
	return false
}

// beginWipe takes a node's disk away and has it join again as it is.
func beginWipe(_ context.Context, e Env) (Active, error) {
	n := e.some(1)[0]
	if err := rejoin(n); err != nil {
		return Active{}, err
	}
	return Active{n.ID() + " has an empty disk", []string{n.ID()}, undone(func(context.Context) error { return bringUp([]*process.Node{n}) })}, nil
}
