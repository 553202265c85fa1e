package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/seal"
)

func write(tb testing.TB, name, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestKeysCreate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.keys")
	run(t, "", nil, "keys", "create", "--out", path).expect(t, ExitOK, "")
	if _, err := seal.LoadRing(path); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	run(t, "", nil, "keys", "create", "--out", path).expect(t, ExitUsage, "exists already and is not overwritten")
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Error("the existing file was changed")
	}
	run(t, "", nil, "keys", "create", "--out", filepath.Join(path, "x")).expect(t, ExitFailed, "--out")
}

// pair writes a self-signed certificate and its key.
func pair(tb testing.TB) (cert, key string) {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		tb.Fatal(err)
	}
	kd, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		tb.Fatal(err)
	}
	return write(tb, "c.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		write(tb, "k.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kd})))
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	cert, key := pair(t)
	_, otherKey := pair(t)
	ring := filepath.Join(t.TempDir(), "master.keys")
	run(t, "", nil, "keys", "create", "--out", ring).expect(t, ExitOK, "")
	base := []string{"config", "check", "--node-id", "n1", "--data-dir", "d", "--master-key-file", ring}
	peers := func(cert, key, ca string) []string {
		return append(slices.Clip(base), "--peer-tls-cert", cert, "--peer-tls-key", key, "--peer-tls-ca", ca)
	}
	got := run(t, "", []string{"BELFRY_TYPO=1"}, peers(cert, key, cert)...)
	got.expect(t, ExitOK, "BELFRY_TYPO sets nothing")
	if got.out != "the configuration can be used\n" {
		t.Errorf("printed %q", got.out)
	}
	run(t, "", nil, peers(cert, otherKey, cert)...).expect(t, ExitUsage, "--peer-tls-cert: tls: private key does not match public key")
	run(t, "", nil, peers(cert, key, key)...).expect(t, ExitUsage, "--peer-tls-ca: holds no PEM certificate")
	run(t, "", nil, peers(cert, key, cert+"x")...).expect(t, ExitUsage, "--peer-tls-ca: open")
	run(t, "", nil, append(slices.Clip(base), "--api-tls-cert", cert, "--api-tls-key", otherKey)...).expect(t, ExitUsage, "--api-tls-cert: tls:")
	run(t, "", nil, "config", "check", "--node-id", "n1", "--data-dir", "d", "--master-key-file", cert).expect(t, ExitUsage, "--master-key-file: ")
	run(t, "", nil, "config", "check", "--node-id", "n1").expect(t, ExitUsage, "--data-dir is required")
}

func TestConfigPrint(t *testing.T) {
	t.Parallel()
	file := write(t, "belfry.yaml", "nodeId: from-file\n")
	got := run(t, "", []string{"BELFRY_LEASE_TTL=3s", "BELFRY_ADMIN_KEY=CANARY-0123456789"}, "config", "print", "--sources", "--config", file, "--dev")
	got.expect(t, ExitOK, "")
	for _, want := range []string{"nodeId: \"from-file\"  # file", "leaseTtl: 3s  # environment", "dev: true  # flag", "apiAddr: \"127.0.0.1:8600\"  # default", "# adminKey: "} {
		if !strings.Contains(got.out, want+"\n") && !strings.Contains(got.out, want) {
			t.Errorf("%q is not printed:\n%s", want, got.out)
		}
	}
	if strings.Contains(got.out, "CANARY") {
		t.Error("the admin key is printed")
	}
	if docs := run(t, "", nil, "config", "docs"); docs.code != ExitOK || !strings.Contains(docs.out, "`BELFRY_NODE_ID`") {
		t.Errorf("docs: exit %d", docs.code)
	}
	if help := run(t, "", nil, "config"); help.code != ExitOK || !strings.Contains(help.out, "Available Commands") {
		t.Errorf("config alone: exit %d", help.code)
	}
}

type posted struct{ auth, contentType, body string }

func ingest(tb testing.TB, status int, answer string) (url string, got *posted) {
	tb.Helper()
	got = &posted{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		*got = posted{r.Header.Get("Authorization"), r.Header.Get("Content-Type"), r.Method + " " + r.URL.Path + " " + string(b)}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	tb.Cleanup(srv.Close)
	return srv.URL, got
}

func TestSend(t *testing.T) {
	t.Parallel()
	const answer = `{"events":[{"eventId":"e-1","status":"ACCEPTED","deliveries":2}]}`
	url, got := ingest(t, http.StatusAccepted, answer)
	env := []string{"BELFRY_API_KEY=the-key", "BELFRY_URL=" + url}

	o := run(t, ` {"messageId": "m-1"} `, env, "send", "--channel", "SMS", "--event", "DELIVERY", "--event-id", "e-1", "--resource", "Acme", "--no-notify", "--payload", "-")
	o.expect(t, ExitOK, "")
	if o.out != "e-1 ACCEPTED deliveries=2\n" {
		t.Errorf("printed %q", o.out)
	}
	want := posted{"App the-key", "application/json", `POST /events/1/events {"eventId":"e-1","channel":"SMS","event":"DELIVERY","resource":"Acme","webhook":{"notify":false},"payload":{"messageId":"m-1"}}`}
	if *got != want {
		t.Errorf("posted %+v, want %+v", *got, want)
	}

	lines := write(t, "events.ndjson", "{}\n{}\n")
	run(t, "", nil, "send", "--url", url, "--key-file", write(t, "key", "file-key\n"), "--file", lines).expect(t, ExitOK, "")
	if want := (posted{"App file-key", "application/x-ndjson", "POST /events/1/events {}\n{}\n"}); *got != want {
		t.Errorf("posted %+v, want %+v", *got, want)
	}
	run(t, "[{}]", env, "send", "--file", "-").expect(t, ExitOK, "")
	if got.contentType != "application/json" || !strings.HasSuffix(got.body, "[{}]") {
		t.Errorf("posted %+v", *got)
	}
}

func TestSend_errors(t *testing.T) {
	t.Parallel()
	url, _ := ingest(t, http.StatusBadRequest, `{"title":"Bad Request","detail":"an event is wrong","errors":[{"pointer":"/0/channel","detail":"is not a channel of the catalogue"}]}`)
	key := "BELFRY_API_KEY=the-key"
	file := write(t, "e.json", "[{}]")
	run(t, "", []string{key}, "send", "--url", url, "--file", file).expect(t, ExitFailed, "the node answered 400: Bad Request; an event is wrong; /0/channel is not a channel of the catalogue")
	run(t, "", nil, "send", "--url", url, "--file", file).expect(t, ExitUsage, "set BELFRY_API_KEY, or name a file with --key-file")
	run(t, "", nil, "send", "--url", url, "--file", file, "--key-file", write(t, "k", "\n")).expect(t, ExitUsage, "is empty")
	run(t, "", []string{key}, "send", "--url", "localhost", "--file", file).expect(t, ExitUsage, "--url: the address of a node")
	run(t, "", []string{key}, "send", "--url", url, "--file", file+"x").expect(t, ExitUsage, "--file: ")
	run(t, "{", []string{key}, "send", "--url", url, "--channel", "SMS", "--event", "E", "--payload", "-").expect(t, ExitUsage, "is not JSON")
	run(t, "{}", []string{key}, "send", "--url", url, "--channel", "SMS", "--payload", "-").expect(t, ExitUsage, "--channel and --event are required")
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	run(t, "", []string{key}, "send", "--url", closed.URL, "--file", file).expect(t, ExitFailed, "no answer from "+closed.URL)
	odd, _ := ingest(t, http.StatusAccepted, "hello")
	run(t, "", []string{key}, "send", "--url", odd, "--file", file).expect(t, ExitFailed, "not a list of receipts")
}

func TestVerifySignature(t *testing.T) {
	t.Parallel()
	// RFC 4231, test case 2, and the vector of the Standard Webhooks libraries.
	const jefe = "what do ya want for nothing?"
	hmacLine := "X-Ib-Hmac-Signature: SHA256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
	env := []string{"BELFRY_WEBHOOK_SECRET=Jefe"}
	got := run(t, jefe, env, "verify-signature", "-H", hmacLine)
	got.expect(t, ExitOK, "")
	if got.out != "X-Ib-Hmac-Signature: ok\nStandard Webhooks: not there\n" {
		t.Errorf("printed %q", got.out)
	}
	got = run(t, jefe+"!", env, "verify-signature", "-H", hmacLine)
	got.expect(t, ExitFailed, "must not be trusted")
	if !strings.Contains(got.out, "X-Ib-Hmac-Signature: WRONG: ") {
		t.Errorf("printed %q", got.out)
	}
	run(t, jefe, env, "verify-signature", "-H", "X-Other: 1").expect(t, ExitFailed, "has no signature")
	run(t, jefe, env, "verify-signature", "-H", "nonsense").expect(t, ExitUsage, "--header must be")
	run(t, jefe, env, "verify-signature", "-H", hmacLine, "--algorithm", "SHA256").expect(t, ExitFailed, "must not be trusted")
	run(t, jefe, env, "verify-signature", "-H", hmacLine, "--at", "yesterday").expect(t, ExitUsage, "--at must be a time")
	run(t, jefe, env, "verify-signature", "-H", hmacLine, "--body", "/does/not/exist").expect(t, ExitUsage, "--body")

	std := []string{
		"verify-signature", "--secret-file", write(t, "s", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), "--body", write(t, "b", `{"test": 2432232314}`),
		"-H", "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek", "-H", "webhook-timestamp: 1614265330", "-H", "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
	}
	got = run(t, "", nil, append(std, "--at", "2021-02-25T15:02:10Z")...)
	got.expect(t, ExitOK, "")
	if got.out != "X-Ib-Hmac-Signature: not there\nStandard Webhooks: ok\n" {
		t.Errorf("printed %q", got.out)
	}
	run(t, "", nil, std...).expect(t, ExitFailed, "must not be trusted") // long ago
}
