//go:build browser

package console

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"example.com/belfry/api/console/browsertest"
)

// A key is made by the keyboard alone: the page that shows it is sound, has a
// button that copies it, and nothing else has it. Then it is deleted by a
// dialog that asks for its name.
func TestBrowser_keyShownOnce(t *testing.T) {
	t.Parallel()
	const secret = "blf_CANARY-of-a-new-key"
	b := newBrowser(t)
	api := newFakeAPI()
	accessOf("billing", 1)(api)
	api.set("POST /accounts/1/accounts/acme/keys", map[string]any{"keyId": "k1", "accountId": "acme", "name": "billing", "scopes": []string{"events:write"}, "cidrs": []string{}, "key": secret})
	api.set("DELETE /accounts/1/accounts/acme/keys/k1", nil)
	b.show(newConsole(t, api))
	ctx, cancel := context.WithTimeout(b.Ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, browsertest.Narrow, "/new-key"); err != nil {
		t.Fatal(err)
	}
	err := chromedp.Do(ctx,
		chromedp.WaitVisible(`#f-name`), chromedp.Focus(`#f-name`), chromedp.KeyEvent("billing\t "), chromedp.KeyEvent("\r"),
		chromedp.WaitVisible(`.shown-once blf-copy button`))
	if err != nil {
		t.Fatal(err)
	}
	b.sound(ctx, t)
	if dir := os.Getenv("BELFRY_SCREENSHOTS"); dir != "" {
		for _, theme := range []string{"light", "dark"} {
			if err := b.As(ctx, browsertest.Look{Theme: theme, Width: browsertest.Wide.Width, Height: browsertest.Wide.Height}); err != nil {
				t.Fatal(err)
			}
			b.keep(ctx, t, filepath.Join(dir, "key-created-"+theme+".png"))
		}
	}
	where, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + " " + document.cookie`))
	if err != nil || strings.Contains(where, "CANARY") {
		t.Errorf("address and cookies: %s, %v", where, err)
	}
	err = chromedp.Do(ctx,
		chromedp.Focus(`.shown-once .button.primary`), chromedp.KeyEvent("\r"),
		chromedp.WaitVisible(`a[data-dialog]`), chromedp.Focus(`a[data-dialog]`), chromedp.KeyEvent("\r"),
		chromedp.WaitVisible(`dialog #f-confirm`), chromedp.KeyEvent("billing\r"),
		chromedp.WaitVisible(`#list`))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(api.seen("DELETE /accounts/1/accounts/acme/keys/k1")); n != 1 {
		t.Errorf("the key was deleted %d times", n)
	}
	b.quiet(t)
}
