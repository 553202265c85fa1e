package api

import (
	"context"
	"time"

	"example.com/belfry/fsm/model"
)

func exists(what, id string) error {
	return model.Errorf(model.CodeExists, "there is a %s %s already", what, id)
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
		if p.CIDRs.Set {
			k.CIDRs = mustPrefixes(p.CIDRs.Value...)
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
		f.revoked[t.ID] = t.Until
		return nil
	})
}
