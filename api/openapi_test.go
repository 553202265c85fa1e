package api

import (
	"encoding/json"
	"html"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"example.com/belfry/fsm/model"
)

func schemaOf(t *testing.T, name string) *openapi3.Schema {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	ref := doc.Components.Schemas[name]
	if ref == nil {
		t.Fatalf("openapi.yaml has no schema %s", name)
	}
	return ref.Value
}

func enumOf(s *openapi3.Schema) []string {
	out := make([]string, len(s.Enum))
	for i, v := range s.Enum {
		out[i], _ = v.(string)
	}
	return out
}

// camel turns SMS into Sms and VOICE_VIDEO into VoiceVideo.
func camel(channel string) string {
	var b strings.Builder
	for w := range strings.SplitSeq(channel, "_") {
		b.WriteString(w[:1] + strings.ToLower(w[1:]))
	}
	return b.String()
}

// The document's channels and events are those of the catalogue, both ways.
func TestDocument_catalogue(t *testing.T) {
	t.Parallel()
	var names []string
	lists := schemaOf(t, "Events").AnyOf
	for i, c := range model.Channels() {
		names = append(names, c.Name)
		if i >= len(lists) || lists[i].Ref != "#/components/schemas/"+camel(c.Name)+"Events" {
			t.Errorf("Events lacks the list of %s in its place", c.Name)
		}
		if d := cmp.Diff(c.Events, enumOf(schemaOf(t, camel(c.Name)+"EventName"))); d != "" {
			t.Errorf("%s (-catalogue +document):\n%s", c.Name, d)
		}
		items := schemaOf(t, camel(c.Name)+"Events").Items
		if aware := len(items.Value.AnyOf) == 2; aware != c.FormatAware {
			t.Errorf("%s: the document takes formats: %v, the catalogue: %v", c.Name, aware, c.FormatAware)
		}
	}
	if d := cmp.Diff(names, enumOf(schemaOf(t, "Channel"))); d != "" || len(lists) != len(names) {
		t.Errorf("%d lists of events; channels (-catalogue +document):\n%s", len(lists), d)
	}
}

// Other enums of the document and of the model, both ways.
func TestDocument_enums(t *testing.T) {
	t.Parallel()
	text := func(list any) []string {
		var out []string
		if err := json.Unmarshal(must(json.Marshal(list)), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	codes := slices.Collect(maps.Keys(meanings))
	messages := map[string]bool{}
	for _, m := range meanings {
		messages[m.messageID] = true
	}
	service := schemaOf(t, "ContractError").Properties["requestError"].Value.Properties["serviceException"].Value
	tests := map[string]struct{ document, model []string }{
		"CredentialsType":   {enumOf(schemaOf(t, "CredentialsType")), text([]model.CredentialsType{model.CredentialsBasic, model.CredentialsHMAC, model.CredentialsOAuth, model.CredentialsCustom})},
		"HmacAlgorithm":     {enumOf(schemaOf(t, "HmacAlgorithm")), text(model.HMACAlgorithms())},
		"CertificateStatus": {enumOf(schemaOf(t, "CertificateStatus")), text([]model.CertificateStatus{model.CertificateProcessing, model.CertificateReady, model.CertificateExpired})},
		"Ordering":          {enumOf(schemaOf(t, "Ordering")), text([]model.Ordering{model.OrderingNone, model.OrderingKey, model.OrderingStrict})},
		"Retry.policy":      {enumOf(schemaOf(t, "Retry").Properties["policy"].Value), text([]model.RetryPolicy{model.RetryInfobip, model.RetryStandard, model.RetryCustom})},
		"Scope":             {enumOf(schemaOf(t, "Scope")), text(model.AllScopes())},
		"ErrorCode":         {enumOf(schemaOf(t, "ErrorCode")), text(codes)},
		"messageId":         {enumOf(service.Properties["messageId"].Value), slices.Collect(maps.Keys(messages))},
	}
	for name, tt := range tests {
		slices.Sort(tt.document)
		slices.Sort(tt.model)
		if d := cmp.Diff(tt.model, tt.document); d != "" {
			t.Errorf("%s (-model +document):\n%s", name, d)
		}
	}
}

// The numbers of the document are the limits of the code.
func TestDocument_limits(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{"ProfileCreate", "ProfileUpdate"} {
		props := schemaOf(t, schema).Properties
		for name, want := range map[string][2]int{
			"maxBucketSize": {model.MinMaxBucketSize, model.MaxMaxBucketSize}, "windowSize": {model.MinWindowSize, model.MaxWindowSize},
			"connectTimeout": {model.MinConnectTimeoutMs, model.MaxConnectTimeoutMs}, "readTimeout": {model.MinReadTimeoutMs, model.MaxReadTimeoutMs},
			"rateLimit": {model.MinRateLimit, model.MaxRateLimit},
		} {
			if p := props[name].Value; p.Min == nil || p.Max == nil || int(*p.Min) != want[0] || int(*p.Max) != want[1] {
				t.Errorf("%s.%s is not between %v", schema, name, want)
			}
		}
		if got := *props["headers"].Value.MaxProps; got != model.MaxHeaders {
			t.Errorf("%s.headers: %d, want %d", schema, got, model.MaxHeaders)
		}
	}
	for path, want := range map[string]int{
		"Webhook.notifyUrl": model.MaxURLLength, "OauthCredentials.tokenUrl": model.MaxTokenURL, "ProfileCreate.responseRegex": model.MaxRegexLength,
		"ConnectionTest.webhookUrl": model.MaxURLLength, "BasicCredentials.password": model.MaxTextLength, "Criterion.applicationId": model.MaxTextLength,
	} {
		schema, name, _ := strings.Cut(path, ".")
		if p := schemaOf(t, schema).Properties[name].Value; p.MaxLength == nil || int(*p.MaxLength) != want {
			t.Errorf("%s: maxLength is not %d", path, want)
		}
	}
	for name, want := range map[string]int{"Criteria": model.MaxListItems, "Resources": model.MaxListItems, "Users": model.MaxListItems, "SmsEvents": model.MaxListItems, "FilterValues": maxFilterValues} {
		if s := schemaOf(t, name); s.MaxItems == nil || int(*s.MaxItems) != want {
			t.Errorf("%s: maxItems is not %d", name, want)
		}
	}
	if got := *schemaOf(t, "Id").MaxLength; got != model.MaxIDLength {
		t.Errorf("Id: %d, want %d", got, model.MaxIDLength)
	}
}

// Each operation names the scope of its row, its certificate rate and the
// answers that the chain in front of it can give.
func TestDocument_operations(t *testing.T) {
	t.Parallel()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range newHarness(t).table {
		op := doc.Paths.Find(r.path).GetOperation(r.method)
		what := r.method + " " + r.path
		scope, _ := op.Extensions["x-scope"].(string)
		want := string(r.scope)
		if r.scope == scopePublic || r.scope == scopeCaller {
			want = ""
		}
		if public := op.Security != nil && len(*op.Security) == 0; scope != want || public != (r.scope == scopePublic) {
			t.Errorf("%s: x-scope %q and public %v, the table has %s", what, scope, public, r.scope)
		}
		if _, limited := op.Extensions["x-rate-limit"]; limited != r.certificates {
			t.Errorf("%s: x-rate-limit is there: %v, want %v", what, limited, r.certificates)
		}
		codes := []int{500}
		if r.scope != scopePublic {
			codes = append(codes, 401, 429)
		}
		if r.scope.Known() {
			codes = append(codes, 403)
		}
		if r.surface == surfaceContract {
			codes = append(codes, 400, 404)
		}
		if r.surface == surfaceContract || r.read {
			codes = append(codes, 503)
		}
		for _, c := range codes {
			if op.Responses.Status(c) == nil {
				t.Errorf("%s lacks the answer %d", what, c)
			}
		}
		if takes := op.Parameters.GetByInAndName("query", "consistency") != nil; takes != r.read {
			t.Errorf("%s documents consistency: %v, the table reads: %v", what, takes, r.read)
		}
		if op.Summary == "" || len(op.Tags) != 1 {
			t.Errorf("%s lacks a summary or a tag", what)
		}
	}
}

// The examples of the document are taken by the server.
func TestDocument_examplesWork(t *testing.T) {
	t.Parallel()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t)
	send := func(method, path, url string, names ...string) {
		t.Helper()
		examples := doc.Paths.Find(path).GetOperation(method).RequestBody.Value.Content.Get(typeJSON).Examples
		if len(examples) != len(names) {
			t.Errorf("%s %s has %d examples, of which %d are tried", method, path, len(examples), len(names))
		}
		status := map[string]int{"POST": 201, "PUT": 200}[method]
		for _, name := range names {
			h.must(t, method, url, keyManage, string(must(json.Marshal(examples[name].Value.Value))), status)
		}
	}
	const chain = contractPrefix + "/subscription/{channel}"
	send("POST", security, security, "basic", "oauth", "custom", "hmac")
	h.must(t, "DELETE", security+"/shop-hmac", keyManage, "", 200) // the next brings its own
	send("POST", chain, subsSMS, "everything", "reuse")
	h.must(t, "DELETE", subsSMS+"/shop-sms", keyManage, "", 200)
	h.must(t, "DELETE", subsSMS+"/shop-all", keyManage, "", 200)
	h.must(t, "DELETE", profiles+"/shop-hook", keyManage, "", 200)
	send("POST", profiles, profiles, "plain", "knobs")
	send("PUT", profiles+"/{profileId}", profiles+"/shop-hook", "url", "clear")
	send("PUT", security+"/{authId}", security+"/shop-hmac", "secret")
	h.must(t, "POST", subsSMS, keyManage, `{"subscriptionId":"s","events":[],"profile":{"profileId":"shop-hook"}}`, 201)
	send("PUT", chain+"/{subscriptionId}", subsSMS+"/s", "switch")
}

// The page shows every operation of the document with its answers in words.
func TestDocsPage_everyOperation(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	page := scenario{method: "GET", url: "/docs", status: 200, hasNot: []string{"<td></td>", "<p></p>", "<code></code>"}}.on(t, h)
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for p, item := range doc.Paths.Map() {
		for m, op := range item.Operations() {
			n++
			for _, want := range []string{`<article id="` + op.OperationID + `">`, `href="#` + op.OperationID + `"`, `<b>` + m + `</b> ` + p + `<`, "<p>" + html.EscapeString(op.Summary) + "</p>"} {
				if !strings.Contains(strings.ReplaceAll(page, "&#39;", "'"), strings.ReplaceAll(want, "&#39;", "'")) {
					t.Errorf("the page lacks %s", want)
				}
			}
		}
	}
	if got := strings.Count(page, "<article"); got != n || n != len(h.table) {
		t.Errorf("%d operations on the page, %d in the document, %d in the table", got, n, len(h.table))
	}
	if strings.Contains(page, "Problem4") || strings.Contains(page, "Contract4") {
		t.Error("answers are named by their key in the document")
	}
	if len(page) > 1<<20 {
		t.Error("the page has " + strconv.Itoa(len(page)) + " bytes")
	}
}
