package process

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// identity makes what nodes need to run without --dev: the master key, which
// is the same for all, and certificates that prove them to each other.
type identity struct {
	dir  string
	cert *x509.Certificate // of the authority
	key  *ecdsa.PrivateKey
}

// validFor is how long certificates are valid, before now too: a node's wall clock
// may be far from ours.
const validFor = 30 * 24 * time.Hour

// newIdentity makes the files that all nodes share in dir, which it makes.
func newIdentity(binary, dir string) (*identity, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make keys: %w", err)
	}
	x := &identity{dir: dir}
	if out, err := exec.Command(binary, "keys", "create", "--out", x.file("master.keys")).CombinedOutput(); err != nil { //nolint:gosec,noctx // the binary under test; it asks nobody
		return nil, fmt.Errorf("make a master key: %w\n%s", err, out)
	}
	if err := x.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}); err != nil {
		return nil, err
	}
	return x, nil
}

func (x *identity) file(name string) string { return filepath.Join(x.dir, name) }

// issue makes NAME.pem and NAME.key. The first certificate is the authority's,
// and signs all others.
func (x *identity) issue(name string, t *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("key of %s: %w", name, err)
	}
	t.Subject = pkix.Name{CommonName: "chaos " + name}
	t.NotBefore, t.NotAfter = time.Now().Add(-validFor), time.Now().Add(validFor)
	if t.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return fmt.Errorf("certificate of %s: %w", name, err)
	}
	parent, signer := x.cert, x.key
	if parent == nil {
		parent, signer = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", name, err)
	}
	if x.cert == nil {
		x.key = key
		if x.cert, err = x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("certificate of %s: %w", name, err)
		}
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("key of %s: %w", name, err)
	}
	return errors.Join(x.write(name+".pem", "CERTIFICATE", der), x.write(name+".key", "PRIVATE KEY", secret))
}

func (x *identity) write(name, kind string, der []byte) error {
	return os.WriteFile(x.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// node makes what proves a node at an address to the others.
func (x *identity) node(id string, at netip.Addr) error {
	return x.issue(id, &x509.Certificate{
		IPAddresses: []net.IP{at.AsSlice()}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

// flags are those of belfry serve for a node.
func (x *identity) flags(id string) []string {
	return []string{
		"--master-key-file", x.file("master.keys"), "--peer-tls-cert", x.file(id + ".pem"), "--peer-tls-key", x.file(id + ".key"), "--peer-tls-ca", x.file("ca.pem"),
	}
}
