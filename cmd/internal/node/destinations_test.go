package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
)

// destinationsOf routes calls to the destinations of other nodes; a nil one
// does not answer.
type destinationsOf map[string]*destinations

func (p destinationsOf) Call(ctx context.Context, nodeID, method string, body []byte) ([]byte, error) {
	d := p[nodeID]
	if d == nil || method != methodDestinations {
		return nil, errors.New("connection refused")
	}
	return answers(d.serveDestinations)(ctx, "n1", body)
}

func TestDestinations_gather(t *testing.T) {
	t.Parallel()
	knows := func(node string, ids ...string) *destinations {
		return &destinations{self: node, local: func(_ context.Context, account string, asked []string) (out []event.DestinationState, err error) {
			if account != "a" || cmp.Diff([]string{"p", "q"}, asked) != "" {
				t.Errorf("%s was asked for %s %v", node, account, asked)
			}
			for _, id := range ids {
				out = append(out, event.DestinationState{ProfileID: id, NodeID: node})
			}
			return out, nil
		}}
	}
	d := knows("n1", "q")
	d.caller, d.peers = destinationsOf{"n2": knows("n2", "p"), "n3": knows("n3")}, func() []string { return []string{"n4", "n3", "n2"} }
	got, err := d.Destinations(t.Context(), "a", []string{"p", "q"})
	want := event.DestinationStates{Destinations: []event.DestinationState{{ProfileID: "p", NodeID: "n2"}, {ProfileID: "q", NodeID: "n1"}}, Unreachable: []string{"n4"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	d.local = func(context.Context, string, []string) ([]event.DestinationState, error) {
		return nil, errors.New("stopping")
	}
	got, err = d.Destinations(t.Context(), "a", []string{"p", "q"})
	want = event.DestinationStates{Destinations: want.Destinations[:1], Unreachable: []string{"n1", "n4"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestCluster_destinations: any node tells the breaker of a webhook that does
// not answer.
func TestCluster_destinations(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	c.waitBalanced(c.nodes[0], "n1", "n2", "n3")
	h := newHook(t)
	subscribe(c, c.nodes[0], "SMS", "dlr", h.URL, "DELIVERY")
	h.Close()
	for i, tn := range c.nodes {
		n := 0
		c.eventually("the breaker is open", func() bool {
			// More attempts: how many events share a request, and whether another
			// node knows the subscription already, is a matter of time.
			if n++; i == 0 {
				c.must(c.nodes[0], http.MethodPost, "/events/1/events", report(fmt.Sprint("e", n)))
			}
			var st event.DestinationStates
			if err := json.Unmarshal(c.must(tn, http.MethodGet, "/events/1/destinations?profileId=dlr-hook&profileId=none", nil).body, &st); err != nil {
				t.Fatal(err)
			}
			if len(st.Destinations) != 1 {
				return false
			}
			s := st.Destinations[0]
			return s.ProfileID == "dlr-hook" && s.Breaker != event.BreakerClosed && s.BreakerUntil != nil && time.Until(*s.BreakerUntil) < time.Minute && s.Unanswered >= 5 && s.WindowSize == 20
		})
	}
}
