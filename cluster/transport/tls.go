package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS names the PEM files that prove this node to its peers and its peers to
// this node. Both sides of every connection are verified, with TLS 1.3 only.
type TLS struct {
	CertFile string
	KeyFile  string
	// CAFile holds the only authorities that peers may be signed by.
	CAFile string
	// ServerName, when set, is the name that every peer's certificate must
	// carry. Empty: the certificate must carry the host that was dialled.
	ServerName string
}

func (t *TLS) load() (server, client *tls.Config, err error) {
	if t.CertFile == "" || t.KeyFile == "" || t.CAFile == "" {
		return nil, nil, errors.New("peer TLS needs a certificate, a key and a CA file")
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("load peer certificate %s: %w", t.CertFile, err)
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, nil, fmt.Errorf("read peer CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("peer CA %s holds no certificate", t.CAFile)
	}
	server = &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
	client = &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: pool,
		ServerName: t.ServerName, MinVersion: tls.VersionTLS13,
	}
	return server, client, nil
}
