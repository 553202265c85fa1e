package api

import (
	"crypto"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/youmark/pkcs8"

	"example.com/belfry/fsm/model"
)

// An upload is stored as chain and key, and shown without either.
func TestCertificate_uploadAndShow(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	scenario{
		method: "POST", url: certs, key: keyManage, body: uploadBody("c", testPEM(), ""), status: 201,
		headers: map[string]string{"Location": certs + "/c"}, has: []string{`{"certificateId":"c","status":"READY"}`},
	}.on(t, h)
	want := `{"certificateId":"c","issuedBy":"CN=inter.acme.example,O=Acme\\, Ltd.,C=HR","issuedTo":"CN=leaf.acme.example,O=Acme\\, Ltd.,C=HR",` +
		`"validFrom":1767225600000,"validUntil":1798761600000,"certificateStatus":"READY","serialNumber":"3"}`
	if got := h.must(t, "GET", certs+"/c", keyRead, "", 200); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got := h.must(t, "GET", certs, keyRead, "", 200); !strings.Contains(got, want) {
		t.Errorf("the list has %s", got)
	}
	c := h.config.certs[path(accAcme, "c")]
	if strings.Contains(string(c.ChainPEM), "PRIVATE") || !strings.HasPrefix(string(c.Secrets[model.FieldPrivateKey]), sealedPrefix) {
		t.Error("the key is not kept apart from the chain")
	}
	if log := h.log.String(); strings.Contains(log, "PRIVATE") || strings.Contains(log, "LS0tLS1") {
		t.Error("the file is in the log")
	}
}

// The status is derived at every read.
func TestCertificate_status(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.cluster.behind = true
	body := h.must(t, "POST", certs, keyManage, uploadBody("c", testPEM(), ""), 201)
	check := func(want string) {
		t.Helper()
		for url, member := range map[string]string{certs + "/status/c": "status", certs + "/status": "status", certs + "/c": "certificateStatus", certs: "certificateStatus"} {
			scenario{method: "GET", url: url, key: keyRead, status: 200, has: []string{`"` + member + `":"` + want + `"`}}.on(t, h)
		}
	}
	if body != `{"certificateId":"c","status":"PROCESSING"}` {
		t.Errorf("upload: %s", body)
	}
	check("PROCESSING")
	h.cluster.behind = false
	check("READY")
	h.advance(fixtureEnd.Sub(h.o.Now()))
	check("READY") // to the last moment
	h.advance(time.Nanosecond)
	check("EXPIRED")
	h.cluster.behind = true
	check("EXPIRED")
	if got := h.must(t, "POST", certs, keyManage, uploadBody("late", testPEM(), ""), 201); got != `{"certificateId":"late","status":"EXPIRED"}` {
		t.Errorf("upload of an expired one: %s", got)
	}
}

// The Base64 of content and passphrase may come in any of its usual forms.
func TestCertificate_base64(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	content := []byte(testPEM() + "\n>>>???") // what differs between the alphabets
	lines := base64.StdEncoding.EncodeToString(content)
	for i, enc := range []string{
		lines, base64.RawStdEncoding.EncodeToString(content), base64.URLEncoding.EncodeToString(content), base64.RawURLEncoding.EncodeToString(content),
		strings.Join(slices.Collect(chunks(lines, 64)), `\n`), strings.Join(slices.Collect(chunks(lines, 76)), `\r\n`),
	} {
		h.must(t, "POST", certs, keyManage, jsonf(`{"certificateId":"c%d","certificateContent":"%s"}`, i, enc), 201)
	}
	for body, field := range map[string]string{
		`"certificateContent":"` + lines[1:] + `"`: "certificateContent",
		`"certificateContent":"not base64!"`:       "certificateContent",
		`"certificateContent":""`:                  "certificateContent",
		`"certificateContent":7`:                   "certificateContent",
		`"certificateContent":null`:                "certificateContent",
		`"passphrase":"x"`:                         "certificateContent",
		`"certificateContent":"` + lines + `","passphrase":"` + canary + `!"`: "passphrase",
		`"certificateContent":"` + lines + `","passphrase":{}`:                "passphrase",
	} {
		sc := scenario{method: "POST", url: certs, key: keyManage, body: `{"certificateId":"bad",` + body + `}`, status: 400, hasNot: []string{canary}}
		if e := readContractError(t, sc.on(t, h)); len(e.Errors[field]) != 1 {
			t.Errorf("%.60s names %v, want %s", body, e.Errors, field)
		}
	}
}

// A file that does not hold together is refused by name and kept nowhere.
func TestCertificate_refused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	f := fixtures()
	enc := encryptedPEM(f.key, pkcs8.PBKDF2Opts{SaltSize: 8, IterationCount: 1, HMACHash: crypto.SHA256}, pkcs8.AES256CBC) + certPEM(f.leaf)
	for field, body := range map[string]string{
		"certificateContent": uploadBody("c", keyPEM(f.rootKey)+certPEM(f.leaf), ""),
		"passphrase":         uploadBody("c", enc, canary),
	} {
		before := h.config.changes()
		sc := scenario{method: "POST", url: certs, key: keyManage, body: body, status: 400, headers: map[string]string{"Location": ""}}
		if e := readContractError(t, sc.on(t, h)); len(e.Errors) != 1 || len(e.Errors[field]) != 1 {
			t.Errorf("names %v, want %s", e.Errors, field)
		}
		if h.config.changes() != before {
			t.Error("something was changed")
		}
	}
	if log := h.log.String(); strings.Contains(log, canary) || strings.Contains(log, "LS0tLS1") {
		t.Error("the file is in the log")
	}
}

// chunks cuts s into pieces of n bytes.
func chunks(s string, n int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for len(s) > n {
			if !yield(s[:n]) {
				return
			}
			s = s[n:]
		}
		yield(s)
	}
}

// The connection test tells what came of it with 200, and asks nobody when
// the request is wrong.
func TestConnectionTest(t *testing.T) {
	t.Parallel()
	const u, ok = certs + "/test/webhook", `{"certificateId":"cert-1","webhookUrl":"https://hooks.acme.example/in?x=1"}`
	tester := &fakeTester{result: ConnectionTest{FailReasons: []string{"the server did not ask for a certificate"}, Hint: "ask its operator"}}
	h := contractHarness(t, func(o *Options) { o.Tester = tester })
	want := `{"certificateId":"cert-1","webhookUrl":"https://hooks.acme.example/in?x=1","result":"FAIL","failReasons":["the server did not ask for a certificate"],"hint":"ask its operator"}`
	if got := h.must(t, "POST", u, keyManage, ok, 200); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	for body, field := range map[string]string{
		`{"webhookUrl":"https://a.example/"}`: "certificateId", `{"certificateId":"a/b","webhookUrl":"https://a.example/"}`: "certificateId", `{"certificateId":"cert-1"}`: "webhookUrl",
		`{"certificateId":"cert-1","webhookUrl":""}`: "webhookUrl", `{"certificateId":"cert-1","webhookUrl":"ftp://a.example/"}`: "webhookUrl", `{"certificateId":"cert-1","webhookUrl":7}`: "webhookUrl",
		`{"certificateId":"cert-1","webhookUrl":"https://a.example/` + strings.Repeat("x", 512) + `"}`: "webhookUrl",
	} {
		if e := readContractError(t, h.must(t, "POST", u, keyManage, body, 400)); len(e.Errors[field]) != 1 {
			t.Errorf("%.60s names %v, want %s", body, e.Errors, field)
		}
	}
	h.must(t, "POST", u, keyOther, ok, 404)
	if want := []string{"acme cert-1 https://hooks.acme.example/in?x=1"}; !slices.Equal(tester.calls, want) {
		t.Errorf("tests made: %v, want %v", tester.calls, want)
	}
	tester.err = model.Errorf(model.CodeUnavailable, "the certificate is not on this node yet")
	h.must(t, "POST", u, keyManage, ok, 503)
	tester.err = errors.New("dial 10.0.0.1")
	scenario{method: "POST", url: u, key: keyManage, body: ok, status: 500, hasNot: []string{"10.0.0.1"}}.on(t, h)
	h = contractHarness(t, func(o *Options) { o.Tester = nil })
	h.must(t, "POST", u, keyManage, ok, 503)
}

// The seven certificate operations share 100 requests a minute per account;
// nothing else counts, and no other account pays.
func TestCertificate_rate(t *testing.T) {
	t.Parallel()
	h := contractHarness(t)
	for i := range 100 {
		u := certs
		if i%2 == 1 {
			u = certs + "/status/cert-1"
		}
		h.must(t, "GET", u, []string{keyRead, keyManage}[i%2], "", 200)
	}
	for _, op := range contractOps() {
		if strings.HasPrefix(op.path, certs) {
			scenario{
				method: op.method, url: op.url, key: keyManage, body: op.body, status: 429, has: []string{`"TOO_MANY_REQUESTS"`},
				headers: map[string]string{"Retry-After": "1", headerErrorCode: "limit"},
			}.on(t, h)
		}
	}
	h.must(t, "GET", certs, keyOther, "", 200)
	h.must(t, "GET", profiles, keyManage, "", 200)
	h.advance(600 * time.Millisecond)
	h.must(t, "GET", certs, keyManage, "", 200)
	h.must(t, "GET", certs, keyManage, "", 429)
}
