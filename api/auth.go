package api

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/belfry/fsm/model"
)

// caller is who makes a request, as authenticated. It is handed on explicitly.
type caller struct {
	account string
	actor   model.Actor
	scopes  []model.Scope
	remote  netip.Addr
	// keyID or username says which credentials were used.
	keyID, username string
	// claims is set when a session or bearer token was used.
	claims *claims
}

const (
	// maxAuthorization bounds the Authorization header we look at.
	maxAuthorization = 4 << 10
	// maxUsername bounds the bytes of a name that somebody signs in with;
	// names are limited in characters.
	maxUsername = model.MaxTextLength * utf8.UTFMax
)

// errUnauthorized is the one answer to missing and wrong credentials, so that
// it does not tell a known name from an unknown one.
func errUnauthorized() error {
	return model.Errorf(model.CodeUnauthorized, "the credentials are missing, wrong or no longer valid")
}

// notLetIn is errUnauthorized, unless err says that nobody can tell right now.
func notLetIn(err error) error {
	if model.CodeOf(err) == model.CodeUnavailable {
		return err
	}
	return errUnauthorized()
}

// authenticator checks credentials against the local state, so that it works
// without a quorum. Only for keys and tokens of subjects that are not there is
// the state brought up to date first, as far as it can be.
type authenticator struct {
	reader    ConfigReader
	newcomers *newcomers
	tokens    *tokenSigner
	passwords *passwordChecker
	now       func() time.Time
}

func newAuthenticator(o Options, t *tokenSigner, cacheKey []byte) (*authenticator, error) {
	p, err := newPasswordChecker(o.Limits.PasswordHashes, o.Now, cacheKey)
	if err != nil {
		return nil, err
	}
	n := newNewcomers(o.Reader, o.Cluster, o.Limits.RateBuckets, o.Now)
	return &authenticator{reader: o.Reader, newcomers: n, tokens: t, passwords: p, now: o.Now}, nil
}

// authenticate fills r.caller from the Authorization header.
func (s *Server) authenticate(r *request) error {
	hs := r.http.Header.Values("Authorization")
	if len(hs) != 1 {
		return errUnauthorized()
	}
	scheme, cred, ok := splitAuthorization(hs[0])
	if !ok {
		return errUnauthorized()
	}
	var c caller
	var err error
	switch scheme {
	case schemeApp:
		c, err = s.auth.byKey(r.ctx(), cred, r.caller.remote)
	case schemeBasic:
		c, err = s.byBasic(r, cred)
	case schemeSession, schemeBearer:
		c, err = s.auth.byToken(r.ctx(), scheme, cred, r.caller.remote)
	default:
		err = errUnauthorized()
	}
	if err != nil {
		return err
	}
	c.remote = r.caller.remote
	c.actor.From, c.actor.RequestID = remoteText(c.remote), r.id
	r.caller = c
	return nil
}

func remoteText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// The authorization schemes; names compare without regard to case.
const (
	schemeApp     = "app"
	schemeBasic   = "basic"
	schemeSession = "ibsso"
	schemeBearer  = "bearer"
)

// splitAuthorization gives the scheme in lower case and the credentials.
func splitAuthorization(h string) (scheme, cred string, ok bool) {
	if len(h) > maxAuthorization {
		return "", "", false
	}
	scheme, cred, ok = strings.Cut(h, " ")
	cred = strings.Trim(cred, " ")
	if !ok || scheme == "" || cred == "" {
		return "", "", false
	}
	return strings.ToLower(scheme), cred, true
}

// splitBasic decodes the credentials of Basic.
func splitBasic(cred string) (username, password string, ok bool) {
	b, err := base64.StdEncoding.DecodeString(cred)
	if err != nil || !utf8.Valid(b) {
		return "", "", false
	}
	username, password, ok = strings.Cut(string(b), ":")
	return username, password, ok && username != "" && len(username) <= maxUsername && len(password) <= maxPassword
}

// checkKey proves an API key and gives its row: known, right, enabled, not
// expired, from an allowed address, of an enabled account.
func (a *authenticator) checkKey(ctx context.Context, key string, remote netip.Addr) (model.Key, error) {
	id, hash := HashKey(key)
	k, err := a.newcomers.key(ctx, id)
	if err != nil {
		k = model.Key{Hash: make([]byte, len(hash))} // compare anyway
	}
	if subtle.ConstantTimeCompare(hash, k.Hash) != 1 || err != nil {
		return model.Key{}, notLetIn(err)
	}
	return k, a.usable(k, remote)
}

// usable checks what can change after a key was handed out.
func (a *authenticator) usable(k model.Key, remote netip.Addr) error {
	if k.Disabled || (!k.ExpiresAt.IsZero() && !a.now().Before(k.ExpiresAt)) {
		return errUnauthorized()
	}
	if len(k.CIDRs) > 0 && !slices.ContainsFunc(k.CIDRs, func(p netip.Prefix) bool { return remote.IsValid() && p.Contains(remote) }) {
		return errUnauthorized()
	}
	return a.accountEnabled(k.Account)
}

func (a *authenticator) accountEnabled(id string) error {
	if acct, err := a.reader.Account(id); err != nil || acct.Disabled {
		return errUnauthorized()
	}
	return nil
}

func (a *authenticator) byKey(ctx context.Context, key string, remote netip.Addr) (caller, error) {
	k, err := a.checkKey(ctx, key, remote)
	if err != nil {
		return caller{}, err
	}
	return keyCaller(k), nil
}

func keyCaller(k model.Key) caller {
	return caller{account: k.Account, actor: model.Actor{Name: "key:" + k.ID}, scopes: k.Scopes, keyID: k.ID}
}

func userCaller(u model.User) caller {
	return caller{account: u.Account, actor: model.Actor{Name: "user:" + u.Username}, scopes: u.Scopes, username: u.Username}
}

func (s *Server) byBasic(r *request, cred string) (caller, error) {
	name, password, ok := splitBasic(cred)
	if !ok {
		return caller{}, errUnauthorized()
	}
	u, err := s.signIn(r, name, password)
	if err != nil {
		return caller{}, err
	}
	return userCaller(u), nil
}

// checkPassword proves a user's password and gives the row. It takes as long
// for an unknown user as for a wrong password, so it asks nobody for the user.
func (a *authenticator) checkPassword(ctx context.Context, username, password string) (model.User, error) {
	u, err := a.reader.User(username)
	known := err == nil
	stored := u.PasswordHash
	if !known {
		stored = ""
	}
	ok, err := a.passwords.check(ctx, username, password, stored)
	if err != nil {
		return model.User{}, err
	}
	if !ok || !known || u.Disabled {
		return model.User{}, errUnauthorized()
	}
	return u, a.accountEnabled(u.Account)
}

// byToken checks signature, expiry and revocation, and then the subject as it
// is now.
func (a *authenticator) byToken(ctx context.Context, scheme, token string, remote netip.Addr) (caller, error) {
	cl, ok := a.tokens.parse(token)
	if !ok || (scheme == schemeSession) != (cl.Kind == tokenSession) || a.reader.TokenRevoked(cl.ID) {
		return caller{}, errUnauthorized()
	}
	var c caller
	kind, name, _ := strings.Cut(cl.Subject, ":")
	switch kind {
	case "key":
		k, err := a.newcomers.key(ctx, name)
		if err != nil || !cl.issuedFor(k.CreatedIndex) {
			return caller{}, notLetIn(err)
		}
		if err := a.usable(k, remote); err != nil {
			return caller{}, err
		}
		c = keyCaller(k)
	case "user":
		u, err := a.newcomers.user(ctx, name)
		if err != nil || u.Disabled || !cl.issuedFor(u.CreatedIndex) {
			return caller{}, notLetIn(err)
		}
		if err := a.accountEnabled(u.Account); err != nil {
			return caller{}, err
		}
		c = userCaller(u)
	default:
		return caller{}, errUnauthorized()
	}
	c.claims = &cl
	return c, nil
}
