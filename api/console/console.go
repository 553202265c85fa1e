// Package console is the web interface of a node, at /console/: pages made on
// the server, some custom elements, no build step.
//
// It is a client of the public API like any other: a page calls the API in
// process, as the one who signed in, and has no way around its scopes, limits
// and audit. It keeps no state. See DESIGN.md for its decisions and for how to
// add a screen.
package console

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Prefix is where the console lives. Requests at it and below are for the
// Console, all others are not.
const Prefix = "/console"

// maxForm bounds the body of a form, in bytes: a certificate with its chain
// fits, twice.
const maxForm = 1 << 20

// Options of New. API must be set.
type Options struct {
	// API answers the public API of this node; requests are made to it directly.
	API     http.Handler
	Logger  hclog.Logger     // nil: none
	Now     func() time.Time // nil: time.Now
	Version string           // shown in the footer
}

// Console serves the pages. It is safe for concurrent use and has no
// goroutines of its own.
type Console struct {
	api     http.Handler
	log     hclog.Logger
	now     func() time.Time
	version string
	screens []screen
	pages   *templates
	assets  *assets
	mux     *http.ServeMux
	origin  *http.CrossOriginProtection
	probe   probe
}

// New makes a Console. It fails when a template or a screen is not complete.
func New(o Options) (*Console, error) {
	if o.API == nil {
		return nil, errors.New("console: Options needs API")
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Console{
		api: o.API, log: o.Logger.Named("console"), now: o.Now, version: o.Version, screens: screens(),
		mux: http.NewServeMux(), origin: http.NewCrossOriginProtection(),
	}
	var err error
	if c.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if c.pages, err = loadTemplates(); err != nil {
		return nil, err
	}
	return c, c.register()
}

// register gives the screens to the mux.
func (c *Console) register() error {
	seen := map[string]bool{}
	for i := range c.screens {
		s := &c.screens[i]
		switch {
		case !strings.HasPrefix(s.path, "/") || s.get == nil && s.post == nil:
			return fmt.Errorf("console: screen %q is not complete", s.path)
		case s.file != "" && c.pages.byFile[s.file] == nil:
			return fmt.Errorf("console: screen %s has no template %s", s.path, s.file)
		case seen[s.path]:
			return fmt.Errorf("console: screen %s is there twice", s.path)
		}
		seen[s.path] = true
		pattern := Prefix + s.path
		if strings.HasSuffix(pattern, "/") {
			pattern += "{$}"
		}
		if s.get != nil {
			c.mux.HandleFunc("GET "+pattern, c.handler(s, s.get))
		}
		if s.post != nil {
			c.mux.HandleFunc("POST "+pattern, c.handler(s, s.post))
		}
	}
	c.mux.Handle("GET "+Prefix, http.RedirectHandler(Prefix+"/", http.StatusSeeOther))
	c.mux.Handle("GET "+Prefix+"/static/", http.StripPrefix(Prefix+"/static/", c.assets))
	c.mux.HandleFunc(Prefix+"/", c.handler(&screen{path: "/", public: true}, notFound))
	return nil
}

// ServeHTTP answers every request at Prefix and below.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	// INV console-1: nothing inline runs, nothing comes from another host, and
	// no other page frames this one.
	h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
	// INV console-2: a change comes from a page of the console itself: the
	// browser says so, and the form has the token of the session (csrf.go).
	if err := c.origin.Check(r); err != nil {
		http.Error(w, "This form was sent by another site.", http.StatusForbidden)
		return
	}
	if r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	}
	c.mux.ServeHTTP(w, r)
}
