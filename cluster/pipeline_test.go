package cluster

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestPipeline_readerGone: nobody reads the answers any more, and what is sent
// after that does not wait for ever.
func TestPipeline_readerGone(t *testing.T) {
	t.Parallel()
	open := func() *raft.NetworkTransport {
		n, err := raft.NewTCPTransport("127.0.0.1:0", nil, 2, 5*time.Second, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		return n
	}
	follower, leader := open(), &ackTransport{NetworkTransport: open(), acks: newAcks()}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case rpc := <-follower.Consumer():
				rpc.Respond(&raft.AppendEntriesResponse{LastLog: 7}, nil) // no success
			case <-stop:
				return
			}
		}
	}()
	p, err := leader.AppendEntriesPipeline("f", follower.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	const sends = 10
	sent := make(chan error, sends)
	go func() {
		for range sends {
			_, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 1}, new(raft.AppendEntriesResponse))
			sent <- err
		}
	}()
	for i := range sends {
		select {
		case err := <-sent:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("send %d is stuck", i+1)
		}
	}
	for range sends {
		select {
		case f := <-p.Consumer():
			if f.Response().Success || f.Response().LastLog != 7 {
				t.Errorf("answer %+v", f.Response())
			}
		case <-time.After(10 * time.Second):
			t.Fatal("an answer is lost")
		}
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
