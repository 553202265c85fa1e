package console

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// send makes a request with headers of its own and without a session.
func send(t *testing.T, c *Console, method, path string, form url.Values, header map[string]string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, Prefix+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for k, v := range header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w
}

// INV console-5: a key becomes a token; the key is in no cookie and no page.
func TestSignIn_key(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	api.caller.KeyID = "k1"
	c := newConsole(t, api)
	res := send(t, c, "POST", "/sign-in", url.Values{"way": {"key"}, "key": {" " + testKey + "\n"}, "next": {"/console/settings?back=x"}}, nil)
	if res.Code != http.StatusSeeOther || res.Header().Get("Location") != "/console/settings?back=x" {
		t.Fatalf("%d to %s\n%s", res.Code, res.Header().Get("Location"), res.Body)
	}
	cookies := res.Result().Cookies()
	if len(cookies) != 1 || cookies[0].Value != "Bearer:"+testToken || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || cookies[0].Path != Prefix || cookies[0].MaxAge != 3600 || cookies[0].Secure {
		t.Errorf("cookies: %v", cookies)
	}
	form := api.seen("POST /auth/1/oauth2/token")
	if len(form) != 1 || !strings.Contains(form[0].Body, "client_id=k1") {
		t.Errorf("the token was asked for with %+v", form)
	}
	if form[0].Remote != "192.0.2.1:1234" {
		t.Errorf("the API sees the address %s, not the browser's", form[0].Remote)
	}
}

func TestSignIn_password(t *testing.T) {
	t.Parallel()
	c := newConsole(t, newFakeAPI())
	res := send(t, c, "POST", "/sign-in", url.Values{"way": {"password"}, "username": {"ana"}, "password": {"right-password"}}, nil)
	if got := res.Result().Cookies(); res.Code != http.StatusSeeOther || len(got) != 1 || got[0].Value != "IBSSO:"+testToken {
		t.Errorf("%d, cookies %v\n%s", res.Code, got, res.Body)
	}
}

func TestSignIn_wrong(t *testing.T) {
	t.Parallel()
	c := newConsole(t, newFakeAPI())
	for _, form := range []url.Values{
		{"way": {"key"}, "key": {"wrong-key-canary"}},
		{"way": {"key"}},
		{"way": {"key"}, "key": {"ключ-canary"}},
		{"way": {"password"}, "username": {"ana"}, "password": {"wrong-canary"}},
	} {
		res := send(t, c, "POST", "/sign-in", form, nil)
		if res.Code != http.StatusUnprocessableEntity || !strings.Contains(res.Body.String(), "not right") || len(res.Result().Cookies()) > 0 {
			t.Errorf("%v: %d\n%s", form, res.Code, res.Body)
		}
		if strings.Contains(res.Body.String(), "canary") {
			t.Error("a secret comes back")
		}
		checkPage(t, c, res.Body.String())
	}
}

// INV console-4.
func TestSignIn_next(t *testing.T) {
	t.Parallel()
	for _, next := range []string{"", "https://evil.example/", "//evil.example", "/docs", "/console", "/console/sign-in?next=x", "/console\\evil", "/console/\r\nX: y", "/consolex"} {
		if got := localPath(next); got != "/console/" {
			t.Errorf("localPath(%q) = %q", next, got)
		}
	}
	if got := localPath("/console/profiles?q=a"); got != "/console/profiles?q=a" {
		t.Errorf("a page of the console became %q", got)
	}
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]any{"ended": nil, "no quorum": model.Errorf(model.CodeUnavailable, "no leader")} {
		api := newFakeAPI().set("DELETE /auth/1/session", answer)
		api.noQuorum = answer != nil
		res := post(t, newConsole(t, api), "/sign-out", nil)
		got := res.Result().Cookies()
		if res.Code != http.StatusSeeOther || len(got) != 1 || got[0].MaxAge != -1 || len(api.seen("DELETE /auth/1/session")) != 1 {
			t.Errorf("%s: %d, cookies %v", name, res.Code, got)
		}
	}
}

// Without a session every page leads to the sign-in page and back.
func TestVisit_notSignedIn(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	c := newConsole(t, api)
	for _, s := range screens() {
		if s.public || s.get == nil {
			continue
		}
		path := strings.NewReplacer("{", "", "}", "").Replace(s.path)
		res := send(t, c, "GET", path+"?a=b", nil, nil)
		want := "/console/sign-in?next=" + url.QueryEscape("/console"+path+"?a=b")
		if res.Code != http.StatusSeeOther || res.Header().Get("Location") != want {
			t.Errorf("%s: %d to %s, want %s", path, res.Code, res.Header().Get("Location"), want)
		}
	}
	if n := len(api.seen("GET /accounts")) + len(api.seen("GET /subscriptions")) + len(api.seen("GET /events")); n > 0 {
		t.Errorf("%d calls were made for nobody", n)
	}
	res := send(t, c, "GET", "/sign-in", nil, nil)
	checkPage(t, c, res.Body.String())
}

// INV console-2: a form of another site, or without the token, changes nothing.
func TestPost_guards(t *testing.T) {
	t.Parallel()
	good := session{scheme: "IBSSO", token: model.NewSecret(testToken)}.csrf()
	for _, row := range []struct {
		name, site, origin, token string
		status                    int
	}{
		{"cross-site", "cross-site", "", good, 403},
		{"same-site", "same-site", "", good, 403},
		{"foreign origin", "", "https://evil.example", good, 403},
		{"no token", "same-origin", "", "", 403},
		{"wrong token", "same-origin", "", good + "x", 403},
		{"token of another session", "same-origin", "", session{scheme: "IBSSO", token: model.NewSecret("other")}.csrf(), 403},
		{"good", "same-origin", "", good, 303},
		{"good, old browser", "", "http://example.com", good, 303},
	} {
		api := newFakeAPI().set("DELETE /auth/1/session", nil)
		header := map[string]string{"Cookie": cookieSession + "=IBSSO:" + testToken}
		if row.site != "" {
			header["Sec-Fetch-Site"] = row.site
		}
		if row.origin != "" {
			header["Origin"] = row.origin
		}
		res := send(t, newConsole(t, api), "POST", "/sign-out", url.Values{csrfField: {row.token}}, header)
		ended := len(api.seen("DELETE /auth/1/session")) == 1
		if res.Code != row.status || ended != (row.status == 303) {
			t.Errorf("%s: %d, want %d; ended: %v", row.name, res.Code, row.status, ended)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	c := newConsole(t, newFakeAPI())
	res := get(t, c, "/settings")
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
		"Cache-Control":           "no-store", "X-Content-Type-Options": "nosniff",
	} {
		if got := res.Header().Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	url, err := c.assets.url("app.css")
	if err != nil {
		t.Fatal(err)
	}
	res = get(t, c, strings.TrimPrefix(url, Prefix))
	if res.Code != 200 || !strings.Contains(res.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("a static file: %d, %v", res.Code, res.Header())
	}
	if res := get(t, c, "/static/"+c.assets.version+"/vendor/README.md"); res.Code != 404 {
		t.Errorf("a file that is not for browsers: %d", res.Code)
	}
}

// INV console-6: a node that is cut off shows what it has, says so, and sends
// no change.
func TestOutage(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	for _, f := range overviewFixtures() {
		if f.kind == "one" {
			f.api(api)
		}
	}
	api.noQuorum = true
	c := newConsole(t, api)
	res := get(t, c, "/")
	body := res.Body.String()
	for _, want := range []string{"Read only.", "group config has no leader", "What you see was current 42 s ago", "orders0"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, k := range api.seen("GET /subscriptions/1/") {
		if !strings.Contains(k.Query, "consistency=stale") {
			t.Errorf("%s asks the leader: %s", k.Path, k.Query)
		}
	}
	checkPage(t, c, body)
}

// A page that is open asks whether changes can work, and takes no message from
// the page that it is for.
func TestOutage_openPage(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]bool{"quorum": false, "none": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newFakeAPI()
			api.noQuorum = cut
			c := newConsole(t, api)
			v := &visit{session: session{scheme: "IBSSO", token: model.NewSecret(testToken)}}
			cookies := cookieSession + "=IBSSO:" + testToken + "; " + cookieFlash + "=" + v.sealFlash("It was saved.")
			res := send(t, c, http.MethodGet, "/state", nil, map[string]string{"Cookie": cookies})
			body := res.Body.String()
			if got := strings.Contains(body, "data-outage") && strings.Contains(body, "group config has no leader"); res.Code != http.StatusOK || got != cut {
				t.Errorf("%d %s", res.Code, body)
			}
			if h := res.Header(); len(h.Values("Set-Cookie")) > 0 || strings.Contains(body, "<html") || strings.Contains(body, "It was saved.") {
				t.Errorf("it is no part of a page: %v %s", h, body)
			}
		})
	}
}

// The leader goes away between the probe and a read.
func TestOutage_between(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	api.set("GET /subscriptions/1/profiles", func(r *http.Request) any {
		if r.URL.Query().Get("consistency") != "stale" {
			return model.Errorf(model.CodeUnavailable, "no leader")
		}
		return paged([]client.Profile{{ProfileID: "p"}})(r)
	})
	body := get(t, newConsole(t, api), "/").Body.String()
	if !strings.Contains(body, "The leader did not answer. What you see was current 42 s ago") {
		t.Errorf("the page does not say that it is old\n%s", body)
	}
}

// INV console-7: screens and menu entries that the scopes do not open are not
// there.
func TestScopes_menu(t *testing.T) {
	t.Parallel()
	for _, have := range [][]model.Scope{nil, {model.ScopeEventsRead}, {model.ScopeSubscriptionsRead}, {model.ScopeAdminCluster}, model.AllScopes()} {
		api := newFakeAPI()
		api.caller.Scopes = have
		c := newConsole(t, api)
		body := get(t, c, "/settings").Body.String()
		for _, s := range screens() {
			if s.nav == nil {
				continue
			}
			shown := strings.Contains(body, `<a href="`+Prefix+s.path+`"`)
			if shown != s.allows(have) {
				t.Errorf("scopes %v: %s in the menu: %v", have, s.path, shown)
			}
			if res := get(t, c, s.path); !s.allows(have) && res.Code != http.StatusForbidden {
				t.Errorf("scopes %v: %s answers %d", have, s.path, res.Code)
			}
		}
	}
}

// Vendored files are those that README.md names.
func TestVendor_sums(t *testing.T) {
	t.Parallel()
	readme, err := staticFiles.ReadFile("static/vendor/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("static/vendor")
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{"browsertest/axe/axe.min.js"}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".js") || strings.HasSuffix(f.Name(), ".css") {
			paths = append(paths, "static/vendor/"+f.Name())
		}
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		if !strings.Contains(string(readme), hex.EncodeToString(sum[:])) {
			t.Errorf("%s has the sum %x, which README.md does not name", p, sum)
		}
	}
}

// The palette knows the screens of the caller and the first ids.
func TestPalette(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("GET /subscriptions/1/profiles", paged([]client.Profile{{ProfileID: "or/ders"}}))
	c := newConsole(t, api)
	res := get(t, c, "/palette.json")
	if res.Code != 200 || res.Header().Get("Content-Type") != "application/json" || !strings.Contains(res.Body.String(), `{"kind":"Screen","label":"Overview","href":"/console/","key":"o"}`) {
		t.Errorf("%d\n%s", res.Code, res.Body)
	}
	if i := slices.IndexFunc(c.screens, func(s screen) bool { return s.path == "/profiles/{id}" }); i >= 0 && !strings.Contains(res.Body.String(), "/console/profiles/or%2Fders") {
		t.Errorf("the profile is missing\n%s", res.Body)
	}
}

// A page says in time that the session ends.
func TestSession_ends(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration]bool{time.Hour: false, 5 * time.Minute: false, 299 * time.Second: true} {
		api := newFakeAPI()
		api.caller.TokenExpiresAt = now.Add(left)
		if got := strings.Contains(get(t, newConsole(t, api), "/settings").Body.String(), "This session ends in 4 min 59 s."); got != want {
			t.Errorf("with %s left: said %v", left, got)
		}
	}
}

// A session that ends while somebody types leads back to the form.
func TestSession_endsInForm(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("GET /auth/1/session", model.Errorf(model.CodeUnauthorized, "over"))
	res := post(t, newConsole(t, api), "/settings", url.Values{"theme": {"dark"}})
	if got := res.Header().Get("Location"); res.Code != http.StatusSeeOther || got != "/console/sign-in?next=%2Fconsole%2Fsettings" {
		t.Errorf("%d to %s", res.Code, got)
	}
}

// Who opens a page in the last half hour of the token gets another one; the
// forms that were open before work on. What a page does by itself, and a session
// that cannot last longer, is not renewed.
func TestSession_renewed(t *testing.T) {
	t.Parallel()
	const route, later = "POST /auth/1/session/renewal", "a-later-token"
	for _, tt := range []struct {
		name      string
		path      string
		left, end time.Duration // of the token, of the session
		header    map[string]string
		fail      bool
		want      bool
	}{
		{"soon over", "/settings", renewBefore, 8 * time.Hour, nil, false, true},
		{"not soon", "/settings", renewBefore + time.Second, 8 * time.Hour, nil, false, false},
		{"last hour of the session", "/settings", 10 * time.Minute, 10 * time.Minute, nil, false, false},
		{"end not known", "/settings", 10 * time.Minute, 0, nil, false, false},
		{"by itself", "/settings", time.Minute, 8 * time.Hour, map[string]string{"HX-Request": "true"}, false, false},
		{"a stream", "/tail/stream", time.Minute, 8 * time.Hour, nil, false, false},
		{"not possible", "/settings", time.Minute, 8 * time.Hour, nil, true, false},
	} {
		api := newFakeAPI().set(route, map[string]any{"token": later, "tokenExpiresAt": now.Add(time.Hour), "sessionEndsAt": now.Add(tt.end)}).set("GET /events/1/tail", streamed{})
		if tt.fail {
			api.set(route, model.Errorf(model.CodeUnavailable, "not now"))
		}
		api.caller.TokenExpiresAt, api.caller.SessionEndsAt = now.Add(tt.left), now.Add(tt.end)
		if tt.end == 0 {
			api.caller.SessionEndsAt = time.Time{}
		}
		c := newConsole(t, api)
		header := map[string]string{"Cookie": cookieSession + "=IBSSO:" + testToken}
		maps.Copy(header, tt.header)
		res := send(t, c, "GET", tt.path, nil, header)
		if res.Code != http.StatusOK {
			t.Errorf("%s: %d", tt.name, res.Code)
		}
		cookies := res.Result().Cookies()
		if got := len(cookies) > 0; got != tt.want {
			t.Errorf("%s: cookies %v", tt.name, cookies)
		}
		if !tt.want || len(cookies) == 0 {
			continue
		}
		ck := cookies[0]
		old := session{scheme: "IBSSO", token: model.NewSecret(testToken)}
		if ck.Value != "IBSSO:"+later+":"+old.root() || ck.MaxAge != 3600 || !ck.HttpOnly || ck.Path != Prefix || ck.SameSite != http.SameSiteStrictMode {
			t.Errorf("%s: the cookie is %+v", tt.name, ck)
		}
		if strings.Contains(old.root(), testToken) || !strings.Contains(res.Body.String(), old.csrf()) {
			t.Errorf("%s: the forms of the page are not of the session", tt.name)
		}
		// A form that was open before, sent with the new cookie.
		api.caller.TokenExpiresAt = now.Add(time.Hour)
		api.set("GET /auth/1/session", api.caller)
		form := url.Values{csrfField: {old.csrf()}, "theme": {"dark"}}
		again := send(t, c, "POST", "/settings", form, map[string]string{"Cookie": cookieSession + "=" + ck.Value, "Sec-Fetch-Site": "same-origin"})
		if again.Code != http.StatusSeeOther {
			t.Errorf("%s: a form that was open gets %d\n%s", tt.name, again.Code, again.Body)
		}
		if calls := api.seen("GET /auth/1/session"); calls[len(calls)-1].Auth != "IBSSO "+later {
			t.Errorf("%s: the API was asked with %s", tt.name, calls[len(calls)-1].Auth)
		}
	}
}

// A form that comes during an outage is shown again with what was typed and why
// nothing was changed. What only asks still works.
func TestOutage_formKept(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path   string
		values url.Values
		want   []string
		asked  string // the only thing that is posted to the API
		status int
	}{
		{"/new-profile", url.Values{"profileId": {"fresh"}, "webhook.notifyUrl": {"https://example.com/fresh"}, "profile.securityMode": {"none"}}, []string{`value="fresh"`, `value="https://example.com/fresh"`, "Nothing was changed: this node has no quorum: group config has no leader"}, "", http.StatusServiceUnavailable},
		{"/subscriptions/SMS/orders-sms/edit", url.Values{"name": {"Another"}, "useProfile": {"orders-hook"}}, []string{`value="Another"`, "Nothing was changed: this node has no quorum"}, "", http.StatusServiceUnavailable},
		{"/subscriptions/SMS/orders-sms/delete", url.Values{"confirm": {"orders-sms"}}, []string{`value="orders-sms"`, "Nothing was changed: this node has no quorum"}, "", http.StatusServiceUnavailable},
		{"/profiles/orders-hook/enabled", url.Values{"enabled": {"false"}}, []string{"Not available now", "This node has no quorum: group config has no leader"}, "", http.StatusServiceUnavailable},
		{"/new-subscription", url.Values{"channel": {"SMS"}, "events": {"CLICK"}, "step": {"preview"}, "useProfile": {"orders-hook"}}, []string{"Read only."}, "/events/1/match", http.StatusOK},
	} {
		api, _ := setupAPI()
		api.noQuorum = true
		api.set("POST /events/1/match", client.MatchReport{})
		c := newConsole(t, api)
		res := post(t, c, tt.path, tt.values)
		body := res.Body.String()
		if res.Code != tt.status {
			t.Errorf("%s: %d, want %d", tt.path, res.Code, tt.status)
		}
		for _, s := range tt.want {
			if !strings.Contains(body, s) {
				t.Errorf("%s lacks %q\n%s", tt.path, s, body)
			}
		}
		for _, k := range api.calls {
			if k.Method != http.MethodGet && k.Path != tt.asked {
				t.Errorf("%s sent %s %s to the API", tt.path, k.Method, k.Path)
			}
		}
		checkPage(t, c, body)
	}
}
