package index

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzMatch lets the fuzzer choose the changes and the events that
// TestDifferential draws at random.
func FuzzMatch(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("\x07\x05\x06\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x00\xff\xfe\x80\x40\x20"))
	f.Add([]byte("add, change, disable and remove a few subscriptions and see what an event of them finds"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4<<10 {
			return
		}
		r := source{func(below int) int {
			if len(data) == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return int(b) % below
		}}
		c, x := newConfig(), New()
		for range 1 + len(data)/8 {
			c.commit(x, r.change(c))
			e := r.event()
			if diff := cmp.Diff(c.scan(e), x.Match(nil, e), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%+v:\n%s", e, diff)
			}
			if len(data) == 0 {
				break
			}
		}
		contents(t, x.Snapshot())
	})
}
