package dispatch

import (
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/webhook"
)

// Metrics are the dispatcher's figures. All label sets are closed.
type Metrics struct {
	attempts     *prometheus.CounterVec
	seconds      prometheus.Histogram
	deliveries   *prometheus.CounterVec
	inFlight     prometheus.Gauge
	unsettled    prometheus.Gauge
	lanes        prometheus.Gauge
	partitions   prometheus.Gauge
	breakers     prometheus.Gauge
	settleBatch  prometheus.Histogram
	settleErrors prometheus.Counter
	fenced       prometheus.Counter
}

var classes = []webhook.Class{
	webhook.ClassOK, webhook.ClassTemporary, webhook.ClassThrottled, webhook.ClassGone, webhook.ClassAuth, webhook.ClassBlocked,
}

// NewMetrics makes the dispatcher's figures and registers them; reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "belfry_dispatch_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "belfry_dispatch_" + name, Help: help})
	}
	m := &Metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_dispatch_attempts_total", Help: "Requests to webhooks by outcome.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "belfry_dispatch_attempt_seconds", Help: "How long a request to a webhook took.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_dispatch_deliveries_total", Help: "Outcomes of deliveries by the status they led to.",
		}, []string{"status"}),
		inFlight:   gauge("in_flight", "Requests to webhooks that are on their way."),
		unsettled:  gauge("unsettled", "Deliveries whose outcome is known and not committed yet, or that are in flight."),
		lanes:      gauge("lanes", "Destinations this node is working on."),
		partitions: gauge("partitions", "Partitions this node has claimed."),
		breakers:   gauge("breakers_open", "Destinations whose breaker is open: they get one probe at a time."),
		settleBatch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "belfry_dispatch_settle_batch_size", Help: "Settlements per command.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512},
		}),
		settleErrors: counter("settle_errors_total", "Proposals of settlements that failed and were repeated."),
		fenced:       counter("settlements_fenced_total", "Settlements that were refused because the partition has a new owner."),
	}
	for _, c := range classes {
		m.attempts.WithLabelValues(string(c))
	}
	for _, s := range []event.Status{event.StatusRetrying, event.StatusDelivered, event.StatusDead, event.StatusDropped} {
		m.deliveries.WithLabelValues(string(s))
	}
	if reg != nil {
		reg.MustRegister(m.attempts, m.seconds, m.deliveries, m.inFlight, m.unsettled, m.lanes, m.partitions, m.breakers,
			m.settleBatch, m.settleErrors, m.fenced)
	}
	return m
}
