package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/belfry/dispatch/dispatchtest"
	"example.com/belfry/fsm/model"
)

// mutual starts a receiver on a socket that judges client certificates.
func mutual(tb testing.TB, ca *dispatchtest.CA, version uint16, change func(*tls.Config)) *dispatchtest.Receiver {
	tb.Helper()
	cfg := &tls.Config{
		Certificates: []tls.Certificate{ca.Server(tb, "127.0.0.1")},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool, MinVersion: version, MaxVersion: version,
	}
	change(cfg)
	return dispatchtest.New(tb, dispatchtest.Options{TLS: cfg})
}

func TestTestConnection_certificates(t *testing.T) {
	t.Parallel()
	ca, other := dispatchtest.NewCA(t), dispatchtest.NewCA(t)
	good, foreign := ca.Client(t, "acme"), other.Client(t, "acme")
	wrongUsage := ca.Issue(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	expired := ca.Issue(t, &x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	noChange := func(*tls.Config) {}
	for _, tt := range []struct {
		name   string
		cert   *tls.Certificate
		change func(*tls.Config)
		reason string // part of it; "": success
		hint   string
	}{
		{"accepted", &good, noChange, "", ""},
		{"unknown authority", &foreign, noChange, "TLS: the receiver refused: unknown certificate authority", hintUnknown},
		{"usage", &wrongUsage, noChange, "TLS: the receiver refused: bad certificate", hintRejected},
		{"refused by a rule", &good, func(c *tls.Config) {
			c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not on the list") }
		}, "TLS: the receiver refused: bad certificate", hintRejected},
		{"none", nil, noChange, "TLS: the receiver refused: ", ""},
		{"not asked for", &good, func(c *tls.Config) { c.ClientAuth = tls.NoClientCert }, "the server did not ask for a client certificate", hintNoAsk},
		{"none, not asked for", nil, func(c *tls.Config) { c.ClientAuth = tls.NoClientCert }, "", ""},
		{"expired", &expired, noChange, "the client certificate has expired", hintNewCert},
	} {
		for version, name := range map[uint16]string{tls.VersionTLS12: "TLS 1.2", tls.VersionTLS13: "TLS 1.3"} {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				t.Parallel()
				r := mutual(t, ca, version, tt.change)
				s := newSender(t, r, local, trust(ca))
				d := destination(r)
				d.Certificate = tt.cert
				ct := s.TestConnection(t.Context(), d)
				if tt.reason == "" {
					if !ct.Success || len(ct.FailReasons) > 0 || ct.Hint != "" {
						t.Errorf("%+v", ct)
					}
				} else if ct.Success || len(ct.FailReasons) != 1 || !strings.HasPrefix(ct.FailReasons[0], tt.reason) || ct.Hint == "" || tt.hint != "" && ct.Hint != tt.hint {
					t.Errorf("%+v, want %q and %q", ct, tt.reason, tt.hint)
				}
				// No event was sent.
				if n := len(r.Arrivals()); n > 0 {
					t.Errorf("%d requests arrived", n)
				}
				// A delivery fares the same; its words may differ, since a
				// receiver that closes on an unread request can lose its alert.
				if tt.name == "not asked for" {
					return
				}
				if res := send(t, s, d); (res.Class == ClassOK) != (tt.reason == "") {
					t.Errorf("delivery: %+v", res)
				}
			})
		}
	}
}

// INV webhook-3: a certificate that cannot be used ends the attempt.
func TestCertificate_failsClosed(t *testing.T) {
	t.Parallel()
	ca := dispatchtest.NewCA(t)
	cert := ca.Client(t, "acme")
	leafless, expired := cert, ca.Issue(t, &x509.Certificate{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	expired.Leaf = nil
	leafless.Leaf = nil
	r := newMemory(t)
	s := newSender(t, r)
	for name, tt := range map[string]struct {
		change func(*Destination)
		want   string
	}{
		"key without certificate": {func(d *Destination) { d.Certificate, d.CertificateKey = nil, "acme/c/1" }, "the client certificate or its private key is missing"},
		"no private key":          {func(d *Destination) { d.Certificate = &tls.Certificate{Certificate: cert.Certificate} }, "the client certificate or its private key is missing"},
		"no chain":                {func(d *Destination) { d.Certificate = &tls.Certificate{PrivateKey: cert.PrivateKey} }, "the client certificate or its private key is missing"},
		"http":                    {func(d *Destination) { d.Certificate = &leafless; d.URL = r.URL }, "a client certificate can be used with https only"},
		"expired":                 {func(d *Destination) { d.Certificate = &expired }, "the client certificate has expired"},
	} {
		d := destination(r)
		d.URL = strings.Replace(r.URL, "http:", "https:", 1)
		tt.change(d)
		if res := send(t, s, d); res.Class != ClassAuth || res.Error != tt.want {
			t.Errorf("%s: %+v, want %q", name, res, tt.want)
		}
	}
	if n := len(r.Arrivals()); n > 0 {
		t.Errorf("%d requests arrived", n)
	}
}

func TestTestConnection_plain(t *testing.T) {
	t.Parallel()
	ca := dispatchtest.NewCA(t)
	cert := ca.Client(t, "acme")
	r := dispatchtest.New(t, dispatchtest.Options{})
	s := newSender(t, r, local)
	d := destination(r)
	if ct := s.TestConnection(t.Context(), d); !ct.Success {
		t.Errorf("%+v", ct)
	}
	d.Certificate = &cert
	if ct := s.TestConnection(t.Context(), d); ct.Success || ct.FailReasons[0] != "the URL begins with http://: a client certificate needs TLS" || ct.Hint != hintScheme {
		t.Errorf("%+v", ct)
	}
	d.URL = strings.Replace(d.URL, "http:", "https:", 1)
	if ct := s.TestConnection(t.Context(), d); ct.Success || ct.FailReasons[0] != "TLS: the receiver does not speak TLS on this port" || ct.Hint != hintNoTLS {
		t.Errorf("%+v", ct)
	}
	if ct := s.TestConnection(t.Context(), nil); ct.Success {
		t.Errorf("%+v", ct)
	}
	if n := len(r.Arrivals()); n > 0 {
		t.Errorf("%d requests arrived", n)
	}
}

// A test ends with connectTimeout, and with its caller.
func TestTestConnection_time(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newMemory(t)
		s := newSender(t, r, func(o *SenderOptions) { o.DialContext = deaf })
		d := &Destination{URL: "https://hooks.example/", ConnectTimeout: 2 * time.Second, Auth: &Auth{Type: model.CredentialsBasic}}
		started := time.Now()
		ct := s.TestConnection(t.Context(), d)
		if ct.Success || ct.FailReasons[0] != "timeout while connecting" || ct.Hint != hintTimeout || time.Since(started) != 2*time.Second {
			t.Errorf("%+v after %s", ct, time.Since(started))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		started = time.Now()
		if ct := s.TestConnection(ctx, d); ct.Success || time.Since(started) != time.Second {
			t.Errorf("%+v after %s", ct, time.Since(started))
		}
		d.MaxTLS = tls.VersionTLS11
		if ct := s.TestConnection(t.Context(), d); ct.Success || ct.Hint != hintVersion {
			t.Errorf("%+v", ct)
		}
	})
}

// What is no alert of the peer is none.
func TestRemoteAlert(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		nil, errors.New("x"), &net.OpError{Op: "remote error"}, &net.OpError{Op: "remote error", Err: errors.New("x")}, &net.OpError{Op: "read", Err: tls.AlertError(42)},
	} {
		if a, ok := remoteAlert(err); ok {
			t.Errorf("%v is alert %d", err, a)
		}
	}
	for a := range 256 {
		if alertHint(uint8(a)) == "" {
			t.Errorf("alert %d has no hint", a)
		}
	}
}
