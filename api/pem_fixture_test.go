package api

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"sync"
	"time"
)

// fixture is a chain of three certificates, made once.
type fixture struct {
	key, interKey, rootKey *ecdsa.PrivateKey
	leaf, inter, root      []byte // DER
}

var fixtures = sync.OnceValue(func() fixture {
	var f fixture
	f.key, f.interKey, f.rootKey = ecKey(elliptic.P256()), ecKey(elliptic.P256()), ecKey(elliptic.P256())
	f.root = certificate(certTemplate("root", 1, true), nil, f.rootKey.Public(), f.rootKey)
	f.inter = certificate(certTemplate("inter", 2, true), f.root, f.interKey.Public(), f.rootKey)
	f.leaf = certificate(certTemplate("leaf", 3, false), f.inter, f.key.Public(), f.interKey)
	return f
})

func ecKey(c elliptic.Curve) *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(c, rand.Reader)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// certTemplate is valid through the time of the harness.
func certTemplate(name string, serial int64, ca bool) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name + ".acme.example", Organization: []string{"Acme, Ltd."}, Country: []string{"HR"}},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: fixtureEnd, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ca {
		t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	return t
}

// certificate signs a template; without a parent it signs itself.
func certificate(t *x509.Certificate, parent []byte, pub crypto.PublicKey, signer crypto.Signer) []byte {
	p := t
	if parent != nil {
		p = must(x509.ParseCertificate(parent))
	}
	return must(x509.CreateCertificate(rand.Reader, t, p, pub, signer))
}

func pemBlock(typ string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
}

func certPEM(der []byte) string { return pemBlock("CERTIFICATE", der) }

func keyPEM(key any) string { return pemBlock("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))) }

// testPEM is a file that is taken: key, leaf, intermediate, root.
func testPEM() string {
	f := fixtures()
	return keyPEM(f.key) + certPEM(f.leaf) + certPEM(f.inter) + certPEM(f.root)
}

func uploadBody(id, content, passphrase string) string {
	b64 := base64.StdEncoding.EncodeToString
	if passphrase == "" {
		return jsonf(`{"certificateId":%q,"certificateContent":%q}`, id, b64([]byte(content)))
	}
	return jsonf(`{"certificateId":%q,"certificateContent":%q,"passphrase":%q}`, id, b64([]byte(content)), b64([]byte(passphrase)))
}

// fakeTester is a ConnectionTester with a fixed outcome.
type fakeTester struct {
	result ConnectionTest
	err    error

	mu    sync.Mutex
	calls []string
}

func (f *fakeTester) TestConnection(_ context.Context, account, certificateID, url string) (ConnectionTest, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, account+" "+certificateID+" "+url)
	return f.result, f.err
}

// fixtureEnd is when the certificates of the fixture end.
var fixtureEnd = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
