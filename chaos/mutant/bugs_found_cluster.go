package mutant

import "time"

// Bugs that belfry had, and that chaos/FOUND.md tells of, come back here.

// unit is a test that such a bug has left behind.
func unit(pkg, test, sign string) Killer {
	return Killer{Layer: Unit, Test: &Test{Package: pkg, Name: test + "$"}, Sign: sign, Budget: 3 * time.Minute}
}

// foundInCluster are those in replication, forwarding and membership.
func foundInCluster() []Mutant {
	return []Mutant{
		{
			Name: "written-after-a-failure",
			Bug:  "a node goes on writing to a raft log after a write that failed",
			Edits: []Edit{{
				File: "cluster/group.go",
				Old:  "LogStore: &failStopLog{LogStore: g.stores.Log, failed: g.logFailed}, slow:",
				New:  "LogStore: g.stores.Log, slow:",
			}},
			Killers: []Killer{group("TestFailedWrite$", `has lost what was acknowledged`)},
		},
		{
			Name: "heir-without-the-term",
			Bug:  "a leader hands over before the first entry of its term is in its log",
			Edits: []Edit{{
				File: "cluster/transfer.go",
				Old:  "	if err := g.passBarrier(ctx, term); err != nil {\n		return raft.Server{}, err\n	}\n",
				New:  "",
			}},
			Killers: []Killer{group("TestTransfer_justElected$", `leads on after it had handed over`)},
		},
		{
			Name: "heartbeats-beside-the-loop",
			Bug:  "raft handles every heartbeat beside its main loop, also one that deposes a leader",
			Edits: []Edit{{
				File: "cluster/inbox.go",
				Old:  "g.started.Load() && g.raft.State() == raft.Follower && g.raft.CurrentTerm() == req.Term {",
				New:  "g.started.Load() && req.Term > 0 {",
			}},
			Killers: []Killer{group("TestInbox_deposedByHeartbeat$", `has stored an entry of term`)},
		},
		{
			Name: "commits-that-trickle",
			Bug:  "a leader takes entries that are committed now and then for a sign that the rest will be soon",
			Edits: []Edit{{
				File: "cluster/slowlog.go",
				Old:  "	late := w.n >= len(w.last) && *oldest > committed\n",
				New:  "	late := w.n >= len(w.last) && *oldest > committed\n	if committed != w.committed {\n		w.committed, w.n = committed, 0\n	}\n",
			}, {
				File: "cluster/slowlog.go",
				Old:  "	n    int                          // looks so far\n",
				New:  "	n    int                          // looks so far\n	committed uint64\n",
			}},
			Killers: []Killer{group("TestSlowLog_network$", `the next change came through after`)},
		},
		{
			Name: "sluggish-leader",
			Bug:  "a leader whose disk is far slower than the others' leads on",
			Edits: []Edit{{
				File: "cluster/slowlog.go",
				Old:  "	if own < sluggish {\n",
				New:  "	if own < slowWrite {\n",
			}},
			Killers: []Killer{group("TestSlowLog_sluggish$", `it led on for`)},
		},
		{
			Name: "behind-and-busy",
			Bug:  "a node that gets its entries late keeps its work",
			Edits: []Edit{{
				File: "cluster/lag.go",
				Old:  "	return n.heard[nodeID].behind && ",
				New:  "	return n.heard[nodeID].behind && lag < 0 && ",
			}},
			Killers: []Killer{group("TestCandidates_behind$", `it is given no work`)},
		},
		{
			Name: "work-for-the-unheard",
			Bug:  "a new leader gives work to nodes that it has not heard from",
			Edits: []Edit{{
				File: "cluster/members.go",
				Old:  "Live: told && quiet",
				New:  "Live: (told || !told) && quiet",
			}},
			Killers: []Killer{group("TestCandidates_deadNode$", `the new leader says`)},
		},
		{
			Name: "dead-heir",
			Bug:  "of nodes with the same log a leader hands over to any, also to one that is dead",
			Edits: []Edit{{
				File: "cluster/acks.go",
				Old:  "		if m.index > index || a.last[s.ID].sent.After(a.last[best.ID].sent) {\n",
				New:  "		if m.index > index {\n",
			}},
			Killers: []Killer{unit("./cluster", "TestAcks_furthest", `as much, and silent`)},
		},
		{
			Name: "append-waits-double",
			Bug:  "a leader leaves it to raft, which doubles its wait each time, to send entries again to a follower that was away",
			Edits: []Edit{{
				File: "cluster/acks.go",
				Old:  "		if isHeartbeat(args) || !sleep(t.g.n.ctx, appendRetry) || !t.g.feeds(id, args.Term) {\n			return err\n		}\n		*resp = raft.AppendEntriesResponse{}\n",
				New:  "		return err\n",
			}},
			Killers: []Killer{group("TestComeback$", `away for \S+, back after`)},
		},
		{
			Name: "read-awaits-old-leader",
			Bug:  "a read waits for the answer of the leader that it was sent to, also when there is another one by now",
			Edits: []Edit{{
				File: "cluster/read.go",
				Old:  "g.untilSuccessor(ctx, leader, 0)",
				New:  "context.WithCancel(ctx)",
			}},
			Killers: []Killer{group("TestGroup_silentLeader$", `the read took`)},
		},
		{
			Name: "change-awaits-old-leader",
			Bug:  "a change waits for the answer of the leader that it was sent to, also when there is another one by now",
			Edits: []Edit{{
				File: "cluster/propose.go",
				Old:  "g.untilSuccessor(ctx, leader, g.n.o.HeartbeatTimeout)",
				New:  "context.WithCancel(ctx)",
			}},
			Killers: []Killer{group("TestGroup_silentLeader$", `the change took`)},
		},
		{
			Name: "hand-over-not-answered",
			Bug:  "a change is given up as soon as the next leader is known, though the one that handed over is about to answer",
			Edits: []Edit{{
				File: "cluster/propose.go",
				Old:  "g.untilSuccessor(ctx, leader, g.n.o.HeartbeatTimeout)",
				New:  "g.untilSuccessor(ctx, leader, 0)",
			}},
			Killers: []Killer{group("TestGroup_Propose_handedOver$", `outcome of the change is not known|the answer did not come|another leader was elected`)},
		},
		{
			Name: "transfer-by-raft",
			Bug:  "leadership is handed over by raft itself, whose transfer can block for ever (hashicorp/raft issue 696)",
			Edits: []Edit{{
				File: "cluster/transfer.go",
				Old:  "func (g *Group) handOver() error { return g.handOverTo(g.heir) }\n",
				New: `func (g *Group) handOver() error {
	if !g.IsLeader() {
		return errNotLeader
	}
	if len(g.otherVoters()) == 0 {
		return model.Errorf(model.CodeConflict, "there is no other node that could lead")
	}
	if err := g.raft.LeadershipTransfer().Error(); err != nil {
		return errNotLeader.WithCause(err)
	}
	return nil
}
`,
			}},
			Killers: []Killer{group("TestTransfer_leaderThatIsCutOff$", `leads again and refuses a change`)},
		},
		{
			Name: "age-since-a-heartbeat",
			Bug:  "a node takes its state for as old as its last contact with the leader",
			Edits: []Edit{{
				File: "cluster/report.go",
				Old:  "	if _, until := n.Lease(); !until.IsZero() {\n		age = time.Since(until) + n.o.LeaseTTL\n	}\n",
				New:  "	if last := n.groups[0].raft.LastContact(); !last.IsZero() {\n		age = time.Since(last)\n	}\n",
			}},
			Killers: []Killer{group("TestStateAge_comeback$", `at most \S+ old, but it lacks what was acknowledged`)},
		},
		{
			Name: "removed-node-joins-again",
			Bug:  "a node asks to be taken in until it has its vote, also when it was taken in and removed meanwhile",
			Edits: []Edit{{
				File: "cluster/membership.go",
				Old:  "			n.wasIn, n.refused = true, 0 // what leaders said before counts no more\n			n.mu.Unlock()\n			n.log.Info(\"the cluster took this node in; waiting for its log\", \"through\", addr)\n			return\n",
				New:  "			n.refused = 0\n			n.mu.Unlock()\n",
			}},
			Killers: []Killer{group("TestJoin_removedBeforeItHasItsVote$", `it is a member again`)},
		},
		{
			Name: "old-refusals-count",
			Bug:  "a node that has just been taken in ends because of what leaders had said of it before",
			Edits: []Edit{{
				File: "cluster/membership.go",
				Old:  "n.wasIn, n.refused = true, 0 //",
				New:  "n.wasIn = true //",
			}},
			Killers: []Killer{group("TestCluster_wipedInSlowNetwork$", `n3 ended: this node was removed`)},
		},
		{
			Name: "read-at-leaders-applied",
			Bug:  "a read waits for what the leader has applied, though followers may have applied more and shown it",
			Edits: []Edit{{
				File: "cluster/read.go",
				Old:  "	index, err := g.committed()\n	if err != nil {\n		return 0, err\n	}\n	return index, g.confirm(ctx, term)",
				New:  "	return g.AppliedIndex(), g.confirm(ctx, term)",
			}},
			Killers: []Killer{group("TestGroup_Linearize_leaderBehind$", `read \[.*\] without x`)},
		},
		{
			Name: "lease-on-what-is-applied",
			Bug:  "a leader grants leases on what it has applied, though other nodes may have applied more and shown it",
			Edits: []Edit{{
				File: "cluster/report.go",
				Old:  "		commands, err := g.committed()\n		if err != nil {",
				New:  "		commands, err := g.AppliedIndex(), error(nil)\n		if err != nil {",
			}},
			Killers: []Killer{group("TestGroup_Linearize_leaderBehind$", `takes its state for \S+ old; it leads: false`)},
		},
		{
			Name: "age-of-a-leader-behind",
			Bug:  "a leader takes its state for as old as its last quorum, also when it has not applied what is committed",
			Edits: []Edit{{
				File: "cluster/report.go",
				Old:  "err == nil && commands <= g.AppliedIndex() && !quorum",
				New:  "err == nil && commands > 0 && !quorum",
			}},
			Killers: []Killer{group("TestGroup_Linearize_leaderBehind$", `takes its state for \S+ old; it leads: true`)},
		},
	}
}
