package cluster

import (
	"sync"

	"github.com/hashicorp/raft"
)

// AppendEntriesPipeline opens a pipeline that raft cannot get stuck in.
//
// Raft stops reading the answers of a pipeline at the first one that is not a
// success, and may send once or twice more before it notices. The pipeline of
// its network transport has no room for those: it waits for its reader, the
// sender waits for it, and the follower gets heartbeats but never another
// entry from this leader (hashicorp/raft issue 612); neither does
// raft.Shutdown return.
func (t *ackTransport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	return newPipeline(p, func(f raft.AppendFuture) {
		if f.Error() == nil && f.Response().Success && f.Response().Term == f.Request().Term {
			t.acks.matched(id, f.Request())
		}
	}), nil
}

// pipeline takes the answers of the inner one at once and keeps them for raft.
// There are few: raft reads them, or it is about to close the pipeline.
type pipeline struct {
	raft.AppendPipeline

	answer func(raft.AppendFuture) // told of each
	out    chan raft.AppendFuture
	closed chan struct{}
	once   sync.Once
}

func newPipeline(inner raft.AppendPipeline, answer func(raft.AppendFuture)) *pipeline {
	p := &pipeline{AppendPipeline: inner, answer: answer, out: make(chan raft.AppendFuture), closed: make(chan struct{})}
	go p.pass()
	return p
}

func (p *pipeline) pass() {
	in := p.AppendPipeline.Consumer()
	var kept []raft.AppendFuture
	for {
		var out chan<- raft.AppendFuture
		var first raft.AppendFuture
		if len(kept) > 0 {
			out, first = p.out, kept[0]
		}
		select {
		case f := <-in:
			p.answer(f)
			kept = append(kept, f)
		case out <- first:
			kept = kept[1:]
		case <-p.closed:
			return
		}
	}
}

// Consumer gives the answers in order.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.out }

// Close ends the pipeline.
func (p *pipeline) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.AppendPipeline.Close()
}
