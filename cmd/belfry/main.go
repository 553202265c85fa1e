// Command belfry is the server and its tools in one binary. It adds the signals,
// the real node, the pace of the garbage collector and the exit code to package
// cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"example.com/belfry/cmd/internal/cli"
	"example.com/belfry/cmd/internal/node"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "dev"

func main() { os.Exit(run()) }

// run ends its context with the first SIGINT or SIGTERM and closes fast with
// the second.
func run() int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go paceHeap(ctx)
	fast := make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		<-signals
		close(fast)
	}()
	return cli.Run(ctx, cli.Options{
		NewNode:     newNode,
		CheckBackup: node.CheckBackup,
		Restore:     restore,
		Version:     version,
		Stdin:       os.Stdin,
		Stdout:      os.Stdout,
		Stderr:      os.Stderr,
		Environ:     os.Environ(),
		Fast:        fast,
	}, os.Args[1:])
}

func newNode(o cli.NodeOptions) (cli.Node, error) {
	n, err := node.New(node.Options{Config: o.Config, Logger: o.Logger, Version: o.Version})
	if err != nil {
		return nil, err // a nil *node.Node in a cli.Node would not be nil
	}
	return n, nil
}

func restore(o cli.RestoreOptions) (uint64, error) {
	return node.Restore(node.RestoreOptions{Backup: o.Backup, NodeID: o.NodeID, DataDir: o.DataDir, PeerAddress: o.PeerAddress})
}
