package index

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

func sub(id, profile string, change ...func(*model.Subscription)) model.Subscription {
	s := model.Subscription{Account: "acme", Channel: "SMS", ID: id, ProfileID: profile}
	for _, f := range change {
		f(&s)
	}
	return s
}

func restored(subs ...model.Subscription) (*Index, *config) {
	c := newConfig()
	for _, s := range subs {
		c.put(s)
	}
	x := New()
	c.index = 7
	x.Restored(c)
	return x, c
}

func TestMatchSemantics(t *testing.T) {
	t.Parallel()
	criteria := func(cs ...model.Criterion) func(*model.Subscription) {
		return func(s *model.Subscription) { s.Criteria = cs }
	}
	events := func(names ...string) func(*model.Subscription) {
		return func(s *model.Subscription) {
			for _, n := range names {
				s.Events = append(s.Events, model.EventRef{Event: n})
			}
		}
	}
	resources := func(rs ...string) func(*model.Subscription) { return func(s *model.Subscription) { s.Resources = rs } }
	users := func(us ...string) func(*model.Subscription) { return func(s *model.Subscription) { s.Users = us } }

	for _, c := range []struct {
		name string
		sub  model.Subscription
		e    event.Event
		want bool
	}{
		{"open subscription", sub("s", "p"), event.Event{}, true},
		{"event named", sub("s", "p", events("CLICK", "DELIVERY")), event.Event{}, true},
		{"event not named", sub("s", "p", events("CLICK")), event.Event{}, false},
		{"event in another case", sub("s", "p", events("delivery")), event.Event{}, false},
		{"no alias of consent", sub("s", "p", events("CONSENT_UPDATE")), event.Event{Name: "MARKETING_OPT_IN"}, false},
		{"format does not decide", sub("s", "p", func(s *model.Subscription) {
			s.Events = []model.EventRef{{Event: "DELIVERY", Format: "X"}, {Event: "DELIVERY", Format: "Y"}}
		}), event.Event{Format: "Z"}, true},
		{
			"tuple is AND", sub("s", "p", criteria(model.Criterion{ApplicationID: "a", EntityID: "e"})),
			event.Event{ApplicationID: "a", EntityID: "x"},
			false,
		},
		{
			"tuple complete", sub("s", "p", criteria(model.Criterion{ApplicationID: "a", EntityID: "e"})),
			event.Event{ApplicationID: "a", EntityID: "e", CallsConfigurationID: "c"},
			true,
		},
		{
			"tuples are OR", sub("s", "p", criteria(model.Criterion{ApplicationID: "a"}, model.Criterion{CallsConfigurationID: "c"})),
			event.Event{ApplicationID: "b", CallsConfigurationID: "c"},
			true,
		},
		{"open member", sub("s", "p", criteria(model.Criterion{EntityID: "e"})), event.Event{ApplicationID: "any", EntityID: "e"}, true},
		{
			"empty tuple opens", sub("s", "p", criteria(model.Criterion{ApplicationID: "a"}, model.Criterion{})),
			event.Event{ApplicationID: "b"},
			true,
		},
		{"member swapped", sub("s", "p", criteria(model.Criterion{ApplicationID: "a"})), event.Event{EntityID: "a"}, false},
		{
			"values run together", sub("s", "p", criteria(model.Criterion{ApplicationID: "ab", EntityID: "c"})),
			event.Event{ApplicationID: "a", EntityID: "bc"},
			false,
		},
		{"resources are OR", sub("s", "p", resources("x", "y")), event.Event{Resource: "y"}, true},
		{"resource missing", sub("s", "p", resources("x")), event.Event{}, false},
		{"empty resource is a value", sub("s", "p", resources("")), event.Event{}, true},
		{"empty resource is exact", sub("s", "p", resources("")), event.Event{Resource: "x"}, false},
		{"users are OR", sub("s", "p", users("x", "y")), event.Event{User: "x"}, true},
		{"groups are AND", sub("s", "p", users("u"), resources("r")), event.Event{User: "u", Resource: "q"}, false},
		{
			"all groups", sub("s", "p", users("u"), resources("r"), criteria(model.Criterion{ApplicationID: "a"}), events("DELIVERY")),
			event.Event{User: "u", Resource: "r", ApplicationID: "a"},
			true,
		},
		{"other account", sub("s", "p"), event.Event{Account: "other"}, false},
		{"other channel", sub("s", "p"), event.Event{Channel: "EMAIL"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x, _ := restored(c.sub)
			e := c.e
			if e.Account == "" {
				e.Account = "acme"
			}
			if e.Channel == "" {
				e.Channel = "SMS"
			}
			if e.Name == "" {
				e.Name = "DELIVERY"
			}
			if got := x.Match(nil, &e); (len(got) == 1) != c.want {
				t.Errorf("targets %v, want a match: %v", got, c.want)
			}
		})
	}
}

func smsDelivery() *event.Event {
	return &event.Event{Account: "acme", Channel: "SMS", Name: "DELIVERY", ApplicationID: "shop"}
}

func TestTargetsAreGroupedByProfileInOrder(t *testing.T) {
	t.Parallel()
	twice := func(s *model.Subscription) { // both tuples find it
		s.Criteria = []model.Criterion{{ApplicationID: "shop"}, {}}
	}
	x, _ := restored(sub("c", "p2"), sub("b", "p1", twice), sub("a", "p2"), sub("d", "p1"))
	first := Target{ProfileID: "kept"}
	got := x.Match([]Target{first}, smsDelivery())
	want := []Target{first, {"p1", []string{"b", "d"}}, {"p2", []string{"a", "c"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_ = append(got[1].SubscriptionIDs, "mine")
	if got[2].SubscriptionIDs[0] != "a" {
		t.Error("appending to one target's ids wrote into the next target's")
	}
}

func TestDisabledProfilesMatchNothing(t *testing.T) {
	t.Parallel()
	x, c := restored(sub("a", "on"), sub("b", "off"), sub("c", "off"))
	c.commit(x, c.putProfile(model.Profile{Account: "acme", ID: "off", Disabled: true}))
	if diff := cmp.Diff([]Target{{"on", []string{"a"}}}, x.Match(nil, smsDelivery())); diff != "" {
		t.Error(diff)
	}
	if !x.Alive("acme", "SMS", []string{"b"}) {
		t.Error("a subscription is dead because its profile is disabled; what is queued must wait, not be dropped")
	}
	c.commit(x, c.putProfile(model.Profile{Account: "other", ID: "off"}))
	if n := len(x.Match(nil, smsDelivery())); n != 1 {
		t.Errorf("%d targets after another account's profile was enabled, want 1", n)
	}
	y := New()
	y.Restored(c)
	if n := len(y.Match(nil, smsDelivery())); n != 1 {
		t.Errorf("%d targets after a rebuild, want 1", n)
	}
	c.commit(x, c.putProfile(model.Profile{Account: "acme", ID: "off"}))
	if n := len(x.Match(nil, smsDelivery())); n != 2 {
		t.Errorf("%d targets after the profile was enabled, want 2", n)
	}
}

func TestAlive(t *testing.T) {
	t.Parallel()
	x, c := restored(sub("a", "p"), sub("b", "p"))
	c.commit(x, c.remove("acme", "SMS", "a"))
	for _, q := range []struct {
		account, channel string
		ids              []string
		want             bool
	}{
		{"acme", "SMS", []string{"b"}, true},
		{"acme", "SMS", []string{"a"}, false},
		{"acme", "SMS", []string{"a", "b"}, true},
		{"acme", "SMS", nil, false},
		{"acme", "EMAIL", []string{"b"}, false},
		{"other", "SMS", []string{"b"}, false},
	} {
		if got := x.Alive(q.account, q.channel, q.ids); got != q.want {
			t.Errorf("Alive(%s, %s, %v) = %v", q.account, q.channel, q.ids, got)
		}
	}
}

func TestConfigIndexMovesWithEveryBatch(t *testing.T) {
	t.Parallel()
	x, c := restored(sub("a", "p"))
	if got := x.ConfigIndex(); got != 7 {
		t.Errorf("config index %d after Restored at 7", got)
	}
	before := x.Snapshot()
	c.commit(x, model.Change{Entity: model.EntityKey, Account: "acme", ID: "k"}) // nothing to do with matching
	if got := x.ConfigIndex(); got != 8 {
		t.Errorf("config index %d after a batch at 8", got)
	}
	if before.ConfigIndex() != 7 || before.Len() != 1 {
		t.Error("a snapshot moved on")
	}
}

// TestDifferential holds the index against a scan over random changes.
// INV index-1, index-2 and index-4.
func TestDifferential(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			r := random(seed)
			c, x := newConfig(), New()
			type old struct {
				table *Table
				e     *event.Event
				want  []Target
			}
			var kept []old
			for step := range 120 {
				var changes []model.Change
				for range 1 + r.n(6) {
					changes = append(changes, r.change(c))
				}
				c.commit(x, changes...)
				for range 8 {
					e := r.event()
					want := c.scan(e)
					compare(t, x.Snapshot(), e, want)
					if step%10 == 0 {
						kept = append(kept, old{x.Snapshot(), e, want})
					}
				}
			}
			for _, o := range kept {
				compare(t, o.table, o.e, o.want)
			}
			y := New()
			y.Restored(c)
			if diff := cmp.Diff(contents(t, y.Snapshot()), contents(t, x.Snapshot())); diff != "" {
				t.Errorf("incremental differs from rebuilt (-rebuilt +incremental):\n%s", diff)
			}
			var all []model.Change
			for k := range maps.Clone(c.subscriptions) {
				all = append(all, c.remove(k.account, k.channel, k.id))
			}
			c.commit(x, all...)
			if s := x.Snapshot(); s.directory.root.kid != nil || s.directory.root.leaf != nil || s.Len() != 0 {
				t.Errorf("an empty config left %d subscriptions and a directory %v", s.Len(), s.directory.root)
			}
		})
	}
}

func compare(t *testing.T, table *Table, e *event.Event, want []Target) {
	t.Helper()
	if diff := cmp.Diff(want, table.Match(nil, e), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%+v:\n%s", e, diff)
	}
}

// contents is everything a table holds, in a form that does not depend on the
// order of updates. It checks that each record has its postings and no others.
func contents(t *testing.T, table *Table) map[string]any {
	t.Helper()
	out := map[string]any{"index": table.index, "size": table.size, "off": table.off}
	table.directory.root.walk(func(e entry) {
		s := table.shards.at(e.ref)
		var p packer
		var records []string
		patterns := map[pattern]int{}
		wanted := map[entry]bool{}
		entries := 0
		s.entries.root.walk(func(e entry) {
			entries++
			r := s.records.at(e.ref)
			if e.hash != table.hash.idKey(r.id()) {
				return
			}
			records = append(records, string(r))
			p.unpack(r)
			for _, k := range p.postings(table.hash, nil) {
				wanted[entry{k.hash, e.ref}] = true
				patterns[k.pattern]++
			}
		})
		s.entries.root.walk(func(e entry) { delete(wanted, e) })
		total := len(records)
		for _, n := range patterns {
			total += n
		}
		if len(wanted) > 0 || total != entries {
			t.Errorf("%q: %d postings are missing, %d entries for %d records and postings", s.name, len(wanted), entries, total)
		}
		for _, pc := range s.patterns {
			patterns[pc.pattern] -= pc.count
		}
		for pat, n := range patterns {
			if n != 0 {
				t.Errorf("%q: pattern %b is counted wrong by %d", s.name, pat, n)
			}
		}
		slices.Sort(records)
		out[s.name] = records
	})
	var off []string
	table.disabled.root.walk(func(e entry) { off = append(off, fmt.Sprint(table.profiles.at(e.ref))) })
	slices.Sort(off)
	out["disabled"] = off
	return out
}

func (s *slot) walk(f func(entry)) {
	for _, e := range s.leaf {
		f(e)
	}
	if s.kid != nil {
		for i := range s.kid.slots {
			s.kid.slots[i].walk(f)
		}
	}
}

// TestPostingsAreBounded holds the limit and one above it: 255 resources and
// one event fit the key, with two events they do not and the events go.
func TestPostingsAreBounded(t *testing.T) {
	t.Parallel()
	var resources, users []string
	for i := range 255 {
		resources = append(resources, "r"+strconv.Itoa(i))
		users = append(users, "u"+strconv.Itoa(i))
	}
	event1, event2 := model.EventRef{Event: "E1"}, model.EventRef{Event: "E2"}
	tuple := []model.Criterion{{ApplicationID: "a"}}
	for _, c := range []struct {
		name string
		s    model.Subscription
		n    int
		want pattern
	}{
		{"nothing", model.Subscription{}, 1, 0},
		{
			"everything once",
			model.Subscription{Events: []model.EventRef{event1}, Criteria: tuple, Resources: users[:1], Users: users[:1]},
			1, byEvent | byApplication | byResource | byUser,
		},
		{"limit", model.Subscription{Events: []model.EventRef{event1, event2}, Resources: resources[:128]}, 256, byEvent | byResource},
		{"above", model.Subscription{Events: []model.EventRef{event1, event2}, Resources: resources[:129]}, 129, byResource},
		{"two long lists", model.Subscription{Criteria: tuple, Resources: resources, Users: users[:200]}, 200, byApplication | byUser},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var p packer
			h := New().Snapshot().hash
			p.normalize(&c.s)
			ks := p.postings(h, nil)
			if len(ks) != c.n || ks[0].pattern != c.want || ks[len(ks)-1].pattern != c.want {
				t.Errorf("%d postings of pattern %b, want %d of %b", len(ks), ks[0].pattern, c.n, c.want)
			}
		})
	}
}

// TestConcurrentReaders lets readers match while the writer commits: what a
// snapshot answers must be what the state of its index says. INV index-1, index-3.
func TestConcurrentReaders(t *testing.T) {
	t.Parallel()
	const states, questions = 300, 12
	r := random(99)
	es := make([]*event.Event, questions)
	for i := range es {
		es[i] = r.event()
	}
	c := newConfig()
	changes := make([]model.Change, states)
	views := make([]*config, states)
	want := make([][questions][]Target, states+1)
	for i := range states {
		changes[i] = r.change(c)
		views[i] = &config{index: uint64(i) + 1, subscriptions: maps.Clone(c.subscriptions), profiles: maps.Clone(c.profiles)}
		for q, e := range es {
			want[i+1][q] = c.scan(e)
		}
	}
	x := New()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var dst []Target
			for {
				table := x.Snapshot()
				for q, e := range es {
					dst = table.Match(dst[:0], e)
					if !cmp.Equal(want[table.ConfigIndex()][q], dst, cmpopts.EquateEmpty()) {
						t.Errorf("index %d, event %d: %v", table.ConfigIndex(), q, dst)
						return
					}
				}
				if table.ConfigIndex() == states {
					return
				}
			}
		})
	}
	for i, v := range views {
		if i == states/2 {
			x.Restored(v)
			continue
		}
		x.Committed(v, model.ChangeSet{Index: v.index, Changes: changes[i : i+1]})
	}
	wg.Wait()
}

// TestMatchAllocations: nothing when nothing matches; the ids when dst has
// room. It is not parallel because allocations of the whole process count.
func TestMatchAllocations(t *testing.T) {
	x, _ := restored(sub("a", "p", func(s *model.Subscription) {
		s.Events = []model.EventRef{{Event: "DELIVERY"}}
		s.Criteria = []model.Criterion{{ApplicationID: "shop", EntityID: "eu"}}
	}))
	none := smsDelivery()
	hit := smsDelivery()
	hit.EntityID = "eu"
	other := smsDelivery()
	other.Account = "nobody"
	dst := make([]Target, 0, 4)
	for _, c := range []struct {
		name string
		e    *event.Event
		want float64
	}{{"no match", none, 0}, {"no such account", other, 0}, {"a match", hit, 1}} {
		if got := testing.AllocsPerRun(1000, func() { dst = x.Match(dst[:0], c.e) }); got != c.want {
			t.Errorf("%s: %v allocations, want %v", c.name, got, c.want)
		}
	}
}
