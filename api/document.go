package api

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI returns the OpenAPI document of all surfaces, as YAML. The caller
// must not change it.
func OpenAPI() []byte { return openAPI }

func (s *Server) documentRoutes() []route {
	return []route{{
		method: http.MethodGet, path: "/openapi.yaml", scope: scopePublic, quiet: true,
		handle: func(r *request) error {
			r.header().Set("Cache-Control", "no-cache")
			r.write(http.StatusOK, "application/yaml", openAPI)
			return nil
		},
	}}
}
