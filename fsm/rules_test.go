package fsm

import (
	"fmt"
	"strings"
	"testing"

	"example.com/belfry/fsm/model"
)

// TestRules holds the exact code, field and text of every refusal. Each row
// runs on a store of its own, after its setup.
func TestRules(t *testing.T) {
	t.Parallel()
	h := head(epoch)
	sub := func(id, profile string) model.Subscription { return testSub("a", id, profile) }
	inline := func(p model.Profile, s *model.Security) *NewProfile { np := newProfile(p, s); return &np }
	sec, sec2 := testSecurity("a", "s"), testSecurity("a", "s2")
	withSec := func(p model.Profile, id string) model.Profile { p.SecurityID = id; return p }
	withCert := func(p model.Profile, id string) model.Profile { p.CertificateID = id; return p }
	p1, p2 := testProfile("a", "p"), testProfile("a", "p2")
	subbed := []Command{CreateSubscription{h, sub("x", "p"), nil}}
	for _, c := range []struct {
		name  string
		setup []Command
		c     Command
		want  string // code field: text, "" for success
	}{
		{"subscription: no account", nil, CreateSubscription{h, testSub("z", "x", "p"), nil}, "not_found : there is no account z"},
		{"subscription: exists", subbed, CreateSubscription{h, sub("x", "p"), nil}, "already_exists subscriptionId: a subscription with this id exists on this channel"},
		{"subscription: same id, other channel", subbed, CreateSubscription{h, model.Subscription{Account: "a", Channel: "RCS", ID: "x", ProfileID: "p"}, nil}, ""},
		{"subscription: unknown profile", nil, CreateSubscription{h, sub("x", "none"), nil}, "invalid profile.profileId: there is no profile with this id"},
		{"subscription: profile of another account", nil, CreateSubscription{h, testSub("default", "x", "p"), nil}, "invalid profile.profileId: there is no profile with this id"},
		{"subscription: full profile exists", nil, CreateSubscription{h, sub("x", ""), inline(p1, nil)}, "already_exists profile.profileId: a profile with this id exists: to use it, give its id and nothing else"},
		{"subscription: full setting exists", nil, CreateSubscription{h, sub("x", ""), inline(p2, &sec)}, "already_exists profile.security.authId: security settings with this id exist: to use them, give their id and nothing else"},
		{"subscription: unknown setting", nil, CreateSubscription{h, sub("x", ""), inline(withSec(p2, "none"), nil)}, "invalid profile.security.authId: there are no security settings with this id"},
		{"subscription: unknown certificate", nil, CreateSubscription{h, sub("x", ""), inline(withCert(p2, "none"), &sec2)}, "invalid profile.clientCertificateId: there is no certificate with this id"},
		{"subscription: all inline", nil, CreateSubscription{h, sub("x", ""), inline(withCert(p2, "c"), &sec2)}, ""},
		{"subscription: profile of another account inline", nil, CreateSubscription{h, sub("x", ""), inline(testProfile("default", "p"), nil)}, "invalid profile.profileId: must be the id of the profile that is created"},
		{"subscription: bad channel", nil, CreateSubscription{h, model.Subscription{Account: "a", Channel: "sms", ID: "x", ProfileID: "p"}, nil}, "invalid channel: must be one of the channels of the catalogue"},
		{"replace: missing", nil, ReplaceSubscription{h, sub("x", "p")}, "not_found : there is no subscription x"},
		{"replace: unknown profile", subbed, ReplaceSubscription{h, sub("x", "none")}, "invalid profile.profileId: there is no profile with this id"},
		{"delete: missing", nil, DeleteSubscription{h, "a", "SMS", "x"}, "not_found : there is no subscription x"},

		{"profile: exists", nil, CreateProfile{h, newProfile(p1, nil)}, "already_exists profileId: a profile with this id exists: to use it, give its id and nothing else"},
		{"profile: setting exists", nil, CreateProfile{h, newProfile(p2, &sec)}, "already_exists security.authId: security settings with this id exist: to use them, give their id and nothing else"},
		{"profile: unknown setting", nil, CreateProfile{h, newProfile(withSec(p2, "none"), nil)}, "invalid security.authId: there are no security settings with this id"},
		{"profile: unknown certificate", nil, CreateProfile{h, newProfile(withCert(p2, "none"), nil)}, "invalid clientCertificateId: there is no certificate with this id"},
		{"profile: setting of another account", nil, CreateProfile{h, newProfile(withSec(testProfile("default", "p"), "s"), nil)}, "invalid security.authId: there are no security settings with this id"},
		{"profile: update missing", nil, UpdateProfile{Header: h, Account: "a", ID: "none"}, "not_found : there is no profile none"},
		{"profile: URL cleared", nil, UpdateProfile{h, "a", "p", model.ProfilePatch{URL: model.Null[string]()}}, "invalid webhook.notifyUrl: must not be empty"},
		{"profile: unknown setting on update", nil, UpdateProfile{h, "a", "p", model.ProfilePatch{SecurityID: model.Some("none")}}, "invalid security.authId: there are no security settings with this id"},
		{"profile: in use", append(subbed, CreateSubscription{h, model.Subscription{Account: "a", Channel: "RCS", ID: "y", ProfileID: "p"}, nil}), DeleteProfile{h, "a", "p"}, "in_use : the profile p is used by the subscriptions RCS/y, SMS/x"},
		{"profile: in use by one", subbed, DeleteProfile{h, "a", "p"}, "in_use : the profile p is used by the subscription SMS/x"},
		{"profile: replaced away", append(subbed, CreateProfile{h, newProfile(p2, nil)}, ReplaceSubscription{h, sub("x", "p2")}), DeleteProfile{h, "a", "p"}, ""},

		{"security: exists", nil, CreateSecurity{h, sec}, "already_exists authId: security settings with this id exist: to use them, give their id and nothing else"},
		{"security: in use", nil, DeleteSecurity{h, "a", "s"}, "in_use : the security setting s is used by the profile p"},
		{"security: let go", []Command{UpdateProfile{h, "a", "p", model.ProfilePatch{SecurityID: model.Null[string]()}}}, DeleteSecurity{h, "a", "s"}, ""},
		{"security: missing", nil, DeleteSecurity{h, "a", "none"}, "not_found : there is no security setting none"},
		{"security: password cleared", nil, UpdateSecurity{Header: h, Account: "a", ID: "s", Patch: model.SecurityPatch{Sealed: map[model.SecretField]model.Opt[model.Sealed]{model.FieldPassword: model.Null[model.Sealed]()}}}, "invalid credentials.password: must not be empty"},
		{"security: username cleared", nil, UpdateSecurity{Header: h, Account: "a", ID: "s", Patch: model.SecurityPatch{Username: model.Null[string]()}}, "invalid credentials.username: must not be empty"},
		{"security: type without credentials", nil, UpdateSecurity{Header: h, Account: "a", ID: "s", Patch: model.SecurityPatch{Type: model.Some(model.CredentialsHMAC)}}, "invalid credentials.secretKey: must not be empty"},
		{"security: type cleared", nil, UpdateSecurity{Header: h, Account: "a", ID: "s", Patch: model.SecurityPatch{Type: model.Null[model.CredentialsType]()}}, "invalid type: must be one of BASIC, HMAC, OAUTH, CUSTOM"},
		{"security: header without value", nil, UpdateSecurity{Header: h, Account: "a", ID: "s", Patch: model.SecurityPatch{Type: model.Some(model.CredentialsCustom), Headers: model.Some([]string{"X-Key"})}}, "invalid credentials.headers: every header must have a value"},
		{"security: changed meanwhile", nil, UpdateSecurity{Header: h, Account: "a", ID: "s", IfUpdatedIndex: 1}, "conflict : the security setting s was changed at the same time"},
		{"reveal: missing", nil, AuditReveal{h, "a", "none"}, "not_found : there is no security setting none"},

		{"certificate: reserved id", nil, CreateCertificate{h, testCertificate("a", "status")}, "invalid certificateId: must not be status or test, which are paths of the API"},
		{"certificate: exists", nil, CreateCertificate{h, testCertificate("a", "c")}, "already_exists certificateId: a certificate with this id exists"},
		{"certificate: in use", []Command{UpdateProfile{h, "a", "p", model.ProfilePatch{CertificateID: model.Some("c")}}}, DeleteCertificate{h, "a", "c"}, "in_use : the certificate c is used by the profile p"},
		{"certificate: free", nil, DeleteCertificate{h, "a", "c"}, ""},

		{"account: default", nil, DeleteAccount{h, "default"}, "in_use : the account default cannot be deleted: it is the operator's own"},
		{"account: owns", subbed, DeleteAccount{h, "a"}, "in_use : the account a still owns 1 subscriptions, 1 profiles, 1 security settings, 1 certificates: delete them first"},
		{"account: empty", []Command{CreateAccount{h, testAccount("e")}, CreateKey{h, testKey("e", "ek")}}, DeleteAccount{h, "e"}, ""},
		{"account: bad id", nil, CreateAccount{h, testAccount("a/b")}, "invalid id: may hold only letters, digits and - _ . ~"},

		{"key: id of another account", nil, CreateKey{h, testKey("a", "root")}, "already_exists id: a key with this id exists"},
		{"key: of another account", nil, DeleteKey{h, "a", "root"}, "not_found : there is no key root"},
		{"key: unknown scope", nil, CreateKey{h, testKey("a", "k", "root:all")}, "invalid scopes[0]: must be a scope, named once"},
		{"key: bad range", nil, UpdateKey{h, "default", "root", model.KeyPatch{CIDRs: model.Some([]string{"::/0", "x"})}}, "invalid cidrs[1]: must be an address range such as 192.0.2.0/24"},
		{"last admin key: delete", nil, DeleteKey{h, "default", "root"}, "in_use : " + lockOut},
		{"last admin key: disable", nil, UpdateKey{h, "default", "root", model.KeyPatch{Disabled: model.Some(true)}}, "in_use : " + lockOut},
		{"last admin key: descope", nil, UpdateKey{h, "default", "root", model.KeyPatch{Scopes: model.Null[[]model.Scope]()}}, "in_use : " + lockOut},
		{"last admin key: expire", nil, UpdateKey{h, "default", "root", model.KeyPatch{ExpiresMs: model.Some(int64(1) << 45)}}, "in_use : " + lockOut},
		{"last admin key: rename", nil, UpdateKey{h, "default", "root", model.KeyPatch{Name: model.Some("n")}}, ""},
		{"last admin key: disable its account", nil, UpdateAccount{h, "default", model.AccountPatch{Disabled: model.Some(true)}}, "in_use : " + lockOut},
		{"one of two admin keys", []Command{CreateKey{h, testKey("a", "k2", model.ScopeAdminAccounts)}}, DeleteKey{h, "default", "root"}, ""},
		{"two admin keys, one in a disabled account", []Command{CreateKey{h, testKey("a", "k2", model.ScopeAdminAccounts)}, UpdateAccount{h, "a", model.AccountPatch{Disabled: model.Some(true)}}}, DeleteKey{h, "default", "root"}, "in_use : " + lockOut},
		{"account of the last admin key", []Command{CreateAccount{h, testAccount("e")}, CreateKey{h, testKey("e", "k2", model.ScopeAdminAccounts)}, DeleteKey{h, "default", "root"}}, DeleteAccount{h, "e"}, "in_use : " + lockOut},

		{"user: name of another account", []Command{CreateUser{h, testUser("default", "u")}}, CreateUser{h, testUser("a", "u")}, "already_exists username: a user with this name exists"},
		{"user: of another account", []Command{CreateUser{h, testUser("default", "u")}}, DeleteUser{h, "a", "u"}, "not_found : there is no user u"},
		{"user: colon", nil, CreateUser{h, testUser("a", "u:v")}, "invalid username: must not contain a colon, which ends the name in Basic authentication"},
		{"partitions: version", nil, SetPartitions{h, 3, model.PartitionTable{Version: 4}}, "conflict : the partition table is at version 0, not 3"},
		{"feature level", []Command{SetFeatureLevel{h, 1}}, SetFeatureLevel{h, 1}, "conflict : the feature level is 1 already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := seeded(t)
			mustDo(t, s, c.setup...)
			before := snapshotOf(t, s)
			err := do(t, s, c.c)
			if got := show(err); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			// INV fsm-3: nothing but the applied index moved.
			const head = len(snapshotMagic) + 1 + 8
			after := snapshotOf(t, s)
			same := len(after) == len(before) && string(after[head:len(after)-32]) == string(before[head:len(before)-32])
			if same != (err != nil) {
				t.Errorf("state unchanged: %t, error: %v", same, err)
			}
		})
	}
}

const lockOut = "this would leave no enabled key with the scope admin:accounts that does not expire: create another one first"

func show(err error) string {
	if err == nil {
		return ""
	}
	e := err.(*model.Error) //nolint:errorlint // checked by answerError
	field, text := e.Field, e.Message
	if v := e.Violations(); field == "" && len(v) > 0 {
		field, text = v[0].Field, v[0].Message
	}
	return fmt.Sprintf("%s %s: %s", e.Code, field, text)
}

func TestRules_manyReferrers(t *testing.T) {
	t.Parallel()
	s := seeded(t)
	var names []string
	for i := range maxNamedReferrers {
		mustDo(t, s, CreateSubscription{Header: head(epoch), Subscription: testSub("a", fmt.Sprintf("x%03d", i), "p")})
		names = append(names, fmt.Sprintf("SMS/x%03d", i))
	}
	want := "the profile p is used by the subscriptions " + strings.Join(names, ", ")
	if err := do(t, s, DeleteProfile{head(epoch), "a", "p"}); err == nil || err.Error() != want {
		t.Errorf("at the limit: got %v", err)
	}
	mustDo(t, s, CreateSubscription{Header: head(epoch), Subscription: testSub("a", "x999", "p")})
	if err := do(t, s, DeleteProfile{head(epoch), "a", "p"}); err == nil || err.Error() != want+" and 1 more" {
		t.Errorf("one above: got %v", err)
	}
}

// Quotas at the limit and one above, each with a small limit in the place of
// its constant.
func TestRules_quotas(t *testing.T) {
	t.Parallel()
	if got, want := defaultLimits(), (limits{100_000, 10_000, 10_000, 1_000, 1_000, 1_000, 100_000, 10_000, 100_000}); got != want {
		t.Errorf("limits: got %+v, want %+v", got, want)
	}
	h := head(epoch)
	for _, c := range []struct {
		name, field string
		limit       func(*limits)
		make        func(id string) Command
	}{
		{"subscriptions", "subscriptionId", func(l *limits) { l.subscriptions = 2 }, func(id string) Command { return CreateSubscription{h, testSub("a", id, "p"), nil} }},
		{"profiles", "profileId", func(l *limits) { l.profiles = 3 }, func(id string) Command { return CreateProfile{h, newProfile(testProfile("a", id), nil)} }},
		{"security settings", "authId", func(l *limits) { l.security = 3 }, func(id string) Command { return CreateSecurity{h, testSecurity("a", id)} }},
		{"certificates", "certificateId", func(l *limits) { l.certificates = 3 }, func(id string) Command { return CreateCertificate{h, testCertificate("a", id)} }},
		{"keys", "id", func(l *limits) { l.keys = 2 }, func(id string) Command { return CreateKey{h, testKey("a", id)} }},
		{"users", "username", func(l *limits) { l.users = 2 }, func(id string) Command { return CreateUser{h, testUser("a", id)} }},
		{"accounts", "id", func(l *limits) { l.accounts = 4 }, func(id string) Command { return CreateAccount{h, testAccount(id)} }},
	} {
		s := seeded(t)
		c.limit(&s.limits)
		mustDo(t, s, c.make("n1"), c.make("n2"))
		err := do(t, s, c.make("n3"))
		if got := show(err); !strings.HasPrefix(got, "quota "+c.field+": at most ") || !strings.Contains(got, c.name) {
			t.Errorf("%s: got %q", c.name, got)
		}
	}
}

func TestRules_auditIsTrimmed(t *testing.T) {
	t.Parallel()
	s := seeded(t)
	s.limits.audit = 3
	for i := range 4 {
		mustDo(t, s, CreateUser{head(epoch), testUser("default", fmt.Sprint("u", i))})
	}
	p, err := s.ListAudit("default", 0, 10)
	if err != nil || p.Total != 3 || len(p.Items) != 3 || p.Items[0].Object != "u3" || p.Items[2].Object != "u1" {
		t.Errorf("got %+v, %v, want the newest three", p, err)
	}
}

// A node that starts again with the first key in its environment does not
// bring back a key that was deleted.
func TestBootstrap_isIdempotent(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	h := head(epoch)
	mustDo(t, s, bootstrap(), bootstrap(), CreateKey{h, testKey("default", "k2", model.ScopeAdminAccounts)}, DeleteKey{h, "default", "root"}, bootstrap())
	if _, err := s.Key("root"); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("the deleted key is back: %v", err)
	}
	noAdmin := bootstrap()
	noAdmin.Key.Scopes = nil
	if err := do(t, newStore(t), noAdmin); model.CodeOf(err) != model.CodeInvalid {
		t.Errorf("a first key without admin:accounts: got %v", err)
	}
}

func TestUpdate_merges(t *testing.T) {
	t.Parallel()
	s := seeded(t)
	h := head(epoch)
	mustDo(t, s,
		UpdateProfile{h, "a", "p", model.ProfilePatch{WindowSize: model.Some(50), Headers: model.Some(map[string]string{"X-A": "1"}), Retry: model.Some(model.Retry{Policy: model.RetryStandard}), Enabled: model.Some(false), DisabledReason: model.Some("410")}},
		UpdateProfile{h, "a", "p", model.ProfilePatch{RateLimit: model.Some(5)}})
	p, err := s.Profile("a", "p")
	if err != nil || p.WindowSize != 50 || p.RateLimit != 5 || p.Headers["X-A"] != "1" || p.Retry == nil || !p.Disabled || p.DisabledReason != "410" || p.SecurityID != "s" || p.URL == "" {
		t.Errorf("absent members changed: %+v, %v", p, err)
	}
	mustDo(t, s, UpdateProfile{h, "a", "p", model.ProfilePatch{WindowSize: model.Null[int](), Headers: model.Null[map[string]string](), Retry: model.Null[model.Retry](), Enabled: model.Some(true), SecurityID: model.Null[string]()}})
	p, err = s.Profile("a", "p")
	if err != nil || p.WindowSize != 0 || p.Headers != nil || p.Retry != nil || p.Disabled || p.DisabledReason != "" || p.SecurityID != "" || p.RateLimit != 5 {
		t.Errorf("null did not clear: %+v, %v", p, err)
	}
	mustDo(t, s, UpdateSecurity{Header: h, Account: "a", ID: "s", Patch: model.SecurityPatch{
		Type: model.Some(model.CredentialsCustom), Headers: model.Some([]string{"X-Key"}),
		Sealed: map[model.SecretField]model.Opt[model.Sealed]{"header:X-Key": model.Some(model.Sealed("v"))},
	}})
	x, err := s.Security("a", "s")
	if err != nil || x.Username != "" || len(x.Secrets) != 1 || x.CreatedIndex == x.UpdatedIndex {
		t.Errorf("another type keeps the old credentials: %+v, %v", x, err)
	}
	sub := testSub("a", "x", "p")
	sub.Name, sub.Users = "n", []string{"u"}
	mustDo(t, s, CreateSubscription{Header: h, Subscription: sub}, ReplaceSubscription{h, testSub("a", "x", "p")})
	if got, err := s.Subscription("a", "SMS", "x"); err != nil || got.Name != "" || got.Users != nil {
		t.Errorf("replace kept absent members: %+v, %v", got, err)
	}
}
