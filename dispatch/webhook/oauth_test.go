package webhook

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"example.com/belfry/dispatch/dispatchtest"
	"example.com/belfry/fsm/model"
)

// issuer is a receiver whose path /token issues tokens t1, t2, ….
type issuer struct {
	*dispatchtest.Receiver
	t *testing.T // of the bubble
	n int
}

func (i *issuer) issue(extra string) {
	i.n++
	i.On("/token", answerOf{Body: fmt.Appendf(nil, `{"access_token":"t%d","token_type":"Bearer"%s}`, i.n, extra)})
}

// requests returns how many token requests and deliveries came, and the token
// of the last delivery.
func (i *issuer) requests() (tokens, deliveries int, bearer string) {
	for _, a := range i.Arrivals() {
		if strings.HasPrefix(a.Path, "/token") {
			tokens++
			continue
		}
		deliveries++
		bearer = strings.TrimPrefix(a.Header.Get("Authorization"), "Bearer ")
	}
	return tokens, deliveries, bearer
}

func (i *issuer) want(tb testing.TB, tokens, deliveries int, bearer string) {
	tb.Helper()
	if a, b, c := i.requests(); a != tokens || b != deliveries || c != bearer {
		tb.Fatalf("%d token requests, %d deliveries, the last with %q; want %d, %d, %q", a, b, c, tokens, deliveries, bearer)
	}
}

func (i *issuer) destination() *Destination {
	d := destination(i.Receiver)
	d.Auth = &Auth{Type: model.CredentialsOAuth, GrantType: model.GrantClientCredentials, TokenURL: i.URL + "/token?tenant=7", ClientID: "c", ClientSecret: model.NewSecret("s")}
	return d
}

func oauthTest(t *testing.T, f func(i *issuer, s *Sender), change ...func(*SenderOptions)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{Receiver: newMemory(t), t: t}
		i.issue(`,"expires_in":3600`)
		f(i, newSender(t, i.Receiver, change...))
	})
}

// What is given is sent.
func TestOAuth_request(t *testing.T) {
	t.Parallel()
	secret := model.NewSecret
	for grant, a := range map[string]Auth{
		"client_credentials": {ClientID: "c&d", ClientSecret: secret("s e"), Scope: "a b", Resource: "https://r.example/"},
		"password":           {ClientID: "c", Username: "u", Password: secret("p+ö")},
		"refresh_token":      {ClientID: "c", ClientSecret: secret("s"), RefreshToken: secret("r")},
	} {
		t.Run(grant, func(t *testing.T) {
			t.Parallel()
			oauthTest(t, func(i *issuer, s *Sender) {
				t := i.t
				d := i.destination()
				a.Type, a.GrantType, a.TokenURL = d.Auth.Type, grant, d.Auth.TokenURL
				a.Headers = map[string]model.Secret{"x-tenant": secret("7"), "Accept": secret("application/json;v=2"), "Content-Type": secret("text/plain"), "Host": secret("x")}
				d.Auth = &a
				d.Headers = map[string]string{"Authorization": "profile", "X-Profile": "1"}
				wantClass(t, send(t, s, d), ClassOK)
				i.want(t, 1, 1, "t1")
				got := i.Arrivals()[0]
				want := url.Values{"grant_type": {grant}}
				for name, v := range map[string]string{
					"client_id": a.ClientID, "client_secret": a.ClientSecret.Reveal(), "scope": a.Scope, "resource": a.Resource,
					"username": a.Username, "password": a.Password.Reveal(), "refresh_token": a.RefreshToken.Reveal(),
				} {
					if v != "" {
						want.Set(name, v)
					}
				}
				form, err := url.ParseQuery(string(got.Body))
				if diff := cmp.Diff(want, form); err != nil || diff != "" {
					t.Errorf("form (-want +got): %v\n%s", err, diff)
				}
				delete(got.Header, "Content-Length")
				if diff := cmp.Diff(http.Header{
					"Accept": {"application/json;v=2"}, "Content-Type": {"application/x-www-form-urlencoded"}, "User-Agent": {"belfry"}, "X-Tenant": {"7"},
				}, got.Header); diff != "" {
					t.Errorf("headers (-want +got):\n%s", diff)
				}
				if got.Method != http.MethodPost || got.Path != "/token?tenant=7" {
					t.Errorf("%s %s", got.Method, got.Path)
				}
			})
		})
	}
}

// A token is used again, renewed at 80 % of its life, and used to its end when
// it cannot be renewed.
func TestOAuth_life(t *testing.T) {
	t.Parallel()
	oauthTest(t, func(i *issuer, s *Sender) {
		t := i.t
		d := i.destination()
		try := func(tokens, deliveries int, bearer string) {
			t.Helper()
			wantClass(t, send(t, s, d), ClassOK)
			i.want(t, tokens, deliveries, bearer)
		}
		try(1, 1, "t1")
		i.issue(`,"expires_in":"100"`)
		time.Sleep(2880*time.Second - 1)
		try(1, 2, "t1")
		time.Sleep(time.Nanosecond)
		try(2, 3, "t2")

		i.On("/token", answerOf{Status: 500})
		time.Sleep(80 * time.Second)
		try(3, 4, "t2")
		try(3, 5, "t2") // not asked again at once
		time.Sleep(minTokenBackoff)
		try(4, 6, "t2")
		time.Sleep(20*time.Second - minTokenBackoff)
		res := send(t, s, d)
		wantError(t, res, ClassAuth, "token request: the token endpoint answered 500")
		i.want(t, 5, 6, "t2")

		// Without expires_in it lives for five minutes.
		i.issue("")
		time.Sleep(maxTokenBackoff)
		try(6, 7, "t3")
		time.Sleep(4*time.Minute - 1)
		try(6, 8, "t3")
		time.Sleep(time.Nanosecond)
		try(7, 9, "t3")
	})
}

// INV webhook-10: one request for all who wait, and a token for each account
// and setting.
func TestOAuth_shared(t *testing.T) {
	t.Parallel()
	oauthTest(t, func(i *issuer, s *Sender) {
		t := i.t
		i.On("/token", answerOf{Delay: time.Second, Body: []byte(`{"access_token":"t1"}`)})
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() {
				d := i.destination()
				d.ProfileID, d.Version = fmt.Sprint(n), uint64(n)
				wantClass(t, send(t, s, d), ClassOK)
			})
		}
		wg.Wait()
		i.want(t, 1, 20, "t1")

		changes := []func(*Destination){
			func(d *Destination) { d.Account = "other" },
			func(d *Destination) { d.Auth.ClientSecret = model.NewSecret("s2") },
			func(d *Destination) { d.Auth.Scope = "x" },
			func(d *Destination) { d.Auth.ClientID, d.Auth.Scope = "cx", "" },
			func(d *Destination) { d.Auth.Headers = map[string]model.Secret{"X": model.NewSecret("1")} },
			func(d *Destination) { d.Auth.Headers = map[string]model.Secret{"X": model.NewSecret("2")} },
			func(d *Destination) { d.Auth.TokenURL = i.URL + "/token/2" },
		}
		for n, change := range changes {
			d := i.destination()
			change(d)
			i.On("/token/2", answerOf{Body: []byte(`{"access_token":"t1"}`)})
			wantClass(t, send(t, s, d), ClassOK)
			i.want(t, n+2, n+21, "t1")
		}
	})
}

// One who waits goes away; the others get their token.
func TestOAuth_cancelled(t *testing.T) {
	t.Parallel()
	oauthTest(t, func(i *issuer, s *Sender) {
		t := i.t
		i.On("/token", answerOf{Delay: 5 * time.Second, Body: []byte(`{"access_token":"t1"}`)})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		var wg sync.WaitGroup
		wg.Go(func() {
			wantError(t, s.Send(ctx, request(i.destination())), ClassAuth, "token request: the attempt was cut off")
		})
		synctest.Wait()
		wg.Go(func() { wantClass(t, send(t, s, i.destination()), ClassOK) })
		wg.Wait()
		i.want(t, 1, 1, "t1")
	})
}

// A token endpoint that hangs ends with tokenTimeout at the latest; the next
// attempts do not wait for it.
func TestOAuth_hangs(t *testing.T) {
	t.Parallel()
	oauthTest(t, func(i *issuer, s *Sender) {
		t := i.t
		i.On("/token", answerOf{Hang: true})
		d := i.destination()
		res := send(t, s, d)
		wantError(t, res, ClassAuth, "token request: timeout while waiting for an answer")
		if again := send(t, s, d); again.Error != res.Error || again.Duration != 0 {
			t.Errorf("the next one: %+v", again)
		}
		d.ReadTimeout = 90 * time.Second
		time.Sleep(time.Minute)
		res = send(t, s, d)
		wantError(t, res, ClassAuth, "token request: the attempt took too long")
		if res.Duration != tokenTimeout {
			t.Errorf("took %s", res.Duration)
		}
		i.want(t, 2, 0, "")
	})
}

func TestOAuth_backoff(t *testing.T) {
	t.Parallel()
	oauthTest(t, func(i *issuer, s *Sender) {
		t := i.t
		i.On("/token", answerOf{Status: 401, Body: []byte(`{"error":"invalid_client","error_description":"secret s"}`)})
		d := i.destination()
		for n, wait := range []int{1, 2, 4, 8, 16, 30, 30} {
			wantError(t, send(t, s, d), ClassAuth, "token request: the token endpoint answered 401 (invalid_client)")
			i.want(t, n+1, 0, "")
			time.Sleep(time.Duration(wait)*time.Second - 1)
			wantClass(t, send(t, s, d), ClassAuth)
			i.want(t, n+1, 0, "")
			time.Sleep(time.Nanosecond)
		}
		if n := count(s.metrics.tokenRequests.WithLabelValues(tokenRefused)); n != 7 {
			t.Errorf("%d refused token requests were counted", n)
		}
		i.issue("")
		wantClass(t, send(t, s, d), ClassOK)
	})
}

// A refused token is dropped, and the request is sent once more with a fresh
// one.
func TestOAuth_unauthorized(t *testing.T) {
	t.Parallel()
	oauthTest(t, func(i *issuer, s *Sender) {
		t := i.t
		d := i.destination()
		wantClass(t, send(t, s, d), ClassOK)
		i.issue("")
		i.Script(answerOf{Status: 401}, answerOf{Status: 204})
		res := send(t, s, d)
		wantClass(t, res, ClassOK)
		i.want(t, 2, 3, "t2")
		if res.StatusCode != http.StatusNoContent {
			t.Errorf("%+v", res)
		}

		// Twice refused is refused.
		i.issue("")
		i.Script(answerOf{Status: 401}, answerOf{Status: 401})
		wantError(t, send(t, s, d), ClassTemporary, "the receiver answered 401")
		i.want(t, 3, 5, "t3")

		// No fresh one can be had: the answer was the 401.
		i.On("/token", answerOf{Status: 500})
		i.Script(answerOf{Status: 401})
		res = send(t, s, d)
		wantError(t, res, ClassTemporary, "the receiver answered 401; token request: the token endpoint answered 500")
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%+v", res)
		}
		i.want(t, 4, 6, "t3")

		// A 401 that counts as success is one.
		time.Sleep(time.Minute)
		i.issue("")
		d.ResponseRegex = "401"
		i.Script(answerOf{Status: 401})
		wantClass(t, send(t, s, d), ClassOK)
		i.want(t, 5, 7, "t4")
	})
}

// Many that are refused at the same time ask for one new token.
func TestOAuth_unauthorizedTogether(t *testing.T) {
	t.Parallel()
	oauthTest(t, func(i *issuer, s *Sender) {
		t := i.t
		wantClass(t, send(t, s, i.destination()), ClassOK)
		i.issue("")
		const n = 10
		for k := range n {
			i.Script(answerOf{Status: 401, Delay: time.Second + time.Duration(k)*time.Millisecond})
		}
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() { wantClass(t, send(t, s, i.destination()), ClassOK) })
		}
		wg.Wait()
		i.want(t, 2, 1+2*n, "t2")
	})
}

// A refresh token that the endpoint replaces is used from then on, and handed
// to the hook.
func TestOAuth_rotation(t *testing.T) {
	t.Parallel()
	type call struct{ account, profile, token string }
	calls := make(chan call, 10)
	oauthTest(t, func(i *issuer, s *Sender) {
		t := i.t
		d := i.destination()
		d.Auth.GrantType, d.Auth.RefreshToken = model.GrantRefreshToken, model.NewSecret("r0")
		for n, used := range []string{"r0", "r1", "r1", "r2"} {
			i.issue(fmt.Sprintf(`,"refresh_token":%q`, []string{"r1", "", "r2", "r2"}[n]))
			wantClass(t, send(t, s, d), ClassOK)
			var last dispatchtest.Arrival
			for _, a := range i.Arrivals() {
				if strings.HasPrefix(a.Path, "/token") {
					last = a
				}
			}
			if form, err := url.ParseQuery(string(last.Body)); err != nil || form.Get("refresh_token") != used {
				t.Errorf("request %d uses %q, want %q", n, form.Get("refresh_token"), used)
			}
			time.Sleep(defaultTokenLife)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}, func(o *SenderOptions) {
		o.OnRefreshToken = func(account, profile string, token model.Secret) { calls <- call{account, profile, token.Reveal()} }
	})
	close(calls)
	var got []call
	for c := range calls {
		got = append(got, c)
	}
	if want := []call{{"acme", "hook", "r1"}, {"acme", "hook", "r2"}}; !cmp.Equal(got, want, cmp.AllowUnexported(call{})) {
		t.Errorf("hook: %v, want %v", got, want)
	}
}

func TestOAuth_bounded(t *testing.T) {
	t.Parallel()
	oauthTest(t, func(i *issuer, s *Sender) {
		t := i.t
		use := func(account string, tokens int) {
			t.Helper()
			d := i.destination()
			d.Account = account
			wantClass(t, send(t, s, d), ClassOK)
			if n, _, _ := i.requests(); n != tokens {
				t.Errorf("%s: %d token requests, want %d", account, n, tokens)
			}
		}
		use("a", 1)
		use("b", 2)
		use("a", 2)
		use("c", 3) // pushes b out
		use("a", 3)
		use("b", 4)
	}, func(o *SenderOptions) { o.MaxTokens = 2 })
}

// INV webhook-7: neither results nor the log hold a secret, wherever the
// request fails.
func TestOAuth_noSecrets(t *testing.T) {
	t.Parallel()
	const canary = "CANARY7d1f"
	var log bytes.Buffer
	oauthTest(t, func(i *issuer, s *Sender) {
		t := i.t
		d := i.destination()
		d.Auth.GrantType, d.Auth.RefreshToken = model.GrantRefreshToken, model.NewSecret(canary)
		d.Auth.ClientSecret = model.NewSecret(canary)
		d.Auth.TokenURL = i.URL + "/token?key=" + canary
		d.Auth.Headers = map[string]model.Secret{"X-Key": model.NewSecret(canary)}
		d.URL += "?key=" + canary
		echo := []byte(`{"error":"` + canary + `","error_description":"` + canary + `"}`)
		for _, a := range []answerOf{
			{Status: 400, Body: echo},
			{Body: echo},
			{Raw: canary + "\r\n\r\n"},
			{Raw: "HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n"},
			{Raw: "HTTP/1.1 " + canary + "\r\n\r\n"},
			{Close: true},
			{Body: []byte(`{"access_token":"` + canary + `","refresh_token":"` + canary + `2"}`)},
		} {
			i.On("/token", a)
			i.On("/in", answerOf{Raw: "HTTP/1.1 200 OK\r\nContent-Length: " + canary + "\r\n\r\n"})
			if res := send(t, s, d); res.Class == ClassOK || strings.Contains(fmt.Sprintf("%+v", res), canary) {
				t.Errorf("%+v", res)
			}
			time.Sleep(time.Hour)
		}
		i.On("/in", answerOf{})
		wantClass(t, send(t, s, d), ClassOK)
		i.On("/token", answerOf{Status: 400, Body: echo})
		time.Sleep(290 * time.Second)
		wantClass(t, send(t, s, d), ClassOK)
	}, func(o *SenderOptions) {
		o.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &log})
	})
	if s := log.String(); strings.Contains(s, canary) || strings.Count(s, "[WARN]") < 2 {
		t.Errorf("the log:\n%s", s)
	}
}
