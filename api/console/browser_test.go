//go:build browser

package console

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"example.com/belfry/api/console/browsertest"
)

const (
	// pageLife bounds one page with what is done on it.
	pageLife = 40 * time.Second
	// looksLife bounds one page with all of its looks.
	looksLife = 3 * time.Minute
)

// chromium is that of all tests of this package.
var chromium browsertest.Browser

func TestMain(m *testing.M) {
	m.Run()
	chromium.Close()
}

// browser is a tab and the server that it looks at.
type browser struct {
	*browsertest.Tab
	server  *httptest.Server
	handler atomic.Pointer[http.Handler]
	theme   atomic.Value // string
	// signedIn: requests get the cookie of a session, whatever the browser has.
	signedIn atomic.Bool
}

// newBrowser opens a tab, or skips the test with what is missing.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	b := &browser{}
	b.theme.Store("light")
	b.signedIn.Store(true)
	b.server = httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(b.server.Close)
	b.Tab = chromium.Tab(t)
	return b
}

// blankPath is an empty page of the same server: about:blank would cost a new
// process of the browser for every page.
const blankPath = "/blank"

// serve is the console of the moment, for somebody who is signed in.
func (b *browser) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == blankPath || r.URL.Path == "/favicon.ico" { // which a page without an icon is asked for
		w.Header().Set("Content-Type", "text/html")
		return
	}
	h := b.handler.Load()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	if b.signedIn.Load() {
		r.Header.Del("Cookie")
		r.AddCookie(&http.Cookie{Name: cookieSession, Value: "IBSSO:" + testToken})
		r.AddCookie(&http.Cookie{Name: cookieTheme, Value: b.theme.Load().(string)})
	}
	(*h).ServeHTTP(w, r)
}

func (b *browser) show(h http.Handler) { b.handler.Store(&h) }

// showFixture has the server show what is behind a fixture.
func (b *browser) showFixture(tb testing.TB, f fixture) {
	tb.Helper()
	api := newFakeAPI()
	if f.api != nil {
		f.api(api)
	}
	b.show(newConsole(tb, api))
	b.signedIn.Store(f.screen != "/sign-in")
}

func (b *browser) quiet(t *testing.T) {
	t.Helper()
	b.Quiet(t, b.server.URL)
}

// open shows a page.
func (b *browser) open(ctx context.Context, l browsertest.Look, path string) error {
	b.theme.Store(l.Theme)
	if err := b.As(ctx, l); err != nil {
		return err
	}
	return chromedp.Do(ctx, chromedp.Navigate(b.server.URL+Prefix+path))
}

// sound has axe look at the page that is shown.
func (b *browser) sound(ctx context.Context, t *testing.T) {
	t.Helper()
	found, err := b.Flaws(ctx, browsertest.AllRules)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

// wanted reports whether BELFRY_SCREENS, a list of paths, has the screen.
func wanted(path string) bool {
	only := os.Getenv("BELFRY_SCREENS")
	return only == "" || slices.Contains(strings.Fields(only), path)
}

// seenFixtures are those of lookedAt that are wanted.
func seenFixtures() []fixture {
	return slices.DeleteFunc(lookedAt(), func(f fixture) bool { return !wanted(f.screen) })
}

// Every screen, light and dark, with forced colours and without, narrow and
// wide: axe finds nothing, nothing is wider than the window, the console is
// quiet, no other host is asked.
func TestBrowser_screens(t *testing.T) {
	t.Parallel()
	tabs := make(chan *browser, parallelTabs)
	for range parallelTabs {
		tabs <- newBrowser(t)
	}
	for _, f := range seenFixtures() {
		t.Run(strings.Trim(f.path, "/")+" "+f.kind, func(t *testing.T) {
			t.Parallel()
			b := <-tabs
			defer func() { tabs <- b }()
			b.showFixture(t, f)
			b.check(t, f)
		})
	}
}

// parallelTabs is how many pages are looked at at a time.
const parallelTabs = 3

// check looks at a page in every look. It is loaded once: a look changes the
// window and the colours of the page that is there.
func (b *browser) check(t *testing.T, f fixture) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.Ctx, looksLife)
	defer cancel()
	looks := browsertest.Looks()
	if !f.everyLook() {
		// These differ in content, not in colours: what does not fit shows here.
		looks = []browsertest.Look{browsertest.Narrow}
	}
	if err := b.open(ctx, looks[0], f.path); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.WaitReady("main")); err != nil {
		t.Fatal(err)
	}
	for _, l := range looks {
		if err := b.As(ctx, l); err != nil {
			t.Fatal(err)
		}
		found, err := b.Flaws(ctx, l.Breaks())
		if err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		for _, v := range found {
			t.Errorf("%s: %s", l, v)
		}
	}
	// The page is left before the server shows another: it may ask for itself.
	if err := chromedp.Do(ctx, chromedp.Navigate(b.server.URL+blankPath)); err != nil {
		t.Fatal(err)
	}
	var but []string
	if f.status >= http.StatusBadRequest { // of which a browser complains
		but = []string{"the server responded with a status of 4"}
	}
	b.Quiet(t, b.server.URL, but...)
}

// Every element of the console that a script gives behaviour to can be used by
// the keyboard alone: palette, help, search, menus.
func TestBrowser_keyboard(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	api := newFakeAPI()
	overviewFixtures()[1].api(api)
	b.show(newConsole(t, api))
	ctx, cancel := context.WithTimeout(b.Ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, browsertest.Wide, "/"); err != nil {
		t.Fatal(err)
	}
	value := func(js string) string {
		t.Helper()
		s, err := chromedp.Run(ctx, chromedp.Evaluate[string](js))
		if err != nil {
			t.Fatalf("%s: %v", js, err)
		}
		return s
	}
	press := func(keys string, opts ...chromedp.KeyOption) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.KeyEvent(keys, opts...)); err != nil {
			t.Fatal(err)
		}
	}
	press("\t")
	if got := value(`document.activeElement.className`); got != "skip" {
		t.Errorf("the first stop is %q, not the skip link", got)
	}
	press("?")
	if got := value(`document.querySelector("dialog[open]")?.innerText || ""`); !strings.Contains(got, "Keyboard") {
		t.Errorf("? shows %q", got)
	}
	press("\x1b")
	press("k", chromedp.KeyModifiers(2)) // Ctrl
	if err := chromedp.Do(ctx, chromedp.WaitVisible(`[role="option"]`)); err != nil {
		t.Fatal(err)
	}
	press("display")
	press("\r")
	if err := chromedp.Do(ctx, chromedp.WaitVisible(`input[name="theme"]`)); err != nil {
		t.Fatalf("the palette does not go to a screen: %v", err)
	}
	press("go")
	if err := chromedp.Do(ctx, chromedp.WaitVisible(`.tiles`)); err != nil {
		t.Fatalf("g o does not go to the overview: %v", err)
	}
	b.quiet(t)
}

// A sign-in by the form, the page, and the sign-out, with the browser's own
// cookies.
func TestBrowser_signIn(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	api := newFakeAPI().set("DELETE /auth/1/session", nil)
	overviewFixtures()[1].api(api)
	b.show(newConsole(t, api))
	b.signedIn.Store(false)
	ctx, cancel := context.WithTimeout(b.Ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, browsertest.Wide, "/settings"); err != nil {
		t.Fatal(err)
	}
	err := chromedp.Do(ctx,
		chromedp.WaitVisible(`#f-key`), chromedp.SendKeys(`#f-key`, testKey+"\r"),
		chromedp.WaitVisible(`input[name="theme"]`),
		chromedp.Click(`details.menu summary`), chromedp.WaitVisible(`.menu-body form button`), chromedp.Click(`.menu-body form button`),
		chromedp.WaitVisible(`#f-key`))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(api.seen("DELETE /auth/1/session")); n != 1 {
		t.Errorf("the token was ended %d times", n)
	}
	b.quiet(t)
}

// The first contentful paint on loopback.
func TestBrowser_paint(t *testing.T) {
	const most = 300.0 // ms
	b := newBrowser(t)
	api := newFakeAPI()
	overviewFixtures()[1].api(api)
	b.show(newConsole(t, api))
	ctx, cancel := context.WithTimeout(b.Ctx, pageLife)
	defer cancel()
	best := 1e9
	for range 4 {
		if err := b.open(ctx, browsertest.Wide, "/"); err != nil {
			t.Fatal(err)
		}
		ms, err := chromedp.Run(ctx, chromedp.Poll[float64](`performance.getEntriesByName("first-contentful-paint")[0]?.startTime`))
		if err != nil {
			t.Fatal(err)
		}
		best = min(best, ms)
	}
	if t.Logf("first contentful paint: %.0f ms", best); best > most {
		t.Errorf("first contentful paint after %.0f ms, at most %.0f", best, most)
	}
}

// "make screenshots" writes a picture of every screen with something on it.
func TestBrowser_screenshots(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("BELFRY_SCREENSHOTS")
	if dir == "" {
		t.Skip("BELFRY_SCREENSHOTS is not set: make screenshots")
	}
	// BELFRY_LOOKS=narrow: narrow ones too; all: and every kind of content.
	looks := os.Getenv("BELFRY_LOOKS")
	tabs := make(chan *browser, parallelTabs)
	for range parallelTabs {
		tabs <- newBrowser(t)
	}
	for _, f := range seenFixtures() {
		if f.kind != "one" && f.kind != "outage" && looks != "all" {
			continue
		}
		t.Run(f.path+" "+f.kind, func(t *testing.T) {
			t.Parallel()
			b := <-tabs
			defer func() { tabs <- b }()
			b.showFixture(t, f)
			for _, l := range browsertest.Looks() {
				if !l.Forced && (looks != "" || l.Width == browsertest.Wide.Width) {
					b.photograph(t, l, f.path, filepath.Join(dir, pictureName(f, l)))
				}
			}
		})
	}
}

// photograph writes a picture of a whole page.
func (b *browser) photograph(t *testing.T, l browsertest.Look, path, file string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.Ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, l, path); err != nil {
		t.Fatal(err)
	}
	b.keep(ctx, t, file)
}

// keep writes a picture of the page that is shown.
func (b *browser) keep(ctx context.Context, t *testing.T, file string) {
	t.Helper()
	shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if shot, err = browsertest.Smaller(shot); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, shot, 0o644); err != nil {
		t.Fatal(err)
	}
}

func pictureName(f fixture, l browsertest.Look) string {
	name := strings.Trim(strings.NewReplacer("{", "", "}", "", "/", "-").Replace(f.screen), "-")
	if name == "" {
		name = "overview"
	}
	if f.kind != "one" {
		name += "-" + f.kind
	}
	name += "-" + l.Theme
	if l.Width == browsertest.Narrow.Width {
		name += "-narrow"
	}
	return url.PathEscape(name) + ".png"
}
