package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
)

// closers is a stack of named teardown steps. A part registers its step right
// after it exists, so that a start that fails half-way and a regular stop
// take the same way down.
type closers struct {
	steps []closeStep
}

type closeStep struct {
	name string
	run  func(ctx context.Context) error
}

func (c *closers) add(name string, run func(ctx context.Context) error) {
	c.steps = append(c.steps, closeStep{name, run})
}

// close runs the steps from the newest to the oldest, every one even when an
// earlier one went wrong, and joins their errors. It may be called again: the
// steps run once.
func (c *closers) close(ctx context.Context, log hclog.Logger) error {
	var errs []error
	for len(c.steps) > 0 {
		s := c.steps[len(c.steps)-1]
		c.steps = c.steps[:len(c.steps)-1]
		begin := time.Now()
		if err := s.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
		log.Debug("stopped", "part", s.name, "dur", time.Since(begin))
	}
	return errors.Join(errs...)
}
