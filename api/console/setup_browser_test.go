//go:build browser

package console

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"

	"example.com/belfry/api/console/browsertest"
)

// flowAPI is the shop, where a subscription can be made.
func flowAPI() *fakeAPI {
	api := newFakeAPI()
	shop().behind(api)
	api.set("POST /subscriptions/1/subscription/SMS", created(client.Refs{SubscriptionID: "orders-sms"}))
	api.set("POST /events/1/match", client.MatchReport{Matched: []event.MatchedSubscription{{SubscriptionID: "all-sms", ProfileID: "archive"}}})
	return api
}

// madeByFlow checks what the flows below send.
func madeByFlow(t *testing.T, api *fakeAPI) {
	t.Helper()
	var got client.Subscription
	if err := json.Unmarshal([]byte(ranLast(t, api, "POST /subscriptions/1/subscription/SMS")), &got); err != nil {
		t.Fatal(err)
	}
	p := got.Profile
	if got.SubscriptionID != "fresh" || len(got.Events) != 1 || got.Events[0].Event != "DELIVERY" || p.ProfileID != "fresh-hook" || urlOf(p) != "https://example.com/hook" ||
		p.Security == nil || p.Security.Type != "HMAC" || p.Security.Credentials.SecretKey != "a long secret" {
		t.Errorf("the request is %+v", got)
	}
}

// A subscription with its profile and authentication, by mouse: the events of
// the channel come by themselves, and the preview loses nothing that was typed.
func TestBrowser_createSubscription(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	api := flowAPI()
	b.show(newConsole(t, api))
	ctx, cancel := context.WithTimeout(b.Ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, browsertest.Wide, "/subscriptions"); err != nil {
		t.Fatal(err)
	}
	err := chromedp.Do(ctx,
		chromedp.Click(`.head .button.primary`),
		chromedp.WaitVisible(`#f-channel`), chromedp.SendKeys(`#f-channel`, "SMS"),
		chromedp.WaitVisible(`input[name="events"][value="DELIVERY"]`), chromedp.Click(`input[name="events"][value="DELIVERY"]`),
		chromedp.SendKeys(`#f-subscriptionId`, "fresh"),
		chromedp.Click(`blf-rows button`),
		chromedp.Click(`input[name="profileMode"][value="new"]`),
		chromedp.WaitVisible(`#f-profile-profileId`), chromedp.SendKeys(`#f-profile-profileId`, "fresh-hook"), chromedp.SendKeys(`#f-profile-webhook-notifyUrl`, "https://example.com/hook"),
		chromedp.Click(`input[name="profile.securityMode"][value="new"]`),
		chromedp.WaitVisible(`#f-profile-security-authId`), chromedp.SendKeys(`#f-profile-security-authId`, "fresh-auth"),
		chromedp.Click(`input[name="profile.security.type"][value="HMAC"]`),
		chromedp.WaitVisible(`#f-profile-security-credentials-secretKey`), chromedp.SendKeys(`#f-profile-security-credentials-secretKey`, "a long secret"),
		chromedp.Click(`button[value="preview"]`), chromedp.WaitVisible(`#review .tag.info`),
	)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll(".tuple:not(.names)").length`))
	if err != nil || rows != 2 {
		t.Errorf("there are %d rows of criteria, want 2 (%v)", rows, err)
	}
	if err := chromedp.Do(ctx, chromedp.Click(`#subscription .button.primary`), chromedp.WaitVisible(`a[data-dialog]`)); err != nil {
		t.Fatal(err)
	}
	madeByFlow(t, api)
	b.quiet(t)
}

// The same by the keyboard alone.
func TestBrowser_createSubscriptionByKeyboard(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	api := flowAPI()
	b.show(newConsole(t, api))
	ctx, cancel := context.WithTimeout(b.Ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, browsertest.Wide, "/new-subscription"); err != nil {
		t.Fatal(err)
	}
	press := func(keys string) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.KeyEvent(keys)); err != nil {
			t.Fatal(err)
		}
	}
	// until tabs to an element, and fails when it cannot be reached.
	until := func(selector string) {
		t.Helper()
		for range 80 {
			press("\t")
			is, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.activeElement.matches('`+selector+`')`))
			if err != nil {
				t.Fatal(err)
			}
			if is {
				return
			}
		}
		t.Fatalf("the keyboard does not reach %s", selector)
	}
	until("#f-channel")
	press("SMS")
	if err := chromedp.Do(ctx, chromedp.WaitVisible(`input[name="events"][value="DELIVERY"]`)); err != nil {
		t.Fatal(err)
	}
	until(`input[value="DELIVERY"]`)
	press(" ")
	until("#f-subscriptionId")
	press("fresh")
	until(`input[name="profileMode"]`)
	press(kb.ArrowRight)
	until("#f-profile-profileId")
	press("fresh-hook")
	until("#f-profile-webhook-notifyUrl")
	press("https://example.com/hook")
	until(`input[name="profile.securityMode"]`)
	press(kb.ArrowRight)
	press(kb.ArrowRight)
	until("#f-profile-security-authId")
	press("fresh-auth")
	until(`input[name="profile.security.type"]`)
	press(kb.ArrowRight)
	until("#f-profile-security-credentials-secretKey")
	press("a long secret")
	press("\r")
	if err := chromedp.Do(ctx, chromedp.WaitVisible(`a[data-dialog]`)); err != nil {
		t.Fatal(err)
	}
	madeByFlow(t, api)
	b.quiet(t)
}

// The list is filtered while one types, and the address says by what. The
// question before a deletion opens over the page.
func TestBrowser_filterAndDelete(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	api := flowAPI()
	api.set("DELETE /subscriptions/1/subscription/SMS/all-sms", created(client.Refs{}))
	b.show(newConsole(t, api))
	ctx, cancel := context.WithTimeout(b.Ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, browsertest.Wide, "/subscriptions"); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.SendKeys(`#f-q`, "all-s"), chromedp.WaitNotPresent(`#list a[href$="/calls"]`)); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`location.search.includes("q=all-s")`)); err != nil {
		t.Fatalf("the address does not say what is searched for: %v", err)
	}
	err := chromedp.Do(ctx, chromedp.Click(`#list tbody th a`), chromedp.WaitVisible(`a[data-dialog]`), chromedp.Click(`a[data-dialog]`),
		chromedp.WaitVisible(`dialog[open] #f-confirm`), chromedp.SendKeys(`dialog #f-confirm`, "all-sms\r"), chromedp.WaitVisible(`#f-q`))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(api.seen("DELETE ")); n != 1 {
		t.Errorf("%d deletions", n)
	}
	b.quiet(t)
}
