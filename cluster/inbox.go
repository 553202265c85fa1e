package cluster

import "github.com/hashicorp/raft"

// inbox is what other nodes ask of raft.
//
// Raft handles heartbeats on the goroutine of their connection, beside its main
// loop, so that they are answered while that waits for the disk. One of a newer
// term deposes a leader there: it sets state and term while the leader's loop
// waits for work. If that is a proposal, the loop stores it with the new term,
// which this node does not lead. The new leader's entries of that term then seem
// to be there already, and this node applies others than everybody else.
//
// INV group-6: a heartbeat is handled beside the main loop only by a follower of
// its term, of which it changes nothing but when it was last heard from. All
// others go through the main loop, as requests with entries do.
type inbox struct {
	g     *Group
	rpcs  chan raft.RPC
	done  chan struct{}
	ended chan struct{}
}

// newInbox forwards what comes from in, until close.
func newInbox(g *Group, in <-chan raft.RPC) *inbox {
	x := &inbox{g: g, rpcs: make(chan raft.RPC), done: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(x.ended)
		for {
			select {
			case rpc := <-in:
				x.put(rpc)
			case <-x.done:
				return
			}
		}
	}()
	return x
}

// put has the main loop handle a request. One that comes when the group is
// closed gets no answer: its connection is closed too.
func (x *inbox) put(rpc raft.RPC) {
	select {
	case x.rpcs <- rpc:
	case <-x.done:
	}
}

func (x *inbox) close() {
	close(x.done)
	<-x.ended
}

// heartbeat handles a heartbeat by beside or by the main loop.
func (x *inbox) heartbeat(rpc raft.RPC, beside func(raft.RPC)) {
	req, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if g := x.g; ok && g.started.Load() && g.raft.State() == raft.Follower && g.raft.CurrentTerm() == req.Term {
		beside(rpc)
		return
	}
	x.put(rpc)
}

// Consumer implements raft.Transport.
func (t *ackTransport) Consumer() <-chan raft.RPC { return t.inbox.rpcs }

// SetHeartbeatHandler implements raft.Transport.
func (t *ackTransport) SetHeartbeatHandler(beside func(raft.RPC)) {
	if beside == nil {
		t.NetworkTransport.SetHeartbeatHandler(nil)
		return
	}
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) { t.inbox.heartbeat(rpc, beside) })
}
