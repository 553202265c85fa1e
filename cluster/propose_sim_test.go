package cluster_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/cluster"
	"example.com/belfry/cluster/transport"
	"example.com/belfry/fsm/model"
)

// TestGroup_Propose_tooLarge: the limit and one above, here and one hop away.
func TestGroup_Propose_tooLarge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 2)
		for _, id := range s.Running() {
			if _, _, err := s.config(id).Propose(t.Context(), make([]byte, cluster.MaxCommand)); err != nil {
				t.Errorf("at the limit on %s: %v", id, err)
			}
			_, _, err := s.config(id).Propose(t.Context(), make([]byte, cluster.MaxCommand+1))
			if model.CodeOf(err) != model.CodeTooLarge {
				t.Errorf("one byte above on %s: %v", id, err)
			}
		}
		s.Close()
	})
}

// TestGroup_Propose_answers: what the state machine answers comes with the
// index, here and one hop away.
func TestGroup_Propose_answers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		leader := s.WaitLeader("config")
		last := uint64(0)
		for _, id := range []string{leader, s.others(leader)[0]} {
			for cmd, want := range map[string]model.Code{
				"refuse": model.CodeInvalid, "fail": model.CodeInternal, "odd": model.CodeInternal, "silent": "", "keep": "",
			} {
				index, resp, err := s.config(id).Propose(t.Context(), []byte(cmd))
				if _, ok := err.(*model.Error); model.CodeOf(err) != want || err != nil && !ok { //nolint:errorlint // the type is promised
					t.Errorf("%s at %s: %v, want code %q", cmd, id, err, want)
				}
				if err != nil && strings.Contains(err.Error(), "canary") {
					t.Errorf("%s at %s: the text of an internal error is shown: %v", cmd, id, err)
				}
				if e, ok := errors.AsType[*model.Error](err); cmd == "refuse" && (!ok || e.Field != "field") {
					t.Errorf("the refusal lost its field: %v", err)
				}
				if index <= last || s.config(id).AppliedIndex() < index {
					t.Errorf("%s at %s: index %d after %d, applied %d", cmd, id, index, last, s.config(id).AppliedIndex())
				}
				last = index
				if cmd == "keep" {
					if n := uint64(len(s.ledger(id).list())); binary.BigEndian.Uint64(resp) != n {
						t.Errorf("%s at %s: got %x, want %d", cmd, id, resp, n)
					}
				} else if len(resp) > 0 {
					t.Errorf("%s at %s: got %x", cmd, id, resp)
				}
			}
		}
		s.Close()
	})
}

// lossy is a network on which the answers to proposals get lost.
type lossy struct {
	transport.Network

	mu   sync.Mutex
	lose bool
	sent []string // what was proposed over it
}

func (n *lossy) Dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := n.Network.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return &lossyConn{Conn: c, n: n}, nil
}

type lossyConn struct {
	net.Conn
	n *lossy

	mu       sync.Mutex
	proposed bool
}

func (c *lossyConn) Write(b []byte) (int, error) {
	if _, body, ok := bytes.Cut(b, []byte("POST /call/propose/")); ok {
		_, cmd, _ := bytes.Cut(body, []byte("\r\n\r\n"))
		c.n.mu.Lock()
		c.n.sent = append(c.n.sent, string(cmd))
		c.mu.Lock()
		c.proposed = c.n.lose
		c.mu.Unlock()
		c.n.mu.Unlock()
	}
	return c.Conn.Write(b)
}

func (c *lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proposed {
		_ = c.Conn.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// TestGroup_Propose_lostAnswer: INV propose-1, when the answer is lost the
// command was sent once, is applied once, and the outcome is unknown.
func TestGroup_Propose_lostAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		nets := map[string]*lossy{}
		s := newSim(t, 3, changed(func(o *cluster.Options) {
			mu.Lock()
			defer mu.Unlock()
			nets[o.NodeID] = &lossy{Network: o.Network}
			o.Network = nets[o.NodeID]
		}))
		from := s.others(s.WaitLeader("config"))[0]
		var want []string
		for i := range 20 {
			cmd := fmt.Sprintf("c%d", i)
			want = append(want, cmd)
			nets[from].mu.Lock()
			nets[from].lose = i%2 == 1
			nets[from].mu.Unlock()
			_, _, err := s.config(from).Propose(t.Context(), []byte(cmd))
			if code := model.CodeOf(err); i%2 == 0 && code != "" || i%2 == 1 && code != model.CodeUnknownOutcome {
				t.Errorf("%s: %v", cmd, err)
			}
		}
		if got := nets[from].sent; !slices.Equal(got, want) {
			t.Errorf("sent %v", got)
		}
		for _, id := range s.Running() {
			if err := s.config(id).Linearize(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.ledger(id).list(); !slices.Equal(got, want) {
				t.Errorf("%s applied %v", id, got)
			}
		}
		s.Close()
	})
}

// TestGroup_Propose_leaderCutOff: a proposal at a leader that has lost its
// quorum, or at a follower of it, ends with an unknown outcome and is applied
// once or not at all, whatever becomes of it.
func TestGroup_Propose_leaderCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		rng := rand.New(rand.NewPCG(1, 2))
		unknown := 0
		for i := range 30 {
			leader := s.WaitLeader("config")
			at := s.Running()[rng.IntN(3)]
			begin := time.Now()
			done := make(chan error)
			later := time.Duration(rng.IntN(3000)) * time.Microsecond
			go func() {
				time.Sleep(later)
				_, _, err := s.config(at).Propose(t.Context(), fmt.Append(nil, "c", i))
				done <- err
			}()
			s.Net.Latency(time.Millisecond, time.Millisecond)
			time.Sleep(time.Duration(rng.IntN(6000)) * time.Microsecond)
			if i%2 == 0 {
				s.Net.Isolate(leader, s.Running()...)
			} else {
				for _, o := range s.others(leader) {
					s.Net.Cut(o, leader)
				}
			}
			err := <-done
			if code := model.CodeOf(err); code == model.CodeUnknownOutcome {
				unknown++
			} else if code != "" && code != model.CodeUnavailable {
				t.Errorf("c%d: %v", i, err)
			}
			if d := time.Since(begin); d > transport.CallTimeout+2*cluster.DefaultLeaderWait {
				t.Errorf("c%d took %s", i, d)
			}
			s.Net.Heal()
			s.WaitVoters(3)
		}
		if unknown == 0 {
			t.Error("no outcome was unknown; the test tests nothing")
		}
		s.propose("n1", "config", "end")
		wantAppliedOnce(t, s)
		s.Close()
	})
}

// TestGroup_LeaderWait: without a leader a proposal and a read answer
// CodeUnavailable after LeaderWait, or when the context ends.
func TestGroup_LeaderWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const wait = 700 * time.Millisecond
		s := newSim(t, 3, changed(func(o *cluster.Options) { o.LeaderWait = wait }))
		for _, id := range s.Running() {
			s.Net.Isolate(id, s.Running()...)
		}
		s.Wait("nobody leads", func() bool {
			return !slices.ContainsFunc(s.Running(), func(id string) bool {
				_, ok := s.config(id).Leader()
				return ok
			})
		})
		for name, f := range map[string]func(context.Context) error{
			"Propose": func(ctx context.Context) error {
				_, _, err := s.config("n1").Propose(ctx, []byte("x"))
				return err
			},
			"Linearize": func(ctx context.Context) error { return s.config("n1").Linearize(ctx) },
			"Remove":    func(ctx context.Context) error { return s.Node("n1").RemoveNode(ctx, "n2") },
			"Transfer":  func(ctx context.Context) error { return s.Node("n1").TransferLeadership(ctx, "config") },
		} {
			for _, limit := range []time.Duration{wait, wait / 7} {
				ctx, cancel := context.Background(), context.CancelFunc(func() {})
				want := limit
				if name == "Remove" && limit == wait {
					want += cluster.DefaultLeaseTTL * 12 / 10 // and a lease has to run out
				}
				if limit != wait {
					ctx, cancel = context.WithTimeout(ctx, limit)
				}
				begin := time.Now()
				err := f(ctx)
				cancel()
				if d := time.Since(begin); model.CodeOf(err) != model.CodeUnavailable || d != want {
					t.Errorf("%s within %s: %v after %s, want %s", name, limit, err, d, want)
				}
			}
		}
		s.Close()
	})
}

// TestGroup_closed: what waits for this node ends when it is closed.
func TestGroup_closed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		leader := s.WaitLeader("config")
		at := s.others(leader)[0]
		node, g := s.Node(at), s.config(at)
		ends := make(chan string, 8)
		start := func(name string, f func() error) {
			go func() {
				if err := f(); err == nil {
					ends <- name + " succeeded"
					return
				}
				ends <- ""
			}()
		}
		start("WaitApplied", func() error { return g.WaitApplied(context.Background(), 1<<40) })
		s.Net.Isolate(at, s.Running()...)
		start("Linearize", func() error { return g.Linearize(context.Background()) })
		start("Propose", func() error {
			_, _, err := g.Propose(context.Background(), []byte("x"))
			return err
		})
		start("RemoveNode", func() error { return node.RemoveNode(context.Background(), leader) })
		synctest.Wait()
		s.Crash(at)
		begin := time.Now()
		for range 4 {
			if msg := <-ends; msg != "" {
				t.Error(msg)
			}
		}
		if d := time.Since(begin); d > transport.CallTimeout {
			t.Errorf("they ended %s after Close", d)
		}
		for name, err := range map[string]error{
			"Linearize": g.Linearize(context.Background()), "WaitApplied": g.WaitApplied(context.Background(), 1<<40), "Close": errors.Join(node.Close(), errors.New("closed twice without harm")),
		} {
			if err == nil {
				t.Errorf("%s of a closed node succeeded", name)
			}
		}
		if _, _, err := g.Propose(context.Background(), []byte("x")); model.CodeOf(err) != model.CodeUnavailable {
			t.Errorf("Propose of a closed node: %v", err)
		}
		s.Close()
	})
}

// TestNode_Close_followersStuck: a leader that cannot commit, as the disks of
// its followers hang, can be closed.
func TestNode_Close_followersStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := map[string]*stuckLog{}
		s := newSim(t, 3, changed(stuckLogs(logs)))
		leader := s.WaitLeader("config")
		hold := make(chan struct{})
		for _, id := range s.others(leader) {
			logs[id].set(hold)
		}
		done := make(chan error)
		go func() {
			_, _, err := s.config(leader).Propose(t.Context(), []byte("x"))
			done <- err
		}()
		removed := make(chan error)
		go func() { removed <- s.Node(leader).RemoveNode(t.Context(), s.others(leader)[0]) }()
		time.Sleep(10 * time.Second)
		if !s.config(leader).IsLeader() {
			t.Error("it does not lead any more; the test tests nothing")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := s.Node(leader).RemoveNode(ctx, s.others(leader)[1]); model.CodeOf(err) != model.CodeUnavailable {
			t.Errorf("another change of members: %v", err)
		}
		begin := time.Now()
		s.Crash(leader)
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("it took %s to close", d)
		}
		if err := <-done; model.CodeOf(err) != model.CodeUnknownOutcome {
			t.Errorf("the proposal ended with %v", err)
		}
		if err := <-removed; model.CodeOf(err) != model.CodeUnknownOutcome {
			t.Errorf("the change of members ended with %v", err)
		}
		for _, l := range logs {
			l.set(nil)
		}
		close(hold)
		s.Close()
	})
}

// wantAppliedOnce: no node that runs has applied a command twice.
func wantAppliedOnce(t *testing.T, s *sim) {
	t.Helper()
	for _, id := range s.Running() {
		if err := s.config(id).Linearize(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := s.ledger(id).list()
		slices.Sort(got)
		if once := slices.Compact(slices.Clone(got)); len(once) != len(got) {
			t.Errorf("%s applied a command twice: %v", id, got)
		}
	}
}
