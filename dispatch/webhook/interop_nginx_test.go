//go:build interop

package webhook_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"example.com/belfry/dispatch/webhook"
)

// nginxServer is one server of testdata/interop/nginx.conf.
type nginxServer struct {
	Port                   int
	HTTP2                  bool
	Protocols, Certificate string
}

// nginx is a real one that asks every client for a certificate.
type nginx struct {
	alive   context.Context
	dir     string
	urls    map[string]string
	servers *authority // issued the certificates of the servers
	clients *authority // whose clients are let in
	// below issues for clients; nginx does not have its certificate.
	below *authority
	good  tls.Certificate // of acme, by below
}

func startNginx(t *testing.T) *nginx {
	t.Helper()
	program := need(t, "nginx")
	version, err := exec.CommandContext(t.Context(), program, "-v").CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v", version, err)
	}
	t.Logf("%s", bytes.TrimSpace(version))

	n := &nginx{dir: t.TempDir(), urls: map[string]string{}}
	n.servers, n.clients = newAuthority(t, nil, "servers"), newAuthority(t, nil, "clients")
	n.below = newAuthority(t, n.clients, "below clients")
	n.good = n.below.client(t, "acme")
	stranger := newAuthority(t, nil, "strangers")
	known, unknown := n.servers.server(t), stranger.server(t)
	writePEM(t, filepath.Join(n.dir, "clients.pem"), [][]byte{n.clients.cert.Raw}, nil)
	writePEM(t, filepath.Join(n.dir, "known.pem"), known.Certificate, known.PrivateKey)
	writePEM(t, filepath.Join(n.dir, "unknown.pem"), unknown.Certificate, unknown.PrivateKey)

	ports := freePorts(t, 5)
	servers := map[string]nginxServer{
		"http1":   {ports[0], false, "TLSv1.2 TLSv1.3", "known.pem"},
		"http2":   {ports[1], true, "TLSv1.2 TLSv1.3", "known.pem"},
		"tls12":   {ports[2], false, "TLSv1.2", "known.pem"},
		"tls13":   {ports[3], true, "TLSv1.3", "known.pem"},
		"unknown": {ports[4], false, "TLSv1.2 TLSv1.3", "unknown.pem"},
	}
	for name, s := range servers {
		n.urls[name] = fmt.Sprintf("https://127.0.0.1:%d/in", s.Port)
	}
	conf := filepath.Join(n.dir, "nginx.conf")
	var text bytes.Buffer
	if err := template.Must(template.ParseFiles("testdata/interop/nginx.conf")).Execute(&text, map[string]any{
		"Dir": n.dir, "Servers": servers, "HTTP2Directive": hasHTTP2Directive(t, string(version)),
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	n.alive = start(t, program, "-p", n.dir, "-c", conf)
	poll(n.alive, t, "nginx is ready", func() bool {
		return !slices.ContainsFunc(ports, func(port int) bool { return !listens(t, "127.0.0.1:"+strconv.Itoa(port)) })
	})
	return n
}

// hasHTTP2Directive reports whether this version has "http2 on": from 1.25.1;
// before it was a word of "listen".
func hasHTTP2Directive(t *testing.T, version string) bool {
	t.Helper()
	var a, b, c int
	_, text, _ := strings.Cut(version, "nginx/")
	if _, err := fmt.Sscanf(text, "%d.%d.%d", &a, &b, &c); err != nil {
		t.Fatalf("%q: %v", version, err)
	}
	return slices.Compare([]int{a, b, c}, []int{1, 25, 1}) >= 0
}

// access is a line of nginx's access log.
type access struct {
	ID, Status, Port, Connection, Nth, Protocol, TLS, Verify, Subject, Method, Length string
}

// log returns what nginx has noted about the event so far.
func (n *nginx) log(t *testing.T, id string) []access {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	var out []access
	for line := range bytes.Lines(b) {
		var a access
		if err := json.Unmarshal(line, &a); err != nil {
			break // it is being written
		}
		if a.ID == id {
			out = append(out, a)
		}
	}
	return out
}

// logged waits until nginx has noted the event n times: it does so after it
// has answered.
func (n *nginx) logged(t *testing.T, id string, count int) []access {
	t.Helper()
	var out []access
	poll(n.alive, t, "the access log", func() bool {
		out = n.log(t, id)
		return len(out) >= count
	})
	if len(out) != count {
		t.Fatalf("%d requests of %s, want %d: %+v", len(out), id, count, out)
	}
	return out
}

func (n *nginx) sender(t *testing.T) *webhook.Sender {
	t.Helper()
	return newSender(t, func(o *webhook.SenderOptions) { o.RootCAs = n.servers.pool() })
}

// destination is one of the servers, with the client certificate, if any.
func (n *nginx) destination(server string, cert *tls.Certificate) *webhook.Destination {
	d := newDestination(n.urls[server])
	d.Certificate = cert
	return d
}

func TestInterop_nginx(t *testing.T) {
	t.Parallel()
	n := startNginx(t)
	t.Run("accepted", n.accepted)
	t.Run("refused", n.refused)
	t.Run("fails closed", n.failsClosed)
	t.Run("unknown server", n.unknownServer)
	t.Run("versions", n.versions)
	t.Run("reuse", n.reuse)
	t.Run("identities", n.identities)
}

// A client certificate below an intermediate is taken: the chain is sent.
func (n *nginx) accepted(t *testing.T) {
	t.Parallel()
	s := n.sender(t)
	for server, protocol := range map[string]string{"http1": "HTTP/1.1", "http2": "HTTP/2.0"} {
		d := n.destination(server, &n.good)
		d.ResponseBodyRegex = `^SUCCESS\|CN=acme\|` + protocol + `\|TLSv1\.3$`
		id := "accepted-" + server
		wantOK(t, send(t, s, d, id))
		got := n.logged(t, id, 1)[0]
		if got.Verify != "SUCCESS" || got.Subject != "CN=acme" || got.Protocol != protocol || got.Method != http.MethodPost || got.Length != "33" {
			t.Errorf("%+v", got)
		}
		if ct := s.TestConnection(t.Context(), d); !ct.Success {
			t.Errorf("%+v", ct)
		}
	}
	// Without the intermediate nginx cannot know whose it is.
	alone := n.good
	alone.Certificate = n.good.Certificate[:1]
	if res := send(t, s, n.destination("http1", &alone), "alone"); res.Class == webhook.ClassOK || res.StatusCode != http.StatusBadRequest {
		t.Errorf("%+v", res)
	}
}

// nginx lets every certificate through the handshake and answers the request
// with 400. So the delivery fails, while a connection test, which makes no
// request, is not told; if it objects, it must be to the certificate.
func (n *nginx) refused(t *testing.T) {
	t.Parallel()
	foreign := newAuthority(t, nil, "others").client(t, "acme")
	for name, tt := range map[string]struct {
		cert   *tls.Certificate
		verify string
	}{
		"foreign": {&foreign, "FAILED:"},
		"none":    {nil, "NONE"},
	} {
		for _, server := range []string{"http1", "http2", "tls12", "tls13"} {
			s, id := n.sender(t), "refused-"+name+"-"+server
			d := n.destination(server, tt.cert)
			res := send(t, s, d, id)
			if res.Class != webhook.ClassTemporary || res.StatusCode != http.StatusBadRequest || res.Error != "the receiver answered 400" {
				t.Errorf("%s: %+v", id, res)
			}
			if got := n.logged(t, id, 1)[0]; !strings.HasPrefix(got.Verify, tt.verify) || got.Status != "400" {
				t.Errorf("%s: %+v", id, got)
			}
			ct := s.TestConnection(t.Context(), d)
			if !ct.Success && (!strings.Contains(ct.FailReasons[0], "certificate") || !strings.Contains(ct.Hint, "certificate")) {
				t.Errorf("%s: %+v", id, ct)
			}
			t.Logf("%s: %q, connection test %+v", id, res.Error, ct)
		}
	}
}

// INV webhook-3: nothing is sent with a certificate that has expired.
func (n *nginx) failsClosed(t *testing.T) {
	t.Parallel()
	s := n.sender(t)
	expired := n.below.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "acme"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Minute),
	})
	d := n.destination("http1", &expired)
	if res := send(t, s, d, "expired"); res.Class != webhook.ClassAuth || res.Error != "the client certificate has expired" {
		t.Errorf("%+v", res)
	}
	if ct := s.TestConnection(t.Context(), d); ct.Success || ct.FailReasons[0] != "the client certificate has expired" || ct.Hint == "" {
		t.Errorf("%+v", ct)
	}
	if got := n.log(t, "expired"); len(got) > 0 {
		t.Errorf("it was sent: %+v", got)
	}
}

func (n *nginx) unknownServer(t *testing.T) {
	t.Parallel()
	s := n.sender(t)
	d := n.destination("unknown", &n.good)
	const want = "TLS: the certificate of the receiver is signed by an unknown authority"
	if res := send(t, s, d, "unknown"); res.Class != webhook.ClassTemporary || res.Error != want {
		t.Errorf("%+v", res)
	}
	if ct := s.TestConnection(t.Context(), d); ct.Success || ct.FailReasons[0] != want || !strings.Contains(ct.Hint, "chain") {
		t.Errorf("%+v", ct)
	}
	if got := n.log(t, "unknown"); len(got) > 0 {
		t.Errorf("it was sent: %+v", got)
	}
}

func (n *nginx) versions(t *testing.T) {
	t.Parallel()
	s := n.sender(t)
	for i, tt := range []struct {
		server   string
		min, max uint16
		want     string // "": no version in common
	}{
		{"http1", 0, 0, "TLSv1.3"},
		{"http1", 0, tls.VersionTLS12, "TLSv1.2"},
		{"http1", tls.VersionTLS13, 0, "TLSv1.3"},
		{"tls12", 0, 0, "TLSv1.2"},
		{"tls12", tls.VersionTLS12, tls.VersionTLS12, "TLSv1.2"},
		{"tls12", tls.VersionTLS13, 0, ""},
		{"tls13", 0, 0, "TLSv1.3"},
		{"tls13", tls.VersionTLS13, tls.VersionTLS13, "TLSv1.3"},
		{"tls13", 0, tls.VersionTLS12, ""},
	} {
		d, id := n.destination(tt.server, &n.good), "version-"+strconv.Itoa(i)
		d.MinTLS, d.MaxTLS = tt.min, tt.max
		res, ct := send(t, s, d, id), s.TestConnection(t.Context(), d)
		if tt.want != "" {
			wantOK(t, res)
			if got := n.logged(t, id, 1)[0]; got.TLS != tt.want || !ct.Success {
				t.Errorf("%+v: %s, %+v", tt, got.TLS, ct)
			}
			continue
		}
		if res.Class != webhook.ClassTemporary || res.StatusCode != 0 || !strings.HasPrefix(res.Error, "TLS: ") || !strings.Contains(res.Error, "version") {
			t.Errorf("%+v: %+v", tt, res)
		}
		if ct.Success || !strings.Contains(ct.FailReasons[0], "version") || !strings.Contains(ct.Hint, "TLS 1.2 or TLS 1.3") {
			t.Errorf("%+v: %+v", tt, ct)
		}
		t.Logf("%s, from %x to %x: %q, connection test %+v", tt.server, tt.min, tt.max, res.Error, ct)
	}
}

// Requests one after the other come over one connection.
func (n *nginx) reuse(t *testing.T) {
	t.Parallel()
	const requests = 20
	for server, protocol := range map[string]string{"http1": "HTTP/1.1", "http2": "HTTP/2.0"} {
		s, id := n.sender(t), "reuse-"+server
		for range requests {
			wantOK(t, send(t, s, n.destination(server, &n.good), id))
		}
		got := n.logged(t, id, requests)
		for i, a := range got {
			if a.Connection != got[0].Connection || a.Nth != strconv.Itoa(i+1) || a.Protocol != protocol {
				t.Errorf("request %d: %+v", i, a)
			}
		}
	}
}

// INV webhook-9: a connection is shared by profiles with the same TLS identity,
// and not with another.
func (n *nginx) identities(t *testing.T) {
	t.Parallel()
	other := n.below.client(t, "umbrella")
	for _, server := range []string{"http1", "http2"} {
		s := n.sender(t)
		connections := map[string][]string{}
		for i := range 12 {
			d, want := n.destination(server, &n.good), "CN=acme"
			d.ProfileID = "hook-" + strconv.Itoa(i%4)
			d.CertificateKey = "acme/c/1"
			if i%4 == 3 {
				d.Certificate, d.CertificateKey, want = &other, "acme/c/2", "CN=umbrella"
			}
			id := fmt.Sprintf("identity-%s-%d", server, i)
			wantOK(t, send(t, s, d, id))
			got := n.logged(t, id, 1)[0]
			if got.Subject != want || got.Verify != "SUCCESS" {
				t.Errorf("profile %s: %+v", d.ProfileID, got)
			}
			if !slices.Contains(connections[want], got.Connection) {
				connections[want] = append(connections[want], got.Connection)
			}
		}
		a, b := connections["CN=acme"], connections["CN=umbrella"]
		if len(a) != 1 || len(b) != 1 || a[0] == b[0] {
			t.Errorf("%s: connections %v and %v, want one each", server, a, b)
		}
	}
}
