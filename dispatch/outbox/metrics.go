package outbox

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	reg          prometheus.Registerer
	all          []prometheus.Collector
	flushSeconds prometheus.Histogram
	flushErrors  prometheus.Counter
	flushWrites  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Store) *metrics {
	gauge := func(name, help string, f func(Stats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "belfry_outbox_" + name, Help: help},
			func() float64 { return f(s.Stats()) })
	}
	m := &metrics{
		reg: reg,
		flushSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "belfry_outbox_flush_seconds", Help: "How long a flush of the outbox to disk took.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5},
		}),
		flushErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "belfry_outbox_flush_errors_total", Help: "Flushes that failed and are tried again.",
		}),
		flushWrites: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "belfry_outbox_flush_writes_total", Help: "Puts and deletes written by flushes.",
		}),
	}
	m.all = []prometheus.Collector{
		m.flushSeconds, m.flushErrors, m.flushWrites,
		gauge("pending", "Deliveries that are owed, in the whole event group.", func(t Stats) float64 { return float64(t.Pending) }),
		gauge("dead_letters", "Dead letters that are kept.", func(t Stats) float64 { return float64(t.DeadLetters) }),
		gauge("dead_letter_bytes", "Dead letters that are kept, in bytes as their retention counts them.", func(t Stats) float64 { return float64(t.DeadBytes) }),
		gauge("receipts", "Event ids that are remembered for idempotency.", func(t Stats) float64 { return float64(t.Receipts) }),
		gauge("memory_bytes", "Envelopes and payloads that are held in memory.", func(t Stats) float64 { return float64(t.MemoryBytes) }),
	}
	for why := range forgetReasons {
		m.all = append(m.all, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "belfry_outbox_dead_letters_forgotten_total",
			Help:        "Dead letters that were over the retention, by the bound they passed.",
			ConstLabels: prometheus.Labels{"reason": forgetNames[why]},
		}, func() float64 { return float64(s.forgotten(why)) }))
	}
	if reg != nil {
		reg.MustRegister(m.all...)
	}
	return m
}

func (m *metrics) unregister() {
	if m.reg == nil {
		return
	}
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}

func (s *Store) forgotten(why forgetReason) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.dead.forgot[why]
}
