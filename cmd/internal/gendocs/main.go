// Command gendocs writes docs/configuration.md from the tags of config.Config.
// "make generate" runs it.
package main

import (
	"bytes"
	"fmt"
	"os"

	"example.com/belfry/config"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendocs FILE")
		os.Exit(2)
	}
	var b bytes.Buffer
	err := config.WriteDocs(&b)
	if err == nil {
		err = os.WriteFile(os.Args[1], b.Bytes(), 0o644) //nolint:gosec // documentation is for everybody
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}
