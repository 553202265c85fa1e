package fsm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"example.com/belfry/fsm/model"
)

type recorder struct {
	changes  []model.Change
	indices  []uint64
	restored []uint64
}

func (r *recorder) Committed(v model.View, ch model.ChangeSet) {
	if v.Index() != ch.Index {
		panic("view and change set differ")
	}
	r.indices = append(r.indices, ch.Index)
	r.changes = append(r.changes, ch.Changes...)
}
func (r *recorder) Restored(v model.View) { r.restored = append(r.restored, v.Index()) }

// seeded returns a store with the account a, its profile p and setting s.
func seeded(tb testing.TB) *Store {
	tb.Helper()
	s := newStore(tb)
	sec := testSecurity("a", "s")
	mustDo(tb, s, bootstrap(), CreateAccount{head(epoch), testAccount("a")}, CreateCertificate{head(epoch), testCertificate("a", "c")},
		CreateProfile{head(epoch), newProfile(testProfile("a", "p"), &sec)})
	return s
}

func TestStore_observers(t *testing.T) {
	t.Parallel()
	var r recorder
	path := filepath.Join(t.TempDir(), "state.db")
	s := openStore(t, path, &r)
	b := s.ApplyBatch([]*raft.Log{entry(t, 1, bootstrap()), entry(t, 2, CreateAccount{head(epoch), testAccount("a")}), entry(t, 3, CreateAccount{head(epoch), testAccount("a")})})
	if model.CodeOf(answerError(t, b[2])) != model.CodeExists {
		t.Errorf("got %v", b[2])
	}
	want := []model.Change{{Entity: model.EntityAccount, Account: "default", ID: "default"}, {Entity: model.EntityKey, Account: "default", ID: "root"}, {Entity: model.EntityAccount, Account: "a", ID: "a"}}
	if d := cmp.Diff(want, r.changes); d != "" || !slices.Equal(r.indices, []uint64{3}) {
		t.Errorf("one call per batch, at its last index: %v\n%s", r.indices, d)
	}
	snap := snapshotOf(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path, &r)
	if err := restore(s, snap); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.restored, []uint64{3, 3}) {
		t.Errorf("Restored: got %v, want one call by Open and one by Restore", r.restored)
	}
	if err := s.Close(); err != nil || s.Close() != nil {
		t.Errorf("Close twice: %v", err)
	}
	if _, err := s.Account("a"); model.CodeOf(err) != model.CodeUnavailable {
		t.Errorf("a closed store answers %v", err)
	}
	if !s.TokenRevoked("t") {
		t.Error("a closed store says that a token is good")
	}
}

// INV fsm-2: a crash before the commit loses the whole batch, one after it
// nothing, and the replay of the log mends both.
func TestStore_crash(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprint("after=", after), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "state.db")
			batch := []*raft.Log{entry(t, 1, bootstrap()), entry(t, 2, CreateAccount{head(epoch), testAccount("a")})}
			s := openStore(t, path)
			if crash := func() { panic("crash") }; after {
				s.afterCommit = crash
			} else {
				s.beforeCommit = crash
			}
			func() {
				defer func() {
					if recover() == nil {
						t.Error("the hook was not reached")
					}
				}()
				s.ApplyBatch(batch)
			}()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, path)
			if want := map[bool]uint64{true: 2}[after]; s.AppliedIndex() != want {
				t.Errorf("applied index after the crash: got %d, want %d", s.AppliedIndex(), want)
			}
			s.ApplyBatch(batch)
			fresh := newStore(t)
			fresh.ApplyBatch(batch)
			if digest(t, s) != digest(t, fresh) {
				t.Error("the replay gives another state")
			}
		})
	}
}

func TestStore_Restore_badStream(t *testing.T) {
	t.Parallel()
	good := snapshotOf(t, seeded(t))
	s := newStore(t)
	mustDo(t, s, bootstrap())
	before := digest(t, s)
	try := func(name string, b []byte) {
		if err := restore(s, b); err == nil {
			t.Errorf("%s was restored", name)
		}
	}
	for i := 0; i < len(good); i += 7 {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		try(fmt.Sprint("a flipped bit at ", i), bad)
		try(fmt.Sprint("a stream cut at ", i), good[:i])
	}
	try("a tail", append(bytes.Clone(good), 0))
	if digest(t, s) != before || s.AppliedIndex() != 1 {
		t.Error("a bad stream changed the state")
	}
	mustDo(t, s, CreateAccount{head(epoch), testAccount("a")})
	if err := restore(s, good); err != nil {
		t.Errorf("the good stream: %v", err)
	}
	mustDo(t, s, DeleteProfile{head(epoch), "a", "p"})
}

// A snapshot shows the state it was taken of, while Apply and even a Restore go
// on beside it.
func TestStore_Snapshot_besideApply(t *testing.T) {
	t.Parallel()
	s := seeded(t)
	want := snapshotOf(t, s)
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	mustDo(t, s, DeleteProfile{head(epoch), "a", "p"})
	if err := restore(s, want); err != nil {
		t.Fatal(err)
	}
	mustDo(t, s, DeleteProfile{head(epoch), "a", "p"})
	var sink memSink
	if err := snap.Persist(&sink); err != nil {
		t.Fatal(err)
	}
	snap.Release()
	snap.Release()
	if !bytes.Equal(sink.Bytes(), want) {
		t.Error("the snapshot shows a later state")
	}
}

func TestOpen_damaged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.db")
	if err := os.WriteFile(path, bytes.Repeat([]byte("no database "), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Path: path})
	if err == nil {
		_ = s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "with an empty data directory") {
		t.Errorf("the error does not name the file and say what to do: %v", err)
	}
}

func TestOpen_otherFormat(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.db")
	s := openStore(t, path)
	if err := s.file.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bMeta).Put(kFormat, be64(storeFormat+1)) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Path: path}); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("got %v", err)
	}
	if _, err := Open(Options{}); err == nil {
		t.Error("Options without a path were taken")
	}
}

func TestStore_lists(t *testing.T) {
	t.Parallel()
	s := seeded(t)
	for i := range 45 {
		x := testSub("a", fmt.Sprintf("x%02d", i), "p")
		if i%2 == 0 {
			x.Criteria = []model.Criterion{{ApplicationID: "app1"}, {ApplicationID: "app2", EntityID: fmt.Sprint(i % 3)}}
			x.Resources, x.Users = []string{"r1", "r2"}, []string{"u"}
		}
		mustDo(t, s, CreateSubscription{Header: head(epoch), Subscription: x})
	}
	other := testSub("a", "rcs", "p")
	other.Channel = "RCS"
	mustDo(t, s, CreateSubscription{Header: head(epoch), Subscription: other}, DeleteSubscription{head(epoch), "a", "SMS", "x44"})
	for _, c := range []struct {
		name         string
		f            model.SubscriptionFilter
		page, size   int
		first        string
		items, total int
	}{
		{"newest first", model.SubscriptionFilter{}, 0, 20, "x43", 20, 44},
		{"last page", model.SubscriptionFilter{}, 2, 20, "x03", 4, 44},
		{"past the end", model.SubscriptionFilter{}, 3, 20, "", 0, 44},
		{"far past the end", model.SubscriptionFilter{}, 1 << 62, 100, "", 0, 44},
		{"repeats are ANDed", model.SubscriptionFilter{ApplicationIDs: []string{"app1", "app2"}}, 0, 5, "x42", 5, 22},
		{"one value is missing", model.SubscriptionFilter{ApplicationIDs: []string{"app1", "app3"}}, 0, 5, "", 0, 0},
		{"all kinds", model.SubscriptionFilter{EntityIDs: []string{"0"}, Resources: []string{"r2", "r1"}, Users: []string{"u"}}, 1, 5, "x12", 3, 8},
		{"calls", model.SubscriptionFilter{CallsConfigurationIDs: []string{"c"}}, 0, 5, "", 0, 0},
		{"filter, far page", model.SubscriptionFilter{Users: []string{"u"}}, 1 << 62, 100, "", 0, 22},
	} {
		p, err := s.ListSubscriptions("a", "SMS", c.f, c.page, c.size)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		first := ""
		if len(p.Items) > 0 {
			first = p.Items[0].ID
		}
		if first != c.first || len(p.Items) != c.items || p.Total != c.total || p.Items == nil {
			t.Errorf("%s: got %q first, %d items of %d; want %q, %d of %d", c.name, first, len(p.Items), p.Total, c.first, c.items, c.total)
		}
	}
	for _, c := range []struct{ page, size int }{{-1, 20}, {0, 0}, {0, 101}} {
		if _, err := s.ListProfiles("a", model.ProfileFilter{}, c.page, c.size); model.CodeOf(err) != model.CodeInvalid {
			t.Errorf("page %d of %d: got %v", c.page, c.size, err)
		}
		if _, err := s.ListAudit("a", c.page, c.size); model.CodeOf(err) != model.CodeInvalid {
			t.Errorf("audit page %d of %d: got %v", c.page, c.size, err)
		}
	}
	if p, err := s.ListSubscriptions("default", "SMS", model.SubscriptionFilter{}, 0, 20); err != nil || p.Total != 0 {
		t.Errorf("another account: got %d, %v", p.Total, err)
	}
	audit, err := s.ListAudit("a", 0, 2)
	want := model.AuditRecord{Index: s.AppliedIndex(), At: epoch, Account: "a", Actor: "system", ActorFrom: "127.0.0.1", RequestID: "r", Action: "subscription.delete", Object: "SMS/x44"}
	if len(audit.Items) > 0 {
		want.Changes = audit.Items[0].Changes // TestAudit_differences looks at them
	}
	if d := cmp.Diff(want, audit.Items[0]); err != nil || d != "" || audit.Total != 49 {
		t.Errorf("audit: %d records, %v\n%s", audit.Total, err, d)
	}
}

func TestStore_ListCertificates(t *testing.T) {
	t.Parallel()
	s := seeded(t)
	for i, id := range []string{"b2", "a1", "ab"} {
		c := testCertificate("a", id)
		c.ValidUntil = epoch.Add(time.Duration(i) * time.Hour)
		mustDo(t, s, CreateCertificate{head(epoch), c})
	}
	for _, c := range []struct {
		f    model.CertificateFilter
		want string
	}{
		{model.CertificateFilter{}, "ab a1 b2 c"},
		{model.CertificateFilter{Search: "b"}, "ab b2"},
		{model.CertificateFilter{SortByID: true}, "a1 ab b2 c"},
		{model.CertificateFilter{SortByID: true, Descending: true}, "c b2 ab a1"},
		{model.CertificateFilter{SortByID: true, Search: "a"}, "a1 ab"},
		{model.CertificateFilter{ExpiresBefore: epoch.Add(2 * time.Hour)}, "a1 b2 c"},
		{model.CertificateFilter{ExpiresBefore: epoch.Add(time.Hour + 1), SortByID: true, Search: "a"}, "a1"},
		{model.CertificateFilter{ExpiresBefore: epoch.Add(-time.Hour)}, "c"}, // which has no dates
	} {
		p, err := s.ListCertificates("a", c.f, 0, 10)
		var ids []string
		for _, x := range p.Items {
			ids = append(ids, x.ID)
		}
		if got := strings.Join(ids, " "); err != nil || got != c.want || p.Total != len(ids) {
			t.Errorf("%+v: got %q of %d, %v, want %q", c.f, got, p.Total, err, c.want)
		}
	}
}

func FuzzRestore(f *testing.F) {
	good := snapshotOf(f, seeded(f))
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(snapshotMagic + "\x01\x00\x00\x00\x00\x00\x00\x00\x01\x01\x00\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newStore(t)
		before := digest(t, s)
		if err := restore(s, b); err != nil && digest(t, s) != before {
			t.Fatal("a bad stream changed the state")
		}
	})
}

func BenchmarkStore_ApplyBatch(b *testing.B) {
	for _, size := range []int{1, 64} {
		for _, sync := range []bool{false, true} {
			b.Run(fmt.Sprintf("batch=%d/sync=%t", size, sync), func(b *testing.B) {
				s, err := Open(Options{Path: filepath.Join(b.TempDir(), "state.db"), NoSync: !sync})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				mustDo(b, s, bootstrap(), CreateProfile{head(epoch), newProfile(testProfile("default", "p"), nil)})
				x := testSub("default", "x", "p")
				mustDo(b, s, CreateSubscription{Header: head(epoch), Subscription: x})
				data := entry(b, 1, ReplaceSubscription{head(epoch), x}).Data
				for b.Loop() {
					batch := make([]*raft.Log, size)
					for i := range batch {
						batch[i] = &raft.Log{Index: s.AppliedIndex() + 1 + uint64(i), Data: data}
					}
					s.ApplyBatch(batch)
				}
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "changes/s")
			})
		}
	}
}

func TestStore_RevokeToken_forgets(t *testing.T) {
	t.Parallel()
	s := seeded(t)
	revoke := func(id string, at, until time.Time) Command {
		return RevokeToken{head(at), "a", model.RevokedToken{ID: id, Until: until}}
	}
	mustDo(t, s, revoke("t1", epoch, epoch.Add(time.Second)), revoke("t2", epoch, epoch.Add(time.Hour)))
	mustDo(t, s, revoke("t3", epoch.Add(time.Second), epoch.Add(time.Hour)))
	if !s.TokenRevoked("t1") {
		t.Error("a token was forgotten at its end, not after it")
	}
	mustDo(t, s, revoke("t4", epoch.Add(time.Second+time.Millisecond), epoch.Add(time.Hour)))
	if s.TokenRevoked("t1") || !s.TokenRevoked("t2") || !s.TokenRevoked("t4") || s.TokenRevoked("t9") {
		t.Error("the wrong tokens are revoked")
	}
}
