package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strconv"
	"time"
)

// testRead is how long a connection test waits for the verdict on its
// certificate: in TLS 1.3 the handshake is over before the receiver has seen it.
const testRead = time.Second

// ConnectionTest is the outcome of TestConnection. FailReasons and Hint are in
// words for the owner of the webhook.
type ConnectionTest struct {
	Success     bool
	FailReasons []string
	Hint        string
}

func testFailed(reason, hint string) ConnectionTest {
	return ConnectionTest{FailReasons: []string{reason}, Hint: hint}
}

// The hints of a connection test.
const (
	hintGuard    = "Use a public address. The operator of this node can permit private networks and ports."
	hintURL      = "Correct the URL: absolute, http or https, without user name and fragment."
	hintScheme   = "Use an https URL: a client certificate is shown in the TLS handshake, which http does not have."
	hintName     = "Check the host name and its DNS records."
	hintRefused  = "Check that the webhook is running and listens on this port."
	hintTimeout  = "Check that firewalls let connections to this port pass, and that connectTimeout is long enough."
	hintNoAsk    = "Turn the verification of client certificates (mutual TLS) on at the webhook's server."
	hintNewCert  = "Upload a new certificate under another id and let the profile refer to it."
	hintUnknown  = "Have the webhook's server trust the authority that issued this client certificate, and upload the certificate with its intermediates."
	hintRejected = "Check which client certificates the webhook's server accepts; its log says why it refused this one."
	hintMissing  = "The server wants a client certificate that it can use: name one, and check its key type and usage."
	hintServer   = "Have the webhook's server send its whole chain, from an authority that this node trusts."
	hintHost     = "Use the host name that the certificate of the webhook's server was issued for."
	hintDates    = "Renew the certificate of the webhook's server."
	hintVersion  = "Enable TLS 1.2 or TLS 1.3 at the webhook's server, and in the profile what the server offers."
	hintNoTLS    = "Check the port: it does not speak TLS. For a plain connection use an http URL."
	hintClosed   = "Look into the log of the webhook's server: it closed the connection."
	hintOther    = "Look into the log of the webhook's server."
)

// TestConnection connects to d, shakes hands and says what is wrong. It sends
// no event and no credentials but the client certificate.
func (s *Sender) TestConnection(ctx context.Context, d *Destination) ConnectionTest {
	if s.life.Err() != nil {
		return testFailed(errClosed.text, "")
	}
	if d == nil {
		return testFailed("there is no destination", hintURL)
	}
	u, f := s.target(d.URL)
	if f != nil {
		return testFailed(f.text, f.hint)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout(d), errConnectTimeout)
	defer cancel()
	address := net.JoinHostPort(u.Hostname(), strconv.Itoa(int(portOf(u))))
	if u.Scheme == "http" {
		return s.testPlain(ctx, address, d.Certificate != nil)
	}
	if f := checkCertificate(d, u, time.Now()); f != nil {
		return testFailed(f.text, hintNewCert)
	}
	return s.testTLS(ctx, address, d)
}

func (s *Sender) testPlain(ctx context.Context, address string, certificate bool) ConnectionTest {
	c, err := s.dialer.connect(ctx, address)
	if err != nil {
		return testError(ctx, err)
	}
	_ = c.Close()
	if certificate {
		return testFailed("the URL begins with http://: a client certificate needs TLS", hintScheme)
	}
	return ConnectionTest{Success: true}
}

func (s *Sender) testTLS(ctx context.Context, address string, d *Destination) ConnectionTest {
	cfg := tlsConfig(s.opts.RootCAs, d.MinTLS, d.MaxTLS)
	cfg.ClientSessionCache = nil // a resumed session would not show the certificate
	asked := false
	var unfit error // a server may shake hands all the same and refuse the request
	cfg.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		if d.Certificate == nil {
			return &tls.Certificate{}, nil
		}
		unfit = info.SupportsCertificate(d.Certificate)
		return d.Certificate, nil
	}
	if d.MaxTLS != 0 && d.MaxTLS < cfg.MinVersion {
		return testFailed("no version of TLS is enabled", hintVersion)
	}
	c, err := s.dialer.connectTLS(ctx, address, cfg)
	if err == nil {
		defer func() { _ = c.Close() }()
		err = verdict(ctx, c)
	}
	switch {
	case err != nil && asked && d.Certificate == nil:
		t := testError(ctx, err)
		t.Hint = hintMissing
		return t
	case err != nil:
		return testError(ctx, err)
	case unfit != nil:
		return testFailed("the server asks for a client certificate of other authorities than the one that issued this, or with another kind of key", hintUnknown)
	}
	if d.Certificate != nil && !asked {
		return testFailed("the server did not ask for a client certificate", hintNoAsk)
	}
	return ConnectionTest{Success: true}
}

// verdict waits for what the receiver says to the handshake. Silence is
// consent: it waits for a request.
func verdict(ctx context.Context, c *tls.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.SetReadDeadline(time.Now().Add(testRead)); err != nil {
		return err
	}
	if _, err := c.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// testError finds the words for err. The dialer has described what came from
// it; what the verdict returned is raw.
func testError(ctx context.Context, err error) ConnectionTest {
	f := describe(ctx, err, waiting)
	return testFailed(f.text, f.hint)
}
