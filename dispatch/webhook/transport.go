package webhook

import (
	"container/list"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxHeaderBytes bounds the status line and headers of an answer.
	maxHeaderBytes = 32 << 10
	// maxIdlePerHost and maxIdle bound the connections that a transport keeps
	// for later, idleTimeout how long.
	maxIdlePerHost = 64
	maxIdle        = 1024
	idleTimeout    = 90 * time.Second
	// sessionCacheSize is how many TLS sessions a transport can resume.
	sessionCacheSize = 256
	// pingAfter and pingTimeout find dead HTTP/2 connections.
	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second
)

// transportKey is what requests on one connection have in common.
//
// INV webhook-9: a connection is shared only by requests with the same TLS
// identity and the same range of versions.
type transportKey struct {
	certificate    string // empty: none
	minTLS, maxTLS uint16
	connect        time.Duration
}

// certificateKey never takes two certificates for one, also when nobody named
// them.
func certificateKey(d *Destination) string {
	switch {
	case d.Certificate == nil:
		return ""
	case d.CertificateKey != "":
		return "key:" + d.CertificateKey
	}
	sum := sha256.New()
	for _, der := range d.Certificate.Certificate {
		sum.Write(der)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

// transports keeps the transports that were used last.
type transports struct {
	dialer *dialer
	roots  *x509.CertPool
	max    int

	mu    sync.Mutex
	items map[transportKey]*list.Element // of *transportItem
	order *list.List                     // front: used last
}

type transportItem struct {
	key transportKey
	rt  *http.Transport
}

func newTransports(d *dialer, roots *x509.CertPool, most int) *transports {
	return &transports{dialer: d, roots: roots, max: most, items: map[transportKey]*list.Element{}, order: list.New()}
}

// get returns the transport of key. What it pushes out finishes its requests
// and closes its connections.
func (t *transports) get(key transportKey, cert *tls.Certificate) *http.Transport {
	t.mu.Lock()
	if e, ok := t.items[key]; ok {
		t.order.MoveToFront(e)
		t.mu.Unlock()
		return e.Value.(*transportItem).rt
	}
	it := &transportItem{key, t.make(key, cert)}
	t.items[key] = t.order.PushFront(it)
	var evicted *http.Transport
	if t.order.Len() > t.max {
		old := t.order.Remove(t.order.Back()).(*transportItem)
		delete(t.items, old.key)
		evicted = old.rt
	}
	t.mu.Unlock()
	if evicted != nil {
		evicted.CloseIdleConnections()
	}
	return it.rt
}

func (t *transports) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.items)
}

func (t *transports) close() {
	t.mu.Lock()
	var all []*http.Transport
	for e := t.order.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*transportItem).rt)
	}
	clear(t.items)
	t.order.Init()
	t.mu.Unlock()
	for _, rt := range all {
		rt.CloseIdleConnections()
	}
}

func (t *transports) make(key transportKey, cert *tls.Certificate) *http.Transport {
	cfg := tlsConfig(t.roots, key.minTLS, key.maxTLS)
	if cert != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	bounded := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeoutCause(ctx, key.connect, errConnectTimeout)
	}
	return &http.Transport{
		// INV webhook-5: no proxy of the environment; the guard would see the
		// proxy's address instead of the receiver's.
		Proxy: nil,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			ctx, cancel := bounded(ctx)
			defer cancel()
			c, err := t.dialer.connect(ctx, address)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
		// One deadline for the connection and the handshake, which net/http's
		// own handshake would not share.
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			ctx, cancel := bounded(ctx)
			defer cancel()
			c, err := t.dialer.connectTLS(ctx, address, cfg)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
		ForceAttemptHTTP2:      true, // a dial function of one's own turns it off
		DisableCompression:     true, // the body regex sees what was sent, and nothing grows
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}

// tlsConfig always verifies the receiver.
//
// The client certificate is not given as Certificates: crypto/tls would send
// none, silently, where the receiver's list of authorities does not name its
// issuer (INV webhook-3).
func tlsConfig(roots *x509.CertPool, minVersion, maxVersion uint16) *tls.Config {
	return &tls.Config{
		MinVersion:         max(minVersion, tls.VersionTLS12),
		MaxVersion:         maxVersion,
		RootCAs:            roots,
		NextProtos:         []string{"h2", "http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(sessionCacheSize),
	}
}
