//go:build interop

package webhook_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// oidc is a real authorization server, and a webhook that asks it about every
// token: testdata/interop/oidc.mjs.
type oidc struct {
	alive context.Context
	http  *http.Client

	Token, Hook, Resource, Scope, RefreshToken, Username, Password string
}

func startOIDC(t *testing.T) *oidc {
	t.Helper()
	module := need(t, "oidc")
	ready := filepath.Join(t.TempDir(), "ready")
	o := &oidc{http: &http.Client{Timeout: within}}
	o.alive = start(t, "node", "testdata/interop/oidc.mjs", module, ready)
	var text []byte
	poll(o.alive, t, "the authorization server is ready", func() bool {
		var err error
		text, err = os.ReadFile(ready)
		return err == nil
	})
	if err := json.Unmarshal(text, o); err != nil {
		t.Fatal(err)
	}
	return o
}

// get asks the webhook's own endpoints.
func (o *oidc) get(t *testing.T, path string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.Hook+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := o.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, resp.Status, err)
	}
	return b.Bytes()
}

// delivery is a request as the webhook saw it, with what the authorization
// server said of its token.
type delivery struct {
	ID, Client, Scope, Aud, Sub, Token string
	Status                             int
}

// seen returns the token requests of the client as "grant status error", and
// the deliveries of events whose id begins with that of the client.
func (o *oidc) seen(t *testing.T, client string) (tokens []string, deliveries []delivery) {
	t.Helper()
	var all struct {
		Tokens []struct {
			Client, Grant, Error string
			Status               int
		}
		Deliveries []delivery
	}
	if err := json.Unmarshal(o.get(t, "/seen"), &all); err != nil {
		t.Fatal(err)
	}
	for _, r := range all.Tokens {
		if r.Client == client {
			tokens = append(tokens, strings.TrimSpace(fmt.Sprintf("%s %d %s", r.Grant, r.Status, r.Error)))
		}
	}
	for _, d := range all.Deliveries {
		if strings.HasPrefix(d.ID, client) {
			deliveries = append(deliveries, d)
		}
	}
	return tokens, deliveries
}

// want compares token requests and the statuses of deliveries.
func (o *oidc) want(t *testing.T, client string, tokens []string, statuses ...int) []delivery {
	t.Helper()
	gotTokens, deliveries := o.seen(t, client)
	var got []int
	for _, d := range deliveries {
		got = append(got, d.Status)
		if d.Status == http.StatusOK && (d.Client != client || d.Aud != o.Resource || d.Scope != o.Scope) {
			t.Errorf("a token of %s for %s to %s: %+v", client, o.Resource, o.Scope, d)
		}
	}
	if !slices.Equal(gotTokens, tokens) || !slices.Equal(got, statuses) {
		t.Fatalf("token requests %q, answers %v; want %q, %v", gotTokens, got, tokens, statuses)
	}
	return deliveries
}

// revoke makes the token invalid that the client used last.
func (o *oidc) revoke(t *testing.T, client string) {
	t.Helper()
	o.get(t, "/revoke?client="+url.QueryEscape(client))
}

func (o *oidc) destination(client, grant string) *webhook.Destination {
	d := newDestination(o.Hook + "/in")
	d.Auth = &webhook.Auth{
		Type: model.CredentialsOAuth, GrantType: grant, TokenURL: o.Token, ClientID: client,
		ClientSecret: model.NewSecret("secret of " + client), Scope: o.Scope, Resource: o.Resource,
	}
	return d
}

func TestInterop_oauth(t *testing.T) {
	t.Parallel()
	o := startOIDC(t)
	t.Run("client credentials", o.clientCredentials)
	t.Run("cached", o.cached)
	t.Run("revoked", o.revoked)
	t.Run("refused", o.refused)
	t.Run("refresh token", o.refreshToken)
	t.Run("password", o.password)
}

func (o *oidc) clientCredentials(t *testing.T) {
	t.Parallel()
	s := newSender(t, nil)
	// The secret in the form, as belfry sends it.
	wantOK(t, send(t, s, o.destination("plain", model.GrantClientCredentials), "plain-1"))
	o.want(t, "plain", []string{"client_credentials 200"}, 200)
	// In a header, for servers that insist on it: a header of the setting.
	d := o.destination("basic", model.GrantClientCredentials)
	d.Auth.ClientSecret = model.Secret{}
	d.Auth.Headers = map[string]model.Secret{
		"Authorization": model.NewSecret("Basic " + base64.StdEncoding.EncodeToString([]byte("basic:"+url.QueryEscape("secret of basic")))),
	}
	wantOK(t, send(t, s, d, "basic-1"))
	o.want(t, "basic", []string{"client_credentials 200"}, 200)
}

// INV webhook-10: many attempts at once ask for one token.
func (o *oidc) cached(t *testing.T) {
	t.Parallel()
	const attempts = 50
	s := newSender(t, nil)
	var wait sync.WaitGroup
	results := make([]webhook.Result, attempts)
	for i := range results {
		wait.Go(func() {
			results[i] = send(t, s, o.destination("cached", model.GrantClientCredentials), fmt.Sprintf("cached-%d", i))
		})
	}
	wait.Wait()
	for _, r := range results {
		wantOK(t, r)
	}
	deliveries := o.want(t, "cached", []string{"client_credentials 200"}, slices.Repeat([]int{200}, attempts)...)
	for _, d := range deliveries {
		if d.Token != deliveries[0].Token {
			t.Errorf("%s came with another token", d.ID)
		}
	}
}

// A token that was revoked costs one more token request, and not the attempt.
func (o *oidc) revoked(t *testing.T) {
	t.Parallel()
	s := newSender(t, nil)
	d := o.destination("revoked", model.GrantClientCredentials)
	wantOK(t, send(t, s, d, "revoked-1"))
	o.revoke(t, "revoked")
	wantOK(t, send(t, s, d, "revoked-2"))
	wantOK(t, send(t, s, d, "revoked-3"))
	got := o.want(t, "revoked", []string{"client_credentials 200", "client_credentials 200"}, 200, 401, 200, 200)
	if got[0].Token != got[1].Token || got[1].Token == got[2].Token || got[2].Token != got[3].Token || got[1].ID != got[2].ID {
		t.Errorf("%+v", got)
	}
}

// INV webhook-3, webhook-7: without a token nothing is sent, and the text holds
// no secret.
func (o *oidc) refused(t *testing.T) {
	t.Parallel()
	const wrong = "zq7-wrong-zq7"
	for name, tt := range map[string]struct {
		client, grant string
		change        func(*webhook.Auth)
		text          string // the beginning of it
		answer        string
	}{
		"client secret": {"wrong", model.GrantClientCredentials, func(a *webhook.Auth) { a.ClientSecret = model.NewSecret(wrong) }, "token request: the token endpoint answered 401 (invalid_client)", "client_credentials 401 invalid_client"},
		"client":        {wrong, model.GrantClientCredentials, func(*webhook.Auth) {}, "token request: the token endpoint answered 401 (invalid_client)", "client_credentials 401 invalid_client"},
		"grant":         {"ungranted", model.GrantRefreshToken, func(a *webhook.Auth) { a.RefreshToken = model.NewSecret(wrong) }, "token request: the token endpoint answered 400 (invalid_request)", "refresh_token 400 invalid_request"},
		"refresh token": {"unrefreshed", model.GrantRefreshToken, func(a *webhook.Auth) { a.RefreshToken = model.NewSecret(wrong) }, "token request: the token endpoint answered 400 (invalid_grant)", "refresh_token 400 invalid_grant"},
		"scope":         {"scope", model.GrantClientCredentials, func(*webhook.Auth) {}, "token request: the token endpoint answered 400 (invalid_scope)", "client_credentials 400 invalid_scope"},
		"resource":      {"resource", model.GrantClientCredentials, func(a *webhook.Auth) { a.Resource = "https://other.example/" + wrong }, "token request: the token endpoint answered 400", "client_credentials 400 invalid_target"},
	} {
		d := o.destination(tt.client, tt.grant)
		tt.change(d.Auth)
		res := send(t, newSender(t, nil), d, tt.client+"-1")
		if res.Class != webhook.ClassAuth || res.StatusCode != 0 || !strings.HasPrefix(res.Error, tt.text) {
			t.Errorf("%s: %+v, want %q", name, res, tt.text)
		}
		if strings.Contains(res.Error, wrong) || strings.Contains(res.Error, "secret of") || strings.Contains(res.Error, "127.0.0.1") {
			t.Errorf("%s: the text holds a secret: %q", name, res.Error)
		}
		o.want(t, tt.client, []string{tt.answer})
		t.Logf("%s: %s", name, res.Error)
	}
}

// The authorization server replaces the refresh token at every use, and takes
// the use of an old one for a theft.
func (o *oidc) refreshToken(t *testing.T) {
	t.Parallel()
	replaced := make(chan string, 8)
	sender := func() *webhook.Sender {
		return newSender(t, func(so *webhook.SenderOptions) {
			so.OnRefreshToken = func(account, profileID string, token model.Secret) {
				replaced <- account + " " + profileID + " " + token.Reveal()
			}
		})
	}
	next := func() string {
		t.Helper()
		limit := time.NewTimer(within)
		defer limit.Stop()
		select {
		case got := <-replaced:
			token, ok := strings.CutPrefix(got, "acme hook ")
			if !ok {
				t.Fatalf("replaced: %q", got)
			}
			return token
		case <-limit.C:
			t.Fatal("no new refresh token was handed over")
			return ""
		}
	}
	s := sender()
	d := o.destination("rotated", model.GrantRefreshToken)
	d.Auth.RefreshToken = model.NewSecret(o.RefreshToken)
	wantOK(t, send(t, s, d, "rotated-1"))
	first := next()
	// The setting still holds the old one; the sender knows better.
	o.revoke(t, "rotated")
	wantOK(t, send(t, s, d, "rotated-2"))
	second := next()
	o.want(t, "rotated", []string{"refresh_token 200", "refresh_token 200"}, 200, 401, 200)
	// Another node begins with the one that was handed over.
	d.Auth.RefreshToken = model.NewSecret(second)
	wantOK(t, send(t, sender(), d, "rotated-3"))
	third := next()
	if tokens := []string{o.RefreshToken, first, second, third}; slices.Contains(tokens, "") || len(slices.Compact(slices.Sorted(slices.Values(tokens)))) != 4 {
		t.Error("a refresh token is not a new one")
	}
	d.Auth.RefreshToken = model.NewSecret(first)
	if res := send(t, sender(), d, "rotated-4"); res.Class != webhook.ClassAuth || res.Error != "token request: the token endpoint answered 400 (invalid_grant)" {
		t.Errorf("%+v", res)
	}
	ok := "refresh_token 200"
	o.want(t, "rotated", []string{ok, ok, ok, "refresh_token 400 invalid_grant"}, 200, 401, 200, 200)
}

func (o *oidc) password(t *testing.T) {
	t.Parallel()
	d := o.destination("password", model.GrantPassword)
	d.Auth.Username, d.Auth.Password = o.Username, model.NewSecret("zq7-wrong")
	if res := send(t, newSender(t, nil), d, "password-1"); res.Class != webhook.ClassAuth || res.Error != "token request: the token endpoint answered 400 (invalid_grant)" {
		t.Errorf("%+v", res)
	}
	d.Auth.Password = model.NewSecret(o.Password)
	wantOK(t, send(t, newSender(t, nil), d, "password-2"))
	got := o.want(t, "password", []string{"password 400 invalid_grant", "password 200"}, 200)
	if got[0].Sub != o.Username {
		t.Errorf("%+v", got)
	}
}
