package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/fsm/model"
)

// Defaults of SenderOptions.
const (
	DefaultUserAgent     = "belfry"
	DefaultMaxTransports = 1024
	DefaultMaxTokens     = 4096
	// DefaultMaxAttemptDuration is the sum of the longest connectTimeout and
	// the longest readTimeout of the contract. It ends what sends a byte now
	// and then for ever.
	DefaultMaxAttemptDuration = 2 * time.Minute
)

// SenderOptions of NewSender. Guard is required.
type SenderOptions struct {
	Guard *Guard

	// HMACHeader and HMACEncoding ("hex" or "base64") are for security
	// settings that do not name their own.
	HMACHeader, HMACEncoding string
	UserAgent                string
	RootCAs                  *x509.CertPool // nil: the system's

	MaxTransports      int           // TLS identities with open connections; 0: DefaultMaxTransports
	MaxTokens          int           // access tokens kept; 0: DefaultMaxTokens
	MaxAttemptDuration time.Duration // of one Send, all included; 0: DefaultMaxAttemptDuration

	// OnRefreshToken is called, on a goroutine of its own, when a token
	// endpoint has replaced the refresh token of a profile's setting. Close
	// waits for it. nil: the new one is kept in memory only.
	OnRefreshToken func(account, profileID string, token model.Secret)

	// LookupNetIP and DialContext replace the system's, in tests. DialContext
	// is given addresses that the guard has permitted.
	LookupNetIP func(ctx context.Context, network, host string) ([]netip.Addr, error)
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	Registerer prometheus.Registerer // nil: none
	Logger     hclog.Logger          // nil: none
}

func (o *SenderOptions) validate() error {
	if o.Guard == nil {
		return errors.New("webhook: SenderOptions.Guard is required")
	}
	if o.MaxTransports < 0 || o.MaxTokens < 0 || o.MaxAttemptDuration < 0 {
		return errors.New("webhook: SenderOptions must not be negative")
	}
	if o.HMACHeader == "" {
		o.HMACHeader = DefaultHMACHeader
	}
	if !validHeader(o.HMACHeader, "") || isReserved(http.CanonicalHeaderKey(o.HMACHeader)) {
		return errors.New("webhook: the header of the HMAC signature must be the name of a header that belfry does not set otherwise")
	}
	switch o.HMACEncoding {
	case "":
		o.HMACEncoding = DefaultHMACEncoding
	case encodingHex, encodingBase64:
	default:
		return errors.New("webhook: the encoding of the HMAC signature must be hex or base64")
	}
	if o.UserAgent == "" {
		o.UserAgent = DefaultUserAgent
	}
	if !validHeader("User-Agent", o.UserAgent) {
		return errors.New("webhook: the user agent cannot be sent in a header")
	}
	if o.MaxTransports == 0 {
		o.MaxTransports = DefaultMaxTransports
	}
	if o.MaxTokens == 0 {
		o.MaxTokens = DefaultMaxTokens
	}
	if o.MaxAttemptDuration == 0 {
		o.MaxAttemptDuration = DefaultMaxAttemptDuration
	}
	if o.LookupNetIP == nil {
		o.LookupNetIP = net.DefaultResolver.LookupNetIP
	}
	if o.DialContext == nil {
		o.DialContext = systemDial(o.Guard)
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return nil
}

// Sender makes attempts. It is safe for concurrent use.
type Sender struct {
	opts       SenderOptions
	hmacHeader string // canonical
	log        hclog.Logger
	metrics    *metrics
	dialer     *dialer
	transports *transports
	tokens     *tokens
	regexes    regexes

	// life ends with Close; token requests, which no single attempt owns, end
	// with it.
	life context.Context
	end  context.CancelFunc

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup // goroutines that Close waits for
}

// NewSender makes a Sender. It connects to nothing yet.
func NewSender(o SenderOptions) (*Sender, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Sender{opts: o, hmacHeader: http.CanonicalHeaderKey(o.HMACHeader), log: o.Logger, metrics: newMetrics(o.Registerer)}
	s.dialer = &dialer{guard: o.Guard, lookup: o.LookupNetIP, dial: o.DialContext, blocked: s.metrics.blocked}
	s.transports = newTransports(s.dialer, o.RootCAs, o.MaxTransports)
	s.life, s.end = context.WithCancel(context.Background())
	s.tokens = newTokens(s, o.MaxTokens)
	return s, nil
}

// Close ends token requests and closes the connections that are not in use.
// Attempts that are under way end by their own context; none begins any more.
func (s *Sender) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.work.Wait()
	s.transports.close()
	return nil
}

// spawn runs f unless the sender is closed; Close waits for it.
func (s *Sender) spawn(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.work.Go(f)
	}
}

// Send makes one attempt and says what came of it. It does not take longer
// than MaxAttemptDuration and never panics on what is configured. When ctx ends
// it the result is ClassTemporary, without a status.
func (s *Sender) Send(ctx context.Context, r *Request) Result {
	started := time.Now()
	res := s.send(ctx, r)
	res.Started, res.Duration = started, time.Since(started)
	return res
}

// plan is what a destination comes to before anything is sent.
type plan struct {
	url   *url.URL
	rules rules
	rt    *http.Transport
	gap   time.Duration
}

func (s *Sender) send(ctx context.Context, r *Request) Result {
	p, f := s.plan(r.Destination)
	if f != nil {
		return f.result()
	}
	// INV webhook-6: whatever the receiver does, the attempt ends, and has read
	// no more than the limits say.
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.MaxAttemptDuration, errTooLong)
	defer cancel()
	if r.Destination.Auth == nil || r.Destination.Auth.Type != model.CredentialsOAuth {
		return s.post(ctx, r, p, model.Secret{})
	}
	token, f := s.tokens.get(ctx, r.Destination)
	if f != nil {
		return f.result()
	}
	res := s.post(ctx, r, p, token.access)
	if res.StatusCode != http.StatusUnauthorized || res.Class == ClassOK {
		return res
	}
	// The token may have been revoked before its time: once more with another.
	s.tokens.drop(token)
	if token, f = s.tokens.get(ctx, r.Destination); f != nil {
		res.Error += "; " + f.text
		return res
	}
	return s.post(ctx, r, p, token.access)
}

// plan checks what must be right before credentials are fetched or sent.
func (s *Sender) plan(d *Destination) (plan, *failure) {
	if s.life.Err() != nil {
		return plan{}, errClosed
	}
	if d == nil {
		return plan{}, failed(ClassTemporary, "there is no destination")
	}
	u, f := s.target(d.URL)
	if f != nil {
		return plan{}, f
	}
	if f := checkCertificate(d, u, time.Now()); f != nil {
		return plan{}, f
	}
	re, f := s.regexes.rules(d)
	if f != nil {
		return plan{}, f
	}
	key := transportKey{certificateKey(d), d.MinTLS, d.MaxTLS, connectTimeout(d)}
	if d.MaxTLS != 0 && d.MaxTLS < max(d.MinTLS, tls.VersionTLS12) {
		return plan{}, failed(ClassTemporary, "no version of TLS is enabled; nothing was sent")
	}
	return plan{u, re, s.transports.get(key, d.Certificate), readTimeout(d)}, nil
}

// target is the URL to send to, if the guard lets it pass. Names are judged
// when they are dialled.
func (s *Sender) target(raw string) (*url.URL, *failure) {
	u, msg := s.opts.Guard.parse(raw)
	switch msg {
	case "":
		return u, nil
	case msgAddress, msgPort, msgIPv4:
		s.metrics.blocked.Inc()
		return nil, errBlocked
	}
	s.metrics.blocked.Inc()
	return nil, &failure{ClassBlocked, ErrorBlocked, "destination is not permitted: its URL " + msg, hintURL}
}

// checkCertificate refuses what would go out without the certificate that is
// configured.
func checkCertificate(d *Destination, u *url.URL, now time.Time) *failure {
	switch {
	case d.Certificate == nil && d.CertificateKey == "":
		return nil
	case d.Certificate == nil || len(d.Certificate.Certificate) == 0 || d.Certificate.PrivateKey == nil:
		return failed(ClassAuth, "the client certificate or its private key is missing")
	case u.Scheme != "https":
		return failed(ClassAuth, "a client certificate can be used with https only")
	}
	if leaf := leafOf(d.Certificate); leaf != nil && now.After(leaf.NotAfter) {
		return failed(ClassAuth, "the client certificate has expired")
	}
	return nil
}

func leafOf(c *tls.Certificate) *x509.Certificate {
	if c.Leaf != nil {
		return c.Leaf
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return nil // the handshake will say so
	}
	return leaf
}

func connectTimeout(d *Destination) time.Duration {
	if d.ConnectTimeout <= 0 {
		return model.DefaultConnectTimeoutMs * time.Millisecond
	}
	return d.ConnectTimeout
}

func readTimeout(d *Destination) time.Duration {
	if d.ReadTimeout <= 0 {
		return model.DefaultReadTimeoutMs * time.Millisecond
	}
	return d.ReadTimeout
}

// post signs, sends and judges.
func (s *Sender) post(ctx context.Context, r *Request, p plan, bearer model.Secret) Result {
	now := time.Now()
	h, f := s.header(r, now, bearer)
	if f != nil {
		return f.result()
	}
	a, f := s.exchange(ctx, p.rt, &outgoing{
		url: p.url, header: h, body: r.Body, gap: p.gap, limit: bodyLimit, decides: p.rules.body != nil, permit: r.Permit,
	})
	m := newMasker(secretsOf(r.Destination.Auth, bearer, h))
	var res Result
	if f != nil {
		res = f.result()
		res.Timing = a.timing
	} else {
		res = p.rules.judge(a, now)
		res.Body = m.body(a.body)
	}
	if res.Timing != nil { // else nothing was sent
		s.showHeaders(&res, r, h, a.header, m)
	}
	return res
}
