package webhook

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// INV webhook-12: what went out is shown, but for credentials, whoever set
// them; what came back is shown without what names itself a secret.
func TestSend_showsHeaders(t *testing.T) {
	t.Parallel()
	secret := model.NewSecret
	for _, tt := range []struct {
		name    string
		auth    *Auth
		headers map[string]string
		answer  http.Header
		sent    map[string]string // beside those that all have; "": must be there, whatever it is
		got     map[string]string
	}{
		{
			name: "none", headers: map[string]string{"X-Tenant": "blue", "X-Api-Key": "k", "Cookie": "a=b", "Authorization": "App 0123456789"},
			answer: http.Header{"X-Request-Id": {"r-1"}, "Set-Cookie": {"sid=1"}, "X-Auth-Token": {"t"}, "Www-Authenticate": {`Bearer error="invalid_token"`}, "Retry-After": {"3"}},
			sent:   map[string]string{"X-Tenant": "blue", "X-Api-Key": "***", "Cookie": "***", "Authorization": "***"},
			got:    map[string]string{"X-Request-Id": "r-1", "Set-Cookie": "***", "X-Auth-Token": "***", "Www-Authenticate": `Bearer error="invalid_token"`, "Retry-After": "3"},
		},
		{
			name: "basic", auth: &Auth{Type: model.CredentialsBasic, Username: "ana", Password: secret("open sesame")},
			headers: map[string]string{"X-Note": "she says open sesame"},
			answer:  http.Header{"X-Echo": {"you said open sesame", "and YW5hOm9wZW4gc2VzYW1l"}, "Server": {"nginx"}},
			sent:    map[string]string{"Authorization": "Basic ***", "X-Note": "she says ***"},
			got:     map[string]string{"X-Echo": "you said ***|and ***", "Server": "nginx"},
		},
		{
			name: "secret that is a common value", auth: &Auth{Type: model.CredentialsBasic, Username: "ana", Password: secret("nginx")},
			answer: http.Header{"Server": {"nginx"}},
			sent:   map[string]string{"Authorization": "Basic ***"}, got: map[string]string{"Server": "***"},
		},
		{
			name: "hmac", auth: &Auth{Type: model.CredentialsHMAC, SecretKey: secret("a key of ours"), Algorithm: model.HMACSHA256, HeaderName: "x-my-signature"},
			sent: map[string]string{"X-My-Signature": "", "Webhook-Signature": ""},
		},
		{
			name: "custom", auth: &Auth{Type: model.CredentialsCustom, Headers: map[string]model.Secret{"x-who": secret("value of a setting"), "authorization": secret("Bearer of it")}},
			answer: http.Header{"X-Who": {"value of a setting"}},
			sent:   map[string]string{"X-Who": "***", "Authorization": "Bearer ***"}, got: map[string]string{"X-Who": "***"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newMemory(t)
				r.Always(answerOf{Status: 500, Header: tt.answer})
				s := newSender(t, r)
				d := destination(r)
				d.Auth, d.Headers = tt.auth, tt.headers
				q := request(d)
				q.Headers = map[string]string{"Belfry-Channel": "SMS"}
				res := s.Send(t.Context(), q)
				arrived := r.Arrivals()[0].Header
				want := map[string]string{"Belfry-Channel": "SMS", "Content-Type": "application/json", "User-Agent": "belfry", "Webhook-Id": testWebhookID, "Webhook-Timestamp": arrived.Get("Webhook-Timestamp")}
				for name, value := range tt.sent {
					if value == "" {
						value = arrived.Get(name)
					}
					want[name] = value
				}
				if diff := cmp.Diff(want, fieldsOf(t, res.RequestHeaders)); diff != "" {
					t.Errorf("request (-want +got):\n%s", diff)
				}
				got := fieldsOf(t, res.ResponseHeaders)
				for _, name := range []string{"Date", "Content-Length", "Connection", "Content-Type"} { // of the receiver itself
					delete(got, name)
				}
				if diff := cmp.Diff(tt.got, got); diff != "" && len(tt.got)+len(got) > 0 {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
				if res.HeadersCut {
					t.Error("cut")
				}
			})
		})
	}
}

// fieldsOf checks the order and joins the values of a name.
func fieldsOf(t *testing.T, fs []event.HeaderField) map[string]string {
	t.Helper()
	if !slices.IsSortedFunc(fs, func(a, b event.HeaderField) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("not by name: %v", fs)
	}
	out := map[string]string{}
	for _, f := range fs {
		if had, more := out[f.Name]; more {
			f.Value = had + "|" + f.Value
		}
		out[f.Name] = f.Value
	}
	return out
}

// Where nothing was sent there are no headers; where nothing came back those of
// the request are there.
func TestSend_showsHeadersOfFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newMemory(t)
		r.Always(answerOf{Close: true})
		s := newSender(t, r)
		res := send(t, s, destination(r))
		if len(res.RequestHeaders) == 0 || res.ResponseHeaders != nil {
			t.Errorf("closed: %v, %v", res.RequestHeaders, res.ResponseHeaders)
		}
		d := destination(r)
		d.URL = "https://127.0.0.1/"
		if res := send(t, s, d); res.Class != ClassBlocked || res.RequestHeaders != nil {
			t.Errorf("blocked: %+v", res)
		}
	})
}

// The limits of number and of bytes, at them and above.
func TestShown_bounded(t *testing.T) {
	t.Parallel()
	plain := func(_, value string) string { return value }
	many := http.Header{"A": slices.Repeat([]string{"x"}, event.MaxHeaders)}
	if out, cut := shown(many, plain); len(out) != event.MaxHeaders || cut {
		t.Errorf("at the limit: %d, %v", len(out), cut)
	}
	many["A"] = append(many["A"], "x")
	if out, cut := shown(many, plain); len(out) != event.MaxHeaders || !cut {
		t.Errorf("above: %d, %v", len(out), cut)
	}
	big := http.Header{"A": {strings.Repeat("x", event.MaxHeaderBytes-1-2)}, "B": {"y"}}
	if out, cut := shown(big, plain); len(out) != 2 || cut {
		t.Errorf("at the limit of bytes: %d, %v", len(out), cut)
	}
	big["A"][0] += "x"
	if out, cut := shown(big, plain); len(out) != 1 || !cut {
		t.Errorf("above: %v, %v", out, cut)
	}
	big["A"][0] += strings.Repeat("x", event.MaxHeaderBytes) // what is too long makes room for what follows
	if out, cut := shown(big, plain); len(out) != 1 || out[0].Name != "B" || !cut {
		t.Errorf("too long by itself: %v, %v", out, cut)
	}
	if out, cut := shown(http.Header{"A": {strings.Repeat("\xffa", event.MaxHeaderBytes/3), "\xffx"}}, plain); !cut || len(out) != 1 || out[0].Value != "\uFFFDx" {
		t.Errorf("what is not UTF-8: %d, %v", len(out), cut)
	}
}

func BenchmarkShowHeaders(b *testing.B) {
	s := &Sender{hmacHeader: "X-Ib-Hmac-Signature"}
	auth := &Auth{Type: model.CredentialsBasic, Username: "ana", Password: model.NewSecret("correct horse battery staple")}
	r := &Request{Destination: &Destination{Auth: auth}, Headers: map[string]string{"Belfry-Channel": "SMS"}}
	sent := http.Header{"Authorization": {"Basic x"}, "Content-Type": {"application/json"}, "User-Agent": {"belfry"}, "Webhook-Id": {testWebhookID}, "Webhook-Timestamp": {"1767607200"}, "Belfry-Channel": {"SMS"}}
	date := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Format(http.TimeFormat)
	for name, got := range map[string]http.Header{
		"common": {"Date": {date}, "Content-Length": {"2"}, "Content-Type": {"text/plain; charset=utf-8"}},
		"others": {"Date": {date}, "Content-Length": {"2"}, "X-Request-Id": {"0192f0c5-7d0e-7000-8000-000000000001"}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var res Result
				s.showHeaders(&res, r, sent, got, newMasker(secretsOf(auth, model.Secret{}, sent)))
			}
		})
	}
}
