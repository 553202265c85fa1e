package fsm

import (
	"bytes"
	"context"
	"iter"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
	"example.com/belfry/fsm/seal"
)

// configReader and configWriter repeat what package api asks for, because fsm
// may not import it.
type configReader interface {
	Subscription(account, channel, id string) (model.Subscription, error)
	ListSubscriptions(account, channel string, f model.SubscriptionFilter, page, size int) (model.Page[model.Subscription], error)
	Profile(account, id string) (model.Profile, error)
	ListProfiles(account string, f model.ProfileFilter, page, size int) (model.Page[model.Profile], error)
	Security(account, id string) (model.Security, error)
	ListSecurity(account string, f model.SecurityFilter, page, size int) (model.Page[model.Security], error)
	Certificate(account, id string) (model.Certificate, error)
	ListCertificates(account string, f model.CertificateFilter, page, size int) (model.Page[model.Certificate], error)
	Account(id string) (model.Account, error)
	ListAccounts(page, size int) (model.Page[model.Account], error)
	Key(id string) (model.Key, error)
	ListKeys(account string, page, size int) (model.Page[model.Key], error)
	User(username string) (model.User, error)
	ListUsers(account string, page, size int) (model.Page[model.User], error)
	TokenRevoked(id string) bool
	ListAudit(account string, page, size int) (model.Page[model.AuditRecord], error)
}

type configWriter interface {
	CreateSubscription(ctx context.Context, by model.Actor, d model.SubscriptionDraft) (model.Refs, error)
	ReplaceSubscription(ctx context.Context, by model.Actor, s model.Subscription) (model.Refs, error)
	DeleteSubscription(ctx context.Context, by model.Actor, account, channel, id string) (model.Refs, error)
	CreateProfile(ctx context.Context, by model.Actor, d model.ProfileDraft) (model.Refs, error)
	UpdateProfile(ctx context.Context, by model.Actor, account, id string, p model.ProfilePatch) (model.Refs, error)
	DeleteProfile(ctx context.Context, by model.Actor, account, id string) (model.Refs, error)
	CreateSecurity(ctx context.Context, by model.Actor, d model.SecurityDraft) (model.Refs, error)
	UpdateSecurity(ctx context.Context, by model.Actor, account, id string, p model.SecurityPatch) (model.Refs, error)
	DeleteSecurity(ctx context.Context, by model.Actor, account, id string) (model.Refs, error)
	CreateCertificate(ctx context.Context, by model.Actor, c model.Certificate, key model.Secret) (model.Certificate, error)
	DeleteCertificate(ctx context.Context, by model.Actor, account, id string) error
	CreateAccount(ctx context.Context, by model.Actor, a model.Account) (model.Account, error)
	UpdateAccount(ctx context.Context, by model.Actor, id string, p model.AccountPatch) (model.Account, error)
	DeleteAccount(ctx context.Context, by model.Actor, id string) error
	CreateKey(ctx context.Context, by model.Actor, k model.Key) (model.Key, error)
	UpdateKey(ctx context.Context, by model.Actor, account, id string, p model.KeyPatch) (model.Key, error)
	DeleteKey(ctx context.Context, by model.Actor, account, id string) error
	CreateUser(ctx context.Context, by model.Actor, u model.User) (model.User, error)
	UpdateUser(ctx context.Context, by model.Actor, account, username string, p model.UserPatch) (model.User, error)
	DeleteUser(ctx context.Context, by model.Actor, account, username string) error
	RevokeToken(ctx context.Context, by model.Actor, account string, t model.RevokedToken) error
	AuditReveal(ctx context.Context, by model.Actor, account, authID string) error
}

var (
	_ configReader            = (*Store)(nil)
	_ configWriter            = (*Writer)(nil)
	_ Sealer                  = (*seal.Sealer)(nil)
	_ iter.Seq[model.Account] = view{}.Accounts()
)

// local proposes to one store without any log. Before, when set, runs ahead
// of the next proposal, and elsewhere when the store is brought up to date.
type local struct {
	t         testing.TB
	s         *Store
	before    func()
	last      []byte
	elsewhere func() error
}

func (l *local) catchUp(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		l.t.Error("brought up to date without a deadline")
	}
	if l.elsewhere == nil {
		return nil
	}
	return l.elsewhere()
}

func (l *local) Propose(ctx context.Context, cmd []byte) (uint64, []byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		l.t.Error("a proposal without a deadline")
	}
	if f := l.before; f != nil {
		l.before = nil
		f()
	}
	l.last = cmd
	c, err := Decode(cmd)
	if err != nil {
		return 0, nil, err
	}
	switch a := l.s.Apply(entry(l.t, l.s.AppliedIndex()+1, c)).(type) {
	case error:
		return l.s.AppliedIndex(), nil, a
	case []byte:
		return l.s.AppliedIndex(), a, nil
	}
	panic("no answer")
}

func newWriter(tb testing.TB) (*Writer, *local, *seal.Sealer) {
	tb.Helper()
	s := newStore(tb)
	ring, err := seal.NewRing()
	if err != nil {
		tb.Fatal(err)
	}
	sealer, l := seal.NewSealer(ring, s.DataKey), &local{t: tb, s: s}
	w := NewWriter(WriterOptions{Proposer: l, Sealer: sealer, Store: s, CatchUp: l.catchUp, Now: func() time.Time { return epoch.Add(1500 * time.Microsecond) }})
	if err := w.Bootstrap(tb.Context(), model.Actor{Name: "system"}, model.Account{ID: "default"}, testKey("default", "root", model.ScopeAdminAccounts)); err != nil {
		tb.Fatal(err)
	}
	return w, l, sealer
}

var actor = model.Actor{Name: "key:root", RequestID: "r"}

func opened(t *testing.T, sealer *seal.Sealer, s model.Security, f model.SecretField) string {
	t.Helper()
	x, err := sealer.Open(s.Account, model.EntitySecurity, s.ID, f, s.Secrets[f])
	if err != nil {
		t.Fatalf("open %s: %v", f, err)
	}
	return x.Reveal()
}

func TestWriter_sealsInline(t *testing.T) {
	t.Parallel()
	w, l, sealer := newWriter(t)
	const canary = "canary-52c1"
	sec := model.SecurityDraft{
		Security: model.Security{Account: "default", ID: "s", Type: model.CredentialsBasic, Username: "u"},
		Clear:    map[model.SecretField]model.Secret{model.FieldPassword: model.NewSecret(canary)},
	}
	sub := testSub("default", "x", "")
	refs, err := w.CreateSubscription(t.Context(), actor, model.SubscriptionDraft{Subscription: sub, Profile: &model.ProfileDraft{Profile: testProfile("default", "p"), Security: &sec}})
	if want := (model.Refs{SubscriptionID: "x", ProfileID: "p", SecurityID: "s"}); err != nil || refs != want {
		t.Fatalf("got %+v, %v, want %+v", refs, err, want)
	}
	if bytes.Contains(l.last, []byte(canary)) || bytes.Contains(snapshotOf(t, l.s), []byte(canary)) {
		t.Error("the secret is in the log or the snapshot")
	}
	got, err := l.s.Security("default", "s")
	if err != nil || opened(t, sealer, got, model.FieldPassword) != canary {
		t.Errorf("stored: %v", err)
	}
	if want := epoch.Add(time.Millisecond); !got.CreatedAt.Equal(want) {
		t.Errorf("time: got %v, want %v, whole milliseconds", got.CreatedAt, want)
	}
	bad := sec
	bad.ID, bad.Clear = "s2", map[model.SecretField]model.Secret{model.FieldPassword: model.NewSecret("line\n" + canary)}
	_, err = w.CreateProfile(t.Context(), actor, model.ProfileDraft{Profile: testProfile("default", "p2"), Security: &bad})
	if got := show(err); got != "invalid security.credentials.password: must not contain control characters" {
		t.Errorf("got %q", got)
	}
}

func TestWriter_UpdateSecurity_rotation(t *testing.T) {
	t.Parallel()
	w, l, sealer := newWriter(t)
	secret := func(k string) map[model.SecretField]model.Secret {
		return map[model.SecretField]model.Secret{model.FieldSecretKey: model.NewSecret(k)}
	}
	patch := func(k string) model.SecurityPatch {
		return model.SecurityPatch{
			PreviousUntilMs: model.Some(epoch.Add(time.Hour).UnixMilli()),
			Clear:           map[model.SecretField]model.Opt[model.Secret]{model.FieldSecretKey: model.Some(model.NewSecret(k))},
		}
	}
	if _, err := w.CreateSecurity(t.Context(), actor, model.SecurityDraft{
		Security: model.Security{Account: "default", ID: "s", Type: model.CredentialsHMAC, Algorithm: model.HMACSHA256}, Clear: secret("one"),
	}); err != nil {
		t.Fatal(err)
	}
	// Somebody else changes the key between the read and the proposal: the
	// previous key must be theirs.
	l.before = func() {
		if _, err := w.UpdateSecurity(t.Context(), actor, "default", "s", patch("two")); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.UpdateSecurity(t.Context(), actor, "default", "s", patch("three")); err != nil {
		t.Fatal(err)
	}
	s, err := l.s.Security("default", "s")
	if err != nil {
		t.Fatal(err)
	}
	if k, p := opened(t, sealer, s, model.FieldSecretKey), opened(t, sealer, s, model.FieldPreviousSecretKey); k != "three" || p != "two" {
		t.Errorf("keys: got %s after %s, want three after two", k, p)
	}
	if !s.PreviousUntil.Equal(epoch.Add(time.Hour)) {
		t.Errorf("previous until: got %v", s.PreviousUntil)
	}
	if _, err := w.UpdateSecurity(t.Context(), actor, "default", "s", model.SecurityPatch{PreviousUntilMs: model.Null[int64]()}); err != nil {
		t.Fatal(err)
	}
	if s, err = l.s.Security("default", "s"); err != nil || len(s.Secrets) != 1 || !s.PreviousUntil.IsZero() {
		t.Errorf("null left the previous key: %v, %v", s.PreviousUntil, err)
	}
}

// TestWriter_madeElsewhere: a change needs things on this side of the log that
// another node may have made a moment ago. They are looked for there before this
// node says that they are not there, and when nobody can tell it says that.
func TestWriter_madeElsewhere(t *testing.T) {
	t.Parallel()
	rotation := model.SecurityPatch{
		Clear: map[model.SecretField]model.Opt[model.Secret]{model.FieldSecretKey: model.Some(model.NewSecret("new-secret"))}, PreviousUntilMs: model.Some(epoch.UnixMilli()),
	}
	hmac := model.Security{Account: "a", ID: "s", Type: model.CredentialsHMAC, Algorithm: model.HMACSHA256}
	draft := model.SecurityDraft{Security: hmac, Clear: map[model.SecretField]model.Secret{model.FieldSecretKey: model.NewSecret("old-secret")}}
	account := func(w *Writer) error {
		_, err := w.CreateAccount(t.Context(), actor, model.Account{ID: "a"})
		return err
	}
	for name, c := range map[string]struct{ here, elsewhere, change func(w *Writer) error }{
		"an account, a setting is made": {elsewhere: account, change: func(w *Writer) error {
			_, err := w.CreateSecurity(t.Context(), actor, draft)
			return err
		}},
		"an account, a certificate is made": {elsewhere: account, change: func(w *Writer) error {
			_, err := w.CreateCertificate(t.Context(), actor, testCertificate("a", "c"), model.NewSecret("key"))
			return err
		}},
		"a setting that is changed": {
			here: account,
			elsewhere: func(w *Writer) error {
				_, err := w.CreateSecurity(t.Context(), actor, draft)
				return err
			},
			change: func(w *Writer) error {
				_, err := w.UpdateSecurity(t.Context(), actor, "a", "s", rotation)
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, l, _ := newWriter(t)
			if c.here != nil {
				if err := c.here(w); err != nil {
					t.Fatal(err)
				}
			}
			l.elsewhere = func() error { return model.Errorf(model.CodeUnavailable, "nobody answers") }
			if err := c.change(w); model.CodeOf(err) != model.CodeUnavailable {
				t.Errorf("while nobody can tell: %v", err)
			}
			l.elsewhere = nil
			if err := c.change(w); model.CodeOf(err) != model.CodeNotFound {
				t.Errorf("when it is nowhere: %v", err)
			}
			l.elsewhere = func() error {
				l.elsewhere = nil
				return c.elsewhere(w)
			}
			if err := c.change(w); err != nil {
				t.Errorf("when it was made elsewhere: %v", err)
			}
		})
	}
}

func TestWriter_accountsAndCertificates(t *testing.T) {
	t.Parallel()
	w, l, sealer := newWriter(t)
	a, err := w.CreateAccount(t.Context(), actor, model.Account{ID: "a"})
	if err != nil || a.CreatedIndex == 0 || len(a.DataKey) == 0 {
		t.Fatalf("got %+v, %v", a, err)
	}
	c, err := w.CreateCertificate(t.Context(), actor, model.Certificate{Account: "a", ID: "c", ChainPEM: []byte("pem")}, model.NewSecret("der"))
	if err != nil || c.CreatedIndex == 0 {
		t.Fatalf("got %+v, %v", c, err)
	}
	if got, err := sealer.Open("a", model.EntityCertificate, "c", model.FieldPrivateKey, c.Secrets[model.FieldPrivateKey]); err != nil || got.Reveal() != "der" {
		t.Errorf("open the key: %v", err)
	}
	if _, err := w.CreateCertificate(t.Context(), actor, model.Certificate{Account: "z", ID: "c", ChainPEM: []byte("pem")}, model.NewSecret("der")); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("no account: got %v", err)
	}
	var table model.PartitionTable
	table.Version = 1
	if err := w.SetPartitions(t.Context(), 0, table); err != nil {
		t.Fatal(err)
	}
	if err := w.SetPartitions(t.Context(), 0, table); model.CodeOf(err) != model.CodeConflict {
		t.Errorf("an old version: got %v", err)
	}
	if err := w.SetFeatureLevel(t.Context(), actor, SupportedFeatureLevel+1); model.CodeOf(err) != model.CodeInvalid {
		t.Errorf("a level from the future: got %v", err)
	}
	if err := w.AuditReveal(t.Context(), actor, "a", "none"); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("got %v", err)
	}
	if got, err := l.s.ListAudit("a", 0, 1); err != nil || got.Items[0].Action != "certificate.create" || got.Items[0].Actor != "key:root" {
		t.Errorf("got %+v, %v", got.Items, err)
	}
}
