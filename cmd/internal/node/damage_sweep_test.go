package node

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// whatIsStored is what the databases of a node say.
type whatIsStored struct {
	configIndex, outboxIndex uint64
	config, outbox           [32]byte
}

// openAll opens the stores of a data directory as a start does.
func openAll(t *testing.T, tn *testNode) (is whatIsStored, err error) {
	t.Helper()
	nd, err := New(Options{Config: tn.cfg})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if cerr := nd.Stop(ctx); cerr != nil {
			t.Errorf("close: %v", cerr)
		}
	}()
	if err := opened(tn.cfg.DataDir, nd.openStores); err != nil {
		return is, err
	}
	is.configIndex, is.outboxIndex = nd.store.AppliedIndex(), nd.outbox.AppliedIndex()
	if is.config, err = nd.store.Digest(); err != nil {
		t.Errorf("digest of the config: %v", err)
	}
	if is.outbox, err = nd.outbox.Digest(); err != nil {
		t.Errorf("digest of the outbox: %v", err)
	}
	return is, nil
}

// One bit, wherever it is, and a file that was cut off anywhere, change nothing
// that a node knows, or it does not start and says which file it is and what to
// do. INV fsm-8, outbox-19, attemptlog-2.
func TestOpenStores_damaged(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	tn := c.nodes[0]
	gone := newHook(t)
	url := gone.URL
	gone.Close()
	for i := range 3 {
		subscribe(c, tn, "SMS", fmt.Sprint("s", i), fmt.Sprint(url, "/", i), "DELIVERY")
	}
	for i := range 20 {
		c.must(tn, http.MethodPost, "/events/1/events", report(fmt.Sprint("e", i)))
	}
	c.stop(tn)
	want, err := openAll(t, tn)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(9, 9))
	for _, name := range []string{"config.db", "outbox.db", "attempts.db", "raft/config/raft.db", "raft/events-0/raft.db", "raft/events-0/wal/wal-meta.db"} {
		path := filepath.Join(tn.cfg.DataDir, filepath.FromSlash(name))
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		try := func(what string, content []byte, older bool) {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			broken := wholeFile(path) != nil
			is, err := openAll(t, tn)
			aside, gerr := filepath.Glob(path + ".corrupt-*")
			if gerr != nil || broken && err == nil && len(aside) != 1 { // INV attemptlog-2
				t.Errorf("%s: bbolt was given the file (%v)", what, gerr)
			}
			for _, p := range aside {
				if err := os.Remove(p); err != nil {
					t.Fatal(err)
				}
			}
			switch {
			case err != nil:
				refused++
				if !strings.Contains(err.Error(), tn.cfg.DataDir) || !strings.Contains(err.Error(), "empty data directory") {
					t.Errorf("%s: the error does not say what to do: %v", what, err)
				}
			// With one of its two meta pages bbolt shows the transaction before, and
			// raft's log has the rest.
			case is != want && (!older || is.configIndex > want.configIndex || is.outboxIndex > want.outboxIndex ||
				is.configIndex == want.configIndex && is.config != want.config || is.outboxIndex == want.outboxIndex && is.outbox != want.outbox):
				t.Errorf("%s: what is stored is another thing: %+v, want %+v", what, is, want)
			}
		}
		used := positions(good, rng, 60)
		for _, at := range used {
			b := bytes.Clone(good)
			b[at] ^= 1 << rng.IntN(8)
			try(fmt.Sprintf("byte %d of %s", at, name), b, at < 2*pageSizeOf(t, good))
		}
		for range 8 {
			keep := used[rng.IntN(len(used))]
			try(fmt.Sprintf("%s cut to %d", name, keep), good[:keep], false)
		}
		t.Logf("%s: %d of %d damages were refused", name, refused, len(used)+8)
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// positions picks n bytes among those that hold something: of each page the
// first ones, where bbolt has its own, and any.
func positions(b []byte, rng *rand.Rand, n int) []int {
	page := os.Getpagesize()
	var out []int
	for len(out) < n {
		from := page * rng.IntN(len(b)/page)
		span := page
		if rng.IntN(2) == 0 {
			span = 64
		}
		at := from + rng.IntN(span)
		if len(bytes.TrimRight(b[at:from+page], "\x00")) > 0 {
			out = append(out, at)
		}
	}
	return out
}

// pageSizeOf is how large the pages of a bbolt file are.
func pageSizeOf(t *testing.T, b []byte) int {
	t.Helper()
	m, ok := readBoltMetas(bytes.NewReader(b))
	if !ok {
		t.Fatal("this is no bbolt file")
	}
	return int(m.pageSize)
}
