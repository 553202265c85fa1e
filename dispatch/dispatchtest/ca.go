package dispatchtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"
)

// CA issues certificates for tests. They are valid for an hour around the
// clock of the test, virtual or not.
type CA struct {
	Pool *x509.CertPool // holds the authority itself

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	ca := &CA{Pool: x509.NewCertPool()}
	c := issue(tb, nil, &x509.Certificate{
		// A name of its own: lists of acceptable authorities go by it.
		Subject: pkix.Name{CommonName: "test authority " + rand.Text()}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	ca.cert, ca.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	ca.Pool.AddCert(ca.cert)
	return ca
}

// Server issues a certificate for host names and addresses.
func (ca *CA) Server(tb testing.TB, hosts ...string) tls.Certificate {
	tb.Helper()
	t := &x509.Certificate{
		Subject:  pkix.Name{CommonName: "webhook"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if a, err := netip.ParseAddr(h); err == nil {
			t.IPAddresses = append(t.IPAddresses, net.IP(a.AsSlice()))
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return issue(tb, ca, t)
}

// Client issues a client certificate.
func (ca *CA) Client(tb testing.TB, name string) tls.Certificate {
	tb.Helper()
	return issue(tb, ca, &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// Issue issues any certificate; the dates, the serial number and the key are
// filled in where they are missing. A nil authority makes it sign itself.
func (ca *CA) Issue(tb testing.TB, t *x509.Certificate) tls.Certificate {
	tb.Helper()
	return issue(tb, ca, t)
}

func issue(tb testing.TB, ca *CA, t *x509.Certificate) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if t.SerialNumber == nil {
		if t.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
			tb.Fatal(err)
		}
	}
	if t.NotAfter.IsZero() {
		t.NotBefore, t.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := t, key
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
