package cluster

import (
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/fsm/model"
)

type nodeMetrics struct {
	reg       prometheus.Registerer // nil: none
	forwarded *prometheus.CounterVec
	commit    *prometheus.HistogramVec
	calls     *prometheus.CounterVec
	reports   *prometheus.CounterVec
}

type groupMetrics struct {
	forwarded prometheus.Counter
	commit    prometheus.Observer
}

func newMetrics(reg prometheus.Registerer, n *Node) *nodeMetrics {
	m := &nodeMetrics{
		reg: reg,
		forwarded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_raft_forwarded_total", Help: "Proposals sent on to the leader.",
		}, []string{"group"}),
		commit: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "belfry_raft_commit_seconds", Help: "From a proposal at the leader to its application there.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"group"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_peer_calls_total", Help: "Calls to other nodes by outcome; ok or an error code.",
		}, []string{"outcome"}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "belfry_cluster_reports_total", Help: "Reports to leaders: granted a lease, refused or lost.",
		}, []string{"outcome"}),
	}
	for _, outcome := range []string{"granted", "refused", "lost"} {
		m.reports.WithLabelValues(outcome) // there from the start, at 0
	}
	if reg == nil {
		return m
	}
	lease := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "belfry_cluster_lease_valid", Help: "1 while this node may start deliveries.",
	}, func() float64 {
		valid, _ := n.Lease()
		return float64bool(valid)
	})
	drained := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "belfry_cluster_drained", Help: "1 while an operator has drained this node.",
	}, func() float64 { return float64bool(n.Drained()) })
	reg.MustRegister(m.forwarded, m.commit, m.calls, m.reports, lease, drained)
	return m
}

func float64bool(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *nodeMetrics) group(name string) *groupMetrics {
	return &groupMetrics{m.forwarded.WithLabelValues(name), m.commit.WithLabelValues(name)}
}

func (m *nodeMetrics) call(code model.Code) {
	if code == "" {
		code = "ok"
	}
	m.calls.WithLabelValues(string(code)).Inc()
}

// watch shows the state of a group.
func (m *nodeMetrics) watch(g *Group) {
	if m.reg == nil {
		return
	}
	gauge := func(name, help string, f func() float64) {
		m.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: name, Help: help, ConstLabels: prometheus.Labels{"group": g.name},
		}, f))
	}
	gauge("belfry_raft_leader", "1 while this node leads the group.", func() float64 { return float64bool(g.raft.State() == raft.Leader) })
	gauge("belfry_raft_term", "Current term.", func() float64 { return float64(g.raft.CurrentTerm()) })
	gauge("belfry_raft_last_index", "Last index in the log of this node.", func() float64 { return float64(g.raft.LastIndex()) })
	gauge("belfry_raft_commit_index", "Commit index as this node knows it.", func() float64 { return float64(g.raft.CommitIndex()) })
	gauge("belfry_raft_applied_index", "Last index this node has applied.", func() float64 { return float64(g.raft.AppliedIndex()) })
}
