package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The kinds of tokens.
const (
	tokenSession = "session" // IBSSO, of a user
	tokenBearer  = "bearer"  // OAuth2, of a key
)

// tokenDomain separates our signatures from other uses of the key.
const tokenDomain = "belfry token v1\x00" //nolint:gosec // a label, not a secret

// claims is what a token says. It holds no scopes: those of the subject at the
// time of the request count.
type claims struct {
	// ID is that of the session: of the token that came of the sign-in, and of
	// those that it was renewed by, so that ending one ends all.
	ID      string `json:"jti"`
	Kind    string `json:"kind"`
	Subject string `json:"sub"` // key:<id> or user:<name>
	// Generation is the subject's CreatedIndex, so that a token of a deleted
	// user does not work for a new one of the same name.
	Generation uint64 `json:"gen,omitempty"`
	// SignedIn is when a password or a key was proven, in Unix seconds; 0, of an
	// earlier build: not known, so it cannot be renewed.
	SignedIn int64 `json:"auth_time,omitempty"`
	Expires  int64 `json:"exp"` // Unix seconds
}

func (c claims) issuedFor(createdIndex uint64) bool { return c.Generation == createdIndex }

// tokenSigner makes and checks stateless tokens. Any node with the same key
// can check them.
type tokenSigner struct {
	key []byte
	now func() time.Time
}

func newTokenSigner(key []byte, now func() time.Time) *tokenSigner {
	return &tokenSigner{key: append([]byte(nil), key...), now: now}
}

// issue makes a token of subject ("key:<id>" or "user:<name>") whose row was
// created at generation.
func (t *tokenSigner) issue(kind, subject string, generation uint64, ttl time.Duration) string {
	now := t.now()
	return t.seal(claims{ID: uuid.NewString(), Kind: kind, Subject: subject, Generation: generation, SignedIn: now.Unix(), Expires: now.Add(ttl).Unix()})
}

// renew makes a token of the same session that lasts from now on, to its end at
// most. It gives the end of the token too.
func (t *tokenSigner) renew(c claims, ttl time.Duration, end time.Time) (token string, expires time.Time) {
	c.Expires = min(t.now().Add(ttl).Unix(), end.Unix())
	return t.seal(c), time.Unix(c.Expires, 0).UTC()
}

func (t *tokenSigner) seal(c claims) string {
	b, _ := json.Marshal(c) // plain strings and numbers: cannot fail
	body := base64.RawURLEncoding.EncodeToString(b)
	return body + "." + base64.RawURLEncoding.EncodeToString(t.sign(body))
}

// parse checks form, signature and expiry.
func (t *tokenSigner) parse(token string) (claims, bool) {
	body, sig, ok := strings.Cut(token, ".")
	if !ok {
		return claims{}, false
	}
	given, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil || !hmac.Equal(given, t.sign(body)) {
		return claims{}, false
	}
	b, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return claims{}, false
	}
	var c claims
	if json.Unmarshal(b, &c) != nil || t.now().Unix() >= c.Expires {
		return claims{}, false
	}
	return c, true
}

func (t *tokenSigner) sign(body string) []byte {
	m := hmac.New(sha256.New, t.key)
	m.Write([]byte(tokenDomain + body))
	return m.Sum(nil)
}
