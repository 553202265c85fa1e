package node

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"example.com/belfry/api"
)

var documentRouter = sync.OnceValues(func() (routers.Router, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(api.OpenAPI())
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(loader.Context); err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(doc)
})

// checkAgainstDocument holds what a real node answered against openapi.yaml: a
// request that was taken must be valid, and so must every answer.
func checkAgainstDocument(tb testing.TB, req *http.Request, body string, a answer) {
	tb.Helper()
	router, err := documentRouter()
	if err != nil {
		tb.Fatalf("openapi.yaml: %v", err)
	}
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(strings.NewReader(body))
	// The document's server is relative: the router must not see the port.
	req.URL.Scheme, req.URL.Host, req.Host = "", "", ""
	route, params, err := router.FindRoute(req)
	if err != nil {
		tb.Errorf("%s %s is not in openapi.yaml: %v", req.Method, req.URL.Path, err)
		return
	}
	o := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, SkipSettingDefaults: true}
	in := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route, Options: o}
	if a.status < 400 {
		if err := openapi3filter.ValidateRequest(req.Context(), in); err != nil {
			tb.Errorf("%s %s was taken but breaks openapi.yaml: %v", req.Method, req.URL, err)
		}
	}
	if !strings.Contains(a.header.Get("Content-Type"), "json") {
		o.ExcludeResponseBody = true
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: a.status, Header: a.header, Options: o}
	out.SetBodyBytes(bytes.Clone(a.body))
	if err := openapi3filter.ValidateResponse(req.Context(), out); err != nil {
		tb.Errorf("the answer %d to %s %s breaks openapi.yaml: %v", a.status, req.Method, req.URL, err)
	}
}
