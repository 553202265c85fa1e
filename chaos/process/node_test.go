package process

import (
	"bytes"
	"errors"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// idle is a node without a process.
func idle(t *testing.T) *Node {
	t.Helper()
	dir := t.TempDir()
	for path, data := range map[string]string{
		"config.db": "state", "outbox.db": "outbox", "attempts.db": "attempts", "master.keys": "keys", "incarnation": "1",
		"raft/config/raft.db": "log", "raft/config/snapshots/3-7-1/state.bin": "snapshot",
		"raft/events-0/raft.db": "votes", "raft/events-0/wal/wal-meta.db": "meta", "raft/events-0/wal/0001.wal": "events" + strings.Repeat("\x00", 4000),
		"raft/events-0/wal/0002.wal": strings.Repeat("\x00", 4000),
	} {
		path = filepath.Join(dir, path)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(data), 0o600))
	}
	return &Node{c: &Cluster{}, id: "n1", dir: dir}
}

func TestNode_files(t *testing.T) {
	t.Parallel()
	n := idle(t)
	got := map[FileClass][]string{}
	for _, class := range FileClasses() {
		files, err := n.Files(class)
		must(t, err)
		for _, f := range files {
			got[class] = append(got[class], n.short(f))
		}
	}
	want := map[FileClass][]string{
		EventLog: {"raft/events-0/wal/0001.wal", "raft/events-0/wal/0002.wal"}, ConfigLog: {"raft/config/raft.db"},
		EventMeta: {"raft/events-0/raft.db", "raft/events-0/wal/wal-meta.db"},
		Snapshots: {"raft/config/snapshots/3-7-1/state.bin"}, State: {"config.db"}, Outbox: {"outbox.db"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNode_flipBit(t *testing.T) {
	t.Parallel()
	n := idle(t)
	path := filepath.Join(n.dir, "raft/events-0/wal/0001.wal")
	before, err := os.ReadFile(path)
	must(t, err)
	what, err := n.FlipBit(path, rand.New(rand.NewPCG(1, 1)))
	must(t, err)
	after, err := os.ReadFile(path)
	must(t, err)
	turned, at := 0, -1
	for i := range before {
		if d := bits.OnesCount8(before[i] ^ after[i]); d > 0 {
			turned, at = turned+d, i
		}
	}
	if turned != 1 || at >= 512 || len(after) != len(before) {
		t.Errorf("%d bits of %d bytes were turned over, the last in byte %d; want one where the file holds something", turned, len(after), at)
	}
	if !strings.Contains(what, "raft/events-0/wal/0001.wal") {
		t.Errorf("it says %q", what)
	}
	if _, err := n.FlipBit(filepath.Join(n.dir, "raft/events-0/wal/0002.wal"), rand.New(rand.NewPCG(1, 1))); !errors.Is(err, errEmpty) {
		t.Errorf("a file of zeros: %v", err)
	}
}

func TestNode_truncate(t *testing.T) {
	t.Parallel()
	n := idle(t)
	path := filepath.Join(n.dir, "raft/events-0/wal/0001.wal")
	_, err := n.Truncate(path, rand.New(rand.NewPCG(1, 1)))
	must(t, err)
	after, err := os.ReadFile(path)
	if err != nil || len(after) >= len("events") || !strings.HasPrefix("events", string(after)) {
		t.Errorf("left is %q, %v", after, err)
	}
}

func TestNode_putBack(t *testing.T) {
	t.Parallel()
	n := idle(t)
	path := filepath.Join(n.dir, "config.db")
	old, err := n.Save(path)
	must(t, err)
	must(t, os.WriteFile(path, bytes.Repeat([]byte("new"), 100), 0o600))
	_, err = n.PutBack(old)
	must(t, err)
	wantFile(t, path, "state")
}

func TestNode_wipe(t *testing.T) {
	t.Parallel()
	n := idle(t)
	must(t, n.Wipe())
	entries, err := os.ReadDir(n.dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("after a wipe there are %d entries, %v", len(entries), err)
	}
}

// A node without a process can be asked and told everything.
func TestNode_idle(t *testing.T) {
	t.Parallel()
	n := idle(t)
	n.Kill()
	n.Pause()
	n.Resume()
	n.ExpectExit()
	must(t, n.Stop(t.Context()))
	<-n.Done()
	if n.Alive() || n.Paused() || n.Pid() != 0 || n.LogSize() != 0 || n.LogFrom(0) != "" {
		t.Error("a node without a process seems to have one")
	}
	if _, err := n.PowerFail(nil); err == nil {
		t.Error("the power of a plain directory failed")
	}
}

func TestNode_logFrom(t *testing.T) {
	t.Parallel()
	n := idle(t)
	n.log = filepath.Join(n.dir, "log")
	must(t, os.WriteFile(n.log, []byte("one\ntwo\n"), 0o600))
	for from, want := range map[int64]string{0: "one\ntwo\n", 4: "two\n", 8: "", 9: "", -5: "one\ntwo\n"} {
		if got := n.LogFrom(from); got != want {
			t.Errorf("from %d: %q, want %q", from, got, want)
		}
	}
}

func TestOptions_validate(t *testing.T) {
	t.Parallel()
	good := Options{Binary: "b", Dir: "d", Nodes: 3, AdminKey: "0123456789abcdef"}
	if err := good.validate(); err != nil {
		t.Error(err)
	}
	for name, f := range map[string]func(*Options){
		"binary": func(o *Options) { o.Binary = "" }, "directory": func(o *Options) { o.Dir = "" },
		"nodes": func(o *Options) { o.Nodes = 2 }, "key": func(o *Options) { o.AdminKey = "short" },
	} {
		o := good
		f(&o)
		if err := o.validate(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestKnobs_flags(t *testing.T) {
	t.Parallel()
	if got := (Knobs{}).Flags(); got != nil {
		t.Errorf("the defaults need %v", got)
	}
	k := Knobs{SnapshotThreshold: 50, Heartbeat: 500 * time.Millisecond, EventsLog: "bolt", MemoryBudget: 1 << 20}
	want := []string{
		"--snapshot-threshold", "50", "--heartbeat-timeout", "500ms", "--election-timeout", "500ms", "--events-log", "bolt", "--memory-budget", "1048576B",
	}
	if diff := cmp.Diff(want, k.Flags()); diff != "" {
		t.Error(diff)
	}
	seen := map[Knobs]bool{}
	for i := range uint64(50) {
		a, b := RandomKnobs(rand.New(rand.NewPCG(i, 0))), RandomKnobs(rand.New(rand.NewPCG(i, 0)))
		if a != b {
			t.Errorf("one seed, two settings: %+v, %+v", a, b)
		}
		seen[a] = true
	}
	if len(seen) < 5 {
		t.Errorf("50 seeds give %d settings", len(seen))
	}
}

func TestParseMetrics(t *testing.T) {
	t.Parallel()
	m, err := parseMetrics([]byte("# HELP a help\na{x=\"1 2\"} 3\na{x=\"2\"} 4.5\nab 7\nc 1e+06\n\n"))
	must(t, err)
	want := Metrics{`a{x="1 2"}`: 3, `a{x="2"}`: 4.5, "ab": 7, "c": 1e6}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	if got := m.Sum("a"); got != 7.5 {
		t.Errorf("the sum is %g", got)
	}
	for _, text := range []string{"novalue", "a b"} {
		if m, err := parseMetrics([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, m)
		}
	}
}

// The arguments of a node that joins name all others, and n1 bootstraps once.
func TestNode_args(t *testing.T) {
	t.Parallel()
	c := &Cluster{o: Options{Knobs: Knobs{SnapshotThreshold: 50}, Flags: []string{"--a"}, NodeFlags: map[string][]string{"n2": {"--b"}}}}
	for _, id := range []string{"n1", "n2", "n3"} {
		c.nodes = append(c.nodes, &Node{c: c, id: id, peerProxy: "peer-" + id})
	}
	has := func(n int, words ...string) bool {
		return strings.Contains(" "+strings.Join(c.nodes[n].args(), " ")+" ", " "+strings.Join(words, " ")+" ")
	}
	if !has(0, "--bootstrap") || has(0, "--join", "peer-n2") {
		t.Errorf("n1 begins with %v", c.nodes[0].args())
	}
	if !has(1, "--join", "peer-n1", "--join", "peer-n3", "--snapshot-threshold", "50", "--a", "--b") || has(2, "--b") {
		t.Errorf("n2 begins with %v", c.nodes[1].args())
	}
	c.formed = true
	if has(0, "--bootstrap") || !has(0, "--join", "peer-n2", "--join", "peer-n3") {
		t.Errorf("n1 begins again with %v", c.nodes[0].args())
	}
	if got := c.IDs(); !slices.Equal(got, []string{"n1", "n2", "n3"}) || c.Node("n2") != c.nodes[1] || c.Node("n4") != nil {
		t.Errorf("the nodes are %v", got)
	}
}
