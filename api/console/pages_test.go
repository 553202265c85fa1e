package console

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"example.com/belfry/fsm/model"
)

// listKinds are the fixtures that every screen of the menu has.
var listKinds = []string{"empty", "one", "many", "unicode", "rtl"}

// slowest is what the server may take for a page with 10,000 rows behind it.
const slowest = 100 * time.Millisecond

// fastRounds is how often a page may try to be fast enough: a machine that does
// other things makes it slower, never faster.
const fastRounds = 10

// Every screen that shows something has a fixture, and those of the menu have
// all of them.
func TestPages_fixtures(t *testing.T) {
	t.Parallel()
	kinds := map[string][]string{}
	for _, f := range fixtures() {
		kinds[f.screen] = append(kinds[f.screen], f.kind)
	}
	for _, s := range screens() {
		if s.get == nil || s.file == "" || s.public {
			continue
		}
		if len(kinds[s.path]) == 0 {
			t.Errorf("screen %s has no fixture", s.path)
		}
		for _, k := range listKinds {
			if s.nav != nil && !s.form && !slices.Contains(kinds[s.path], k) {
				t.Errorf("screen %s has no fixture %q", s.path, k)
			}
		}
		delete(kinds, s.path)
	}
	for path := range kinds {
		t.Errorf("there are fixtures of %s, which is no screen", path)
	}
}

// answersOnly are the templates of no address, and the browser test that looks
// at each.
var answersOnly = map[string]string{"key_created.html": "TestBrowser_keyShownOnce"}

// sharedTemplates are parts of the others.
var sharedTemplates = []string{"events_parts.html", "fields.html", "layout.html", "partials.html", "setup.html"}

// The browser looks at every screen in every look, at every template, and at
// pages that say what went wrong: TestBrowser_screens goes by the same list.
func TestPages_lookedAt(t *testing.T) {
	t.Parallel()
	screensSeen, templatesSeen, statuses := map[string]bool{}, map[string]bool{}, map[int]bool{}
	for _, f := range lookedAt() {
		screensSeen[f.screen] = screensSeen[f.screen] || f.everyLook()
		statuses[f.status] = true
	}
	for _, s := range screens() {
		if s.get == nil || s.file == "" {
			continue
		}
		if templatesSeen[s.file] = true; !screensSeen[s.path] {
			t.Errorf("no browser looks at the screen %s in every look: it needs a fixture that is", s.path)
		}
	}
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !templatesSeen[f.Name()] && answersOnly[f.Name()] == "" && !slices.Contains(sharedTemplates, f.Name()) && f.Name() != "problem.html" {
			t.Errorf("no browser looks at the template %s", f.Name())
		}
	}
	for _, status := range []int{http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusForbidden} {
		if !statuses[status] {
			t.Errorf("no browser looks at a page that is answered with %d", status)
		}
	}
}

// Every page of every fixture is sound: complete, well nested, nothing inline,
// labels for fields, texts escaped, links that lead somewhere.
func TestPages_sound(t *testing.T) {
	t.Parallel()
	for _, f := range fixtures() {
		t.Run(strings.Trim(f.path, "/")+" "+f.kind, func(t *testing.T) {
			t.Parallel()
			api := newFakeAPI()
			if f.api != nil {
				f.api(api)
			}
			c := newConsole(t, api)
			res := get(t, c, f.path)
			status := f.status
			if status == 0 {
				status = http.StatusOK
			}
			body := res.Body.String()
			if res.Code != status {
				t.Fatalf("GET %s = %d, want %d\n%s", f.path, res.Code, status, body)
			}
			for _, s := range f.want {
				if !strings.Contains(body, s) && !strings.Contains(html.UnescapeString(body), s) {
					t.Errorf("the page lacks %q", s)
				}
			}
			for _, s := range append(f.not, "<script>alert", "ZgotmplZ", "%!", "<nil>", "[object") {
				if strings.Contains(body, s) {
					t.Errorf("the page has %q", s)
				}
			}
			checkPage(t, c, body)
		})
	}
}

// Pages with 10,000 rows behind them are made in time: of the processor, as the
// machine may do other things. What the fake API takes does not count.
func TestPages_fast(t *testing.T) { //nolint:paralleltest // it measures
	for _, f := range fixtures() {
		if f.kind != "many" {
			continue
		}
		api := newFakeAPI()
		f.api(api)
		timed := &timedAPI{t: t, api: api}
		c := newConsole(t, timed)
		best := time.Hour
		for range fastRounds {
			begin := processorTime(t)
			timed.spent = 0
			get(t, c, f.path)
			if best = min(best, processorTime(t)-begin-timed.spent); best <= slowest {
				break
			}
		}
		t.Logf("%-40s %s", f.path, best)
		if !raceDetector && best > slowest {
			t.Errorf("%s took %s, at most %s", f.path, best, slowest)
		}
	}
}

// timedAPI counts the time that answers take. It gives one after another, as
// what one takes of the processor could not be told from another's.
type timedAPI struct {
	t     *testing.T
	api   http.Handler
	mu    sync.Mutex
	spent time.Duration
}

func (a *timedAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	begin := processorTime(a.t)
	a.api.ServeHTTP(w, r)
	a.spent += processorTime(a.t) - begin
}

// processorTime is what the process has taken of the processor so far.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// An API that fails makes a page that says so, and never half of one.
func TestPages_errors(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range fixtures() {
		if seen[f.screen] || f.status != 0 {
			continue
		}
		seen[f.screen] = true
		for _, code := range []model.Code{model.CodeInternal, model.CodeUnavailable, model.CodeForbidden, model.CodeNotFound, model.CodeLimit} {
			t.Run(strings.Trim(f.path, "/")+" "+string(code), func(t *testing.T) {
				t.Parallel()
				api := newFakeAPI()
				api.down = model.Errorf(code, "reason <of> the failure")
				c := newConsole(t, api)
				res := get(t, c, f.path)
				body := res.Body.String()
				if res.Code >= 400 && !strings.Contains(body, problems[code].title) {
					t.Errorf("%d without its title\n%s", res.Code, body)
				}
				checkPage(t, c, body)
			})
		}
	}
}

// checkPage looks at one page as a whole.
func checkPage(tb testing.TB, c *Console, body string) {
	tb.Helper()
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	ids, labels, described := map[string]int{}, map[string]bool{}, []string{}
	headings := 0
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if id := attr(n, "id"); id != "" {
			ids[id]++
		}
		if n.DataAtom == atom.Label {
			labels[attr(n, "for")] = true
		}
		if n.DataAtom == atom.H1 {
			headings++
		}
		described = append(described, strings.Fields(attr(n, "aria-describedby"))...)
		checkElement(tb, n)
		for _, a := range n.Attr {
			if slices.Contains([]string{"href", "action", "src", "data-hx-get"}, a.Key) {
				checkLink(tb, c, n, a.Val)
			}
		}
	}
	if headings != 1 {
		tb.Errorf("the page has %d h1, it needs one", headings)
	}
	for id, n := range ids {
		if n > 1 {
			tb.Errorf("id %s is there %d times", id, n)
		}
	}
	for _, id := range described {
		if ids[id] == 0 {
			tb.Errorf("aria-describedby names %s, which is not there", id)
		}
	}
	for n := range doc.Descendants() {
		if isField(n) && !labels[attr(n, "id")] && attr(n, "aria-label") == "" && !inLabel(n) {
			tb.Errorf("field %s has no label", attr(n, "name"))
		}
	}
}

// INV console-1: nothing inline.
func checkElement(tb testing.TB, n *html.Node) {
	tb.Helper()
	for _, a := range n.Attr {
		if a.Key == "style" || strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "hx-on") || strings.HasPrefix(a.Key, "data-hx-on") {
			tb.Errorf("<%s> has the inline attribute %s", n.Data, a.Key)
		}
	}
	switch n.DataAtom { //nolint:exhaustive // the others are free
	case atom.Style:
		tb.Error("there is an inline <style>")
	case atom.Script:
		if attr(n, "src") == "" {
			tb.Error("there is an inline <script>")
		}
	case atom.Form:
		if attr(n, "method") != "post" || strings.HasPrefix(attr(n, "action"), Prefix+"/sign-in") {
			return
		}
		// INV console-2: every form that changes something has the token.
		for f := range n.Descendants() {
			if f.DataAtom == atom.Input && attr(f, "name") == csrfField && attr(f, "value") != "" {
				return
			}
		}
		tb.Errorf("the form to %s has no token", attr(n, "action"))
	}
}

// checkLink: an address leads to a screen, a file, an anchor, or a page of the
// API.
func checkLink(tb testing.TB, c *Console, n *html.Node, raw string) {
	tb.Helper()
	u, err := url.Parse(raw)
	if err != nil || u.Host != "" || u.Scheme != "" {
		tb.Errorf("<%s> goes to %q: not of this console", n.Data, raw)
		return
	}
	if u.Path == "" || u.Path == "/docs" || u.Path == "/openapi.yaml" {
		return
	}
	method := http.MethodGet
	if n.DataAtom == atom.Form && attr(n, "method") == "post" {
		method = http.MethodPost
	}
	r := httptest.NewRequestWithContext(tb.Context(), method, u.EscapedPath(), nil)
	_, pattern := c.mux.Handler(r)
	if name, ok := strings.CutPrefix(u.Path, Prefix+"/static/"+c.assets.version+"/"); ok {
		if _, known := c.assets.files[name]; !known {
			tb.Errorf("there is no file %s", name)
		}
		return
	}
	if pattern == "" || pattern == Prefix+"/" {
		tb.Errorf("<%s> goes to %s %s, which is no screen", n.Data, method, u.Path)
	}
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func isField(n *html.Node) bool {
	switch n.DataAtom { //nolint:exhaustive // the others are no fields
	case atom.Input:
		return attr(n, "type") != "hidden"
	case atom.Select, atom.Textarea:
		return true
	}
	return false
}

func inLabel(n *html.Node) bool {
	for p := range n.Ancestors() {
		if p.DataAtom == atom.Label {
			return true
		}
	}
	return false
}

var remote = regexp.MustCompile(`https?://[a-z0-9.-]+`)

// The sheet that orders the layers comes before all that fill them.
func TestAssets_order(t *testing.T) {
	t.Parallel()
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range a.styles() {
		if name == "app.css" {
			return
		}
		if !strings.HasPrefix(name, "vendor/") {
			t.Errorf("%s comes before app.css", name)
		}
	}
}

// Weight: what a browser loads for a page, compressed.
func TestAssets_weight(t *testing.T) {
	t.Parallel()
	const most = 90 << 10
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for name, f := range a.files {
		z, err := gzip.NewReader(bytes.NewReader(f.gz))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if b, err := io.ReadAll(z); err != nil || !bytes.Equal(b, f.plain) {
			t.Errorf("%s is not what was compressed: %v", name, err)
		}
		if strings.HasSuffix(name, ".js") || strings.HasSuffix(name, ".css") {
			sum += len(f.gz)
		}
		if strings.HasPrefix(name, "vendor/") {
			continue
		}
		for _, at := range remote.FindAllString(string(f.plain), -1) {
			if at != "http://www.w3.org" {
				t.Errorf("%s names another host: %s", name, at)
			}
		}
	}
	if t.Logf("JavaScript and CSS: %d bytes compressed", sum); sum > most {
		t.Errorf("JavaScript and CSS have %d bytes compressed, at most %d", sum, most)
	}
}

// Every screen of the menu has a key of its own: g and that letter.
func TestScreens_keys(t *testing.T) {
	t.Parallel()
	seen := map[rune]string{}
	for _, s := range screens() {
		if s.nav == nil || s.nav.key == 0 {
			continue
		}
		if other := seen[s.nav.key]; other != "" {
			t.Errorf("g %c leads to %s and to %s", s.nav.key, other, s.nav.label)
		}
		seen[s.nav.key] = s.nav.label
	}
}
