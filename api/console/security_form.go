package console

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// securityFields are the fields of an authentication setting: on a page of
// their own, or as a part of a profile (Inline).
type securityFields struct {
	Form   *form
	Prefix string
	Inline bool
	// Edit: the setting exists; a secret that is left empty stays.
	Edit bool
}

// N is the name of a field.
func (s securityFields) N(name string) string { return s.Prefix + name }

// SecretHint says what an empty secret means.
func (s securityFields) SecretHint() string {
	if s.Edit {
		return "hint=Leave it empty to keep the one there is."
	}
	return "hint=Stored encrypted, and shown masked from then on."
}

// Types, Algorithms, Encodings and Grants are the choices of a setting.
func (s securityFields) Types() []option {
	return []option{
		{string(model.CredentialsBasic), "Basic: a name and a password"},
		{string(model.CredentialsHMAC), "HMAC: each request is signed"},
		{string(model.CredentialsOAuth), "OAuth 2: a token from a token endpoint"},
		{string(model.CredentialsCustom), "Custom: secret headers"},
	}
}

// Algorithms are the hashes of HMAC.
func (s securityFields) Algorithms() []option {
	var out []option
	for _, a := range model.HMACAlgorithms() {
		out = append(out, option{string(a), string(a)})
	}
	return out
}

// Encodings are how a signature is written.
func (s securityFields) Encodings() []option {
	return []option{{"", "The node's default"}, {"hex", "hex"}, {"base64", "base64"}}
}

// Grants are the ways to a token.
func (s securityFields) Grants() []option {
	return options(model.GrantClientCredentials, model.GrantPassword, model.GrantRefreshToken)
}

// secretFields are the credentials that are never sent back.
var secretFields = []string{"password", "secretKey", "previousSecretKey", "clientSecret", "refreshToken"}

func securityFieldNames(prefix string) []string {
	names := []string{prefix + "authId", prefix + "type"}
	for _, n := range []string{"username", "algorithm", "headerName", "encoding", "tokenUrl", "grantType", "clientId", "scope", "resource", "headers"} {
		names = append(names, prefix+"credentials."+n)
	}
	for _, n := range secretFields {
		names = append(names, prefix+"credentials."+n)
	}
	return names
}

// forgetSecrets drops what is secret from a form that is shown again; of the
// secret headers the names stay, and what was a mask.
func forgetSecrets(f *form, prefix string, edit bool) {
	for _, n := range secretFields {
		f.forget(prefix + "credentials." + n)
	}
	name := prefix + "credentials.headers"
	if f.Text(name) == "" {
		return
	}
	kept := map[string]string{}
	for key, value := range (&form{values: url.Values{name: {f.Value(name)}}, errors: map[string][]string{}}).headers(name) {
		kept[key] = ""
		if edit && value == model.SecretMask {
			kept[key] = value
		}
	}
	f.set(name, headerLines(kept))
}

// fillSecurity sets the fields to a setting; secret headers are masked by the
// API.
func fillSecurity(f *form, s client.Security) {
	f.set("authId", s.AuthID)
	f.set("type", s.Type)
	c := credentialsOf(s)
	for name, value := range map[string]string{
		"username": c.Username, "algorithm": c.Algorithm, "headerName": c.HeaderName, "encoding": c.Encoding, "tokenUrl": c.TokenURL, "grantType": c.GrantType,
		"clientId": c.ClientID, "scope": c.Scope, "resource": c.Resource, "headers": headerLines(c.Headers),
	} {
		f.set("credentials."+name, value)
	}
}

func credentialsOf(s client.Security) client.Credentials {
	if s.Credentials == nil {
		return client.Credentials{}
	}
	return *s.Credentials
}

// securityOf is the setting that was typed, with the members of its type.
func securityOf(f *form, prefix string) client.Security {
	t := func(name string) string { return f.Text(prefix + "credentials." + name) }
	secret := func(name string) string { return f.Value(prefix + "credentials." + name) }
	s := client.Security{AuthID: f.Text(prefix + "authId"), Type: f.Text(prefix + "type"), Credentials: &client.Credentials{}}
	switch model.CredentialsType(s.Type) {
	case model.CredentialsBasic:
		*s.Credentials = client.Credentials{Username: t("username"), Password: secret("password")}
	case model.CredentialsHMAC:
		*s.Credentials = client.Credentials{SecretKey: secret("secretKey"), Algorithm: t("algorithm"), HeaderName: t("headerName"), Encoding: t("encoding")}
	case model.CredentialsOAuth:
		*s.Credentials = client.Credentials{
			TokenURL: t("tokenUrl"), GrantType: t("grantType"), ClientID: t("clientId"), ClientSecret: secret("clientSecret"), Scope: t("scope"), Resource: t("resource"),
			Username: t("username"), Password: secret("password"), RefreshToken: secret("refreshToken"), Headers: f.headers(prefix + "credentials.headers"),
		}
	case model.CredentialsCustom:
		s.Credentials.Headers = f.headers(prefix + "credentials.headers")
	}
	return s
}

// securityChange makes a setting what was typed: a secret that is empty stays,
// any other member that is empty is cleared.
type (
	securityChange struct {
		Type        string            `json:"type"`
		Credentials credentialsChange `json:"credentials"`
	}
	credentialsChange struct {
		Username     model.Opt[string]            `json:"username,omitzero"`
		Algorithm    model.Opt[string]            `json:"algorithm,omitzero"`
		HeaderName   model.Opt[string]            `json:"headerName,omitzero"`
		Encoding     model.Opt[string]            `json:"encoding,omitzero"`
		TokenURL     model.Opt[string]            `json:"tokenUrl,omitzero"`
		GrantType    model.Opt[string]            `json:"grantType,omitzero"`
		ClientID     model.Opt[string]            `json:"clientId,omitzero"`
		Scope        model.Opt[string]            `json:"scope,omitzero"`
		Resource     model.Opt[string]            `json:"resource,omitzero"`
		Headers      model.Opt[map[string]string] `json:"headers,omitzero"`
		Password     string                       `json:"password,omitempty"`
		SecretKey    string                       `json:"secretKey,omitempty"`
		ClientSecret string                       `json:"clientSecret,omitempty"`
		RefreshToken string                       `json:"refreshToken,omitempty"`
		// PreviousUntil keeps the key that SecretKey replaces, until then.
		PreviousUntil model.Opt[time.Time] `json:"previousSecretKeyValidUntil,omitzero"`
	}
)

func changeOf(f *form) securityChange {
	s := securityOf(f, "")
	c := s.Credentials
	u := securityChange{Type: s.Type, Credentials: credentialsChange{Password: c.Password, SecretKey: c.SecretKey, ClientSecret: c.ClientSecret, RefreshToken: c.RefreshToken}}
	x := &u.Credentials
	switch model.CredentialsType(s.Type) {
	case model.CredentialsBasic:
		x.Username = model.Some(c.Username)
	case model.CredentialsHMAC:
		x.Algorithm, x.HeaderName, x.Encoding = model.Some(c.Algorithm), orNull(c.HeaderName), orNull(c.Encoding)
	case model.CredentialsOAuth:
		x.TokenURL, x.GrantType, x.ClientID, x.Scope, x.Resource = model.Some(c.TokenURL), model.Some(c.GrantType), orNull(c.ClientID), orNull(c.Scope), orNull(c.Resource)
		x.Username, x.Headers = orNull(c.Username), model.Null[map[string]string]()
	case model.CredentialsCustom: // headers alone
	}
	if len(c.Headers) > 0 {
		x.Headers = model.Some(c.Headers)
	}
	return u
}

// putSecurity sends a change: the client's own update has no null.
func (v *visit) putSecurity(id string, u any) error {
	return v.api.Do(v.ctx(), http.MethodPut, "/subscriptions/1/security/"+url.PathEscape(id), u, nil)
}

// generateSecret makes a key for HMAC of 256 random bits.
func generateSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
