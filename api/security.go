package api

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"example.com/belfry/fsm/model"
)

func (s *Server) securityRoutes() []route {
	const list, one = contractPrefix + "/security", contractPrefix + "/security/{authId}"
	const manage, read = model.ScopeSubscriptionsManage, model.ScopeSubscriptionsRead
	// An update is a read too: which members count depends on the stored type.
	return []route{
		{method: http.MethodGet, path: list, scope: read, surface: surfaceContract, read: true, handle: s.listSecurity},
		{method: http.MethodPost, path: list, scope: manage, surface: surfaceContract, handle: s.createSecurity},
		{method: http.MethodGet, path: one, scope: read, surface: surfaceContract, read: true, handle: s.getSecurity},
		{method: http.MethodPut, path: one, scope: manage, surface: surfaceContract, read: true, handle: s.updateSecurity},
		{method: http.MethodDelete, path: one, scope: manage, surface: surfaceContract, handle: s.deleteSecurity},
	}
}

func (s *Server) listSecurity(r *request) error {
	page, size, err := r.page()
	if err != nil {
		return err
	}
	unused, err := r.flagParam("unused")
	if err != nil {
		return err
	}
	var v model.Violations
	f := model.SecurityFilter{Search: r.search(&v), Unused: unused}
	if err := v.Err(); err != nil {
		return err
	}
	p, err := s.o.Reader.ListSecurity(r.caller.account, f, page, size)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, envelope(p, maskedSecurity))
}

func (s *Server) getSecurity(r *request) error {
	reveal, err := r.flagParam("reveal")
	if err != nil {
		return err
	}
	if reveal && !model.ScopeSecurityReveal.Allows(r.caller.scopes) {
		return model.Errorf(model.CodeForbidden, "reveal=true needs the scope %s", model.ScopeSecurityReveal)
	}
	sec, err := s.o.Reader.Security(r.caller.account, r.param("authId"))
	if err != nil {
		return err
	}
	if !reveal {
		return r.json(http.StatusOK, maskedSecurity(sec))
	}
	return s.revealSecurity(r, sec)
}

// revealSecurity answers with the clear text, after the audit record of it is
// committed.
//
// INV api-7: no clear text leaves before its record.
func (s *Server) revealSecurity(r *request, sec model.Security) error {
	if s.o.Opener == nil {
		return model.Errorf(model.CodeUnavailable, "this node cannot open secrets")
	}
	plain := map[model.SecretField]string{}
	for field, sealed := range sec.Secrets {
		secret, err := s.o.Opener.Open(sec.Account, model.EntitySecurity, sec.ID, field, sealed)
		if err != nil {
			return errors.Join(errors.New("cannot open a secret for reveal"), err)
		}
		plain[field] = secret.Reveal()
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	if err := s.o.Writer.AuditReveal(ctx, r.caller.actor, r.caller.account, sec.ID); err != nil {
		return err
	}
	return r.json(http.StatusOK, securityWire(sec, func(f model.SecretField) string { return plain[f] }))
}

func (s *Server) createSecurity(r *request) error {
	var in securityIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	d := s.securityDraft(r, in, "", &v)
	if err := v.Err(); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	refs, err := s.o.Writer.CreateSecurity(ctx, r.caller.actor, d)
	if err != nil {
		return err
	}
	r.header().Set("Location", contractPrefix+"/security/"+refs.SecurityID)
	return r.json(http.StatusCreated, idOnlySecurity{AuthID: refs.SecurityID})
}

func (s *Server) updateSecurity(r *request) error {
	var in securityIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	t := model.CredentialsType("")
	if given(in.Type) {
		t = credentialsType(&v, "type", in.Type.Value)
	} else if in.Type.Null {
		v.Add("type", "must not be null")
	} else {
		// Which members count depends on the type there is. Apply checks again.
		old, err := s.o.Reader.Security(r.caller.account, r.param("authId"))
		if err != nil {
			return err
		}
		t = old.Type
	}
	if in.Credentials.Null {
		v.Add("credentials", "must not be null")
	}
	p := s.securityPatch(t, in.Credentials.Value, &v)
	if given(in.Type) {
		p.Type = model.Some(t)
	}
	if err := v.Err(); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	refs, err := s.o.Writer.UpdateSecurity(ctx, r.caller.actor, r.caller.account, r.param("authId"), p)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, idOnlySecurity{AuthID: refs.SecurityID})
}

func (s *Server) deleteSecurity(r *request) error {
	ctx, cancel := r.writeCtx()
	defer cancel()
	refs, err := s.o.Writer.DeleteSecurity(ctx, r.caller.actor, r.caller.account, r.param("authId"))
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, idOnlySecurity{AuthID: refs.SecurityID})
}

func credentialsType(v *model.Violations, at, s string) model.CredentialsType {
	return oneOf(v, at, s, model.CredentialsBasic, model.CredentialsHMAC, model.CredentialsOAuth, model.CredentialsCustom)
}

// securityDraft turns a full definition into a draft and checks it.
func (s *Server) securityDraft(r *request, in securityIn, prefix string, v *model.Violations) model.SecurityDraft {
	d := model.SecurityDraft{Security: model.Security{Account: r.caller.account, ID: in.AuthID}, Clear: map[model.SecretField]model.Secret{}}
	bad := false
	if msg := model.CheckID(in.AuthID); msg != "" {
		v.Add(prefix+"authId", "%s", msg)
		d.ID = "checked" // so that the validation below does not complain again
	}
	if !given(in.Type) {
		v.Add(prefix+"type", "must not be null or absent")
		bad = true
	} else if d.Type = credentialsType(v, prefix+"type", in.Type.Value); d.Type == "" {
		bad = true
	}
	if !given(in.Credentials) {
		v.Add(prefix+"credentials", "must not be null or absent")
		bad = true
	}
	if bad {
		return d
	}
	m := membersOf(d.Type, in.Credentials.Value)
	for field, o := range m.secrets {
		if !given(o) {
			continue
		}
		if o.Value.Reveal() == model.SecretMask {
			v.Add(prefix+"credentials."+secretPath(field), "is the mask; a new setting needs the secret itself")
		}
		d.Clear[field] = o.Value
	}
	for dst, o := range map[*string]model.Opt[string]{
		&d.Username: m.username, &d.HeaderName: m.headerName, &d.Encoding: m.encoding, &d.TokenURL: m.tokenURL,
		&d.GrantType: m.grantType, &d.ClientID: m.clientID, &d.Scope: m.scope, &d.Resource: m.resource,
	} {
		o.ApplyTo(dst)
	}
	d.Algorithm = model.HMACAlgorithm(m.algorithm.Value)
	if given(m.previousUntil) {
		d.PreviousUntil = m.previousUntil.Value.UTC()
	}
	before := *v
	model.ValidateSecurity(d.Security, d.Clear, prefix, v)
	if d.TokenURL != "" && sameLength(before, *v) {
		s.checkURL(d.TokenURL, prefix+"credentials.tokenUrl", v)
	}
	return d
}

// sameLength reports whether no violation was added between a and b.
func sameLength(a, b model.Violations) bool {
	ea, eb := violations(a), violations(b)
	return len(ea) == len(eb)
}

func violations(v model.Violations) []model.FieldError {
	if e, ok := errors.AsType[*model.Error](v.Err()); ok {
		return e.Violations()
	}
	return nil
}

// securityPatch maps given credentials of type t to a patch. A mask leaves the
// secret that is stored.
func (s *Server) securityPatch(t model.CredentialsType, in credentialsIn, v *model.Violations) model.SecurityPatch {
	m := membersOf(t, in)
	p := model.SecurityPatch{
		Username: m.username, HeaderName: m.headerName, Encoding: m.encoding, TokenURL: m.tokenURL, GrantType: m.grantType,
		ClientID: m.clientID, Scope: m.scope, Resource: m.resource, Clear: map[model.SecretField]model.Opt[model.Secret]{},
	}
	if m.algorithm.Set {
		p.Algorithm = model.Opt[model.HMACAlgorithm]{Set: true, Null: m.algorithm.Null, Value: model.HMACAlgorithm(m.algorithm.Value)}
	}
	if m.previousUntil.Set {
		p.PreviousUntilMs = model.Opt[int64]{Set: true, Null: m.previousUntil.Null}
		if given(m.previousUntil) {
			p.PreviousUntilMs.Value = m.previousUntil.Value.UnixMilli()
		}
	}
	for field, o := range m.secrets {
		if o.Set && (o.Null || o.Value.Reveal() != model.SecretMask) {
			p.Clear[field] = o
		}
	}
	if m.headers.Set {
		p.Headers = model.Null[[]string]()
		if given(m.headers) {
			names := make([]string, 0, len(m.headers.Value))
			for name := range m.headers.Value {
				names = append(names, name)
			}
			slices.Sort(names)
			p.Headers = model.Some(names)
		}
	}
	if given(m.tokenURL) {
		s.checkURL(m.tokenURL.Value, "credentials.tokenUrl", v)
	}
	return p
}

// members are the credentials that belong to one type; the others are ignored,
// as unknown members are.
type members struct {
	username, algorithm, headerName, encoding      model.Opt[string]
	tokenURL, grantType, clientID, scope, resource model.Opt[string]
	previousUntil                                  model.Opt[time.Time]
	headers                                        model.Opt[map[string]model.Secret]
	secrets                                        map[model.SecretField]model.Opt[model.Secret]
}

func membersOf(t model.CredentialsType, in credentialsIn) members {
	m := members{secrets: map[model.SecretField]model.Opt[model.Secret]{}}
	switch t {
	case model.CredentialsBasic:
		m.username = in.Username
		m.secrets[model.FieldPassword] = in.Password
	case model.CredentialsHMAC:
		m.algorithm, m.headerName, m.encoding, m.previousUntil = in.Algorithm, in.HeaderName, in.Encoding, in.PreviousUntil
		m.secrets[model.FieldSecretKey], m.secrets[model.FieldPreviousSecretKey] = in.SecretKey, in.PreviousSecretKey
	case model.CredentialsOAuth:
		// The contract gives these no least length: "" is absent.
		m.username, m.tokenURL, m.grantType = emptyIsNull(in.Username), in.TokenURL, in.GrantType
		m.clientID, m.scope, m.resource = emptyIsNull(in.ClientID), emptyIsNull(in.Scope), emptyIsNull(in.Resource)
		m.secrets[model.FieldPassword], m.secrets[model.FieldClientSecret] = emptySecret(in.Password), emptySecret(in.ClientSecret)
		m.secrets[model.FieldRefreshToken] = emptySecret(in.RefreshToken)
		m.takeHeaders(in.Headers)
	case model.CredentialsCustom:
		m.takeHeaders(in.Headers)
	}
	return m
}

func (m *members) takeHeaders(in model.Opt[map[string]model.Secret]) {
	m.headers = in
	for name, value := range in.Value {
		m.secrets[model.HeaderField(name)] = model.Some(value)
	}
}

func emptySecret(o model.Opt[model.Secret]) model.Opt[model.Secret] {
	if given(o) && o.Value.IsZero() {
		return model.Null[model.Secret]()
	}
	return o
}

// secretPath is the JSON path of a secret field below credentials.
func secretPath(f model.SecretField) string {
	if name, ok := f.HeaderName(); ok {
		return join("headers", name)
	}
	return string(f)
}

func maskedSecurity(sec model.Security) securityOut {
	return securityWire(sec, func(f model.SecretField) string {
		if _, ok := sec.Secrets[f]; ok {
			return model.SecretMask
		}
		return ""
	})
}

// securityWire shows a setting with the secrets that show gives.
func securityWire(sec model.Security, show func(model.SecretField) string) securityOut {
	c := credentialsOut{
		Username: sec.Username, Algorithm: string(sec.Algorithm), HeaderName: sec.HeaderName, Encoding: sec.Encoding,
		TokenURL: sec.TokenURL, GrantType: sec.GrantType, ClientID: sec.ClientID, Scope: sec.Scope, Resource: sec.Resource,
		Password: show(model.FieldPassword), SecretKey: show(model.FieldSecretKey), PreviousSecretKey: show(model.FieldPreviousSecretKey),
		ClientSecret: show(model.FieldClientSecret), RefreshToken: show(model.FieldRefreshToken),
	}
	if !sec.PreviousUntil.IsZero() {
		until := sec.PreviousUntil.UTC()
		c.PreviousUntil = &until
	}
	for f := range sec.Secrets {
		if name, ok := f.HeaderName(); ok {
			if c.Headers == nil {
				c.Headers = map[string]string{}
			}
			c.Headers[name] = show(f)
		}
	}
	return securityOut{AuthID: sec.ID, Type: string(sec.Type), Credentials: c}
}
