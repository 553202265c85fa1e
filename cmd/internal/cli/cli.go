// Package cli is the command line of belfry, made of an Options struct so that
// tests run it whole. It does not know what a node is made of, and it neither
// handles signals nor exits: cmd/belfry does.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"example.com/belfry/cmd/internal/demo"
	"example.com/belfry/config"
)

// The exit codes of belfry.
const (
	ExitOK     = 0
	ExitFailed = 1 // something went wrong while running
	ExitUsage  = 2 // the command line or the configuration is wrong
)

// Node is what serve needs of a node.
type Node interface {
	// Start returns when the node serves. ctx bounds the start only.
	Start(ctx context.Context) error
	// Stop drains and closes; ctx bounds it.
	Stop(ctx context.Context) error
	APIAddr() string
	PeerAddr() string
	AdminAddr() string
	// BootstrapKey is the admin key that this start made, to be shown once.
	BootstrapKey() (key string, made bool)
	// Done delivers the error of a part that ended by itself.
	Done() <-chan error
}

// NodeOptions is what a node is made of.
type NodeOptions struct {
	Config  config.Config
	Logger  hclog.Logger
	Version string
}

// Options says what the commands work with. NewNode, CheckBackup and Restore
// must be set.
type Options struct {
	// NewNode checks the options and makes a node that is not started.
	NewNode func(NodeOptions) (Node, error)
	// CheckBackup reads a backup to its end and returns the index that it is of.
	CheckBackup func(path string) (index uint64, err error)
	// Restore makes a data directory of a backup.
	Restore func(RestoreOptions) (index uint64, err error)
	// Version of the binary. Default "dev".
	Version string
	Stdin   io.Reader // nil: empty
	Stdout  io.Writer // nil: dropped
	Stderr  io.Writer // nil: dropped
	// Environ has the form of os.Environ.
	Environ []string
	// Fast is closed when a stop must not wait any longer. nil: never.
	Fast <-chan struct{}
	// Launch starts the nodes of a demo. nil: processes of this binary.
	Launch demo.Launcher
}

func (o *Options) fill() {
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Stdin == nil {
		o.Stdin = strings.NewReader("")
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	if o.Stderr == nil {
		o.Stderr = io.Discard
	}
}

// getenv returns a variable of Environ; the last one counts.
func (o *Options) getenv(name string) string {
	v := ""
	for _, e := range o.Environ {
		if k, val, ok := strings.Cut(e, "="); ok && k == name {
			v = val
		}
	}
	return v
}

// usageError is an error of the command line or the configuration.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Run executes the command line args (without the program's name) and returns
// the exit code. The end of ctx is the first request to stop.
func Run(ctx context.Context, o Options, args []string) int {
	o.fill()
	root := command(&o)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	fmt.Fprintln(o.Stderr, "belfry: "+oneLine(err.Error()))
	if _, ok := errors.AsType[usageError](err); ok {
		return ExitUsage
	}
	return ExitFailed
}

// oneLine joins the lines of an error, as errors.Join makes them.
func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }

func command(o *Options) *cobra.Command {
	root := &cobra.Command{
		Use:   "belfry",
		Short: "Event subscriptions and webhook delivery that survive the loss of a machine",
		Long: "belfry keeps subscriptions of customers to events, takes events from services and delivers them to\n" +
			"webhooks at least once. One binary, one to five nodes, no database beside it.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(o.Stdin)
	root.SetOut(o.Stdout)
	root.SetErr(o.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see \"%s --help\"", err, cmd.CommandPath())
	})
	root.AddCommand(
		serveCommand(o), configCommand(o), keysCommand(o), sendCommand(o), tailCommand(o), clusterCommand(o), backupCommand(o), verifyCommand(o), demoCommand(o), versionCommand(o),
	)
	return root
}

// noCommand refuses arguments: on a command that only holds others, an
// argument is a mistyped command.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	msg := fmt.Sprintf("%q is not a command of %q", args[0], cmd.CommandPath())
	if !cmd.HasSubCommands() {
		msg = fmt.Sprintf("%q takes no argument, got %q", cmd.CommandPath(), args[0])
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		msg += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usage("%s; see \"%s --help\"", msg, cmd.CommandPath())
}

func versionCommand(o *Options) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noCommand,
		RunE: func(*cobra.Command, []string) error {
			revision := ""
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = " revision " + s.Value
					}
				}
			}
			_, err := fmt.Fprintf(o.Stdout, "belfry %s%s %s %s/%s\n", o.Version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// newLogger makes the logger of a node.
func newLogger(o *Options, c config.Config) hclog.Logger {
	terminal := false
	if f, ok := o.Stderr.(*os.File); ok {
		st, err := f.Stat()
		terminal = err == nil && st.Mode()&os.ModeCharDevice != 0
	}
	lo := &hclog.LoggerOptions{
		Name:       "belfry",
		Level:      hclog.LevelFromString(c.LogLevel),
		Output:     o.Stderr,
		JSONFormat: c.LogFormat == "json" || c.LogFormat == "auto" && !terminal,
	}
	if terminal && !lo.JSONFormat {
		lo.Color = hclog.AutoColor
	}
	return hclog.New(lo)
}

// readLimited reads a file, or the standard input for "-".
func readLimited(o *Options, path string, limit int64) ([]byte, error) {
	in := o.Stdin
	if path != "-" {
		f, err := os.Open(path) //nolint:gosec // the path is the caller's own argument
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, nil
}
