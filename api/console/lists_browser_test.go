//go:build browser

package console

import (
	"context"
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"

	"example.com/belfry/api/client"
	"example.com/belfry/api/console/browsertest"
	"example.com/belfry/fsm/model"
)

// What is typed into a filter and refused is said at its field while one goes on
// typing, and is gone when it is right again.
func TestBrowser_refusedFilter(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	api := newFakeAPI().set("GET /subscriptions/1/profiles", func(r *http.Request) any {
		if r.URL.Query().Get("search") == "wrong" {
			return model.Invalid("search", "must be right")
		}
		return paged([]client.Profile{profileNamed("orders", "https://example.com/hook", "", "")})(r)
	})
	b.show(newConsole(t, api))
	ctx, cancel := context.WithTimeout(b.Ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, browsertest.Narrow, "/profiles"); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.SendKeys("#f-q", "wrong"), chromedp.WaitVisible("#f-q-error")); err != nil {
		t.Fatal(err)
	}
	const held = `document.activeElement.id === "f-q" && document.activeElement.value === "wrong" && document.activeElement.getAttribute("aria-invalid") === "true" &&
		document.activeElement.getAttribute("aria-describedby") === "f-q-error" && !document.querySelector("#list table")`
	if ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](held)); err != nil || !ok {
		t.Errorf("the field lost what was typed, the focus, or is not named as wrong (%v)", err)
	}
	b.sound(ctx, t)
	if err := chromedp.Do(ctx, chromedp.KeyEvent("\b"), chromedp.WaitNotPresent("#f-q-error"), chromedp.WaitVisible("#list table")); err != nil {
		t.Fatal(err)
	}
	if ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!document.querySelector("[aria-invalid], .field.bad") && document.activeElement.value === "wron"`)); err != nil || !ok {
		t.Errorf("the field is still wrong (%v)", err)
	}
	b.Quiet(t, b.server.URL, "422 (Unprocessable Entity)")
}

// The live tail says at the field which of its filters is refused.
func TestBrowser_refusedTail(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	b.show(newConsole(t, newFakeAPI().set("GET "+tailPath, model.Invalid("/profileId", "must be shorter"))))
	ctx, cancel := context.WithTimeout(b.Ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, browsertest.Narrow, "/tail?profileId=long"); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.WaitVisible("#f-profileId-error")); err != nil {
		t.Fatal(err)
	}
	if got, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector(".field.bad").innerText + document.querySelector("#f-profileId").value`)); err != nil || got != "Profile\nMust be shorterlong" {
		t.Errorf("the field says %q (%v)", got, err)
	}
	b.sound(ctx, t)
	b.Quiet(t, b.server.URL, "400 (Bad Request)")
}
