package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"example.com/belfry/api/client"
)

// waitEvery is between two looks of a command that waits.
const waitEvery = 200 * time.Millisecond

// operator are the flags of every command that talks to a cluster as its
// operator.
type operator struct{ url, keyFile string }

func (p *operator) register(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.SortFlags = false
	f.StringVar(&p.url, "url", "", "`URL` of any node (default "+defaultURL+") ["+envURL+"]")
	f.StringVar(&p.keyFile, "key-file", "", "`FILE` with the API key, in place of "+envAPIKey)
}

func (p *operator) client(o *Options) (*client.Client, error) {
	key, err := secretFrom(o, envAPIKey, "key-file", p.keyFile)
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Options{BaseURLs: []string{cmp.Or(p.url, o.getenv(envURL), defaultURL)}, Key: key})
	if err != nil {
		return nil, usage("--url: %w", err)
	}
	return c, nil
}

func clusterCommand(o *Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Look at the nodes of a cluster, and drain or remove them",
		Long: "Ask any node about the cluster, or have it change something. The API key needs the scope admin:cluster; it\n" +
			"comes from " + envAPIKey + " or --key-file.",
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	p := &operator{}
	p.register(cmd)
	cmd.AddCommand(nodesCommand(o, p), digestsCommand(o, p), drainCommand(o, p), undrainCommand(o, p), transferCommand(o, p), removeCommand(o, p))
	return cmd
}

func nodesCommand(o *Options, p *operator) *cobra.Command {
	return &cobra.Command{
		Use: "nodes", Short: "List the nodes with role, state, lag, partitions and disk", Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client(o)
			if err != nil {
				return err
			}
			nodes, err := c.Nodes(cmd.Context())
			if err != nil {
				return err
			}
			h, err := c.ClusterHealth(cmd.Context())
			if err != nil {
				return err
			}
			return printNodes(o, nodes, h)
		},
	}
}

func printNodes(o *Options, nodes []client.Node, h client.ClusterHealth) error {
	w := tabwriter.NewWriter(o.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tROLE\tSTATE\tVERSION\tUP\tPARTITIONS\tBEHIND\tDISK FREE\tAPI")
	of := map[string]client.NodeHealth{}
	for _, n := range h.Nodes {
		of[n.NodeID] = n
	}
	for _, n := range nodes {
		version, up, partitions, behind, free := "-", "-", "-", "-", "-"
		x, known := of[n.NodeID]
		if known {
			version, up = x.Version, (time.Duration(x.UptimeSeconds) * time.Second).String()
			partitions, free = fmt.Sprint(x.Partitions), fmt.Sprintf("%d MiB", x.Disk.FreeBytes>>20)
			var lag uint64
			for _, g := range x.Groups {
				if g.Lag != nil {
					lag, behind = max(lag, *g.Lag), ""
				}
			}
			behind = cmp.Or(behind, fmt.Sprint(lag))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.NodeID, n.Role, stateOf(n, x, known), version, up, partitions, behind, free, n.APIAddress)
	}
	return w.Flush()
}

// stateOf is the state of a node in a word or two.
func stateOf(n client.Node, h client.NodeHealth, known bool) string {
	switch {
	case !n.Live:
		return "silent"
	case n.Draining:
		return "drained"
	case known && !h.Ready:
		return "not ready"
	case !n.Voter:
		return "no vote"
	}
	return "live"
}

func digestsCommand(o *Options, p *operator) *cobra.Command {
	return &cobra.Command{
		Use: "digests", Short: "Compare the states of the nodes",
		Long: "Have every node read its whole state and sum it up. Nodes at one index have equal digests. Fails when they have\nnot, and when two nodes could not be compared.",
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client(o)
			if err != nil {
				return err
			}
			var errs []error
			for _, group := range []string{client.GroupConfig, client.GroupEvents} {
				d, err := c.Digests(cmd.Context(), group, "")
				if err != nil {
					return err
				}
				errs = append(errs, printDigests(o, group, d))
			}
			return errors.Join(errs...)
		},
	}
}

func printDigests(o *Options, group string, d client.Digests) error {
	w := tabwriter.NewWriter(o.Stdout, 0, 0, 2, ' ', 0)
	sums, compared := map[uint64]string{}, 0
	differ := false
	for _, x := range d.Digests {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", group, x.NodeID, x.Index, cmp.Or(x.SHA256, x.Error))
		if x.SHA256 == "" {
			continue
		}
		if other, ok := sums[x.Index]; ok {
			compared++
			differ = differ || other != x.SHA256
		}
		sums[x.Index] = x.SHA256
	}
	for _, id := range d.Unreachable {
		fmt.Fprintf(w, "%s\t%s\t-\tdoes not answer\n", group, id)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	switch {
	case differ:
		return fmt.Errorf("nodes at one index have different states of %s: one of them is damaged", group)
	case compared == 0 && len(d.Digests)+len(d.Unreachable) > 1:
		return fmt.Errorf("no two nodes were at one index of %s: try again", group)
	}
	return nil
}

func drainCommand(o *Options, p *operator) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "drain NODE", Short: "Have a node deliver nothing, for maintenance",
		Long: "The node ends what is in flight, then its partitions move to the others. It stays a member, also when it starts\n" +
			"again, until \"belfry cluster undrain\". Returns when it has no partitions any more.",
		Example: "  belfry cluster drain n2 && ssh n2 reboot",
		Args:    oneNode,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client(o)
			if err != nil {
				return err
			}
			if err := c.DrainNode(cmd.Context(), args[0]); err != nil {
				return err
			}
			if wait > 0 {
				if err := awaitEmpty(cmd.Context(), c, args[0], wait); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(o.Stdout, "%s is drained\n", args[0])
			return err
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "`DURATION` to wait for the partitions to move; 0: do not wait")
	return cmd
}

// awaitEmpty waits until the node owns no partition.
func awaitEmpty(ctx context.Context, c *client.Client, id string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	owned, known := 0, false
	for {
		ps, err := c.Partitions(ctx)
		if err == nil {
			owned, known = 0, true
			for _, x := range ps {
				if x.Owner == id {
					owned++
				}
			}
			if owned == 0 {
				return nil
			}
		}
		select {
		case <-time.After(waitEvery):
		case <-ctx.Done():
			if !known {
				return fmt.Errorf("%s was told; whether its partitions have moved is not known: %w", id, err)
			}
			return fmt.Errorf("%s was told, and still owns %d partitions after %s", id, owned, limit)
		}
	}
}

func undrainCommand(o *Options, p *operator) *cobra.Command {
	return p.on(o, "undrain NODE", "End the drain of a node", "%s delivers again\n", (*client.Client).UndrainNode)
}

func removeCommand(o *Options, p *operator) *cobra.Command {
	cmd := p.on(o, "remove NODE", "Take a node out of the cluster for good", "%s was removed\n", (*client.Client).RemoveNode)
	cmd.Long = "For a node that is gone for good, or that was stopped before. It cannot come back with its old data directory."
	return cmd
}

// on makes a command that does one thing to one node.
func (p *operator) on(o *Options, use, short, done string, do func(*client.Client, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: oneNode,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client(o)
			if err != nil {
				return err
			}
			if err := do(c, cmd.Context(), args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(o.Stdout, done, args[0])
			return err
		},
	}
}

func transferCommand(o *Options, p *operator) *cobra.Command {
	return &cobra.Command{
		Use: "transfer", Short: "Have another node lead the cluster", Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client(o)
			if err != nil {
				return err
			}
			if err := c.TransferLeadership(cmd.Context()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(o.Stdout, "another node leads")
			return err
		},
	}
}

func oneNode(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("%q takes the id of one node, got %d arguments; see \"%s --help\"", cmd.CommandPath(), len(args), cmd.CommandPath())
	}
	return nil
}
