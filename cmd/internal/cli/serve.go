package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"example.com/belfry/config"
)

// fastStop is how long a stop may still take once it was told to hurry.
const fastStop = 2 * time.Second

var errFast = errors.New("stopped at once, as asked by the second signal: deliveries that were in flight are sent again")

func serveCommand(o *Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: "Run a node until SIGINT or SIGTERM. The first signal stops it gracefully, the second at once.\n" +
			"Every flag can also be given as a BELFRY_ variable and in the file of --config; flags win, then variables.",
		Example: "  belfry serve --node-id n1 --data-dir data/n1 --bootstrap --dev\n" +
			"  belfry serve --node-id n2 --data-dir data/n2 --api-addr 127.0.0.1:8601 --peer-addr 127.0.0.1:8701 --join 127.0.0.1:8700 --dev",
		Args: noCommand,
	}
	cmd.Flags().SortFlags = false
	l := config.Bind(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := loadValid(o, l)
		if err != nil {
			return err
		}
		return serve(cmd.Context(), o, loaded)
	}
	return cmd
}

// loadValid joins the sources and checks the outcome.
func loadValid(o *Options, l *config.Loader) (config.Loaded, error) {
	loaded, err := l.Load(o.Environ)
	if err == nil {
		err = loaded.Config.Validate()
	}
	if err != nil {
		return config.Loaded{}, usageError{err}
	}
	return loaded, nil
}

func serve(ctx context.Context, o *Options, loaded config.Loaded) error {
	cfg := loaded.Config
	if err := checkFirstStart(cfg); err != nil {
		return err
	}
	log := newLogger(o, cfg)
	for _, w := range loaded.Warnings {
		log.Warn(w)
	}
	n, err := o.NewNode(NodeOptions{Config: cfg, Logger: log, Version: o.Version})
	if err != nil {
		return err
	}
	startCtx, cancel := hurry(ctx, o.Fast)
	err = n.Start(startCtx)
	cancel()
	if err != nil {
		return explain(cfg, err)
	}
	announce(o, cfg, n)
	select {
	case <-ctx.Done():
		log.Info("stopping; a second signal stops at once", "at_most", cfg.DrainTimeout.String())
		return stop(ctx, o, n, cfg.DrainTimeout)
	case err := <-n.Done():
		return errors.Join(err, stop(ctx, o, n, cfg.DrainTimeout))
	}
}

// checkFirstStart refuses a start that could never become ready.
func checkFirstStart(cfg config.Config) error {
	if cfg.Bootstrap || len(cfg.Join) > 0 {
		return nil
	}
	entries, err := os.ReadDir(cfg.DataDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return usage("--data-dir: %w", err)
	}
	if len(entries) == 0 {
		return usage("--data-dir %s is empty, so this is a first start: add --bootstrap for the first node of a new cluster, or --join HOST:PORT to enter one", cfg.DataDir)
	}
	return nil
}

// hurry derives a context that also ends when fast is closed.
func hurry(ctx context.Context, fast <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-fast:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// stop drains the node. INV cli-1: once Fast is closed, it returns within
// fastStop, whatever the node does.
func stop(ctx context.Context, o *Options, n Node, drain time.Duration) error {
	bounded, cancelTimeout := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancelTimeout()
	stopCtx, cancel := hurry(bounded, o.Fast)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- n.Stop(stopCtx) }()
	var late <-chan time.Time
	fast := o.Fast
	for {
		select {
		case err := <-stopped:
			// Not by what this loop has seen: the node may have heard of it first.
			if closed(o.Fast) {
				return errors.Join(errFast, err)
			}
			if err != nil {
				return fmt.Errorf("stop: %w", err)
			}
			return nil
		case <-fast:
			fast = nil
			late = time.After(fastStop)
		case <-late:
			return errFast
		}
	}
}

// announce says where the node can be reached, on standard output.
func announce(o *Options, cfg config.Config, n Node) {
	scheme := "http"
	if cfg.APITLSCert != "" {
		scheme = "https"
	}
	fmt.Fprintf(o.Stdout, "belfry %s: node %s is serving\n", o.Version, cfg.NodeID)
	fmt.Fprintf(o.Stdout, "  API    %s://%s\n", scheme, n.APIAddr())
	fmt.Fprintf(o.Stdout, "  peers  %s\n", n.PeerAddr())
	if a := n.AdminAddr(); a != "" {
		fmt.Fprintf(o.Stdout, "  admin  http://%s\n", a)
	}
	if key, made := n.BootstrapKey(); made {
		fmt.Fprintf(o.Stdout, "\nFirst admin key of account \"default\". It is shown once and stored nowhere:\n  %s\n", key)
	}
}

// explain turns a taken port into the flag that has to change.
func explain(cfg config.Config, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Addr == nil {
		return err
	}
	for flag, addr := range map[string]string{"--api-addr": cfg.APIAddr, "--peer-addr": cfg.PeerAddr, "--admin-addr": cfg.AdminAddr} {
		if samePort(addr, op.Addr.String()) {
			return usage("%s is taken by another program: stop that, or choose another address with %s", op.Addr, flag)
		}
	}
	return err
}

// samePort compares the ports: the system may write the host in another way.
func samePort(a, b string) bool {
	_, pa, errA := net.SplitHostPort(a)
	_, pb, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && pa == pb
}

// closed reports whether c is; nil is not.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
