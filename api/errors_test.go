package api

import (
	"encoding/xml"
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

// xmlError is the published XML form.
type xmlError struct {
	XMLName xml.Name `xml:"ApiException"`
	Service struct {
		MessageID string `xml:"messageId"`
		Text      string `xml:"text"`
	} `xml:"requestError>serviceException"`
}

// 401, 403, 405, 429, 500 and 503 come as XML to those who prefer it; 400 and
// 404 never do.
func TestErrors_xml(t *testing.T) {
	t.Parallel()
	const id = profiles + "/prof-1"
	tests := map[string]struct {
		sc     scenario
		id     string
		before func(*harness)
	}{
		"401": {scenario{method: "GET", url: id, status: 401}, "UNAUTHORIZED", nil},
		"403": {scenario{method: "GET", url: id, key: keyNone, status: 403}, "FORBIDDEN", nil},
		"405": {scenario{method: "PATCH", url: id, key: keyManage, status: 405, headers: map[string]string{"Allow": "OPTIONS, DELETE, GET, HEAD, PUT"}}, "METHOD_NOT_ALLOWED", nil},
		"429": {scenario{method: "GET", url: certs, key: keyManage, status: 429}, "TOO_MANY_REQUESTS", func(h *harness) {
			for range 100 {
				h.limits.certificates.take(accAcme)
			}
		}},
		"500": {scenario{method: "DELETE", url: id, key: keyManage, status: 500}, "GENERAL_ERROR", func(h *harness) { h.config.fail = errors.New("disk <full>") }},
		"503": {scenario{method: "GET", url: id, key: keyManage, status: 503}, "SERVICE_UNAVAILABLE", func(h *harness) { h.cluster.err = model.Errorf(model.CodeUnavailable, "no <leader>") }},
		"400": {scenario{method: "GET", url: profiles + "?size=0", key: keyManage, status: 400}, "", nil},
		"404": {scenario{method: "GET", url: profiles + "/none", key: keyManage, status: 404}, "", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := contractHarness(t)
			if tt.before != nil {
				tt.before(h)
			}
			for accept, wantXML := range map[string]bool{
				"application/xml": true, "text/xml;q=0.9, application/json;q=0.1": true, "application/json, application/xml;q=0.9": false,
				"application/xml;q=0": false, "*/*": false, "": false, "application/xml, application/json": false, "nonsense;;": false,
			} {
				sc := tt.sc
				sc.header = map[string]string{"Accept": accept}
				res := h.do(t, sc)
				if res.Code != sc.status {
					t.Fatalf("%q: %d, want %d\n%s", accept, res.Code, sc.status, res.Body)
				}
				if !wantXML || tt.id == "" {
					if e := readContractError(t, res.Body.String()); tt.id != "" && e.MessageID != tt.id || res.Header().Get("Content-Type") != typeJSON {
						t.Errorf("%q: %s %+v", accept, res.Header().Get("Content-Type"), e)
					}
					continue
				}
				var e xmlError
				if err := xml.Unmarshal(res.Body.Bytes(), &e); err != nil || e.Service.MessageID != tt.id || e.Service.Text == "" || res.Header().Get("Content-Type") != typeXML {
					t.Errorf("%q: %v\n%s", accept, err, res.Body)
				}
				for k, v := range sc.headers {
					if got := res.Header().Get(k); got != v {
						t.Errorf("%s: %q, want %q", k, got, v)
					}
				}
			}
		})
	}
}

// Every code of the state machine has its status and messageId on the
// contract, and the code itself in a header.
func TestErrors_table(t *testing.T) {
	t.Parallel()
	for code, m := range meanings {
		if code == codeMethod {
			continue // of the router only
		}
		h := contractHarness(t)
		h.config.fail = &model.Error{Code: code, Message: "text of the error", Field: "profileId", RetryAfter: 7}
		sc := scenario{method: "DELETE", url: profiles + "/prof-1", key: keyManage, status: m.contract, headers: map[string]string{headerErrorCode: string(code)}}
		switch m.contract {
		case 429, 503:
			sc.headers["Retry-After"] = "7"
		case 500:
			sc.hasNot = []string{"text of the error"}
		case 400:
			sc.has = []string{`"text":"Bad request: profileId text of the error"`, `"validationErrors":{"profileId":["text of the error"]}`}
		default:
			sc.has, sc.hasNot = []string{`"text":"text of the error"`}, []string{"validationErrors"}
		}
		if e := readContractError(t, sc.on(t, h)); e.MessageID != m.messageID {
			t.Errorf("%s: messageId %s, want %s", code, e.MessageID, m.messageID)
		}
		if m.contract == 409 || m.contract == 413 || m.contract == 415 || m.contract == 422 {
			t.Errorf("%s has the status %d, which the contract does not know", code, m.contract)
		}
	}
}

// INV api-2: what is not a *model.Error stays in the log, found by the id of
// the request; a panic too.
func TestErrors_internalStaysInside(t *testing.T) {
	t.Parallel()
	h := contractHarness(t)
	h.config.fail = errors.New("secret place: /var/lib/belfry")
	sc := scenario{
		method: "DELETE", url: profiles + "/prof-1", key: keyManage, status: 500, hasNot: []string{"/var/lib"},
		header: map[string]string{headerRequestID: "req-77"}, headers: map[string]string{headerRequestID: "req-77", headerNode: "n1"},
	}
	sc.on(t, h)
	if log := h.log.String(); !strings.Contains(log, "/var/lib/belfry") || !strings.Contains(log, "req-77") {
		t.Errorf("the log does not explain request req-77:\n%s", log)
	}
	h = contractHarness(t, func(o *Options) { o.Opener = panickyOpener{} })
	scenario{method: "GET", url: security + "/sec-1?reveal=true", key: keyReveal, status: 500, hasNot: []string{"boom", "goroutine"}}.on(t, h)
	if !strings.Contains(h.log.String(), "boom") {
		t.Error("the panic is not in the log")
	}
}

type panickyOpener struct{}

func (panickyOpener) Open(string, model.Entity, string, model.SecretField, model.Sealed) (model.Secret, error) {
	panic("boom")
}

// /subscriptions/v1 answers as /subscriptions/1 does, errors included.
func TestAlias(t *testing.T) {
	t.Parallel()
	alias := func(u string) string { return strings.Replace(u, contractPrefix, contractAlias, 1) }
	for _, op := range contractOps() {
		h := contractHarness(t)
		body := h.must(t, op.method, alias(op.url), keyManage, op.body, op.status)
		if op.answer != "" && body != op.answer {
			t.Errorf("%s %s: %s", op.method, alias(op.url), body)
		}
	}
	h := contractHarness(t)
	scenario{
		method: "POST", url: alias(profiles), key: keyManage, body: `{"profileId":"p",` + hook + `}`, status: 201,
		headers: map[string]string{"Location": profiles + "/p"},
	}.on(t, h)
	for _, u := range []string{contractAlias, contractAlias + "/nothing", contractPrefix, contractPrefix + "/nothing/here", contractPrefix + "/certificates/test", contractPrefix + "/subscriptions"} {
		sc := scenario{method: "GET", url: u, key: keyManage, status: 404}
		if e := readContractError(t, sc.on(t, h)); e.MessageID != "NOT_FOUND" {
			t.Errorf("%s: %+v", u, e)
		}
	}
	scenario{method: "GET", url: "/subscriptions/2/profiles", key: keyManage, status: 404, has: []string{`"code":"not_found"`}}.on(t, h)
}

// Reads are current by default and may be stale on request; writes are not
// read first.
func TestConsistency(t *testing.T) {
	t.Parallel()
	for _, op := range contractOps() {
		h := contractHarness(t)
		h.cluster.stale = 2 * time.Second
		read := op.method == "GET" || strings.HasSuffix(op.path, "/test/webhook") || op.method == "PUT" && strings.HasPrefix(op.path, security)
		at := func(q string) string { return op.url + "?consistency=" + q }
		n := h.cluster.linearized
		if !read {
			h.must(t, op.method, op.url, keyManage, op.body, op.status)
			if h.cluster.linearized != n {
				t.Errorf("%s %s asks the leader before it writes", op.method, op.path)
			}
			continue
		}
		h.must(t, op.method, op.url, keyManage, op.body, op.status)
		h.must(t, op.method, at("linearizable"), keyManage, op.body, op.status)
		if h.cluster.linearized != n+2 {
			t.Errorf("%s %s asked the leader %d times, want 2", op.method, op.path, h.cluster.linearized-n)
		}
		h.cluster.err = model.Errorf(model.CodeUnavailable, "there is no leader right now")
		scenario{method: op.method, url: at("stale"), key: keyManage, body: op.body, status: op.status, headers: map[string]string{headerStaleness: "2000"}}.on(t, h)
		h.cluster.unbounded = true
		scenario{method: op.method, url: at("stale"), key: keyManage, body: op.body, status: op.status, headers: map[string]string{headerStaleness: "unknown"}}.on(t, h)
	}
}

// What every answer of every surface carries.
func TestHeaders_everyAnswer(t *testing.T) {
	t.Parallel()
	h := contractHarness(t)
	for _, u := range []string{profiles, profiles + "/none", "/nowhere", "/livez"} {
		res := h.do(t, scenario{method: "GET", url: u, key: keyManage})
		for name, want := range map[string]string{headerNode: "n1", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
			if got := res.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", u, name, got, want)
			}
		}
		if res.Header().Get(headerRequestID) == "" {
			t.Errorf("%s: no %s", u, headerRequestID)
		}
	}
	for _, id := range []string{"a\x01b", strings.Repeat("x", maxRequestID+1), "a b", ""} {
		res := h.do(t, scenario{method: "GET", url: "/livez", header: map[string]string{headerRequestID: id}})
		if got := res.Header().Get(headerRequestID); got == id || len(got) != 36 {
			t.Errorf("%q is answered with the id %q", id, got)
		}
	}
}
