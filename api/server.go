// Package api is the HTTP side of a node: the route table, the middleware
// chain, caller authentication, the wire types and the OpenAPI document.
//
// It declares the interfaces that it needs (deps.go) and holds no state of its
// own beyond caches. See DESIGN.md for its decisions.
package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/dispatch/event"
)

// Limits bounds what one request and one caller can take. A zero member means
// its default.
type Limits struct {
	// ConfigBody is the size of a body on every surface that does not name
	// its own, in bytes. Default 256 KiB.
	ConfigBody int64
	// EventBody is the size of a body with events, in bytes. Default 4 MiB.
	EventBody int64
	// CertificateRequests is how many requests a minute an account may make
	// to the seven certificate operations. Default 100, as published.
	CertificateRequests int
	// KeyRequests is how many requests a second one caller may make to all
	// surfaces together. Default 2000.
	KeyRequests int
	// RateBuckets bounds the rate limiters kept in memory. Default 20,000.
	RateBuckets int
	// TestEvents is how many test events a minute an account may have sent to
	// its profiles. Default 60.
	TestEvents int
	// AccountTails and Tails are how many live tails may be open on this node
	// at a time, for one account and for all. Defaults 16, 256.
	AccountTails, Tails int
	// ExportRows is how many events, dead letters or records of the audit log
	// one export holds. Default 10,000.
	ExportRows int
	// Exports is how many exports may run on this node at a time. Default 4.
	Exports int
	// EventBytes is the size of one event, in bytes. Default 256 KiB.
	EventBytes int
	// BatchEvents is how many events one request may hold. Default and most
	// 1000.
	BatchEvents int
	// FailedLogins is how many wrong passwords for one name a remote network
	// may send in FailedLoginWindow; ten times as many for all names
	// together. Defaults 10, 5 min.
	FailedLogins      int
	FailedLoginWindow time.Duration
	// SessionLifetime and BearerLifetime are those of tokens. Default 1 h.
	SessionLifetime, BearerLifetime time.Duration
	// SessionLimit is how long after the sign-in the tokens of a session can be
	// renewed to last. Default 12 h.
	SessionLimit time.Duration
	// PasswordHashes is how many argon2id computations run at once. Default 2.
	PasswordHashes int
	// LinearizeTimeout is how long a read waits for a current state.
	// Default 5 s.
	LinearizeTimeout time.Duration
	// WriteTimeout is how long a change may take. Default 10 s.
	WriteTimeout time.Duration
	// BackupBytes is how large a backup may be, in bytes. Default 16 GiB.
	BackupBytes int64
	// HeaderTimeout, ReadTimeout, SendTimeout and IdleTimeout are those of
	// our own http.Server. Defaults 5 s, 30 s, 60 s, 120 s.
	HeaderTimeout, ReadTimeout, SendTimeout, IdleTimeout time.Duration
}

const (
	defaultConfigBody          = 256 << 10
	defaultEventBody           = 4 << 20
	defaultCertificateRequests = 100
	defaultKeyRequests         = 2000
	defaultTestEvents          = 60
	defaultAccountTails        = 16
	defaultTails               = 256
	defaultRateBuckets         = 20_000
	defaultPasswordHashes      = 2
	defaultFailedLogins        = 10
	// DefaultSessionLimit is about a working day.
	DefaultSessionLimit = 12 * time.Hour
	defaultBatchEvents  = event.MaxBatchEvents
	maxHeaderBytes      = 32 << 10
	minTokenKey         = 32
)

func (l *Limits) fill() {
	def(&l.ConfigBody, defaultConfigBody)
	def(&l.EventBody, defaultEventBody)
	def(&l.CertificateRequests, defaultCertificateRequests)
	def(&l.KeyRequests, defaultKeyRequests)
	def(&l.TestEvents, defaultTestEvents)
	def(&l.AccountTails, defaultAccountTails)
	def(&l.Tails, defaultTails)
	def(&l.ExportRows, DefaultExportRows)
	def(&l.Exports, DefaultExports)
	def(&l.RateBuckets, defaultRateBuckets)
	def(&l.PasswordHashes, defaultPasswordHashes)
	def(&l.EventBytes, event.DefaultMaxEventBytes)
	def(&l.BatchEvents, defaultBatchEvents)
	l.BatchEvents = min(l.BatchEvents, event.MaxBatchEvents)
	def(&l.BackupBytes, defaultBackupBytes)
	def(&l.FailedLogins, defaultFailedLogins)
	def(&l.FailedLoginWindow, 5*time.Minute)
	def(&l.SessionLifetime, time.Hour)
	def(&l.BearerLifetime, time.Hour)
	def(&l.SessionLimit, DefaultSessionLimit)
	def(&l.LinearizeTimeout, 5*time.Second)
	def(&l.WriteTimeout, 10*time.Second)
	def(&l.HeaderTimeout, 5*time.Second)
	def(&l.ReadTimeout, 30*time.Second)
	def(&l.SendTimeout, 60*time.Second)
	def(&l.IdleTimeout, 120*time.Second)
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Options says what a Server works with. Reader, Writer and Cluster must be
// set; TokenKey must have at least 32 bytes and be the same on every node.
type Options struct {
	Reader  ConfigReader
	Writer  ConfigWriter
	Opener  Opener // nil: ?reveal=true answers 503
	Cluster Cluster
	Events  Events  // nil: publishing and showing one event answer 503
	Archive Archive // nil: searches, dead letters and replays answer 503
	Watcher Watcher // nil: the tail, matches, test events and figures answer 503
	Fleet   Fleet   // nil: health and digests of all nodes answer 503
	// Destinations nil: the states of destinations answer 503.
	Destinations Destinations
	Backup       Backup           // nil: backups answer 503
	Tester       ConnectionTester // nil: the connection test answers 503
	URLs         URLPolicy        // nil: only the shape of a URL is checked
	Ready        []Check
	// Gatherer is what GET /metrics shows; Registerer takes the metrics of
	// this package. Both may be nil.
	Gatherer   prometheus.Gatherer
	Registerer prometheus.Registerer
	// TokenKey signs session and bearer tokens.
	TokenKey []byte
	Logger   hclog.Logger
	Now      func() time.Time // nil: time.Now
	Version  string
	Limits   Limits
}

func (o *Options) validate() error {
	if o.Reader == nil || o.Writer == nil || o.Cluster == nil {
		return errors.New("api: Options needs Reader, Writer and Cluster")
	}
	if len(o.TokenKey) < minTokenKey {
		return fmt.Errorf("api: Options.TokenKey has %d bytes, it needs at least %d", len(o.TokenKey), minTokenKey)
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	def(&o.Version, "dev")
	o.Limits.fill()
	return nil
}

// Server answers every HTTP surface of a node. It is an http.Handler and safe
// for concurrent use; it has no goroutines of its own but for one beside each
// live tail, which ends with the request.
type Server struct {
	o       Options
	log     hclog.Logger
	auth    *authenticator
	tokens  *tokenSigner
	limits  *rateLimits
	logins  *loginGuard
	metrics *metrics
	tails   *tails
	exports chan struct{}              // a place for each that runs
	docs    func() (*docsPages, error) // made at the first request
	echo    *echo.Echo
	table   []route
	byPath  map[string]*route // method + " " + echo path

	draining  atomic.Bool
	backingUp sync.Mutex // held while a backup is made
}

// New makes a Server. It fails when an option is missing or a route of the
// table is not complete.
func New(o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Server{o: o, log: o.Logger.Named("api"), echo: echo.New(), byPath: map[string]*route{}}
	s.tokens = newTokenSigner(o.TokenKey, o.Now)
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails
	auth, err := newAuthenticator(o, s.tokens, seed[:])
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	s.auth = auth
	s.limits = newRateLimits(o.Limits, o.Now)
	s.logins = newLoginGuard(o.Limits, o.Now)
	s.metrics = newMetrics(o.Registerer)
	s.tails = newTails(o.Limits)
	s.exports = make(chan struct{}, o.Limits.Exports)
	if err := s.register(s.routes()); err != nil {
		return nil, err
	}
	s.docs = sync.OnceValues(func() (*docsPages, error) { return newDocs(openAPI, s.table, o.Version) })
	return s, nil
}

// HTTPServer returns an http.Server for addr with the timeouts and limits that
// a public listener needs. The caller starts it and shuts it down.
func (s *Server) HTTPServer(addr string) *http.Server {
	l := s.o.Limits
	return &http.Server{
		Addr:              addr,
		Handler:           s,
		ReadHeaderTimeout: l.HeaderTimeout,
		ReadTimeout:       l.ReadTimeout,
		WriteTimeout:      l.SendTimeout,
		IdleTimeout:       l.IdleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          s.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		BaseContext:       func(net.Listener) context.Context { return context.Background() },
	}
}
