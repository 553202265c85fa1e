package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestClosers_runNewestFirstAndAll(t *testing.T) {
	t.Parallel()
	var ran []string
	var c closers
	for _, name := range []string{"store", "cluster", "http"} {
		c.add(name, func(context.Context) error {
			ran = append(ran, name)
			if name == "cluster" {
				return errors.New("cannot say goodbye")
			}
			return nil
		})
	}
	err := c.close(t.Context(), hclog.NewNullLogger())
	if err == nil || !strings.Contains(err.Error(), "cluster: cannot say goodbye") {
		t.Errorf("close = %v, want the failing step named", err)
	}
	if want := []string{"http", "cluster", "store"}; !slices.Equal(ran, want) {
		t.Errorf("steps ran as %v, want %v", ran, want)
	}
	if err := c.close(t.Context(), hclog.NewNullLogger()); err != nil || len(ran) != 3 {
		t.Errorf("a second close ran %v again (%v)", ran, err)
	}
}
