//go:build interop

package webhook_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"example.com/belfry/dispatch/webhook"
)

// OpenSSL, unlike nginx, can refuse a client certificate in the handshake: what
// a connection test makes of its alerts.
func TestInterop_openssl(t *testing.T) {
	t.Parallel()
	program := need(t, "openssl")
	dir := t.TempDir()
	servers, clients := newAuthority(t, nil, "servers"), newAuthority(t, nil, "clients")
	below := newAuthority(t, clients, "below clients")
	server := servers.server(t)
	writePEM(t, filepath.Join(dir, "server.pem"), server.Certificate, server.PrivateKey)
	writePEM(t, filepath.Join(dir, "clients.pem"), [][]byte{clients.cert.Raw}, nil)
	good, foreign := below.client(t, "acme"), newAuthority(t, nil, "others").client(t, "acme")
	usage := below.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "acme"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})

	for flag, version := range map[string]uint16{"-tls1_2": tls.VersionTLS12, "-tls1_3": tls.VersionTLS13} {
		address := "127.0.0.1:" + strconv.Itoa(freePorts(t, 1)[0])
		file := filepath.Join(dir, "server.pem")
		alive := start(t, program, "s_server", "-accept", address, flag, "-cert", file, "-key", file,
			"-CAfile", filepath.Join(dir, "clients.pem"), "-Verify", "3", "-verify_return_error", "-www")
		poll(alive, t, "s_server is ready", func() bool { return listens(t, address) })
		s := newSender(t, func(o *webhook.SenderOptions) { o.RootCAs = servers.pool() })
		none := "certificate"
		if version == tls.VersionTLS12 {
			none = "" // the alert of TLS 1.2 is the one for every failed handshake
		}
		for _, tt := range []struct {
			name   string
			cert   *tls.Certificate
			reason string // a part of it; "": success
			hint   string
		}{
			{"good", &good, "", ""},
			{"foreign", &foreign, "TLS: the receiver refused: unknown certificate authority", "trust the authority"},
			{"usage", &usage, "TLS: the receiver refused: ", "certificate"},
			{"none", nil, "TLS: the receiver refused: ", none},
		} {
			d := newDestination("https://" + address + "/in")
			d.Certificate, d.MaxTLS = tt.cert, version
			ct := s.TestConnection(t.Context(), d)
			t.Logf("%s %s: %+v", flag, tt.name, ct)
			if tt.reason == "" {
				if !ct.Success {
					t.Errorf("%s %s: %+v", flag, tt.name, ct)
				}
				continue
			}
			if ct.Success || len(ct.FailReasons) != 1 || !strings.HasPrefix(ct.FailReasons[0], tt.reason) || ct.Hint == "" || !strings.Contains(ct.Hint, tt.hint) {
				t.Errorf("%s %s: %+v, want %q and %q", flag, tt.name, ct, tt.reason, tt.hint)
			}
			if res := send(t, s, d, tt.name); res.Class != webhook.ClassTemporary || res.StatusCode != 0 {
				t.Errorf("%s %s: %+v", flag, tt.name, res)
			}
		}
	}
}
