package partition

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the figures of the duty; they count on the leader only.
type Metrics struct {
	moves    prometheus.Counter
	failures prometheus.Counter
}

// NewMetrics makes the figures and registers them; reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		moves: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "belfry_partition_moves_total", Help: "Partitions that this node, as leader, gave to another owner.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "belfry_partition_failures_total", Help: "Proposals of a partition table that failed or had no known outcome.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.moves, m.failures)
	}
	return m
}
