package api

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listsHarness has subscriptions of three channels, profiles that share
// settings and certificates, and a setting that nothing uses.
func listsHarness(t *testing.T) *harness {
	t.Helper()
	h := contractHarness(t) // sub-1 → prof-1 → sec-1 and cert-1; prof-free, sec-free, cert-free
	h.must(t, "POST", profiles, keyManage, `{"profileId":"crm","webhook":{"notifyUrl":"https://CRM.shop.example/in"},"security":{"authId":"sec-1"}}`, 201)
	for _, s := range []struct{ channel, body string }{
		{"EMAIL", `{"subscriptionId":"news","name":"Zürich","events":["OPEN"],"profile":{"profileId":"crm"}}`},
		{"SMS", `{"subscriptionId":"all-sms","events":[],"profile":{"profileId":"crm"},"users":["ops"]}`},
		{"WHATSAPP", `{"subscriptionId":"wa","events":["SEEN"],"profile":{"profileId":"prof-1"},"resources":["A"]}`},
	} {
		h.must(t, "POST", contractPrefix+"/subscription/"+s.channel, keyManage, s.body, 201)
	}
	return h
}

func TestLists_filters(t *testing.T) {
	t.Parallel()
	h := listsHarness(t)
	for _, tt := range []struct {
		list, query, id string
		want            []string // newest first
	}{
		{allSubs, "", "subscriptionId", []string{"wa", "all-sms", "news", "sub-1"}},
		{allSubs, "search=", "subscriptionId", []string{"wa", "all-sms", "news", "sub-1"}},
		{allSubs, "search=SUB", "subscriptionId", []string{"sub-1"}},
		{allSubs, "search=z%C3%9CRICH", "subscriptionId", []string{"news"}},
		{allSubs, "search=zurich", "subscriptionId", []string{}},
		{allSubs, "search=whats", "subscriptionId", []string{"wa"}},
		{allSubs, "search=Crm", "subscriptionId", []string{"all-sms", "news"}},
		{allSubs, "profileId=crm", "subscriptionId", []string{"all-sms", "news"}},
		{allSubs, "profileId=crm&search=news", "subscriptionId", []string{"news"}},
		{allSubs, "profileId=nobody", "subscriptionId", []string{}},
		{allSubs, "event=DELIVERY", "subscriptionId", []string{"all-sms", "sub-1"}},
		{allSubs, "event=SEEN&consistency=stale&page=0&size=5", "subscriptionId", []string{"wa"}},
		{allSubs, "user=ops", "subscriptionId", []string{"all-sms"}},
		{allSubs, "resource=A&profileId=prof-1", "subscriptionId", []string{"wa"}},
		{subsSMS, "search=sms", "subscriptionId", []string{"all-sms"}}, // the channel is not searched
		{subsSMS, "event=CLICK", "subscriptionId", []string{"all-sms"}},
		{subsSMS, "profileId=prof-1", "subscriptionId", []string{"sub-1"}},
		{profiles, "search=crm.SHOP", "profileId", []string{"crm"}},
		{profiles, "search=SEC-", "profileId", []string{"crm", "prof-1"}},
		{profiles, "search=cert-1", "profileId", []string{"prof-1"}},
		{profiles, "authId=sec-1", "profileId", []string{"crm", "prof-1"}},
		{profiles, "authId=sec-1&clientCertificateId=cert-1", "profileId", []string{"prof-1"}},
		{profiles, "clientCertificateId=cert-free", "profileId", []string{}},
		{profiles, "authId=sec-1&search=prof&unknown=x", "profileId", []string{"prof-1"}},
		{security, "search=FREE", "authId", []string{"sec-free"}},
		{security, "search=hmac", "authId", []string{"sec-free", "sec-1"}},
		{security, "unused=true", "authId", []string{"sec-free"}},
		{security, "unused=false", "authId", []string{"sec-free", "sec-1"}},
		{certs, "search=CERT-F", "certificateId", []string{"cert-free"}},
	} {
		ids, got := results(t, h.must(t, "GET", tt.list+"?"+tt.query, keyRead, "", 200), tt.id)
		if d := cmp.Diff(tt.want, ids); d != "" || got.TotalResults != len(tt.want) {
			t.Errorf("%s?%s: %d rows (-want +got):\n%s", tt.list, tt.query, got.TotalResults, d)
		}
	}
	if body := h.must(t, "GET", allSubs+"?search=news", keyRead, "", 200); !strings.HasPrefix(body, `{"results":[{"channel":"EMAIL","subscriptionId":"news","name":"Zürich","profile":{"profileId":"crm","security":{"authId":"sec-1"}},`) {
		t.Errorf("a subscription of all channels is %s", body)
	}
	if ids, _ := results(t, h.must(t, "GET", allSubs, keyOther, "", 200), "subscriptionId"); len(ids) > 0 {
		t.Errorf("another account sees %v", ids)
	}
}

// Each filter takes what is at its limit, and names itself with what is one
// above or no value of it.
func TestLists_filterLimits(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) { o.Limits.CertificateRequests = 1000 })
	const most = 255
	for _, tt := range []struct {
		list, name string
		id, empty  bool // empty: may be empty
	}{
		{allSubs, "search", false, true},
		{subsSMS, "search", false, true},
		{profiles, "search", false, true},
		{security, "search", false, true},
		{certs, "search", false, true},
		{certs + "/status", "search", false, true},
		{allSubs, "profileId", true, false},
		{subsSMS, "profileId", true, false},
		{profiles, "authId", true, false},
		{profiles, "clientCertificateId", true, false},
	} {
		q := tt.list + "?" + tt.name + "="
		h.must(t, "GET", q+strings.Repeat("x", most), keyRead, "", 200)
		bad := []string{strings.Repeat("x", most+1), "a&" + tt.name + "=a", "%00", "%ff"}
		if tt.id {
			bad = append(bad, "a%2Fb", "..", "%C3%BC")
		} else {
			h.must(t, "GET", q+url.QueryEscape(strings.Repeat("ü", most)), keyRead, "", 200)
			bad = append(bad, url.QueryEscape(strings.Repeat("ü", most+1)))
		}
		if tt.empty {
			h.must(t, "GET", q, keyRead, "", 200)
		} else {
			bad = append(bad, "")
		}
		for _, value := range bad {
			e := readContractError(t, h.must(t, "GET", q+value, keyRead, "", 400))
			if len(e.Errors) != 1 || len(e.Errors[tt.name]) != 1 {
				t.Errorf("%.60s names %v", q+value, e.Errors)
			}
		}
	}
	for query, fields := range map[string][]string{
		subsSMS + "?event=OPEN":                             {"event"}, // of EMAIL
		subsSMS + "?event=":                                 {"event"},
		subsSMS + "?event=CLICK&event=CLICK":                {"event"},
		allSubs + "?event=delivery":                         {"event"},
		allSubs + "?event=" + strings.Repeat("X", 300):      {"event"},
		allSubs + "?channel=SMS&profile=x":                  {"channel", "profile"},
		allSubs + "?profileId=%20&search=a&search=b&serch=": {"profileId", "search", "serch"},
		allSubs + "?user=" + strings.Repeat("x", most+1):    {"user"},
		security + "?unused=":                               {"unused"},
		security + "?unused=yes":                            {"unused"},
		security + "?unused=true&unused=true":               {"unused"},
	} {
		e := readContractError(t, h.must(t, "GET", query, keyRead, "", 400))
		var got []string
		for name := range e.Errors {
			got = append(got, name)
		}
		if slices.Sort(got); !slices.Equal(got, fields) {
			t.Errorf("%.60s names %v, want %v", query, got, fields)
		}
	}
	e := readContractError(t, h.must(t, "GET", profiles+"?search="+strings.Repeat("x", most+1), keyRead, "", 400))
	if text := e.Errors["search"][0]; !strings.Contains(text, "255") {
		t.Errorf("the limit is not named: %q", text)
	}
}
