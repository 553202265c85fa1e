package cluster_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/cluster"
)

// TestHint_commitIsKnownAtOnce: a follower applies what was committed one way
// after the leader does, not with the next heartbeat or after CommitTimeout.
func TestHint_commitIsKnownAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const oneWay = time.Millisecond
		s := newSim(t, 3, changed(func(o *cluster.Options) { o.CommitTimeout = 10 * time.Second }))
		leader := s.WaitLeader("config")
		s.Net.Latency(oneWay, 0)
		for i := range 20 {
			index, _, err := s.config(leader).Propose(t.Context(), fmt.Append(nil, i))
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			for _, id := range s.others(leader) {
				if err := s.config(id).WaitApplied(t.Context(), index); err != nil {
					t.Fatal(err)
				}
			}
			if d := time.Since(begin); d > 10*oneWay {
				t.Errorf("command %d was applied everywhere %s after the leader", i, d)
			}
			begin = time.Now()
			s.propose(s.others(leader)[0], "config", "forwarded")
			if d := time.Since(begin); d > 12*oneWay {
				t.Errorf("a write at a follower took %s", d)
			}
			time.Sleep(time.Second) // nothing else is under way
		}
		s.Close()
	})
}

// TestHint_term: INV hint-1, only who leads notes what to tell, with its term,
// and a hint of a term that is over changes nothing.
func TestHint_term(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 3)
		old := s.WaitLeader("config")
		index, _, err := s.config(old).Propose(t.Context(), []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		term := s.config(old).Term()
		if leading, known := s.config(old).HintForTest(index, term); leading != term || known < index {
			t.Errorf("the leader of term %d tells %d as of term %d", term, known, leading)
		}
		for _, id := range s.others(old) {
			if leading, known := s.config(id).HintForTest(index+100, term); leading == term || known > 100 {
				t.Errorf("the follower %s tells %d as of term %d", id, known, leading)
			}
		}
		s.leads(s.others(old)[0], "config")
		now := s.WaitLeader("config")
		third := s.others(old, now)[0]
		s.Wait("all follow", func() bool {
			id, ok := s.config(third).Leader()
			return ok && id == now && s.config(third).Term() > term
		})
		if known, err := s.config(old).SendHintForTest(third, term, index, term); err != nil || !known {
			t.Errorf("a hint of an old term: %v, %v; who is ahead needs no more", known, err)
		}
		if id, ok := s.config(third).Leader(); !ok || id != now {
			t.Errorf("%s follows %q after a hint of an old term", third, id)
		}
		// An entry that the follower does not have: it must not take it for committed.
		if known, err := s.config(now).SendHintForTest(third, s.config(now).Term(), index+100, term+1); err != nil || known {
			t.Errorf("a hint of an entry that is not there: %v, %v", known, err)
		}
		// What the new leader itself writes may arrive meanwhile.
		if after, committed := s.config(third).AppliedIndex(), s.config(now).AppliedIndex(); after > committed {
			t.Errorf("it applied up to %d on the word of a hint, of %d that are committed", after, committed)
		}
		s.propose(third, "config", "y")
		s.Close()
	})
}
