//go:build interop

package webhook_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/belfry/dispatch/webhook"
)

const (
	// processLife is when a program ends although nobody told it to, because
	// the tests were killed.
	processLife = 3 * time.Minute
	// within is how long a program may take for what a test waits for.
	within    = 20 * time.Second
	pollEvery = 20 * time.Millisecond
)

// need returns what to start the program by. It installs it into .tools, or
// skips the test with what is missing.
func need(t *testing.T, program string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../../.ci/interop", program)
	out, err := cmd.Output()
	if err != nil {
		why := err.Error()
		if e, ok := errors.AsType[*exec.ExitError](err); ok && len(e.Stderr) > 0 {
			why = strings.TrimSpace(string(e.Stderr))
		}
		t.Skipf("no interop test with %s: %s", program, why)
	}
	return strings.TrimSpace(string(out))
}

// start runs a program until the test ends. The context ends with the program.
func start(t *testing.T, name string, args ...string) context.Context {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	alive, ended := context.WithCancel(ctx)
	limit := strconv.Itoa(int(processLife.Seconds()))
	cmd := exec.CommandContext(ctx, "timeout", append([]string{"--kill-after=5", limit, name}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // timeout passes it on
	cmd.WaitDelay = 10 * time.Second
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		stop()
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		defer ended()
		_ = cmd.Wait() // it was told to end
	})
	t.Cleanup(func() {
		stop()
		wait.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out.String())
		}
	})
	return alive
}

// output collects what a program says.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// poll waits until done, or until the program has ended.
func poll(ctx context.Context, t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// listens reports whether somebody accepts connections at the address.
func listens(t *testing.T, address string) bool {
	t.Helper()
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// freePorts returns ports of the loopback that nobody used just now.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func newSender(t *testing.T, change func(*webhook.SenderOptions)) *webhook.Sender {
	t.Helper()
	g, err := webhook.NewGuard(webhook.GuardOptions{AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	o := webhook.SenderOptions{Guard: g}
	if change != nil {
		change(&o)
	}
	s, err := webhook.NewSender(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newDestination(url string) *webhook.Destination {
	return &webhook.Destination{
		Account: "acme", ProfileID: "hook", Version: 1, URL: url, ContentType: "application/json",
		ConnectTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second,
	}
}

func send(t *testing.T, s *webhook.Sender, d *webhook.Destination, id string) webhook.Result {
	t.Helper()
	return s.Send(t.Context(), &webhook.Request{Destination: d, WebhookID: id, Body: []byte(`{"results":[{"messageId":"m-1"}]}`)})
}

func wantOK(t *testing.T, r webhook.Result) {
	t.Helper()
	if r.Class != webhook.ClassOK || r.StatusCode != http.StatusOK {
		t.Fatalf("class %q, status %d, error %q", r.Class, r.StatusCode, r.Error)
	}
}

// authority issues certificates. The chain of what it issues ends below the
// root.
type authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	chain [][]byte
}

// newAuthority makes a root, or an intermediate below parent.
func newAuthority(t *testing.T, parent *authority, name string) *authority {
	t.Helper()
	c := parent.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a := &authority{cert: c.Leaf, key: c.PrivateKey.(*ecdsa.PrivateKey)}
	if parent != nil {
		a.chain = c.Certificate
	}
	return a
}

func (a *authority) issue(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := template, key
	var chain [][]byte
	if a != nil {
		parent, signer, chain = a.cert, a.key, a.chain
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: append([][]byte{der}, chain...), PrivateKey: key, Leaf: leaf}
}

func (a *authority) client(t *testing.T, name string) tls.Certificate {
	t.Helper()
	return a.issue(t, &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (a *authority) server(t *testing.T) tls.Certificate {
	t.Helper()
	return a.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "webhook"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// writePEM writes a chain and, unless it is nil, its key into one file.
func writePEM(t *testing.T, path string, chain [][]byte, key any) {
	t.Helper()
	var b bytes.Buffer
	for _, der := range chain {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
