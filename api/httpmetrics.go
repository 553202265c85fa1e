package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures of the HTTP layer. Labels are closed: the route as
// it stands in the table, the method, the class of the status. Every series
// exists from the start.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	// unrouted takes what no row of the table fits, by method.
	unrouted map[string]*routeMetrics
}

// routeMetrics are the series of one row of the table.
type routeMetrics struct {
	ok, refused, failed prometheus.Counter
	seconds             prometheus.Observer
}

// noRoute is the label of requests that no row fits.
const noRoute = "none"

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_http_requests_total", Help: "HTTP requests by route, method and class of status.",
		}, []string{"route", "method", "class"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "belfry_http_request_duration_seconds", Help: "Time to answer an HTTP request, by route.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}, []string{"route"}),
		unrouted: map[string]*routeMetrics{},
	}
	for _, method := range commonMethods {
		m.unrouted[method] = m.of(noRoute, method)
	}
	m.unrouted[otherMethod] = m.of(noRoute, "other")
	if reg != nil {
		reg.MustRegister(m.requests, m.duration)
	}
	return m
}

// of makes the series of a row.
func (m *metrics) of(route, method string) *routeMetrics {
	return &routeMetrics{
		ok: m.requests.WithLabelValues(route, method, "2xx"), refused: m.requests.WithLabelValues(route, method, "4xx"),
		failed: m.requests.WithLabelValues(route, method, "5xx"), seconds: m.duration.WithLabelValues(route),
	}
}

// observe counts a request. One that got no answer, because its handler gave
// up half-way, has failed.
func (m *metrics) observe(r *request, took time.Duration) {
	rm := m.unrouted[safeMethod(r.http.Method)]
	if r.route != nil {
		rm = r.route.metrics
	}
	switch r.w.status / 100 {
	case 2:
		rm.ok.Inc()
	case 4:
		rm.refused.Inc()
	default:
		rm.failed.Inc()
	}
	rm.seconds.Observe(took.Seconds())
}
