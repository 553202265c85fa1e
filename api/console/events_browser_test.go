//go:build browser

package console

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"example.com/belfry/api/console/browsertest"
)

// tailAPI is a fake API whose tail sends what comes through lines.
type tailAPI struct {
	*fakeAPI
	lines chan string
}

func (a tailAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != tailPath {
		a.fakeAPI.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	for {
		select {
		case <-r.Context().Done():
			return
		case s := <-a.lines:
			if _, err := w.Write([]byte(s)); err != nil {
				return
			}
		}
	}
}

func tailLine(i int) string {
	return fmt.Sprintf("event: accepted\ndata: {\"kind\":\"accepted\",\"at\":\"2026-11-26T12:00:00Z\",\"nodeId\":\"n1\",\"eventId\":\"e-%d\",\"channel\":\"SMS\",\"event\":\"DELIVERY\",\"deliveries\":1}\n\n", i)
}

// The tail shows what comes, waits while it is paused, finds, keeps a thousand
// rows, and says what it lost; all by the keyboard.
func TestBrowser_tail(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	api := tailAPI{newFakeAPI(), make(chan string)}
	b.show(newConsole(t, api))
	ctx, cancel := context.WithTimeout(b.Ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, browsertest.Wide, "/tail"); err != nil {
		t.Fatal(err)
	}
	send := func(s string) {
		t.Helper()
		select {
		case api.lines <- s:
		case <-ctx.Done():
			t.Fatal("nobody reads the stream")
		}
	}
	until := func(js string) {
		t.Helper()
		if _, err := chromedp.Run(ctx, chromedp.Poll[bool](js)); err != nil {
			text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector("blf-tail").innerText.slice(0, 400)`))
			t.Fatalf("%s: %v\n%s", js, err, text)
		}
	}
	const rows, bar = `document.querySelectorAll("blf-tail tbody tr").length`, `document.querySelector(".ev-tail-bar").innerText`
	press := func(selector string) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.Focus(selector), chromedp.KeyEvent("\r")); err != nil {
			t.Fatal(err)
		}
	}
	send(tailLine(1))
	until(rows + ` === 1 && document.querySelector("blf-tail tbody a").getAttribute("href") === "/console/events/e-1"`)
	press(".ev-tail-bar button")
	until(bar + `.includes("Resume")`)
	send(tailLine(2))
	until(bar + `.includes("1 wait") && ` + rows + ` === 1`)
	press(".ev-tail-bar button")
	until(rows + ` === 2 && document.querySelector("blf-tail tbody a").innerText === "e-2"`)
	for i := range 1100 {
		send(tailLine(i + 3))
	}
	send("event: dropped\ndata: {\"dropped\":17}\n\n")
	until(bar + `.includes("1,102 seen") && ` + bar + `.includes("the last 1,000 are kept") && ` + bar + `.includes("17 dropped") && ` + rows + ` === 1000`)
	if err := chromedp.Do(ctx, chromedp.SendKeys(`.ev-tail-bar input`, "e-1102")); err != nil {
		t.Fatal(err)
	}
	until(rows + ` === 1`)
	send("event: nodes\ndata: {\"unreachableNodes\":[\"n3\"]}\n\n")
	until(`document.querySelector("blf-tail .banner").innerText.includes("n3")`)
	b.quiet(t)
}

// The checker of signatures agrees with RFC 2202, RFC 4231 and the vector of
// Standard Webhooks, and says what is wrong with what does not fit.
func TestBrowser_signature(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	c := newConsole(t, newFakeAPI())
	b.show(c)
	ctx, cancel := context.WithTimeout(b.Ctx, pageLife)
	defer cancel()
	if err := b.open(ctx, browsertest.Wide, "/signature"); err != nil {
		t.Fatal(err)
	}
	module, err := c.assets.url("js/signature.js")
	if err != nil {
		t.Fatal(err)
	}
	const text = "what do ya want for nothing?"
	for _, tt := range []struct{ header, secret, body, id, timestamp, want string }{
		{"MD5=750c783e6ab0b503eaa86e310a5db738", "Jefe", text, "", "", "The MD5 signature is right."},
		{"X-Sig: SHA1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79", "Jefe", text, "", "", "The SHA1 signature is right."},
		{"SHA224=a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44", "Jefe", text, "", "", "The SHA224 signature is right."},
		{"SHA256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", "Jefe", text, "", "", "The SHA256 signature is right."},
		{"SHA256=W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=", "Jefe", text, "", "", "The SHA256 signature is right."},
		{"SHA384=af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649", "Jefe", text, "", "", "The SHA384 signature is right."},
		{"SHA512=164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737", "Jefe", text, "", "", "The SHA512 signature is right."},
		{"SHA256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", "Jefe", text + "\n", "", "", "The SHA256 signature is right for the body without the line break at its end."},
		{"SHA256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", "jefe", text, "", "", "The SHA256 signature does not fit: another secret was used, or the body is not the one that was signed."},
		{"SHA256=5bdc", "Jefe", text, "", "", "The value behind SHA256= is neither hex nor base64 of 32 bytes."},
		{"v0,x v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", `{"test": 2432232314}`, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "The v1 signature is right."},
		{"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", `{"test": 2432232314}`, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265331", "The v1 signature does not fit: another secret was used, or the body is not the one that was signed."},
		{"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "s", "x", "", "", "A v1 signature needs the webhook-id and the webhook-timestamp too."},
	} {
		js := fmt.Sprintf(`import(%q).then(m => m.verify({header: %q, secret: %q, body: %q, id: %q, timestamp: %q}).text)`, module, tt.header, tt.secret, tt.body, tt.id, tt.timestamp)
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](js, chromedp.EvalAwaitPromise))
		if err != nil || got != tt.want {
			t.Errorf("%s: %q (%v), want %q", tt.header, got, err, tt.want)
		}
	}
	before := len(b.Requests())
	err = chromedp.Do(ctx, chromedp.SendKeys("#v-body", text), chromedp.SendKeys("#v-header", "SHA1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
		chromedp.SendKeys("#v-secret", "Jefe\r"), chromedp.WaitVisible("[data-verdict] .banner.ok"))
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range b.Requests()[before:] {
		if !strings.HasSuffix(url, Prefix+"/state") { // which every page asks for, and without a query
			t.Errorf("the form asked for %s: the secret must stay in the browser", url)
		}
	}
	b.quiet(t)
}
