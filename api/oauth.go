package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/belfry/fsm/model"
)

const typeForm = "application/x-www-form-urlencoded"

// Error codes of RFC 6749, section 5.2.
const (
	oauthInvalidRequest = "invalid_request"
	oauthInvalidClient  = "invalid_client"
	oauthGrantType      = "unsupported_grant_type"
	oauthInvalidScope   = "invalid_scope"
)

func (s *Server) oauthRoutes() []route {
	return []route{{
		method: http.MethodPost, path: "/auth/1/oauth2/token", scope: scopePublic, media: []string{typeForm}, handle: s.issueBearer,
	}}
}

// issueBearer answers the client_credentials grant: the client's id is the id
// of an API key, its secret the whole key.
func (s *Server) issueBearer(r *request) error {
	b, err := r.body()
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(b))
	if err != nil {
		return r.oauthFail(oauthInvalidRequest, "the form is not encoded as it must be")
	}
	for _, name := range []string{"grant_type", "client_id", "client_secret", "scope"} {
		if len(form[name]) > 1 {
			return r.oauthFail(oauthInvalidRequest, name+" is given twice")
		}
	}
	switch form.Get("grant_type") {
	case "client_credentials":
	case "":
		return r.oauthFail(oauthInvalidRequest, "grant_type is missing; it must be client_credentials")
	default:
		return r.oauthFail(oauthGrantType, "grant_type must be client_credentials")
	}
	id, secret, ok := r.clientCredentials(form)
	if !ok {
		return r.oauthFail(oauthInvalidRequest, "give client_id and client_secret once, in the form or by Basic authentication")
	}
	k, err := s.auth.checkKey(r.ctx(), secret, r.caller.remote)
	if model.CodeOf(err) == model.CodeUnauthorized || err == nil && k.ID != id {
		return r.oauthFail(oauthInvalidClient, "client_id and client_secret are wrong or no longer valid")
	}
	if err != nil {
		return err
	}
	have := make([]string, len(k.Scopes))
	for i, sc := range k.Scopes {
		have[i] = string(sc)
	}
	for sc := range strings.FieldsSeq(form.Get("scope")) {
		if !slices.Contains(have, sc) {
			return r.oauthFail(oauthInvalidScope, "the key does not hold every scope that is asked for")
		}
	}
	ttl := s.o.Limits.BearerLifetime
	token := s.tokens.issue(tokenBearer, "key:"+k.ID, k.CreatedIndex, ttl)
	return r.json(http.StatusOK, tokenOut{AccessToken: token, TokenType: "Bearer", ExpiresIn: int(ttl.Seconds()), Scope: strings.Join(have, " ")})
}

// clientCredentials takes the credentials from exactly one place. In Basic
// they are form-encoded (RFC 6749, section 2.3.1).
func (r *request) clientCredentials(form url.Values) (id, secret string, ok bool) {
	id, secret = form.Get("client_id"), form.Get("client_secret")
	hs := r.http.Header.Values("Authorization")
	if len(hs) == 0 {
		return id, secret, id != "" && secret != ""
	}
	scheme, cred, ok := splitAuthorization(hs[0])
	if !ok || len(hs) > 1 || scheme != schemeBasic || secret != "" {
		return "", "", false
	}
	user, pass, ok := splitBasic(cred)
	if !ok {
		return "", "", false
	}
	name, err1 := url.QueryUnescape(user)
	pass, err2 := url.QueryUnescape(pass)
	if err1 != nil || err2 != nil || id != "" && id != name {
		return "", "", false
	}
	return name, pass, true
}

// oauthFail answers in the form that OAuth2 clients read.
func (r *request) oauthFail(code, text string) error {
	status := http.StatusBadRequest
	if code == oauthInvalidClient {
		status = http.StatusUnauthorized
		r.header().Set("Www-Authenticate", `Basic realm="belfry"`)
	}
	return r.json(status, oauthError{Error: code, Description: text})
}
