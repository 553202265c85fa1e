package api

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"example.com/belfry/fsm/model"
)

// Codes of this package beside model's.
const (
	codeMethod    model.Code = "method_not_allowed"
	codeMediaType model.Code = "unsupported_media_type"
)

const (
	headerErrorCode = "Belfry-Error-Code"
	typeJSON        = "application/json"
	typeProblem     = "application/problem+json"
	typeXML         = "application/xml"
	// unavailableRetry is the Retry-After of a 503 in seconds: an election
	// takes less.
	unavailableRetry = 1
)

// meaning is one row of the table code → status. The config API knows neither
// 409 nor 413 nor 415.
type meaning struct {
	contract  int
	own       int
	messageID string // contract
	title     string // own
	// fixed replaces the error's text on the contract surface.
	fixed string
}

var meanings = map[model.Code]meaning{
	model.CodeInvalid:        {400, 400, "BAD_REQUEST", "The request is not valid", ""},
	model.CodeNotFound:       {404, 404, "NOT_FOUND", "Not found", ""},
	model.CodeExists:         {400, 409, "BAD_REQUEST", "Already exists", ""},
	model.CodeInUse:          {400, 409, "BAD_REQUEST", "Still in use", ""},
	model.CodeUnauthorized:   {401, 401, "UNAUTHORIZED", "Unauthorized", ""},
	model.CodeForbidden:      {403, 403, "FORBIDDEN", "Forbidden", ""},
	model.CodeLimit:          {429, 429, "TOO_MANY_REQUESTS", "Too many requests", ""},
	model.CodeQuota:          {400, 400, "BAD_REQUEST", "Quota used up", ""},
	model.CodeConflict:       {400, 409, "BAD_REQUEST", "Conflict", ""},
	model.CodeTooLarge:       {400, 413, "BAD_REQUEST", "Too large", ""},
	model.CodeUnavailable:    {503, 503, "SERVICE_UNAVAILABLE", "Temporarily unavailable", ""},
	model.CodeUnknownOutcome: {503, 503, "SERVICE_UNAVAILABLE", "Outcome unknown", ""},
	model.CodeInternal:       {500, 500, "GENERAL_ERROR", "Internal error", "Something went wrong on our side. The request id in X-Request-Id finds it in the log."},
	codeMethod:               {405, 405, "METHOD_NOT_ALLOWED", "Method not allowed", ""},
	codeMediaType:            {400, 415, "BAD_REQUEST", "Unsupported media type", ""},
}

// asError gives the *model.Error that a client may see and whether err was
// anything else, which the caller logs.
//
// INV api-2: only *model.Error texts reach a client.
func asError(err error) (e *model.Error, internal bool) {
	e, ok := errors.AsType[*model.Error](err)
	if ok {
		if _, known := meanings[e.Code]; known && e.Code != model.CodeInternal {
			return e, false
		}
	}
	return model.Errorf(model.CodeInternal, "%s", meanings[model.CodeInternal].fixed), true
}

// fail answers with err in the model of the surface and returns the status.
func (r *request) fail(err error) {
	e, internal := asError(err)
	if internal {
		r.s.log.Error("request failed", "requestId", r.id, "method", r.http.Method, "route", r.routePath(), "error", err)
	}
	m := meanings[e.Code]
	h := r.w.Header()
	h.Del("Location")
	h.Del(headerIgnored)
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(e.RetryAfter))
	} else if m.own == http.StatusServiceUnavailable || m.own == http.StatusTooManyRequests {
		h.Set("Retry-After", strconv.Itoa(unavailableRetry))
	}
	if e.Code == model.CodeUnauthorized {
		h.Set("Www-Authenticate", `App realm="belfry", Basic realm="belfry"`)
	}
	if e.Code == model.CodeTooLarge {
		h.Set("Connection", "close")
	}
	h.Set(headerErrorCode, string(e.Code))
	if r.w.wrote {
		return // too late for an answer; the access log has the status
	}
	if isContract(r.http.URL.Path) {
		r.failContract(m, e)
		return
	}
	r.failOwn(m, e)
}

type (
	contractError struct {
		XMLName xml.Name     `json:"-" xml:"ApiException"`
		Request requestError `json:"requestError" xml:"requestError"`
	}
	requestError struct {
		Service serviceException `json:"serviceException" xml:"serviceException"`
	}
	serviceException struct {
		MessageID string              `json:"messageId" xml:"messageId"`
		Text      string              `json:"text" xml:"text"`
		Errors    map[string][]string `json:"validationErrors,omitempty" xml:"-"`
	}
)

func (r *request) failContract(m meaning, e *model.Error) {
	body := contractError{Request: requestError{Service: serviceException{MessageID: m.messageID, Text: e.Message}}}
	if m.contract == http.StatusBadRequest {
		for _, v := range e.Violations() {
			if body.Request.Service.Errors == nil {
				body.Request.Service.Errors = map[string][]string{}
			}
			body.Request.Service.Errors[v.Field] = append(body.Request.Service.Errors[v.Field], v.Message)
		}
		if e.Field != "" {
			body.Request.Service.Text = "Bad request: " + e.Field + " " + e.Message
		}
	}
	if m.contract != http.StatusBadRequest && m.contract != http.StatusNotFound && prefersXML(r.http.Header.Get("Accept")) {
		if b, err := xml.Marshal(body); err == nil {
			r.write(m.contract, typeXML, append([]byte(xml.Header), b...))
			return
		}
	}
	r.writeJSON(m.contract, typeJSON, body)
}

type (
	problem struct {
		Type   string         `json:"type"`
		Title  string         `json:"title"`
		Status int            `json:"status"`
		Detail string         `json:"detail,omitempty"`
		Code   model.Code     `json:"code"`
		Errors []problemField `json:"errors,omitempty"`
		// RequestID finds the request in the log.
		RequestID string `json:"requestId,omitempty"`
	}
	problemField struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	}
)

func (r *request) failOwn(m meaning, e *model.Error) {
	p := problem{Type: "about:blank", Title: m.title, Status: m.own, Detail: e.Error(), Code: e.Code, RequestID: r.id}
	for _, v := range e.Violations() {
		p.Errors = append(p.Errors, problemField{Pointer: pointer(v.Field), Detail: v.Message})
	}
	r.writeJSON(m.own, typeProblem, p)
}

// pointer turns a JSON path (a.b[2].c) into a JSON pointer (/a/b/2/c). A path
// that is a pointer already stays.
func pointer(path string) string {
	if path == "" || path[0] == '/' {
		return path
	}
	s := strings.NewReplacer("~", "~0", "/", "~1").Replace(path)
	return "/" + strings.NewReplacer("].", "/", "][", "/", "[", "/", "]", "", ".", "/").Replace(s)
}

// prefersXML reports whether an Accept header ranks XML above JSON.
func prefersXML(accept string) bool {
	best := map[string]float64{}
	for part := range strings.SplitSeq(accept, ",") {
		t, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		q := 1.0
		if s, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(s, 64); err != nil {
				continue
			}
		}
		switch t {
		case typeXML, "text/xml":
			best["xml"] = max(best["xml"], q)
		case typeJSON, "*/*", "application/*":
			best["json"] = max(best["json"], q)
		}
	}
	return best["xml"] > 0 && best["xml"] > best["json"]
}

// notFoundAs gives the one text of this API for what is not there, whoever said
// so; other errors stay as they are.
func notFoundAs(err, none error) error {
	if model.CodeOf(err) == model.CodeNotFound {
		return none
	}
	return err
}

func (r *request) writeJSON(status int, contentType string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		r.s.log.Error("cannot encode an answer", "requestId", r.id, "route", r.routePath(), "error", err)
		status, b = http.StatusInternalServerError, []byte(`{}`)
	}
	r.write(status, contentType, b)
}

func (r *request) write(status int, contentType string, b []byte) {
	h := r.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	r.w.WriteHeader(status)
	_, _ = r.w.Write(b)
}
