package api

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// repeat makes a JSON list of n times item.
func repeat(item string, n int) string {
	return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
}

// Event lists on create and on update: [] is all, unknown names are ignored
// and named, a list of unknown names alone is refused.
func TestSubscription_events(t *testing.T) {
	t.Parallel()
	many := make([]string, 30)
	for i := range many {
		many[i] = fmt.Sprintf("%q", fmt.Sprintf("X%02d", i))
	}
	tests := map[string]struct {
		channel, in string
		out         string // in the answer of GET; "": refused with 400
		ignored     string
		field       string
	}{
		"all by an empty list":   {"SMS", `[]`, `"events":[]`, "", ""},
		"one":                    {"SMS", `["CLICK"]`, `"events":["CLICK"]`, "", ""},
		"repeated":               {"SMS", `["CLICK","DELIVERY","CLICK"]`, `"events":["CLICK","DELIVERY"]`, "", ""},
		"with format":            {"SMS", `["DELIVERY",{"event":"INBOUND_MESSAGE","format":"MO_JSON_2"}]`, `"events":["DELIVERY",{"event":"INBOUND_MESSAGE","format":"MO_JSON_2"}]`, "", ""},
		"in both forms":          {"MMS", `["DELIVERY",{"event":"DELIVERY","format":"F"}]`, `"events":["DELIVERY",{"event":"DELIVERY","format":"F"}]`, "", ""},
		"older name":             {"FACEBOOK", `["MARKETING_OPT_IN"]`, `"events":["MARKETING_OPT_IN"]`, "", ""},
		"unknown ignored":        {"SMS", `["SEEN","DELIVERY","delivery"]`, `"events":["DELIVERY"]`, "SEEN, delivery", ""},
		"unknown with format":    {"SMS", `["DELIVERY",{"event":"SEEN","format":"F"}]`, `"events":["DELIVERY"]`, "SEEN", ""},
		"unknown made harmless":  {"SMS", `["DELIVERY","a\r\nSet-Cookie: x","b,c","ü","` + strings.Repeat("y", 70) + `"]`, `"events":["DELIVERY"]`, "a??Set-Cookie:?x, b?c, ??, " + strings.Repeat("y", 64), ""},
		"many unknown":           {"SMS", `["DELIVERY",` + strings.Join(many, ",") + `]`, `"events":["DELIVERY"]`, strings.ReplaceAll(strings.Join(many[:20], ", "), `"`, "") + ", ...", ""},
		"255":                    {"SMS", repeat(`"CLICK"`, 255), `"events":["CLICK"]`, "", ""},
		"256":                    {"SMS", repeat(`"CLICK"`, 256), "", "", "events"},
		"all unknown":            {"SMS", `["SEEN"]`, "", "", "events"},
		"of another channel":     {"KAKAO_ALIM", `["CLICK","SEEN"]`, "", "", "events"},
		"format where none is":   {"EMAIL", `["OPEN",{"event":"DELIVERY","format":"F"}]`, "", "", "events[1]"},
		"number":                 {"SMS", `["DELIVERY",7]`, "", "", "events[1]"},
		"null":                   {"SMS", `[null]`, "", "", "events[0]"},
		"empty name":             {"SMS", `["DELIVERY",""]`, "", "", "events[1]"},
		"object without event":   {"SMS", `[{"format":"F"}]`, "", "", "events[0].event"},
		"object without format":  {"SMS", `[{"event":"DELIVERY"}]`, "", "", "events[0].format"},
		"object of wrong types":  {"SMS", `[{"event":"DELIVERY","format":1}]`, "", "", "events[0].format"},
		"format too long":        {"SMS", `[{"event":"DELIVERY","format":"` + strings.Repeat("f", 256) + `"}]`, "", "", "events[0].format"},
		"not a list":             {"SMS", `"DELIVERY"`, "", "", "events"},
		"null for the list":      {"SMS", `null`, "", "", "events"},
		"format at its limit":    {"SMS", `[{"event":"DELIVERY","format":"` + strings.Repeat("f", 255) + `"}]`, `"format":"f`, "", ""},
		"channel of an old list": {"VKONTAKTE", `["DELIVERY"]`, `"events":["DELIVERY"]`, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			chain := contractPrefix + "/subscription/" + tt.channel
			h.must(t, "POST", profiles, keyManage, `{"profileId":"p",`+hook+`}`, 201)
			h.must(t, "POST", chain, keyManage, `{"subscriptionId":"old","events":[],"profile":{"profileId":"p"}}`, 201)
			for _, sc := range []scenario{
				{method: "POST", url: chain, body: `{"subscriptionId":"new","events":` + tt.in + `,"profile":{"profileId":"p"}}`, status: 201},
				{method: "PUT", url: chain + "/old", body: `{"events":` + tt.in + `,"profile":{"profileId":"p"}}`, status: 200},
			} {
				sc.key, sc.headers, sc.offSpec = keyManage, map[string]string{headerIgnored: tt.ignored}, tt.ignored != ""
				if tt.out == "" {
					sc.status = 400
					if e := readContractError(t, sc.on(t, h)); len(e.Errors[tt.field]) != 1 {
						t.Errorf("%s names %v, want %s", sc.method, e.Errors, tt.field)
					}
					continue
				}
				sc.on(t, h)
				id := map[string]string{"POST": "/new", "PUT": "/old"}[sc.method]
				scenario{method: "GET", url: chain + id, key: keyRead, status: 200, has: []string{tt.out}}.on(t, h)
			}
		})
	}
}

// A refusal for another reason does not tell of ignored events.
func TestSubscription_noIgnoredEventsWithAnError(t *testing.T) {
	t.Parallel()
	scenario{
		method: "POST", url: subsSMS, key: keyManage, status: 400, body: `{"subscriptionId":"new","events":["SEEN","CLICK"],"profile":{"profileId":"none"}}`,
		headers: map[string]string{headerIgnored: ""}, has: []string{`"profile.profileId"`},
	}.run(t)
}

// PUT replaces: what is left out is cleared; channel and id stay.
func TestSubscription_putReplaces(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.must(t, "POST", profiles, keyManage, `{"profileId":"p2",`+hook+`}`, 201)
	h.must(t, "POST", subsSMS, keyManage, `{"subscriptionId":"s","name":"N","events":["CLICK"],"criteria":[{"applicationId":"a"},{}],"resources":["r",""],"users":["u"],"profile":{"profileId":"p",`+hook+`}}`, 201)
	scenario{
		method: "GET", url: subsSMS + "/s", key: keyManage, status: 200,
		has: []string{`"name":"N"`, `"criteria":[{"applicationId":"a"},{}]`, `"resources":["r",""]`, `"users":["u"]`, `"profile":{"profileId":"p"}`},
	}.on(t, h)
	body := `{"subscriptionId":"other","events":[],"criteria":null,"name":null,"profile":{"profileId":"p2","webhook":7,"security":"x"}}`
	scenario{method: "PUT", url: subsSMS + "/s", key: keyManage, body: body, status: 200, has: []string{`{"subscriptionId":"s","profile":{"profileId":"p2"}}`}, offSpec: true}.on(t, h)
	want := `{"subscriptionId":"s","profile":{"profileId":"p2"},"events":[],"criteria":[],"resources":[],"users":[]}`
	if got := h.must(t, "GET", subsSMS+"/s", keyManage, "", 200); got != want {
		t.Errorf("after PUT: %s\nwant %s", got, want)
	}
	h.must(t, "GET", subsSMS+"/other", keyManage, "", 404)
	h.must(t, "GET", contractPrefix+"/subscription/MMS/s", keyManage, "", 404)
}

// The profile of a new subscription: the id alone reuses, more creates.
func TestSubscription_profileOfACreate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		profile string
		status  int
		has     string
	}{
		"reuse":                         {`{"profileId":"prof-1"}`, 201, `"profile":{"profileId":"prof-1","security":{"authId":"sec-1"}}`},
		"reuse with nulls":              {`{"profileId":"prof-1","webhook":null,"windowSize":null,"retry":null}`, 201, `"prof-1"`},
		"reuse with unknown members":    {`{"profileId":"prof-1","color":"red"}`, 201, `"prof-1"`},
		"reuse of none":                 {`{"profileId":"none"}`, 400, `"profile.profileId"`},
		"reuse of another account's":    {`{"profileId":"prof-other"}`, 400, `"profile.profileId"`},
		"full":                          {`{"profileId":"new",` + hook + `}`, 201, `"profile":{"profileId":"new"}}`},
		"full with an id that exists":   {`{"profileId":"prof-1",` + hook + `}`, 400, `"profile.profileId"`},
		"full without webhook":          {`{"profileId":"new","windowSize":20}`, 400, `"profile.webhook.notifyUrl"`},
		"full with a setting":           {`{"profileId":"new",` + hook + `,"security":{"authId":"sec-1"}}`, 201, `"security":{"authId":"sec-1"}`},
		"full with no setting's id":     {`{"profileId":"new",` + hook + `,"security":{"authId":"none"}}`, 400, `"profile.security.authId"`},
		"full with empty setting":       {`{"profileId":"new",` + hook + `,"security":{}}`, 400, `"profile.security.authId":["must not be empty"]`},
		"full with a new setting":       {`{"profileId":"new",` + hook + `,"security":{"authId":"s2","type":"BASIC","credentials":{"username":"u","password":"p"}}}`, 201, `"security":{"authId":"s2"}`},
		"new setting whose id exists":   {`{"profileId":"new",` + hook + `,"security":{"authId":"sec-1","type":"BASIC","credentials":{"username":"u","password":"p"}}}`, 400, `"profile.security.authId"`},
		"new setting incomplete":        {`{"profileId":"new",` + hook + `,"security":{"authId":"s2","type":"HMAC","credentials":{}}}`, 400, `"profile.security.credentials.secretKey"`},
		"new setting without type":      {`{"profileId":"new",` + hook + `,"security":{"authId":"s2","credentials":{}}}`, 400, `"profile.security.type"`},
		"certificate that is not there": {`{"profileId":"new",` + hook + `,"clientCertificateId":"none"}`, 400, `"profile.clientCertificateId"`},
		"no id":                         {`{}`, 400, `"profile.profileId"`},
		"bad id":                        {`{"profileId":"a b",` + hook + `}`, 400, `"profile.profileId":["may hold only letters, digits and - _ . ~"]`},
		"bad id of a setting":           {`{"profileId":"new",` + hook + `,"security":{"authId":"a/b"}}`, 400, `"profile.security.authId":["may hold only letters, digits and - _ . ~"]`},
		"list":                          {`[]`, 400, `"profile":["must be an object"]`},
		"null":                          {`null`, 400, `"profile":["must not be null or absent"]`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := contractHarness(t)
			h.must(t, "POST", profiles, keyOther, `{"profileId":"prof-other",`+hook+`}`, 201)
			before := h.config.changes()
			scenario{
				method: "POST", url: subsSMS, key: keyManage, body: `{"subscriptionId":"new","events":[],"profile":` + tt.profile + `}`,
				status: tt.status, has: []string{tt.has}, offSpec: strings.Contains(tt.profile, "null"),
			}.on(t, h)
			if made := h.config.changes() - before; (made == 1) != (tt.status == 201) {
				t.Errorf("%d changes", made)
			}
			if tt.status == 400 { // all or none
				h.must(t, "GET", profiles+"/new", keyManage, "", 404)
				h.must(t, "GET", security+"/s2", keyManage, "", 404)
				h.must(t, "GET", subsSMS+"/new", keyManage, "", 404)
			}
		})
	}
}

// Ids hold what needs no URL encoding, 1 to 255 of them. INV api-6: others are
// not looked for.
func TestIDs_charset(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) { o.Limits.CertificateRequests = 1000 })
	all := "ABCXYZabcxyz0189-_.~"
	good := []string{"a", all, strings.Repeat("x", 255), "...", "status", "test", "-", "null"}
	bad := []string{"", ".", "..", strings.Repeat("x", 256), "a b", "a/b", "a%20b", "ü", "a:b", "a\\u0000", "a\\n", "a+b", strings.Repeat("y", 4096)}
	kinds := map[string]struct{ url, member, body string }{
		"subscription": {subsSMS, "subscriptionId", `{"subscriptionId":"%s","events":[],"profile":{"profileId":"p"}}`},
		"profile":      {profiles, "profileId", `{"profileId":"%s",` + hook + `}`},
		"security":     {security, "authId", `{"authId":"%s","type":"BASIC","credentials":{"username":"u","password":"p"}}`},
		"certificate":  {certs, "certificateId", strings.Replace(uploadBody("ID", testPEM(), ""), "ID", "%s", 1)},
	}
	h.must(t, "POST", profiles, keyManage, `{"profileId":"p",`+hook+`}`, 201)
	for kind, k := range kinds {
		for _, id := range good {
			body := fmt.Sprintf(k.body, id)
			if kind == "certificate" && (id == "status" || id == "test") {
				e := readContractError(t, h.must(t, "POST", k.url, keyManage, body, 400))
				if len(e.Errors["certificateId"]) != 1 {
					t.Errorf("certificate %s: %v", id, e.Errors)
				}
				continue
			}
			scenario{method: "POST", url: k.url, key: keyManage, body: body, status: 201, headers: map[string]string{"Location": k.url + "/" + id}}.on(t, h)
			h.must(t, "GET", k.url+"/"+id, keyManage, "", 200)
		}
		for _, id := range bad {
			e := readContractError(t, h.must(t, "POST", k.url, keyManage, fmt.Sprintf(k.body, id), 400))
			if len(e.Errors[k.member]) != 1 {
				t.Errorf("%s %.20q: %v", kind, id, e.Errors)
			}
			scenario{method: "GET", url: k.url + "/" + url.PathEscape(id) + "%01", key: keyManage, status: 404, hasNot: []string{"\x01", `\u0001`}}.on(t, h)
		}
		// A duplicate is refused by name.
		e := readContractError(t, h.must(t, "POST", k.url, keyManage, fmt.Sprintf(k.body, "a"), 400))
		if len(e.Errors[k.member]) != 1 {
			t.Errorf("second %s a: %v", kind, e.Errors)
		}
	}
	// Ids of subscriptions are unique per channel, not per account.
	h.must(t, "POST", contractPrefix+"/subscription/MMS", keyManage, `{"subscriptionId":"a","events":[],"profile":{"profileId":"p"}}`, 201)
	h.must(t, "POST", profiles, keyOther, `{"profileId":"a",`+hook+`}`, 201)
}

// Deleting is refused while something refers to the object, and the text
// names what does. A subscription leaves its profile behind.
func TestDelete_hierarchy(t *testing.T) {
	t.Parallel()
	h := contractHarness(t)
	for _, row := range []struct{ url, referrer string }{
		{profiles + "/prof-1", "SMS/sub-1"}, {security + "/sec-1", "prof-1"}, {certs + "/cert-1", "prof-1"},
	} {
		scenario{method: "DELETE", url: row.url, key: keyManage, status: 400, has: []string{row.referrer, `"BAD_REQUEST"`}, headers: map[string]string{headerErrorCode: "in_use"}}.on(t, h)
	}
	for _, u := range []string{subsSMS + "/sub-1", profiles + "/prof-1", security + "/sec-1", certs + "/cert-1"} {
		h.must(t, "GET", u, keyManage, "", 200)
		h.must(t, "DELETE", u, keyManage, "", 200)
		h.must(t, "DELETE", u, keyManage, "", 404)
	}
}

func TestSubscription_memberLimits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.must(t, "POST", profiles, keyManage, `{"profileId":"p",`+hook+`}`, 201)
	long, longer := strings.Repeat("ü", 255), strings.Repeat("ü", 256)
	tests := []struct{ good, bad, field string }{
		{`"name":"` + long + `"`, `"name":"` + longer + `"`, "name"},
		{`"name":"x"`, `"name":""`, "name"},
		{`"name":null`, `"name":7`, "name"},
		{`"criteria":` + repeat(`{}`, 255), `"criteria":` + repeat(`{}`, 256), "criteria"},
		{`"criteria":[{"applicationId":"` + long + `"}]`, `"criteria":[{},{"applicationId":"` + longer + `"}]`, "criteria[1].applicationId"},
		{`"criteria":[{"entityId":"` + long + `"}]`, `"criteria":[{"entityId":"` + longer + `"}]`, "criteria[0].entityId"},
		{`"criteria":[{"callsConfigurationId":"` + long + `"}]`, `"criteria":[{"callsConfigurationId":"` + longer + `"}]`, "criteria[0].callsConfigurationId"},
		{`"criteria":[{"entityId":""}]`, `"criteria":[{"entityId":"a\u0007"}]`, "criteria[0].entityId"},
		{`"criteria":[]`, `"criteria":[null]`, "criteria[0]"},
		{`"resources":` + repeat(`"r"`, 255), `"resources":` + repeat(`"r"`, 256), "resources"},
		{`"resources":["` + long + `",""]`, `"resources":["","` + longer + `"]`, "resources[1]"},
		{`"users":` + repeat(`"u"`, 255), `"users":` + repeat(`"u"`, 256), "users"},
		{`"users":["` + long + `"]`, `"users":[{}]`, "users[0]"},
	}
	for i, tt := range tests {
		const body = `{"subscriptionId":"s%d","events":[],"profile":{"profileId":"p"},%s}`
		scenario{method: "POST", url: subsSMS, key: keyManage, body: fmt.Sprintf(body, i, tt.good), status: 201, offSpec: tt.good == `"name":null`}.on(t, h)
		e := readContractError(t, h.must(t, "POST", subsSMS, keyManage, fmt.Sprintf(body, 1000+i, tt.bad), 400))
		if len(e.Errors[tt.field]) != 1 {
			t.Errorf("%.60s names %v", tt.bad, e.Errors)
		}
	}
}
