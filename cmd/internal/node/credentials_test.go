package node

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/belfry/config"
)

// A refresh token that the authorization server replaces is kept through the
// log: the next node, or the next start, must not use the old one.
func TestNode_oauth_keepsRotatedRefreshToken(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	h := newHook(t)
	asked := make(chan url.Values, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		form, err2 := url.ParseQuery(string(b))
		if err != nil || err2 != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		asked <- form
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"at-1","token_type":"Bearer","expires_in":3600,"refresh_token":"rt-2"}`)
	}))
	defer server.Close()
	c.must(c.nodes[0], http.MethodPost, "/subscriptions/1/security", map[string]any{
		"authId": "oauth", "type": "OAUTH", "credentials": map[string]any{
			"tokenUrl": server.URL, "grantType": "refresh_token", "clientId": "id", "clientSecret": "cs", "refreshToken": "rt-1",
		},
	})
	c.must(c.nodes[0], http.MethodPost, "/subscriptions/1/subscription/SMS", map[string]any{
		"subscriptionId": "dlr", "events": []string{"DELIVERY"},
		"profile": map[string]any{"profileId": "hook", "webhook": map[string]any{"notifyUrl": h.URL}, "security": map[string]any{"authId": "oauth"}},
	})
	c.must(c.nodes[0], http.MethodPost, "/events/1/events", report("m-1"))
	if got := h.next(t); got.header.Get("Authorization") != "Bearer at-1" {
		t.Errorf("Authorization = %q", got.header.Get("Authorization"))
	}
	if form := <-asked; form.Get("grant_type") != "refresh_token" || form.Get("refresh_token") != "rt-1" {
		t.Errorf("the token was asked for with %v", form)
	}
	stored := func() string {
		return string(c.must(c.nodes[0], http.MethodGet, "/subscriptions/1/security/oauth?reveal=true", nil).body)
	}
	c.eventually("the new refresh token is stored", func() bool { return strings.Contains(stored(), `"refreshToken":"rt-2"`) })
	c.restart(0)
	if got := stored(); !strings.Contains(got, `"refreshToken":"rt-2"`) {
		t.Errorf("after a restart: %s", got)
	}
}

// 410 means that the receiver wants no more: the profile is disabled, and
// enabling it starts the deliveries again.
func TestNode_gone_disablesTheProfile(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	h := newHook(t)
	subscribe(c, c.nodes[0], "SMS", "dlr", h.URL, "DELIVERY")
	h.status <- http.StatusGone
	c.must(c.nodes[0], http.MethodPost, "/events/1/events", report("m-1"))
	h.next(t)
	c.eventually("the profile is disabled", func() bool {
		body := string(c.must(c.nodes[0], http.MethodGet, "/subscriptions/1/profiles/dlr-hook", nil).body)
		return strings.Contains(body, `"enabled":false`) && strings.Contains(body, "410")
	})
	c.eventually("the delivery is a dead letter", func() bool {
		return strings.Contains(string(c.must(c.nodes[0], http.MethodGet, "/events/1/events/m-1", nil).body), `"status":"DEAD"`)
	})
	c.must(c.nodes[0], http.MethodPut, "/subscriptions/1/profiles/dlr-hook", map[string]any{"enabled": true})
	c.must(c.nodes[0], http.MethodPost, "/events/1/events", report("m-2"))
	if got := h.next(t); !strings.Contains(string(got.body), "m-2") {
		t.Errorf("after enabling arrived %s", got.body)
	}
}

// The admin address has no authentication: no webhook may name it, however it
// was configured.
func TestNode_adminAddress_isNoWebhook(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1, func(cfg *config.Config) { cfg.AdminAddr = "localhost:0" })
	for what, addr := range map[string]string{"admin": c.nodes[0].AdminAddr(), "API": c.nodes[0].APIAddr(), "peer": c.nodes[0].PeerAddr()} {
		a := c.do(c.nodes[0], http.MethodPost, "/subscriptions/1/profiles", map[string]any{"profileId": what, "webhook": map[string]any{"notifyUrl": "http://" + addr + "/debug/pprof/"}})
		if a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "webhook.notifyUrl") {
			t.Errorf("a webhook on the %s address: %s, want 400 at webhook.notifyUrl", what, a)
		}
	}
}
