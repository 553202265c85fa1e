package workload

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/chaos/history"
)

// fakeNodes are nodes that answer as a handler says.
type fakeNodes []Node

func (f fakeNodes) Nodes() []Node { return f }

// fakeNode is one node.
func fakeNode(t *testing.T, h http.HandlerFunc) fakeNodes {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return fakeNodes{{ID: "n1", URL: s.URL}}
}

// testEnv is an env whose history is read by the function that comes with it,
// which closes it.
func testEnv(t *testing.T, target Target) (*env, func() []history.Op) {
	t.Helper()
	dir := t.TempDir()
	e, err := newEnv("wx", Options{Target: target, AdminKey: "admin", Dir: dir, Clock: history.NewClock()})
	if err != nil {
		t.Fatal(err)
	}
	return e, func() []history.Op {
		t.Helper()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		ops, err := history.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		return ops
	}
}

func into[T any](t *testing.T, b json.RawMessage) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	return v
}

func TestAnswer_judge(t *testing.T) {
	t.Parallel()
	lost := errors.New("EOF")
	for name, tt := range map[string]struct {
		status       int
		code         string
		err          error
		unsent       bool
		change, read history.Outcome
		again        bool
	}{
		"200":              {status: 200, change: history.OK, read: history.OK},
		"202":              {status: 202, change: history.OK, read: history.OK},
		"refused":          {status: 400, code: "in_use", change: history.Fail, read: history.Fail},
		"404":              {status: 404, code: "not_found", change: history.Fail, read: history.Fail},
		"429":              {status: 429, code: "limit", change: history.Fail, read: history.Fail, again: true},
		"unavailable":      {status: 503, code: "unavailable", change: history.Fail, read: history.Fail, again: true},
		"unknown outcome":  {status: 503, code: "unknown_outcome", change: history.Unknown, read: history.Fail, again: true},
		"503 of a proxy":   {status: 503, change: history.Unknown, read: history.Fail, again: true},
		"500":              {status: 500, code: "internal", change: history.Unknown, read: history.Fail, again: true},
		"redirect":         {status: 302, change: history.Unknown, read: history.Fail},
		"connection broke": {err: lost, change: history.Unknown, read: history.Fail, again: true},
		"no connection":    {err: lost, unsent: true, change: history.Fail, read: history.Fail, again: true},
	} {
		for change, want := range map[bool]history.Outcome{true: tt.change, false: tt.read} {
			a := answer{status: tt.status, code: tt.code, body: []byte(`{"detail":"why"}`)}
			a.judge(change, !tt.unsent, tt.err)
			if a.outcome != want {
				t.Errorf("%s: change %t: %s, want %s", name, change, a.outcome, want)
			}
			if a.ok() == (a.text != "") {
				t.Errorf("%s: %s with the text %q", name, a.outcome, a.text)
			}
			op := history.Op{Error: a.text}
			if op.Code() != tt.code {
				t.Errorf("%s: the code in the history is %q", name, op.Code())
			}
			if !a.ok() && a.again() != tt.again {
				t.Errorf("%s: worth another try: %t", name, a.again())
			}
		}
	}
}

// A change is sent once, whatever happens to it, and what happened is told
// apart.
func TestClient_sendsOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	release := make(chan struct{})
	target := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.URL.Path]++
		mu.Unlock()
		switch r.URL.Path {
		case "/broken":
			panic(http.ErrAbortHandler)
		case "/hangs":
			<-release
		case "/half":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
		}
	})
	t.Cleanup(func() { close(release) }) // before the server ends
	e, _ := testEnv(t, target)
	e.o.Timeout = 100 * time.Millisecond
	c := e.client("1", 0, true, e.admin())
	for path, want := range map[string]history.Outcome{"/fine": history.OK, "/broken": history.Unknown, "/hangs": history.Unknown, "/half": history.Unknown} {
		// The first opens the connection that the second finds in use.
		for range 2 {
			if a := c.send(t.Context(), request{method: http.MethodPost, path: path, body: []byte("{}"), change: true}); a.outcome != want || a.node != "n1" {
				t.Errorf("%s: %s %q at %s, want %s", path, a.outcome, a.text, a.node, want)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if d := cmp.Diff(map[string]int{"/fine": 2, "/broken": 2, "/hangs": 2, "/half": 2}, seen); d != "" {
		t.Errorf("requests that came (-want +got):\n%s", d)
	}
}

func TestClient_goesToAnotherNode(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + l.Addr().String()
	_ = l.Close()
	live := fakeNode(t, func(http.ResponseWriter, *http.Request) {})
	e, _ := testEnv(t, fakeNodes{{ID: "gone", URL: gone}, {ID: "live", URL: live[0].URL}})
	pinned, free := e.client("1", 0, true, e.admin()), e.client("2", 0, false, e.admin())
	req := request{method: http.MethodPost, path: "/", change: true}
	for _, tt := range []struct {
		c    *client
		node string
		want history.Outcome
	}{{pinned, "gone", history.Fail}, {pinned, "gone", history.Fail}, {free, "gone", history.Fail}, {free, "live", history.OK}, {free, "live", history.OK}} {
		if a := tt.c.send(t.Context(), req); a.node != tt.node || a.outcome != tt.want {
			t.Errorf("%s: %s at %s, want %s at %s", tt.c.process, a.outcome, a.node, tt.want, tt.node)
		}
	}
}

// The end of a run does not make outcomes unknown.
func TestClient_outlivesItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	e, _ := testEnv(t, fakeNode(t, func(http.ResponseWriter, *http.Request) { cancel() }))
	c := e.client("1", 0, true, e.admin())
	if a := c.send(ctx, request{method: http.MethodPost, path: "/", change: true}); !a.ok() {
		t.Errorf("%s: %s", a.outcome, a.text)
	}
	if c.pace(ctx, time.Hour) {
		t.Error("the client goes on")
	}
}

func TestClient_configOperations(t *testing.T) {
	t.Parallel()
	type seen struct{ Method, Path, Body string }
	var last seen
	answerBody := `{"subscriptionId":"s","profile":{"profileId":"p","security":{"authId":"a"}}}`
	e, ops := testEnv(t, fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		last = seen{r.Method, r.URL.RequestURI(), string(b)}
		if r.Header.Get("Authorization") != "App key" || r.Header.Get("X-Request-Id") == "" {
			t.Errorf("the request has the header %v", r.Header)
		}
		_, _ = io.WriteString(w, answerBody)
	}))
	c := e.client("1", 0, true, Account{ID: "acct", Key: "key"})
	sub := &history.Subscription{Events: []string{"DELIVERY"}, Applications: []string{"x"}, Profile: "p"}
	basic := func(id string) *history.Security {
		return &history.Security{ID: id, Type: typeBasic, Version: 3}
	}
	for _, tt := range []struct {
		kind, key string
		in        history.Config
		want      seen
	}{
		{history.ProfileCreate, "p", history.Config{Profile: &history.Profile{URL: "http://x/", Auth: "a", Certificate: "c", Schedule: []int64{1, 2}, MaxAttempts: 3, Ordering: orderKey, Bucket: 5, ReadTimeout: 1000}}, seen{
			"POST", "/subscriptions/1/profiles",
			`{"profileId":"p","webhook":{"notifyUrl":"http://x/"},"security":{"authId":"a"},"clientCertificateId":"c","maxBucketSize":5,"readTimeout":1000,"retry":{"policy":"custom","schedule":[1,2],"maxAttempts":3},"ordering":"KEY"}`,
		}},
		{history.ProfilePut, "p", history.Config{Profile: &history.Profile{URL: "http://x/", Set: []string{setURL}}}, seen{"PUT", "/subscriptions/1/profiles/p", `{"webhook":{"notifyUrl":"http://x/"}}`}},
		{history.ProfilePut, "p", history.Config{Profile: &history.Profile{Auth: "a", Set: []string{setAuth, setCertificate}}}, seen{"PUT", "/subscriptions/1/profiles/p", `{"clientCertificateId":null,"security":{"authId":"a"}}`}},
		{history.ProfilePut, "p", history.Config{Profile: &history.Profile{Certificate: "c", Set: []string{setAuth, setCertificate}}}, seen{"PUT", "/subscriptions/1/profiles/p", `{"clientCertificateId":"c","security":null}`}},
		{history.ProfileDelete, "p", history.Config{}, seen{"DELETE", "/subscriptions/1/profiles/p", ""}},
		{history.SubscriptionCreate, "s", history.Config{Channel: "SMS", Subscription: sub}, seen{
			"POST", "/subscriptions/1/subscription/SMS", `{"subscriptionId":"s","events":["DELIVERY"],"criteria":[{"applicationId":"x"}],"profile":{"profileId":"p"}}`,
		}},
		{history.SubscriptionCreate, "s", history.Config{Channel: "SMS", Subscription: sub, Profile: &history.Profile{URL: "http://x/"}, Security: basic("a")}, seen{
			"POST", "/subscriptions/1/subscription/SMS",
			`{"subscriptionId":"s","events":["DELIVERY"],"criteria":[{"applicationId":"x"}],"profile":{"profileId":"p","webhook":{"notifyUrl":"http://x/"},"security":{"authId":"a","type":"BASIC","credentials":{"password":"` + secretOf("a", 3) + `","username":"a.v3"}}}}`,
		}},
		{history.SubscriptionPut, "s", history.Config{Channel: "SMS", Subscription: sub}, seen{
			"PUT", "/subscriptions/1/subscription/SMS/s", `{"criteria":[{"applicationId":"x"}],"events":["DELIVERY"],"profile":{"profileId":"p"}}`,
		}},
		{history.SecurityPut, "a", history.Config{Security: basic("")}, seen{
			"PUT", "/subscriptions/1/security/a", `{"type":"BASIC","credentials":{"password":"` + secretOf("a", 3) + `","username":"a.v3"}}`,
		}},
		{history.AccountCreate, "b", history.Config{}, seen{"POST", "/accounts/1/accounts", `{"accountId":"b","name":"b"}`}},
	} {
		if a := c.change(t.Context(), tt.kind, tt.key, tt.in); !a.ok() || a.text != "" {
			t.Errorf("%s: %s %s", tt.kind, a.outcome, a.text)
		}
		if d := cmp.Diff(tt.want, last); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.kind, d)
		}
	}
	requests := map[string]bool{}
	for _, op := range ops() {
		in := into[history.Config](t, op.In)
		if in.Request == "" || requests[in.Request] || op.Process != "wx-1" || op.Node != "n1" {
			t.Errorf("%s has the request id %q, of %s at %s", op.Kind, in.Request, op.Process, op.Node)
		}
		requests[in.Request] = true
		if d := cmp.Diff(history.Refs{Subscription: "s", Profile: "p", Auth: "a"}, into[history.Refs](t, op.Out)); d != "" {
			t.Errorf("%s (-want +got):\n%s", op.Kind, d)
		}
	}
}

func TestClient_read(t *testing.T) {
	t.Parallel()
	e, ops := testEnv(t, fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RequestURI() {
		case "/subscriptions/1/profiles/p?consistency=stale":
			w.Header().Set(headerStaleness, "17")
			_, _ = io.WriteString(w, `{"profileId":"p","webhook":{"notifyUrl":"http://x/"},"security":{"authId":"a"},"clientCertificateId":"c"}`)
		case "/subscriptions/1/profiles/q?consistency=stale":
			w.Header().Set(headerStaleness, "unknown")
			_, _ = io.WriteString(w, `{"profileId":"q","webhook":{"notifyUrl":"http://x/"}}`)
		case "/subscriptions/1/subscription/SMS/s":
			_, _ = io.WriteString(w, `{"subscriptionId":"s","profile":{"profileId":"p"},"events":["DELIVERY"],"criteria":[{"applicationId":"x"}]}`)
		case "/subscriptions/1/security/a":
			_, _ = io.WriteString(w, `{"authId":"a","type":"BASIC","credentials":{"username":"a.v12","password":"****"}}`)
		case "/subscriptions/1/profiles/broken":
			_, _ = io.WriteString(w, `{"profileId":`)
		default:
			w.Header().Set("Belfry-Error-Code", "not_found")
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	c := e.client("1", 0, true, Account{ID: "acct", Key: "key"})
	for _, tt := range []struct {
		kind, key string
		want      history.State
		text      bool
	}{
		{history.ProfileGetStale, "p", history.State{ID: "p", Staleness: 17, Profile: &history.Profile{URL: "http://x/", Auth: "a", Certificate: "c"}}, false},
		{history.ProfileGetStale, "q", history.State{ID: "q", Staleness: -1, Profile: &history.Profile{URL: "http://x/"}}, false},
		{history.SubscriptionGet, "s", history.State{ID: "s", Subscription: &history.Subscription{Events: []string{"DELIVERY"}, Applications: []string{"x"}, Profile: "p"}}, false},
		{history.SecurityGet, "a", history.State{ID: "a", Security: &history.Security{Type: typeBasic, Version: 12}}, false},
		{history.ProfileGet, "none", history.State{Absent: true}, false},
		{history.ProfileGet, "broken", history.State{}, true},
	} {
		got, a := c.read(t.Context(), tt.kind, tt.key, history.Config{Channel: "SMS"})
		if d := cmp.Diff(tt.want, got); d != "" || !a.ok() || (a.text != "") != tt.text {
			t.Errorf("%s %s: %s %q (-want +got):\n%s", tt.kind, tt.key, a.outcome, a.text, d)
		}
	}
	all := ops()
	if len(all) != 6 {
		t.Errorf("%d operations in the history, want 6", len(all))
	}
	for _, op := range all {
		if (op.Out == nil) != (op.Key == "broken") {
			t.Errorf("%s %s has the Out %q", op.Kind, op.Key, op.Out)
		}
	}
}
