package node

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

func TestOwnAddresses_names(t *testing.T) {
	t.Parallel()
	members := []string{"10.0.0.1:8600", "n2.example:8700", "n2.example:8600", "[::1]:8700", "nonsense", "n3.example:8700"}
	dns := map[string][]netip.Addr{"n2.example": {netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("::ffff:10.0.0.22")}}
	o := &ownAddresses{
		advertised: func() []string { return members }, log: hclog.NewNullLogger(),
		lookup: func(_ context.Context, _, host string) ([]netip.Addr, error) {
			if a, ok := dns[host]; ok {
				return append([]netip.Addr(nil), a...), nil
			}
			return nil, errors.New("no such host")
		},
	}
	want := func(what string, addrs ...string) {
		t.Helper()
		var got []string
		for _, a := range o.list() {
			got = append(got, a.String())
		}
		if diff := cmp.Diff(addrs, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	want("before the first look", "10.0.0.1:8600", "[::1]:8700")
	o.refresh(t.Context())
	n2 := []string{"10.0.0.1:8600", "10.0.0.2:8700", "10.0.0.22:8700", "10.0.0.2:8600", "10.0.0.22:8600", "[::1]:8700"}
	want("after it", n2...)
	delete(dns, "n2.example")
	o.refresh(t.Context())
	want("when the name cannot be looked up", n2...)
	members = members[:1]
	o.refresh(t.Context())
	if len(o.names) != 0 {
		t.Errorf("names of nodes that left are kept: %v", o.names)
	}
}
