// Package node joins all packages into one running belfry node: it opens the
// stores, the raft groups and the listeners in order, hands each part the
// interfaces it declared, and takes everything down in the opposite order.
//
// It holds no rules of its own. See DESIGN.md for the order and its reasons.
package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"example.com/belfry/api"
	"example.com/belfry/cluster"
	"example.com/belfry/config"
	"example.com/belfry/dispatch"
	"example.com/belfry/dispatch/attemptlog"
	"example.com/belfry/dispatch/index"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/stats"
	"example.com/belfry/dispatch/tail"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm"
	"example.com/belfry/fsm/seal"
)

// Options says what a node is made of.
type Options struct {
	Config  config.Config
	Logger  hclog.Logger
	Version string
}

// Node is one belfry node. Make it with New, run it with Start, end it with
// Stop. The methods that tell addresses are valid after Start.
type Node struct {
	cfg     config.Config
	log     hclog.Logger
	version string
	reg     *prometheus.Registry
	began   time.Time // of Start

	closers    closers
	done       chan error
	index      *index.Index
	store      *fsm.Store
	outbox     *outbox.Store
	attempts   *attemptlog.Log
	cluster    *cluster.Node
	ring       *seal.Ring
	sealer     *seal.Sealer
	writer     *fsm.Writer
	resolver   *resolver
	ownership  *ownership
	drainer    atomic.Pointer[drainer]
	waker      *waker
	members    members
	tables     tableWriter
	guard      *webhook.Guard
	sender     *webhook.Sender
	publisher  *dispatch.Publisher
	dispatcher *dispatch.Dispatcher
	notices    *notices
	stats      *stats.Recorder
	tail       *tail.Ring
	api        *api.Server

	apiListener, adminListener net.Listener // adminListener is nil without --admin-addr
	apiAddr, adminAddr         string
	bootstrapKey               string
	begun                      atomic.Bool // bootstrap is over
}

// groupConfig and groupEvents are the raft groups of a node.
const (
	groupConfig = "config"
	groupEvents = "events-0"
)

// New checks the options. It opens nothing.
func New(o Options) (*Node, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Node{cfg: o.Config, log: o.Logger, version: o.Version, reg: reg, done: make(chan error, 1)}, nil
}

// APIAddr is the address the API listens on.
func (n *Node) APIAddr() string { return n.apiAddr }

// PeerAddr is the address that peers use.
func (n *Node) PeerAddr() string { return n.cluster.PeerAddr() }

// AdminAddr is the address of pprof and metrics, or empty.
func (n *Node) AdminAddr() string { return n.adminAddr }

// BootstrapKey is the admin key that this start made because none was given.
// It is shown once and stored nowhere.
func (n *Node) BootstrapKey() (string, bool) { return n.bootstrapKey, n.bootstrapKey != "" }

// Done delivers the error of a part that ended by itself. The node is of no
// use then: Stop it.
func (n *Node) Done() <-chan error { return n.done }

// Start opens the node and returns when it serves. When it fails, everything
// it had opened is closed again. ctx bounds the start, not the life of the node.
func (n *Node) Start(ctx context.Context) error {
	n.began = time.Now()
	if err := n.start(ctx); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.DrainTimeout)
		defer cancel()
		return errors.Join(err, n.Stop(stopCtx))
	}
	return nil
}

// The straight line below is long on purpose: it is the order in which a node
// comes up, and splitting it would hide that order.
func (n *Node) start(ctx context.Context) error {
	if err := os.MkdirAll(n.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	if err := rewriteTails(n.cfg.DataDir); err != nil {
		return err
	}
	if err := opened(n.cfg.DataDir, n.openStores); err != nil {
		return err
	}
	n.run("outbox writer", n.outbox.Run)
	n.run("attempt log writer", n.attempts.Run)
	if err := opened(n.cfg.DataDir, func() error { return n.openCluster(ctx) }); err != nil {
		return err
	}
	if err := n.openKeys(ctx); err != nil {
		return err
	}
	if err := n.openDelivery(); err != nil {
		return err
	}
	if err := n.serveHTTP(); err != nil {
		return err
	}
	if err := n.bootstrap(ctx); err != nil {
		return err
	}
	n.begun.Store(true)
	return nil
}

// openStores opens what lies in the data directory.
func (n *Node) openStores() error {
	// The attempt log may be large, and is looked at while the others are read.
	attempts := filepath.Join(n.cfg.DataDir, "attempts.db")
	looked := make(chan error, 1)
	go func() { looked <- wholeFile(attempts) }()
	n.index = index.New()
	n.ownership = newOwnership()
	n.waker = &waker{}
	n.resolver = newResolver(nil, nil)
	n.notices = newNotices(nil, n.log, n.reg)
	n.stats = stats.New(stats.Options{Registerer: n.reg})
	n.tail = tail.New(tail.Options{})
	store, err := fsm.Open(fsm.Options{
		Path:   filepath.Join(n.cfg.DataDir, "config.db"),
		Logger: n.log.Named("fsm"),
		// The order matters: see invalidator and waker.
		Observers: []fsm.Observer{invalidator{n.resolver}, n.index, n.ownership, n.waker},
	})
	if err != nil {
		return err
	}
	n.closers.add("config store", func(context.Context) error { return store.Close() })
	n.store, n.resolver.config = store, store

	if n.outbox, err = outbox.Open(outbox.Options{
		Path: filepath.Join(n.cfg.DataDir, "outbox.db"), MemoryBytes: int(n.cfg.MemoryBudget),
		Logger: n.log, Registerer: n.reg,
	}); err != nil {
		return err
	}
	n.closers.add("outbox", func(context.Context) error { return n.outbox.Close() })

	if n.attempts, err = attemptlog.Open(attemptlog.Options{
		Path: attempts, MaxAge: n.cfg.AttemptLogAge, MaxBytes: int64(n.cfg.AttemptLogBytes), Check: func(string) error { return <-looked },
		Logger: n.log.Named("attempts"), Reg: n.reg,
	}); err != nil {
		return err
	}
	n.closers.add("attempt log", func(context.Context) error { return n.attempts.Close() })
	return nil
}

// run starts a part that lives until the node takes it down: the closer
// cancels it and waits for its end. A part that ends earlier takes the node
// down.
func (n *Node) run(name string, part func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := part(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended without being asked to")
		}
		select {
		case n.done <- fmt.Errorf("%s: %w", name, err):
		default: // the first one is the cause
		}
	}()
	n.closers.add(name, func(stopCtx context.Context) error {
		cancel()
		select {
		case <-ended:
			return nil
		case <-stopCtx.Done():
			return stopCtx.Err()
		}
	})
}

// Stop takes the node down: it stops taking requests, moves its partitions
// away, hands leadership over, finishes and settles what is in flight, and
// closes everything. It is bounded by ctx and may be called twice.
func (n *Node) Stop(ctx context.Context) error { return n.closers.close(ctx, n.log) }

// listen binds addr and says what to do when it is taken.
func listen(ctx context.Context, flag, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot listen on %s: %w; choose another address with %s", flag, addr, err, flag)
	}
	return l, nil
}

// serve runs an HTTP server until its closer shuts it down, which waits for
// the requests that are under way.
func (n *Node) serve(name string, srv *http.Server, accept func() error) {
	n.run(name, func(ctx context.Context) error {
		if err := accept(); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		<-ctx.Done() // accept returns at the beginning of Shutdown
		return nil
	})
	n.closers.add(name+" requests", func(ctx context.Context) error {
		if err := srv.Shutdown(ctx); err != nil {
			return errors.Join(err, srv.Close())
		}
		return nil
	})
}
