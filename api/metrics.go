package api

import (
	"net/http"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/belfry/fsm/model"
)

// maxScrapes is how many answers of GET /metrics are made at once.
const maxScrapes = 4

func (s *Server) metricsRoutes() []route {
	handle := func(*request) error {
		return model.Errorf(model.CodeUnavailable, "this node keeps no metrics")
	}
	if s.o.Gatherer != nil {
		h := promhttp.HandlerFor(s.o.Gatherer, promhttp.HandlerOpts{
			ErrorLog:          s.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn}),
			ErrorHandling:     promhttp.ContinueOnError,
			EnableOpenMetrics: true,
		})
		slots := make(chan struct{}, maxScrapes)
		handle = func(r *request) error {
			select {
			case slots <- struct{}{}:
			default:
				return model.Errorf(model.CodeUnavailable, "the metrics are being read %d times at once already", maxScrapes)
			}
			defer func() { <-slots }()
			h.ServeHTTP(r.w, r.http)
			return nil
		}
	}
	return []route{{method: http.MethodGet, path: "/metrics", scope: scopePublic, quiet: true, handle: handle}}
}
