package dispatch

import (
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// The labels of published events: what became of them.
const (
	outcomeAccepted  = "accepted"  // and owed to somebody
	outcomeUnmatched = "unmatched" // accepted, and owed to nobody
	outcomeDuplicate = "duplicate"
	outcomeConflict  = "conflict" // of requests in which an id is in conflict
	outcomeRefused   = "refused"  // of requests that were refused for another reason
	outcomeUnknown   = "unknown"
)

// publishMetrics are the publisher's figures. All label sets are closed.
type publishMetrics struct {
	events     *prometheus.CounterVec
	deliveries prometheus.Counter
	queued     prometheus.Gauge
	group      prometheus.Histogram
	seconds    prometheus.Histogram
}

func newPublishMetrics(reg prometheus.Registerer) *publishMetrics {
	m := &publishMetrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_publish_events_total", Help: "Events that were published, by what became of them.",
		}, []string{"outcome"}),
		deliveries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "belfry_publish_deliveries_total", Help: "Deliveries that accepted events came to.",
		}),
		queued: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "belfry_publish_queued_events", Help: "Events that are taken and not answered.",
		}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "belfry_publish_group_events", Help: "Events per entry of the log.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024},
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "belfry_publish_seconds", Help: "How long a request to publish took, from matching to the answer of the quorum.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
	}
	for _, o := range []string{
		outcomeAccepted, outcomeUnmatched, outcomeDuplicate, outcomeConflict, outcomeRefused, outcomeUnknown,
	} {
		m.events.WithLabelValues(o)
	}
	if reg != nil {
		reg.MustRegister(m.events, m.deliveries, m.queued, m.group, m.seconds)
	}
	return m
}

// count notes what became of a request of n events.
func (m *publishMetrics) count(n int, receipts []event.Receipt, deliveries int, err error) {
	switch model.CodeOf(err) { //nolint:exhaustive // everything else is an error
	case "":
		by := map[string]int{}
		for i := range receipts {
			by[outcomeOf(&receipts[i])]++
		}
		for o, k := range by {
			m.events.WithLabelValues(o).Add(float64(k))
		}
		m.deliveries.Add(float64(deliveries))
	case model.CodeConflict:
		m.events.WithLabelValues(outcomeConflict).Add(float64(n))
	case model.CodeUnknownOutcome:
		m.events.WithLabelValues(outcomeUnknown).Add(float64(n))
	default:
		m.events.WithLabelValues(outcomeRefused).Add(float64(n))
	}
}

func outcomeOf(r *event.Receipt) string {
	switch {
	case r.Status == event.Duplicate:
		return outcomeDuplicate
	case r.Deliveries == 0:
		return outcomeUnmatched
	}
	return outcomeAccepted
}
