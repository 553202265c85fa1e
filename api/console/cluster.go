package console

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func clusterScreens() []screen {
	const admin = model.ScopeAdminCluster
	return append(backupScreens(), []screen{
		{
			path: "/cluster", file: "cluster.html", title: "Cluster", scope: admin, get: showCluster,
			nav: &navItem{group: navCluster, label: "Nodes", icon: "nodes", key: 'n', order: 1},
		},
		{path: "/cluster/transfer", file: "confirm.html", title: "Transfer the leadership", scope: admin, get: askTransfer, post: transferLeadership},
		{path: "/cluster/nodes/{node}/drain", file: "confirm.html", title: "Drain a node", scope: admin, get: askDrain, post: drainNode},
		{path: "/cluster/nodes/{node}/undrain", file: "confirm.html", title: "End the drain of a node", scope: admin, get: askUndrain, post: undrainNode},
		{path: "/cluster/digests", file: "digests.html", title: "Compare the states", scope: admin, get: showDigests},
		{path: "/cluster/nodes/{node}/remove", file: "confirm.html", title: "Remove a node", scope: admin, get: askRemoveNode, post: removeNode},
	}...)
}

const roleLeader = "LEADER"

// clusterView is the cluster as the node of this console knows it.
type clusterView struct {
	Nodes []clusterNode
	Tiles []tile
	// Slots are the partitions in the order of their numbers; Cells place them in
	// the picture.
	Slots  []client.Partition
	Cells  []cell
	Height int
	Owners []owner
	// Summary says in words what the picture shows.
	Summary string
	// Orphans counts partitions whose owner is not reachable.
	Orphans int
	health  clusterHealth

	// Health and Groups are what the nodes say of themselves; Unreachable names
	// those that did not, and Missing is why nobody did.
	Health      []nodeHealth
	Groups      []groupHealth
	Unreachable []string
	Missing     string
}

// clusterNode is one row of the table.
type clusterNode struct {
	client.Node
	// Behind is how many entries it has applied less than the node that is ahead.
	Behind uint64
	// Owns counts its partitions.
	Owns int
	Mark int // of the picture; 0: none
}

// cell is one partition of the picture.
type cell struct {
	X, Y, Mark int
	Letter     string
	Title      string
	Lost       bool
}

// owner is one line of the legend.
type owner struct {
	Name, Letter string
	Mark, Count  int
	Lost         bool
}

// The picture: so many cells in a row, each so wide and high, in units of its
// own. There are clusterMarks colours; further owners share them and differ by
// their letter.
const (
	cellsInRow   = 16
	cellWidth    = 40
	cellHeight   = 32
	clusterMarks = 8
)

func showCluster(v *visit) (*answer, error) {
	nodes, err := v.api.Nodes(v.ctx())
	if err != nil {
		return nil, err
	}
	slots, err := v.api.Partitions(v.ctx())
	if err != nil {
		return nil, err
	}
	view := newClusterView(nodes, slots)
	view.addHealth(v)
	return v.show(view), nil
}

func newClusterView(nodes []client.Node, slots []client.Partition) clusterView {
	c := clusterView{Slots: slots, health: healthOf(nodes)}
	count, live := map[string]int{}, map[string]bool{}
	for _, s := range slots {
		count[s.Owner]++
	}
	for _, n := range nodes {
		live[n.NodeID] = n.Live
	}
	c.addOwners(nodes, count, live)
	marks := map[string]owner{}
	for _, o := range c.Owners {
		marks[o.Name] = o
		if o.Lost {
			c.Orphans += o.Count
		}
	}
	for _, n := range nodes {
		c.Nodes = append(c.Nodes, clusterNode{Node: n, Behind: c.health.ahead - min(n.AppliedIndex, c.health.ahead), Owns: count[n.NodeID], Mark: marks[n.NodeID].Mark})
	}
	for i, s := range slots {
		o := marks[s.Owner]
		c.Cells = append(c.Cells, cell{
			X: i % cellsInRow * cellWidth, Y: i / cellsInRow * cellHeight, Mark: o.Mark, Letter: o.Letter, Lost: o.Lost,
			Title: fmt.Sprintf("Partition %d: %s, epoch %d", s.Partition, ownerName(s.Owner), s.Epoch),
		})
	}
	c.Height = (len(slots) + cellsInRow - 1) / cellsInRow * cellHeight
	c.Tiles = c.tiles()
	return c
}

// addOwners lists who owns partitions: the nodes in their order, then owners
// that are no members any more, then nobody.
func (c *clusterView) addOwners(nodes []client.Node, count map[string]int, live map[string]bool) {
	var names []string
	for _, n := range nodes {
		names = append(names, n.NodeID)
	}
	var others []string
	for name := range count {
		if !slices.Contains(names, name) {
			others = append(others, name)
		}
	}
	slices.SortFunc(others, func(a, b string) int { return cmp.Or(len(b)-len(a), cmp.Compare(a, b)) })
	total := 0
	for i, name := range append(names, others...) {
		if count[name] == 0 {
			continue
		}
		o := owner{Name: name, Letter: letter(i), Mark: i%clusterMarks + 1, Count: count[name], Lost: !live[name]}
		c.Owners = append(c.Owners, o)
		total += o.Count
	}
	c.Summary = plural(total, "partition", "partitions")
	for i, o := range c.Owners {
		c.Summary += map[bool]string{true: ": ", false: ", "}[i == 0] + fmt.Sprintf("%s (%s) owns %d", ownerName(o.Name), o.Letter, o.Count)
	}
}

// letter names the owners of the picture A to Z, then 27 and on.
func letter(i int) string {
	if i < 26 {
		return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[i : i+1]
	}
	return strconv.Itoa(i + 1)
}

func ownerName(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}

// clusterHealth are the figures of the nodes.
type clusterHealth struct {
	leader       string
	voters, live int
	ahead, lag   uint64 // lag of the live node that is furthest behind
}

func healthOf(nodes []client.Node) clusterHealth {
	var h clusterHealth
	for _, n := range nodes {
		h.ahead = max(h.ahead, n.AppliedIndex)
		if n.Role == roleLeader {
			h.leader = n.NodeID
		}
		if n.Voter {
			h.voters++
			if n.Live {
				h.live++
			}
		}
	}
	for _, n := range nodes {
		if n.Live {
			h.lag = max(h.lag, h.ahead-n.AppliedIndex)
		}
	}
	return h
}

func (h clusterHealth) quorum() int { return h.voters/2 + 1 }

func (c *clusterView) tiles() []tile {
	h := c.health
	leader := tile{Label: "Leader", Value: h.leader, Note: "orders every change", Tone: "ok"}
	if h.leader == "" {
		leader = tile{Label: "Leader", Value: "none", Note: "no change can be made", Tone: "bad"}
	}
	voters := tile{Label: "Voters live", Value: fmt.Sprintf("%d of %d", h.live, h.voters), Tone: "ok"}
	switch spare := h.live - h.quorum(); {
	case spare < 0:
		voters.Tone, voters.Note = "bad", fmt.Sprintf("%d are needed", h.quorum())
	case spare == 0 && h.voters > 1:
		voters.Tone, voters.Note = "warn", "none may fail now"
	case spare == 0:
		voters.Note = "one node has no spare"
	default:
		voters.Note = plural(spare, "more may fail", "more may fail")
	}
	lag := tile{Label: "Furthest behind", Value: plural(h.lag, "entry", "entries"), Note: "of the nodes that are live"}
	parts := tile{Label: "Partitions", Value: number(len(c.Slots)), Note: "all have a live owner"}
	if c.Orphans > 0 {
		parts.Note, parts.Tone = fmt.Sprintf("%d wait for an owner", c.Orphans), "warn"
	}
	return []tile{leader, voters, lag, parts}
}

// transfer is the question of a change of leader.
func transfer(v *visit) (confirmation, error) {
	nodes, err := v.api.Nodes(v.ctx())
	if err != nil {
		return confirmation{}, err
	}
	h := healthOf(nodes)
	k := confirmation{
		Question: "Transfer the leadership?", Verb: "Transfer the leadership", Cancel: at("/cluster"),
		Effects: []string{"The cluster chooses the node that is most up to date.", "Changes wait for a moment; nothing that was acknowledged is lost.", "Deliveries go on meanwhile."},
	}
	switch {
	case v.outage != "":
		k.Refused = "This node has no quorum: " + v.outage + "."
	case h.live < 2:
		k.Refused = "There is no other live voter that could lead."
	case h.leader != "":
		k.Effects = slices.Insert(k.Effects, 0, "Now "+h.leader+" leads.")
	}
	return k, nil
}

func askTransfer(v *visit) (*answer, error) {
	k, err := transfer(v)
	if err != nil {
		return nil, err
	}
	return v.confirm(k).under("Cluster", at("/cluster")), nil
}

func transferLeadership(v *visit) (*answer, error) {
	k, err := transfer(v)
	if err != nil {
		return nil, err
	}
	if err := v.api.TransferLeadership(v.ctx()); err != nil {
		return v.refused(k, err)
	}
	return v.done(at("/cluster"), "The leadership was transferred."), nil
}

// removal is the question of a node's removal.
func removal(v *visit) (confirmation, error) {
	id := v.param("node")
	nodes, i, err := v.nodeOfPath()
	if err != nil {
		return confirmation{}, err
	}
	n, h := nodes[i], healthOf(nodes)
	k := confirmation{Question: "Remove the node " + id + "?", Name: id, Verb: "Remove the node", Cancel: at("/cluster")}
	k.Effects = []string{"Its partitions go to other nodes.", "It cannot come back with its old data: a new node joins in its place."}
	if n.Voter {
		left := h.voters - 1
		k.Effects = append(k.Effects, fmt.Sprintf("%s will be left, of which %d must be live.", plural(left, "voter", "voters"), left/2+1))
	}
	if n.Live {
		k.Effects = append(k.Effects, "It is live now. This is for a node that is gone for good: stop it first.")
	}
	switch {
	case v.outage != "":
		k.Refused = "This node has no quorum: " + v.outage + "."
	case len(nodes) == 1:
		k.Refused = "It is the only node."
	}
	return k, nil
}

func askRemoveNode(v *visit) (*answer, error) {
	k, err := removal(v)
	if err != nil {
		return nil, err
	}
	return v.confirm(k).under("Cluster", at("/cluster")), nil
}

func removeNode(v *visit) (*answer, error) {
	k, err := removal(v)
	if err != nil {
		return nil, err
	}
	if again, yes := v.confirmed(k); !yes {
		return again, nil
	}
	if err := v.api.RemoveNode(v.ctx(), v.param("node")); err != nil {
		return v.refused(k, err)
	}
	return v.done(at("/cluster"), "The node %s was removed.", v.param("node")), nil
}
