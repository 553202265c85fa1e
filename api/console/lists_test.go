package console

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// busy is an account with n profiles that share a setting and a certificate,
// all n subscriptions of two channels go through the first.
func busy(n int) account {
	a := account{subs: map[string][]client.Subscription{}, settings: []client.Security{{AuthID: "shared", Type: "BASIC", Credentials: &client.Credentials{Username: "u"}}}, certs: []client.Certificate{certificateNamed("client", "READY", -1, 300)}}
	for i := range n {
		ch := []string{"SMS", "EMAIL"}[i*2/n] // the first half is of SMS
		a.subs[ch] = append(a.subs[ch], client.Subscription{SubscriptionID: fmt.Sprintf("s%04d", i), Profile: through("p0000", "shared")})
		a.profiles = append(a.profiles, profileNamed(fmt.Sprintf("p%04d", i), "https://example.com/hook", "shared", "client"))
	}
	return a
}

// popular has 10,000 of everything that refer to one thing.
var popular = sync.OnceValue(func() account { return busy(10_000) })

// What refers to something is shown as far as it fits, with how many there are
// and the way to all of them.
func TestSetup_referrers(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	busy(300).behind(api)
	c := newConsole(t, api)
	for path, want := range map[string][]string{
		"/authentication/shared":          {">p0000<", ">p0019<", "All 300", `href="/console/profiles?authId=shared"`, "260 more profiles are not drawn"},
		"/authentication/shared/delete":   {"300 profiles authenticate", ">280 more<", `href="/console/profiles?authId=shared"`},
		"/certificates/client":            {">p0019<", "All 300", `href="/console/profiles?clientCertificateId=client"`},
		"/certificates/client/delete":     {"300 profiles show", ">280 more<", `href="/console/profiles?clientCertificateId=client"`},
		"/profiles/p0000":                 {"All 300", `href="/console/subscriptions?profileId=p0000"`, ">292 more<"},
		"/profiles/p0000/delete":          {"300 subscriptions go", ">all 300<", `href="/console/subscriptions?profileId=p0000"`},
		"/profiles/p0000/test":            {"EMAIL DELIVERY", "SMS DELIVERY"},
		"/subscriptions/SMS/s0010/delete": {"299 other subscriptions go", ">s0010<"},
		"/hierarchy":                      {">292 more<", "1–40 of 300"},
		"/hierarchy?page=8":               {">p0299<", "281–300 of 300"},
	} {
		res := get(t, c, path)
		body := res.Body.String()
		if res.Code != http.StatusOK {
			t.Errorf("%s: %d", path, res.Code)
		}
		for _, s := range want {
			if !strings.Contains(body, s) {
				t.Errorf("%s lacks %s", path, s)
			}
		}
		if n := strings.Count(body, "<li><a href=\"/console/profiles/p"); n > usersShown+drawnMost {
			t.Errorf("%s lists %d profiles", path, n)
		}
		if strings.Contains(path, "/test") && strings.Contains(body, "WHATSAPP DELIVERY") {
			t.Errorf("%s offers a channel that no subscription has", path)
		}
		checkPage(t, c, body)
	}
}

// A page asks the API a bounded number of times, whatever is behind it.
func TestSetup_requests(t *testing.T) {
	t.Parallel()
	for path, most := range map[string]int{
		"/subscriptions?q=s0": 1, "/subscriptions?page=50": 1, "/profiles?q=p": 1, "/profiles?authId=a00001": 1, "/authentication?q=a": 1, "/certificates?q=c": 1,
		"/profiles/p00000": 2, "/profiles/p00000/delete": 2, "/authentication/a00000": 2, "/certificates/c00000": 2,
		"/hierarchy": 2 + drawnMost, "/hierarchy?q=p0": 3 + drawnMost, "/hierarchy?q=SMS": 3 + 2*drawnMost, "/hierarchy?page=9": 1 + drawnMost,
	} {
		api := newFakeAPI()
		crowd().behind(api)
		if res := get(t, newConsole(t, api), path); res.Code != http.StatusOK {
			t.Fatalf("%s: %d", path, res.Code)
		}
		if n := len(api.seen("GET /subscriptions/1/")); n == 0 || n > most {
			t.Errorf("%s made %d requests, at most %d", path, n, most)
		}
	}
}

// The lists say which filter is on and how to be rid of it, keep it while
// something else is typed, and show what the API says of one it refuses.
func TestSetup_filters(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	c := newConsole(t, api)
	for path, want := range map[string][]string{
		"/profiles?authId=shop-hmac":                 {">orders-hook<", ">crm<", `name="authId" value="shop-hmac"`, "Only those with the authentication setting"},
		"/profiles?clientCertificateId=shop-client":  {">orders-hook<", `name="clientCertificateId" value="shop-client"`, "Only those with the certificate"},
		"/profiles?authId=shop-hmac&q=crm":           {">crm<", `href="/console/profiles?q=crm"`},
		"/profiles?authId=archive-basic&q=crm":       {"No profile fits.", "Show all"},
		"/authentication?q=OAuth":                    {">partner-oauth<"},
		"/certificates?q=2025":                       {">shop-client-2025<"},
		"/subscriptions?profileId=crm&channel=EMAIL": {">newsletter<", `name="profileId" value="crm"`},
		"/hierarchy?q=newsletter":                    {"Profile crm", "Authentication shop-hmac"},
		"/hierarchy?q=partner":                       {"Authentication partner-oauth used by no profile"},
		"/hierarchy?q=orders":                        {"Profile orders-hook"},
	} {
		body := get(t, c, path).Body.String()
		for _, s := range want {
			if !strings.Contains(body, s) {
				t.Errorf("%s lacks %s", path, s)
			}
		}
		checkPage(t, c, body)
	}
	if body := get(t, c, "/profiles?authId=shop-hmac").Body.String(); strings.Contains(body, ">calls<") {
		t.Error("a profile without the setting is listed")
	}
	if body := get(t, c, "/hierarchy?q=newsletter").Body.String(); strings.Contains(body, "Profile calls") {
		t.Error("the hierarchy draws a profile that does not fit")
	}
}

// A filter that has no field is named above the list.
func TestSetup_hiddenFilter(t *testing.T) {
	t.Parallel()
	for path, field := range map[string]string{"/subscriptions?profileId=a+b": "profileId", "/profiles?authId=a+b": "authId", "/profiles?clientCertificateId=a+b": "clientCertificateId"} {
		api, _ := setupAPI()
		e := model.Invalid(field, "may hold only letters, digits and - _ . ~")
		api.set("GET /subscriptions/1/subscription", e).set("GET /subscriptions/1/profiles", e)
		c := newConsole(t, api)
		res := get(t, c, path)
		body := res.Body.String()
		if res.Code != http.StatusUnprocessableEntity || !strings.Contains(body, "<code>"+field+"</code>: May hold only letters") || strings.Contains(body, `href="#f-`+field) {
			t.Errorf("%s: %d does not say what is wrong", path, res.Code)
		}
		checkPage(t, c, body)
	}
}

// A search of the hierarchy has the profiles of subscriptions that fit, as far
// as there is room, and says where the others are.
func TestHierarchy_search(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	crowd().behind(api)
	for _, p := range crowd().profiles[:300] {
		api.set("GET /subscriptions/1/profiles/"+p.ProfileID, p)
	}
	c := newConsole(t, api)
	body := get(t, c, "/hierarchy?q=SMS").Body.String()
	if !strings.Contains(body, "5\u202f000 subscriptions, not all") || !strings.Contains(body, `href="/console/subscriptions?q=SMS"`) {
		t.Error("the page does not say that there are more")
	}
	if n := strings.Count(body, `class="node profile"`); n != drawnMost {
		t.Errorf("%d profiles are drawn, want %d", n, drawnMost)
	}
	body = get(t, c, "/hierarchy?q=s00042").Body.String()
	if n := strings.Count(body, `class="node profile"`); n != 1 || !strings.Contains(body, "Profile p00042") || strings.Contains(body, "not all with") {
		t.Errorf("one subscription fits, %d profiles are drawn", n)
	}
	gone := newFakeAPI()
	crowd().behind(gone)
	gone.set("GET /subscriptions/1/profiles/p00042", model.Errorf(model.CodeNotFound, "deleted")).set("GET /subscriptions/1/profiles/p00007", model.Errorf(model.CodeInternal, "broken"))
	if res := get(t, newConsole(t, gone), "/hierarchy?q=s00042"); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), "Nothing is called that") {
		t.Errorf("a profile that was deleted meanwhile: %d", res.Code)
	}
	if res := get(t, newConsole(t, gone), "/hierarchy?q=s00007"); res.Code != http.StatusInternalServerError {
		t.Errorf("a profile that cannot be read: %d", res.Code)
	}
}
