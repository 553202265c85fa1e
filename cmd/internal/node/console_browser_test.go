//go:build browser

package node

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"example.com/belfry/api/console/browsertest"
)

// consoleUser is somebody at the console of a node, with a browser.
type consoleUser struct {
	*browsertest.Hands
	c    *testCluster
	node *testNode
	hook *hook
	tab  *browsertest.Tab
}

func (u consoleUser) url() string { return "http://" + u.node.APIAddr() }

// menu goes to a screen by the menu.
func (u consoleUser) menu(path string) {
	u.c.tb.Helper()
	u.Press(`.side a[href="/console/` + path + `"]`)
	u.at("/console/" + path)
}

// at waits until the page of a path is there.
func (u consoleUser) at(path string) {
	u.c.tb.Helper()
	u.Until(`location.pathname === "` + path + `" && document.readyState === "complete"`)
}

// The main flows of the console, in a real browser against a real node with a
// real webhook: by mouse, and by the keyboard alone.
func TestBrowser_flows(t *testing.T) {
	t.Parallel()
	var chromium browsertest.Browser
	t.Cleanup(chromium.Close)
	for _, way := range []string{"mouse", "keyboard"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			c := newTestCluster(t, 1)
			tab := chromium.Tab(t)
			u := consoleUser{c: c, node: c.nodes[0], hook: newHook(t), tab: tab, Hands: tab.ByMouse(t)}
			if way == "keyboard" {
				u.Hands = tab.ByKeyboard(t)
			}
			if err := tab.As(tab.Ctx, browsertest.Wide); err != nil {
				t.Fatal(err)
			}
			u.Go(u.url() + "/")
			u.Press(`a[href="/console/"]`)
			u.signsIn(testKey)
			u.subscribes(t)
			u.editsAndIsRefused()
			u.findsAndReplays(t)
			u.follows()
			u.givesAccess(t)
			u.deletes()
			u.signsInWithPassword()
			tab.Quiet(t, u.url(), "422 (Unprocessable Entity)") // a form with a mistake
		})
	}
}

// signsIn with the key, out, and in again.
func (u consoleUser) signsIn(key string) {
	u.c.tb.Helper()
	for range 2 {
		u.See("With an API key")
		u.Fill("#f-key", key)
		u.Press("form:has(#f-key) button")
		u.See("Nothing is delivered yet")
		u.Press("details.menu > summary")
		u.Press(".menu-body form button")
	}
	u.See("With an API key")
	u.Fill("#f-key", key)
	u.Type("\r")
	u.See("Nothing is delivered yet")
}

// subscribes makes a subscription with its profile and its authentication in
// one form, and what it takes arrives at once, signed.
func (u consoleUser) subscribes(t *testing.T) {
	t.Helper()
	u.menu("subscriptions")
	u.Press(".head .button.primary")
	u.at("/console/new-subscription")
	u.Choose("#f-channel", "SMS")
	u.Tick(`input[name="events"][value="DELIVERY"]`)
	u.Fill("#f-subscriptionId", "orders")
	u.Tick(`input[name="profileMode"][value="new"]`)
	u.Fill("#f-profile-profileId", "shop")
	u.Fill("#f-profile-webhook-notifyUrl", u.hook.URL+"/in")
	u.Tick(`input[name="profile.securityMode"][value="new"]`)
	u.Fill("#f-profile-security-authId", "shop-hmac")
	u.Tick(`input[name="profile.security.type"][value="HMAC"]`)
	u.Fill("#f-profile-security-credentials-secretKey", "a secret of the shop")
	u.Press(`button[value="preview"]`)
	u.See("No other subscription takes it.")
	u.Press("#subscription .actions .button.primary")
	u.See("The subscription orders was made.")

	u.publishes(t)
	u.See("Taken") // the page follows its event
	got := u.hook.next(t)
	signed := false
	for _, v := range got.header {
		signed = signed || strings.HasPrefix(strings.Join(v, ""), "SHA256=")
	}
	if got.path != "/in" || !signed {
		t.Errorf("the webhook got %s with %v", got.path, got.header)
	}
	// A second one is seen to be next to the first.
	u.menu("subscriptions")
	u.See("shop-hmac")
	u.Fill("#f-q", "nothing is called that")
	u.See("Show all")
	u.Fill("#f-q", "ord")
	u.Until(`location.search.includes("q=ord") && !!document.querySelector('#list a[href="/console/subscriptions/SMS/orders"]')`)
}

// publishes a sample of SMS DELIVERY and is at the page of the event then.
func (u consoleUser) publishes(t *testing.T) {
	t.Helper()
	u.menu("test-event")
	u.Fill("#f-q", "sms delivery")
	u.Until(`document.querySelectorAll(".ev-chip").length < 10`)
	u.Press(`a[href="/console/test-event/SMS/DELIVERY"]`)
	u.Press(`.ev-test .button.primary`)
	u.See("it is owed to 1 webhook")
}

// editsAndIsRefused has the profile try once, and is told that it cannot be
// deleted while a subscription goes through it.
func (u consoleUser) editsAndIsRefused() {
	u.c.tb.Helper()
	u.menu("profiles")
	u.Press(`#list a[href="/console/profiles/shop"]`)
	u.Press(`a[href="/console/profiles/shop/edit"]`)
	u.Choose("#f-retry-policy", "custom")
	u.Fill("#f-retry-schedule", "1s")
	u.Fill("#f-retry-maxAttempts", "999999")
	u.Press("main form .button.primary")
	u.See("Please look at these fields again") // a wrong number is said at its field
	u.Fill("#f-retry-maxAttempts", "1")
	u.Press("main form .button.primary")
	u.See("The profile shop was saved.")
	u.Press("a[data-dialog]")
	u.Until(`!!document.querySelector("dialog[open]")`)
	u.See("This cannot be done now.")
	u.Press("dialog .actions a")
	u.Until(`!document.querySelector("dialog[open]")`)
}

// findsAndReplays finds an event that was refused, its delivery and attempt,
// and sends it again: by itself and with a job.
func (u consoleUser) findsAndReplays(t *testing.T) {
	t.Helper()
	u.hook.status <- http.StatusBadRequest
	u.publishes(t)
	u.hook.next(t)
	u.menu("events")
	u.Choose("#f-status", "Dead")
	u.Until(`document.querySelectorAll("#list tbody tr").length === 1`)
	u.Press("#list tbody td a")
	u.See("Dead letter")
	page := u.Path()
	u.Press(".ev-timeline a")
	u.See("Where the time went")
	u.See("Send it yourself")
	u.Press(".crumbs li:nth-child(2) a")
	u.at(page)
	u.hook.status <- http.StatusBadRequest
	u.Press(`form[action$="/replay"] button`)
	u.See("is owed again")
	u.hook.next(t)
	u.See("Attempt 2")

	u.menu("dead-letters")
	u.Until(`document.querySelectorAll("#list tbody tr").length === 1`)
	u.Press(".head .button.primary")
	u.Fill("#f-filter-profileId", "shop")
	u.Press("main form .button.primary")
	u.See("1 of 1 sent again.")
	u.hook.next(t)
	u.menu("replays")
	u.See("1 of 1")
	u.menu("dead-letters")
	u.See("Nothing was given up")
}

// follows the live tail: what comes is there at once, a pause holds it back,
// and the rows can be searched.
func (u consoleUser) follows() {
	u.c.tb.Helper()
	const rows = `document.querySelectorAll("blf-tail tbody tr").length`
	post := func(id string) {
		u.c.tb.Helper()
		u.c.must(u.node, http.MethodPost, "/events/1/events", map[string]any{"eventId": id, "channel": "SMS", "event": "DELIVERY", "payload": map[string]any{}})
		u.hook.next(u.c.tb)
	}
	u.menu("tail")
	u.Until(`document.querySelector(".ev-tail-bar .tag")?.innerText === "live"`)
	post("tail-1")
	u.Until(rows + ` === 2`)       // accepted and delivered
	u.Press(".ev-tail-bar button") // Pause
	u.See("Resume")
	post("tail-2")
	u.See("2 wait")
	u.Press(".ev-tail-bar button")
	u.Until(rows + ` === 4`)
	u.Fill(".ev-tail-bar input", "tail-1")
	u.Until(rows + ` === 2`)
	u.Press("blf-tail tbody a")
	u.Until(`location.pathname === "/console/events/tail-1"`)
	u.See("Taken")
}

// givesAccess makes an account, a key that is shown once and works, and a user;
// the audit log has what was done with what it was before.
func (u consoleUser) givesAccess(t *testing.T) {
	t.Helper()
	u.menu("accounts")
	u.Press(".head .button.primary")
	u.Fill("#f-accountId", "acme")
	u.Press("main form .button.primary")
	u.See("The account acme was created.")

	u.menu("keys")
	u.Press(".head .button.primary")
	u.Fill("#f-name", "till")
	u.Tick(`input[name="scopes"][value="events:write"]`)
	u.Press("main form .button.primary")
	u.See("Copy it now")
	key := strings.TrimSpace(u.Text(".shown-once pre"))
	u.Press(".shown-once .button.primary")
	u.Until(`document.querySelector("h1").innerText === "till" && !document.body.innerHTML.includes("` + key + `")`)
	event := map[string]any{"eventId": "by-key", "channel": "SMS", "event": "CLICK", "payload": map[string]any{}}
	if a := u.c.do(u.node, http.MethodPost, "/events/1/events", event, "Authorization", "App "+key); a.status != http.StatusAccepted {
		t.Errorf("the new key may not publish: %s", a)
	}
	if a := u.c.do(u.node, http.MethodGet, "/subscriptions/1/profiles", nil, "Authorization", "App "+key); a.status != http.StatusForbidden {
		t.Errorf("the new key may read profiles: %s", a)
	}

	u.menu("users")
	u.Press(".head .button.primary")
	u.Fill("#f-username", "ana")
	u.Fill("#f-password", "correct horse battery")
	u.Tick(`input[name="scopes"][value="subscriptions:read"]`)
	u.Press("main form .button.primary")
	u.See("The user ana was created.")

	u.menu("audit")
	u.Press(".changes details:not([open]) > summary") // a longer one: the change of the profile
	u.Until(`[...document.querySelectorAll(".diff tr")].some(r => r.innerText.includes("retry") && r.querySelector("ins"))`)
	u.See("user create")
}

// deletes what was made, from the subscription down, by typing its name.
func (u consoleUser) deletes() {
	u.c.tb.Helper()
	for _, it := range []struct{ menu, path, name string }{
		{"subscriptions", "subscriptions/SMS/orders", "orders"}, {"profiles", "profiles/shop", "shop"}, {"authentication", "authentication/shop-hmac", "shop-hmac"},
	} {
		u.menu(it.menu)
		u.Press(`#list a[href="/console/` + it.path + `"]`)
		u.Press("a[data-dialog]")
		u.Until(`document.activeElement?.closest("dialog[open]") && document.activeElement.id === "f-confirm"`)
		u.Type(it.name + "\r")
		u.Until(`location.pathname === "/console/` + it.menu + `" && !document.querySelector('#list a[href="/console/` + it.path + `"]')`)
	}
}

// signsInWithPassword as the new user, who is offered what the scopes allow.
func (u consoleUser) signsInWithPassword() {
	u.c.tb.Helper()
	u.Press("details.menu > summary")
	u.Press(".menu-body form button")
	u.Fill("#f-username", "ana")
	u.Fill("#f-password", "correct horse battery")
	u.Press("form:has(#f-username) button")
	u.menu("subscriptions")
	u.See("ana")
	u.Until(`!document.querySelector('a[href="/console/new-subscription"], .side a[href="/console/users"], .side a[href="/console/cluster"]')`)
}

// Without a quorum every surviving node still shows what it has, says how old
// that is, and offers no change: pages that are open hear of it, and of the
// quorum when it is back.
func TestBrowser_outage(t *testing.T) {
	t.Parallel()
	var chromium browsertest.Browser
	t.Cleanup(chromium.Close)
	c := newTestCluster(t, 3)
	subscribe(c, c.nodes[0], "SMS", "orders", newHook(t).URL)
	survivor := c.nodes[2]
	c.eventually("the survivor has the subscription", func() bool {
		return c.do(survivor, http.MethodGet, "/subscriptions/1/subscription/SMS/orders?consistency=stale", nil).status == http.StatusOK
	})
	tab := map[string]*browsertest.Tab{"mouse": chromium.Tab(t), "keyboard": chromium.Tab(t)}
	users := []consoleUser{
		{c: c, node: survivor, tab: tab["mouse"], Hands: tab["mouse"].ByMouse(t)},
		{c: c, node: survivor, tab: tab["keyboard"], Hands: tab["keyboard"].ByKeyboard(t)},
	}
	for _, u := range users {
		if err := u.tab.As(u.tab.Ctx, browsertest.Wide); err != nil {
			t.Fatal(err)
		}
		u.Go(u.url() + "/console/")
		u.Fill("#f-key", testKey)
		u.Press("form:has(#f-key) button")
		u.menu("cluster")
		u.See("3 of 3")
		u.Press("a[data-dialog]")
		u.Until(`!!document.querySelector("dialog[open] button.danger:not([disabled]), dialog[open] .actions .button")`)
		u.Press("dialog .iconbutton")
	}
	reader, typist := users[0], users[1] // the one at a list, the other in the middle of a form
	typist.edits()
	typist.Fill("#f-name", "Orders of the shop")

	c.stop(c.nodes[0])
	c.stop(c.nodes[1])
	c.eventually("the survivor knows that it is alone", func() bool { return c.do(survivor, http.MethodGet, "/readyz", nil).status != http.StatusOK })
	reader.See("Read only.")
	reader.Until(`!document.querySelector('main a[href$="/remove"], main a[href$="/transfer"]') && !!document.querySelector('a[data-href$="/transfer"][aria-disabled="true"][aria-describedby="state"]')`)
	typist.See("Read only.")
	typist.Until(`document.querySelector("#subscription .button.primary").disabled && document.querySelector("#f-name").value === "Orders of the shop"`)
	for _, u := range users {
		u.readsDuringOutage()
	}
	var problem struct{ Code string }
	a := c.do(survivor, http.MethodPost, "/subscriptions/1/subscription/SMS", map[string]any{"subscriptionId": "none", "events": []string{}, "profile": map[string]any{"profileId": "orders-hook"}})
	if err := json.Unmarshal(a.body, &problem); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("the API answers %s", a)
	}

	// Both look at pages that were made during the outage.
	reader.menu("cluster")
	reader.See("Read only.")
	typist.Fill("#f-name", "Orders since the outage")
	c.restart(0)
	c.restart(1)
	reader.Until(`!document.body.innerText.includes("Read only.") && !!document.querySelector('main a[href$="/transfer"]:not([aria-disabled])') && !document.querySelector("main [data-href]")`)
	typist.See("The cluster has a quorum again")
	typist.Until(`!document.querySelector("#subscription .button.primary").disabled && !document.body.innerText.includes("Read only.")`)
	typist.saves("Orders since the outage")
	for _, u := range users {
		u.tab.Quiet(t, u.url(), "503 (Service Unavailable)") // a form that came too early
	}
}

// edits opens the form of the subscription.
func (u consoleUser) edits() {
	u.c.tb.Helper()
	u.menu("subscriptions")
	u.Press(`#list a[href="/console/subscriptions/SMS/orders"]`)
	u.Press(`a[href="/console/subscriptions/SMS/orders/edit"]`)
	u.at("/console/subscriptions/SMS/orders/edit")
}

// saves sends the form that is open, with its name. On a busy machine the
// cluster may choose a leader once more just then: what is refused for that
// stands in the form still, and is sent again.
func (u consoleUser) saves(name string) {
	u.c.tb.Helper()
	for range 5 {
		u.Press("#subscription .actions .button.primary")
		u.Until(`document.readyState === "complete" && ["orders was saved.", "Nothing was changed", "It is not known"].some(s => document.querySelector("main")?.innerText.includes(s))`)
		if strings.Contains(u.Text("main"), "was saved.") {
			u.See(name)
			return
		}
		u.Until(`!document.querySelector("#subscription .button.primary").disabled && document.querySelector("#f-name").value === "` + name + `"`)
	}
	u.c.tb.Error("the form was refused five times")
}

// readsDuringOutage looks at pages that are made without a quorum; the last is
// the form of the subscription.
func (u consoleUser) readsDuringOutage() {
	u.c.tb.Helper()
	u.menu("cluster")
	u.See("Read only.")
	u.Until(`document.querySelectorAll('main a.button[aria-disabled="true"]').length > 0 && !document.querySelector('a[href$="/remove"], a[href$="/transfer"]')`)
	u.menu("subscriptions")
	u.Press(`#list a[href="/console/subscriptions/SMS/orders"]`)
	u.See("What you see was current")
	u.Press(`a[href="/console/subscriptions/SMS/orders/edit"]`)
	u.See("nothing can be changed now")
	u.Until(`document.querySelector("#subscription .button.primary").disabled`)
}
