package api

import (
	"cmp"
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
	revoked  map[string]time.Time
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
		now: now, accounts: map[string]model.Account{}, keys: map[string]model.Key{}, users: map[string]model.User{}, revoked: map[string]time.Time{},
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

// hasFold reports whether one of the texts has the part; case does not count.
func hasFold(part string, texts ...string) bool {
	return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(part)) })
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
		texts := []string{s.ID, s.Name, s.ProfileID}
		if channel == "" {
			texts = append(texts, s.Channel)
		}
		c, _ := model.ChannelByName(s.Channel)
		takes := fl.Event == "" || len(s.Events) == 0 && c.Has(fl.Event) || slices.ContainsFunc(s.Events, func(e model.EventRef) bool { return e.Event == fl.Event })
		return s.Account == account && (channel == "" || s.Channel == channel) && hasFold(fl.Search, texts...) && takes && (fl.ProfileID == "" || s.ProfileID == fl.ProfileID) &&
			has(fl.ApplicationIDs, func(c model.Criterion) string { return c.ApplicationID }) &&
			has(fl.EntityIDs, func(c model.Criterion) string { return c.EntityID }) &&
			has(fl.CallsConfigurationIDs, func(c model.Criterion) string { return c.CallsConfigurationID }) &&
			all(fl.Resources, s.Resources) && all(fl.Users, s.Users)
	}, func(s model.Subscription) uint64 { return s.CreatedIndex }, page, size)
}

func (f *fakeConfig) Profile(account, id string) (model.Profile, error) {
	return pick(f, f.profiles, "profile", account, id)
}

func (f *fakeConfig) ListProfiles(account string, fl model.ProfileFilter, page, size int) (model.Page[model.Profile], error) {
	return list(f, f.profiles, func(p model.Profile) bool {
		return p.Account == account && hasFold(fl.Search, p.ID, p.URL, p.SecurityID, p.CertificateID) &&
			(fl.SecurityID == "" || p.SecurityID == fl.SecurityID) && (fl.CertificateID == "" || p.CertificateID == fl.CertificateID)
	}, func(p model.Profile) uint64 { return p.CreatedIndex }, page, size)
}

func (f *fakeConfig) Security(account, id string) (model.Security, error) {
	return pick(f, f.security, "security setting", account, id)
}

func (f *fakeConfig) ListSecurity(account string, fl model.SecurityFilter, page, size int) (model.Page[model.Security], error) {
	used := map[string]bool{}
	if fl.Unused {
		f.mu.Lock()
		for _, p := range f.profiles {
			used[p.SecurityID] = used[p.SecurityID] || p.Account == account
		}
		f.mu.Unlock()
	}
	return list(f, f.security, func(s model.Security) bool {
		return s.Account == account && hasFold(fl.Search, s.ID, string(s.Type)) && !used[s.ID]
	}, func(s model.Security) uint64 { return s.CreatedIndex }, page, size)
}

func (f *fakeConfig) Certificate(account, id string) (model.Certificate, error) {
	return pick(f, f.certs, "certificate", account, id)
}

func (f *fakeConfig) ListCertificates(account string, fl model.CertificateFilter, page, size int) (model.Page[model.Certificate], error) {
	p, err := list(f, f.certs, func(c model.Certificate) bool {
		return c.Account == account && hasFold(fl.Search, c.ID) && (fl.ExpiresBefore.IsZero() || c.ValidUntil.Before(fl.ExpiresBefore))
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
	return !f.revoked[id].IsZero()
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
		return err // do checks everything before it writes anything
	}
	f.audit = append(f.audit, model.AuditRecord{
		Index: f.index, At: f.now(), Account: account, Actor: by.Name, ActorFrom: by.From, RequestID: by.RequestID, Action: action, Object: object,
	})
	return nil
}

var (
	_ ConfigReader = (*fakeConfig)(nil)
	_ ConfigWriter = (*fakeConfig)(nil)
	_ Opener       = (*fakeConfig)(nil)
)
