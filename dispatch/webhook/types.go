package webhook

import (
	"crypto/tls"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// Class is the verdict on one attempt. It travels as data; what to do about
// it is the policy's business (package dispatch).
type Class string

// The verdicts. The set is closed: it is a metric label.
const (
	ClassOK        Class = "ok"        // the receiver took it
	ClassTemporary Class = "temporary" // no answer, 5xx, 408, 429, regex mismatch, other non-2xx: try again
	ClassThrottled Class = "throttled" // 429 and 503 with Retry-After: try again later, the destination as a whole
	ClassGone      Class = "gone"      // 410: the receiver wants no more
	ClassAuth      Class = "auth"      // credentials missing, undecryptable, or a token could not be had: nothing was sent
	ClassBlocked   Class = "blocked"   // the guard refused the address: nothing was sent
)

// ErrorClass says at which step an attempt failed. It explains a Class and
// decides nothing.
type ErrorClass string

// The steps. The set is closed.
const (
	ErrorNone     ErrorClass = ""         // it did not fail
	ErrorDNS      ErrorClass = "dns"      // the name has no address, or the resolver no answer
	ErrorConnect  ErrorClass = "connect"  // no TCP connection: refused, unreachable, too slow
	ErrorTLS      ErrorClass = "tls"      // the handshake, the certificate of either side included
	ErrorTimeout  ErrorClass = "timeout"  // connected, but no answer, or one that came too slowly
	ErrorReset    ErrorClass = "reset"    // the receiver closed the connection before the answer was complete
	ErrorProtocol ErrorClass = "protocol" // what came is not an answer in HTTP, or its headers are too large
	ErrorStatus   ErrorClass = "status"   // the receiver answered with a status that is not success
	ErrorBody     ErrorClass = "body"     // the body does not match responseBodyRegex
	ErrorAuth     ErrorClass = "auth"     // credentials are missing or unusable, or a token could not be had
	ErrorBlocked  ErrorClass = "blocked"  // the guard refused the address
	ErrorConfig   ErrorClass = "config"   // what is configured cannot be sent or judged
	ErrorCut      ErrorClass = "cut"      // this node ended the attempt: it stops
)

// Destination is everything one attempt needs to know about where it goes,
// resolved from the current config. Secrets are in the clear: never log it,
// never keep it longer than the config index it was made at.
type Destination struct {
	Account   string
	ProfileID string
	// Version changes whenever anything here does; transports are cached by
	// what of it concerns TLS.
	Version uint64

	URL            string
	ContentType    string
	ConnectTimeout time.Duration
	ReadTimeout    time.Duration // longest pause between two reads
	MinTLS, MaxTLS uint16        // 0: TLS 1.2 / the library's newest
	Headers        map[string]string

	// ResponseRegex is searched in the decimal status code; empty: 2xx.
	// ResponseBodyRegex is searched in the first 64 KiB of the body. Both must
	// match when both are set.
	ResponseRegex     string
	ResponseBodyRegex string

	Auth        *Auth            // nil: none
	Certificate *tls.Certificate // nil: no client certificate
	// CertificateKey identifies Certificate for the transport cache.
	CertificateKey string
}

// Auth is a security setting with its secrets opened.
type Auth struct {
	Type model.CredentialsType

	Username string
	Password model.Secret

	SecretKey         model.Secret
	PreviousSecretKey model.Secret // used until PreviousUntil
	PreviousUntil     time.Time
	Algorithm         model.HMACAlgorithm
	HeaderName        string // empty: X-Ib-Hmac-Signature
	Encoding          string // "hex" (default) or "base64"

	TokenURL, GrantType, ClientID, Scope, Resource string
	ClientSecret, RefreshToken                     model.Secret

	// Headers holds OAUTH's extra token-request headers or CUSTOM's headers.
	Headers map[string]model.Secret
}

// Request is one attempt.
type Request struct {
	Destination *Destination
	WebhookID   string
	// Headers are set by the dispatcher (channel, event, format, attempt).
	// They cannot override authentication or webhook-* headers.
	Headers map[string]string
	Body    []byte
	// Permit is asked when there is a connection, right before the first bytes
	// of the request are written; false: nothing is written. nil: it may. It may
	// be called by another goroutine, and after Send has returned.
	Permit func() bool
}

// Result is what came of an attempt. Error never holds a secret, nor the
// address that a blocked name resolved to.
type Result struct {
	Class      Class
	ErrorClass ErrorClass // ErrorNone with ClassOK
	StatusCode int        // 0: no answer
	Error      string
	RetryAfter time.Duration // 0: none was given; capped by the sender
	Started    time.Time
	Duration   time.Duration
	// Timing is that of the request that decided; nil: nothing was sent.
	Timing *event.Timing
	// Body is the first KiB of the answer, its secrets masked.
	Body []byte
	// RequestHeaders and ResponseHeaders are what went out and what came back,
	// by name, without secrets and at most event.MaxHeaders and
	// event.MaxHeaderBytes each. HeadersCut: there was more.
	RequestHeaders, ResponseHeaders []event.HeaderField
	HeadersCut                      bool
}
