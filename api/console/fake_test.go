package console

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// now is the time of every test.
var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// fakeAPI answers like the API: with what was set for "METHOD /path", where a
// value is what is sent as JSON, a *model.Error an error, and a func(*http.Request)
// any what it returns. What was not set is 404.
type fakeAPI struct {
	mu      sync.Mutex
	answers map[string]any
	calls   []call
	caller  client.Caller
	// down, when set, is the answer to everything but readiness and sign-in.
	down *model.Error
	// noQuorum: the node is cut off.
	noQuorum bool
}

// call is a request that the fake got.
type call struct{ Method, Path, Query, Auth, Remote, Body, Accept string }

const (
	testToken = "token-of-the-tests"
	testKey   = "key-of-the-console-tests"
)

func newFakeAPI() *fakeAPI {
	return &fakeAPI{answers: map[string]any{}, caller: client.Caller{AccountID: "acme", Username: "ana", Scopes: model.AllScopes(), TokenExpiresAt: now.Add(time.Hour)}}
}

func (f *fakeAPI) set(route string, v any) *fakeAPI {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[route] = v
	return f
}

// seen are the calls whose method and path begin with route.
func (f *fakeAPI) seen(route string) []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []call
	for _, c := range f.calls {
		if strings.HasPrefix(c.Method+" "+c.Path, route) {
			out = append(out, c)
		}
	}
	return out
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.calls = append(f.calls, call{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Authorization"), r.RemoteAddr, string(b), r.Header.Get("Accept")})
	v, ok := f.answers[r.Method+" "+r.URL.Path]
	down, cut := f.down, f.noQuorum
	f.mu.Unlock()
	w.Header().Set(headerNode, "n1")
	switch route := r.Method + " " + r.URL.Path; {
	case route == "GET /readyz":
		f.json(w, 200, map[string]any{"status": "ok", "checks": []any{map[string]any{"name": "cluster", "ok": !cut, "error": map[bool]string{true: "group config has no leader"}[cut]}}})
		return
	case ok: // as set
	case !f.known(r):
		v = model.Errorf(model.CodeUnauthorized, "the credentials are missing, wrong or no longer valid")
	case route == "GET /auth/1/session":
		v = f.caller
	case route == "POST /auth/1/oauth2/token":
		v = map[string]any{"access_token": testToken, "expires_in": 3600}
	case route == "POST /auth/1/session":
		v = map[string]any{"token": testToken}
	case down != nil:
		v = down
	case cut && readsConfig(r) && r.URL.Query().Get("consistency") != "stale":
		v = model.Errorf(model.CodeUnavailable, "there is no leader")
	default:
		v = model.Errorf(model.CodeNotFound, "there is nothing at %s", r.URL.Path)
	}
	if fn, is := v.(func(*http.Request) any); is {
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		v = fn(r)
	}
	if r.URL.Query().Get("consistency") == "stale" || cut && strings.HasPrefix(r.URL.Path, "/cluster/1/") {
		w.Header().Set(headerStaleness, "42000")
	}
	switch x := v.(type) {
	case *model.Error:
		f.fail(w, x)
	case nil:
		w.WriteHeader(http.StatusNoContent)
	case octets:
		w.Header().Set("Content-Type", client.BackupForm)
		_, _ = io.WriteString(w, string(x))
	case streamed:
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, x.lines)
		if x.open {
			<-r.Context().Done()
		}
	default:
		f.json(w, 200, x)
	}
}

// streamed is an answer of server-sent events, which ends behind them, or with
// the request if it stays open.
type streamed struct {
	lines string
	open  bool
}

// known checks the credentials.
func (f *fakeAPI) known(r *http.Request) bool {
	switch {
	case r.URL.Path == "/auth/1/oauth2/token":
		return true
	case r.URL.Path == "/auth/1/session" && r.Method == http.MethodPost:
		b, _ := io.ReadAll(r.Body)
		return strings.Contains(f.calls[len(f.calls)-1].Body+string(b), "right-password")
	}
	a := r.Header.Get("Authorization")
	return a == "IBSSO "+testToken || a == "Bearer "+testToken || a == "App "+testKey
}

func (f *fakeAPI) json(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

func (f *fakeAPI) fail(w http.ResponseWriter, e *model.Error) {
	w.Header().Set(headerCode, string(e.Code))
	var fields []map[string]string
	for _, v := range e.Violations() {
		fields = append(fields, map[string]string{"pointer": v.Field, "detail": v.Message})
	}
	status := problems[e.Code].status
	if status == http.StatusUnprocessableEntity {
		status = 400
	}
	f.json(w, status, map[string]any{"detail": e.Message, "code": e.Code, "errors": fields})
}

// paged is a page of a list as the API gives it, by the query's page and size.
func paged[T any](all []T) func(*http.Request) any {
	return func(r *http.Request) any {
		number := func(name string, def int) int {
			n := def
			_, _ = fmt.Sscan(r.URL.Query().Get(name), &n)
			return n
		}
		page, size := number("page", 0), number("size", model.DefaultPageSize)
		from := min(page*size, len(all))
		var p client.Page[T]
		p.Results = append([]T{}, all[from:min(from+size, len(all))]...)
		p.Paging.Page, p.Paging.Size, p.Paging.TotalResults, p.Paging.TotalPages = page, size, len(all), (len(all)+size-1)/size
		return p
	}
}

// statsOf answers with the profiles that were asked for, in the order in which
// they are given.
func statsOf(st event.Stats) func(*http.Request) any {
	return func(r *http.Request) any {
		q := r.URL.Query()
		out := client.Stats{Stats: st, ProfilesTotal: len(st.Profiles)}
		out.Profiles = []event.ProfileStats{}
		for _, p := range st.Profiles {
			if (q.Get("profileId") == "" || q.Get("profileId") == p.ProfileID) && strings.Contains(p.ProfileID, q.Get("search")) {
				out.Profiles = append(out.Profiles, p)
			}
		}
		out.ProfilesFound = len(out.Profiles)
		var page, size int
		_, _ = fmt.Sscan(q.Get("page"), &page)
		if n, _ := fmt.Sscan(q.Get("size"), &size); n == 1 {
			from := min(page*size, len(out.Profiles))
			out.Profiles = out.Profiles[from:min(from+size, len(out.Profiles))]
		}
		return out
	}
}

func newConsole(tb testing.TB, api http.Handler) *Console {
	tb.Helper()
	c, err := New(Options{API: api, Now: func() time.Time { return now }, Version: "test"})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// get asks for a page as somebody who is signed in.
func get(tb testing.TB, c *Console, path string) *httptest.ResponseRecorder {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodGet, Prefix+path, nil)
	r.AddCookie(&http.Cookie{Name: cookieSession, Value: "IBSSO:" + testToken})
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w
}

// post sends a form with the token of the session, as a browser would.
func post(tb testing.TB, c *Console, path string, values url.Values) *httptest.ResponseRecorder {
	tb.Helper()
	form := url.Values{csrfField: {session{scheme: "IBSSO", token: model.NewSecret(testToken)}.csrf()}}
	maps.Copy(form, values)
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, Prefix+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.AddCookie(&http.Cookie{Name: cookieSession, Value: "IBSSO:" + testToken})
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w
}
