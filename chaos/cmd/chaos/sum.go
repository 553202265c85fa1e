package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"example.com/belfry/chaos/report"
)

// sumCommand prints the figures of all runs in some directories together.
func sumCommand(args []string, w io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: chaos sum DIR...: directories of runs, or of several", errUsage)
	}
	var runs []*report.Run
	for _, dir := range args {
		dirs := []string{dir}
		if _, err := os.Stat(filepath.Join(dir, report.JSONFile)); err != nil { //nolint:gosec // the directory is the operator's
			x, err := readIndex(dir)
			if err != nil {
				return err
			}
			dirs = dirs[:0]
			for _, l := range x.Runs {
				dirs = append(dirs, filepath.Join(dir, filepath.FromSlash(l.Dir)))
			}
		}
		for _, d := range dirs {
			r, err := report.Read(d)
			if err != nil {
				return err
			}
			runs = append(runs, r)
		}
	}
	t := report.NewTotals(runs)
	return t.Write(w)
}
