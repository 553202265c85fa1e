package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

// checkTimeout bounds the readiness checks of one request together.
const checkTimeout = 2 * time.Second

func (s *Server) healthRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/livez", scope: scopePublic, quiet: true, handle: s.livez},
		{method: http.MethodGet, path: "/readyz", scope: scopePublic, quiet: true, handle: s.readyz},
	}
}

// SetDraining makes GET /readyz fail, so that load balancers send no more
// requests, and ends the live tails, which would hold up the end of the node,
// while all other routes still answer. It is safe at any time.
func (s *Server) SetDraining(draining bool) {
	s.draining.Store(draining)
	s.tails.drain(draining)
}

// livez answers as long as the process can answer at all.
func (s *Server) livez(r *request) error {
	r.write(http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
	return nil
}

type (
	readyOut struct {
		Status string       `json:"status"` // ok or failed
		Checks []readyCheck `json:"checks"`
	}
	readyCheck struct {
		Name  string `json:"name"`
		OK    bool   `json:"ok"`
		Error string `json:"error,omitempty"`
	}
)

func (s *Server) readyz(r *request) error {
	out := s.ready(r.ctx())
	status := http.StatusOK
	if out.Status != "ok" {
		status = http.StatusServiceUnavailable
		r.header().Set("Retry-After", "1")
	}
	if strings.Contains(r.http.Header.Get("Accept"), typeJSON) {
		b, err := json.Marshal(out)
		if err != nil {
			return err
		}
		r.write(status, typeJSON, b)
		return nil
	}
	var text strings.Builder
	_, verbose := r.query["verbose"]
	for _, c := range out.Checks {
		switch {
		case c.OK && verbose:
			text.WriteString("[+]" + c.Name + " ok\n")
		case !c.OK:
			text.WriteString("[-]" + c.Name + " failed: " + c.Error + "\n")
		}
	}
	text.WriteString(out.Status + "\n")
	r.write(status, "text/plain; charset=utf-8", []byte(text.String()))
	return nil
}

var errDraining = errors.New("the node is being drained and will stop")

// ready runs every check at once, within checkTimeout together.
func (s *Server) ready(ctx context.Context) readyOut {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	drain := Check{Name: "draining", Run: func(context.Context) error {
		if s.draining.Load() {
			return errDraining
		}
		return nil
	}}
	checks := append([]Check{drain}, s.o.Ready...)
	out := readyOut{Status: "ok", Checks: make([]readyCheck, len(checks))}
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			out.Checks[i] = readyCheck{Name: c.Name, OK: true}
			if err := c.Run(ctx); err != nil {
				out.Checks[i] = readyCheck{Name: c.Name, Error: strings.ReplaceAll(err.Error(), "\n", " ")}
			}
		})
	}
	wg.Wait()
	for _, c := range out.Checks {
		if !c.OK {
			out.Status = "failed"
		}
	}
	return out
}
