package node

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every secret that enters the node in TestSecrets_neverLeak starts with this,
// so that one search finds all of them.
const canary = "CANARY7d1f"

// leaks returns in which of the usual spellings the canary shows in b.
func leaks(b []byte) []string {
	var found []string
	c := []byte(canary)
	for name, form := range map[string][]byte{
		"clear":      c,
		"hex":        []byte(hex.EncodeToString(c)),
		"base64":     []byte(base64.StdEncoding.EncodeToString(c)[:12]),
		"base64+1":   []byte(base64.StdEncoding.EncodeToString(append([]byte("x"), c...))[4:12]),
		"base64+2":   []byte(base64.StdEncoding.EncodeToString(append([]byte("xx"), c...))[4:12]),
		"url-quoted": []byte(url.QueryEscape(canary + "/")),
	} {
		if bytes.Contains(b, form) {
			found = append(found, name)
		}
	}
	return found
}

// TestSecrets_neverLeak puts secrets of every kind through every door and
// looks for them in the log, in the files of the data directory (raft log,
// state, snapshots, outbox, attempts), in error answers, in GETs and in the
// metrics. The one place they may appear is a reveal that was asked for.
func TestSecrets_neverLeak(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 1)
	n1 := c.nodes[0]
	h := newHook(t)
	check := func(what string, b []byte) {
		t.Helper()
		if found := leaks(b); len(found) > 0 {
			t.Errorf("%s shows a secret (%s)", what, strings.Join(found, ", "))
		}
	}
	do := func(method, path string, body any) answer {
		t.Helper()
		a := c.do(n1, method, path, body)
		check(method+" "+path, append(a.body, []byte(strings.Join(headerValues(a.header), "\n"))...))
		return a
	}

	chain, key := selfSigned(t)
	certPEM := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), chain...)
	credentials := map[string]map[string]any{
		"BASIC":  {"username": "u", "password": canary + "-basic"},
		"HMAC":   {"secretKey": canary + "-hmac", "algorithm": "HMAC_SHA_256"},
		"OAUTH":  {"tokenUrl": h.URL + "/token", "grantType": "password", "clientId": "c", "clientSecret": canary + "-cs", "username": "u", "password": canary + "-pw", "refreshToken": canary + "-rt", "headers": map[string]string{"X-T": canary + "-h"}},
		"CUSTOM": {"headers": map[string]string{"X-Api-Key": canary + "-custom"}},
	}
	for kind, cred := range credentials {
		id := strings.ToLower(kind)
		if a := do(http.MethodPost, "/subscriptions/1/security", map[string]any{"authId": id, "type": kind, "credentials": cred}); a.status != http.StatusCreated {
			t.Fatalf("create %s: %s", kind, a)
		}
		do(http.MethodGet, "/subscriptions/1/security/"+id, nil)
		do(http.MethodPut, "/subscriptions/1/security/"+id, map[string]any{"type": kind, "credentials": cred})
		// Refused requests with secrets in them: duplicate, wrong type,
		// wrong member, broken JSON.
		do(http.MethodPost, "/subscriptions/1/security", map[string]any{"authId": id, "type": kind, "credentials": cred})
		do(http.MethodPost, "/subscriptions/1/security", map[string]any{"authId": id + "2", "type": canary, "credentials": cred})
		do(http.MethodPost, "/subscriptions/1/security", map[string]any{"authId": id + "2", "type": kind, "credentials": []any{canary}})
		do(http.MethodPost, "/subscriptions/1/security", `{"authId":"x","type":"BASIC","credentials":{"username":"u","password":"`+canary)
		do(http.MethodPost, "/subscriptions/1/security", map[string]any{"authId": id + "2", "type": kind, "credentials": map[string]any{"password": map[string]any{canary: canary}}})

		do(http.MethodPost, "/subscriptions/1/profiles", map[string]any{
			"profileId": id, "webhook": map[string]any{"notifyUrl": h.URL + "/" + id}, "security": map[string]any{"authId": id},
		})
		do(http.MethodPost, "/subscriptions/1/subscription/SMS", map[string]any{
			"subscriptionId": id, "events": []string{}, "profile": map[string]any{"profileId": id},
		})
	}
	do(http.MethodGet, "/subscriptions/1/security", nil)
	if a := do(http.MethodPost, "/subscriptions/1/certificates", map[string]any{
		"certificateId": "cert", "certificateContent": base64.StdEncoding.EncodeToString(certPEM),
		"passphrase": base64.StdEncoding.EncodeToString([]byte(canary + "-unneeded")),
	}); a.status != http.StatusCreated {
		t.Fatalf("upload certificate: %s", a)
	}
	do(http.MethodPost, "/subscriptions/1/certificates", map[string]any{
		"certificateId": "cert2", "certificateContent": base64.StdEncoding.EncodeToString([]byte(canary)), "passphrase": canary,
	})
	do(http.MethodPost, "/accounts/1/accounts/default/users", map[string]any{"username": "ana", "password": canary + "-user-password", "scopes": []string{"subscriptions:read"}})
	do(http.MethodPost, "/auth/1/session", map[string]any{"username": "ana", "password": canary + "-wrong-password"})
	do(http.MethodGet, "/subscriptions/1/profiles?password="+canary, nil)
	for _, auth := range []string{"App " + canary + "-key", "Basic " + base64.StdEncoding.EncodeToString([]byte("ana:"+canary)), "Bearer " + canary, "IBSSO " + canary} {
		a := c.do(n1, http.MethodGet, "/subscriptions/1/profiles", nil, "Authorization", auth)
		if a.status != http.StatusUnauthorized {
			t.Errorf("a made-up credential is answered %s", a)
		}
		check("the answer to a wrong credential", a.body)
	}
	// Deliveries with each of them: taken, refused, and with a failing token
	// endpoint.
	for range 6 {
		h.status <- 500
	}
	for _, id := range []string{"m-1", "m-2"} {
		do(http.MethodPost, "/events/1/events", report(id))
		for range 3 { // before the next event, which could share a request
			h.next(t)
		}
	}
	c.eventually("attempts are on record", func() bool {
		return strings.Count(string(do(http.MethodGet, "/events/1/events/m-1", nil).body), `"attempt":1`) >= 3
	})

	do(http.MethodGet, "/metrics", nil)
	do(http.MethodGet, "/accounts/1/accounts/default/audit", nil)
	do(http.MethodGet, "/cluster/1/nodes", nil)

	// It was there all the time: the reveal shows it.
	a := c.do(n1, http.MethodGet, "/subscriptions/1/security/basic?reveal=true", nil)
	var shown struct {
		Credentials struct{ Password string }
	}
	if err := json.Unmarshal(a.body, &shown); err != nil || shown.Credentials.Password != canary+"-basic" {
		t.Errorf("reveal: %s", a)
	}

	if err := n1.snapshot(); err != nil {
		t.Fatal(err)
	}
	c.stop(n1)
	check("the log", []byte(c.log.String()))
	files := 0
	err := filepath.WalkDir(c.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		check("the file "+strings.TrimPrefix(path, c.root), b)
		return nil
	})
	if err != nil || files < 4 {
		t.Errorf("looked into %d files: %v", files, err)
	}
}

func headerValues(h http.Header) []string {
	var vs []string
	for _, v := range h {
		vs = append(vs, v...)
	}
	return vs
}
