package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"example.com/belfry/fsm/model"
)

const (
	usersPath = accountPath + "/users"
	userPath  = usersPath + "/{username}"
	// Limits of new passwords, in characters.
	minPasswordLength, maxPasswordLength = 12, 128
)

func (s *Server) userRoutes() []route {
	const manage = model.ScopeAccountsManage
	return []route{
		{method: http.MethodGet, path: usersPath, scope: manage, read: true, handle: s.listUsers},
		{method: http.MethodPost, path: usersPath, scope: manage, handle: s.createUser},
		{method: http.MethodGet, path: userPath, scope: manage, read: true, handle: s.getUser},
		{method: http.MethodPut, path: userPath, scope: manage, read: true, handle: s.updateUser},
		{method: http.MethodDelete, path: userPath, scope: manage, handle: s.deleteUser},
	}
}

func errNoUser() error { return model.Errorf(model.CodeNotFound, "there is no such user") }

// user gives the user of the path if it belongs to the account of the path.
func (r *request) user() (model.User, error) {
	account, err := r.account()
	if err != nil {
		return model.User{}, err
	}
	u, err := r.s.o.Reader.User(r.param("username"))
	if model.CodeOf(err) == model.CodeNotFound || err == nil && u.Account != account {
		return model.User{}, errNoUser()
	}
	return u, err
}

func (s *Server) listUsers(r *request) error {
	account, err := r.account()
	if err != nil {
		return err
	}
	page, size, err := r.page()
	if err != nil {
		return err
	}
	p, err := s.o.Reader.ListUsers(account, page, size)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, envelope(p, userWire))
}

func checkUsername(v *model.Violations, name string) {
	switch msg := model.CheckText(name, 1, model.MaxTextLength); {
	case msg != "":
		v.Add("username", "%s", msg)
	case strings.Contains(name, ":"):
		v.Add("username", "must not contain a colon, which ends the name in Basic authentication")
	case name == "." || name == "..":
		v.Add("username", "must not be . or ..")
	}
}

func checkNewPassword(v *model.Violations, p model.Secret) {
	if msg := model.CheckText(p.Reveal(), minPasswordLength, maxPasswordLength); msg != "" {
		v.Add("password", "%s", msg)
	}
}

func (s *Server) createUser(r *request) error {
	account, err := r.account()
	if err != nil {
		return err
	}
	var in userIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	checkUsername(&v, in.Username)
	checkNewPassword(&v, in.Password)
	u := model.User{Account: account, Username: in.Username, Disabled: in.Disabled}
	if u.Scopes, err = r.grant(in.Scopes, &v); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	if u.PasswordHash, err = s.auth.passwords.hash(ctx, in.Password.Reveal()); err != nil {
		return err
	}
	if u, err = s.o.Writer.CreateUser(ctx, r.caller.actor, u); err != nil {
		return err
	}
	r.header().Set("Location", accountsPath+"/"+url.PathEscape(account)+"/users/"+url.PathEscape(u.Username))
	return r.json(http.StatusCreated, userWire(u))
}

func (s *Server) getUser(r *request) error {
	u, err := r.user()
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, userWire(u))
}

func (s *Server) updateUser(r *request) error {
	u, err := r.user()
	if err != nil {
		return err
	}
	var in userPatchIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	p := model.UserPatch{Disabled: in.Disabled}
	switch {
	case in.Password.Null:
		v.Add("password", "must not be null")
	case in.Password.Set:
		checkNewPassword(&v, in.Password.Value)
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
	if onlyDisables := in.Disabled.Value && !in.Password.Set && !in.Scopes.Set; !onlyDisables {
		if err := r.holds(u.Scopes); err != nil {
			return err
		}
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	if in.Password.Set {
		hash, err := s.auth.passwords.hash(ctx, in.Password.Value.Reveal())
		if err != nil {
			return err
		}
		p.PasswordHash = model.Some(hash)
	}
	if u, err = s.o.Writer.UpdateUser(ctx, r.caller.actor, u.Account, u.Username, p); err != nil {
		return err
	}
	return r.json(http.StatusOK, userWire(u))
}

func (s *Server) deleteUser(r *request) error {
	account, err := r.account()
	if err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	if err := s.o.Writer.DeleteUser(ctx, r.caller.actor, account, r.param("username")); err != nil {
		if model.CodeOf(err) == model.CodeNotFound {
			return errNoUser()
		}
		return err
	}
	return r.empty()
}

// hash makes the stored form of a new password in the same bounded queue as
// checks of passwords.
func (c *passwordChecker) hash(ctx context.Context, password string) (string, error) {
	done, err := c.turn(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	return HashPassword(password), nil
}
