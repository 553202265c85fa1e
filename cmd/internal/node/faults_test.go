package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/belfry/fsm/seal"
)

// crash takes a node away without a goodbye: its peer port and raft groups end
// first, so it can neither hand over nor settle. What is left is closed so
// that the process and its files are free; its errors are expected.
func (c *testCluster) crash(tn *testNode) {
	c.tb.Helper()
	tn.stopped = true
	_ = tn.cluster.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = tn.Stop(ctx)
}

// snapshot has every group take a snapshot now.
func (n *Node) snapshot() error {
	for _, g := range []string{groupConfig, groupEvents} {
		if err := n.cluster.Group(g).Snapshot(); err != nil {
			return err
		}
	}
	return nil
}

type peerTLSFiles struct{ masterKey, ca, cert, key string }

// peerFiles makes an authority, one certificate for 127.0.0.1 signed by it, and
// a master key ring.
func peerFiles(tb testing.TB) peerTLSFiles {
	tb.Helper()
	dir := tb.TempDir()
	f := peerTLSFiles{
		filepath.Join(dir, "master.keys"), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "peer.pem"), filepath.Join(dir, "peer.key"),
	}
	if _, err := seal.CreateRing(f.masterKey); err != nil {
		tb.Fatal(err)
	}
	make509 := func(serial int64, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "belfry test"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
			KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if parent == nil {
			tmpl.IsCA, tmpl.ExtKeyUsage, parent, signer = true, nil, tmpl, key
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
		if err != nil {
			tb.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			tb.Fatal(err)
		}
		return cert, key
	}
	ca, caKey := make509(1, nil, nil)
	leaf, key := make509(2, ca, caKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	for path, b := range map[string]*pem.Block{
		f.ca: {Type: "CERTIFICATE", Bytes: ca.Raw}, f.cert: {Type: "CERTIFICATE", Bytes: leaf.Raw}, f.key: {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return f
}
