package fault

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"example.com/belfry/chaos/process"
)

// choose picks the victims of a nemesis.
type choose func(ctx context.Context, e Env) ([]*process.Node, error)

// anyOf picks as many at random as take says.
func anyOf(take func(int) int) choose {
	return func(_ context.Context, e Env) ([]*process.Node, error) {
		return e.some(take(len(e.Cluster.Nodes()))), nil
	}
}

func theLeader(ctx context.Context, e Env) ([]*process.Node, error) {
	n, err := e.leader(ctx)
	return []*process.Node{n}, err
}

func processNemeses() []Nemesis {
	kill := func(name string, takes func(int) int, who choose) Nemesis {
		return Nemesis{ID: "N1", Name: name, Parts: Processes, Takes: takes, Kills: true, Begin: beginKill(who)}
	}
	pause := func(name string, takes func(int) int, who choose) Nemesis {
		return Nemesis{ID: "N2", Name: name, Parts: Processes, Takes: takes, Cuts: true, Begin: beginPause(who)}
	}
	stop := func(name string, begin func(context.Context, Env) (Active, error)) Nemesis {
		return Nemesis{ID: "N15", Name: name, Parts: Processes, Takes: one, Kills: true, Planned: true, Begin: begin}
	}
	killTwo, pauseTwo := kill("kill-minority", minority, anyOf(minority)), pause("pause-minority", minority, anyOf(minority))
	killTwo.FiveNodes, pauseTwo.FiveNodes = true, true // of three they are kill-one and pause-one
	repeated := kill("kill-repeat", one, nil)
	repeated.Begin = beginKillRepeat
	blips := pause("pause-blips", one, nil)
	blips.Begin, blips.Broad = beginBlips, true
	rolling := stop("rolling-restart", beginRolling)
	rolling.Alone = true
	return []Nemesis{
		kill("kill-one", one, anyOf(one)),
		kill("kill-leader", one, theLeader),
		killTwo,
		kill("kill-majority", majority, anyOf(majority)),
		kill("kill-all", all, anyOf(all)),
		repeated,
		pause("pause-one", one, anyOf(one)),
		pause("pause-leader", one, theLeader),
		pauseTwo,
		blips,
		stop("stop-one", beginStop(anyOf(one))),
		stop("stop-leader", beginStop(theLeader)),
		rolling,
		{ID: "N15", Name: "transfer", Parts: Membership, Takes: none, Planned: true, Begin: beginTransfer},
	}
}

func beginKill(who choose) func(context.Context, Env) (Active, error) {
	return func(ctx context.Context, e Env) (Active, error) {
		nodes, err := who(ctx, e)
		if err != nil {
			return Active{}, err
		}
		var wg sync.WaitGroup // all at once
		for _, n := range nodes {
			wg.Go(n.Kill)
		}
		wg.Wait()
		return Active{"killed " + list(nodes), ids(nodes), undone(func(context.Context) error { return bringUp(nodes) })}, nil
	}
}

// beginKillRepeat kills a node and starts it at once, again and again, mostly
// before it is ready.
func beginKillRepeat(_ context.Context, e Env) (Active, error) {
	n := e.some(1)[0]
	var kills atomic.Int64
	stop := run(func(ctx context.Context) error {
		return repeat(ctx, func() time.Duration { return e.between(50*time.Millisecond, time.Second) }, func() error {
			kills.Add(1)
			n.Kill()
			return n.Start()
		})
	})
	return Active{"killing and starting " + n.ID(), []string{n.ID()}, func(context.Context) (Aftermath, error) {
		err := stop()
		if err == nil {
			err = bringUp([]*process.Node{n})
		}
		return Aftermath{Note: fmt.Sprintf("%s was killed %d times", n.ID(), kills.Load())}, err
	}}, nil
}

func beginPause(who choose) func(context.Context, Env) (Active, error) {
	return func(ctx context.Context, e Env) (Active, error) {
		nodes, err := who(ctx, e)
		if err != nil {
			return Active{}, err
		}
		for _, n := range nodes {
			n.Pause()
		}
		return Active{"paused " + list(nodes), ids(nodes), undone(func(context.Context) error { return bringUp(nodes) })}, nil
	}
}

// beginBlips pauses one node after the other for 0.1 to 1.5 s: about as long
// as leases and elections take.
func beginBlips(_ context.Context, e Env) (Active, error) {
	stop := run(func(ctx context.Context) error {
		return repeat(ctx, func() time.Duration { return e.between(10*time.Millisecond, 500*time.Millisecond) }, func() error {
			n := e.some(1)[0]
			n.Pause()
			defer n.Resume()
			_ = sleep(ctx, e.between(100*time.Millisecond, 1500*time.Millisecond)) // repeat sees that ctx is over
			return nil
		})
	})
	return Active{"pausing one node after the other", e.Cluster.IDs(), undone(func(context.Context) error { return stop() })}, nil
}

// stopWithin bounds a graceful stop: the default of --drain-timeout, and some.
const stopWithin = 45 * time.Second

// stopNode stops gracefully; that it does not is a problem.
func stopNode(ctx context.Context, n *process.Node) (problem string) {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		return fmt.Sprintf("%s did not stop gracefully: %v", n.ID(), err)
	}
	return ""
}

func beginStop(who choose) func(context.Context, Env) (Active, error) {
	return func(ctx context.Context, e Env) (Active, error) {
		nodes, err := who(ctx, e)
		if err != nil {
			return Active{}, err
		}
		n := nodes[0]
		problem := stopNode(ctx, n)
		return Active{"stopped " + n.ID(), ids(nodes), func(context.Context) (Aftermath, error) {
			return Aftermath{Problem: problem}, bringUp(nodes)
		}}, nil
	}
}

// beginRolling restarts all nodes, the next when the last is ready.
func beginRolling(ctx context.Context, e Env) (Active, error) {
	done := make(chan struct{})
	var problem string
	var err error
	ctx = context.WithoutCancel(ctx) // once begun it is finished
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(ctx, undoWithin)
		defer cancel()
		for _, n := range e.Cluster.Nodes() {
			if problem == "" {
				problem = stopNode(ctx, n)
			} else {
				n.Kill()
			}
			if err = n.Start(); err != nil {
				return
			}
			if err = n.Ready(ctx); err != nil {
				return
			}
		}
	}()
	return Active{"restarting all nodes, one after the other", e.Cluster.IDs(), func(context.Context) (Aftermath, error) {
		<-done
		return Aftermath{Problem: problem}, err
	}}, nil
}

// beginTransfer has the leader hand over, every second or so. It may fail when
// something else is going on.
func beginTransfer(_ context.Context, e Env) (Active, error) {
	var asked, failed int
	stop := run(func(ctx context.Context) error {
		return repeat(ctx, func() time.Duration { return e.between(200*time.Millisecond, 1500*time.Millisecond) }, func() error {
			ctx, cancel := context.WithTimeout(ctx, leaderWithin)
			defer cancel()
			asked++
			if err := e.Cluster.TransferLeadership(ctx); err != nil {
				failed++
			}
			return nil
		})
	})
	return Active{"transferring leadership", nil, func(context.Context) (Aftermath, error) {
		err := stop()
		return Aftermath{Note: fmt.Sprintf("asked for %d transfers, of which %d failed", asked, failed)}, err
	}}, nil
}
