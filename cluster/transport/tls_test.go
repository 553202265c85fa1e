package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/fsm/model"
)

// authority signs certificates of a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	der, key := a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.key = key
	a.write(t, "ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (a *authority) sign(t *testing.T, c *x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "test"}
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	if der, err = x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer); err != nil {
		t.Fatal(err)
	}
	return der, key
}

// tls makes a certificate of a node.
func (a *authority) tls(t *testing.T, name string, c x509.Certificate) *TLS {
	t.Helper()
	if c.ExtKeyUsage == nil {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	der, key := a.sign(t, &c)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &TLS{
		CertFile: a.write(t, name+".pem", "CERTIFICATE", der),
		KeyFile:  a.write(t, name+".key", "PRIVATE KEY", keyDER),
		CAFile:   filepath.Join(a.dir, "ca.pem"),
	}
}

var loopback = x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}

func with(c *TLS) func(*Options) { return func(o *Options) { o.TLS = c } }

// TestTLS: both ends of every connection, of calls and of raft, are verified.
func TestTLS(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	b := newBook()
	server := b.open(t, "server", with(ca.tls(t, "server", loopback)))
	server.Handle("echo", echo)
	named := ca.tls(t, "named", x509.Certificate{DNSNames: []string{"peer.belfry"}})
	byName := *ca.tls(t, "by-name", x509.Certificate{DNSNames: []string{"peer.belfry"}})
	byName.ServerName = "peer.belfry"
	namedServer := b.open(t, "named", with(named))
	namedServer.Handle("echo", echo)

	foreign := other.tls(t, "foreign", loopback)
	foreign.CAFile = filepath.Join(ca.dir, "ca.pem") // it trusts the server, but not the other way round
	suspicious := ca.tls(t, "suspicious", loopback)
	suspicious.CAFile = filepath.Join(other.dir, "ca.pem")
	expired := loopback
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	serverOnly := loopback
	serverOnly.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}

	for name, c := range map[string]struct {
		client *TLS
		peer   string
		ok     bool
	}{
		"same CA, right host":            {ca.tls(t, "client", loopback), "server", true},
		"same CA, name in common":        {&byName, "named", true},
		"name expected, host given":      {&byName, "server", false},
		"wrong host":                     {ca.tls(t, "client2", loopback), "named", false},
		"client of another CA":           {foreign, "server", false},
		"server of another CA":           {suspicious, "server", false},
		"plaintext to a TLS port":        {nil, "server", false},
		"certificate has expired":        {ca.tls(t, "expired", expired), "server", false},
		"certificate is no client's one": {ca.tls(t, "server-only", serverOnly), "server", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := b.open(t, "client "+name, with(c.client))
			reply, err := client.Query(t.Context(), c.peer, "echo", []byte("x"))
			if c.ok != (err == nil) {
				t.Errorf("call: %q, %v", reply, err)
			}
			if code := model.CodeOf(err); !c.ok && code != model.CodeUnavailable && code != model.CodeUnknownOutcome {
				t.Errorf("refused with %q", code)
			}
			addr, _ := b.resolve(c.peer)
			conn, err := streamOf(t, client).Dial(raft.ServerAddress(RaftAddress(c.peer+".0", addr)), 5*time.Second)
			if c.ok {
				if err != nil {
					t.Fatalf("raft: %v", err)
				}
				_ = conn.Close()
			} else if err == nil { // with TLS 1.3 a client learns of it when it reads
				_, _ = conn.Write([]byte("x"))
				ends(t, conn)
				_ = conn.Close()
			}
		})
	}
}

// TestTLS_serverRefuses: what a server refuses whatever the client would accept.
func TestTLS_serverRefuses(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	b := newBook()
	server := b.open(t, "server", with(ca.tls(t, "server", loopback)))
	server.Handle("echo", echo)
	files := ca.tls(t, "client", loopback)
	good, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	for name, c := range map[string]struct {
		certs []tls.Certificate
		max   uint16
		ok    bool
	}{
		"TLS 1.3":                     {[]tls.Certificate{good}, tls.VersionTLS13, true},
		"TLS 1.2":                     {[]tls.Certificate{good}, tls.VersionTLS12, false},
		"TLS 1.3 without certificate": {nil, tls.VersionTLS13, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, err := TCP{}.Dial(t.Context(), server.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			if err := raw.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			conn := tls.Client(raw, &tls.Config{Certificates: c.certs, RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12, MaxVersion: c.max})
			_, err = io.WriteString(conn, "\x02POST /call/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			reply, _ := io.ReadAll(conn)
			if c.ok && (err != nil || len(reply) == 0) || !c.ok && len(reply) > 0 {
				t.Errorf("got %q, %v", reply, err)
			}
		})
	}
}

// TestTLS_load: files that cannot be used are refused at start.
func TestTLS_load(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	good := ca.tls(t, "good", loopback)
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	another := ca.tls(t, "another", loopback)
	for name, c := range map[string]struct {
		change func(*TLS)
		ok     bool
	}{
		"good":               {func(*TLS) {}, true},
		"no certificate":     {func(c *TLS) { c.CertFile = "" }, false},
		"no key":             {func(c *TLS) { c.KeyFile = "" }, false},
		"no CA":              {func(c *TLS) { c.CAFile = "" }, false},
		"junk certificate":   {func(c *TLS) { c.CertFile = junk }, false},
		"key of another":     {func(c *TLS) { c.KeyFile = another.KeyFile }, false},
		"junk CA":            {func(c *TLS) { c.CAFile = junk }, false},
		"CA that is missing": {func(c *TLS) { c.CAFile = junk + "x" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := *good
			c.change(&o)
			if _, _, err := o.load(); (err == nil) != c.ok {
				t.Errorf("load: %v", err)
			}
		})
	}
}
