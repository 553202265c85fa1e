package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"example.com/belfry/chaos/check"
	"example.com/belfry/chaos/report"
)

// recheckCommand has old histories judged by the checkers of today.
func recheckCommand(ctx context.Context, args []string, w io.Writer) error {
	f := flags("recheck")
	if err := parse(f, args, 1); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return fmt.Errorf("%w: chaos recheck DIR: the directory of a run or of several", errUsage)
	}
	dir := f.Arg(0)
	if _, err := os.Stat(filepath.Join(dir, report.JSONFile)); err == nil {
		r, err := recheck(ctx, dir)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(w, sumUp(r))
		return conclude(&report.Index{Runs: []report.Line{r.Line("")}}, ctx.Err())
	}
	x, err := readIndex(dir)
	if err != nil {
		return err
	}
	for i := range x.Runs {
		r, err := recheck(ctx, filepath.Join(dir, filepath.FromSlash(x.Runs[i].Dir)))
		if err != nil {
			return err
		}
		x.Runs[i] = r.Line(x.Runs[i].Dir)
		_, _ = fmt.Fprintln(w, sumUp(r))
	}
	if err := report.WriteIndex(dir, x); err != nil {
		return err
	}
	return conclude(&x, ctx.Err())
}

func readIndex(dir string) (report.Index, error) {
	var x report.Index
	b, err := os.ReadFile(filepath.Join(dir, report.IndexJSONFile)) //nolint:gosec // the caller's directory
	if errors.Is(err, fs.ErrNotExist) {
		return x, fmt.Errorf("%w: %s holds neither a run nor several", errUsage, dir)
	}
	if err == nil {
		err = json.Unmarshal(b, &x)
	}
	if err != nil {
		return x, fmt.Errorf("read the index in %s: %w", dir, err)
	}
	return x, nil
}

// recheck judges a run again and writes its report again. What the nemeses saw
// is not in the history and stays as it was.
func recheck(ctx context.Context, dir string) (*report.Run, error) {
	r, err := report.Read(dir)
	if err != nil {
		return nil, err
	}
	own := slices.DeleteFunc(r.Verdicts, func(v check.Verdict) bool { return v.Name != report.Orderly })
	r.Verdicts = nil
	judge(ctx, r, dir, own)
	return r, r.Write(dir)
}
