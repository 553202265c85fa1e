package webhook

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/dispatchtest"
	"example.com/belfry/fsm/model"
)

// The order of precedence: profile, dispatcher, belfry, security setting.
func TestSend_headers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newMemory(t)
		s := newSender(t, r, func(o *SenderOptions) { o.UserAgent = "belfry/1.2" })
		d := destination(r)
		d.ContentType = "application/xml"
		d.Headers = map[string]string{
			"x-env": "prod", "X-Both": "profile", "Authorization": "profile", "Accept": "text/plain",
			"Host": "elsewhere.example", "Content-Length": "3", "content-type": "text/html", "Transfer-Encoding": "chunked", "Connection": "close",
			"Keep-Alive": "x", "TE": "trailers", "Trailer": "X-T", "Upgrade": "h2c", "Proxy-Authorization": "x", "Expect": "100-continue",
			"Webhook-Id": "forged", "webhook-timestamp": "0", "WEBHOOK-SIGNATURE": "v1,forged", "webhook-x": "forged", "x-ib-hmac-signature": "forged",
		}
		req := request(d)
		req.Headers = map[string]string{
			"X-Both": "dispatcher", "Belfry-Event": "DELIVERY", "webhook-id": "forged", "Host": "elsewhere.example", "X-Ib-Hmac-Signature": "forged",
		}
		wantClass(t, s.Send(t.Context(), req), ClassOK)
		got := r.Next(t)
		want := map[string][]string{
			"X-Env": {"prod"}, "X-Both": {"dispatcher"}, "Authorization": {"profile"}, "Accept": {"text/plain"}, "Belfry-Event": {"DELIVERY"},
			"Content-Type": {"application/xml"}, "Content-Length": {strconv.Itoa(len(req.Body))}, "User-Agent": {"belfry/1.2"},
			"Webhook-Id": {testWebhookID}, "Webhook-Timestamp": {strconv.FormatInt(time.Now().Unix(), 10)},
		}
		if diff := cmp.Diff(want, map[string][]string(got.Header)); diff != "" {
			t.Errorf("headers (-want +got):\n%s", diff)
		}
		if got.Method != http.MethodPost || got.Path != "/in" || got.Host != dispatchtest.MemoryAddress || string(got.Body) != string(req.Body) {
			t.Errorf("got %s %s at %s: %q", got.Method, got.Path, got.Host, got.Body)
		}

		// A profile may name its own user agent; no content type is the default one.
		d.ContentType, d.Headers = "", map[string]string{"User-Agent": "acme"}
		wantClass(t, send(t, s, d), ClassOK)
		got = r.Next(t)
		if got.Header.Get("User-Agent") != "acme" || got.Header.Get("Content-Type") != model.DefaultContentType {
			t.Errorf("got %v", got.Header)
		}

		// The timestamp is that of the attempt.
		time.Sleep(time.Hour)
		wantClass(t, send(t, s, d), ClassOK)
		if ts := r.Next(t).Header.Get(headerTimestamp); ts != strconv.FormatInt(time.Now().Unix(), 10) {
			t.Errorf("timestamp %s", ts)
		}
	})
}

func TestSend_credentials(t *testing.T) {
	t.Parallel()
	secret := model.NewSecret
	for _, tt := range []struct {
		name    string
		auth    Auth
		options func(*SenderOptions)
		want    map[string]string // header → beginning of its value
		absent  []string
	}{
		{
			name: "basic", auth: Auth{Type: model.CredentialsBasic, Username: "ana", Password: secret("s3:cret")},
			want: map[string]string{"Authorization": "Basic YW5hOnMzOmNyZXQ="}, absent: []string{"X-Ib-Hmac-Signature", "Webhook-Signature"},
		},
		{
			name: "hmac", auth: Auth{Type: model.CredentialsHMAC, SecretKey: secret("key"), Algorithm: model.HMACSHA256},
			want: map[string]string{
				"Authorization":       "profile",
				"X-Ib-Hmac-Signature": "SHA256=caf17dd3bac4c4ef83a63c8c0abf30ee3b3fd0a5d0b1e5e1a0a7f1b4", "Webhook-Signature": "v1,",
			},
		},
		{
			name: "hmac of the setting", auth: Auth{Type: model.CredentialsHMAC, SecretKey: secret("key"), Algorithm: model.HMACMD5, HeaderName: "x-hub-signature", Encoding: "base64"},
			want: map[string]string{"X-Hub-Signature": "MD5=", "Webhook-Signature": "v1,"}, absent: []string{"X-Ib-Hmac-Signature"},
		},
		{
			name: "hmac of the node", auth: Auth{Type: model.CredentialsHMAC, SecretKey: secret("key"), Algorithm: model.HMACSHA512},
			options: func(o *SenderOptions) { o.HMACHeader, o.HMACEncoding = "x-node-signature", "base64" },
			want:    map[string]string{"X-Node-Signature": "SHA512="}, absent: []string{"X-Ib-Hmac-Signature"},
		},
		{
			name: "custom", auth: Auth{Type: model.CredentialsCustom, Headers: map[string]model.Secret{"x-api-key": secret("k"), "authorization": secret("ApiKey k")}},
			want: map[string]string{"X-Api-Key": "k", "Authorization": "ApiKey k"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newMemory(t)
				s := newSender(t, r, func(o *SenderOptions) {
					if tt.options != nil {
						tt.options(o)
					}
				})
				d := destination(r)
				d.Headers = map[string]string{"Authorization": "profile", "X-Hub-Signature": "forged", "X-Node-Signature": "forged", "X-Api-Key": "profile"}
				if tt.name == "custom" || tt.name == "basic" || tt.name == "hmac" {
					delete(d.Headers, "X-Hub-Signature")
				}
				d.Auth = &tt.auth
				wantClass(t, send(t, s, d), ClassOK)
				got := r.Next(t)
				for name, want := range tt.want {
					if tt.name == "hmac" && name == "X-Ib-Hmac-Signature" {
						want, _ = bodySignature(model.HMACSHA256, "hex", secret("key"), got.Body)
					}
					if v := got.Header.Values(name); len(v) != 1 || !strings.HasPrefix(v[0], want) {
						t.Errorf("%s: %q, want %q", name, v, want)
					}
				}
				for _, name := range tt.absent {
					if v := got.Header.Values(name); len(v) > 0 {
						t.Errorf("%s: %q", name, v)
					}
				}
			})
		})
	}
}

// INV webhook-3: nothing goes out without the credentials that were asked for.
func TestSend_failsClosed(t *testing.T) {
	t.Parallel()
	r := newMemory(t)
	s := newSender(t, r)
	secret := model.NewSecret
	headers := func(name, value string) map[string]model.Secret { return map[string]model.Secret{name: secret(value)} }
	for name, a := range map[string]Auth{
		"no type":               {},
		"unknown type":          {Type: "KERBEROS"},
		"basic, no password":    {Type: model.CredentialsBasic, Username: "u"},
		"basic, no name":        {Type: model.CredentialsBasic, Password: secret("p")},
		"basic, colon":          {Type: model.CredentialsBasic, Username: "u:v", Password: secret("p")},
		"hmac, no key":          {Type: model.CredentialsHMAC, Algorithm: model.HMACSHA256},
		"hmac, only previous":   {Type: model.CredentialsHMAC, Algorithm: model.HMACSHA256, PreviousSecretKey: secret("p"), PreviousUntil: time.Now().Add(time.Hour)},
		"hmac, no algorithm":    {Type: model.CredentialsHMAC, SecretKey: secret("k")},
		"hmac, encoding":        {Type: model.CredentialsHMAC, SecretKey: secret("k"), Algorithm: model.HMACSHA256, Encoding: "rot13"},
		"hmac, whsec":           {Type: model.CredentialsHMAC, SecretKey: secret("whsec_!"), Algorithm: model.HMACSHA256},
		"hmac, reserved header": {Type: model.CredentialsHMAC, SecretKey: secret("k"), Algorithm: model.HMACSHA256, HeaderName: "Host"},
		"hmac, broken header":   {Type: model.CredentialsHMAC, SecretKey: secret("k"), Algorithm: model.HMACSHA256, HeaderName: "X Y"},
		"custom, none":          {Type: model.CredentialsCustom},
		"custom, empty":         {Type: model.CredentialsCustom, Headers: headers("X-Key", "")},
		"custom, line break":    {Type: model.CredentialsCustom, Headers: headers("X-Key", "a\r\nX-Other: b")},
		"custom, name":          {Type: model.CredentialsCustom, Headers: headers("X:Key", "a")},
		"custom, reserved":      {Type: model.CredentialsCustom, Headers: headers("webhook-id", "a")},
		"oauth, no grant":       {Type: model.CredentialsOAuth, TokenURL: r.URL},
		"oauth, no URL":         {Type: model.CredentialsOAuth, GrantType: model.GrantClientCredentials},
		"oauth, no password":    {Type: model.CredentialsOAuth, TokenURL: r.URL, GrantType: model.GrantPassword, Username: "u"},
		"oauth, no name":        {Type: model.CredentialsOAuth, TokenURL: r.URL, GrantType: model.GrantPassword, Password: secret("p")},
		"oauth, no refresh":     {Type: model.CredentialsOAuth, TokenURL: r.URL, GrantType: model.GrantRefreshToken},
		"oauth, header":         {Type: model.CredentialsOAuth, TokenURL: r.URL, GrantType: model.GrantClientCredentials, Headers: headers("X", "\n")},
	} {
		d := destination(r)
		d.Auth = &a
		if res := send(t, s, d); res.Class != ClassAuth || res.StatusCode != 0 || res.Error == "" {
			t.Errorf("%s: %+v", name, res)
		}
	}

	// What is configured and cannot be sent, beside credentials.
	for name, change := range map[string]func(*Request){
		"header name":     func(r *Request) { r.Destination.Headers = map[string]string{"X Y": "a"} },
		"no header name":  func(r *Request) { r.Destination.Headers = map[string]string{"": "a"} },
		"header value":    func(r *Request) { r.Headers = map[string]string{"X-Y": "a\x00b"} },
		"content type":    func(r *Request) { r.Destination.ContentType = "a\nb" },
		"webhook id":      func(r *Request) { r.WebhookID = "a\r\nb" },
		"response regex":  func(r *Request) { r.Destination.ResponseRegex = "(" },
		"body regex":      func(r *Request) { r.Destination.ResponseBodyRegex = "[" },
		"versions of TLS": func(r *Request) { r.Destination.MinTLS, r.Destination.MaxTLS = 0x0304, 0x0303 },
		"old TLS only":    func(r *Request) { r.Destination.MaxTLS = 0x0302 },
		"no destination":  func(r *Request) { r.Destination = nil },
	} {
		req := request(destination(r))
		change(req)
		if res := s.Send(t.Context(), req); res.Class != ClassTemporary || res.StatusCode != 0 || res.Error == "" {
			t.Errorf("%s: %+v", name, res)
		}
	}
	if got := r.Arrivals(); len(got) > 0 {
		t.Errorf("%d requests were sent", len(got))
	}
}

func TestNewSender_refuses(t *testing.T) {
	t.Parallel()
	g := newGuard(t, GuardOptions{})
	for name, o := range map[string]SenderOptions{
		"no guard":        {},
		"header":          {Guard: g, HMACHeader: "X Y"},
		"reserved header": {Guard: g, HMACHeader: "webhook-signature"},
		"encoding":        {Guard: g, HMACEncoding: "base32"},
		"user agent":      {Guard: g, UserAgent: "a\nb"},
		"transports":      {Guard: g, MaxTransports: -1},
		"tokens":          {Guard: g, MaxTokens: -1},
		"duration":        {Guard: g, MaxAttemptDuration: -1},
	} {
		if _, err := NewSender(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
