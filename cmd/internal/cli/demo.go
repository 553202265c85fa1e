package cli

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"example.com/belfry/cmd/internal/demo"
)

func demoCommand(o *Options) *cobra.Command {
	do := demo.Options{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start nodes on loopback and show events arriving at a webhook",
		Long: "Start one or three development nodes and a webhook receiver on loopback, make subscriptions, post sample events of\n" +
			"many channels, and print what arrives with its signature checked. Then it stays up until Ctrl-C.\n" +
			"Each start begins with empty data, unless --keep is given.",
		Args: noCommand,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&do.Nodes, "nodes", 1, "number of nodes, 1 to 5")
	f.IntVar(&do.Port, "port", demo.DefaultPort, "port of the first node's API; the next ones follow, peers are 100 above")
	f.StringVar(&do.DataDir, "data-dir", "", "`DIR` for the nodes' data and logs (default data/run, data/cluster for several nodes)")
	f.BoolVar(&do.Keep, "keep", false, "go on with the data of the last time")
	f.BoolVar(&do.Exit, "exit-after-demo", false, "stop when all events have arrived")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		do.Out, do.Launch, do.Fast = o.Stdout, o.Launch, o.Fast
		do.Command = os.Args[0]
		if do.Launch == nil {
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			do.Launch = demo.Processes(exe)
		}
		err := demo.Run(cmd.Context(), do)
		if _, ok := errors.AsType[*demo.UsageError](err); ok {
			return usageError{err}
		}
		return err
	}
	return cmd
}
