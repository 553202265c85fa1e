package api

import (
	"errors"
	"strings"
	"testing"

	"example.com/belfry/fsm/model"
)

// What was not set is shown with its default; additions of ours stay out of
// sight of clients that do not use them.
func TestProfile_defaults(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.must(t, "POST", profiles, keyManage, `{"profileId":"p",`+hook+`}`, 201)
	want := `{"profileId":"p","webhook":{"notifyUrl":"https://hooks.acme.example/in","contentType":"application/json"},` +
		`"maxBucketSize":100,"windowSize":20,"connectTimeout":10000,"readTimeout":10000}`
	if got := h.must(t, "GET", profiles+"/p", keyRead, "", 200); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

const everyKnob = `"webhook":{"notifyUrl":"https://hooks.acme.example/in","contentType":"application/json; charset=utf-8"},"security":{"authId":"sec-1"},"clientCertificateId":"cert-1",` +
	`"maxBucketSize":2000,"windowSize":10000,"connectTimeout":300,"readTimeout":90000,"enabledSSLProtocols":["TLSv1.2","TLSv1.3"],"headers":{"X-Env":"prod"},` +
	`"responseRegex":"[1-9][0-9]","responseBodyRegex":"ok","rateLimit":5000,"retry":{"policy":"custom","schedule":[5,60],"maxAttempts":3,"maxAge":3600},"ordering":"NONE","enabled":false`

func TestProfile_everyMemberComesBack(t *testing.T) {
	t.Parallel()
	h := contractHarness(t)
	h.must(t, "POST", profiles, keyManage, `{"profileId":"p",`+everyKnob+`}`, 201)
	if got, want := h.must(t, "GET", profiles+"/p", keyRead, "", 200), `{"profileId":"p",`+everyKnob+`}`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// PUT merges: absent members stay, null clears.
func TestProfile_putMerges(t *testing.T) {
	t.Parallel()
	before := `{"profileId":"p",` + everyKnob + `}`
	tests := map[string]struct {
		body     string
		old, new string // what changes in the answer of GET
	}{
		"nothing":                    {`{}`, "", ""},
		"unknown member":             {`{"profileId":"q","color":"red"}`, "", ""},
		"url, as a real client does": {`{"webhook":{"notifyUrl":"https://b.example/"}}`, `"notifyUrl":"https://hooks.acme.example/in"`, `"notifyUrl":"https://b.example/"`},
		"content type to XML":        {`{"webhook":{"notifyUrl":"https://hooks.acme.example/in","contentType":"application/xml"}}`, `"application/json; charset=utf-8"`, `"application/xml"`},
		"content type to default":    {`{"webhook":{"notifyUrl":"https://hooks.acme.example/in","contentType":null}}`, `"application/json; charset=utf-8"`, `"application/json"`},
		"content type to empty":      {`{"webhook":{"notifyUrl":"https://hooks.acme.example/in","contentType":""}}`, `"application/json; charset=utf-8"`, `"application/json"`},
		"number":                     {`{"windowSize":20}`, `"windowSize":10000`, `"windowSize":20`},
		"number written as a float":  {`{"windowSize":2e1}`, `"windowSize":10000`, `"windowSize":20`},
		"numbers to default": {
			`{"maxBucketSize":null,"windowSize":null,"connectTimeout":null,"readTimeout":null}`,
			`"maxBucketSize":2000,"windowSize":10000,"connectTimeout":300,"readTimeout":90000`, `"maxBucketSize":100,"windowSize":20,"connectTimeout":10000,"readTimeout":10000`,
		},
		"no rate limit":        {`{"rateLimit":null}`, `,"rateLimit":5000`, ``},
		"no security":          {`{"security":null}`, `,"security":{"authId":"sec-1"}`, ``},
		"other security":       {`{"security":{"authId":"sec-free"}}`, `"sec-1"`, `"sec-free"`},
		"no certificate":       {`{"clientCertificateId":null}`, `,"clientCertificateId":"cert-1"`, ``},
		"empty certificate":    {`{"clientCertificateId":""}`, `,"clientCertificateId":"cert-1"`, ``},
		"other certificate":    {`{"clientCertificateId":"cert-free"}`, `"cert-1"`, `"cert-free"`},
		"headers are replaced": {`{"headers":{"X-B":"1"}}`, `{"X-Env":"prod"}`, `{"X-B":"1"}`},
		"no headers":           {`{"headers":null}`, `,"headers":{"X-Env":"prod"}`, ``},
		"protocols":            {`{"enabledSSLProtocols":["TLSv1.3"]}`, `["TLSv1.2","TLSv1.3"]`, `["TLSv1.3"]`},
		"no protocols":         {`{"enabledSSLProtocols":[]}`, `,"enabledSSLProtocols":["TLSv1.2","TLSv1.3"]`, ``},
		"no regexes":           {`{"responseRegex":null,"responseBodyRegex":null}`, `,"responseRegex":"[1-9][0-9]","responseBodyRegex":"ok"`, ``},
		"retry is replaced":    {`{"retry":{"policy":"standard"}}`, `"retry":{"policy":"custom","schedule":[5,60],"maxAttempts":3,"maxAge":3600}`, `"retry":{"policy":"standard"}`},
		"no retry":             {`{"retry":null}`, `,"retry":{"policy":"custom","schedule":[5,60],"maxAttempts":3,"maxAge":3600}`, ``},
		"ordering":             {`{"ordering":"NONE"}`, "", ""},
		"no ordering":          {`{"ordering":null}`, `,"ordering":"NONE"`, ``},
		"enabled":              {`{"enabled":true}`, `,"enabled":false`, ``},
		"enabled by null":      {`{"enabled":null}`, `,"enabled":false`, ``},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := contractHarness(t)
			h.must(t, "POST", profiles, keyManage, before, 201)
			was := h.must(t, "GET", profiles+"/p", keyRead, "", 200)
			h.must(t, "PUT", profiles+"/p", keyManage, tt.body, 200)
			want := was
			if tt.old != "" {
				if want = strings.Replace(was, tt.old, tt.new, 1); want == was {
					t.Fatalf("the profile has no %s\n%s", tt.old, was)
				}
			}
			if got := h.must(t, "GET", profiles+"/p", keyRead, "", 200); got != want {
				t.Errorf("after PUT %s\n%s\nwant\n%s", tt.body, got, want)
			}
		})
	}
}

// What is refused, on create and on update, and by which name.
func TestProfile_memberLimits(t *testing.T) {
	t.Parallel()
	h := contractHarness(t)
	header := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(jsonf(`"X-%d":"",`, i))
		}
		return `"headers":{` + strings.TrimSuffix(b.String(), ",") + `}`
	}
	url := "https://hooks.acme.example/" + strings.Repeat("x", model.MaxURLLength-len("https://hooks.acme.example/"))
	tests := []struct{ good, bad, field string }{
		{`"webhook":{"notifyUrl":"` + url + `"}`, `"webhook":{"notifyUrl":"` + url + `x"}`, "webhook.notifyUrl"},
		{`"webhook":{"notifyUrl":"http://a.example:8080/x?y=1"}`, `"webhook":{"notifyUrl":"ftp://a.example/"}`, "webhook.notifyUrl"},
		{`"webhook":{"notifyUrl":"http://[2001:db8::1]/"}`, `"webhook":{"notifyUrl":"https://u:` + canary + `@a.example/"}`, "webhook.notifyUrl"},
		{"", `"webhook":{"notifyUrl":""}`, "webhook.notifyUrl"},
		{"", `"webhook":{"notifyUrl":null}`, "webhook.notifyUrl"},
		{"", `"webhook":{}`, "webhook.notifyUrl"},
		{"", `"webhook":null`, "webhook.notifyUrl"},
		{"", `"webhook":"https://a.example/"`, "webhook"},
		{"", `"webhook":{"notifyUrl":"//a.example"}`, "webhook.notifyUrl"},
		{"", `"webhook":{"notifyUrl":"https://a.example/#f"}`, "webhook.notifyUrl"},
		{"", `"webhook":{"notifyUrl":"https://a.example/ x"}`, "webhook.notifyUrl"},
		{"", `"webhook":{"notifyUrl":"https://a.example/","contentType":"text/plain"}`, "webhook.contentType"},
		{"", `"webhook":{"notifyUrl":"https://a.example/","contentType":"text/xml"}`, "webhook.contentType"},
		{`"maxBucketSize":1`, `"maxBucketSize":0`, "maxBucketSize"},
		{`"maxBucketSize":2000`, `"maxBucketSize":2001`, "maxBucketSize"},
		{`"windowSize":20`, `"windowSize":19`, "windowSize"},
		{`"windowSize":10000`, `"windowSize":10001`, "windowSize"},
		{`"connectTimeout":300`, `"connectTimeout":299`, "connectTimeout"},
		{`"connectTimeout":30000`, `"connectTimeout":30001`, "connectTimeout"},
		{`"readTimeout":1000`, `"readTimeout":999`, "readTimeout"},
		{`"readTimeout":90000`, `"readTimeout":90001`, "readTimeout"},
		{`"rateLimit":1`, `"rateLimit":0`, "rateLimit"},
		{`"rateLimit":5000`, `"rateLimit":5001`, "rateLimit"},
		{"", `"rateLimit":-1`, "rateLimit"},
		{"", `"rateLimit":1.5`, "rateLimit"},
		{"", `"rateLimit":"10"`, "rateLimit"},
		{"", `"rateLimit":1e400`, "rateLimit"},
		{`"enabledSSLProtocols":["TLSv1.2"]`, `"enabledSSLProtocols":["TLSv1.1"]`, "enabledSSLProtocols[0]"},
		{"", `"enabledSSLProtocols":["TLSv1.2","TLSv1.2"]`, "enabledSSLProtocols[1]"},
		{"", `"enabledSSLProtocols":"TLSv1.2"`, "enabledSSLProtocols"},
		{header(64), header(65), "headers"},
		{`"headers":{"X-A":"` + strings.Repeat("v", 4096) + `"}`, `"headers":{"X-A":"` + strings.Repeat("v", 4097) + `"}`, "headers.X-A"},
		{`"headers":{"Authorization":"Bearer x"}`, `"headers":{"X-A":"a\r\nX-B: 1"}`, "headers.X-A"},
		{"", `"headers":{"X A":"1"}`, "headers"},
		{"", `"headers":{"Content-Length":"1"}`, "headers"},
		{"", `"headers":{"X-A":"1","x-a":"2"}`, "headers.x-a"},
		{"", `"headers":{"X-A":null}`, "headers.X-A"},
		{"", `"headers":{"X-A":1}`, "headers.X-A"},
		{`"responseRegex":"^2..$"`, `"responseRegex":"("`, "responseRegex"},
		{`"responseBodyRegex":"` + strings.Repeat("a", 255) + `"`, `"responseBodyRegex":"` + strings.Repeat("a", 256) + `"`, "responseBodyRegex"},
		{`"clientCertificateId":"cert-free"`, `"clientCertificateId":"none"`, "clientCertificateId"},
		{"", `"clientCertificateId":"a b"`, "clientCertificateId"},
		{`"security":{"authId":"sec-free"}`, `"security":{"authId":"none"}`, "security.authId"},
		{"", `"security":{"authId":""}`, "security.authId"},
		{"", `"security":"sec-1"`, "security"},
		{`"retry":{"policy":"infobip","maxAttempts":1000,"maxAge":2678400}`, `"retry":{"policy":"linear"}`, "retry.policy"},
		{`"retry":{"policy":"custom","schedule":` + repeat("604800", 100) + `}`, `"retry":{"policy":"custom","schedule":` + repeat("1", 101) + `}`, "retry.schedule"},
		{"", `"retry":{"policy":"custom","schedule":[1,604801]}`, "retry.schedule[1]"},
		{"", `"retry":{"policy":"custom","schedule":[0]}`, "retry.schedule[0]"},
		{"", `"retry":{"policy":"custom"}`, "retry.schedule"},
		{"", `"retry":{"policy":"standard","schedule":[1]}`, "retry.schedule"},
		{"", `"retry":{"policy":"standard","maxAttempts":1001}`, "retry.maxAttempts"},
		{"", `"retry":{"policy":"standard","maxAge":2678401}`, "retry.maxAge"},
		{"", `"retry":{}`, "retry.policy"},
		{`"ordering":"NONE"`, `"ordering":"none"`, "ordering"},
		{"", `"ordering":""`, "ordering"},
		{`"ordering":"KEY"`, `"ordering":"key"`, "ordering"},
		{`"ordering":"STRICT"`, `"ordering":"strict"`, "ordering"},
		{`"enabled":true`, `"enabled":"no"`, "enabled"},
	}
	for i, tt := range tests {
		webhook := hook + ","
		if strings.HasPrefix(tt.bad, `"webhook"`) {
			webhook = ""
		}
		create := jsonf(`{"profileId":"new-%d",%s`, i, webhook)
		if tt.good != "" {
			h.must(t, "POST", profiles, keyManage, create+tt.good+`}`, 201)
			h.must(t, "PUT", profiles+"/prof-free", keyManage, `{`+tt.good+`}`, 200)
		}
		before := h.config.changes()
		for _, sc := range []scenario{
			{method: "POST", url: profiles, body: strings.Replace(create, "new", "bad", 1) + tt.bad + `}`},
			{method: "PUT", url: profiles + "/prof-1", body: `{` + tt.bad + `}`},
		} {
			sc.key, sc.status, sc.hasNot = keyManage, 400, []string{canary}
			e := readContractError(t, sc.on(t, h))
			if len(e.Errors) != 1 || len(e.Errors[tt.field]) != 1 {
				t.Errorf("%s %.60s names %v, want %s", sc.method, tt.bad, e.Errors, tt.field)
			}
		}
		if h.config.changes() != before {
			t.Errorf("%.60s changed something", tt.bad)
		}
	}
	if strings.Contains(h.log.String(), canary) {
		t.Error("a secret is in the log")
	}
}

// fakeURLs refuses URLs of one host, or fails on them.
type fakeURLs struct{ internal bool }

func (f fakeURLs) CheckURL(raw string) error {
	if !strings.Contains(raw, "forbidden.example") {
		return nil
	}
	if f.internal {
		return errors.New("the guard's list at /etc/guard cannot be read")
	}
	return model.Errorf(model.CodeInvalid, "this destination is not permitted")
}

// Every member that is dialled later is shown to the policy before it is
// saved, and only once in the answer.
func TestURLPolicy_everywhere(t *testing.T) {
	t.Parallel()
	const bad = "https://forbidden.example/"
	oauth := `"type":"OAUTH","credentials":{"grantType":"client_credentials","tokenUrl":"` + bad + `"}`
	for _, internal := range []bool{false, true} {
		h := contractHarness(t, func(o *Options) { o.URLs = fakeURLs{internal} })
		for _, row := range []struct{ method, url, body, field string }{
			{"POST", profiles, `{"profileId":"new","webhook":{"notifyUrl":"` + bad + `"}}`, "webhook.notifyUrl"},
			{"PUT", profiles + "/prof-1", `{"webhook":{"notifyUrl":"` + bad + `"}}`, "webhook.notifyUrl"},
			{"POST", subsSMS, `{"subscriptionId":"new","events":[],"profile":{"profileId":"new","webhook":{"notifyUrl":"` + bad + `"}}}`, "profile.webhook.notifyUrl"},
			{"POST", security, `{"authId":"new",` + oauth + `}`, "credentials.tokenUrl"},
			{"PUT", security + "/sec-1", `{` + oauth + `}`, "credentials.tokenUrl"},
			{"POST", profiles, `{"profileId":"new",` + hook + `,"security":{"authId":"new",` + oauth + `}}`, "security.credentials.tokenUrl"},
			{"POST", certs + "/test/webhook", `{"certificateId":"cert-1","webhookUrl":"` + bad + `"}`, "webhookUrl"},
		} {
			before := h.config.changes()
			e := readContractError(t, h.must(t, row.method, row.url, keyManage, row.body, 400))
			if len(e.Errors[row.field]) != 1 || strings.Contains(e.Errors[row.field][0], "/etc") {
				t.Errorf("%s %s: %v, want %s", row.method, row.url, e.Errors, row.field)
			}
			if h.config.changes() != before {
				t.Errorf("%s %s changed something", row.method, row.url)
			}
		}
	}
}
