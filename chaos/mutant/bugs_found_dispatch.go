package mutant

// foundInDispatch are the bugs that belfry had in taking events in and sending
// them, and in who may ask for that.
func foundInDispatch() []Mutant {
	return []Mutant{
		{
			Name: "sifts-over-and-over",
			Bug:  "a lane that waits, and is owed what is newer than this node's config, is looked through again and again",
			Edits: []Edit{{
				File: "dispatch/hold.go",
				Old:  "	if !dropped && len(b.Deliveries) > 0 {",
				New:  "	if !dropped && !behind && len(b.Deliveries) > 0 {",
			}},
			Killers: []Killer{unit("./dispatch", "TestDispatcher_siftsOnceWhileItsConfigIsBehind", `looks at the config again and again`)},
		},
		{
			Name: "unknown-not-repeated",
			Bug:  "the publisher does not propose events with ids of the client again when the outcome is unknown",
			Edits: []Edit{{
				File: "dispatch/publisher_run.go",
				Old:  "	for n := 1; n < maxProposals && ",
				New:  "	for n := maxProposals; n < maxProposals && ",
			}},
			Killers: []Killer{unit("./dispatch", "TestPublish_unknownOutcome", `got unknown_outcome, want DUPLICATE/1`)},
		},
		{
			Name: "request-not-on-record",
			Bug:  "a request with several events goes out before it is on record which they are",
			Edits: []Edit{{
				File: "dispatch/batch.go",
				Old:  "	have := q.deliveries[0].WebhookID // of all, see takeBatch\n	return q.webhookID != have && (have != \"\" || len(q.deliveries) > 1)\n",
				New:  "	return false\n",
			}},
			Killers: []Killer{unit("./dispatch", "TestBundle_nextOwner", `arrives under \S+, and before under`)},
		},
		{
			Name: "sent-alone-then-together",
			Bug:  "the next owner puts what the one before may have sent alone into a request with others",
			Edits: []Edit{{
				File: "dispatch/bundle.go",
				Old:  "	l.frontier = s.d.opts.Outbox.Frontier(l.key, n)\n",
				New:  "	_ = n\n",
			}},
			Killers: []Killer{unit("./dispatch", "TestBundle_nextOwner", `arrives under \S+, and before under`)},
		},
		{
			Name: "members-as-queued",
			Bug:  "the members of a request are in the order of the owner's queue, and not in that of acceptance",
			Edits: []Edit{{
				File: "dispatch/batch.go",
				Old:  "return cmp.Compare(a.Seq, b.Seq)",
				New:  "return cmp.Compare(a.Seq, a.Seq)",
			}},
			Killers: []Killer{unit("./dispatch", "TestTakeBatch_webhookID", `the retry has id`)},
		},
		{
			Name: "deleted-behind-a-wait",
			Bug:  "a lane that waits for its destination does not drop what nobody wants any more",
			Edits: []Edit{{
				File: "dispatch/serve.go",
				Old:  "	case waits && s.sift(l, now):\n		return true\n",
			}},
			Killers: []Killer{unit("./dispatch", "TestDispatcher_retryAfterAndConfig", `its_subscription_is_deleted.*\n.*pending: got 50, want 0`)},
		},
		{
			Name: "waiting-lanes-not-told",
			Bug:  "lanes that wait for their destination do not hear of changes of the config",
			Edits: []Edit{{
				File: "dispatch/hold.go",
				Old:  "		case waits && look:\n			l.index = 0\n			s.makeReady(l)\n		case waits && !s.lookLater:\n			s.lookLater = true\n			time.AfterFunc(s.lookAt.Sub(now), s.d.ConfigChanged)\n",
				New:  "		case waits:\n",
			}},
			Killers: []Killer{unit("./dispatch", "TestDispatcher_retryAfterAndConfig", `the_URL_is_corrected.*\n.*pending: got 50, want 1`)},
		},
		{
			Name: "retry-after-outlives-url",
			Bug:  "a Retry-After holds a lane though its profile has another URL by now",
			Edits: []Edit{{
				File: "dispatch/hold.go",
				Old:  "		l.holdTill, l.gone, l.window = time.Time{}, false, window{}\n",
			}},
			Killers: []Killer{unit("./dispatch", "TestDispatcher_retryAfterAndConfig", `the_URL_is_corrected.*\n.*pending: got 50, want 1`)},
		},
		{
			Name: "late-answer-holds-url",
			Bug:  "a Retry-After that comes after the URL was changed holds the new one",
			Edits: []Edit{{
				File: "dispatch/serve.go",
				Old:  "		if !a.elsewhere() {\n",
				New:  "		if l != nil {\n",
			}},
			Killers: []Killer{unit("./dispatch", "TestDispatcher_retryAfterOfTheURLBefore", `pending: got \d+, want 1$`)},
		},
		{
			Name: "breaker-outlives-its-url",
			Bug:  "an open breaker stays closed to requests though its profile has another URL by now",
			Edits: []Edit{{
				File: "dispatch/hold.go",
				Old:  "		l.breaker.renew(now)\n",
			}},
			Killers: []Killer{unit("./dispatch", "TestDispatcher_breakerAndConfig", `the_URL_is_corrected.*\n.*50 of 50 are pending`)},
		},
		{
			Name: "unsettled-never-sifted",
			Bug:  "what was on its way or not settled when its subscription was deleted is owed until the wait of its lane is over",
			Edits: []Edit{{
				File: "dispatch/hold.go",
				Old:  "	if _, waits := l.waits(now); waits {\n		l.sifted = 0\n		s.makeReady(l)\n	}\n",
			}},
			Killers: []Killer{unit("./dispatch", "TestDispatcher_unsettledWhileItsSubscriptionGoes", `pending: got \d+, want 0`)},
		},
		{
			Name: "permit-before-the-write",
			Bug:  "whether a request may be sent is asked when there is a connection, and not when it is written",
			Edits: []Edit{{
				File: "dispatch/webhook/exchange.go",
				Old:  "	if w.conn == nil || w.shared {\n		ask()",
				New:  "	if w.conn == nil || w.shared || permit != nil {\n		ask()",
			}},
			Killers: []Killer{unit("./dispatch/webhook", "TestSend_permit", `class "ok", status 200`)},
		},
		{
			Name: "outdone-and-sending",
			Bug:  "an owner whose outcomes are refused goes on sending until it hears of its successor",
			Edits: []Edit{{
				File: "dispatch/scheduler.go",
				Old:  "			s.outdone(g.settlements[i].Partition, g.settlements[i].Epoch)\n",
				New:  "",
			}},
			Killers: []Killer{unit("./dispatch", "TestDispatcher_outdoneOwner", `requests for 3 deliveries before`)},
		},
		{
			Name: "owner-not-looked-for",
			Bug:  "a change fails for want of an account or a setting that another node has made a moment ago",
			Edits: []Edit{{
				File: "fsm/writer.go",
				Old:  "	if model.CodeOf(err) != model.CodeNotFound {\n		return got, err\n	}\n	ctx, cancel := w.bound(ctx)\n",
				New:  "	if err != nil || w != nil {\n		return got, err\n	}\n	ctx, cancel := w.bound(ctx)\n",
			}},
			Killers: []Killer{unit("./fsm", "TestWriter_madeElsewhere", `when it was made elsewhere: `)},
		},
		{
			Name: "actor-not-looked-up",
			Bug:  "a change is made though its key or user was deleted or disabled before",
			Edits: []Edit{{
				File: "fsm/store.go",
				Old:  "	if err = t.permit(t.head.By); err == nil {\n",
				New:  "	if err = nil; err == nil {\n",
			}},
			Killers: []Killer{unit("./fsm", "TestApply_actor", `got "", want "unauthorized"`)},
		},
		{
			Name: "newcomers-refused",
			Bug:  "a node refuses keys and users that it does not know without a look at what was made on other nodes",
			Edits: []Edit{{
				File: "api/newcomer.go",
				Old:  "	if model.CodeOf(err) != model.CodeNotFound || n.each.take(subject) > 0 || n.all.take(\"\") > 0 {\n",
				New:  "	if err != nil || ctx != nil {\n",
			}},
			Killers: []Killer{unit("./api", "TestNewcomer_madeElsewhere", `= 401, want 200`)},
		},
	}
}
