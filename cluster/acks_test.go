package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestAcks_since: INV read-1, the moment that a quorum of voters, this node
// among them, had not left this term for another.
func TestAcks_since(t *testing.T) {
	t.Parallel()
	const term = 5
	// Seconds before now; -1: never. Servers are a (this one), b, c, d, e.
	type acked map[raft.ServerID]struct {
		term uint64
		ago  int
	}
	for name, c := range map[string]struct {
		voters, others string
		acks           acked
		want           int
	}{
		"alone":                            {"a", "", nil, 0},
		"alone beside others without vote": {"a", "bc", nil, 0},
		"two, never":                       {"ab", "", nil, -1},
		"two":                              {"ab", "", acked{"b": {term, 3}}, 3},
		"three, never":                     {"abc", "", nil, -1},
		"three, one":                       {"abc", "", acked{"b": {term, 3}}, 3},
		"three, both":                      {"abc", "", acked{"b": {term, 3}, "c": {term, 1}}, 1},
		"an earlier term":                  {"abc", "", acked{"b": {term - 1, 1}}, -1},
		"a later term":                     {"abc", "", acked{"b": {term + 1, 1}}, -1},
		"terms mixed":                      {"abc", "", acked{"b": {term - 1, 1}, "c": {term, 4}}, 4},
		"without a vote does not count":    {"abc", "d", acked{"d": {term, 1}}, -1},
		"not a member does not count":      {"abc", "", acked{"e": {term, 1}}, -1},
		"four, one is too few":             {"abcd", "", acked{"b": {term, 1}}, -1},
		"four":                             {"abcd", "", acked{"b": {term, 1}, "c": {term, 7}}, 7},
		"five":                             {"abcde", "", acked{"b": {term, 9}, "c": {term, 2}, "d": {term, 4}, "e": {term, 8}}, 4},
		"five, two are silent":             {"abcde", "", acked{"b": {term, 9}, "c": {term, 2}}, 9},
		"this node has no vote":            {"bc", "a", acked{"b": {term, 1}, "c": {term, 2}}, 2},
		"this node has no vote, one":       {"bc", "a", acked{"b": {term, 1}}, -1},
		"nobody votes":                     {"", "ab", acked{"b": {term, 1}}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, now := newAcks(), time.Now()
				for id, k := range c.acks {
					a.record(id, k.term, now.Add(-time.Duration(k.ago)*time.Second))
				}
				var servers []raft.Server
				for _, id := range c.voters {
					servers = append(servers, raft.Server{ID: raft.ServerID(id), Suffrage: raft.Voter})
				}
				for _, id := range c.others {
					servers = append(servers, raft.Server{ID: raft.ServerID(id), Suffrage: raft.Nonvoter})
				}
				got, _ := a.since(term, "a", servers)
				want := time.Time{}
				if c.want >= 0 {
					want = now.Add(-time.Duration(c.want) * time.Second)
				}
				if !got.Equal(want) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		})
	}
}

// TestAcks_record: only what is newer counts, and it wakes who waits.
func TestAcks_record(t *testing.T) {
	t.Parallel()
	a, now := newAcks(), time.Now()
	servers := []raft.Server{{ID: "b", Suffrage: raft.Voter}}
	for i, c := range []struct {
		term    uint64
		sent    time.Time
		changes bool
	}{
		{2, now, true},
		{2, now, false},
		{2, now.Add(-time.Second), false}, // answers come out of order
		{2, now.Add(time.Second), true},
		{1, now.Add(time.Minute), false},
		{3, now, true},
	} {
		_, changed := a.since(c.term, "a", servers)
		a.record("b", c.term, c.sent)
		select {
		case <-changed:
			if !c.changes {
				t.Errorf("%d: woken for nothing", i)
			}
		default:
			if c.changes {
				t.Errorf("%d: not woken", i)
			}
		}
		if got, _ := a.since(c.term, "a", servers); c.changes && !got.Equal(c.sent) {
			t.Errorf("%d: got %v, want %v", i, got, c.sent)
		}
	}
}

// TestAcks_furthest: what a follower took counts for the leader's own term, in
// any order of the answers; a heartbeat says nothing of its log.
func TestAcks_furthest(t *testing.T) {
	t.Parallel()
	a := newAcks()
	b, c := raft.Server{ID: "b"}, raft.Server{ID: "c"}
	took := func(id raft.ServerID, term, prev uint64, n int) {
		a.matched(id, &raft.AppendEntriesRequest{Term: term, PrevLogEntry: prev, PrevLogTerm: 1, Entries: make([]*raft.Log, n)})
	}
	want := func(step string, term uint64, best raft.Server, index uint64) {
		t.Helper()
		if s, i, _ := a.furthest(term, []raft.Server{b, c}); s != best || i != index {
			t.Errorf("%s: got %s at %d, want %s at %d", step, s.ID, i, best.ID, index)
		}
	}
	want("nobody", 2, raft.Server{}, 0)
	_, _, changed := a.furthest(2, nil)
	took("b", 2, 10, 3)
	select {
	case <-changed:
	default:
		t.Error("who waits is not woken")
	}
	want("one", 2, b, 13)
	took("c", 2, 13, 1)
	want("the other", 2, c, 14)
	took("c", 2, 10, 1)
	want("an answer out of order", 2, c, 14)
	took("b", 1, 90, 1)
	want("an answer to an earlier term", 2, c, 14)
	a.matched("b", &raft.AppendEntriesRequest{Term: 3})
	want("a heartbeat", 3, raft.Server{}, 0)
	took("b", 2, 13, 1)
	now := time.Now()
	a.record("b", 2, now.Add(-time.Second))
	a.record("c", 2, now)
	want("as much, and silent", 2, c, 14)
	a.record("b", 2, now.Add(time.Second))
	want("as much, and heard from later", 2, b, 14)
	took("c", 2, 14, 1)
	want("more, though it is silent", 2, c, 15)
	took("x", 2, 99, 1)
	want("not asked for", 2, c, 15)
	took("b", 3, 14, 0)
	want("a new term", 3, b, 14)
}
