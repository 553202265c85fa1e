package api

import (
	"errors"
	"net/http"
	"net/url"

	"example.com/belfry/fsm/model"
)

const (
	accountsPath = "/accounts/1/accounts"
	accountPath  = accountsPath + "/{accountId}"
)

func (s *Server) accountRoutes() []route {
	const admin = model.ScopeAdminAccounts
	return []route{
		{method: http.MethodGet, path: accountsPath, scope: admin, read: true, handle: s.listAccounts},
		{method: http.MethodPost, path: accountsPath, scope: admin, handle: s.createAccount},
		{method: http.MethodGet, path: accountPath, scope: scopeCaller, read: true, handle: s.getAccount},
		{method: http.MethodPut, path: accountPath, scope: admin, handle: s.updateAccount},
		{method: http.MethodDelete, path: accountPath, scope: admin, handle: s.deleteAccount},
	}
}

// errNoAccount is the answer for an account that is not there and for one that
// the caller may not see: the two must not be told apart.
func errNoAccount() error {
	return model.Errorf(model.CodeNotFound, "there is no such account")
}

// account gives the account of the path: the caller's own, or for an operator
// with admin:accounts any that exists.
//
// INV api-4: every access under /accounts/1 goes through here.
func (r *request) account() (string, error) {
	id := r.param("accountId")
	if id == r.caller.account {
		return id, nil
	}
	if !model.ScopeAdminAccounts.Allows(r.caller.scopes) {
		return "", errNoAccount()
	}
	_, err := r.s.o.Reader.Account(id)
	if model.CodeOf(err) == model.CodeNotFound && !r.route.read {
		// Another node may have made it a moment ago.
		if err := r.catchUp(); err != nil {
			return "", err
		}
		_, err = r.s.o.Reader.Account(id)
	}
	if model.CodeOf(err) == model.CodeNotFound {
		return "", errNoAccount()
	}
	return id, err
}

// grant refuses scopes that are not known and scopes that the caller does not
// hold: nobody can make credentials that can do more than the caller.
//
// INV api-5: no credentials are made or changed to hold a scope that the
// caller lacks.
func (r *request) grant(in []string, v *model.Violations) ([]model.Scope, error) {
	out := make([]model.Scope, 0, len(in))
	seen := map[string]bool{}
	var lacking error
	for i, name := range in {
		sc := model.Scope(name)
		switch {
		case !sc.Known():
			v.Add(element("scopes", i), "is not a scope")
		case seen[name]:
			v.Add(element("scopes", i), "is given twice")
		case !sc.Allows(r.caller.scopes):
			lacking = &model.Error{Code: model.CodeForbidden, Field: element("scopes", i), Message: "cannot be granted by a caller that does not hold it"}
		}
		seen[name] = true
		out = append(out, sc)
	}
	if !v.Empty() {
		return nil, v.Err()
	}
	return out, lacking
}

// holds refuses to touch credentials that can do more than the caller: who
// sets the password of a stronger user becomes that user.
func (r *request) holds(scopes []model.Scope) error {
	for _, sc := range scopes {
		if !sc.Allows(r.caller.scopes) {
			return model.Errorf(model.CodeForbidden, "these credentials hold the scope %s, which the caller does not hold; disabling and deleting them is allowed", sc)
		}
	}
	return nil
}

// named gives the state machine's field "id" its name on the wire.
func named(err error, name string) error {
	if e, ok := errors.AsType[*model.Error](err); ok && e.Field == "id" {
		c := *e
		c.Field = name
		return &c
	}
	return err
}

func checkName(v *model.Violations, name string) {
	if msg := model.CheckText(name, 0, model.MaxTextLength); msg != "" {
		v.Add("name", "%s", msg)
	}
}

func (s *Server) listAccounts(r *request) error {
	page, size, err := r.page()
	if err != nil {
		return err
	}
	p, err := s.o.Reader.ListAccounts(page, size)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, envelope(p, accountWire))
}

func (s *Server) createAccount(r *request) error {
	var in accountIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	if msg := model.CheckID(in.AccountID); msg != "" {
		v.Add("accountId", "%s", msg)
	}
	checkName(&v, in.Name)
	if err := v.Err(); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	a, err := s.o.Writer.CreateAccount(ctx, r.caller.actor, model.Account{ID: in.AccountID, Name: in.Name, Disabled: in.Disabled})
	if err != nil {
		return named(err, "accountId")
	}
	r.header().Set("Location", accountsPath+"/"+url.PathEscape(a.ID))
	return r.json(http.StatusCreated, accountWire(a))
}

func (s *Server) getAccount(r *request) error {
	id, err := r.account()
	if err != nil {
		return err
	}
	a, err := s.o.Reader.Account(id)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, accountWire(a))
}

func (s *Server) updateAccount(r *request) error {
	id, err := r.account()
	if err != nil {
		return err
	}
	var in accountPatchIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	checkName(&v, in.Name.Value)
	if err := v.Err(); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	a, err := s.o.Writer.UpdateAccount(ctx, r.caller.actor, id, model.AccountPatch{Name: in.Name, Disabled: in.Disabled})
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, accountWire(a))
}

func (s *Server) deleteAccount(r *request) error {
	id, err := r.account()
	if err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	if err := s.o.Writer.DeleteAccount(ctx, r.caller.actor, id); err != nil {
		return err
	}
	return r.empty()
}
