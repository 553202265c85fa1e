package cluster

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g gate
		if err := g.pass(t.Context()); err != nil {
			t.Errorf("an open gate: %v", err)
		}
		open, mine := g.close()
		if _, again := g.close(); !mine || again {
			t.Errorf("shut by the first: %v, by the second: %v", mine, again)
		}
		passed := make(chan error, 1)
		go func() { passed <- g.pass(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-passed:
			t.Fatalf("a shut gate lets a proposal pass: %v", err)
		default:
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.pass(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("at the end of the context: %v", err)
		}
		open()
		if err := <-passed; err != nil {
			t.Error(err)
		}
		if _, mine = g.close(); !mine {
			t.Error("it cannot be shut again")
		}
	})
}
