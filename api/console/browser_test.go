//go:build browser

package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const (
	// browserLife bounds everything that one browser does.
	browserLife = 20 * time.Minute
	// pageLife bounds one page with its check.
	pageLife = 40 * time.Second
)

// browser is one tab of one Chromium and the server that it looks at.
type browser struct {
	ctx     context.Context
	server  *httptest.Server
	handler atomic.Pointer[http.Handler]
	theme   atomic.Value // string
	// signedIn: requests get the cookie of a session, whatever the browser has.
	signedIn atomic.Bool

	mu       sync.Mutex
	requests []string
	messages []string
}

// newBrowser starts a Chromium, or skips the test with what is missing.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "../../.ci/browser").Output()
	if err != nil {
		why := err.Error()
		if e, ok := errors.AsType[*exec.ExitError](err); ok && len(e.Stderr) > 0 {
			why = strings.TrimSpace(string(e.Stderr))
		}
		t.Skipf("no browser test: %s", why)
	}
	b := &browser{}
	b.theme.Store("light")
	b.signedIn.Store(true)
	b.server = httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(b.server.Close)
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(strings.TrimSpace(string(out))), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("disable-component-update", true))
	life, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), browserLife)
	t.Cleanup(cancel)
	alloc, cancelAlloc := chromedp.NewExecAllocator(life, opts...)
	t.Cleanup(cancelAlloc)
	ctx, cancelTab := chromedp.NewContext(alloc)
	t.Cleanup(cancelTab)
	b.ctx = ctx
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatalf("the browser does not start: %v", err)
	}
	for _, enable := range []func() error{
		func() error { _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); return err },
		func() error { _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); return err },
	} {
		if err := enable(); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// serve is the console of the moment, for somebody who is signed in.
func (b *browser) serve(w http.ResponseWriter, r *http.Request) {
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

func (b *browser) hear(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		b.messages = append(b.messages, "exception: "+e.ExceptionDetails.Text+" "+exceptionText(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		b.messages = append(b.messages, fmt.Sprintf("console.%s: %v", e.Type, consoleText(e.Args)))
	case *log.EventEntryAdded:
		b.messages = append(b.messages, fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
	}
}

func consoleText(args []*runtime.RemoteObject) string {
	var out []string
	for _, a := range args {
		out = append(out, string(a.Value)+a.Description)
	}
	return strings.Join(out, " ")
}

// quiet fails when a page asked for something elsewhere, or complained.
func (b *browser) quiet(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		// Fields with a calendar have an icon of the browser's own as data.
		if !strings.HasPrefix(r, b.server.URL+"/") && r != "about:blank" && !strings.HasPrefix(r, "data:image/svg+xml;base64,") {
			t.Errorf("a request went to %s", r)
		}
	}
	for _, m := range b.messages {
		// Advice for authors is no complaint: a form with several secrets is none
		// to sign in.
		if !strings.HasPrefix(m, "recommendation: ") {
			t.Errorf("the browser says: %s", m)
		}
	}
	b.requests, b.messages = nil, nil
}

// look is how a page is looked at.
type look struct {
	theme         string
	width, height int64
	forced        bool // forced colours
}

var looks = []look{
	{theme: "light", width: 1280, height: 900},
	{theme: "dark", width: 1280, height: 900},
	{theme: "light", width: 360, height: 740},
	{theme: "dark", width: 360, height: 740},
}

// narrow is the place in looks that shows best what does not fit.
const narrow = 2

func (l look) String() string {
	s := fmt.Sprintf("%s-%d", l.theme, l.width)
	if l.forced {
		s += "-forced"
	}
	return s
}

// open shows a page.
func (b *browser) open(ctx context.Context, l look, path string) error {
	b.theme.Store(l.theme)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(l.width, l.height)); err != nil {
		return err
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}}}
	if l.forced {
		media.Features = append(media.Features, &emulation.MediaFeature{Name: "forced-colors", Value: "active"})
	}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
		return err
	}
	return chromedp.Do(ctx, chromedp.Navigate(b.server.URL+Prefix+path))
}

// runAxe gives the violations of WCAG 2.2 A and AA and of axe's best practices
// for the page that is shown.
const runAxe = `(async () => {
  const r = await axe.run(document, {runOnly: {type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}, resultTypes: ["violations"], preload: false});
  return r.violations.map(v => v.id + ": " + v.help + "\n" + v.nodes.slice(0, 3).map(n => "    " + n.html.slice(0, 200) + "\n    " + (n.failureSummary || "").replace(/\n/g, " ")).join("\n"));
})()`

// wanted reports whether BELFRY_SCREENS, a list of paths, has the screen.
func wanted(path string) bool {
	only := os.Getenv("BELFRY_SCREENS")
	return only == "" || slices.Contains(strings.Fields(only), path)
}

// seen are the fixtures that a browser looks at: all but those that are only
// long, and errors, of which a browser complains.
func seenFixtures() []fixture {
	return slices.DeleteFunc(slices.Concat(publicFixtures(), fixtures()), func(f fixture) bool {
		return f.kind == "many" || f.status >= http.StatusBadRequest || !wanted(f.screen)
	})
}

// publicFixtures are pages for somebody who is not signed in.
func publicFixtures() []fixture {
	return []fixture{{screen: "/sign-in", path: "/sign-in", kind: "one"}}
}

// Every screen, light and dark, narrow and wide: axe finds nothing, nothing is
// wider than the window, the console is quiet, no other host is asked.
func TestBrowser_screens(t *testing.T) {
	b := newBrowser(t)
	axe, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range seenFixtures() {
		api := newFakeAPI()
		if f.api != nil {
			f.api(api)
		}
		b.show(newConsole(t, api))
		b.signedIn.Store(f.screen != "/sign-in")
		for i, l := range looks {
			// The other fixtures differ in content, not in colours.
			if f.kind != "one" && i != narrow {
				continue
			}
			t.Run(strings.Trim(f.path, "/")+" "+f.kind+" "+l.String(), func(t *testing.T) { b.check(t, f, l, string(axe)) })
		}
	}
}

func (b *browser) check(t *testing.T, f fixture, l look, axe string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, l, f.path); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.WaitReady("main")); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[any](axe+";null")); err != nil {
		t.Fatal(err)
	}
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](runAxe, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Errorf("axe: %s", v)
	}
	over, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](tooWide))
	if err != nil {
		t.Fatal(err)
	}
	if len(over) > 0 {
		t.Errorf("wider than the window: %v", over)
	}
	b.quiet(t)
}

// tooWide names elements that make the page scroll sideways.
const tooWide = `(() => {
  const w = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= w) return [];
  return [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > w + 1 && !e.closest(".scroll, pre, dialog"))
    .slice(0, 5).map(e => e.tagName.toLowerCase() + "." + e.className + " " + Math.round(e.getBoundingClientRect().right));
})()`

// Every element of the console that a script gives behaviour to can be used by
// the keyboard alone: palette, help, search, menus.
func TestBrowser_keyboard(t *testing.T) {
	b := newBrowser(t)
	api := newFakeAPI()
	overviewFixtures()[1].api(api)
	b.show(newConsole(t, api))
	ctx, cancel := context.WithTimeout(b.ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, looks[0], "/"); err != nil {
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
	b := newBrowser(t)
	api := newFakeAPI().set("DELETE /auth/1/session", nil)
	overviewFixtures()[1].api(api)
	b.show(newConsole(t, api))
	b.signedIn.Store(false)
	ctx, cancel := context.WithTimeout(b.ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, looks[0], "/settings"); err != nil {
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
	ctx, cancel := context.WithTimeout(b.ctx, pageLife)
	defer cancel()
	best := 1e9
	for range 4 {
		if err := b.open(ctx, looks[0], "/"); err != nil {
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
	dir := os.Getenv("BELFRY_SCREENSHOTS")
	if dir == "" {
		t.Skip("BELFRY_SCREENSHOTS is not set: make screenshots")
	}
	b := newBrowser(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	all := looks
	if os.Getenv("BELFRY_LOOKS") != "all" {
		all = looks[:2]
	}
	for _, f := range seenFixtures() {
		if f.kind != "one" && os.Getenv("BELFRY_LOOKS") != "all" {
			continue
		}
		api := newFakeAPI()
		if f.api != nil {
			f.api(api)
		}
		b.show(newConsole(t, api))
		b.signedIn.Store(f.screen != "/sign-in")
		for _, l := range all {
			ctx, cancel := context.WithTimeout(b.ctx, pageLife)
			err := b.open(ctx, l, f.path)
			var png []byte
			if err == nil {
				png, err = chromedp.Run(ctx, chromedp.FullScreenshot(100))
			}
			cancel()
			if err != nil {
				t.Fatalf("%s: %v", f.path, err)
			}
			name := pictureName(f, l)
			if err := os.WriteFile(filepath.Join(dir, name), png, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func pictureName(f fixture, l look) string {
	name := strings.Trim(strings.NewReplacer("{", "", "}", "", "/", "-").Replace(f.screen), "-")
	if name == "" {
		name = "overview"
	}
	if f.kind != "one" {
		name += "-" + f.kind
	}
	name += "-" + l.theme
	if l.width < 1000 {
		name += "-narrow"
	}
	return url.PathEscape(name) + ".png"
}

func exceptionText(d *runtime.ExceptionDetails) string {
	if d.Exception == nil {
		return d.URL
	}
	return d.Exception.Description
}
