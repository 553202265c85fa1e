package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// The cookies. All of them go to the console only.
const (
	cookieSession = "blf_console" // scheme and token of the API
	cookieFlash   = "blf_flash"   // one message for the next page
	cookieTheme   = "blf_theme"   // auto, light or dark
	cookieClock   = "blf_clock"   // utc, local or relative
)

// prefsAge is how long a browser keeps what was chosen.
const prefsAge = 365 * 24 * time.Hour

// session is who is signed in. The cookie has a token of the API, never a key
// or a password, and it ends with the token.
type session struct {
	scheme string // Bearer or IBSSO
	token  model.Secret
	// seed is what the tokens of forms are derived from, so that a renewal does
	// not spoil a form that is open; empty: the token.
	seed string
}

func (s session) zero() bool { return s.token.IsZero() }

// csrf derives the token of the session's forms: who does not have the cookie
// cannot know it, and it says nothing about the cookie.
func (s session) csrf() string { return s.mac("csrf") }

func (s session) mac(what string) string {
	m := hmac.New(sha256.New, []byte(s.root()))
	m.Write([]byte("belfry console " + what))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// root is the seed, or what becomes it. It opens nothing.
func (s session) root() string {
	if s.seed != "" {
		return s.seed
	}
	sum := sha256.Sum256([]byte("belfry console seed " + s.token.Reveal()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// value is what the cookie holds.
func (s session) value() string {
	if s.seed == "" {
		return s.scheme + ":" + s.token.Reveal()
	}
	return s.scheme + ":" + s.token.Reveal() + ":" + s.seed
}

func sessionOf(r *http.Request) session {
	c, err := r.Cookie(cookieSession)
	if err != nil {
		return session{}
	}
	scheme, rest, ok := strings.Cut(c.Value, ":")
	token, seed, _ := strings.Cut(rest, ":")
	if !ok || token == "" || scheme != "Bearer" && scheme != "IBSSO" {
		return session{}
	}
	return session{scheme: scheme, token: model.NewSecret(token), seed: seed}
}

// renewBefore is how long before its end a token is renewed.
const renewBefore = 30 * time.Minute

// renew keeps who is at work signed in, as long as the API renews the token:
// with a page that they open or a form that they send, and not with what a page
// does by itself. An error is no harm, since the token goes on.
func (v *visit) renew() {
	left := v.caller.TokenExpiresAt.Sub(v.c.now())
	if v.caller.TokenExpiresAt.IsZero() || left > renewBefore || !v.caller.SessionEndsAt.After(v.caller.TokenExpiresAt) || v.r.Header.Get("HX-Request") != "" || !v.screen.page() {
		return
	}
	t, err := v.api.RenewSession(v.ctx())
	if err != nil {
		v.c.log.Debug("a session is not renewed", "error", err)
		return
	}
	v.session.seed = v.session.root()
	v.session.token = t.Token
	v.caller.TokenExpiresAt = t.TokenExpiresAt
	v.cookie(cookieSession, v.session.value(), t.TokenExpiresAt.Sub(v.c.now()))
}

func (v *visit) cookie(name, value string, age time.Duration) {
	c := &http.Cookie{ //nolint:gosec // Secure wherever there is TLS
		Name: name, Value: value, Path: Prefix, MaxAge: int(age / time.Second), HttpOnly: true, Secure: v.r.TLS != nil, SameSite: http.SameSiteStrictMode,
	}
	if age <= 0 {
		c.MaxAge = -1
	}
	http.SetCookie(v.w, c)
}

func sessionScreens() []screen {
	return []screen{
		{path: "/sign-in", file: "signin.html", title: "Sign in", public: true, anytime: true, get: showSignIn, post: signIn},
		{path: "/sign-out", anytime: true, post: signOut},
		{path: "/settings", file: "settings.html", title: "Display settings", anytime: true, get: showSettings, post: saveSettings},
	}
}

// signInView is the form with the two ways in.
type signInView struct {
	Form *form
	// Next is where to go afterwards.
	Next string
	// ByKey says which of the two forms was tried.
	ByKey bool
}

func showSignIn(v *visit) (*answer, error) {
	if !v.session.zero() {
		if _, err := v.api.Session(v.ctx()); err == nil {
			return v.redirect(localPath(v.query("next"))), nil
		}
	}
	return v.show(signInView{Form: v.blank(), Next: localPath(v.query("next")), ByKey: true}), nil
}

// signIn exchanges what was typed for a token of the API.
func signIn(v *visit) (*answer, error) {
	f := v.form()
	view := signInView{Form: f, Next: localPath(f.Value("next")), ByKey: f.Value("way") != "password"}
	s, age, err := v.exchange(f, view.ByKey)
	f.forget("key", "password")
	if err != nil {
		switch model.CodeOf(err) { //nolint:exhaustive // the others are not about what was typed
		case model.CodeUnauthorized, model.CodeInvalid, model.CodeLimit, model.CodeForbidden:
			f.Problem = "These credentials are not right, or no longer valid."
			if model.CodeOf(err) == model.CodeLimit {
				f.Problem = "Too many failed sign-ins. Wait a few minutes, then try again."
			}
			return v.show(view).with(http.StatusUnprocessableEntity), nil
		}
		return nil, err
	}
	v.cookie(cookieSession, s.value(), age)
	return v.redirect(view.Next), nil
}

// sessionAge is how long the cookie of a user's session is kept; the token in
// it may end before.
const sessionAge = time.Hour

func (v *visit) exchange(f *form, byKey bool) (session, time.Duration, error) {
	if !byKey {
		token, err := v.api.OpenSession(v.ctx(), f.Value("username"), f.Value("password"))
		return session{scheme: "IBSSO", token: token}, sessionAge, err
	}
	key := model.NewSecret(strings.TrimSpace(f.Value("key")))
	if key.IsZero() {
		return session{}, 0, model.Errorf(model.CodeUnauthorized, "no key")
	}
	c, err := client.New(client.Options{BaseURLs: []string{nodeURL}, Key: key, Transport: v.direct})
	if err != nil {
		return session{}, 0, model.Errorf(model.CodeUnauthorized, "%v", err)
	}
	who, err := c.Session(v.ctx())
	if err != nil {
		return session{}, 0, err
	}
	t, err := c.IssueToken(v.ctx(), who.KeyID, key)
	return session{scheme: "Bearer", token: t.AccessToken}, t.ExpiresIn, err
}

// signOut ends the token on every node. Without a quorum that cannot be done:
// then the browser forgets it, and it ends by itself.
func signOut(v *visit) (*answer, error) {
	err := v.api.EndSession(v.ctx(), v.session.scheme, v.session.token)
	v.cookie(cookieSession, "", 0)
	if err != nil && model.CodeOf(err) != model.CodeUnauthorized {
		v.c.log.Warn("a token could not be ended at sign-out; it ends by itself within the hour", "error", err)
	}
	return v.redirect(Prefix + "/sign-in"), nil
}

// localPath keeps a redirect within the console.
//
// INV console-4: no redirect leaves the console.
func localPath(next string) string {
	if !strings.HasPrefix(next, Prefix+"/") || strings.HasPrefix(next, Prefix+"/sign-in") || strings.ContainsFunc(next, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f }) {
		return Prefix + "/"
	}
	return next
}

// settingsView shows what a browser remembers.
type settingsView struct {
	Form   *form
	Themes []option
	Clocks []option
}

var (
	themes = []option{{"auto", "As the system"}, {"light", "Light"}, {"dark", "Dark"}}
	clocks = []option{{"utc", "UTC"}, {"local", "Local time of this browser"}, {"relative", "Relative to now"}}
)

func showSettings(v *visit) (*answer, error) {
	f := v.blank()
	f.set("theme", v.pref(cookieTheme, themes))
	f.set("clock", v.pref(cookieClock, clocks))
	f.set("back", v.query("back"))
	return v.show(settingsView{f, themes, clocks}), nil
}

func saveSettings(v *visit) (*answer, error) {
	f := v.form()
	for name, known := range map[string][]option{"theme": themes, "clock": clocks} {
		if value := f.Value(name); has(known, value) {
			v.cookie("blf_"+name, value, prefsAge)
		}
	}
	return v.redirect(localPath(f.Value("back"))), nil
}

// pref is what the browser chose, or the first of the known values.
func (v *visit) pref(cookie string, known []option) string {
	if c, err := v.r.Cookie(cookie); err == nil && has(known, c.Value) {
		return c.Value
	}
	return known[0].Value
}
