package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"example.com/belfry/api/client"
)

// backupTime is how long a backup may take to arrive.
const backupTime = 15 * time.Minute

// RestoreOptions say what becomes of a backup: the first node of a new cluster.
type RestoreOptions struct{ Backup, NodeID, DataDir, PeerAddress string }

func backupCommand(o *Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Save, check and restore the configuration of a cluster",
		Long: "A backup has all accounts, keys, users, subscriptions, profiles, security settings, certificates and audit logs\n" +
			"as of one moment. Secrets are in it as they are stored, sealed: to use them takes the master key file, which is\n" +
			"not in it. Events are not in it.",
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(saveCommand(o), checkCommand(o), restoreCommand(o))
	return cmd
}

func saveCommand(o *Options) *cobra.Command {
	var out string
	var stale bool
	p := &operator{}
	cmd := &cobra.Command{
		Use:   "save",
		Short: "Download a backup from a running cluster, and check it",
		Long: "Download a backup through any node. The API key needs the scope admin:cluster; it comes from " + envAPIKey + "\n" +
			"or --key-file. The file is there when it is whole and checked, or not at all.",
		Example: "  belfry backup save --out belfry-$(date +%F).backup",
		Args:    noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usage("--out is required: name the file to write")
			}
			key, err := secretFrom(o, envAPIKey, "key-file", p.keyFile)
			if err != nil {
				return err
			}
			c, err := client.New(client.Options{
				BaseURLs: []string{cmp.Or(p.url, o.getenv(envURL), defaultURL)}, Key: key,
			})
			if err != nil {
				return usage("--url: %w", err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), backupTime)
			defer cancel()
			return save(o, out, func(f *os.File) error { return c.Backup(ctx, stale, f) })
		},
	}
	p.register(cmd)
	cmd.Flags().StringVar(&out, "out", "", "`FILE` to write; it must not exist")
	cmd.Flags().BoolVar(&stale, "stale", false, "take what the node has, also without a quorum")
	return cmd
}

// save downloads beside the file, checks what came, and gives it its name.
func save(o *Options, out string, download func(*os.File) error) (err error) {
	if _, err := os.Lstat(out); err == nil {
		return usage("--out %s exists already and is not overwritten: choose another name", out)
	}
	part := out + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the path is the caller's own argument
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part))
		}
	}()
	err = download(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	index, err := o.CheckBackup(part)
	if err != nil {
		return fmt.Errorf("what the node sent is no whole backup: %w", err)
	}
	if err := os.Rename(part, out); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	_, err = fmt.Fprintf(o.Stdout, "wrote %s: the configuration after entry %d; keep it apart from the master key file\n", out, index)
	return err
}

func checkCommand(o *Options) *cobra.Command {
	return &cobra.Command{
		Use: "verify FILE", Short: "Check that a backup is whole",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("%q takes the name of one file, got %d arguments", cmd.CommandPath(), len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			index, err := o.CheckBackup(args[0])
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			_, err = fmt.Fprintf(o.Stdout, "%s is whole: the configuration after entry %d\n", args[0], index)
			return err
		},
	}
}

func restoreCommand(o *Options) *cobra.Command {
	var r RestoreOptions
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Make the first node of a new cluster of a backup",
		Long: "Check a backup and make an empty data directory that of a node which has its configuration. Then start that node\n" +
			"with the same --node-id and --data-dir, with --bootstrap and the master key file of the old cluster, and let\n" +
			"further nodes join it. What was owed when the old cluster ended is not in a backup.",
		Example: "  belfry backup restore --file belfry.backup --node-id n1 --data-dir /var/lib/belfry --peer-addr 10.0.0.1:8700",
		Args:    noCommand,
		RunE: func(*cobra.Command, []string) error {
			for _, f := range []struct{ name, value string }{{"file", r.Backup}, {"node-id", r.NodeID}, {"data-dir", r.DataDir}, {"peer-addr", r.PeerAddress}} {
				if f.value == "" {
					return usage("--%s is required", f.name)
				}
			}
			index, err := o.Restore(r)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(o.Stdout, "%s has the configuration after entry %d; start %s with --bootstrap and the master key file of the old cluster\n", r.DataDir, index, r.NodeID)
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&r.Backup, "file", "", "`FILE` of the backup")
	f.StringVar(&r.NodeID, "node-id", "", "`ID` that the node will be started with")
	f.StringVar(&r.DataDir, "data-dir", "", "`DIR`ectory to make; empty or not there")
	f.StringVar(&r.PeerAddress, "peer-addr", "", "`HOST:PORT` at which other nodes will reach the node")
	return cmd
}
