package api

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The page lists what fails, with ?verbose what does not, and the same as JSON
// on request.
func TestReady(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	h := newHarness(t, func(o *Options) {
		o.Ready = []Check{
			{"cluster", func(context.Context) error { return nil }},
			{"disk", func(context.Context) error {
				if broken.Load() {
					return errors.New("no space\nleft")
				}
				return nil
			}},
		}
	})
	ask := func(accept, query string, status int) string {
		t.Helper()
		sc := scenario{method: "GET", url: "/readyz" + query, header: map[string]string{"Accept": accept}, status: status, headers: map[string]string{"Retry-After": ""}}
		if status == 503 {
			sc.headers["Retry-After"] = "1"
		}
		return sc.on(t, h)
	}
	for _, row := range []struct {
		broken, drains  bool
		status          int
		short, long     string
		failed          []string
		word, firstFail string
	}{
		{false, false, 200, "ok\n", "[+]draining ok\n[+]cluster ok\n[+]disk ok\nok\n", nil, "ok", ""},
		{true, false, 503, "[-]disk failed: no space left\nfailed\n", "[+]draining ok\n[+]cluster ok\n[-]disk failed: no space left\nfailed\n", []string{"disk"}, "failed", "no space left"},
		{true, true, 503, "[-]draining failed: " + errDraining.Error() + "\n[-]disk failed: no space left\nfailed\n", "", []string{"draining", "disk"}, "failed", errDraining.Error()},
		{false, true, 503, "[-]draining failed: " + errDraining.Error() + "\nfailed\n", "", []string{"draining"}, "failed", errDraining.Error()},
		{false, false, 200, "ok\n", "", nil, "ok", ""},
	} {
		broken.Store(row.broken)
		h.SetDraining(row.drains)
		if got := ask("*/*", "", row.status); got != row.short {
			t.Errorf("got %q, want %q", got, row.short)
		}
		if got := ask("", "?verbose", row.status); row.long != "" && got != row.long {
			t.Errorf("verbose: got %q, want %q", got, row.long)
		}
		var out readyOut
		if err := json.Unmarshal([]byte(ask(typeJSON, "", row.status)), &out); err != nil {
			t.Fatal(err)
		}
		var failed []string
		for _, c := range out.Checks {
			if !c.OK {
				failed = append(failed, c.Name)
			}
		}
		if out.Status != row.word || len(out.Checks) != 3 || !slices.Equal(failed, row.failed) {
			t.Errorf("as JSON: %+v", out)
		}
		h.must(t, "GET", "/livez", "", "", 200)
		h.must(t, "GET", profiles, keyManage, "", 200) // a draining node still serves
	}
}

// Checks run at once and within a limit of time together.
func TestReady_slowChecks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
		h := newHarness(t, func(o *Options) { o.Ready = []Check{{"one", slow}, {"two", slow}} })
		start := time.Now()
		body := h.must(t, "GET", "/readyz", "", "", 503)
		want := "[-]one failed: context deadline exceeded\n[-]two failed: context deadline exceeded\nfailed\n"
		if diff := cmp.Diff(want, body); diff != "" || time.Since(start) != checkTimeout {
			t.Errorf("after %v: %s", time.Since(start), diff)
		}
	})
}

// The address of the document and the pages need no key and cannot run code.
func TestPages(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) { o.Version = "v1 <script>" })
	for url, want := range map[string][]string{
		"/":     {"v1 &lt;script&gt;", `href="/console/"`, `href="/docs"`, `href="/openapi.yaml"`, `href="/readyz?verbose"`, `href="/metrics"`},
		"/docs": {"v1 &lt;script&gt;", "$KEY", "$API/events/1/events", "Scope: <code>events:write</code>", "<code>any valid credentials</code>", "<code>none needed</code>"},
	} {
		res := h.do(t, scenario{method: "GET", url: url})
		policy := res.Header().Get("Content-Security-Policy")
		if res.Code != 200 || res.Header().Get("Content-Type") != "text/html; charset=utf-8" || !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %d %v", url, res.Code, res.Header())
		}
		for _, w := range want {
			if !strings.Contains(res.Body.String(), w) {
				t.Errorf("%s lacks %s", url, w)
			}
		}
		for _, bad := range []string{"<script", "http://", "https://", "//cdn", "<img", "onclick"} {
			if strings.Contains(strings.ReplaceAll(res.Body.String(), "API=http://127.0.0.1:8600", ""), bad) {
				t.Errorf("%s has %s", url, bad)
			}
		}
	}
	doc := scenario{method: "GET", url: "/openapi.yaml", status: 200, headers: map[string]string{"Content-Type": "application/yaml", "Cache-Control": "no-cache"}}.on(t, h)
	if doc != string(OpenAPI()) {
		t.Error("the document is not the one of the package")
	}
	for _, url := range []string{"/", "/docs", "/openapi.yaml", "/livez", "/readyz", "/metrics"} {
		scenario{method: "POST", url: url, status: 405, headers: map[string]string{"Allow": "OPTIONS, GET, HEAD"}}.on(t, h)
	}
}
