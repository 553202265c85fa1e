package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"example.com/belfry/fsm/model"
)

// surface says which error model and which rules of decoding a route follows.
type surface int

const (
	// surfaceOwn: problem+json, unknown members refused.
	surfaceOwn surface = iota
	// surfaceContract: requestError, unknown members ignored.
	surfaceContract
)

// Scopes that no key carries.
const (
	scopePublic model.Scope = "-public" // credentials are not looked at
	scopeCaller model.Scope = "-caller" // any valid caller
)

// anyMedia as route.media leaves the content type to the handler.
var anyMedia = []string{"*/*"}

var jsonMedia = []string{"application/json"}

const (
	contractPrefix = "/subscriptions/1"
	contractAlias  = "/subscriptions/v1"
)

// route is one row of the table.
type route struct {
	method string
	path   string // OpenAPI form: /a/{id}
	scope  model.Scope
	// surface chooses the error model.
	surface surface
	// read: the state must be current before handle runs.
	read bool
	// maxBody in bytes; 0: Limits.ConfigBody.
	maxBody int64
	// media are the accepted content types of a body; nil: JSON.
	media []string
	// checksMedia: handle checks the content type itself.
	checksMedia bool
	// certificates: counts against the account's certificate rate.
	certificates bool
	// quiet: not in the access log above debug (probes, metrics).
	quiet bool
	// frequent: in the access log above debug only when it fails.
	frequent bool
	handle   func(*request) error
	metrics  *routeMetrics // set by register
}

// routes joins the tables of all surfaces.
func (s *Server) routes() []route {
	return slices.Concat(
		s.documentRoutes(),
		s.subscriptionRoutes(),
		s.profileRoutes(),
		s.securityRoutes(),
		s.certificateRoutes(),
		s.surfaceRoutes(),
	)
}

// register checks the rows and gives them to the router. Routes of the
// contract also answer under the alias prefix.
func (s *Server) register(table []route) error {
	s.table = table
	for i := range table {
		r := &table[i]
		switch {
		case r.scope == "": // INV api-1: no route without a scope.
			return fmt.Errorf("api: route %s %s declares no scope", r.method, r.path)
		case r.scope != scopePublic && r.scope != scopeCaller && !r.scope.Known():
			return fmt.Errorf("api: route %s %s has unknown scope %s", r.method, r.path, r.scope)
		case r.handle == nil || !strings.HasPrefix(r.path, "/"):
			return fmt.Errorf("api: route %s %s is not complete", r.method, r.path)
		case (r.surface == surfaceContract) != isContract(r.path):
			return fmt.Errorf("api: route %s %s is on the wrong surface", r.method, r.path)
		}
		def(&r.maxBody, s.o.Limits.ConfigBody)
		if r.media == nil {
			r.media = jsonMedia
		}
		r.metrics = s.metrics.of(r.path, r.method)
		paths := []string{r.path}
		if rest, ok := strings.CutPrefix(r.path, contractPrefix); ok && r.surface == surfaceContract {
			paths = append(paths, contractAlias+rest)
		}
		for _, p := range paths {
			ep := echoPath(p)
			key := r.method + " " + ep
			if _, dup := s.byPath[key]; dup {
				return fmt.Errorf("api: route %s %s is registered twice", r.method, p)
			}
			s.byPath[key] = r
			s.echo.Router().Add(r.method, ep, notReached)
			if r.method == http.MethodGet { // the same, but for the body
				s.byPath[http.MethodHead+" "+ep] = r
				s.echo.Router().Add(http.MethodHead, ep, notReached)
			}
		}
	}
	return nil
}

// isContract reports whether path belongs to the config API, whose errors have
// a model of their own.
func isContract(path string) bool {
	for _, p := range []string{contractPrefix, contractAlias} {
		if path == p || strings.HasPrefix(path, p+"/") {
			return true
		}
	}
	return false
}

// echoPath turns {name} into :name.
func echoPath(p string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(p)
}

// hasBody reports whether requests of this method carry a body.
func hasBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}
