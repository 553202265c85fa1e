package node

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// The console has its part of the API's address, and nothing beyond.
func TestNode_console(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for path, want := range map[string]struct {
		status int
		has    string
	}{
		"/console":         {http.StatusSeeOther, "/console/"},
		"/console/none":    {http.StatusSeeOther, "/console/sign-in"},
		"/console/sign-in": {http.StatusOK, "Sign in with the key"},
		"/consolex":        {http.StatusNotFound, "there is nothing at this path"},
		"/docs":            {http.StatusOK, "openSession"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.nodes[0].apiAddr+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close() // it was read to its end
		if resp.StatusCode != want.status || !strings.Contains(string(b), want.has) {
			t.Errorf("%s: %d, want %d with %q", path, resp.StatusCode, want.status, want.has)
		}
		policy := resp.Header.Get("Content-Security-Policy")
		if strings.HasPrefix(path, "/console/") && !strings.HasPrefix(policy, "default-src 'self';") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
	}
	client.CloseIdleConnections()
}
