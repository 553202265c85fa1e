package console

import (
	"crypto/subtle"
	"html/template"
	"net/url"
	"strings"
	"time"

	"example.com/belfry/fsm/model"
)

// page is what every template gets: as the dot of the layout, and as $ of a
// screen's own template.
type page struct {
	Title  string
	Crumbs []crumb
	Menu   []menuGroup
	// Who is signed in; empty on public pages.
	Who, Account string
	Flash        string
	// Ends is how long the session lasts, when that is not long any more.
	Ends string
	// Outage says why nothing can be changed; empty: it can.
	Outage string
	// Stale: what the page shows may be old, by Age.
	Stale bool
	Age   string
	// V is the screen's view.
	V any

	Theme, Clock string
	Version      string
	Node         string
	Now          time.Time
	Scripts      []string

	v      *visit
	scopes []model.Scope
}

func (v *visit) page(a *answer) *page {
	p := &page{
		Title: v.screen.title, Crumbs: a.crumbs, V: a.view, Outage: v.outage, Theme: v.pref(cookieTheme, themes), Clock: v.pref(cookieClock, clocks),
		Version: v.c.version, Now: v.c.now().UTC(), v: v, scopes: v.caller.Scopes, Scripts: v.screen.scripts,
	}
	if a.title != "" {
		p.Title = a.title
	}
	if v.caller.AccountID != "" {
		p.Account, p.Who = v.caller.AccountID, v.caller.Username
		if p.Who == "" {
			p.Who = "key " + v.caller.KeyID
		}
		p.Menu = v.c.menu(p.scopes, strings.TrimPrefix(v.r.URL.Path, Prefix))
		if v.screen.page() { // a part of a page would take the message from the page
			p.Flash = v.flash()
		}
		if left := v.caller.TokenExpiresAt.Sub(p.Now); !v.caller.TokenExpiresAt.IsZero() && left < endsSoon {
			p.Ends = duration(left)
		}
	}
	age, old := v.direct.staleness()
	p.Stale, p.Node = old, v.direct.node
	if old && age != unknownAge {
		p.Age = duration(age)
	}
	return p
}

// endsSoon is when a page begins to say that the session ends.
const endsSoon = 5 * time.Minute

// Can reports whether the caller has a scope: what they may not do is not
// offered.
func (p *page) Can(scope string) bool { return model.Scope(scope).Allows(p.scopes) }

// Write is for the tag of a button that changes something: js/live.js keeps it
// disabled while changes cannot work, as it is when the page is made then. The
// reason stands in the banner.
func (p *page) Write() template.HTMLAttr {
	if p.Outage == "" {
		return `data-write`
	}
	return `data-write disabled aria-describedby="state"`
}

// WriteTo is Write for the tag of a link: one that cannot be followed now has
// no address.
func (p *page) WriteTo(href string) template.HTMLAttr {
	href = template.HTMLEscapeString(href)
	if p.Outage == "" {
		return template.HTMLAttr(`data-write href="` + href + `"`) //nolint:gosec // escaped
	}
	return template.HTMLAttr(`data-write data-href="` + href + `" role="link" aria-disabled="true" aria-describedby="state"`) //nolint:gosec // escaped
}

// csrfField is the name of the form's token.
const csrfField = "csrf"

// CSRF is the hidden field that every form with method="post" has.
func (p *page) CSRF() template.HTML {
	if p.v.session.zero() {
		return ""
	}
	// The token is base64url: nothing to escape.
	return template.HTML(`<input type="hidden" name="` + csrfField + `" value="` + p.v.session.csrf() + `">`) //nolint:gosec // as said above
}

// Path is the address of this page without its query.
func (p *page) Path() string { return p.v.r.URL.EscapedPath() }

// Here is the address of this page with its query.
func (p *page) Here() string { return p.v.r.URL.RequestURI() }

// With is the address of this page with one parameter changed; an empty value
// removes it. A change of anything but the place in a list goes back to the
// list's beginning.
func (p *page) With(name string, value any) string {
	q := p.v.r.URL.Query()
	if name != "page" && name != "cursor" {
		q.Del("page")
		q.Del("cursor")
	}
	if s := text(value); s == "" {
		q.Del(name)
	} else {
		q.Set(name, s)
	}
	return address(p.v.r.URL.EscapedPath(), q)
}

// Query is a parameter of the address, for filters that keep what was chosen.
func (p *page) Query(name string) string { return p.v.query(name) }

// Filtered reports whether one of the parameters is set.
func (p *page) Filtered(names ...string) bool {
	for _, n := range names {
		if p.v.query(n) != "" {
			return true
		}
	}
	return false
}

// Origin is the address of the API as this browser reaches it, for lines to
// copy.
func (p *page) Origin() string {
	scheme := "http"
	if p.v.r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + p.v.r.Host
}

// ThemeAttr is the data-theme of the page: light, dark, or none for what the
// system says.
func (p *page) ThemeAttr() string {
	if p.Theme == "auto" {
		return ""
	}
	return p.Theme
}

func address(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
