package check

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/belfry/chaos/history"
)

// W1: a profile "r" whose URL is the value of a register.
func create(url string, call, ret int64, with ...func(*history.Op)) history.Op {
	return op(history.ProfileCreate, "r", call, ret, history.Config{Account: "a", Group: "r", Profile: &history.Profile{URL: url}}, history.Refs{}, with...)
}

func put(url string, call, ret int64, with ...func(*history.Op)) history.Op {
	return op(history.ProfilePut, "r", call, ret, history.Config{Account: "a", Group: "r", Profile: &history.Profile{URL: url, Set: []string{"url"}}}, history.Refs{}, with...)
}

func get(url string, call, ret int64, with ...func(*history.Op)) history.Op {
	s := history.State{Absent: url == ""}
	if url != "" {
		s.Profile = &history.Profile{URL: url}
	}
	return op(history.ProfileGet, "r", call, ret, history.Config{Account: "a", Group: "r"}, s, with...)
}

func stale(url string, age, call, ret int64, with ...func(*history.Op)) history.Op {
	return op(history.ProfileGetStale, "r", call, ret, history.Config{Account: "a", Group: "r"},
		history.State{Profile: &history.Profile{URL: url}, Staleness: age}, with...)
}

func del(call, ret int64, with ...func(*history.Op)) history.Op {
	return op(history.ProfileDelete, "r", call, ret, history.Config{Account: "a", Group: "r"}, history.Refs{}, with...)
}

func TestI4_linearizable(t *testing.T) {
	t.Parallel()
	notFound, exists := refused(404, "not_found: x"), refused(400, "already_exists: x")
	judge(t, "linearizable", map[string]verdictCase{
		"a register with unknowns": {ops: ops(
			get("", 0, 1), create("1", 2, 3), put("2", 4, 5, unknown), get("1", 6, 7), get("2", 8, 9), put("3", 10, 11, unknown), put("4", 12, 13),
			get("4", 14, 15), del(16, 17, unknown), get("4", 18, 19), get("", 20, 21), create("5", 22, 23), put("6", 24, 25, refused(503, "unavailable: x")), get("5", 26, 27))},
		"concurrent":         {ops: ops(create("1", 0, 1), put("2", 2, 9), put("3", 3, 8, by("x")), get("3", 4, 5, by("y")), get("2", 6, 7, by("y")), get("2", 10, 11))},
		"refusals that fit":  {ops: ops(put("1", 0, 1, notFound), create("2", 2, 3), create("3", 4, 5, exists), del(6, 7), del(8, 9, notFound))},
		"a lost write":       {ops: ops(create("1", 0, 1), put("2", 2, 3), get("1", 4, 5)), want: []string{"not linearizable"}},
		"a refused write":    {ops: ops(create("1", 0, 1), put("2", 2, 3, refused(503, "unavailable: x")), get("2", 4, 5)), want: []string{"not linearizable"}},
		"back in time":       {ops: ops(create("1", 0, 1), put("2", 2, 9, unknown), get("2", 3, 4), get("1", 5, 6)), want: []string{"not linearizable"}},
		"a lost create":      {ops: ops(create("1", 0, 1), get("", 4, 5)), want: []string{"no place for: profile.get r n1"}},
		"a lost delete":      {ops: ops(create("1", 0, 1), del(2, 3), get("1", 4, 5)), want: []string{"not linearizable"}},
		"a wrong not_found":  {ops: ops(create("1", 0, 1), put("2", 4, 5, notFound)), want: []string{"not linearizable"}},
		"two creates":        {ops: ops(create("1", 0, 1), create("2", 4, 5)), want: []string{"not linearizable"}},
		"too much to decide": {ops: ops(create("1", 0, 1), put("2", 2, 3), get("2", 4, 5)), options: Options{MaxGroupOps: 1}, unknown: 1},
		"too much to decide, but wrong in any order": {
			ops:     ops(create("1", 0, 1), put("2", 2, 3), get("1", 4, 5), get("9", 4, 5), get("", 6, 7), get("3", 8, 9), put("3", 10, 11)),
			options: Options{MaxGroupOps: 1}, want: []string{"1ms after it was overwritten", `"9" was read`, "read as absent", `"3" was read before`},
		},
	})
}

func TestI4_staleReads(t *testing.T) {
	t.Parallel()
	base := ops(create("1", 0, 1), put("2", 1000, 1001), put("3", 2000, 2001))
	kill := faultOps("1", 3500, 3600, history.Fault{Kills: true, Nodes: []string{"n1"}})
	judge(t, "linearizable", map[string]verdictCase{
		"as old as they say":           {ops: with(base, ops(stale("1", 600, 2000, 2001), stale("2", 900, 3000, 3001), stale("3", 0, 3000, 3001)))},
		"of an age they do not know":   {ops: with(base, ops(stale("1", -1, 3000, 3001)))},
		"never written, no age":        {ops: with(base, ops(stale("7", -1, 3000, 3001))), want: []string{"which nobody wrote"}},
		"older than they say":          {ops: with(base, ops(stale("1", 900, 3000, 3001))), want: []string{"1.999s after it was overwritten; the answer says 900 ms"}},
		"never written":                {ops: with(base, ops(stale("7", 900, 3000, 3001))), want: []string{"which nobody wrote"}},
		"back":                         {ops: with(base, ops(stale("3", 0, 3000, 3001), stale("2", 9000, 4000, 4001))), want: []string{"older than what the same client"}},
		"back, on another node":        {ops: with(base, ops(stale("3", 0, 3000, 3001), stale("2", 9000, 4000, 4001, on("n2"))))},
		"back, after a start":          {ops: with(base, kill, ops(stale("3", 0, 3000, 3001), stale("2", 9000, 4000, 4001)))},
		"back, a start of another one": {ops: with(base, kill, ops(stale("3", 0, 3000, 3001, on("n3")), stale("2", 9000, 4000, 4001, on("n3")))), want: []string{"older than"}},
	})
}

// W2: subscriptions, profiles and settings of one epoch.
func w2(kind, key string, call, ret int64, in history.Config, with ...func(*history.Op)) history.Op {
	in.Account, in.Group, in.Channel = "a", "epoch", "SMS"
	if !strings.HasPrefix(kind, "subscription") {
		in.Channel = ""
	}
	return op(kind, key, call, ret, in, history.Refs{}, with...)
}

func refers() history.Config {
	return history.Config{Subscription: &history.Subscription{Profile: "p"}}
}

func TestI4_hierarchy(t *testing.T) {
	t.Parallel()
	inline := history.Config{
		Subscription: &history.Subscription{Profile: "p"}, Profile: &history.Profile{URL: "u"}, Security: &history.Security{ID: "k", Type: "BASIC", Version: 1},
	}
	inUse := refused(400, "in_use: x")
	missing := refused(400, "invalid: profile.profileId: there is no profile with this id")
	read := func(kind, key string, call int64, s history.State) history.Op {
		o := w2(kind, key, call, call+1, history.Config{})
		o.Out = history.JSON(s)
		return o
	}
	judge(t, "linearizable", map[string]verdictCase{
		"a hierarchy with unknowns": {ops: ops(
			w2(history.SubscriptionCreate, "s", 0, 1, inline, unknown), w2(history.SecurityDelete, "k", 2, 3, history.Config{}, inUse),
			w2(history.ProfileDelete, "p", 4, 5, history.Config{}, inUse), w2(history.SubscriptionDelete, "s", 6, 7, history.Config{}, unknown),
			w2(history.ProfileDelete, "p", 8, 9, history.Config{}), w2(history.SecurityDelete, "k", 10, 11, history.Config{}),
			w2(history.SubscriptionCreate, "t", 12, 13, refers(), missing))},
		"what came inline is there": {ops: ops(w2(history.SubscriptionCreate, "s", 0, 1, inline),
			read(history.ProfileGet, "p", 2, history.State{Profile: &history.Profile{URL: "u", Auth: "k"}}), read(history.SecurityGet, "k", 4, history.State{Security: &history.Security{Type: "BASIC", Version: 1}}),
			read(history.SubscriptionGet, "s", 6, history.State{Subscription: &history.Subscription{Profile: "p"}}))},
		"half of an inline create": {
			ops: ops(w2(history.SubscriptionCreate, "s", 0, 1, inline, unknown),
				read(history.ProfileGet, "p", 2, history.State{Profile: &history.Profile{URL: "u", Auth: "k"}}), read(history.SecurityGet, "k", 4, history.State{Absent: true})),
			want: []string{"a/epoch is not linearizable"},
		},
		"a delete in use":             {ops: ops(w2(history.SubscriptionCreate, "s", 0, 1, inline), w2(history.SecurityDelete, "k", 2, 3, history.Config{})), want: []string{"security.delete k"}},
		"a cascade":                   {ops: ops(w2(history.SubscriptionCreate, "s", 0, 1, inline), w2(history.SubscriptionDelete, "s", 2, 3, history.Config{}), read(history.ProfileGet, "p", 4, history.State{Absent: true})), want: []string{"profile.get p"}},
		"a reference to nothing":      {ops: ops(w2(history.SubscriptionCreate, "s", 0, 1, refers())), want: []string{"subscription.create s"}},
		"refused although it exists":  {ops: ops(w2(history.SubscriptionCreate, "s", 0, 1, inline), w2(history.SubscriptionCreate, "t", 2, 3, refers(), missing)), want: []string{"subscription.create t"}},
		"in use although it is not":   {ops: ops(w2(history.SecurityCreate, "k", 0, 1, history.Config{Security: &history.Security{Type: "HMAC"}}), w2(history.SecurityDelete, "k", 2, 3, history.Config{}, inUse)), want: []string{"security.delete k"}},
		"another profile than it had": {ops: ops(w2(history.SubscriptionCreate, "s", 0, 1, inline), read(history.SubscriptionGet, "s", 2, history.State{Subscription: &history.Subscription{Profile: "x"}})), want: []string{"subscription.get s"}},
	})
}

func TestI4_drawsWhatIsIllegal(t *testing.T) {
	t.Parallel()
	h, err := New(ops(create("1", 0, 1), put("2", 2, 3), get("1", 4, 5)))
	if err != nil {
		t.Fatal(err)
	}
	v := Verdict{}
	linearizable(h, Options{}.withDefaults(), &v)
	if html := string(v.Artifacts["linearizable-a-r.html"]); !strings.Contains(html, "<html") {
		t.Errorf("no drawing among %d artifacts", len(v.Artifacts))
	}
}

// A group that cannot be decided in time is unknown, not a pass: many
// concurrent writes without an answer, and a read that none of their orders
// explains at once.
func TestI4_timeoutIsUnknown(t *testing.T) {
	t.Parallel()
	list := ops(create("0", 0, 1))
	for i := range int64(24) {
		list = append(list, put(fmt.Sprint("v", i), 2, 100, by(fmt.Sprint("c", i))))
	}
	list = append(list, put("a", 2, 100, by("x")), put("b", 2, 100, by("y")), get("a", 110, 111), get("b", 120, 121))
	h, err := New(list)
	if err != nil {
		t.Fatal(err)
	}
	v := Verdict{}
	linearizable(h, Options{LinearizeTimeout: time.Millisecond}.withDefaults(), &v)
	if v.Total != 0 || v.Unknown != 1 {
		t.Errorf("%d violations, %d unknown", v.Total, v.Unknown)
	}
}

// What cannot be decided for all its unknown operations is decided with the
// audit log: those without a record never happened.
func TestI4_closedByTheAuditLog(t *testing.T) {
	t.Parallel()
	request := func(id string) func(*history.Op) {
		return func(o *history.Op) {
			var in history.Config
			if err := decode(o.In, &in); err != nil {
				panic(err)
			}
			in.Request = id
			o.In = history.JSON(in)
		}
	}
	base := ops(create("0", 0, 1, request("first")))
	for i := range int64(30) {
		base = append(base, del(2+i, 3+i, unknown, request(fmt.Sprint("d", i))), create(fmt.Sprint("c", i), 2+i, 3+i, unknown, request(fmt.Sprint("c", i))))
	}
	base = append(base, get("0", 100, 101), put("z", 102, 103, request("last")), get("z", 104, 105), get("0", 106, 107))
	log := final(history.FinalAudit, "n1", history.FinalQuery{Account: "a"}, []history.Audit{{Index: 9, Request: "last"}, {Index: 7, Request: "first"}})
	quick := Options{LinearizeTimeout: 200 * time.Millisecond}
	judge(t, "linearizable", map[string]verdictCase{
		"without the log": {ops: ops(base...), unknown: 0, want: []string{"after it was overwritten"}, options: quick},
		"with it":         {ops: with(base, ops(log)), want: []string{"a/r is not linearizable"}, options: quick},
		"with it, legal":  {ops: with(base[:len(base)-1], ops(log)), options: quick},
	})
}

func final(kind, node string, q, out any, with ...func(*history.Op)) history.Op {
	return op(kind, "", 90_000, 90_001, q, out, append(with, on(node))...)
}

func list(node, what, channel string, states ...history.State) history.Op {
	return final(history.FinalConfig, node, history.FinalQuery{Account: "a", What: what, Channel: channel}, states)
}

func TestI5_integrity(t *testing.T) {
	t.Parallel()
	prof := func(id, auth, cert string) history.State {
		return history.State{What: "profile", ID: id, Profile: &history.Profile{Auth: auth, Certificate: cert}}
	}
	sub := history.State{What: "subscription", ID: "s", Channel: "SMS", Subscription: &history.Subscription{Profile: "p"}}
	sec := history.State{What: "security", ID: "k", Security: &history.Security{}}
	inline := history.Config{Subscription: &history.Subscription{Profile: "p"}, Profile: &history.Profile{}}
	judge(t, "integrity", map[string]verdictCase{
		"whole": {ops: ops(list("n1", "subscription", "SMS", sub), list("n1", "profile", "", prof("p", "k", "")), list("n1", "security", "", sec),
			w2(history.SubscriptionCreate, "s", 0, 1, refers(), unknown))},
		"a list is not known": {ops: ops(list("n1", "subscription", "SMS", sub), list("n1", "profile", "", prof("p", "k", ""))), unknown: 1},
		"no profile":          {ops: ops(list("n2", "subscription", "SMS", sub), list("n2", "profile", "", prof("x", "", ""))), want: []string{"on n2 the subscription s refers to the profile p"}},
		"no setting and no certificate": {
			ops:  ops(list("n1", "profile", "", prof("p", "k", "c")), list("n1", "security", ""), list("n1", "certificate", "")),
			want: []string{"refers to the security k", "refers to the certificate c"},
		},
		"a delete of what is in use": {
			ops:  ops(w2(history.SubscriptionCreate, "s", 0, 1, inline), w2(history.SubscriptionCreate, "t", 2, 3, refers()), w2(history.ProfileDelete, "p", 4, 5, history.Config{})),
			want: []string{"delete of the profile p was acknowledged while the subscription t referred to it"},
		},
		"a delete of what may be unused": {ops: ops(w2(history.SubscriptionCreate, "s", 0, 1, inline), w2(history.SubscriptionCreate, "t", 2, 3, refers()),
			w2(history.SubscriptionDelete, "t", 3, 5, history.Config{}, unknown), w2(history.ProfileDelete, "p", 4, 6, history.Config{}))},
		"a delete of what an earlier change may have left": {ops: ops(w2(history.SubscriptionCreate, "s", 0, 1, inline), w2(history.SubscriptionCreate, "t", 2, 3, refers()), w2(history.SubscriptionDelete, "t", 4, 9, history.Config{}),
			w2(history.SubscriptionPut, "t", 5, 6, refers()), w2(history.ProfileDelete, "p", 7, 8, history.Config{}))},
		"a reference to what never was": {ops: ops(w2(history.ProfileCreate, "p", 0, 1, history.Config{Profile: &history.Profile{Auth: "k"}})), want: []string{"the security k was never there"}},
	})
}

func TestI6_replicas(t *testing.T) {
	t.Parallel()
	a := history.State{What: "profile", ID: "p", Profile: &history.Profile{URL: "1"}}
	b := history.State{What: "profile", ID: "p", Profile: &history.Profile{URL: "2"}}
	digest := func(node string, index uint64, sum string) history.Op {
		return final(history.FinalDigest, node, nil, history.Digest{Group: "config", Index: index, SHA256: sum})
	}
	judge(t, "replicas", map[string]verdictCase{
		"alike, one is not known": {ops: ops(list("n1", "profile", "", a), list("n2", "profile", "", a),
			final(history.FinalConfig, "n3", history.FinalQuery{Account: "a", What: "profile"}, nil, unknown))},
		"another value":               {ops: ops(list("n1", "profile", "", a), list("n2", "profile", "", b)), want: []string{"n1 and n2 have different lists of profile"}},
		"one is missing":              {ops: ops(list("n1", "profile", "", a), list("n2", "profile", "")), want: []string{"p is missing in the second"}},
		"one is too many":             {ops: ops(list("n1", "profile", ""), list("n2", "profile", "", a)), want: []string{"p is missing in the first"}},
		"equal digests":               {ops: ops(digest("n1", 7, "aa"), digest("n2", 7, "aa"), digest("n3", 8, "bb"))},
		"digests of different groups": {ops: ops(digest("n1", 7, "aa"), digest("n2", 7, "aa"), final(history.FinalDigest, "n2", nil, history.Digest{Group: "events", Index: 7, SHA256: "bb"}))},
		"a digest that is not known":  {ops: ops(digest("n1", 7, "aa"), final(history.FinalDigest, "n2", nil, nil, unknown), digest("n3", 7, "aa"))},
		"the third digest differs":    {ops: ops(digest("n1", 7, "aa"), digest("n2", 7, "aa"), digest("n3", 7, "ab")), want: []string{"at index 7 of config the digest of n1 is aa, that of n3 ab"}},
		"different digests":           {ops: ops(digest("n1", 7, "aa"), digest("n2", 7, "bb")), want: []string{"at index 7 of config"}},
		"different owners": {ops: ops(final(history.FinalPartitions, "n1", nil, []history.Owner{{Partition: 1, Owner: "n1", Epoch: 2}}),
			final(history.FinalPartitions, "n2", nil, []history.Owner{{Partition: 1, Owner: "n2", Epoch: 3}})), want: []string{"different owners"}},
	})
}

func TestI7_revoked(t *testing.T) {
	t.Parallel()
	base := subscribed(history.Profile{})
	rotate := func(version int, call, ret int64, with ...func(*history.Op)) history.Op {
		return op(history.SecurityPut, "k", call, ret, history.Config{
			Account: "a", Security: &history.Security{Type: "BASIC", Version: version}, Revokes: &history.Revocation{Dest: "p", Below: version},
		}, history.Refs{}, with...)
	}
	used := func(version int, call int64) history.Op {
		return arrive(fmt.Sprint(call), 0, 0, call, call+1, 200, func(a *history.Arrived) { a.Auth, a.Version = "BASIC", version })
	}
	deleted := func(call, ret int64) history.Op {
		return op(history.SubscriptionDelete, "s", call, ret, history.Config{Account: "a", Channel: "SMS", Revokes: &history.Revocation{Dest: "p", All: true}}, history.Refs{})
	}
	moved := op(history.ProfilePut, "p", 100, 101, history.Config{
		Account: "a", Profile: &history.Profile{URL: "http://sink/a/p/3", Set: []string{"url"}}, Revokes: &history.Revocation{Dest: "p", URLBelow: 3},
	}, history.Refs{})
	at := func(version int, call int64) history.Op {
		return arrive(fmt.Sprint(call), 0, 0, call, call+1, 500, func(a *history.Arrived) { a.URLVersion = version })
	}
	again := op(history.SubscriptionCreate, "s2", 500, 501, history.Config{Account: "a", Channel: "SMS", Subscription: &history.Subscription{Profile: "p"}}, history.Refs{})
	pause := faultOps("1", 50, 900, history.Fault{Name: "N2", Kind: "pause", Cuts: true, Nodes: []string{"n2"}})
	key := func(kind string, call, ret int64, with ...func(*history.Op)) history.Op {
		return op(kind, "key-1", call, ret, history.Config{Account: "a"}, nil, with...)
	}
	judge(t, "revoked", map[string]verdictCase{
		"within the bound, and the new one":    {ops: with(base, ops(rotate(2, 100, 101), used(1, 150), used(1, 1100), used(2, 1200), used(3, 5000)))},
		"too late":                             {ops: with(base, ops(rotate(2, 100, 101), used(1, 1102))), want: []string{"version 1 of a credential arrived, not 2 or later, 1.001s after"}},
		"under a pause the bound is the lease": {ops: with(base, pause, ops(rotate(2, 100, 101), used(1, 1102), used(1, 2101)))},
		"under a pause, too late":              {ops: with(base, pause, ops(rotate(2, 100, 101), used(1, 2102))), want: []string{"(bound 2s)"}},
		"a version with an unknown outcome":    {ops: with(base, ops(rotate(2, 50, 60, unknown), rotate(3, 100, 101), used(2, 5000)))},
		"older than one with an unknown one":   {ops: with(base, ops(rotate(2, 50, 60, unknown), rotate(3, 100, 101), used(1, 5000))), want: []string{"version 1"}},
		"the change itself is unknown":         {ops: with(base, ops(rotate(2, 50, 60), rotate(3, 100, 101, unknown), used(2, 5000)))},
		"to a deleted subscription":            {ops: with(base, ops(deleted(100, 101), used(1, 1000), used(1, 1500))), want: []string{"a request arrived 1.399s after"}},
		"to one that was made anew":            {ops: with(base, ops(deleted(100, 101), again, used(1, 1500)))},
		"to an old address":                    {ops: with(base, ops(moved, at(3, 1500), at(2, 1500))), want: []string{"at version 2 of the URL"}},
		"a deleted key": {ops: ops(key(history.KeyCreate, 0, 1), key(history.KeyUse, 2, 3), key(history.KeyDelete, 10, 11), key(history.KeyUse, 500, 501), key(history.KeyUse, 1500, 1501, refused(401, "unauthorized: x")),
			key(history.KeyUse, 2000, 2001)), want: []string{"key-1 authenticated 1.989s after"}},
		"a deleted key at a node that is cut off": {ops: with(pause, ops(key(history.KeyCreate, 0, 1), key(history.KeyDelete, 60, 61), key(history.KeyUse, 850, 851, on("n2"))))},
		"a deleted key at another node":           {ops: with(pause, ops(key(history.KeyCreate, 0, 1), key(history.KeyDelete, 60, 61), key(history.KeyUse, 2500, 2501))), want: []string{"key-1 authenticated"}},
	})
}

func TestI15_audit(t *testing.T) {
	t.Parallel()
	change := func(request string, call, ret int64, with ...func(*history.Op)) history.Op {
		return op(history.ProfilePut, "p", call, ret, history.Config{Account: "a", Request: request, Profile: &history.Profile{}}, history.Refs{}, with...)
	}
	log := func(rs ...history.Audit) history.Op {
		return final(history.FinalAudit, "n1", history.FinalQuery{Account: "a"}, rs)
	}
	rec := func(request string, index uint64) history.Audit {
		return history.Audit{Index: index, Action: "profile.update", Object: "p", Actor: "key:k", Request: request}
	}
	judge(t, "audit", map[string]verdictCase{
		"one each, unknown ones may have one": {ops: ops(change("1", 0, 1), change("2", 2, 3, unknown), change("3", 4, 5, unknown), change("4", 6, 7, refused(503, "unavailable: x")), log(rec("2", 9), rec("1", 7)))},
		"older than the log":                  {ops: ops(change("1", 0, 1), change("2", 2, 3), log(rec("2", 9))), unknown: 1},
		"none":                                {ops: ops(change("1", 0, 1), change("2", 2, 3), log(rec("1", 7))), want: []string{"no record of an acknowledged change"}},
		"none at all":                         {ops: ops(change("1", 0, 1), log()), want: []string{"no record"}},
		"two":                                 {ops: ops(change("1", 0, 1), log(rec("1", 8), rec("1", 7))), want: []string{"2 records of one change"}},
		"of what was refused":                 {ops: ops(change("1", 0, 1, refused(404, "not_found: x")), log(rec("1", 7))), want: []string{"a change that was refused"}},
		"of something else":                   {ops: ops(change("1", 0, 1), log(history.Audit{Index: 7, Action: "profile.delete", Object: "p", Request: "1"})), want: []string{"says profile.delete p"}},
		"in the wrong order":                  {ops: ops(change("1", 0, 1), change("2", 2, 3), log(rec("1", 9), rec("2", 7))), want: []string{"wrong order"}},
		"side by side, in any order":          {ops: ops(change("1", 0, 3), change("2", 2, 3), log(rec("1", 9), rec("2", 7)))},
	})
}
