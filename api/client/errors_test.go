package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/fsm/model"
)

// Both error models of a node, OAuth2's, and what stands between us and a node
// become one type.
func TestErrors_decoded(t *testing.T) {
	t.Parallel()
	problem := func(code, rest string) string {
		return `{"type":"about:blank","title":"Title","status":1,"code":"` + code + `","detail":"Detail"` + rest + `}`
	}
	type want struct {
		code   model.Code
		text   string
		fields []model.FieldError
		after  int
	}
	for name, tt := range map[string]struct {
		reply
		want want
	}{
		"problem": {
			reply{status: 409, body: problem("conflict", `,"errors":[{"pointer":"/1/eventId","detail":"b"},{"pointer":"/0/eventId","detail":"a"}]`), header: map[string]string{"Belfry-Error-Code": "conflict"}},
			want{model.CodeConflict, "Detail", []model.FieldError{{Field: "/0/eventId", Message: "a"}, {Field: "/1/eventId", Message: "b"}}, 0},
		},
		"problem, code in the body only": {reply{status: 400, body: problem("too_large", "")}, want{model.CodeTooLarge, "Detail", nil, 0}},
		"problem, title only":            {reply{status: 429, body: `{"title":"Title","code":"limit"}`, header: map[string]string{"Retry-After": "7"}}, want{model.CodeLimit, "Title", nil, 7}},
		"problem of a later version":     {reply{status: 418, body: problem("teapot", "")}, want{"teapot", "Detail", nil, 0}},
		"contract": {
			reply{status: 400, body: `{"requestError":{"serviceException":{"messageId":"BAD_REQUEST","text":"Bad request","validationErrors":{"name":["b","a"],"events[0]":["c"]}}}}`, header: map[string]string{"Belfry-Error-Code": "in_use"}},
			want{model.CodeInUse, "Bad request", []model.FieldError{{Field: "events[0]", Message: "c"}, {Field: "name", Message: "b"}, {Field: "name", Message: "a"}}, 0},
		},
		"contract of another server": {reply{status: 404, body: `{"requestError":{"serviceException":{"messageId":"NOT_FOUND","text":"Not here"}}}`}, want{model.CodeNotFound, "Not here", nil, 0}},
		"oauth":                      {reply{status: 401, body: `{"error":"invalid_client","error_description":"wrong"}`}, want{model.CodeUnauthorized, "wrong", nil, 0}},
		"oauth, no text":             {reply{status: 400, body: `{"error":"invalid_scope"}`}, want{model.CodeInvalid, "invalid_scope", nil, 0}},
		"page of a proxy":            {reply{status: 403, body: "<html>"}, want{model.CodeForbidden, "the node answered 403 Forbidden", nil, 0}},
		"error that is an object":    {reply{status: 404, body: `{"error":{"code":404}}`}, want{model.CodeNotFound, "the node answered 404 Not Found", nil, 0}},
		"nothing":                    {reply{status: 500}, want{model.CodeInternal, "the node answered 500 Internal Server Error", nil, 0}},
		"bad gateway":                {reply{status: 502}, want{model.CodeUnknownOutcome, "the node answered 502 Bad Gateway", nil, 0}},
		"unavailable, no code":       {reply{status: 503, header: map[string]string{"Retry-After": "3"}}, want{model.CodeUnknownOutcome, "the node answered 503 Service Unavailable", nil, 3}},
		"gateway timeout":            {reply{status: 504}, want{model.CodeUnknownOutcome, "the node answered 504 Gateway Timeout", nil, 0}},
		"date to retry after":        {reply{status: 429, header: map[string]string{"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}}, want{model.CodeLimit, "the node answered 429 Too Many Requests", nil, 0}},
		"negative retry after":       {reply{status: 429, header: map[string]string{"Retry-After": "-7"}}, want{model.CodeLimit, "the node answered 429 Too Many Requests", nil, 0}},
		"method":                     {reply{status: 405}, want{model.CodeInvalid, "the node answered 405 Method Not Allowed", nil, 0}},
		"media type":                 {reply{status: 415}, want{model.CodeInvalid, "the node answered 415 Unsupported Media Type", nil, 0}},
	} {
		c, s := newScripted(t, Retry{}, []reply{tt.reply})
		_, err := c.CreateProfile(t.Context(), Profile{ProfileID: testKey})
		e := asError(t, err)
		if diff := cmp.Diff(tt.want.fields, e.Violations()); diff != "" || e.Code != tt.want.code || e.RetryAfter != tt.want.after || e.Message != tt.want.text {
			t.Errorf("%s: %+v %s", name, e, diff)
		}
		if len(s.seen) != 1 {
			t.Errorf("%s: %d requests, want 1", name, len(s.seen))
		}
	}
}

// Another host is never followed to, whatever the method: the key would go
// along.
func TestRedirects_refused(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308, 304} {
		c, s := newScripted(t, Retry{Attempts: 3}, []reply{{status: status, header: map[string]string{"Location": "http://evil.example/"}}}, nil)
		_, err := c.Profile(t.Context(), "p", Read{})
		if e := asError(t, err); e.Code != model.CodeInternal || !strings.Contains(e.Message, fmt.Sprint("the node answered ", status)) {
			t.Errorf("%d: %v", status, err)
		}
		_, err = c.CreateProfile(t.Context(), Profile{})
		if s.hosts() != "a a" || err == nil {
			t.Errorf("%d: asked %s, %v", status, s.hosts(), err)
		}
	}
}

// An answer is read up to its limit and refused one byte above, and so is one
// that is not what was expected.
func TestAnswers_bounded(t *testing.T) {
	t.Parallel()
	c, s := newScripted(t, Retry{Attempts: 3}, []reply{{status: 200, body: strings.Repeat("x", MaxAnswer)}, {status: 200, body: strings.Repeat("x", MaxAnswer+1)}}, nil)
	if b, err := c.Metrics(t.Context()); err != nil || len(b) != MaxAnswer {
		t.Errorf("at the limit: %d bytes, %v", len(b), err)
	}
	if b, err := c.Metrics(t.Context()); err == nil || b != nil || !strings.Contains(err.Error(), "larger than 16777216 bytes") {
		t.Errorf("one byte above: %d bytes, %v", len(b), err)
	}
	if s.hosts() != "a a" {
		t.Errorf("asked %s", s.hosts())
	}
	for _, body := range []string{"", "<html>", `{"accountId":7}`, `[]`} {
		c, _ := newScripted(t, Retry{}, []reply{{status: 200, body: body}})
		if _, err := c.Account(t.Context(), "a", Read{}); err == nil || !strings.Contains(err.Error(), "not the JSON that was expected") {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// A readiness that fails is an answer; that nobody answers is not.
func TestReady_statuses(t *testing.T) {
	t.Parallel()
	c, _ := newScripted(t, Retry{}, []reply{{status: 503, body: `{"status":"failed","checks":[{"name":"cluster","error":"no leader"}]}`}, {err: errDial}, {status: 502, body: "<html>"}})
	if r, err := c.Ready(t.Context()); err != nil || r.Status != "failed" || len(r.Checks) != 1 || r.Checks[0].Error != "no leader" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := c.Ready(t.Context()); model.CodeOf(err) != model.CodeUnavailable || !errors.Is(err, errDial) {
		t.Errorf("nobody: %v", err)
	}
	if _, err := c.Ready(t.Context()); err == nil {
		t.Error("a page of a proxy is a readiness")
	}
}

// Errors hold neither the key nor the query.
func TestErrors_holdNoSecrets(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{errDial, errCut, http.ErrHandlerTimeout} {
		c, _ := newScripted(t, Retry{}, []reply{{err: fault}})
		_, err := c.Subscriptions(t.Context(), "SMS", Filter{Users: []string{"secret-user"}}, Read{})
		if text := err.Error(); strings.Contains(text, testKey) || strings.Contains(text, "secret-user") {
			t.Errorf("%v: %s", fault, text)
		}
	}
}
