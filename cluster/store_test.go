package cluster

import (
	"fmt"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// A node that stops and starts again in one process opens its stores again:
// closing must let go of every file and lock.
func TestOpenStores_again(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{LogBolt, LogWAL} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for i := range uint64(3) {
				s, err := openStores(dir, kind, hclog.NewNullLogger())
				if err != nil {
					t.Fatal(err)
				}
				if last, err := s.Log.LastIndex(); err != nil || last != i {
					t.Errorf("opened for the %d. time, the log ends at %d, %v", i+1, last, err)
				}
				if err := s.Log.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: fmt.Append(nil, i)}); err != nil {
					t.Fatal(err)
				}
				if err := s.Stable.SetUint64([]byte("term"), i); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
