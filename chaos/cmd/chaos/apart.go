package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"

	"example.com/belfry/chaos/process"
)

// ended is the exit code of a process that made the runs and has said what
// there was to say.
type ended int

func (e ended) Error() string { return fmt.Sprintf("the runs ended with exit code %d", int(e)) }

// needsNamespaces reports whether a run is in network namespaces.
func needsNamespaces(specs []spec) bool {
	return slices.ContainsFunc(specs, func(s spec) bool { return s.Namespaces })
}

// move has the runs made by a process of their own with a network of its own,
// where one of them needs that; err is how it ended. Where that is not possible
// it says so, and the runs have proxies.
func (b *bench) move(ctx context.Context, o order, specs []spec, w io.Writer) (moved bool, err error) {
	if !needsNamespaces(specs) {
		return false, nil
	}
	if process.Apart() {
		if err := process.ProbeNamespaces(); err != nil {
			b.withProxies(specs, err)
		}
		return false, process.LoopbackUp()
	}
	self, err := os.Executable()
	if err != nil {
		return false, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(self, b.inside(o)...) //nolint:gosec,noctx // this program; RunApart ends it with ctx
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	code, err := process.RunApart(ctx, cmd)
	switch {
	case cmd.Process == nil: // it was not started
		b.withProxies(specs, err)
		return false, nil
	case err != nil:
		return true, err
	case code != exitOK:
		return true, ended(code)
	}
	return true, nil
}

// withProxies has runs that wanted network namespaces do without.
func (b *bench) withProxies(specs []spec, why error) {
	b.log("no network namespaces, but proxies between the nodes: %v", why)
	for i := range specs {
		specs[i].Namespaces = false
	}
}

// inside is the command line of the process that makes the runs: as this one's,
// with what is drawn and built already. It cannot build, for it reaches nobody.
func (b *bench) inside(o order) []string {
	args := append([]string{"run"}, o.args...)
	args = append(args, "-seed", strconv.FormatUint(o.seed, 10), "-binary", b.binary)
	if b.jumping != "" {
		args = append(args, "-jumping", b.jumping)
	}
	return args
}
