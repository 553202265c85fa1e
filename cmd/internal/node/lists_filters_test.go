package node

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"example.com/belfry/api/console"
	"example.com/belfry/fsm/model"
)

// textFilter is a field that one may type into to narrow a list.
type textFilter struct{ path, name string }

// freeFilters are looked at by the browser, or by the node with their stream,
// and not when the page is made: anything may stand in them.
var freeFilters = map[string]bool{"/test-event": true, "/tail": true}

// Every text that narrows a list of the console, on every screen of its menu, is
// taken at the API's limit, and is refused above it on the same page: with what
// was typed in the field, and what is wrong at it.
func TestNode_filtersAtTheirLimit(t *testing.T) {
	t.Parallel()
	c := newCrowdedPages(t, 100)
	filters := textFilters(t, c)
	for _, must := range []textFilter{{"/subscriptions", "q"}, {"/subscriptions", "user"}, {"/destinations", "q"}, {"/events", "orderingKey"}, {"/dead-letters", "profileId"}, {"/match", "user"}} {
		if !slices.Contains(filters, must) {
			t.Errorf("there is no field %s on %s", must.name, must.path)
		}
	}
	for _, f := range filters {
		most := strings.Repeat("x", model.MaxIDLength)
		t.Run(strings.Trim(f.path, "/")+" "+f.name, func(t *testing.T) {
			t.Parallel()
			if code, body := c.filtered(t, f, most); code != http.StatusOK && !refusedFor(body, f.name, "event of") {
				t.Errorf("%d characters: %d\n%s", len(most), code, said(body))
			}
			code, body := c.filtered(t, f, most+"x")
			if freeFilters[f.path] {
				if code != http.StatusOK {
					t.Errorf("a free filter: %d", code)
				}
				return
			}
			if code != http.StatusUnprocessableEntity || !refusedFor(body, f.name, "255 ") {
				t.Errorf("%d characters: %d without what is wrong at the field\n%s", len(most)+1, code, said(body))
			}
			if !strings.Contains(body, `value="`+most+`x"`) || strings.Contains(body, "That did not work") || strings.Contains(body, "<tbody>") {
				t.Errorf("%s: what was typed is gone, or there is a list\n%s", f.path, said(body))
			}
		})
	}
}

// filtered asks for a list with one filter, by a channel where the page needs
// one.
func (c *crowdedPages) filtered(t *testing.T, f textFilter, value string) (int, string) {
	t.Helper()
	q := url.Values{f.name: {value}}
	if f.path == "/match" {
		q.Set("channel", "SMS")
		if f.name != "event" {
			q.Set("event", "DELIVERY")
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, console.Prefix+f.path+"?"+q.Encode(), http.NoBody)
	r.AddCookie(c.cookie)
	w := httptest.NewRecorder()
	c.pages.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// textFilters finds the fields on the screens of the menu.
func textFilters(t *testing.T, c *crowdedPages) []textFilter {
	t.Helper()
	var out []textFilter
	for _, link := range elements(t, c.get(t, "/"), atom.A) {
		path, ok := strings.CutPrefix(attribute(link, "href"), console.Prefix)
		if !ok || link.Parent.DataAtom != atom.Li || !inNav(link) || slices.ContainsFunc([]string{"/cluster", "/keys", "/users", "/accounts", "/audit", "/settings"}, func(s string) bool { return path == s }) {
			continue
		}
		for _, form := range elements(t, c.get(t, path), atom.Form) {
			if attribute(form, "method") != "get" {
				continue
			}
			for n := range form.Descendants() {
				f := textFilter{path, attribute(n, "name")}
				if n.DataAtom == atom.Input && slices.Contains([]string{"search", "text"}, attribute(n, "type")) && !slices.Contains(out, f) {
					out = append(out, f)
				}
			}
		}
	}
	return out
}

func inNav(n *html.Node) bool {
	for p := range n.Ancestors() {
		if p.DataAtom == atom.Nav {
			return true
		}
	}
	return false
}

func elements(t *testing.T, page string, kind atom.Atom) []*html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var out []*html.Node
	for n := range doc.Descendants() {
		if n.DataAtom == kind {
			out = append(out, n)
		}
	}
	return out
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// refusedFor reports whether a page says at a field what is wrong, in words that
// have part in them.
func refusedFor(body, name, part string) bool {
	_, at, ok := strings.Cut(body, `id="f-`+name+`-error"`)
	at, _, _ = strings.Cut(at, "</ul>")
	return ok && strings.Contains(at, part)
}

// said is the main part of a page, for a message of a test.
func said(body string) string {
	_, main, _ := strings.Cut(body, "<main")
	return main[:min(len(main), 3000)]
}
