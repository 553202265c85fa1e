package console

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// account is what an account has set up, behind the API.
type account struct {
	subs     map[string][]client.Subscription // by channel
	profiles []client.Profile
	settings []client.Security
	certs    []client.Certificate
}

// behind sets the answers of the API to the account, lists and single objects.
func (a account) behind(f *fakeAPI) {
	all := []client.ChannelSubscription{}
	for _, c := range channelNames() {
		subs := a.subs[c]
		for _, s := range subs {
			all = append(all, client.ChannelSubscription{Channel: c, Subscription: s})
		}
		f.set("GET /subscriptions/1/subscription/"+c, fitting(subs, func(q url.Values, s client.Subscription) bool { return fits(q, channelSubscription{c, s}) }))
		for _, s := range subs[:min(len(subs), 20)] {
			f.set("GET /subscriptions/1/subscription/"+c+"/"+s.SubscriptionID, s)
		}
	}
	f.set("GET /subscriptions/1/subscription", fitting(all, func(q url.Values, s client.ChannelSubscription) bool {
		if q.Has("search") && searched(q, s.Channel) {
			q = url.Values{"event": q["event"], "profileId": q["profileId"]}
			maps.DeleteFunc(q, func(_ string, v []string) bool { return len(v) == 0 })
		}
		return fits(q, channelSubscription(s))
	}))
	used := map[string]bool{}
	for _, p := range a.profiles {
		used[authOf(p)] = true
	}
	f.set("GET /subscriptions/1/profiles", fitting(a.profiles, func(q url.Values, p client.Profile) bool {
		return searched(q, p.ProfileID, urlOf(p), authOf(p), p.ClientCertificateID) &&
			(!q.Has("authId") || authOf(p) == q.Get("authId")) && (!q.Has("clientCertificateId") || p.ClientCertificateID == q.Get("clientCertificateId"))
	}))
	for _, p := range a.profiles[:min(len(a.profiles), 20)] {
		f.set("GET /subscriptions/1/profiles/"+p.ProfileID, p)
	}
	f.set("GET /subscriptions/1/security", fitting(a.settings, func(q url.Values, s client.Security) bool {
		return searched(q, s.AuthID, s.Type) && (!q.Has("unused") || !used[s.AuthID])
	}))
	for _, s := range a.settings[:min(len(a.settings), 20)] {
		f.set("GET /subscriptions/1/security/"+s.AuthID, s)
	}
	f.set("GET /subscriptions/1/certificates", fitting(a.certs, func(q url.Values, c client.Certificate) bool { return searched(q, c.CertificateID) }))
	for _, c := range a.certs[:min(len(a.certs), 20)] {
		f.set("GET /subscriptions/1/certificates/"+c.CertificateID, c)
	}
	f.set("GET /events/1/stats", event.Stats{From: now.Add(-5 * time.Minute), To: now, Profiles: []event.ProfileStats{figures("orders-hook", 1200, 1188)}})
}

// fitting is a page of what fits the query.
func fitting[T any](all []T, keep func(url.Values, T) bool) func(*http.Request) any {
	return func(r *http.Request) any {
		q, out := r.URL.Query(), []T{}
		for _, x := range all {
			if keep(q, x) {
				out = append(out, x)
			}
		}
		return paged(out)(r)
	}
}

// searched reports whether the query searches for a part of one of the texts.
func searched(q url.Values, texts ...string) bool {
	return q.Get("search") == "" || contains(q.Get("search"), texts...)
}

// fits is the API's filter of subscriptions, as far as the tests look at it.
func fits(q url.Values, s channelSubscription) bool {
	c, _ := model.ChannelByName(s.Channel)
	event := q.Get("event")
	takes := event == "" || len(s.Events) == 0 && c.Has(event) || slices.ContainsFunc(s.Events, func(e client.EventName) bool { return e.Event == event })
	return takes && searched(q, s.SubscriptionID, s.Name, s.Profile.ProfileID) && (!q.Has("profileId") || s.Profile.ProfileID == q.Get("profileId"))
}

func profileNamed(id, url, auth, cert string) client.Profile {
	p := client.Profile{
		ProfileID: id, Webhook: &client.Webhook{NotifyURL: url, ContentType: "application/json"}, ClientCertificateID: cert,
		MaxBucketSize: 100, WindowSize: 20, ConnectTimeout: 10000, ReadTimeout: 10000,
	}
	if auth != "" {
		p.Security = &client.Security{AuthID: auth}
	}
	return p
}

func through(id, auth string) client.Profile {
	p := client.Profile{ProfileID: id}
	if auth != "" {
		p.Security = &client.Security{AuthID: auth}
	}
	return p
}

// shop is an account with some of everything.
func shop() account {
	off := false
	orders := profileNamed("orders-hook", "https://hooks.shop.example/orders", "shop-hmac", "shop-client")
	orders.Headers, orders.RateLimit, orders.Ordering, orders.EnabledSSLProtocols = map[string]string{"X-Source": "belfry"}, 200, "KEY", []string{"TLSv1.3"}
	orders.Retry = &client.RetryPolicy{Policy: "custom", Schedule: []int64{5, 30, 300, 3600}, MaxAttempts: 12, MaxAge: 86400}
	orders.ResponseRegex = `2\d\d`
	crm := profileNamed("crm", "https://crm.shop.example/api/v2/notifications", "shop-hmac", "")
	crm.Enabled, crm.DisabledReason = &off, "the webhook answered 410 Gone"
	until := now.Add(20 * time.Hour)
	return account{
		subs: map[string][]client.Subscription{
			"SMS": {
				{SubscriptionID: "orders-sms", Name: "Orders by SMS", Events: []client.EventName{{Event: "DELIVERY"}, {Event: "CLICK"}, {Event: "INBOUND_MESSAGE", Format: "MO_JSON_2"}}, Criteria: []client.Criterion{{ApplicationID: "shop", EntityID: "eu"}, {ApplicationID: "shop", EntityID: "us"}}, Resources: []string{"ShopSender"}, Profile: through("orders-hook", "shop-hmac")},
				{SubscriptionID: "all-sms", Events: []client.EventName{}, Profile: through("archive", "archive-basic")},
			},
			"WHATSAPP":    {{SubscriptionID: "orders-whatsapp", Name: "Orders by WhatsApp", Events: []client.EventName{{Event: "DELIVERY"}, {Event: "SEEN"}}, Criteria: []client.Criterion{{ApplicationID: "shop"}}, Users: []string{"ops"}, Profile: through("orders-hook", "shop-hmac")}},
			"EMAIL":       {{SubscriptionID: "newsletter", Name: "Newsletter", Events: []client.EventName{{Event: "OPEN"}, {Event: "CLICK"}, {Event: "COMPLAINT"}, {Event: "UNSUBSCRIBE"}, {Event: "LATE_BOUNCE"}}, Profile: through("crm", "shop-hmac")}},
			"VOICE_VIDEO": {{SubscriptionID: "calls", Name: "Call centre", Events: []client.EventName{{Event: "CALL_FINISHED"}}, Criteria: []client.Criterion{{CallsConfigurationID: "berlin"}}, Profile: through("calls", "")}},
		},
		profiles: []client.Profile{orders, crm, profileNamed("calls", "http://10.0.4.7:9000/calls", "", ""), profileNamed("archive", "https://archive.shop.example/in", "archive-basic", "")},
		settings: []client.Security{
			{AuthID: "shop-hmac", Type: "HMAC", Credentials: &client.Credentials{SecretKey: model.SecretMask, Algorithm: "HMAC_SHA_256", PreviousSecretKey: model.SecretMask, PreviousSecretKeyValidUntil: &until}},
			{AuthID: "archive-basic", Type: "BASIC", Credentials: &client.Credentials{Username: "belfry", Password: model.SecretMask}},
			{AuthID: "partner-oauth", Type: "OAUTH", Credentials: &client.Credentials{TokenURL: "https://login.partner.example/token", GrantType: "client_credentials", ClientID: "shop", ClientSecret: model.SecretMask, Headers: map[string]string{"X-Tenant": model.SecretMask}}},
		},
		certs: []client.Certificate{
			certificateNamed("shop-client", "READY", -300, 65),
			certificateNamed("shop-client-2025", "EXPIRED", -400, -35),
			certificateNamed("partner", "PROCESSING", -340, 12),
		},
	}
}

func certificateNamed(id, status string, from, until int) client.Certificate {
	const day = 24 * time.Hour
	return client.Certificate{
		CertificateID: id, IssuedBy: "CN=Example Issuing CA 3,O=Example", IssuedTo: "CN=" + id + ".shop.example", Status: status, SerialNumber: "297012845730118",
		ValidFrom: now.Add(time.Duration(from) * day).UnixMilli(), ValidUntil: now.Add(time.Duration(until) * day).UnixMilli(),
	}
}

// called is an account where everything has a text that is hard to show: ids
// cannot have it, but what reads them must not trust that.
func called(text string) account {
	p := profileNamed(text, "https://example.com/"+text, text, text)
	p.Headers = map[string]string{"X-" + text: text}
	return account{
		subs: map[string][]client.Subscription{"SMS": {{
			SubscriptionID: text, Name: text, Events: []client.EventName{{Event: text, Format: text}}, Criteria: []client.Criterion{{ApplicationID: text, EntityID: text, CallsConfigurationID: text}}, Resources: []string{text}, Users: []string{text}, Profile: through(text, text),
		}}},
		profiles: []client.Profile{p},
		settings: []client.Security{{AuthID: text, Type: "CUSTOM", Credentials: &client.Credentials{Headers: map[string]string{text: model.SecretMask}, Username: text}}},
		certs:    []client.Certificate{{CertificateID: text, IssuedBy: text, IssuedTo: text, Status: "READY", SerialNumber: "1", ValidFrom: now.Add(-time.Hour).UnixMilli(), ValidUntil: now.Add(1000 * time.Hour).UnixMilli()}},
	}
}

// crowd has 10,000 of everything. It is made once and only read.
var crowd = sync.OnceValue(func() account {
	const n = 10_000
	a := account{subs: map[string][]client.Subscription{}}
	for i := range n {
		ch := []string{"SMS", "EMAIL"}[i%2]
		a.subs[ch] = append(a.subs[ch], client.Subscription{SubscriptionID: fmt.Sprintf("s%05d", i), Events: []client.EventName{{Event: "DELIVERY"}}, Profile: through(fmt.Sprintf("p%05d", i), "")})
		a.profiles = append(a.profiles, profileNamed(fmt.Sprintf("p%05d", i), "https://example.com/hook", "", ""))
		a.settings = append(a.settings, client.Security{AuthID: fmt.Sprintf("a%05d", i), Type: "BASIC", Credentials: &client.Credentials{Username: "u", Password: model.SecretMask}})
		a.certs = append(a.certs, certificateNamed(fmt.Sprintf("c%05d", i), "READY", -1, 300))
	}
	return a
})

// setupLists are the screens of the menu with a row of the shop.
var setupLists = []struct{ path, empty, one, many string }{
	{"/subscriptions", "No subscription yet", "orders-sms", "s00001"},
	{"/profiles", "No profile yet", "orders-hook", "p00000"},
	{"/authentication", "No authentication setting yet", "shop-hmac", "a00000"},
	{"/certificates", "No certificate yet", "shop-client-2025", "c00000"},
	{"/hierarchy", "Nothing to show yet", "Profile orders-hook", "p00000"},
}

func setupFixtures() []fixture {
	var out []fixture
	for _, l := range setupLists {
		out = append(out,
			fixture{screen: l.path, path: l.path, kind: "one", api: shop().behind, want: []string{l.one}},
			fixture{screen: l.path, path: l.path, kind: "empty", api: account{}.behind, want: []string{l.empty}},
			fixture{screen: l.path, path: l.path, kind: "many", api: func(f *fakeAPI) { crowd().behind(f) }, want: []string{l.many}},
			fixture{screen: l.path, path: l.path, kind: "unicode", api: called(textUnicode).behind},
			fixture{screen: l.path, path: l.path, kind: "rtl", api: called(textRTL).behind},
			fixture{screen: l.path, path: l.path, kind: "long", api: called(longText).behind},
		)
		out = append(
			out, fixture{screen: l.path, path: l.path + "?q=long", kind: "refused", status: http.StatusUnprocessableEntity, want: []string{`value="long"`, `id="f-q-error"`, `<a href="#f-q">Must be shorter`}, not: []string{"Show all", "yet</h2>"}, api: func(f *fakeAPI) {
				for _, list := range []string{"subscription", "profiles", "security", "certificates"} {
					f.set("GET /subscriptions/1/"+list, model.Invalid("search", "must be shorter"))
				}
			}},
			fixture{screen: l.path, path: l.path + "?page=99", kind: "beyond", api: shop().behind, want: []string{"There is nothing on this page", `href="` + Prefix + l.path + `"`}, not: []string{"yet</h2>"}},
			fixture{screen: l.path, path: l.path + "?q=zzz", kind: "nothing found", api: shop().behind, want: []string{"Show all"}},
			fixture{screen: l.path, path: l.path + "?q=0999", kind: "many", api: func(f *fakeAPI) { crowd().behind(f) }, want: []string{"09990"}},
		)
	}
	for screen, path := range map[string]string{
		"/subscriptions/{channel}/{id}/delete": "/subscriptions/SMS/s0010/delete", "/profiles/{id}": "/profiles/p0000", "/profiles/{id}/delete": "/profiles/p0000/delete", "/profiles/{id}/test": "/profiles/p0000/test",
		"/authentication/{id}": "/authentication/shared", "/authentication/{id}/delete": "/authentication/shared/delete", "/certificates/{id}": "/certificates/client", "/certificates/{id}/delete": "/certificates/client/delete",
		"/new-subscription": "/new-subscription?channel=SMS", "/new-profile": "/new-profile",
	} {
		out = append(out, fixture{screen: screen, path: path, kind: "many", api: func(f *fakeAPI) { popular().behind(f) }})
	}
	one := func(screen, path string, want ...string) {
		out = append(out, fixture{screen: screen, path: path, kind: "one", api: shop().behind, want: want})
	}
	also := func(screen, path, kind string, want ...string) {
		out = append(out, fixture{screen: screen, path: path, kind: kind, api: shop().behind, want: want})
	}
	one("/new-subscription", "/new-subscription?channel=SMS", `value="INBOUND_MESSAGE"`, "orders-hook", "shop-hmac")
	also("/new-subscription", "/new-subscription", "no channel", "Choose a channel to see its events")
	out = append(out, fixture{screen: "/new-subscription", path: "/new-subscription?channel=VOICE_VIDEO", kind: "first", api: account{}.behind, want: []string{"DTMF_CAPTURED", `value="new" checked`}})
	one("/subscriptions/{channel}/{id}", "/subscriptions/SMS/orders-sms", "INBOUND_MESSAGE (MO_JSON_2)", "application shop and entity eu", "https://hooks.shop.example/orders", "/match?applicationId=shop&channel=SMS&entityId=eu&event=DELIVERY")
	one("/subscriptions/{channel}/{id}/edit", "/subscriptions/SMS/orders-sms/edit", "cannot be changed", `value="DELIVERY" checked`, "INBOUND_MESSAGE MO_JSON_2")
	one("/subscriptions/{channel}/{id}/delete", "/subscriptions/SMS/orders-sms/delete", "never sent", "1 other subscription goes")
	one("/new-profile", "/new-profile", "Webhook URL", "shop-client")
	one("/profiles/{id}", "/profiles/orders-hook", "1\u202f200 attempts", "orders-whatsapp", "5s, 30s, 5m, 1h", "shop-client")
	also("/profiles/{id}", "/profiles/crm", "disabled", "410 Gone")
	one("/profiles/{id}/edit", "/profiles/orders-hook/edit", "X-Source: belfry", "5s 30s 5m 1h")
	one("/profiles/{id}/test", "/profiles/orders-hook/test", "SMS DELIVERY")
	one("/profiles/{id}/delete", "/profiles/orders-hook/delete", "This cannot be done now", "SMS · orders-sms", "WHATSAPP · orders-whatsapp")
	one("/new-authentication", "/new-authentication", "HMAC_SHA_512")
	one("/authentication/{id}", "/authentication/shop-hmac", model.SecretMask, "Two keys sign", "crm")
	also("/authentication/{id}", "/authentication/partner-oauth", "oauth", "X-Tenant", "used by no profile")
	one("/authentication/{id}/edit", "/authentication/partner-oauth/edit", "X-Tenant: "+model.SecretMask)
	one("/authentication/{id}/rotate", "/authentication/shop-hmac/rotate", "One week")
	one("/authentication/{id}/delete", "/authentication/shop-hmac/delete", "2 profiles authenticate their requests")
	one("/new-certificate", "/new-certificate", "PEM file")
	one("/certificates/{id}", "/certificates/shop-client", "expires in 65 days", "Test a connection", "orders-hook")
	also("/certificates/{id}", "/certificates/partner", "processing", "Not every node has it yet")
	one("/certificates/{id}/delete", "/certificates/shop-client-2025/delete", "upload it again")
	also("/certificates/{id}/delete", "/certificates/shop-client/delete", "used", "One profile shows this certificate to its webhook")
	for _, text := range []struct{ kind, s string }{{"unicode", textUnicode}, {"rtl", textRTL}} {
		id := at("/{}", text.s)[len(Prefix):]
		for screen, path := range map[string]string{
			"/subscriptions/{channel}/{id}": "/subscriptions/SMS" + id, "/profiles/{id}": "/profiles" + id, "/authentication/{id}": "/authentication" + id, "/certificates/{id}": "/certificates" + id,
		} {
			out = append(out, fixture{screen: screen, path: path, kind: text.kind, api: called(text.s).behind})
		}
	}
	return out
}

// created answers a POST as the API does.
func created(v any) func(*http.Request) any { return func(*http.Request) any { return v } }
