//go:build browser

package browsertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browserLife bounds everything that one Chromium does.
const browserLife = 20 * time.Minute

// Browser is one Chromium, which starts with its first tab. The zero value is
// ready to use.
type Browser struct {
	start  sync.Once
	ctx    context.Context
	cancel []context.CancelFunc
	// why there is no browser; err is for what should not have happened.
	why string
	err error
}

// Close ends the Chromium and removes its files.
func (b *Browser) Close() {
	for _, cancel := range slices.Backward(b.cancel) {
		cancel()
	}
}

func (b *Browser) launch() {
	script, err := findUp(".ci/browser")
	if err != nil {
		b.err = err
		return
	}
	out, err := exec.CommandContext(context.Background(), script).Output() //nolint:gosec // a script of this repository
	if err != nil {
		b.why = err.Error()
		if e, ok := errors.AsType[*exec.ExitError](err); ok && len(e.Stderr) > 0 {
			b.why = strings.TrimSpace(string(e.Stderr))
		}
		return
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(strings.TrimSpace(string(out))), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("disable-component-update", true))
	life, cancel := context.WithTimeout(context.Background(), browserLife)
	alloc, cancelAlloc := chromedp.NewExecAllocator(life, opts...)
	ctx, cancelTab := chromedp.NewContext(alloc)
	b.cancel = append(b.cancel, cancel, cancelAlloc, cancelTab)
	b.ctx = ctx
	if err := chromedp.Do(ctx); err != nil {
		b.err = fmt.Errorf("the browser does not start: %w", err)
	}
}

// findUp finds a file in the working directory or the nearest one above it.
func findUp(name string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("there is no %s here or above", name)
		}
		dir = filepath.Dir(dir)
	}
}

// Tab opens a tab with cookies of its own, which closes with the test. It skips
// the test with what is missing when there is no browser.
func (b *Browser) Tab(tb testing.TB) *Tab {
	tb.Helper()
	b.start.Do(b.launch)
	if b.why != "" {
		tb.Skipf("no browser test: %s", b.why)
	}
	if b.err != nil {
		tb.Fatal(b.err)
	}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	tb.Cleanup(cancel)
	t := &Tab{Ctx: ctx}
	if err := chromedp.Listen(ctx, t.hear); err != nil {
		tb.Fatal(err)
	}
	for _, enable := range []func() error{
		func() error { _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); return err },
		func() error { _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); return err },
		// Else only one of several tabs has the focus.
		func() error {
			_, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
			return err
		},
	} {
		if err := enable(); err != nil {
			tb.Fatal(err)
		}
	}
	return t
}

// Tab is one tab, and what its pages asked for and complained about.
type Tab struct {
	// Ctx is what chromedp takes.
	Ctx context.Context

	mu       sync.Mutex
	requests []string
	messages []string
}

func (t *Tab) hear(ev any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		t.requests = append(t.requests, e.Request.URL)
	case *runtime.EventExceptionThrown:
		t.messages = append(t.messages, "exception: "+e.ExceptionDetails.Text+" "+exceptionText(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		t.messages = append(t.messages, fmt.Sprintf("console.%s: %v", e.Type, consoleText(e.Args)))
	case *log.EventEntryAdded:
		t.messages = append(t.messages, fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
	}
}

// Requests are the URLs that were asked for since the last Quiet.
func (t *Tab) Requests() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.requests)
}

// Quiet fails when a page asked for something elsewhere than at origin, or
// complained with anything that has none of the texts of but. It forgets what
// there was.
func (t *Tab) Quiet(tb testing.TB, origin string, but ...string) {
	tb.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.requests {
		// Fields with a calendar have an icon of the browser's own as data.
		if !strings.HasPrefix(r, origin+"/") && r != "about:blank" && !strings.HasPrefix(r, "data:image/svg+xml;base64,") {
			tb.Errorf("a request went to %s", r)
		}
	}
	// Advice for authors is no complaint: a form with several secrets is none to
	// sign in.
	but = append(but, "recommendation: ")
next:
	for _, m := range t.messages {
		for _, ok := range but {
			if strings.Contains(m, ok) {
				continue next
			}
		}
		tb.Errorf("the browser says: %s", m)
	}
	t.requests, t.messages = nil, nil
}

func consoleText(args []*runtime.RemoteObject) string {
	var out []string
	for _, a := range args {
		out = append(out, string(a.Value)+a.Description)
	}
	return strings.Join(out, " ")
}

func exceptionText(d *runtime.ExceptionDetails) string {
	if d.Exception == nil {
		return d.URL
	}
	return d.Exception.Description
}
