package node

import (
	"cmp"
	"context"
	"slices"

	"example.com/belfry/api"
	"example.com/belfry/dispatch/event"
)

// methodDestinations asks a node what it knows of webhooks.
const methodDestinations = "events.destinations"

// destinations implements api.Destinations over all nodes: each knows those
// that it delivers to.
type destinations struct {
	local  func(ctx context.Context, account string, profileIDs []string) ([]event.DestinationState, error)
	caller caller
	// peers returns the ids of the other members.
	peers func() []string
	self  string
}

var _ api.Destinations = (*destinations)(nil)

type destinationsQuery struct {
	Account    string   `json:"account"`
	ProfileIDs []string `json:"profileIds"`
}

// Destinations gathers the states. This node counts as one that did not answer
// when its dispatcher has not in time.
func (d *destinations) Destinations(ctx context.Context, account string, profileIDs []string) (event.DestinationStates, error) {
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	var st event.DestinationStates
	q := destinationsQuery{account, profileIDs}
	st.Unreachable = gather(ctx, d.caller, d.peers(), methodDestinations, q, func(found []event.DestinationState) {
		st.Destinations = append(st.Destinations, found...)
	})
	own, err := d.local(ctx, account, profileIDs)
	if err != nil {
		st.Unreachable = append(st.Unreachable, d.self)
		slices.Sort(st.Unreachable)
	}
	st.Destinations = append(st.Destinations, own...)
	slices.SortFunc(st.Destinations, func(a, b event.DestinationState) int {
		return cmp.Or(cmp.Compare(a.ProfileID, b.ProfileID), cmp.Compare(a.NodeID, b.NodeID))
	})
	return st, nil
}

func (d *destinations) serveDestinations(ctx context.Context, q destinationsQuery) ([]event.DestinationState, error) {
	return d.local(ctx, q.Account, q.ProfileIDs)
}
