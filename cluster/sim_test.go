package cluster_test

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"example.com/belfry/cluster"
	"example.com/belfry/cluster/clustertest"
	"example.com/belfry/fsm/model"
)

// ledger is a state machine that keeps every command, in order.
type ledger struct {
	mu       sync.Mutex
	cmds     []string
	restored int           // how often a snapshot replaced the state
	held     chan struct{} // while it is open, nothing is applied
}

// hold has what comes next wait until release is called.
func (l *ledger) hold() (release func()) {
	held := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = held
	return func() {
		l.mu.Lock()
		l.held = nil
		l.mu.Unlock()
		close(held)
	}
}

func (l *ledger) Apply(e *raft.Log) any {
	l.mu.Lock()
	held := l.held
	l.mu.Unlock()
	if held != nil {
		<-held
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch string(e.Data) {
	case "refuse":
		return model.Invalid("field", "refused")
	case "fail":
		return errors.New("canary")
	case "odd":
		return 7
	case "silent":
		return nil
	}
	l.cmds = append(l.cmds, string(e.Data))
	return binary.BigEndian.AppendUint64(nil, uint64(len(l.cmds)))
}

func (l *ledger) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.cmds)
}

func (l *ledger) length() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.cmds))
}

func (l *ledger) restores() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.restored
}

type ledgerSnapshot []string

func (l *ledger) Snapshot() (raft.FSMSnapshot, error) { return ledgerSnapshot(l.list()), nil }

func (s ledgerSnapshot) Persist(sink raft.SnapshotSink) error {
	for _, c := range s {
		if _, err := sink.Write(append([]byte{byte(len(c))}, c...)); err != nil {
			return err
		}
	}
	return sink.Close()
}

func (ledgerSnapshot) Release() {}

func (l *ledger) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cmds = nil
	l.restored++
	for len(b) > 0 {
		n := int(b[0])
		l.cmds, b = append(l.cmds, string(b[1:1+n])), b[1+n:]
	}
	return r.Close()
}

// sim is a cluster of ledgers.
type sim struct {
	*clustertest.Cluster

	t  *testing.T
	mu sync.Mutex
	fs map[string]map[string]*ledger
}

func newSim(t *testing.T, nodes int, change ...func(*clustertest.Options)) *sim {
	t.Helper()
	s := &sim{t: t, fs: map[string]map[string]*ledger{}}
	o := clustertest.Options{Nodes: nodes}
	o.Groups = func(id string) []cluster.GroupSpec {
		a, b := &ledger{}, &ledger{}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fs[id] = map[string]*ledger{"config": a, "events": b}
		return []cluster.GroupSpec{{Name: "config", FSM: a}, {Name: "events", FSM: b}}
	}
	for _, f := range change {
		f(&o)
	}
	s.Cluster = clustertest.New(t, o)
	return s
}

// changed has every node start with options that f has changed.
func changed(f func(*cluster.Options)) func(*clustertest.Options) {
	return func(o *clustertest.Options) { o.Change = f }
}

// ledger is the state machine of the first group.
func (s *sim) ledger(id string) *ledger { return s.ledgerOf(id, "config") }

func (s *sim) ledgerOf(id, group string) *ledger {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fs[id][group]
}

// config is the first group on a node.
func (s *sim) config(id string) *cluster.Group { return s.Node(id).Group("config") }

func (s *sim) propose(id, group, cmd string) {
	s.t.Helper()
	if _, _, err := s.Node(id).Group(group).Propose(s.t.Context(), []byte(cmd)); err != nil {
		s.t.Fatalf("propose %s at %s: %v", cmd, id, err)
	}
}

// others are the running nodes but those named.
func (s *sim) others(but ...string) []string {
	return slices.DeleteFunc(s.Running(), func(id string) bool { return slices.Contains(but, id) })
}

// leads has the node lead the group.
func (s *sim) leads(id, group string) {
	s.t.Helper()
	for {
		leader := s.WaitLeader(group)
		if leader == id {
			return
		}
		if err := s.Node(leader).TransferLeadership(s.t.Context(), group); err != nil {
			s.t.Fatal(err)
		}
	}
}
