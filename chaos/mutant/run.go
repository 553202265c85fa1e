package mutant

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Hunter runs killers.
type Hunter struct {
	Tree Tree
	// Dir is where overlays and outputs are kept. It must exist.
	Dir string
	// Chaos makes a run of real processes with the overlay and returns what it
	// found wrong: one line for each violated checker that begins with its name.
	// An error says that there is no result. nil: killers with a Run are refused.
	Chaos func(ctx context.Context, overlay, dir string, r Run) (string, error)

	sound map[string]error // by check, what it says without a mutant
}

// Hunt is what became of a mutant.
type Hunt struct {
	Mutant Mutant
	Killer Killer
	// Err is nil when the mutant was killed. It wraps ErrSurvived when the check
	// passed with it, and ErrBroken when nothing can be said.
	Err error
	// Took is the time of the check with the mutant, building included.
	Took time.Duration
	// Output is the file with what the check said, if it ran.
	Output string
}

// The ways in which a hunt fails.
var (
	ErrSurvived = errors.New("the mutant survived")
	ErrBroken   = errors.New("the hunt is void")
)

// tries is how often a simulation may miss a mutant: how its goroutines run is
// left to chance.
const tries = 3

// Hunt runs one killer of a mutant, and before that the same check without it,
// once: a check that fails anyway kills nothing.
func (h *Hunter) Hunt(ctx context.Context, m Mutant, k Killer) Hunt {
	out := Hunt{Mutant: m, Killer: k}
	dir := filepath.Join(h.Dir, m.Name+"-"+strings.ReplaceAll(string(k.Layer), " ", "-"))
	if out.Err = os.MkdirAll(dir, 0o700); out.Err != nil {
		return out
	}
	overlay, err := h.Tree.Overlay(append(m.Edits, k.Fault...), dir)
	if err != nil {
		out.Err = fmt.Errorf("%w: %w", ErrBroken, err)
		return out
	}
	if k.Test != nil {
		if err := h.passes(ctx, k); err != nil {
			out.Err = fmt.Errorf("%w: the check fails without the mutant too: %w", ErrBroken, err)
			return out
		}
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, k.Budget)
	defer cancel()
	text, found, err := h.check(ctx, overlay, dir, k)
	for try := 1; k.Layer == Simulation && err == nil && !found && try < tries; try++ {
		text, found, err = h.check(ctx, overlay, dir, k)
	}
	out.Took = time.Since(begin)
	out.Output = filepath.Join(dir, "output.txt")
	out.Err = errors.Join(h.judge(k, text, found, err), os.WriteFile(out.Output, []byte(text), 0o600))
	return out
}

// check runs the killer; found: it failed.
func (h *Hunter) check(ctx context.Context, overlay, dir string, k Killer) (text string, found bool, err error) {
	switch {
	case k.Test != nil:
		b, err := k.Test.command(ctx, h.Tree.Module, overlay, "-count=1").CombinedOutput()
		if _, failed := errors.AsType[*exec.ExitError](err); failed && ctx.Err() == nil {
			return string(b), true, nil
		}
		return string(b), false, errors.Join(err, ctx.Err())
	case h.Chaos == nil:
		return "", false, errors.New("runs of real processes are left out")
	default:
		text, err := h.Chaos(ctx, overlay, dir, *k.Run)
		return text, text != "", err
	}
}

func (*Hunter) judge(k Killer, text string, found bool, err error) error {
	sign, serr := regexp.Compile("(?m)" + k.Sign)
	switch {
	case serr != nil:
		return fmt.Errorf("%w: %w", ErrBroken, serr)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrBroken, err)
	case strings.Contains(text, "[build failed]"), strings.Contains(text, "[setup failed]"):
		return fmt.Errorf("%w: it does not compile", ErrBroken)
	case !found:
		return ErrSurvived
	case !sign.MatchString(text):
		return fmt.Errorf("%w: the check failed, but not with %q", ErrBroken, k.Sign)
	}
	return nil
}

// passes runs a test without the mutant. Go's test cache may answer.
func (h *Hunter) passes(ctx context.Context, k Killer) error {
	key := k.Test.Package + " " + k.Test.Name + " " + fmt.Sprint(len(k.Fault))
	if err, known := h.sound[key]; known {
		return err
	}
	err := func() error {
		overlay := ""
		if len(k.Fault) > 0 {
			dir, err := os.MkdirTemp(h.Dir, "sound-")
			if err != nil {
				return err
			}
			if overlay, err = h.Tree.Overlay(k.Fault, dir); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(ctx, k.Budget)
		defer cancel()
		b, err := k.Test.command(ctx, h.Tree.Module, overlay).CombinedOutput()
		switch {
		case err != nil:
			return fmt.Errorf("%w\n%s", err, b)
		case strings.Contains(string(b), "no tests to run"):
			return fmt.Errorf("%s has no test %q", k.Test.Package, k.Test.Name)
		}
		return nil
	}()
	if h.sound == nil {
		h.sound = map[string]error{}
	}
	h.sound[key] = err
	return err
}

// stopGrace is how long a test may take to end when its budget is used up.
const stopGrace = 5 * time.Second

func (t *Test) command(ctx context.Context, root, overlay string, more ...string) *exec.Cmd {
	args := append([]string{"test", "-run", t.Name}, more...)
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if limit, ok := ctx.Deadline(); ok { // the test ends by itself, before go is killed and leaves it behind
		args = append(args, "-timeout", max(time.Second, time.Until(limit)-stopGrace).Round(time.Second).String())
	}
	cmd := exec.CommandContext(ctx, "go", append(args, t.Package)...) //nolint:gosec // names of this package
	cmd.Dir = root
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopGrace
	return cmd
}

// String is how the killer is named in a table.
func (k Killer) String() string {
	switch {
	case k.Test != nil:
		return fmt.Sprintf("%s: go test -run '%s' %s", k.Layer, k.Test.Name, k.Test.Package)
	case k.Run != nil && len(k.Run.Nemeses) == 0:
		return fmt.Sprintf("%s: %s without faults", k.Layer, strings.Join(k.Run.Workloads, ","))
	case k.Run != nil:
		return fmt.Sprintf("%s: %s under %s", k.Layer, strings.Join(k.Run.Workloads, ","), strings.Join(k.Run.Nemeses, ","))
	}
	return string(k.Layer)
}
