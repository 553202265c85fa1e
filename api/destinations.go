package api

import (
	"context"
	"net/http"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const destinationsPath = "/events/1/destinations"

// Destinations says how the webhooks of profiles are, as the nodes know that
// deliver to them.
type Destinations interface {
	// Destinations asks all nodes, and names those that did not answer. A
	// profile of which nothing is known is missing. profileIDs are from 1 to
	// event.MaxDestinations.
	Destinations(ctx context.Context, account string, profileIDs []string) (event.DestinationStates, error)
}

func (s *Server) destinationRoutes() []route {
	return []route{{method: http.MethodGet, path: destinationsPath, scope: model.ScopeEventsRead, frequent: true, handle: s.listDestinations}}
}

func (s *Server) listDestinations(r *request) error {
	if s.o.Destinations == nil {
		return model.Errorf(model.CodeUnavailable, "this node does not watch destinations yet")
	}
	p := r.strictQuery()
	ids := p.ids("profileId", event.MaxDestinations)
	if err := p.err(); err != nil {
		return err
	}
	st, err := s.o.Destinations.Destinations(r.ctx(), r.caller.account, ids)
	if err != nil {
		return err
	}
	st.Destinations, st.Unreachable = listOf(st.Destinations), listOf(st.Unreachable)
	return r.json(http.StatusOK, st)
}

// ids gives a parameter that comes once for each of several ids, at least once.
func (p *queryReader) ids(name string, most int) []string {
	p.knows(name)
	ids := p.r.query[name]
	switch {
	case len(ids) == 0:
		p.v.Add(name, "is required")
	case len(ids) > most:
		p.v.Add(name, "must be given at most %d times", most)
		return nil
	}
	for _, id := range ids {
		if msg := model.CheckID(id); msg != "" {
			p.v.Add(name, "%s", msg)
			return nil
		}
	}
	return ids
}
