package api

import (
	"net/http"
	"net/url"
	"time"

	"example.com/belfry/fsm/model"
)

const (
	keysPath = accountPath + "/keys"
	keyPath  = keysPath + "/{keyId}"
)

// The routes that change credentials are reads too: what the caller may change
// depends on what they hold now.
func (s *Server) keyRoutes() []route {
	const manage = model.ScopeAccountsManage
	return []route{
		{method: http.MethodGet, path: keysPath, scope: manage, read: true, handle: s.listKeys},
		{method: http.MethodPost, path: keysPath, scope: manage, handle: s.createKey},
		{method: http.MethodGet, path: keyPath, scope: manage, read: true, handle: s.getKey},
		{method: http.MethodPut, path: keyPath, scope: manage, read: true, handle: s.updateKey},
		{method: http.MethodDelete, path: keyPath, scope: manage, handle: s.deleteKey},
	}
}

func errNoKey() error { return model.Errorf(model.CodeNotFound, "there is no such key") }

// key gives the key of the path if it belongs to the account of the path.
func (r *request) key() (model.Key, error) {
	account, err := r.account()
	if err != nil {
		return model.Key{}, err
	}
	k, err := r.s.o.Reader.Key(r.param("keyId"))
	if model.CodeOf(err) == model.CodeNotFound || err == nil && k.Account != account {
		return model.Key{}, errNoKey()
	}
	return k, err
}

func (s *Server) listKeys(r *request) error {
	account, err := r.account()
	if err != nil {
		return err
	}
	page, size, err := r.page()
	if err != nil {
		return err
	}
	p, err := s.o.Reader.ListKeys(account, page, size)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, envelope(p, keyWire))
}

func (s *Server) createKey(r *request) error {
	account, err := r.account()
	if err != nil {
		return err
	}
	var in keyIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	checkName(&v, in.Name)
	k := model.Key{Account: account, Name: in.Name, CIDRs: parseCIDRs(in.CIDRs, &v), Disabled: in.Disabled}
	if in.ExpiresAt != nil {
		k.ExpiresAt = s.expiry(&v, *in.ExpiresAt)
	}
	if k.Scopes, err = r.grant(in.Scopes, &v); err != nil {
		return err
	}
	var secret string
	secret, k.ID, k.Hash = NewKey()
	ctx, cancel := r.writeCtx()
	defer cancel()
	if k, err = s.o.Writer.CreateKey(ctx, r.caller.actor, k); err != nil {
		return named(err, "keyId")
	}
	r.header().Set("Location", accountsPath+"/"+url.PathEscape(account)+"/keys/"+url.PathEscape(k.ID))
	return r.json(http.StatusCreated, keyCreatedOut{keyOut: keyWire(k), Key: secret})
}

// expiry refuses a time that has passed and one that cannot be shown: the year
// counts in UTC, as it will be written.
func (s *Server) expiry(v *model.Violations, at time.Time) time.Time {
	at = at.UTC().Truncate(time.Millisecond)
	switch {
	case !at.After(s.o.Now()):
		v.Add("expiresAt", "must be in the future")
	case at.Year() > 9999:
		v.Add("expiresAt", "must be before the year 10000")
	}
	return at
}

func (s *Server) getKey(r *request) error {
	k, err := r.key()
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, keyWire(k))
}

func (s *Server) updateKey(r *request) error {
	k, err := r.key()
	if err != nil {
		return err
	}
	var in keyPatchIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	p := model.KeyPatch{Name: in.Name, Disabled: in.Disabled}
	checkName(&v, in.Name.Value)
	if in.ExpiresAt.Set {
		p.ExpiresMs = model.Opt[int64]{Set: true, Null: in.ExpiresAt.Null}
		if !in.ExpiresAt.Null {
			p.ExpiresMs.Value = s.expiry(&v, in.ExpiresAt.Value).UnixMilli()
		}
	}
	if in.CIDRs.Set {
		p.CIDRs = model.Opt[[]string]{Set: true, Null: in.CIDRs.Null}
		for _, c := range parseCIDRs(in.CIDRs.Value, &v) {
			p.CIDRs.Value = append(p.CIDRs.Value, c.String())
		}
	}
	if in.Scopes.Set {
		after, err := r.grant(in.Scopes.Value, &v)
		if err != nil {
			return err
		}
		p.Scopes = model.Some(after)
	}
	if err := v.Err(); err != nil {
		return err
	}
	onlyDisables := in.Disabled.Value && !in.Name.Set && !in.Scopes.Set && !in.ExpiresAt.Set && !in.CIDRs.Set
	if !onlyDisables {
		if err := r.holds(k.Scopes); err != nil {
			return err
		}
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	if k, err = s.o.Writer.UpdateKey(ctx, r.caller.actor, k.Account, k.ID, p); err != nil {
		return err
	}
	return r.json(http.StatusOK, keyWire(k))
}

func (s *Server) deleteKey(r *request) error {
	account, err := r.account()
	if err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	if err := s.o.Writer.DeleteKey(ctx, r.caller.actor, account, r.param("keyId")); err != nil {
		if model.CodeOf(err) == model.CodeNotFound {
			return errNoKey()
		}
		return err
	}
	return r.empty()
}
