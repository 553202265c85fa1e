package api

import (
	"net/http"
	"strconv"
	"time"

	"example.com/belfry/fsm/model"
)

const drainPath = "/cluster/1/nodes/{nodeId}/drain"

func (s *Server) clusterRoutes() []route {
	const admin = model.ScopeAdminCluster
	return []route{
		{method: http.MethodGet, path: "/cluster/1/nodes", scope: admin, handle: s.listNodes},
		{method: http.MethodGet, path: "/cluster/1/partitions", scope: admin, handle: s.listPartitions},
		{method: http.MethodPost, path: "/cluster/1/leader/transfer", scope: admin, handle: s.transferLeader},
		{method: http.MethodDelete, path: "/cluster/1/nodes/{nodeId}", scope: admin, handle: s.removeNode},
		{method: http.MethodPost, path: drainPath, scope: admin, handle: func(r *request) error { return s.setDraining(r, true) }},
		{method: http.MethodDelete, path: drainPath, scope: admin, handle: func(r *request) error { return s.setDraining(r, false) }},
	}
}

// staleUnknown is what is said of the age of an answer when there is no bound.
// A word and not a number or nothing, which a client may take for no age at all.
const staleUnknown = "unknown"

// showStaleness says how old what follows may be at most, in whole
// milliseconds, rounded up. It must come before the local state is read.
func (r *request) showStaleness() {
	said := staleUnknown
	if age, known := r.s.o.Cluster.StateAge(); known {
		ms := age.Milliseconds()
		if age%time.Millisecond > 0 {
			ms++
		}
		said = strconv.FormatInt(ms, 10)
	}
	r.header().Set(headerStaleness, said)
}

// listNodes answers without a quorum too, like listPartitions.
func (s *Server) listNodes(r *request) error {
	r.showStaleness()
	return r.json(http.StatusOK, nodesOut{Nodes: listOf(s.o.Cluster.Nodes())})
}

func (s *Server) listPartitions(r *request) error {
	r.showStaleness()
	return r.json(http.StatusOK, partitionsOut{Partitions: listOf(s.o.Cluster.Partitions())})
}

// listOf never gives null.
func listOf[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}

// transferLeader moves leadership to a node of the cluster's choice. It
// answers when another node leads.
func (s *Server) transferLeader(r *request) error {
	if err := r.noBody(); err != nil {
		return err
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	if err := s.o.Cluster.TransferLeadership(ctx); err != nil {
		return err
	}
	return r.empty()
}

func (s *Server) removeNode(r *request) error {
	id := r.param("nodeId")
	if !s.knowsNode(id) {
		return errNoNode()
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	if err := s.o.Cluster.RemoveNode(ctx, id); err != nil {
		return err
	}
	return r.empty()
}

// setDraining answers when the node has noted it. Its partitions move after
// that.
func (s *Server) setDraining(r *request, on bool) error {
	if on {
		if err := r.noBody(); err != nil {
			return err
		}
	}
	id := r.param("nodeId")
	if !s.knowsNode(id) {
		return errNoNode()
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	if err := s.o.Cluster.SetDraining(ctx, id, on); err != nil {
		return err
	}
	return r.empty()
}
