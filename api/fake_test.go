package api

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/belfry/fsm/model"
)

// fakeConfig is a small config store in memory: ConfigReader, ConfigWriter and
// Opener, with the rules of the hierarchy that the HTTP layer must pass on.
type fakeConfig struct {
	mu    sync.Mutex
	index uint64
	now   func() time.Time

	accounts map[string]model.Account
	keys     map[string]model.Key
	users    map[string]model.User
	revoked  map[string]bool
	subs     map[string]model.Subscription // account/channel/id
	profiles map[string]model.Profile      // account/id
	security map[string]model.Security
	certs    map[string]model.Certificate
	audit    []model.AuditRecord
	reveals  []string
	// fail, when set, is what every change answers.
	fail error
}

func newFakeConfig(now func() time.Time) *fakeConfig {
	return &fakeConfig{
		now: now, accounts: map[string]model.Account{}, keys: map[string]model.Key{}, users: map[string]model.User{}, revoked: map[string]bool{},
		subs: map[string]model.Subscription{}, profiles: map[string]model.Profile{}, security: map[string]model.Security{}, certs: map[string]model.Certificate{},
	}
}

func path(parts ...string) string { return strings.Join(parts, "/") }

func pick[T any](f *fakeConfig, m map[string]T, what string, parts ...string) (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := m[path(parts...)]
	if !ok {
		return v, model.Errorf(model.CodeNotFound, "there is no %s %s", what, parts[len(parts)-1])
	}
	return v, nil
}

func list[T any](f *fakeConfig, m map[string]T, keep func(T) bool, created func(T) uint64, page, size int) (model.Page[T], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []T
	for _, v := range m {
		if keep(v) {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(created(b), created(a)) })
	from := min(page*size, len(all))
	return model.Page[T]{Items: all[from:min(from+size, len(all))], Page: page, Size: size, Total: len(all)}, nil
}

func (f *fakeConfig) Subscription(account, channel, id string) (model.Subscription, error) {
	return pick(f, f.subs, "subscription", account, channel, id)
}

func (f *fakeConfig) ListSubscriptions(account, channel string, fl model.SubscriptionFilter, page, size int) (model.Page[model.Subscription], error) {
	return list(f, f.subs, func(s model.Subscription) bool {
		has := func(want []string, got func(model.Criterion) string) bool {
			for _, w := range want {
				if !slices.ContainsFunc(s.Criteria, func(c model.Criterion) bool { return got(c) == w }) {
					return false
				}
			}
			return true
		}
		all := func(want, got []string) bool {
			for _, w := range want {
				if !slices.Contains(got, w) {
					return false
				}
			}
			return true
		}
		return s.Account == account && s.Channel == channel &&
			has(fl.ApplicationIDs, func(c model.Criterion) string { return c.ApplicationID }) &&
			has(fl.EntityIDs, func(c model.Criterion) string { return c.EntityID }) &&
			has(fl.CallsConfigurationIDs, func(c model.Criterion) string { return c.CallsConfigurationID }) &&
			all(fl.Resources, s.Resources) && all(fl.Users, s.Users)
	}, func(s model.Subscription) uint64 { return s.CreatedIndex }, page, size)
}

func (f *fakeConfig) Profile(account, id string) (model.Profile, error) {
	return pick(f, f.profiles, "profile", account, id)
}

func (f *fakeConfig) ListProfiles(account string, page, size int) (model.Page[model.Profile], error) {
	return list(f, f.profiles, func(p model.Profile) bool { return p.Account == account }, func(p model.Profile) uint64 { return p.CreatedIndex }, page, size)
}

func (f *fakeConfig) Security(account, id string) (model.Security, error) {
	return pick(f, f.security, "security setting", account, id)
}

func (f *fakeConfig) ListSecurity(account string, page, size int) (model.Page[model.Security], error) {
	return list(f, f.security, func(s model.Security) bool { return s.Account == account }, func(s model.Security) uint64 { return s.CreatedIndex }, page, size)
}

func (f *fakeConfig) Certificate(account, id string) (model.Certificate, error) {
	return pick(f, f.certs, "certificate", account, id)
}

func (f *fakeConfig) ListCertificates(account string, fl model.CertificateFilter, page, size int) (model.Page[model.Certificate], error) {
	p, err := list(f, f.certs, func(c model.Certificate) bool {
		return c.Account == account && strings.Contains(c.ID, fl.Search)
	}, func(c model.Certificate) uint64 { return c.CreatedIndex }, 0, 1<<20)
	if fl.SortByID {
		slices.SortFunc(p.Items, func(a, b model.Certificate) int { return strings.Compare(a.ID, b.ID) })
		if fl.Descending {
			slices.Reverse(p.Items)
		}
	}
	from := min(page*size, len(p.Items))
	p.Items, p.Page, p.Size = p.Items[from:min(from+size, len(p.Items))], page, size
	return p, err
}

func (f *fakeConfig) Account(id string) (model.Account, error) {
	return pick(f, f.accounts, "account", id)
}

func (f *fakeConfig) ListAccounts(page, size int) (model.Page[model.Account], error) {
	return list(f, f.accounts, func(model.Account) bool { return true }, func(a model.Account) uint64 { return a.CreatedIndex }, page, size)
}

func (f *fakeConfig) Key(id string) (model.Key, error) { return pick(f, f.keys, "key", id) }

func (f *fakeConfig) ListKeys(account string, page, size int) (model.Page[model.Key], error) {
	return list(f, f.keys, func(k model.Key) bool { return k.Account == account }, func(k model.Key) uint64 { return k.CreatedIndex }, page, size)
}

func (f *fakeConfig) User(name string) (model.User, error) { return pick(f, f.users, "user", name) }

func (f *fakeConfig) ListUsers(account string, page, size int) (model.Page[model.User], error) {
	return list(f, f.users, func(u model.User) bool { return u.Account == account }, func(u model.User) uint64 { return u.CreatedIndex }, page, size)
}

func (f *fakeConfig) TokenRevoked(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revoked[id]
}

func (f *fakeConfig) ListAudit(account string, page, size int) (model.Page[model.AuditRecord], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []model.AuditRecord
	for _, a := range slices.Backward(f.audit) {
		if a.Account == account {
			all = append(all, a)
		}
	}
	from := min(page*size, len(all))
	return model.Page[model.AuditRecord]{Items: all[from:min(from+size, len(all))], Page: page, Size: size, Total: len(all)}, nil
}

// change runs one write under the lock and stamps an index and an audit row.
func (f *fakeConfig) change(by model.Actor, account, action, object string, do func(model.Meta) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	f.index++
	if err := do(model.Meta{CreatedAt: f.now(), UpdatedAt: f.now(), CreatedIndex: f.index, UpdatedIndex: f.index}); err != nil {
		return err
	}
	f.audit = append(f.audit, model.AuditRecord{
		Index: f.index, At: f.now(), Account: account, Actor: by.Name, ActorFrom: by.From, RequestID: by.RequestID, Action: action, Object: object,
	})
	return nil
}

func exists(what, id string) error {
	return model.Errorf(model.CodeExists, "there is a %s %s already", what, id)
}

func (f *fakeConfig) refs(subID, account, profileID string) model.Refs {
	return model.Refs{SubscriptionID: subID, ProfileID: profileID, SecurityID: f.profiles[path(account, profileID)].SecurityID}
}

func (f *fakeConfig) CreateSubscription(_ context.Context, by model.Actor, d model.SubscriptionDraft) (refs model.Refs, err error) {
	err = f.change(by, d.Account, "subscription.create", d.ID, func(m model.Meta) error {
		if _, ok := f.subs[path(d.Account, d.Channel, d.ID)]; ok {
			return model.Invalid("subscriptionId", "is taken")
		}
		if d.Profile != nil {
			if err := f.putProfile(*d.Profile, m, "profile."); err != nil {
				return err
			}
			d.ProfileID = d.Profile.ID
		} else if _, ok := f.profiles[path(d.Account, d.ProfileID)]; !ok {
			return model.Invalid("profile.profileId", "does not exist")
		}
		d.Meta = m
		f.subs[path(d.Account, d.Channel, d.ID)] = d.Subscription
		refs = f.refs(d.ID, d.Account, d.ProfileID)
		return nil
	})
	return refs, err
}

func (f *fakeConfig) ReplaceSubscription(_ context.Context, by model.Actor, s model.Subscription) (refs model.Refs, err error) {
	err = f.change(by, s.Account, "subscription.update", s.ID, func(m model.Meta) error {
		old, ok := f.subs[path(s.Account, s.Channel, s.ID)]
		if !ok {
			return model.Errorf(model.CodeNotFound, "there is no subscription %s", s.ID)
		}
		if _, ok := f.profiles[path(s.Account, s.ProfileID)]; !ok {
			return model.Invalid("profile.profileId", "does not exist")
		}
		s.Meta = old.Meta
		s.UpdatedAt, s.UpdatedIndex = m.UpdatedAt, m.UpdatedIndex
		f.subs[path(s.Account, s.Channel, s.ID)] = s
		refs = f.refs(s.ID, s.Account, s.ProfileID)
		return nil
	})
	return refs, err
}

func (f *fakeConfig) DeleteSubscription(_ context.Context, by model.Actor, account, channel, id string) (refs model.Refs, err error) {
	err = f.change(by, account, "subscription.delete", id, func(model.Meta) error {
		s, ok := f.subs[path(account, channel, id)]
		if !ok {
			return model.Errorf(model.CodeNotFound, "there is no subscription %s", id)
		}
		delete(f.subs, path(account, channel, id))
		refs = f.refs(id, account, s.ProfileID)
		return nil
	})
	return refs, err
}

func (f *fakeConfig) putProfile(d model.ProfileDraft, m model.Meta, prefix string) error {
	if _, ok := f.profiles[path(d.Account, d.ID)]; ok {
		return model.Invalid(prefix+"profileId", "is taken; give the id alone to reuse it")
	}
	if d.Security != nil {
		if err := f.putSecurity(*d.Security, m, prefix+"security."); err != nil {
			return err
		}
		d.SecurityID = d.Security.ID
	} else if _, ok := f.security[path(d.Account, d.SecurityID)]; d.SecurityID != "" && !ok {
		return model.Invalid(prefix+"security.authId", "does not exist")
	}
	if _, ok := f.certs[path(d.Account, d.CertificateID)]; d.CertificateID != "" && !ok {
		return model.Invalid(prefix+"clientCertificateId", "does not exist")
	}
	d.Meta = m
	f.profiles[path(d.Account, d.ID)] = d.Profile
	return nil
}

func (f *fakeConfig) CreateProfile(_ context.Context, by model.Actor, d model.ProfileDraft) (refs model.Refs, err error) {
	err = f.change(by, d.Account, "profile.create", d.ID, func(m model.Meta) error {
		if err := f.putProfile(d, m, ""); err != nil {
			return err
		}
		refs = f.refs("", d.Account, d.ID)
		return nil
	})
	return refs, err
}

func (f *fakeConfig) UpdateProfile(_ context.Context, by model.Actor, account, id string, p model.ProfilePatch) (refs model.Refs, err error) {
	err = f.change(by, account, "profile.update", id, func(m model.Meta) error {
		o, ok := f.profiles[path(account, id)]
		if !ok {
			return model.Errorf(model.CodeNotFound, "there is no profile %s", id)
		}
		p.URL.ApplyTo(&o.URL)
		p.ContentType.ApplyTo(&o.ContentType)
		p.SecurityID.ApplyTo(&o.SecurityID)
		p.CertificateID.ApplyTo(&o.CertificateID)
		p.MaxBucketSize.ApplyTo(&o.MaxBucketSize)
		p.WindowSize.ApplyTo(&o.WindowSize)
		p.ConnectTimeoutMs.ApplyTo(&o.ConnectTimeoutMs)
		p.ReadTimeoutMs.ApplyTo(&o.ReadTimeoutMs)
		p.RateLimit.ApplyTo(&o.RateLimit)
		p.EnabledSSLProtocols.ApplyTo(&o.EnabledSSLProtocols)
		p.Headers.ApplyTo(&o.Headers)
		p.ResponseRegex.ApplyTo(&o.ResponseRegex)
		p.ResponseBodyRegex.ApplyTo(&o.ResponseBodyRegex)
		p.Ordering.ApplyTo(&o.Ordering)
		if p.Retry.Set {
			o.Retry = nil
			if !p.Retry.Null {
				o.Retry = &p.Retry.Value
			}
		}
		if p.Enabled.Set {
			o.Disabled = !p.Enabled.Null && !p.Enabled.Value
		}
		o.UpdatedAt, o.UpdatedIndex = m.UpdatedAt, m.UpdatedIndex
		f.profiles[path(account, id)] = o
		refs = f.refs("", account, id)
		return nil
	})
	return refs, err
}

func (f *fakeConfig) DeleteProfile(_ context.Context, by model.Actor, account, id string) (refs model.Refs, err error) {
	err = f.change(by, account, "profile.delete", id, func(model.Meta) error {
		if _, ok := f.profiles[path(account, id)]; !ok {
			return model.Errorf(model.CodeNotFound, "there is no profile %s", id)
		}
		for _, s := range f.subs {
			if s.Account == account && s.ProfileID == id {
				return model.Errorf(model.CodeInUse, "profile %s is used by subscription %s/%s", id, s.Channel, s.ID)
			}
		}
		refs = f.refs("", account, id)
		delete(f.profiles, path(account, id))
		return nil
	})
	return refs, err
}

const sealedPrefix = "sealed:"

func (f *fakeConfig) putSecurity(d model.SecurityDraft, m model.Meta, prefix string) error {
	if _, ok := f.security[path(d.Account, d.ID)]; ok {
		return model.Invalid(prefix+"authId", "is taken; give the id alone to reuse it")
	}
	d.Secrets = map[model.SecretField]model.Sealed{}
	for k, v := range d.Clear {
		d.Secrets[k] = model.Sealed(sealedPrefix + v.Reveal())
	}
	d.Meta = m
	f.security[path(d.Account, d.ID)] = d.Security
	return nil
}

func (f *fakeConfig) CreateSecurity(_ context.Context, by model.Actor, d model.SecurityDraft) (refs model.Refs, err error) {
	err = f.change(by, d.Account, "security.create", d.ID, func(m model.Meta) error {
		refs = model.Refs{SecurityID: d.ID}
		return f.putSecurity(d, m, "")
	})
	return refs, err
}

func (f *fakeConfig) UpdateSecurity(_ context.Context, by model.Actor, account, id string, p model.SecurityPatch) (refs model.Refs, err error) {
	err = f.change(by, account, "security.update", id, func(m model.Meta) error {
		o, ok := f.security[path(account, id)]
		if !ok {
			return model.Errorf(model.CodeNotFound, "there is no security setting %s", id)
		}
		o.Secrets = maps.Clone(o.Secrets)
		p.Type.ApplyTo(&o.Type)
		p.Username.ApplyTo(&o.Username)
		p.Algorithm.ApplyTo(&o.Algorithm)
		p.HeaderName.ApplyTo(&o.HeaderName)
		p.Encoding.ApplyTo(&o.Encoding)
		p.TokenURL.ApplyTo(&o.TokenURL)
		p.GrantType.ApplyTo(&o.GrantType)
		p.ClientID.ApplyTo(&o.ClientID)
		p.Scope.ApplyTo(&o.Scope)
		p.Resource.ApplyTo(&o.Resource)
		if p.PreviousUntilMs.Set {
			o.PreviousUntil = time.UnixMilli(p.PreviousUntilMs.Value)
		}
		if p.Headers.Set {
			for k := range o.Secrets {
				if n, ok := k.HeaderName(); ok && !slices.Contains(p.Headers.Value, n) {
					delete(o.Secrets, k)
				}
			}
		}
		for k, v := range p.Clear {
			if v.Null {
				delete(o.Secrets, k)
			} else {
				o.Secrets[k] = model.Sealed(sealedPrefix + v.Value.Reveal())
			}
		}
		o.UpdatedAt, o.UpdatedIndex = m.UpdatedAt, m.UpdatedIndex
		f.security[path(account, id)] = o
		refs = model.Refs{SecurityID: id}
		return nil
	})
	return refs, err
}

func (f *fakeConfig) DeleteSecurity(_ context.Context, by model.Actor, account, id string) (refs model.Refs, err error) {
	err = f.change(by, account, "security.delete", id, func(model.Meta) error {
		if _, ok := f.security[path(account, id)]; !ok {
			return model.Errorf(model.CodeNotFound, "there is no security setting %s", id)
		}
		for _, p := range f.profiles {
			if p.Account == account && p.SecurityID == id {
				return model.Errorf(model.CodeInUse, "security setting %s is used by profile %s", id, p.ID)
			}
		}
		delete(f.security, path(account, id))
		refs = model.Refs{SecurityID: id}
		return nil
	})
	return refs, err
}

func (f *fakeConfig) CreateCertificate(_ context.Context, by model.Actor, c model.Certificate, key model.Secret) (model.Certificate, error) {
	err := f.change(by, c.Account, "certificate.create", c.ID, func(m model.Meta) error {
		if _, ok := f.certs[path(c.Account, c.ID)]; ok {
			return model.Invalid("certificateId", "is taken")
		}
		c.Meta = m
		c.Secrets = map[model.SecretField]model.Sealed{model.FieldPrivateKey: model.Sealed(sealedPrefix + key.Reveal())}
		f.certs[path(c.Account, c.ID)] = c
		return nil
	})
	return c, err
}

func (f *fakeConfig) DeleteCertificate(_ context.Context, by model.Actor, account, id string) error {
	return f.change(by, account, "certificate.delete", id, func(model.Meta) error {
		if _, ok := f.certs[path(account, id)]; !ok {
			return model.Errorf(model.CodeNotFound, "there is no certificate %s", id)
		}
		for _, p := range f.profiles {
			if p.Account == account && p.CertificateID == id {
				return model.Errorf(model.CodeInUse, "certificate %s is used by profile %s", id, p.ID)
			}
		}
		delete(f.certs, path(account, id))
		return nil
	})
}

func (f *fakeConfig) CreateAccount(_ context.Context, by model.Actor, a model.Account) (model.Account, error) {
	err := f.change(by, a.ID, "account.create", a.ID, func(m model.Meta) error {
		if _, ok := f.accounts[a.ID]; ok {
			return exists("account", a.ID)
		}
		a.Meta = m
		f.accounts[a.ID] = a
		return nil
	})
	return a, err
}

func (f *fakeConfig) UpdateAccount(_ context.Context, by model.Actor, id string, p model.AccountPatch) (a model.Account, err error) {
	err = f.change(by, id, "account.update", id, func(m model.Meta) error {
		var ok bool
		if a, ok = f.accounts[id]; !ok {
			return model.Errorf(model.CodeNotFound, "there is no account %s", id)
		}
		p.Name.ApplyTo(&a.Name)
		p.Disabled.ApplyTo(&a.Disabled)
		a.UpdatedAt, a.UpdatedIndex = m.UpdatedAt, m.UpdatedIndex
		f.accounts[id] = a
		return nil
	})
	return a, err
}

func (f *fakeConfig) DeleteAccount(_ context.Context, by model.Actor, id string) error {
	return f.change(by, id, "account.delete", id, func(model.Meta) error {
		if _, ok := f.accounts[id]; !ok {
			return model.Errorf(model.CodeNotFound, "there is no account %s", id)
		}
		for _, p := range f.profiles {
			if p.Account == id {
				return model.Errorf(model.CodeInUse, "account %s still owns profile %s", id, p.ID)
			}
		}
		delete(f.accounts, id)
		return nil
	})
}

func (f *fakeConfig) CreateKey(_ context.Context, by model.Actor, k model.Key) (model.Key, error) {
	err := f.change(by, k.Account, "key.create", k.ID, func(m model.Meta) error {
		if _, ok := f.keys[k.ID]; ok {
			return exists("key", k.ID)
		}
		k.Meta = m
		f.keys[k.ID] = k
		return nil
	})
	return k, err
}

func (f *fakeConfig) UpdateKey(_ context.Context, by model.Actor, account, id string, p model.KeyPatch) (k model.Key, err error) {
	err = f.change(by, account, "key.update", id, func(m model.Meta) error {
		var ok bool
		if k, ok = f.keys[id]; !ok || k.Account != account {
			return model.Errorf(model.CodeNotFound, "there is no key %s", id)
		}
		p.Name.ApplyTo(&k.Name)
		p.Scopes.ApplyTo(&k.Scopes)
		p.Disabled.ApplyTo(&k.Disabled)
		if p.ExpiresMs.Set {
			k.ExpiresAt = time.Time{}
			if !p.ExpiresMs.Null {
				k.ExpiresAt = time.UnixMilli(p.ExpiresMs.Value)
			}
		}
		k.UpdatedAt, k.UpdatedIndex = m.UpdatedAt, m.UpdatedIndex
		f.keys[id] = k
		return nil
	})
	return k, err
}

func (f *fakeConfig) DeleteKey(_ context.Context, by model.Actor, account, id string) error {
	return f.change(by, account, "key.delete", id, func(model.Meta) error {
		if k, ok := f.keys[id]; !ok || k.Account != account {
			return model.Errorf(model.CodeNotFound, "there is no key %s", id)
		}
		delete(f.keys, id)
		return nil
	})
}

func (f *fakeConfig) CreateUser(_ context.Context, by model.Actor, u model.User) (model.User, error) {
	err := f.change(by, u.Account, "user.create", u.Username, func(m model.Meta) error {
		if _, ok := f.users[u.Username]; ok {
			return exists("user", u.Username)
		}
		u.Meta = m
		f.users[u.Username] = u
		return nil
	})
	return u, err
}

func (f *fakeConfig) UpdateUser(_ context.Context, by model.Actor, account, name string, p model.UserPatch) (u model.User, err error) {
	err = f.change(by, account, "user.update", name, func(m model.Meta) error {
		var ok bool
		if u, ok = f.users[name]; !ok || u.Account != account {
			return model.Errorf(model.CodeNotFound, "there is no user %s", name)
		}
		p.PasswordHash.ApplyTo(&u.PasswordHash)
		p.Scopes.ApplyTo(&u.Scopes)
		p.Disabled.ApplyTo(&u.Disabled)
		u.UpdatedAt, u.UpdatedIndex = m.UpdatedAt, m.UpdatedIndex
		f.users[name] = u
		return nil
	})
	return u, err
}

func (f *fakeConfig) DeleteUser(_ context.Context, by model.Actor, account, name string) error {
	return f.change(by, account, "user.delete", name, func(model.Meta) error {
		if u, ok := f.users[name]; !ok || u.Account != account {
			return model.Errorf(model.CodeNotFound, "there is no user %s", name)
		}
		delete(f.users, name)
		return nil
	})
}

func (f *fakeConfig) RevokeToken(_ context.Context, by model.Actor, account string, t model.RevokedToken) error {
	return f.change(by, account, "token.revoke", t.ID, func(model.Meta) error {
		f.revoked[t.ID] = true
		return nil
	})
}

func (f *fakeConfig) AuditReveal(_ context.Context, by model.Actor, account, authID string) error {
	return f.change(by, account, "security.reveal", authID, func(model.Meta) error {
		f.reveals = append(f.reveals, authID)
		return nil
	})
}

// Open implements Opener.
func (f *fakeConfig) Open(_ string, _ model.Entity, _ string, _ model.SecretField, s model.Sealed) (model.Secret, error) {
	return model.NewSecret(strings.TrimPrefix(string(s), sealedPrefix)), nil
}

var (
	_ ConfigReader = (*fakeConfig)(nil)
	_ ConfigWriter = (*fakeConfig)(nil)
	_ Opener       = (*fakeConfig)(nil)
)
