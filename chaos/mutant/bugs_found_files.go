package mutant

// Signs of stores that believe what was altered.
const (
	signBelieved = `the stores say something else`
	signOpened   = `an altered row .*is taken for what was written`
	signWithout  = `a file without .*is taken for what was written`
)

// foundInFiles are the bugs that belfry had in what it reads from its disk.
func foundInFiles() []Mutant {
	return []Mutant{
		{
			Name: "read-before-durable",
			Bug:  "a node takes for stored what its last process has left in the memory of the operating system",
			Edits: []Edit{{
				File: "cmd/internal/node/node.go",
				Old:  "	if err := rewriteTails(n.cfg.DataDir); err != nil {\n		return err\n	}\n",
			}},
			Killers: []Killer{unit("./cmd/internal/node", "TestStart_rewritesTails", `was not written again`)},
		},
		{
			Name: "log-tails-left-in-memory",
			Bug:  "what is written again at a start are the databases and not the segments of the logs",
			Edits: []Edit{{
				File: "cmd/internal/node/rewrite.go",
				Old:  "			segments = append(segments, path)\n",
				New:  "			segments = segments[:0]\n",
			}},
			Killers: []Killer{unit("./cmd/internal/node", "TestRewriteTails", `3\.wal was written: false`)},
		},
		{
			Name: "state-waits-for-snapshot",
			Bug:  "the map of the state file moves when the file grows, which waits for snapshots",
			Edits: []Edit{{
				File: "fsm/store.go",
				Old:  "		InitialMmapSize: initialMmap,\n",
			}},
			Killers: []Killer{unit("./fsm", "TestStore_growsBesideSnapshot", `waits for the snapshot`)},
		},
		{
			Name: "entries-believed",
			Bug:  "an entry of a raft log is applied though it is not as it was written",
			Edits: []Edit{{
				File: "cluster/checked.go",
				Old:  "e.Index == index && string(e.Extensions) == string(entrySum(e)):",
				New:  "e.Index == index:",
			}},
			Killers: []Killer{unit("./cluster", "TestOpenStores_bits", signBelieved)},
		},
		{
			Name: "votes-believed",
			Bug:  "a term or a vote is believed though it is not as it was written",
			Edits: []Edit{{
				File: "cluster/checked.go",
				Old:  "n >= 0 && string(with[n:]) == string(valueSum(key, with[:n])) {",
				New:  "n >= 0 {",
			}},
			Killers: []Killer{unit("./cluster", "TestCheckedStable_bits", `of CurrentTerm: believed as`)},
		},
		{
			Name: "snapshot-heads-believed",
			Bug:  "what a snapshot says of itself is believed though it is not as it was written",
			Edits: []Edit{{
				File: "cluster/snapshots.go",
				Old:  "	if string(sum) != string(want) || meta.ID",
				New:  "	if len(sum) != len(want) || meta.ID",
			}},
			Killers: []Killer{unit("./cluster", "TestOpenStores_bits", `meta\.json: `+signBelieved)},
		},
		{
			Name: "incarnation-believed",
			Bug:  "the name of a data directory is believed though it is not as it was written",
			Edits: []Edit{{
				File: "cluster/store.go",
				Old:  "|| sum != incarnationSum(name) {",
				New:  "|| sum == \"\" {",
			}},
			Killers: []Killer{unit("./cluster", "TestLoadIncarnation", `bit \d of byte \d+: got`)},
		},
		{
			Name: "log-without-its-end",
			Bug:  "a log that was cut off, or is an old copy, is taken for the whole one",
			Edits: []Edit{{
				File: "cluster/checked.go",
				Old:  "	if saw := l.witness.saw.last; last < saw {\n		return damaged(l.path, fmt.Errorf(\"it ends with entry %d and had entry %d\", last, saw))\n	}\n",
			}},
			Killers: []Killer{unit("./cluster", "TestOpenStores_cutAndStale", signBelieved)},
		},
		{
			Name: "votes-of-yesterday",
			Bug:  "an old copy of the file with the term and the vote is taken for the newest one",
			Edits: []Edit{{
				File: "cluster/checked.go",
				Old:  "	saw := s.witness.saw\n	switch {",
				New:  "	saw := seen{}\n	switch {",
			}},
			Killers: []Killer{unit("./cluster", "TestOpenStores_cutAndStale", `raft\.db (is old|cut to \d+): `+signBelieved)},
		},
		{
			Name: "config-rows-believed",
			Bug:  "the rows of the config are believed though they are not as they were written",
			Edits: []Edit{{
				File: "fsm/filesum.go",
				Old:  "	sum, at, ok := readSum(tx)\n	switch {\n	case !ok && tx.Bucket(bMeta).Get(kSum) != nil, ok && (sum != is || at != applied):",
				New:  "	_, at, ok := readSum(tx)\n	switch {\n	case !ok && tx.Bucket(bMeta).Get(kSum) != nil, ok && at != applied:",
			}},
			Killers: []Killer{unit("./fsm", "TestOpen_alteredRow", signOpened)},
		},
		{
			Name: "outbox-rows-believed",
			Bug:  "the rows of the outbox are believed though they are not as they were written",
			Edits: []Edit{{
				File: "dispatch/outbox/sum.go",
				Old:  "	var sum [sumBytes]byte\n	if n < 0 || string(appendSum(sum[:0], k, stored[:n])) != string(stored[n:]) {",
				New:  "	if n < 0 {",
			}},
			Killers: []Killer{unit("./dispatch/outbox", "TestOpen_alteredRow", signOpened)},
		},
		{
			Name: "config-buckets-made-again",
			Bug:  "buckets of the config that are not found in a file are made",
			Edits: []Edit{{
				File: "fsm/store.go",
				Old:  "		if k, _ := tx.Cursor().First(); k != nil {\n			return checkBuckets(tx)\n		}\n		for _, name := range append([][]byte{bMeta}, buckets...) {\n			if _, err := tx.CreateBucket(name); err != nil {",
				New:  "		if tx.Bucket(bMeta) != nil && checkBuckets(tx) == nil {\n			return nil\n		}\n		for _, name := range append([][]byte{bMeta}, buckets...) {\n			if _, err := tx.CreateBucketIfNotExists(name); err != nil {",
			}},
			Killers: []Killer{unit("./fsm", "TestOpen_withoutBucket", signWithout)},
		},
		{
			Name: "outbox-buckets-made-again",
			Bug:  "buckets of the outbox that are not found in a file are made",
			Edits: []Edit{{
				File: "dispatch/outbox/store.go",
				Old:  "		if k, _ := tx.Cursor().First(); k != nil {\n			return nil\n		}\n		for _, b := range buckets {\n			if _, err := tx.CreateBucket(b); err != nil {",
				New:  "		if tx.Bucket(bucketMeta) != nil {\n			return nil\n		}\n		for _, b := range buckets {\n			if _, err := tx.CreateBucketIfNotExists(b); err != nil {",
			}},
			Killers: []Killer{unit("./dispatch/outbox", "TestOpen_withoutBucket", signWithout)},
		},
		{
			Name: "pages-not-looked-at",
			Bug:  "bbolt is given files whose pages make no sense",
			Edits: []Edit{{
				File: "cmd/internal/node/damage.go",
				Old:  "	return checkPages(path)\n",
				New:  "	return nil\n",
			}},
			Killers: []Killer{unit("./cmd/internal/node", "TestWholeFiles_inUse", `a damaged file: <nil>`)},
		},
		{
			Name: "log-with-a-gap",
			Bug:  "a log goes on after a snapshot of another node and keeps what it had before",
			Edits: []Edit{{
				File: "cluster/checked.go",
				Old:  "	if err != nil || last == 0 || next <= last+1 {\n",
				New:  "	if err != nil || last == 0 || next > 0 {\n",
			}},
			Killers: []Killer{unit("./cluster", "TestOpenStores_afterSnapshot", `entry 6 of 1 to 101|non-monotonic`)},
		},
		{
			Name: "key-above-unseen",
			Bug:  "the first key of a page is not compared with what the page above says of it",
			Edits: []Edit{{
				File: "cmd/internal/node/boltpages.go",
				Old:  "	if least != nil && bytes.Compare(k, least) < 0 {\n",
				New:  "	if least != nil && k == nil {\n",
			}},
			Killers: []Killer{unit("./cmd/internal/node", "TestWholeFile_keyAbove", `below that of the page above: <nil>`)},
		},
		{
			Name: "attempt-log-unseen",
			Bug:  "the file of the attempt log is opened without a look at its pages",
			Edits: []Edit{{
				File: "dispatch/attemptlog/log.go",
				Old:  "	err := l.check()\n	if err == nil {\n		err = l.openFile()\n	}\n",
				New:  "	err := l.openFile()\n",
			}},
			Killers: []Killer{unit("./dispatch/attemptlog", "TestLog_checkedFile", `asked 0 times, .* moved aside: \[\]`)},
		},
	}
}
