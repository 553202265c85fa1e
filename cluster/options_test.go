package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestOptions_validate(t *testing.T) {
	t.Parallel()
	groups := func(n int) []GroupSpec {
		var gs []GroupSpec
		for i := range n {
			gs = append(gs, GroupSpec{Name: fmt.Sprintf("g%d", i), FSM: &tape{}})
		}
		return gs
	}
	for name, c := range map[string]struct {
		change func(*Options)
		want   string // part of the error; empty: none
	}{
		"good":                         {func(*Options) {}, ""},
		"marks of what is not durable": {func(o *Options) { o.Groups[0].Marks = true }, "marks"},
		"no node id":                   {func(o *Options) { o.NodeID = "" }, "node id"},
		"longest node id":              {func(o *Options) { o.NodeID = strings.Repeat("n", 64) }, ""},
		"node id one too long":         {func(o *Options) { o.NodeID = strings.Repeat("n", 65) }, "node id"},
		"node id with a slash":         {func(o *Options) { o.NodeID = "a/b" }, "node id"},
		"no address":                   {func(o *Options) { o.PeerListen = "" }, "peer address"},
		"no directory":                 {func(o *Options) { o.DataDir = "" }, "data directory"},
		"stores without incarnation":   {func(o *Options) { o.DataDir, o.Stores = "", func(string) (Stores, error) { return Stores{}, nil } }, "data directory"},
		"stores": {func(o *Options) {
			o.DataDir, o.Incarnation = "", "0"
			o.Stores = func(string) (Stores, error) { return Stores{}, nil }
		}, ""},
		"no group":              {func(o *Options) { o.Groups = nil }, "raft groups"},
		"most groups":           {func(o *Options) { o.Groups = groups(MaxGroups) }, ""},
		"one group too many":    {func(o *Options) { o.Groups = groups(MaxGroups + 1) }, "raft groups"},
		"group without name":    {func(o *Options) { o.Groups[0].Name = "" }, "group name"},
		"group named dot":       {func(o *Options) { o.Groups[0].Name = "." }, "group name"},
		"group named dots":      {func(o *Options) { o.Groups[0].Name = ".." }, "group name"},
		"group twice":           {func(o *Options) { o.Groups = append(groups(1), groups(1)...) }, "group name"},
		"no state machine":      {func(o *Options) { o.Groups[0].FSM = nil }, "no state machine"},
		"durable without index": {func(o *Options) { o.Groups[0].DurableFSM = true }, "AppliedIndex"},
		"durable":               {func(o *Options) { o.Groups[0].DurableFSM, o.Groups[0].FSM = true, &tapeOnDisk{} }, ""},
		"another log":           {func(o *Options) { o.Groups[0].Log = "paper" }, "log"},
		"wal":                   {func(o *Options) { o.Groups[0].Log = LogWAL }, ""},
		"election below heartbeat": {func(o *Options) {
			o.HeartbeatTimeout, o.ElectionTimeout = time.Second, time.Second-1
		}, "election timeout"},
		"election at heartbeat":      {func(o *Options) { o.HeartbeatTimeout, o.ElectionTimeout = time.Second, time.Second }, ""},
		"negative heartbeat":         {func(o *Options) { o.HeartbeatTimeout = -1 }, "negative"},
		"negative commit timeout":    {func(o *Options) { o.CommitTimeout = -1 }, "negative"},
		"negative lease":             {func(o *Options) { o.LeaseTTL = -1 }, "negative"},
		"negative wait":              {func(o *Options) { o.LeaderWait = -1 }, "negative"},
		"lease at the heartbeat":     {func(o *Options) { o.LeaseTTL = DefaultHeartbeat }, ""},
		"lease below the heartbeat":  {func(o *Options) { o.LeaseTTL = DefaultHeartbeat - 1 }, "lease"},
		"negative snapshot interval": {func(o *Options) { o.Groups[0].SnapshotInterval = -1 }, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{NodeID: "n", DataDir: "d", PeerListen: "127.0.0.1:0", Groups: groups(1)}
			c.change(&o)
			err := o.validate()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want something about %q", err, c.want)
			}
		})
	}
	o := Options{NodeID: "n", DataDir: "d", PeerListen: "127.0.0.1:0", Groups: groups(1)}
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	if g := o.Groups[0]; g.Log != LogBolt || g.SnapshotThreshold != 8192 || g.SnapshotInterval != 30*time.Second || g.TrailingLogs != 10240 {
		t.Errorf("defaults of a group: %+v", g)
	}
	if o.HeartbeatTimeout != DefaultHeartbeat || o.ElectionTimeout != DefaultHeartbeat || o.LeaseTTL != DefaultLeaseTTL || o.LeaderWait != DefaultLeaderWait || o.Logger == nil || o.Network == nil {
		t.Errorf("defaults: %+v", o)
	}
}

// TestLoadIncarnation: made once, the same ever after, and never made anew
// beside data of an earlier one.
func TestLoadIncarnation(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "data")
	first, err := loadIncarnation(dir)
	if err != nil || len(first) != 16 {
		t.Fatalf("got %q, %v", first, err)
	}
	if again, err := loadIncarnation(dir); err != nil || again != first {
		t.Errorf("loaded %q, %v, want %q", again, err, first)
	}
	if other, err := loadIncarnation(t.TempDir()); err != nil || other == first {
		t.Errorf("another directory is %q, %v", other, err)
	}
	path := filepath.Join(dir, incarnationFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[at] ^= 1 << bit
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if s, err := loadIncarnation(dir); err == nil && s != first || err != nil && !strings.Contains(err.Error(), "empty the data directory") {
				t.Errorf("bit %d of byte %d: got %q, %v", bit, at, s, err)
			}
		}
	}
	for name, content := range map[string]string{
		"empty": "", "short": first[:14], "long": first + "00", "no hex": "zz" + first[2:], "zeros": strings.Repeat("\x00", 17),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := loadIncarnation(dir); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "empty the data directory") {
			t.Errorf("%s: got %q, %v", name, s, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "raft"), 0o700); err != nil {
		t.Fatal(err)
	}
	if s, err := loadIncarnation(dir); err == nil || !strings.Contains(err.Error(), "empty the data directory") {
		t.Errorf("missing beside raft data: got %q, %v", s, err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if s, err := loadIncarnation(dir); err == nil {
		t.Errorf("unreadable: got %q", s)
	}
}

// TestWriteFile: whole or not at all, and nothing is left beside it.
func TestWriteFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, content := range []string{"one", "two"} {
		if err := writeFile(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != content {
			t.Errorf("got %q, %v", b, err)
		}
	}
	if err := writeFile(filepath.Join(dir, "none", "f"), nil); err == nil {
		t.Error("written to a directory that is not there")
	}
	blocked := filepath.Join(dir, "blocked")
	if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(blocked, nil); err == nil {
		t.Error("a directory was replaced")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
}

func TestNodeOf(t *testing.T) {
	t.Parallel()
	for id, want := range map[raft.ServerID]string{
		serverID("n1", "00ff"): "n1", serverID("a.b", "00ff"): "a.b", "plain": "plain", "": "",
	} {
		if got := nodeOf(id); got != want {
			t.Errorf("nodeOf(%q) = %q, want %q", id, got, want)
		}
	}
}
