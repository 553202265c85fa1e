package api

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"example.com/belfry/fsm/model"
)

const (
	headerRequestID = "X-Request-Id"
	headerNode      = "Belfry-Node"
	headerStaleness = "Belfry-Staleness-Ms"
	maxRequestID    = 64
	maxLoggedPath   = 256
)

// notReached is what echo's router holds for every route: the chain below
// looks the row up itself, so that nothing travels in a context.
func notReached(echo.Context) error { return nil }

// ServeHTTP runs one request through the chain: request id, recover, access
// log, body limit, authentication, scope, rates, ids, linearize, handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	start := s.o.Now()
	r := &request{s: s, http: hr, w: &responseWriter{ResponseWriter: w, head: hr.Method == http.MethodHead}, id: requestID(hr)}
	r.caller.remote = remoteAddr(hr)
	h := w.Header()
	h.Set(headerRequestID, r.id)
	h.Set(headerNode, s.o.Cluster.NodeID())
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	defer s.finish(r, start)
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // a panic value that net/http compares the same way
				panic(p)
			}
			r.fail(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	if err := s.chain(r); err != nil {
		r.fail(err)
	}
}

func (s *Server) chain(r *request) error {
	if err := s.match(r); err != nil {
		return err
	}
	if err := r.limitBody(); err != nil {
		return err
	}
	var err error
	if r.query, err = url.ParseQuery(r.http.URL.RawQuery); err != nil {
		return model.Errorf(model.CodeInvalid, "the query string is not percent-encoded as it must be")
	}
	if r.route.scope != scopePublic {
		if err := s.identify(r); err != nil {
			return err
		}
		if err := s.limits.allow(r.caller, r.route.certificates); err != nil {
			return err
		}
	}
	if err := r.checkPathIDs(); err != nil {
		return err
	}
	if r.route.read {
		if err := s.linearize(r); err != nil {
			return err
		}
	}
	if err := r.checkMedia(); err != nil {
		return err
	}
	return r.route.handle(r)
}

// identify finds out who the caller is and whether the route is for them.
func (s *Server) identify(r *request) error {
	if err := s.authenticate(r); err != nil {
		return err
	}
	if r.route.scope != scopeCaller && !r.route.scope.Allows(r.caller.scopes) {
		return model.Errorf(model.CodeForbidden, "this needs the scope %s", r.route.scope)
	}
	return nil
}

// match finds the row of the table and decodes the path parameters.
func (s *Server) match(r *request) error {
	path := echo.GetPath(r.http)
	c := s.echo.AcquireContext()
	defer s.echo.ReleaseContext(c)
	c.Reset(r.http, r.w)
	s.echo.Router().Find(r.http.Method, path, c)
	row, ok := s.byPath[r.http.Method+" "+c.Path()]
	if !ok {
		if allow, has := c.Get(echo.ContextKeyHeaderAllow).(string); has && allow != "" {
			r.header().Set("Allow", allow)
			return model.Errorf(codeMethod, "%s does not work here; allowed: %s", safeMethod(r.http.Method), allow)
		}
		return model.Errorf(model.CodeNotFound, "there is nothing at this path")
	}
	r.route = row
	names, values := c.ParamNames(), c.ParamValues()
	r.params = make(map[string]string, len(names))
	for i, n := range names {
		v := values[i]
		if r.http.URL.RawPath != "" {
			var err error
			if v, err = url.PathUnescape(v); err != nil {
				return model.Invalid(n, "is not percent-encoded as it must be")
			}
		}
		r.params[n] = v
	}
	return nil
}

// checkPathIDs answers an id that nobody can have created, so that neither
// storage nor an error text sees what is in it.
//
// INV api-6: storage is never asked for an id that CheckID refuses.
func (r *request) checkPathIDs() error {
	if r.route.surface != surfaceContract {
		return nil // the own surfaces name no object in their errors
	}
	for name, v := range r.params {
		if name != "channel" && model.CheckID(v) != "" {
			return model.Errorf(model.CodeNotFound, "there is no object with this id")
		}
	}
	return nil
}

// commonMethods are those that answers, log and metrics name.
var commonMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

const otherMethod = "this method"

// safeMethod keeps an invented method out of our answers.
func safeMethod(m string) string {
	if slices.Contains(commonMethods, m) {
		return m
	}
	return otherMethod
}

// limitBody refuses a body that says it is too large before reading any of it
// and bounds all others.
func (r *request) limitBody() error {
	limit := r.route.maxBody
	if !hasBody(r.http.Method) {
		limit = r.s.o.Limits.ConfigBody
	}
	if r.http.ContentLength > limit {
		return r.tooLarge()
	}
	r.http.Body = http.MaxBytesReader(r.w.ResponseWriter, r.http.Body, limit)
	return nil
}

// checkMedia refuses bodies of another content type than the route takes.
func (r *request) checkMedia() error {
	if !hasBody(r.http.Method) || r.http.ContentLength == 0 || r.route.checksMedia || slices.Equal(r.route.media, anyMedia) {
		return nil
	}
	t, _, err := mime.ParseMediaType(r.http.Header.Get("Content-Type"))
	if err == nil && slices.Contains(r.route.media, t) {
		return nil
	}
	return r.badMedia()
}

func (r *request) badMedia() error {
	return model.Errorf(codeMediaType, "the Content-Type must be %s", strings.Join(r.route.media, " or "))
}

// linearize makes sure that a read sees every write acknowledged before it,
// unless the caller asked for what this node has.
func (s *Server) linearize(r *request) error {
	switch vs := r.query["consistency"]; {
	case len(vs) == 0, len(vs) == 1 && vs[0] == "linearizable":
		return r.catchUp()
	case len(vs) == 1 && vs[0] == "stale":
		r.showStaleness()
		return nil
	default:
		return model.Invalid("consistency", "must be linearizable or stale")
	}
}

// catchUp returns once local reads are current.
func (r *request) catchUp() error {
	ctx, cancel := context.WithTimeout(r.ctx(), r.s.o.Limits.LinearizeTimeout)
	defer cancel()
	return r.s.o.Cluster.Linearize(ctx)
}

// finish counts the request and writes the access log line: no query string,
// no header, no body. The line is not made when its level is off.
func (s *Server) finish(r *request, start time.Time) {
	took := s.o.Now().Sub(start)
	s.metrics.observe(r, took)
	log, on := s.log.Info, s.log.IsInfo
	if r.route != nil && (r.route.quiet || r.route.frequent && r.w.status < http.StatusBadRequest) {
		log, on = s.log.Debug, s.log.IsDebug
	}
	if !on() {
		return
	}
	path := r.http.URL.Path
	if len(path) > maxLoggedPath {
		path = path[:maxLoggedPath]
	}
	log("request", "method", safeMethod(r.http.Method), "path", path, "status", r.w.status, "durationMs", took.Milliseconds(),
		"bytes", r.w.bytes, "account", r.caller.account, "actor", r.caller.actor.Name, "remote", r.caller.remote, "requestId", r.id)
}

// requestID takes the caller's id when it is harmless and makes one otherwise.
func requestID(hr *http.Request) string {
	if id := hr.Header.Get(headerRequestID); len(id) <= maxRequestID && model.CheckID(id) == "" {
		return id
	}
	return uuid.NewString()
}

// remoteAddr is the peer's address. X-Forwarded-For is not believed: address
// rules of keys rest on it.
func remoteAddr(hr *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(hr.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
