package fsm

import (
	"bytes"
	stdcmp "cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"example.com/belfry/fsm/model"
)

// hardTexts are hard to read from a row without decoding it.
var hardTexts = []string{
	``, `plain`, `PLAIN`, `"`, `\`, `\"`, `a","id":"b`, `{"event":"DELIVERY"}`, `[`, `]}`, "\u2028", "<&>", "Zürich", "ZÜRICH", "ÇA ſ", "\u212A", "İstanbul", "日本", "مرحبا", "e\u0301",
	strings.Repeat(`\`, 7), strings.Repeat(`"`, 5), "DELIVERY",
}

// Members and their values are those that the decoder finds, whatever stands
// in the texts.
func TestMembers_asDecoded(t *testing.T) {
	t.Parallel()
	for _, s := range hardTexts {
		row := encodeRow(model.Subscription{
			ID: s, Name: s, Events: []model.EventRef{{Event: s, Format: s}}, Criteria: []model.Criterion{{}, {EntityID: s}}, Resources: []string{"x", s}, ProfileID: s, Meta: model.Meta{CreatedIndex: 1 << 60},
		})
		var want map[string]json.RawMessage
		if err := json.Unmarshal(row, &want); err != nil {
			t.Fatal(err)
		}
		got := map[string]json.RawMessage{}
		for name, value := range members(row) {
			got[string(name)] = value
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q (-decoded +read):\n%s", s, d)
		}
		if string(text(got["id"])) != s || s != "" && (!names(got["events"], "format", s) || !names(got["criteria"], "entityId", s)) || !holds(got["resources"], s) || number(got["createdIndex"]) != 1<<60 {
			t.Errorf("%q is not read as it was written: %s", s, row)
		}
		if names(got["events"], "event", s+"x") || names(got["events"], "id", s) || holds(got["resources"], "x"+s+"x") {
			t.Errorf("%q: what is not there is found in %s", s, row)
		}
	}
}

// A damaged row stops the node; nothing is read beyond it.
func FuzzMembers(f *testing.F) {
	f.Add(encodeRow(testSub("a", `b"\`, "p")))
	f.Add([]byte(`{"a":[{"b":"]"}`))
	f.Add([]byte(`{"a`))
	f.Add([]byte(`{"a":`))
	f.Add([]byte(`{"a":"\`))
	f.Fuzz(func(_ *testing.T, row []byte) {
		defer func() {
			if p := recover(); p != nil && !strings.Contains(fmt.Sprint(p), "damaged row") {
				panic(p)
			}
		}()
		for _, value := range members(row) {
			for range elements(value) {
				break
			}
			_ = text(value)
		}
	})
}

func TestNeedle(t *testing.T) {
	t.Parallel()
	for _, search := range hardTexts {
		n := needleOf(search)
		for _, s := range hardTexts {
			for _, full := range []string{s, "before" + s, s + "after"} {
				if got, want := n.in([]byte(full)), strings.Contains(strings.ToLower(full), strings.ToLower(search)); got != want {
					t.Errorf("%q in %q: %v, want %v", search, full, got, want)
				}
			}
		}
	}
}

// crowdOf fills a store: n subscriptions over some channels and profiles, n
// profiles and n settings, of which every tenth is used.
func crowdOf(tb testing.TB, s *Store, n int, sub func(i int) model.Subscription) {
	tb.Helper()
	apply := func(cs ...Command) {
		logs := make([]*raft.Log, len(cs))
		for i, c := range cs {
			logs[i] = entry(tb, s.AppliedIndex()+uint64(i)+1, c)
		}
		for _, a := range s.ApplyBatch(logs) {
			if err := answerError(tb, a); err != nil {
				tb.Fatal(err)
			}
		}
	}
	apply(bootstrap(), CreateAccount{head(epoch), testAccount("a")}, CreateAccount{head(epoch), testAccount("a0")})
	apply(CreateSecurity{head(epoch), testSecurity("a0", "other")})
	for _, id := range []string{"c0", "c1"} {
		apply(CreateCertificate{head(epoch), testCertificate("a", id)})
	}
	for at := 0; at < n; at += 1000 {
		var cs []Command
		for i := at; i < min(n, at+1000); i++ {
			sec := testSecurity("a", fmt.Sprintf("s%05d", i))
			p := testProfile("a", fmt.Sprintf("p%05d", i))
			p.URL = fmt.Sprintf("https://hooks%d.Example.com/in", i%7)
			if i%10 == 0 {
				p.SecurityID = fmt.Sprintf("s%05d", i/100*100)
			}
			if i%3 > 0 {
				p.CertificateID = fmt.Sprintf("c%d", i%3-1)
			}
			cs = append(cs, CreateSecurity{head(epoch), sec}, CreateProfile{head(epoch), newProfile(p, nil)}, CreateSubscription{Header: head(epoch), Subscription: sub(i)})
		}
		apply(cs...)
	}
}

// INV fsm-9: every filter selects what a filter over decoded rows selects, in
// the order of the log, newest first.
func TestLists_asDecoded(t *testing.T) {
	t.Parallel()
	s, n := newStore(t), 400
	rnd := rand.New(rand.NewPCG(3, 5))
	some := func(list ...string) string { return list[rnd.IntN(len(list))] }
	crowdOf(t, s, n, func(i int) model.Subscription {
		x := testSub("a", fmt.Sprintf("S-%03d", i), fmt.Sprintf("p%05d", rnd.IntN(i+1)/30*30))
		x.Channel, x.Name = some("SMS", "RCS", "EMAIL"), some(hardTexts...)
		for range rnd.IntN(3) {
			x.Events = append(x.Events, model.EventRef{Event: some("DELIVERY", "CLICK", "OPEN")})
			x.Criteria = append(x.Criteria, model.Criterion{ApplicationID: some(hardTexts...), EntityID: some("e", ""), CallsConfigurationID: some("k", "")})
			x.Resources, x.Users = append(x.Resources, some(hardTexts...)), append(x.Users, some("u", "v"))
		}
		return x
	})
	mustDo(t, s, DeleteSubscription{head(epoch), "a", "SMS", someSub(t, s, "SMS")}, ReplaceSubscription{head(epoch), movedSub(t, s, "RCS")})
	var subs []model.Subscription
	var profs []model.Profile
	secs := map[string]bool{} // used
	if err := s.View(func(v model.View) error {
		subs, profs = slices.Collect(v.Subscriptions("a")), slices.Collect(v.Profiles("a"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, p := range profs {
		secs[p.SecurityID] = true
	}
	for range 600 {
		f, channel := model.SubscriptionFilter{}, some("", "", "SMS", "RCS")
		for _, set := range []func(){
			func() { f.Search = some(append(hardTexts, "s-0", "S-39", "rc", "P000")...) }, func() { f.ProfileID = some("p00000", "p00030", "p00060", "none") },
			func() { f.Event = some("DELIVERY", "CLICK", "OPEN") }, func() { f.ApplicationIDs = []string{some(hardTexts...), some(hardTexts...)} },
			func() { f.EntityIDs = []string{"e"} }, func() { f.CallsConfigurationIDs = []string{"k"} }, func() { f.Resources = []string{some(hardTexts...)} }, func() { f.Users = []string{"u", "v"} },
		} {
			if rnd.IntN(6) == 0 {
				set()
			}
		}
		checkList(t, fmt.Sprintf("%q %+v", channel, f), subs, func(x model.Subscription) (uint64, bool) { return x.CreatedIndex, subscriptionFits(x, f, channel) },
			func(page, size int) (model.Page[model.Subscription], error) {
				return s.ListSubscriptions("a", channel, f, page, size)
			})
	}
	for _, f := range []model.ProfileFilter{
		{},
		{Search: "P0000"},
		{Search: "hooks3.EXAMPLE"},
		{Search: "C1"},
		{Search: "s00100"},
		{SecurityID: "s00100"},
		{SecurityID: "none"},
		{CertificateID: "c0"},
		{SecurityID: "s00100", CertificateID: "c1"},
		{SecurityID: "s00200", Search: "2.example"},
		{CertificateID: "c1", Search: "p0012"},
	} {
		checkList(t, fmt.Sprintf("%+v", f), profs, func(p model.Profile) (uint64, bool) {
			return p.CreatedIndex, hasFold(f.Search, p.ID, p.URL, p.SecurityID, p.CertificateID) && (f.SecurityID == "" || f.SecurityID == p.SecurityID) && (f.CertificateID == "" || f.CertificateID == p.CertificateID)
		}, func(page, size int) (model.Page[model.Profile], error) { return s.ListProfiles("a", f, page, size) })
	}
	var settings []model.Security
	for page := range n / 100 {
		p, err := s.ListSecurity("a", model.SecurityFilter{}, page, 100)
		if err != nil {
			t.Fatal(err)
		}
		settings = append(settings, p.Items...)
	}
	for _, f := range []model.SecurityFilter{{}, {Search: "S001"}, {Search: "basic"}, {Unused: true}, {Search: "00", Unused: true}} {
		checkList(t, fmt.Sprintf("%+v", f), settings, func(x model.Security) (uint64, bool) {
			return x.CreatedIndex, hasFold(f.Search, x.ID, string(x.Type)) && (!f.Unused || !secs[x.ID])
		}, func(page, size int) (model.Page[model.Security], error) { return s.ListSecurity("a", f, page, size) })
	}
}

func someSub(t *testing.T, s *Store, channel string) string {
	t.Helper()
	p, err := s.ListSubscriptions("a", channel, model.SubscriptionFilter{}, 0, 5)
	if err != nil || len(p.Items) < 5 {
		t.Fatal(len(p.Items), err)
	}
	return p.Items[4].ID
}

// movedSub is a subscription of the channel, to another profile.
func movedSub(t *testing.T, s *Store, channel string) model.Subscription {
	t.Helper()
	x, err := s.Subscription("a", channel, someSub(t, s, channel))
	if err != nil {
		t.Fatal(err)
	}
	x.ProfileID = "p00060"
	return x
}

func hasFold(search string, texts ...string) bool {
	return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(search)) })
}

// subscriptionFits is the filter, written from its description.
func subscriptionFits(x model.Subscription, f model.SubscriptionFilter, channel string) bool {
	texts := []string{x.ID, x.Name, x.ProfileID}
	if channel == "" {
		texts = append(texts, x.Channel)
	}
	event := f.Event == "" || slices.ContainsFunc(x.Events, func(e model.EventRef) bool { return e.Event == f.Event })
	if c, ok := model.ChannelByName(x.Channel); ok && len(x.Events) == 0 && c.Has(f.Event) {
		event = true
	}
	all := func(wants []string, has func(want string) bool) bool {
		return !slices.ContainsFunc(wants, func(want string) bool { return !has(want) })
	}
	criteria := func(of func(model.Criterion) string) func(string) bool {
		return func(want string) bool {
			return slices.ContainsFunc(x.Criteria, func(c model.Criterion) bool { return of(c) == want && want != "" })
		}
	}
	return (channel == "" || x.Channel == channel) && hasFold(f.Search, texts...) && event && (f.ProfileID == "" || x.ProfileID == f.ProfileID) &&
		all(f.ApplicationIDs, criteria(func(c model.Criterion) string { return c.ApplicationID })) &&
		all(f.EntityIDs, criteria(func(c model.Criterion) string { return c.EntityID })) &&
		all(f.CallsConfigurationIDs, criteria(func(c model.Criterion) string { return c.CallsConfigurationID })) &&
		all(f.Resources, func(w string) bool { return slices.Contains(x.Resources, w) }) && all(f.Users, func(w string) bool { return slices.Contains(x.Users, w) })
}

// checkList compares some pages of a list with the rows that fit.
func checkList[T any](t *testing.T, what string, rows []T, fits func(T) (uint64, bool), list func(page, size int) (model.Page[T], error)) {
	t.Helper()
	var want []T
	for _, r := range rows {
		if _, ok := fits(r); ok {
			want = append(want, r)
		}
	}
	slices.SortFunc(want, func(a, b T) int {
		x, _ := fits(a)
		y, _ := fits(b)
		return stdcmp.Compare(y, x)
	})
	for _, p := range []struct{ page, size int }{{0, 100}, {0, 3}, {2, 3}, {1, 90}, {1 << 62, 100}, {0, 1}} {
		got, err := list(p.page, p.size)
		if err != nil || got.Total != len(want) || got.Page != p.page || got.Size != p.size || got.Items == nil {
			t.Fatalf("%s page %d: %d of %d, want %d: %v", what, p.page, len(got.Items), got.Total, len(want), err)
		}
		from := len(want)
		if p.page < len(want) {
			from = min(p.page*p.size, len(want))
		}
		if d := cmp.Diff(encoded(want[from:min(from+p.size, len(want))]), encoded(got.Items)); d != "" {
			t.Fatalf("%s page %d (-want +got):\n%s", what, p.page, d)
		}
	}
	if _, err := list(0, model.MaxPageSize+1); model.CodeOf(err) != model.CodeInvalid {
		t.Errorf("%s: a page of %d rows: %v", what, model.MaxPageSize+1, err)
	}
	if _, err := list(-1, 1); model.CodeOf(err) != model.CodeInvalid {
		t.Errorf("%s: page -1: %v", what, err)
	}
}

func encoded[T any](rows []T) []string {
	out := make([]string, len(rows))
	for i := range rows {
		out[i] = string(encodeRow(rows[i]))
	}
	return out
}

// BenchmarkLists measures lists over 10,000 rows. decoded is what a filter cost
// that decodes every row: compare with it within one run.
func BenchmarkLists(b *testing.B) {
	s := openStore(b, filepath.Join(b.TempDir(), "state.db"))
	const n = 10_000
	crowdOf(b, s, n, func(i int) model.Subscription {
		x := testSub("a", fmt.Sprintf("orders-%05d", i), fmt.Sprintf("p%05d", i/50*50))
		x.Channel = []string{"SMS", "EMAIL", "RCS", "WHATSAPP"}[i%4]
		x.Name, x.Events = "Orders of a shop", []model.EventRef{{Event: "DELIVERY"}}
		x.Criteria, x.Resources = []model.Criterion{{ApplicationID: "shop", EntityID: fmt.Sprint(i % 10)}}, []string{"ShopSender"}
		return x
	})
	subs := func(channel string, f model.SubscriptionFilter, page int) func() error {
		return func() error {
			_, err := s.ListSubscriptions("a", channel, f, page, 50)
			return err
		}
	}
	for name, run := range map[string]func() error{
		"decoded": func() error {
			return s.View(func(v model.View) error {
				for x := range v.Subscriptions("a") {
					if strings.Contains(x.ID, "orders-09999") {
						return nil
					}
				}
				return nil
			})
		},
		"search":       subs("", model.SubscriptionFilter{Search: "09999"}, 0),
		"search_all":   subs("", model.SubscriptionFilter{Search: "orders"}, 0),
		"criteria":     subs("", model.SubscriptionFilter{EntityIDs: []string{"3"}, Resources: []string{"ShopSender"}}, 0),
		"event":        subs("", model.SubscriptionFilter{Event: "DELIVERY"}, 0),
		"profile":      subs("", model.SubscriptionFilter{ProfileID: "p05000"}, 0),
		"newest":       subs("", model.SubscriptionFilter{}, 0),
		"newest_last":  subs("", model.SubscriptionFilter{}, n/50-1),
		"channel_last": subs("SMS", model.SubscriptionFilter{}, n/4/50-1),
		"profiles":     func() error { _, err := s.ListProfiles("a", model.ProfileFilter{Search: "p09999"}, 0, 50); return err },
		"certificate": func() error {
			_, err := s.ListProfiles("a", model.ProfileFilter{CertificateID: "c1"}, 0, 50)
			return err
		},
		"unused": func() error { _, err := s.ListSecurity("a", model.SecurityFilter{Unused: true}, 0, 50); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A row that is referred to and not there is damage, not an empty list.
func TestLists_damaged(t *testing.T) {
	t.Parallel()
	s := seeded(t)
	f, err := s.acquire()
	if err != nil {
		t.Fatal(err)
	}
	err = f.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bRef).Put(key(refProfile, "a", "p", "SMS", "gone"), nil)
	})
	if err != nil || s.release(f) != nil {
		t.Fatal(err)
	}
	defer func() {
		if p := recover(); !strings.Contains(fmt.Sprint(p), "damaged row") {
			t.Errorf("got %v, want a complaint about a damaged row", p)
		}
	}()
	_, err = s.ListSubscriptions("a", "", model.SubscriptionFilter{ProfileID: "p"}, 0, 10)
	t.Errorf("answered with %v", err)
}

// Referrers of an id that begins like another one are not mixed up.
func TestLists_ids(t *testing.T) {
	t.Parallel()
	s := seeded(t)
	mustDo(
		t, s, CreateProfile{head(epoch), newProfile(testProfile("a", "pp"), nil)},
		CreateSubscription{Header: head(epoch), Subscription: testSub("a", "one", "p")}, CreateSubscription{Header: head(epoch), Subscription: testSub("a", "two", "pp")},
	)
	p, err := s.ListSubscriptions("a", "SMS", model.SubscriptionFilter{ProfileID: "pp"}, 0, 10)
	if err != nil || len(p.Items) != 1 || p.Items[0].ID != "two" {
		t.Errorf("got %+v, %v", p.Items, err)
	}
	if !bytes.HasPrefix(prefix("a", "pp"), prefix("a")) {
		t.Error("a prefix of keys does not begin with that of its account")
	}
}

// checkLists compares lists by what refers to what with the reference.
func (r *reference) checkLists(t *testing.T, s *Store) {
	t.Helper()
	same := func(what string, got int, err error, want int) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", what, got, err, want)
		}
	}
	for id := range r.profiles {
		p, err := s.ListSubscriptions(id[0], "", model.SubscriptionFilter{ProfileID: id[1]}, 0, 1)
		same(fmt.Sprint("subscriptions through ", id), p.Total, err, count(r.subs, func(k [3]string, profile string) bool { return k[0] == id[0] && profile == id[1] }))
	}
	through := func(member int, id [2]string) int {
		return count(r.profiles, func(k, p [2]string) bool { return k[0] == id[0] && p[member] == id[1] })
	}
	for id := range r.security {
		p, err := s.ListProfiles(id[0], model.ProfileFilter{SecurityID: id[1]}, 0, 1)
		same(fmt.Sprint("profiles with setting ", id), p.Total, err, through(0, id))
	}
	for id := range r.certs {
		p, err := s.ListProfiles(id[0], model.ProfileFilter{CertificateID: id[1]}, 0, 1)
		same(fmt.Sprint("profiles with certificate ", id), p.Total, err, through(1, id))
	}
	for a := range r.accounts {
		p, err := s.ListSecurity(a, model.SecurityFilter{Unused: true}, 0, 1)
		same("unused settings of "+a, p.Total, err, count(r.security, func(id [2]string, _ model.CredentialsType) bool { return id[0] == a && through(0, id) == 0 }))
		all, err := s.ListSubscriptions(a, "", model.SubscriptionFilter{}, 0, 100)
		same("subscriptions of "+a, len(all.Items), err, count(r.subs, func(k [3]string, _ string) bool { return k[0] == a }))
		if !slices.IsSortedFunc(all.Items, func(x, y model.Subscription) int { return stdcmp.Compare(y.CreatedIndex, x.CreatedIndex) }) {
			t.Errorf("subscriptions of %s are not from the newest to the oldest", a)
		}
	}
}
