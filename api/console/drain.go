package console

import (
	"fmt"
	"slices"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

// drain is the question of a node's drain.
func drain(v *visit) (confirmation, error) {
	nodes, i, err := v.nodeOfPath()
	if err != nil {
		return confirmation{}, err
	}
	n := nodes[i]
	k := confirmation{
		Question: "Drain the node " + n.NodeID + "?", Verb: "Drain the node", Cancel: at("/cluster"),
		Effects: []string{
			"It ends the requests that are in flight, then its partitions move to the other nodes: nothing is lost and nothing is sent twice, unless a request hangs.",
			"It stays a member and a voter, answers requests and may lead. Load balancers that ask /readyz send it nothing more.",
			"It stays drained when it starts again, until the drain is ended.",
		},
	}
	others := 0
	for _, o := range nodes {
		if o.NodeID != n.NodeID && o.Voter && o.Live && !o.Draining {
			others++
		}
	}
	switch {
	case v.outage != "":
		k.Refused = "This node has no quorum: " + v.outage + "."
	case n.Draining:
		k.Refused = "It is drained already, or about to stop."
	case !n.Live:
		k.Refused = "It does not answer. What it had to do goes to others by itself."
	case others == 0:
		k.Refused = "No other live node would be left that delivers."
	default:
		k.Effects = append(k.Effects, fmt.Sprintf("%s will be left to deliver.", plural(others, "node", "nodes")))
	}
	return k, nil
}

// undrain is the question of the end of a drain.
func undrain(v *visit) (confirmation, error) {
	nodes, i, err := v.nodeOfPath()
	if err != nil {
		return confirmation{}, err
	}
	k := confirmation{
		Question: "End the drain of the node " + nodes[i].NodeID + "?", Verb: "End the drain", Cancel: at("/cluster"),
		Effects: []string{"It is given its share of the partitions and delivers again.", "Its /readyz says yes again."},
	}
	switch {
	case v.outage != "":
		k.Refused = "This node has no quorum: " + v.outage + "."
	case !nodes[i].Live:
		k.Refused = "It does not answer."
	}
	return k, nil
}

// nodeOfPath reads the nodes and finds the one of the address.
func (v *visit) nodeOfPath() ([]client.Node, int, error) {
	id := v.param("node")
	nodes, err := v.api.Nodes(v.ctx())
	if err != nil {
		return nil, 0, err
	}
	i := slices.IndexFunc(nodes, func(n client.Node) bool { return n.NodeID == id })
	if i < 0 {
		return nil, 0, model.Errorf(model.CodeNotFound, "there is no node %s", id)
	}
	return nodes, i, nil
}

func askDrain(v *visit) (*answer, error) {
	k, err := drain(v)
	if err != nil {
		return nil, err
	}
	return v.confirm(k).under("Cluster", at("/cluster")), nil
}

func drainNode(v *visit) (*answer, error) {
	k, err := drain(v)
	if err != nil {
		return nil, err
	}
	if err := v.api.DrainNode(v.ctx(), v.param("node")); err != nil {
		return v.refused(k, err)
	}
	return v.done(at("/cluster"), "The node %s is drained; its partitions move within some seconds.", v.param("node")), nil
}

func askUndrain(v *visit) (*answer, error) {
	k, err := undrain(v)
	if err != nil {
		return nil, err
	}
	return v.confirm(k).under("Cluster", at("/cluster")), nil
}

func undrainNode(v *visit) (*answer, error) {
	k, err := undrain(v)
	if err != nil {
		return nil, err
	}
	if err := v.api.UndrainNode(v.ctx(), v.param("node")); err != nil {
		return v.refused(k, err)
	}
	return v.done(at("/cluster"), "The drain of the node %s was ended.", v.param("node")), nil
}
