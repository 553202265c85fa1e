package model

import (
	"fmt"
	"maps"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of shape. Those of the contract carry its section, the others are
// belfry's own.
const (
	MaxListItems     = 255 // contract 1.3: events, criteria, resources, users
	MaxTextLength    = 255 // contract 1.3, 1.9: names, criteria, credentials
	MaxURLLength     = 512 // contract 1.8: webhook.notifyUrl
	MaxTokenURL      = 255 // contract 1.9: credentials.tokenUrl
	MaxRegexLength   = 255
	MaxHeaders       = 64   // headers of a profile, and secret headers of a setting
	MaxHeaderName    = 255  // characters
	MaxHeaderValue   = 4096 // characters
	MaxRetrySchedule = 100  // waits of a custom retry policy
	MaxRetryWait     = 7 * 24 * 60 * 60
	MaxRetryAttempts = 1000
	MaxRetryAge      = 31 * 24 * 60 * 60
)

// ValidateSubscription records what is wrong with the shape of s, by the names
// of the wire. Prefix is the JSON path of the object in the request, "" at the
// top. Whether the profile exists and whether the channel knows the events is
// not shape and is not checked here.
func ValidateSubscription(s Subscription, prefix string, v *Violations) {
	p := path(prefix)
	v.check(p.of("subscriptionId"), CheckID(s.ID))
	ch, known := ChannelByName(s.Channel)
	if !known {
		v.Add(p.of("channel"), "must be one of the channels of the catalogue")
	}
	if s.Name != "" {
		v.check(p.of("name"), CheckText(s.Name, 1, MaxTextLength))
	}
	if s.ProfileID != "" {
		v.check(p.of("profile.profileId"), CheckID(s.ProfileID))
	}
	if v.listSize(p.of("events"), len(s.Events)) {
		for i, e := range s.Events {
			at := p.item("events", i)
			v.check(at, CheckText(e.Event, 1, MaxTextLength))
			if e.Format == "" {
				continue
			}
			v.check(at+".format", CheckText(e.Format, 1, MaxTextLength))
			if known && !ch.FormatAware {
				v.Add(at, "channel %s takes event names only, without a format", ch.Name)
			}
		}
	}
	if v.listSize(p.of("criteria"), len(s.Criteria)) {
		for i, c := range s.Criteria {
			at := p.item("criteria", i)
			v.check(at+".applicationId", CheckText(c.ApplicationID, 0, MaxTextLength))
			v.check(at+".entityId", CheckText(c.EntityID, 0, MaxTextLength))
			v.check(at+".callsConfigurationId", CheckText(c.CallsConfigurationID, 0, MaxTextLength))
		}
	}
	v.texts(p, "resources", s.Resources)
	v.texts(p, "users", s.Users)
}

// ValidateProfile records what is wrong with the shape of pr, by the names of
// the wire. A number that is 0 counts as not set.
func ValidateProfile(pr Profile, prefix string, v *Violations) {
	p := path(prefix)
	v.check(p.of("profileId"), CheckID(pr.ID))
	v.check(p.of("webhook.notifyUrl"), CheckURL(pr.URL, MaxURLLength))
	v.check(p.of("webhook.contentType"), checkContentType(pr.ContentType))
	if pr.SecurityID != "" {
		v.check(p.of("security.authId"), CheckID(pr.SecurityID))
	}
	if pr.CertificateID != "" {
		v.check(p.of("clientCertificateId"), CheckID(pr.CertificateID))
	}
	v.number(p.of("maxBucketSize"), pr.MaxBucketSize, MinMaxBucketSize, MaxMaxBucketSize)
	v.number(p.of("windowSize"), pr.WindowSize, MinWindowSize, MaxWindowSize)
	v.number(p.of("connectTimeout"), pr.ConnectTimeoutMs, MinConnectTimeoutMs, MaxConnectTimeoutMs)
	v.number(p.of("readTimeout"), pr.ReadTimeoutMs, MinReadTimeoutMs, MaxReadTimeoutMs)
	v.number(p.of("rateLimit"), pr.RateLimit, MinRateLimit, MaxRateLimit)
	for i, proto := range pr.EnabledSSLProtocols {
		if i >= MaxListItems {
			break // every further one is a repetition of one of the two
		}
		switch {
		case proto != "TLSv1.2" && proto != "TLSv1.3":
			v.Add(p.item("enabledSSLProtocols", i), "must be TLSv1.2 or TLSv1.3")
		case slices.Contains(pr.EnabledSSLProtocols[:i], proto):
			v.Add(p.item("enabledSSLProtocols", i), "must not be named twice")
		}
	}
	v.headers(p.of("headers"), slices.Sorted(maps.Keys(pr.Headers)), func(name string) (string, bool) {
		return pr.Headers[name], true
	})
	v.check(p.of("responseRegex"), checkRegex(pr.ResponseRegex))
	v.check(p.of("responseBodyRegex"), checkRegex(pr.ResponseBodyRegex))
	if pr.Retry != nil {
		validateRetry(*pr.Retry, p.of("retry"), v)
	}
	switch pr.Ordering {
	case "", OrderingNone, OrderingKey, OrderingStrict:
	default:
		v.Add(p.of("ordering"), "must be one of NONE, KEY, STRICT")
	}
	v.check(p.of("disabledReason"), CheckText(pr.DisabledReason, 0, MaxTextLength))
}

func validateRetry(r Retry, prefix string, v *Violations) {
	p := path(prefix)
	switch r.Policy {
	case RetryInfobip, RetryStandard:
		if len(r.Schedule) > 0 {
			v.Add(p.of("schedule"), "is for the policy custom only")
		}
	case RetryCustom:
		if n := len(r.Schedule); n < 1 || n > MaxRetrySchedule {
			v.Add(p.of("schedule"), "must hold between 1 and %d waits in seconds", MaxRetrySchedule)
			break
		}
		for i, s := range r.Schedule {
			if s < 1 || s > MaxRetryWait {
				v.Add(p.item("schedule", i), "must be between 1 and %d seconds", MaxRetryWait)
			}
		}
	default:
		v.Add(p.of("policy"), "must be one of infobip, standard, custom")
	}
	if r.MaxAttempts < 0 || r.MaxAttempts > MaxRetryAttempts {
		v.Add(p.of("maxAttempts"), "must be between 0 and %d", MaxRetryAttempts)
	}
	if r.MaxAgeSeconds < 0 || r.MaxAgeSeconds > MaxRetryAge {
		v.Add(p.of("maxAge"), "must be between 0 and %d seconds", MaxRetryAge)
	}
}

// The grants of an OAUTH setting.
const (
	GrantClientCredentials = "client_credentials"
	GrantPassword          = "password"
	GrantRefreshToken      = "refresh_token"
)

// ValidateSecurity records what is wrong with the shape of s, by the names of
// the wire. A secret counts as given when s.Secrets holds an envelope for it
// or plain a value that is not empty; values are looked at only in plain, and
// no message ever repeats one.
func ValidateSecurity(s Security, plain map[SecretField]Secret, prefix string, v *Violations) {
	p := path(prefix)
	v.check(p.of("authId"), CheckID(s.ID))
	c := path(p.of("credentials"))
	has := func(f SecretField) bool {
		if x, ok := plain[f]; ok {
			return !x.IsZero()
		}
		return len(s.Secrets[f]) > 0
	}
	need := func(f SecretField) {
		if !has(f) {
			v.Add(c.of(string(f)), "must not be empty")
		}
	}
	switch s.Type {
	case CredentialsBasic:
		v.check(c.of("username"), CheckText(s.Username, 1, MaxTextLength))
		if strings.Contains(s.Username, ":") {
			v.Add(c.of("username"), "must not contain a colon, which ends the name in Basic authentication")
		}
		need(FieldPassword)
	case CredentialsHMAC:
		need(FieldSecretKey)
		if !slices.Contains(HMACAlgorithms(), s.Algorithm) {
			v.Add(c.of("algorithm"), "must be one of %s", joined(HMACAlgorithms()))
		}
		if s.HeaderName != "" {
			v.check(c.of("headerName"), checkHeaderName(s.HeaderName))
		}
		if s.Encoding != "" && s.Encoding != "hex" && s.Encoding != "base64" {
			v.Add(c.of("encoding"), "must be hex or base64")
		}
		if has(FieldPreviousSecretKey) && s.PreviousUntil.IsZero() {
			v.Add(c.of("previousSecretKeyValidUntil"), "must be given with a previous secret key")
		}
	case CredentialsOAuth:
		validateOAuth(s, c, need, v)
	case CredentialsCustom:
		if len(secretHeaders(s, plain)) == 0 {
			v.Add(c.of("headers"), "must name at least one header")
		}
	default:
		v.Add(p.of("type"), "must be one of BASIC, HMAC, OAUTH, CUSTOM")
		return
	}
	validateSecrets(s, plain, c, v)
}

func validateOAuth(s Security, c path, need func(SecretField), v *Violations) {
	v.check(c.of("tokenUrl"), CheckURL(s.TokenURL, MaxTokenURL))
	switch s.GrantType {
	case GrantClientCredentials:
	case GrantPassword:
		v.check(c.of("username"), CheckText(s.Username, 1, MaxTextLength))
		need(FieldPassword)
	case GrantRefreshToken:
		need(FieldRefreshToken)
	default:
		v.Add(c.of("grantType"), "must be one of client_credentials, password, refresh_token")
	}
	if s.GrantType != GrantPassword {
		v.check(c.of("username"), CheckText(s.Username, 0, MaxTextLength))
	}
	v.check(c.of("clientId"), CheckText(s.ClientID, 0, MaxTextLength))
	v.check(c.of("scope"), CheckText(s.Scope, 0, MaxTextLength))
	v.check(c.of("resource"), CheckText(s.Resource, 0, MaxTextLength))
}

// validateSecrets checks the names of all secrets and the clear values.
func validateSecrets(s Security, plain map[SecretField]Secret, c path, v *Violations) {
	for _, f := range secretFields(s, plain) {
		if _, isHeader := f.HeaderName(); isHeader {
			continue
		}
		if !BelongsTo(f, s.Type) {
			v.Add(c.of(string(f)), "does not belong to credentials of type %s", s.Type)
		} else if x, ok := plain[f]; ok && !x.IsZero() {
			v.check(c.of(string(f)), CheckText(x.Reveal(), 1, MaxTextLength))
		}
	}
	names := secretHeaders(s, plain)
	if len(names) > 0 && !BelongsTo(HeaderField("any"), s.Type) {
		v.Add(c.of("headers"), "do not belong to credentials of type %s", s.Type)
		return
	}
	v.headers(c.of("headers"), names, func(name string) (string, bool) {
		x, ok := plain[HeaderField(name)]
		return x.Reveal(), ok
	})
}

// ValidateSecretValue records what is wrong with one clear secret value by
// itself. Prefix is the JSON path of the credentials. An empty value is wrong
// but for headers; null is what clears a secret.
func ValidateSecretValue(f SecretField, plain Secret, prefix string, v *Violations) {
	c := path(prefix)
	if name, ok := strings.CutPrefix(string(f), "header:"); ok {
		v.headers(c.of("headers"), []string{name}, func(string) (string, bool) { return plain.Reveal(), true })
		return
	}
	v.check(c.of(string(f)), CheckText(plain.Reveal(), 1, MaxTextLength))
}

// HMACAlgorithms returns the algorithms of the contract in its order.
func HMACAlgorithms() []HMACAlgorithm {
	return []HMACAlgorithm{HMACMD5, HMACSHA1, HMACSHA224, HMACSHA256, HMACSHA384, HMACSHA512}
}

// BelongsTo reports whether credentials of type t have the secret f.
func BelongsTo(f SecretField, t CredentialsType) bool {
	if _, ok := f.HeaderName(); ok {
		return t == CredentialsOAuth || t == CredentialsCustom
	}
	switch f {
	case FieldPassword:
		return t == CredentialsBasic || t == CredentialsOAuth
	case FieldSecretKey, FieldPreviousSecretKey:
		return t == CredentialsHMAC
	case FieldClientSecret, FieldRefreshToken:
		return t == CredentialsOAuth
	case FieldPrivateKey:
		return false // a certificate's
	}
	return false
}

// DropForeign clears what does not belong to the type of s, so that nothing of
// an earlier type stays behind.
func (s *Security) DropForeign() {
	if s.Type != CredentialsHMAC {
		s.Algorithm, s.HeaderName, s.Encoding = "", "", ""
		s.PreviousUntil = Security{}.PreviousUntil
	}
	if s.Type != CredentialsOAuth {
		s.TokenURL, s.GrantType, s.ClientID, s.Scope, s.Resource = "", "", "", "", ""
		if s.Type != CredentialsBasic {
			s.Username = ""
		}
	}
	maps.DeleteFunc(s.Secrets, func(f SecretField, _ Sealed) bool { return !BelongsTo(f, s.Type) })
}

func secretFields(s Security, plain map[SecretField]Secret) []SecretField {
	all := map[SecretField]bool{}
	for f := range s.Secrets {
		all[f] = true
	}
	for f, x := range plain {
		all[f] = !x.IsZero() || strings.HasPrefix(string(f), "header:")
	}
	maps.DeleteFunc(all, func(_ SecretField, keep bool) bool { return !keep })
	return slices.Sorted(maps.Keys(all))
}

func secretHeaders(s Security, plain map[SecretField]Secret) []string {
	var names []string
	for _, f := range secretFields(s, plain) {
		if name, ok := strings.CutPrefix(string(f), "header:"); ok {
			names = append(names, name)
		}
	}
	return names
}

// CheckURL says what is wrong with the shape of a webhook or token URL of at
// most maxLen characters, or "": absolute, http or https, with a host, without
// user information and fragment. Whether it may be dialled is for the dialer.
func CheckURL(raw string, maxLen int) string {
	if msg := CheckText(raw, 1, maxLen); msg != "" {
		return msg
	}
	if strings.ContainsAny(raw, " \\") {
		return "must not contain spaces or backslashes"
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "must be a URL" // the parser's text repeats the URL
	case u.Scheme != "http" && u.Scheme != "https":
		return "must begin with https:// or http://"
	case u.Opaque != "" || u.Hostname() == "":
		return "must name a host"
	case u.User != nil:
		return "must not contain a user name or password: use security settings"
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return "must not contain a fragment"
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "must name a port between 1 and 65535"
		}
	}
	return ""
}

func checkContentType(s string) string {
	if s == "" {
		return ""
	}
	if msg := CheckText(s, 1, MaxTextLength); msg != "" {
		return msg
	}
	if t, _, err := mime.ParseMediaType(s); err != nil || t != "application/json" && t != "application/xml" {
		return "must be application/json or application/xml"
	}
	return ""
}

func checkRegex(s string) string {
	if s == "" {
		return ""
	}
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > MaxRegexLength {
		return "must be at most " + strconv.Itoa(MaxRegexLength) + " characters long"
	}
	if _, err := regexp.Compile(s); err != nil {
		return "must be a regular expression in RE2 syntax"
	}
	return ""
}

// reservedHeaders are set by belfry or by HTTP itself.
var reservedHeaders = map[string]bool{
	"connection": true, "content-length": true, "content-type": true, "host": true, "keep-alive": true, "proxy-connection": true,
	"te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
	"webhook-id": true, "webhook-timestamp": true, "webhook-signature": true,
}

func checkHeaderName(name string) string {
	if name == "" || len(name) > MaxHeaderName {
		return fmt.Sprintf("the name of a header must be between 1 and %d characters long", MaxHeaderName)
	}
	for i := range len(name) {
		if !tokenByte(name[i]) {
			return "the name of a header may hold letters, digits and !#$%&'*+-.^_`|~ only"
		}
	}
	if reservedHeaders[strings.ToLower(name)] {
		return "this header is set by belfry and cannot be configured"
	}
	return ""
}

// tokenByte follows RFC 9110, section 5.6.2.
func tokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func checkHeaderValue(s string) string {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > MaxHeaderValue {
		return fmt.Sprintf("must be at most %d characters long", MaxHeaderValue)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }) {
		return "must not contain line breaks or control characters"
	}
	return ""
}

// headers checks sorted names and the values that value knows.
func (v *Violations) headers(at string, names []string, value func(string) (string, bool)) {
	if len(names) > MaxHeaders {
		v.Add(at, "must hold at most %d headers", MaxHeaders)
		return
	}
	seen := map[string]bool{}
	for _, name := range names {
		// The path repeats the name only when it is well-formed.
		if msg := checkHeaderName(name); msg != "" {
			v.Add(at, "%s: %q", msg, clip(name))
			continue
		}
		folded := strings.ToLower(name)
		if seen[folded] {
			v.Add(at+"."+name, "must not be named twice: names of headers do not depend on case")
		}
		seen[folded] = true
		if val, ok := value(name); ok {
			v.check(at+"."+name, checkHeaderValue(val))
		}
	}
}

// clip keeps what a message repeats of a request short.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most]
	}
	return s
}

func (v *Violations) check(field, msg string) {
	if msg != "" {
		v.Add(field, "%s", msg)
	}
}

func (v *Violations) listSize(field string, n int) bool {
	if n > MaxListItems {
		v.Add(field, "must hold at most %d items", MaxListItems)
		return false
	}
	return true
}

func (v *Violations) texts(p path, name string, list []string) {
	if !v.listSize(p.of(name), len(list)) {
		return
	}
	for i, s := range list {
		v.check(p.item(name, i), CheckText(s, 0, MaxTextLength))
	}
}

func (v *Violations) number(field string, n, lo, hi int) {
	if n != 0 && (n < lo || n > hi) {
		v.Add(field, "must be between %d and %d", lo, hi)
	}
}

// path is the JSON path of an object, "" for the top.
type path string

func (p path) of(name string) string {
	if p == "" {
		return name
	}
	return strings.TrimSuffix(string(p), ".") + "." + name
}

func (p path) item(name string, i int) string { return p.of(name) + "[" + strconv.Itoa(i) + "]" }

func joined[T ~string](list []T) string {
	s := make([]string, len(list))
	for i, x := range list {
		s[i] = string(x)
	}
	return strings.Join(s, ", ")
}
