package model

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func fields(check func(*Violations)) string {
	var v Violations
	check(&v)
	var names []string
	for _, f := range v.list {
		names = append(names, f.Field)
	}
	return strings.Join(names, " ")
}

func times[T any](n int, x T) []T {
	list := make([]T, n)
	for i := range list {
		list[i] = x
	}
	return list
}

func TestValidateSubscription(t *testing.T) {
	t.Parallel()
	long, longer := strings.Repeat("é", MaxTextLength), strings.Repeat("é", MaxTextLength+1)
	for _, c := range []struct {
		name string
		edit func(*Subscription)
		want string
	}{
		{"minimal", func(*Subscription) {}, ""},
		{"everything at its limit", func(s *Subscription) {
			s.Name, s.ID, s.ProfileID = long, strings.Repeat("i", MaxIDLength), strings.Repeat("p", MaxIDLength)
			s.Events = times(MaxListItems, EventRef{Event: "DELIVERY", Format: long})
			s.Criteria = times(MaxListItems, Criterion{long, long, long})
			s.Resources, s.Users = times(MaxListItems, long), times(MaxListItems, "")
		}, ""},
		{"lists one above", func(s *Subscription) {
			s.Events, s.Criteria = times(MaxListItems+1, EventRef{Event: "CLICK"}), times(MaxListItems+1, Criterion{})
			s.Resources, s.Users = times(MaxListItems+1, "r"), times(MaxListItems+1, "u")
		}, "p.events p.criteria p.resources p.users"},
		{"texts one above", func(s *Subscription) {
			s.Name, s.ID, s.ProfileID = longer, strings.Repeat("i", MaxIDLength+1), "a/b"
			s.Events = []EventRef{{Event: "CLICK"}, {Event: longer}, {Event: "CLICK", Format: longer}, {}}
			s.Criteria = []Criterion{{}, {longer, "\n", longer}}
			s.Resources, s.Users = []string{"", longer}, []string{"a\x00"}
		}, "p.subscriptionId p.name p.profile.profileId p.events[1] p.events[2].format p.events[3] p.criteria[1].applicationId p.criteria[1].entityId p.criteria[1].callsConfigurationId p.resources[1] p.users[0]"},
		{"unknown channel", func(s *Subscription) { s.Channel = "FAX" }, "p.channel"},
		{"format where there is none", func(s *Subscription) { s.Channel, s.Events = "EMAIL", []EventRef{{Event: "OPEN", Format: "f"}} }, "p.events[0]"},
	} {
		s := Subscription{Channel: "SMS", ID: "x"}
		c.edit(&s)
		if got := fields(func(v *Violations) { ValidateSubscription(s, "p", v) }); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestValidateProfile(t *testing.T) {
	t.Parallel()
	headers := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("X-", i)] = "v"
		}
		return m
	}
	for _, c := range []struct {
		name string
		edit func(*Profile)
		want string
	}{
		{"minimal", func(*Profile) {}, ""},
		{"lowest", func(p *Profile) {
			p.MaxBucketSize, p.WindowSize, p.ConnectTimeoutMs, p.ReadTimeoutMs, p.RateLimit = 1, 20, 300, 1000, 1
		}, ""},
		{"below", func(p *Profile) {
			p.MaxBucketSize, p.WindowSize, p.ConnectTimeoutMs, p.ReadTimeoutMs, p.RateLimit = -1, 19, 299, 999, -1
		}, "maxBucketSize windowSize connectTimeout readTimeout rateLimit"},
		{"highest", func(p *Profile) {
			p.MaxBucketSize, p.WindowSize, p.ConnectTimeoutMs, p.ReadTimeoutMs, p.RateLimit = 2000, 10000, 30000, 90000, 5000
		}, ""},
		{"above", func(p *Profile) {
			p.MaxBucketSize, p.WindowSize, p.ConnectTimeoutMs, p.ReadTimeoutMs, p.RateLimit = 2001, 10001, 30001, 90001, 5001
		}, "maxBucketSize windowSize connectTimeout readTimeout rateLimit"},
		{"ids and types", func(p *Profile) {
			p.ID, p.SecurityID, p.CertificateID, p.ContentType, p.Ordering = "", "a b", "é", "text/plain", "SOME"
		}, "profileId webhook.contentType security.authId clientCertificateId ordering"},
		{"content types", func(p *Profile) { p.ContentType = "application/xml; charset=utf-8" }, ""},
		{"protocols", func(p *Profile) { p.EnabledSSLProtocols = []string{"TLSv1.2", "TLSv1.1", "TLSv1.3", "TLSv1.2"} }, "enabledSSLProtocols[1] enabledSSLProtocols[3]"},
		{"headers at the limit", func(p *Profile) {
			p.Headers = headers(MaxHeaders - 1)
			p.Headers["Authorization"] = strings.Repeat("é", MaxHeaderValue)
		}, ""},
		{"headers above", func(p *Profile) { p.Headers = headers(MaxHeaders + 1) }, "headers"},
		{"bad headers", func(p *Profile) {
			p.Headers = map[string]string{"X A": "v", "X-B": "a\r\nX: y", "x-b": "v", "Content-Length": "1", "X-C": strings.Repeat("v", MaxHeaderValue+1), "X-D": "a\tb"}
		}, "headers headers headers.X-B headers.X-C headers.x-b"},
		{"regexes", func(p *Profile) { p.ResponseRegex, p.ResponseBodyRegex = strings.Repeat("a", MaxRegexLength), "(" }, "responseBodyRegex"},
		{"long regex", func(p *Profile) { p.ResponseRegex = strings.Repeat("a", MaxRegexLength+1) }, "responseRegex"},
		{"retry", func(p *Profile) {
			p.Retry = &Retry{Policy: RetryCustom, Schedule: times(MaxRetrySchedule, int64(MaxRetryWait)), MaxAttempts: MaxRetryAttempts, MaxAgeSeconds: MaxRetryAge}
		}, ""},
		{"retry above", func(p *Profile) {
			p.Retry = &Retry{Policy: RetryCustom, Schedule: []int64{1, 0, MaxRetryWait + 1}, MaxAttempts: MaxRetryAttempts + 1, MaxAgeSeconds: MaxRetryAge + 1}
		}, "retry.schedule[1] retry.schedule[2] retry.maxAttempts retry.maxAge"},
		{"retry schedule", func(p *Profile) {
			p.Retry = &Retry{Policy: RetryCustom, Schedule: times(MaxRetrySchedule+1, int64(1))}
		}, "retry.schedule"},
		{"retry of a fixed policy", func(p *Profile) { p.Retry = &Retry{Policy: RetryInfobip, Schedule: []int64{1}} }, "retry.schedule"},
		{"retry without policy", func(p *Profile) { p.Retry = &Retry{} }, "retry.policy"},
	} {
		p := Profile{ID: "p", URL: "https://hooks.example.test/"}
		c.edit(&p)
		if got := fields(func(v *Violations) { ValidateProfile(p, "", v) }); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestValidateSecurity(t *testing.T) {
	t.Parallel()
	type secrets = map[SecretField]Secret
	long := NewSecret(strings.Repeat("é", MaxTextLength))
	over := NewSecret(strings.Repeat("c", MaxTextLength) + "anary")
	for _, c := range []struct {
		name  string
		s     Security
		plain secrets
		want  string
	}{
		{"basic", Security{Type: CredentialsBasic, Username: "u"}, secrets{FieldPassword: long}, ""},
		{"basic, too long", Security{Type: CredentialsBasic, Username: "u:v"}, secrets{FieldPassword: over}, "s.credentials.username s.credentials.password"},
		{"basic, nothing", Security{Type: CredentialsBasic}, nil, "s.credentials.username s.credentials.password"},
		{"basic, sealed", Security{Type: CredentialsBasic, Username: "u", Secrets: map[SecretField]Sealed{FieldPassword: Sealed("x")}}, nil, ""},
		{"basic, foreign", Security{Type: CredentialsBasic, Username: "u"}, secrets{FieldPassword: long, FieldSecretKey: long, "header:X": long}, "s.credentials.secretKey s.credentials.headers"},
		{"hmac", Security{Type: CredentialsHMAC, Algorithm: HMACSHA512, HeaderName: "X-Sig", Encoding: "base64"}, secrets{FieldSecretKey: long}, ""},
		{"hmac, bad", Security{Type: CredentialsHMAC, Algorithm: "HMAC_SHA_3", HeaderName: "X Sig", Encoding: "rot13"}, nil, "s.credentials.secretKey s.credentials.algorithm s.credentials.headerName s.credentials.encoding"},
		{"hmac, previous without end", Security{Type: CredentialsHMAC, Algorithm: HMACMD5}, secrets{FieldSecretKey: long, FieldPreviousSecretKey: long}, "s.credentials.previousSecretKeyValidUntil"},
		{"hmac, previous", Security{Type: CredentialsHMAC, Algorithm: HMACMD5, PreviousUntil: time.Unix(1, 0)}, secrets{FieldSecretKey: long, FieldPreviousSecretKey: long}, ""},
		{"oauth", Security{Type: CredentialsOAuth, TokenURL: "https://t.test/token", GrantType: GrantClientCredentials}, secrets{"header:X-A": long}, ""},
		{"oauth, bad", Security{Type: CredentialsOAuth, TokenURL: "ftp://t.test", GrantType: "magic"}, nil, "s.credentials.tokenUrl s.credentials.grantType"},
		{"oauth, password", Security{Type: CredentialsOAuth, TokenURL: "https://t.test/", GrantType: GrantPassword}, nil, "s.credentials.username s.credentials.password"},
		{"oauth, refresh", Security{Type: CredentialsOAuth, TokenURL: "https://t.test/", GrantType: GrantRefreshToken}, nil, "s.credentials.refreshToken"},
		{"custom", Security{Type: CredentialsCustom}, secrets{"header:X-Api-Key": long}, ""},
		{"custom, none", Security{Type: CredentialsCustom}, nil, "s.credentials.headers"},
		{"custom, line break", Security{Type: CredentialsCustom}, secrets{"header:X-A": NewSecret("canary\r\n")}, "s.credentials.headers.X-A"},
		{"no type", Security{}, nil, "s.type"},
	} {
		c.s.ID = "x"
		var v Violations
		ValidateSecurity(c.s, c.plain, "s", &v)
		if got := fields(func(v *Violations) { ValidateSecurity(c.s, c.plain, "s", v) }); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if strings.Contains(fmt.Sprint(v.list), "anary") {
			t.Errorf("%s: a message repeats a secret: %v", c.name, v.list)
		}
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	base := "https://h.test/"
	for raw, ok := range map[string]bool{
		base: true, "http://127.0.0.1:8080/x?y=z": true, "https://[2001:db8::1]:443": true, "HTTPS://H.test": true,
		base + strings.Repeat("a", MaxURLLength-len(base)): true, base + strings.Repeat("a", MaxURLLength-len(base)+1): false,
		"": false, "h.test/x": false, "//h.test": false, "/x": false, "ftp://h.test": false, "https:": false, "https://": false, "https://:80": false,
		"https:h.test": false, "https://u@h.test": false, "https://u:p@h.test": false, "https://h.test/#f": false, "https://h.test/#": false,
		"https://h.test:": false, "https://h.test:0": false, "https://h.test:65536": false, "https://h.test:x": false,
		"https://h.test/a b": false, "https://h.test\\x": false, "https://h.test/\n": false, "https://[::1": false, "https://h.test/%zz": false, "\xff": false,
	} {
		if msg := CheckURL(raw, MaxURLLength); (msg == "") != ok {
			t.Errorf("%.60q: got %q, valid: %t", raw, msg, ok)
		}
	}
}
