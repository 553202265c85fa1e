package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"example.com/belfry/fsm/seal"
)

func keysCommand(o *Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make the master key that protects stored secrets",
		Args:  noCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var out string
	create := &cobra.Command{
		Use:     "create",
		Short:   "Write a new master key file",
		Long:    "Write a master key file that only its owner may read. Every node of a cluster needs the same file.\nWithout it no stored secret can be read, so keep a copy apart from the backups. An existing file is not touched.",
		Example: "  belfry keys create --out /etc/belfry/master.keys",
		Args:    noCommand,
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				return usage("--out is required: name the file to write")
			}
			if _, err := seal.CreateRing(out); err != nil {
				if errors.Is(err, fs.ErrExist) {
					return usage("--out %s exists already and is not overwritten: choose another name", out)
				}
				return fmt.Errorf("--out: %w", err)
			}
			_, err := fmt.Fprintf(o.Stdout, "wrote %s; keep a copy of it apart from the backups, and give every node the same file with --master-key-file\n", out)
			return err
		},
	}
	create.Flags().StringVar(&out, "out", "", "`FILE` to write; it must not exist")
	cmd.AddCommand(create)
	return cmd
}
