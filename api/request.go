package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"example.com/belfry/fsm/model"
)

// request is one request on its way through the chain. Handlers answer through
// it or return an error, never both.
type request struct {
	s      *Server
	http   *http.Request
	w      *responseWriter
	route  *route // nil: no route matched
	id     string
	params map[string]string
	query  url.Values
	caller caller
}

func (r *request) ctx() context.Context { return r.http.Context() }

// param is a path parameter, decoded.
func (r *request) param(name string) string { return r.params[name] }

func (r *request) header() http.Header { return r.w.Header() }

func (r *request) routePath() string {
	if r.route == nil {
		return noRoute
	}
	return r.route.path
}

// json answers with v.
func (r *request) json(status int, v any) error {
	r.writeJSON(status, typeJSON, v)
	return nil
}

// empty answers 204, without a body.
func (r *request) empty() error {
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

// write context for changes: bounded by Limits.WriteTimeout.
func (r *request) writeCtx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.ctx(), r.s.o.Limits.WriteTimeout)
}

// body reads the whole body, at most the route's limit.
//
// INV api-3: nothing beyond the limit is read.
func (r *request) body() ([]byte, error) {
	b, err := io.ReadAll(r.http.Body)
	if err == nil {
		return b, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, r.tooLarge()
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return nil, model.Errorf(model.CodeInvalid, "the body did not arrive in time")
	}
	return nil, model.Errorf(model.CodeInvalid, "the body could not be read to its end").WithCause(err)
}

func (r *request) tooLarge() error {
	return model.Errorf(model.CodeTooLarge, "the body is larger than the limit of %d bytes", r.route.maxBody)
}

// page reads the page and size parameters of a list.
func (r *request) page() (page, size int, err error) {
	var v model.Violations
	page = r.intParam("page", 0, 0, 1<<31-1, &v)
	size = r.intParam("size", model.DefaultPageSize, 1, model.MaxPageSize, &v)
	return page, size, v.Err()
}

func (r *request) intParam(name string, def, lo, hi int, v *model.Violations) int {
	vs, ok := r.query[name]
	if !ok {
		return def
	}
	if len(vs) > 1 {
		v.Add(name, "must be given once")
		return def
	}
	n, err := strconv.Atoi(vs[0])
	if err != nil || n < lo || n > hi {
		if hi == 1<<31-1 {
			v.Add(name, "must be a whole number of at least %d", lo)
		} else {
			v.Add(name, "must be a whole number between %d and %d", lo, hi)
		}
		return def
	}
	return n
}

// textParams reads a repeatable text parameter with a limit of length.
func (r *request) textParams(name string, maxLen int, v *model.Violations) []string {
	vs := r.query[name]
	if len(vs) > maxFilterValues {
		v.Add(name, "must not be repeated more than %d times", maxFilterValues)
		return nil
	}
	for _, s := range vs {
		if msg := model.CheckText(s, 1, maxLen); msg != "" {
			v.Add(name, "%s", msg)
			return nil
		}
	}
	return vs
}

// maxFilterValues bounds the repeats of one filter in one request.
const maxFilterValues = 255

// flagParam reads a boolean parameter: absent is false.
func (r *request) flagParam(name string) (bool, error) {
	vs := r.query[name]
	switch {
	case len(vs) == 0:
		return false, nil
	case len(vs) == 1 && slices.Contains([]string{"true", "false"}, vs[0]):
		return vs[0] == "true", nil
	default:
		return false, model.Invalid(name, "must be true or false")
	}
}

// responseWriter notes status and size for the access log.
type responseWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
	wrote  bool
	head   bool // bodies are dropped
}

func (w *responseWriter) WriteHeader(status int) {
	if w.wrote {
		return
	}
	w.wrote, w.status = true, status
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	if w.head {
		return len(b), nil
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

var _ interface{ Unwrap() http.ResponseWriter } = (*responseWriter)(nil)

// pageOf is the envelope of every list.
type pageOf[T any] struct {
	Results []T    `json:"results"`
	Paging  paging `json:"paging"`
}

type paging struct {
	Page         int `json:"page"`
	Size         int `json:"size"`
	TotalPages   int `json:"totalPages"`
	TotalResults int `json:"totalResults"`
}

// envelope turns a page of entities into a page of wire objects.
func envelope[T, W any](p model.Page[T], wire func(T) W) pageOf[W] {
	out := pageOf[W]{Results: make([]W, 0, len(p.Items)), Paging: paging{Page: p.Page, Size: p.Size, TotalResults: p.Total}}
	for _, it := range p.Items {
		out.Results = append(out.Results, wire(it))
	}
	if p.Size > 0 {
		out.Paging.TotalPages = (p.Total + p.Size - 1) / p.Size
	}
	return out
}
