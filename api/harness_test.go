package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/fsm/model"
)

// Keys that every harness knows. All but keyAdmin belong to account "acme".
const (
	keyAdmin   = "admin-key-of-the-tests"      // account default, every scope
	keyManage  = "manage-key-of-acme-tests"    // subscriptions:manage
	keyRead    = "read-only-key-of-acme-tests" // subscriptions:read
	keyReveal  = "reveal-key-of-acme-tests-1"  // manage and reveal
	keyFull    = "full-key-of-acme-for-tests"  // every scope but admin:*
	keyNone    = "no-scope-key-of-acme-tests"  // none
	keyOther   = "manage-key-of-other-account" // account "other", subscriptions:manage
	keyExpired = "expired-key-of-acme-tests"   // every scope, expired
	keyOff     = "disabled-key-of-acme-tests"  // every scope, disabled
	keyElse    = "elsewhere-key-of-acme-tests" // only from 203.0.113.0/24
	accAcme    = "acme"
	accOther   = "other"
	remoteTest = "192.0.2.1:1234" // httptest's
)

// harness is one Server over a fake store, with a clock that tests move and
// the OpenAPI document that every request and answer is checked against.
type harness struct {
	*Server
	config  *fakeConfig
	cluster *fakeCluster
	log     *syncBuffer
	now     *atomic.Int64
	reg     *prometheus.Registry
}

// newHarness makes a harness; the functions change its Options.
func newHarness(tb testing.TB, change ...func(*Options)) *harness {
	tb.Helper()
	h := &harness{log: &syncBuffer{}, now: &atomic.Int64{}, cluster: &fakeCluster{}, reg: prometheus.NewRegistry()}
	h.now.Store(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC).UnixNano())
	clock := func() time.Time { return time.Unix(0, h.now.Load()).UTC() }
	h.config = newFakeConfig(clock)
	h.seed(tb)
	o := Options{
		Reader: h.config, Writer: h.config, Opener: h.config, Cluster: h.cluster, Now: clock, Version: "test",
		TokenKey: bytes.Repeat([]byte("k"), 32), Gatherer: h.reg, Registerer: h.reg,
		Logger: hclog.New(&hclog.LoggerOptions{Output: h.log, Level: hclog.Trace}),
	}
	for _, f := range change {
		f(&o)
	}
	s, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	h.Server = s
	return h
}

func (h *harness) seed(tb testing.TB) {
	tb.Helper()
	ctx, by := tb.Context(), model.Actor{Name: "system"}
	for _, id := range []string{model.DefaultAccount, accAcme, accOther} {
		if _, err := h.config.CreateAccount(ctx, by, model.Account{ID: id}); err != nil {
			tb.Fatal(err)
		}
	}
	var full []model.Scope
	for _, s := range model.AllScopes() {
		if !strings.HasPrefix(string(s), "admin:") {
			full = append(full, s)
		}
	}
	manage := []model.Scope{model.ScopeSubscriptionsManage}
	h.addKey(tb, keyAdmin, model.Key{Account: model.DefaultAccount, Scopes: model.AllScopes()})
	h.addKey(tb, keyManage, model.Key{Account: accAcme, Scopes: manage})
	h.addKey(tb, keyRead, model.Key{Account: accAcme, Scopes: []model.Scope{model.ScopeSubscriptionsRead}})
	h.addKey(tb, keyReveal, model.Key{Account: accAcme, Scopes: []model.Scope{model.ScopeSubscriptionsManage, model.ScopeSecurityReveal}})
	h.addKey(tb, keyFull, model.Key{Account: accAcme, Scopes: full})
	h.addKey(tb, keyNone, model.Key{Account: accAcme})
	h.addKey(tb, keyOther, model.Key{Account: accOther, Scopes: manage})
	h.addKey(tb, keyExpired, model.Key{Account: accAcme, Scopes: full, ExpiresAt: time.Unix(0, h.now.Load())})
	h.addKey(tb, keyOff, model.Key{Account: accAcme, Scopes: full, Disabled: true})
	h.addKey(tb, keyElse, model.Key{Account: accAcme, Scopes: full, CIDRs: mustPrefixes("203.0.113.0/24")})
}

func (h *harness) addKey(tb testing.TB, key string, k model.Key) {
	tb.Helper()
	k.ID, k.Hash = HashKey(key)
	if _, err := h.config.CreateKey(tb.Context(), model.Actor{Name: "system"}, k); err != nil {
		tb.Fatal(err)
	}
}

func (h *harness) advance(d time.Duration) { h.now.Add(int64(d)) }

// scenario is one request and what must come of it.
type scenario struct {
	name   string
	method string
	url    string
	key    string // App key; empty: no Authorization
	body   string
	header map[string]string
	// before prepares the state; nothing it does is checked.
	before func(t *testing.T, h *harness)
	status int
	// has and hasNot are looked for in the body of the answer.
	has, hasNot []string
	// headers must be in the answer as given; "" means absent.
	headers map[string]string
	// offSpec: the request is meant to break the document, so it is not
	// checked against it. Requests that get a 4xx are not checked either.
	offSpec bool
}

// run makes the request on a harness of its own.
func (sc scenario) run(t *testing.T, change ...func(*Options)) {
	t.Helper()
	t.Run(sc.name, func(t *testing.T) {
		t.Parallel()
		h := newHarness(t, change...)
		if sc.before != nil {
			sc.before(t, h)
		}
		sc.on(t, h)
	})
}

// on makes the request on h and returns the answer's body.
func (sc scenario) on(t *testing.T, h *harness) string {
	t.Helper()
	res := h.do(t, sc)
	body := res.Body.String()
	if res.Code != sc.status {
		t.Fatalf("%s %s = %d, want %d\n%s", sc.method, sc.url, res.Code, sc.status, body)
	}
	for _, want := range sc.has {
		if !strings.Contains(body, want) {
			t.Errorf("the answer lacks %s\n%s", want, body)
		}
	}
	for _, bad := range sc.hasNot {
		if strings.Contains(body, bad) {
			t.Errorf("the answer has %s\n%s", bad, body)
		}
	}
	for name, want := range sc.headers {
		if got := res.Header().Get(name); got != want {
			t.Errorf("header %s = %q, want %q", name, got, want)
		}
	}
	return body
}

// do sends a request through the server and checks request and answer against
// the document.
func (h *harness) do(t *testing.T, sc scenario) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), sc.method, sc.url, strings.NewReader(sc.body))
	if sc.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if sc.key != "" {
		req.Header.Set("Authorization", "App "+sc.key)
	}
	for k, v := range sc.header {
		if v == "" {
			req.Header.Del(k)
			continue
		}
		req.Header.Set(k, v)
	}
	res := httptest.NewRecorder()
	h.ServeHTTP(res, req)
	checkAgainstDocument(t, req, []byte(sc.body), res, sc.offSpec)
	return res
}

// get, post, put and del are short forms for preparing a state.
func (h *harness) must(t *testing.T, method, url, key, body string, status int) string {
	t.Helper()
	return scenario{method: method, url: url, key: key, body: body, status: status}.on(t, h)
}

var document = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(OpenAPI())
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

var documentRouter = sync.OnceValues(func() (routers.Router, error) {
	doc, err := document()
	if err != nil {
		return nil, err
	}
	openapi3filter.RegisterBodyDecoder(typeNDJSON, openapi3filter.FileBodyDecoder)
	return gorillamux.NewRouter(doc)
})

// checkAgainstDocument validates one exchange. A request that was answered
// with 2xx must be valid; every answer on a known path must be.
func checkAgainstDocument(t *testing.T, req *http.Request, body []byte, res *httptest.ResponseRecorder, offSpec bool) {
	t.Helper()
	router, err := documentRouter()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	if rest, ok := strings.CutPrefix(req.URL.Path, contractAlias); ok {
		req = req.Clone(req.Context())
		req.URL.Path = contractPrefix + rest
	}
	head := req.Method == http.MethodHead
	if head {
		req = req.Clone(req.Context())
		req.Method = http.MethodGet
		if res.Body.Len() > 0 {
			t.Errorf("HEAD %s answers with a body", req.URL)
		}
	}
	route, params, err := router.FindRoute(req)
	if err != nil {
		if res.Code != http.StatusNotFound && res.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s %s answered %d but is not in openapi.yaml: %v", req.Method, req.URL.Path, res.Code, err)
		}
		return
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	in := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, SkipSettingDefaults: true},
	}
	if res.Code < 400 && !offSpec {
		if err := openapi3filter.ValidateRequest(req.Context(), in); err != nil {
			t.Errorf("%s %s was taken but breaks openapi.yaml: %v", req.Method, req.URL, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: res.Code, Header: res.Header(), Options: in.Options}
	if strings.HasPrefix(res.Header().Get("Content-Type"), typeXML) || strings.HasPrefix(res.Header().Get("Content-Type"), "text/") ||
		strings.HasPrefix(res.Header().Get("Content-Type"), string(formNDJSON)) || head {
		o := *in.Options
		o.ExcludeResponseBody = true
		out.Options = &o
	}
	out.SetBodyBytes(res.Body.Bytes())
	if err := openapi3filter.ValidateResponse(req.Context(), out); err != nil {
		t.Errorf("the answer %d to %s %s breaks openapi.yaml: %v\n%s", res.Code, req.Method, req.URL, err, res.Body)
	}
}

// fakeCluster is a Cluster whose answers tests set.
type fakeCluster struct {
	mu         sync.Mutex
	linearized int
	err        error  // of Linearize
	catchUp    func() // what Linearize brings
	behind     bool   // AppliedEverywhere answers false
	stale      time.Duration
	unbounded  bool // StateAge knows no age
	nodes      []NodeStatus
	partitions []PartitionStatus
	removed    []string
	drains     []string // ids, with a minus for the end of a drain
	transfers  int
}

func (c *fakeCluster) Linearize(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.linearized++
	if c.err == nil && c.catchUp != nil {
		c.catchUp()
	}
	return c.err
}
func (c *fakeCluster) StateAge() (time.Duration, bool)          { return c.stale, !c.unbounded }
func (c *fakeCluster) AppliedEverywhere(uint64) bool            { return !c.behind }
func (c *fakeCluster) Nodes() []NodeStatus                      { return c.nodes }
func (c *fakeCluster) Partitions() []PartitionStatus            { return c.partitions }
func (c *fakeCluster) NodeID() string                           { return "n1" }
func (c *fakeCluster) TransferLeadership(context.Context) error { c.transfers++; return c.err }
func (c *fakeCluster) RemoveNode(_ context.Context, id string) error {
	c.removed = append(c.removed, id)
	return c.err
}

func (c *fakeCluster) SetDraining(_ context.Context, id string, on bool) error {
	if !on {
		id = "-" + id
	}
	c.drains = append(c.drains, id)
	return c.err
}

// syncBuffer is an io.Writer that tests read while others write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func jsonf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
func mustPrefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}
