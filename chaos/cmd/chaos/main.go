// Command chaos runs real belfry processes under real faults, has the history
// of what clients and receivers saw checked, and writes reports.
//
//	go run ./chaos/cmd/chaos run        the quick set: about eight minutes
//	go run ./chaos/cmd/chaos run -minutes 120
//	go run ./chaos/cmd/chaos recheck chaos-out
//	go run ./chaos/cmd/chaos sum chaos-out…   the figures of all runs together
//	go run ./chaos/cmd/chaos mutants    bugs on purpose, which must be found
//	go run ./chaos/cmd/chaos list
//
// It exits with 0 when everything held, with 1 when belfry broke a promise or a
// mutant lives, with 2 when it was called wrongly, and with 3 when the suite
// itself failed, so that nothing can be said.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"example.com/belfry/chaos/check"
	"example.com/belfry/chaos/fault"
	"example.com/belfry/chaos/mutant"
	"example.com/belfry/chaos/workload"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitVoid   = 3
)

// The errors that decide the exit code; any other is a fault of the suite.
var (
	errFailed = errors.New("belfry broke a promise")
	errAlive  = errors.New("a mutant is alive")
	errUsage  = errors.New("usage")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := exit(do(ctx, os.Args[1:], os.Stdout), os.Stderr)
	stop()
	os.Exit(code) //nolint:forbidigo // this is main
}

// exit says what went wrong and gives the exit code.
func exit(err error, w io.Writer) int {
	switch e, ok := errors.AsType[ended](err); {
	case ok:
		return int(e)
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage):
		_, _ = fmt.Fprintln(w, err)
		return exitUsage
	case errors.Is(err, errFailed), errors.Is(err, errAlive):
		_, _ = fmt.Fprintln(w, "FAILED:", err)
		return exitFailed
	}
	_, _ = fmt.Fprintln(w, "VOID, which is no pass:", err)
	return exitVoid
}

const usage = `chaos run [-minutes N] [-seconds N] [-nodes 3|5] [-seed S] [-nemesis a,b] [-workload w1,w3] [-longest N] [-pairs N] [-rate N] [-namespaces] [-untimed] [-binary PATH] [-out DIR]
chaos recheck DIR
chaos sum DIR...
chaos mutants [-only NAME] [-real] [-out DIR]
chaos list`

func do(ctx context.Context, args []string, w io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w:\n%s", errUsage, usage)
	}
	switch args[0] {
	case "run":
		return runCommand(ctx, args[1:], w)
	case "recheck":
		return recheckCommand(ctx, args[1:], w)
	case "sum":
		return sumCommand(args[1:], w)
	case "mutants":
		return mutantsCommand(ctx, args[1:], w)
	case "list":
		return list(w)
	}
	return fmt.Errorf("%w: there is no command %q\n%s", errUsage, args[0], usage)
}

// flags makes the flags of a command; errors are returned and not printed.
func flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return fs
}

func parse(fs *flag.FlagSet, args []string, most int) error {
	err := fs.Parse(args)
	if err == nil && fs.NArg() > most {
		err = fmt.Errorf("%q is too much", fs.Arg(most))
	}
	if err == nil {
		return nil
	}
	var b strings.Builder
	fs.SetOutput(&b)
	fs.PrintDefaults()
	return fmt.Errorf("%w of %s: %w\n%s", errUsage, fs.Name(), err, b.String())
}

// names cuts a list with commas.
func names(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func list(w io.Writer) error {
	var b strings.Builder
	b.WriteString("The quick set, one run after the other, and what a long one begins with:\n")
	for _, s := range append(quickSet(), clockRun()) {
		fmt.Fprintf(&b, "  %-10s %d nodes  %-18s  %-14s %s\n", s.Name, s.Nodes, s.network(), strings.Join(s.Workloads, ","), strings.Join(s.Nemeses, ","))
	}
	b.WriteString("\nNemeses (-nemesis):\n")
	for _, n := range fault.All() {
		var notes []string
		if n.FiveNodes {
			notes = append(notes, "5 nodes")
		}
		if n.Lossy {
			notes = append(notes, "lossy disks")
		}
		if n.Proxied {
			notes = append(notes, "proxies")
		}
		fmt.Fprintf(&b, "  %-4s %-20s %s\n", n.ID, n.Name, strings.Join(notes, ", "))
	}
	fmt.Fprintf(&b, "  %-4s %-20s %s\n", "N13", wallClock, "builds belfry with a clock that jumps; during the whole run")
	fmt.Fprintf(&b, "\nWorkloads (-workload): %s\n\nCheckers:\n", strings.Join(workload.Names(), ", "))
	for _, c := range check.All() {
		fmt.Fprintf(&b, "  %-4s %-14s %s\n", c.Invariant, c.Name, c.About)
	}
	b.WriteString("\nMutants (mutants -only):\n")
	for _, m := range mutant.All() {
		fmt.Fprintf(&b, "  %-24s %s\n", m.Name, m.Bug)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
