package api

import (
	"net/http"
	"time"

	"example.com/belfry/fsm/model"
)

const sessionPath = "/auth/1/session"

func (s *Server) sessionRoutes() []route {
	return []route{
		{method: http.MethodPost, path: sessionPath, scope: scopePublic, handle: s.openSession},
		{method: http.MethodGet, path: sessionPath, scope: scopeCaller, frequent: true, handle: s.showSession},
		{method: http.MethodPost, path: sessionPath + "/renewal", scope: scopeCaller, handle: s.renewSession},
		{method: http.MethodDelete, path: sessionPath, scope: scopeCaller, handle: s.endSession},
	}
}

// openSession exchanges name and password for a token of scheme IBSSO.
func (s *Server) openSession(r *request) error {
	var in sessionIn
	if err := r.decode(&in); err != nil {
		return err
	}
	if in.Username == "" || in.Password.IsZero() {
		return model.Errorf(model.CodeInvalid, "username and password must not be empty")
	}
	if len(in.Username) > maxUsername || len(in.Password.Reveal()) > maxPassword {
		return errUnauthorized()
	}
	u, err := s.signIn(r, in.Username, in.Password.Reveal())
	if err != nil {
		return err
	}
	token := s.tokens.issue(tokenSession, "user:"+u.Username, u.CreatedIndex, s.o.Limits.SessionLifetime)
	return r.json(http.StatusOK, sessionOut{Token: token})
}

// signIn proves a password behind the guard against guessing.
func (s *Server) signIn(r *request, username, password string) (model.User, error) {
	remote := r.caller.remote
	if wait := s.logins.allow(remote, username); wait > 0 {
		return model.User{}, tooMany(wait, "too many failed sign-ins from this address")
	}
	u, err := s.auth.checkPassword(r.ctx(), username, password)
	if model.CodeOf(err) == model.CodeUnauthorized {
		s.logins.failed(remote, username)
	}
	return u, err
}

// sessionEnd is when the session of a token ends, however often it is renewed;
// of one that cannot be, the end of the token.
func (s *Server) sessionEnd(c *claims) time.Time {
	end := time.Unix(c.Expires, 0).UTC()
	if last := time.Unix(c.SignedIn, 0).UTC().Add(s.o.Limits.SessionLimit); c.SignedIn != 0 && last.After(end) {
		return last
	}
	return end
}

// renewSession gives a token that lasts from now on for the one that the
// request came with, until the session has lasted for Limits.SessionLimit. It
// needs no quorum.
//
// INV api-12: a token is renewed only while it works, and no token of a session
// outlives SessionLimit or the end of any of them by endSession.
func (s *Server) renewSession(r *request) error {
	if err := r.noQuery(); err != nil {
		return err
	}
	if err := r.noBody(); err != nil {
		return err
	}
	cl := r.caller.claims
	switch {
	case cl == nil:
		return model.Errorf(model.CodeInvalid, "this renews a token: send it as Authorization: IBSSO <token> or Bearer <token>; keys and passwords need no renewal")
	case cl.SignedIn == 0:
		return model.Errorf(model.CodeInvalid, "this token was made by an earlier version and cannot be renewed: sign in again when it ends")
	}
	ttl := s.o.Limits.SessionLifetime
	if cl.Kind == tokenBearer {
		ttl = s.o.Limits.BearerLifetime
	}
	end := s.sessionEnd(cl)
	token, expires := s.tokens.renew(*cl, ttl, end)
	return r.json(http.StatusOK, renewedOut{Token: token, TokenExpiresAt: expires, SessionEndsAt: end})
}

// endSession ends the session of the token that the request came with, on every
// node.
func (s *Server) endSession(r *request) error {
	cl := r.caller.claims
	if cl == nil {
		return model.Errorf(model.CodeInvalid, "this ends a token: send it as Authorization: IBSSO <token> or Bearer <token>; keys and passwords are ended under /accounts/1")
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	// Another node may have renewed it: what came of that ends before the session.
	t := model.RevokedToken{ID: cl.ID, Until: s.sessionEnd(cl)}
	if err := s.o.Writer.RevokeToken(ctx, r.caller.actor, r.caller.account, t); err != nil {
		return err
	}
	return r.empty()
}

// showSession says who the credentials of the request are and what they may
// do. It needs no quorum, so that it works on a node that has lost the others.
func (s *Server) showSession(r *request) error {
	if err := r.noQuery(); err != nil {
		return err
	}
	c := r.caller
	out := callerOut{AccountID: c.account, KeyID: c.keyID, Username: c.username, Scopes: listOf(c.scopes)}
	if c.claims != nil {
		at := time.Unix(c.claims.Expires, 0).UTC()
		end := s.sessionEnd(c.claims)
		out.TokenExpiresAt, out.SessionEndsAt = &at, &end
	}
	return r.json(http.StatusOK, out)
}
