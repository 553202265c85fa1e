package cluster

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// FillForTest makes servers without a vote until the group has n.
func (g *Group) FillForTest(n int) error {
	for i := len(g.servers()); i < n; i++ {
		id := raft.ServerID(fmt.Sprintf("fill%d.0", i))
		if err := g.change(func() raft.Future {
			return g.raft.AddNonvoter(id, raft.ServerAddress(string(id)+":1"), 0, changeTimeout)
		}); err != nil {
			return err
		}
	}
	return nil
}

// HintForTest notes a commitment as the state machine's wrapper does, and gives
// what the group then knows to tell.
func (g *Group) HintForTest(index, term uint64) (leading, known uint64) {
	g.hints.committed(index, term)
	g.hints.mu.Lock()
	defer g.hints.mu.Unlock()
	return g.hints.last.leading, g.hints.last.index
}

// SendHintForTest sends a hint to a node as the leader of a term.
func (g *Group) SendHintForTest(nodeID string, leading, index, term uint64) (known bool, err error) {
	s, _ := g.server(nodeID)
	return g.hints.send(s, hint{leading, index, term})
}

// LastSnapshot is the index of the newest snapshot of the group; "0": none.
func (g *Group) LastSnapshot() string { return g.raft.Stats()["last_snapshot_index"] }

// HeartbeatForTest sends a node a heartbeat as the leader of a term.
func (g *Group) HeartbeatForTest(nodeID string, term uint64) error {
	s, _ := g.server(nodeID)
	return g.trans.AppendEntries(s.ID, s.Address, &raft.AppendEntriesRequest{RPCHeader: g.rpcHeader(), Term: term}, &raft.AppendEntriesResponse{})
}

// ApplyForTest proposes to raft itself, whether this node leads or not.
func (g *Group) ApplyForTest(cmd []byte) error { return g.raft.Apply(cmd, 0).Error() }

// LastLogForTest is the last entry of the raft log.
func (g *Group) LastLogForTest() (raft.Log, error) {
	var l raft.Log
	last, err := g.stores.Log.LastIndex()
	if err != nil {
		return l, err
	}
	return l, g.stores.Log.GetLog(last, &l)
}
