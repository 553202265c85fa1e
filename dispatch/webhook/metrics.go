package webhook

import "github.com/prometheus/client_golang/prometheus"

// Outcomes of token requests; the set is closed.
const (
	tokenOK      = "ok"
	tokenRefused = "refused" // the endpoint answered something else than a token
	tokenFailed  = "failed"  // there was no answer
	tokenBlocked = "blocked" // the guard refused the address
)

// metrics are the figures of the package. All label sets are closed.
type metrics struct {
	connections   *prometheus.CounterVec
	tokenRequests *prometheus.CounterVec
	blocked       prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		connections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_webhook_connections_total",
			Help: "Connections that requests to webhooks and token endpoints were sent on, by whether they had been used before.",
		}, []string{"reused"}),
		tokenRequests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_webhook_token_requests_total", Help: "Requests for OAuth access tokens by outcome.",
		}, []string{"outcome"}),
		blocked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "belfry_webhook_blocked_total", Help: "Connections and URLs that the egress guard refused.",
		}),
	}
	for _, reused := range []string{"true", "false"} {
		m.connections.WithLabelValues(reused)
	}
	for _, o := range []string{tokenOK, tokenRefused, tokenFailed, tokenBlocked} {
		m.tokenRequests.WithLabelValues(o)
	}
	if reg != nil {
		reg.MustRegister(m.connections, m.tokenRequests, m.blocked)
	}
	return m
}

func (m *metrics) connection(reused bool) {
	label := "false"
	if reused {
		label = "true"
	}
	m.connections.WithLabelValues(label).Inc()
}
