package console

import (
	"fmt"
	"math"
	"strings"
	"time"

	"example.com/belfry/api/client"
)

const (
	// clockWarnMs is how far the clock of a node may be off, in milliseconds,
	// before it is shown as a trouble. Retries and certificates go by it.
	clockWarnMs = 500
	// diskWarnParts: a disk with less free than one part in so many is shown as
	// nearly full.
	diskWarnParts = 10
	// contactWarnMs is how long a leader may be silent, in milliseconds.
	contactWarnMs = 2000
	// lagWarn is how many entries a node may be behind.
	lagWarn = 1000
)

// nodeHealth is a node with what it says of itself.
type nodeHealth struct {
	client.NodeHealth
	Up        string
	Disk      diskView
	Clock     string
	ClockTone string
}

// diskView is the disk of a node; Used is the share in percent.
type diskView struct {
	Used       float64
	Free, Tone string
	Parts      []diskPart
	Error      string
}

type diskPart struct{ Label, Size string }

// groupHealth is one raft group on one node.
type groupHealth struct {
	NodeID string
	client.GroupHealth
	Behind, BehindTone   string
	Contact, ContactTone string
}

// addHealth asks the nodes how they are. Without an answer the rest of the page
// stays.
func (c *clusterView) addHealth(v *visit) {
	h, err := v.api.ClusterHealth(v.ctx())
	if err != nil {
		c.Missing = "How the nodes are could not be read: " + err.Error()
		return
	}
	c.Unreachable = h.Unreachable
	for _, n := range h.Nodes {
		row := nodeHealth{NodeHealth: n, Up: duration(time.Duration(n.UptimeSeconds * float64(time.Second))), Disk: diskOf(n.Disk)}
		row.Clock, row.ClockTone = clockOf(n)
		c.Health = append(c.Health, row)
		for _, g := range n.Groups {
			c.Groups = append(c.Groups, groupOf(n.NodeID, g))
		}
	}
}

func diskOf(d client.DiskHealth) diskView {
	out := diskView{Error: d.Error, Tone: "ok", Free: bytesOf(d.FreeBytes) + " of " + bytesOf(d.TotalBytes) + " free"}
	if d.TotalBytes > 0 {
		out.Used = 100 * float64(d.TotalBytes-d.FreeBytes) / float64(d.TotalBytes)
	}
	switch {
	case d.FreeBytes < d.MinFreeBytes:
		out.Tone = "bad"
		out.Free += ": it takes no events below " + bytesOf(d.MinFreeBytes)
	case d.FreeBytes < 2*d.MinFreeBytes, d.FreeBytes < d.TotalBytes/diskWarnParts:
		out.Tone = "warn"
	}
	for _, p := range []struct {
		label string
		bytes int64
	}{
		{"raft logs and snapshots", d.RaftBytes}, {"configuration", d.ConfigBytes}, {"what is owed", d.OutboxBytes}, {"attempts", d.AttemptsBytes}, {"other files", d.OtherBytes},
	} {
		out.Parts = append(out.Parts, diskPart{p.label, bytesOf(p.bytes)})
	}
	return out
}

// clockOf says how far the clock of a node is from that of the node which
// answers the page.
func clockOf(n client.NodeHealth) (words, tone string) {
	if n.ClockOffsetMs == nil {
		return "the one that others are compared with", ""
	}
	wrong := 0.0
	if n.ClockErrorMs != nil {
		wrong = *n.ClockErrorMs
	}
	off := math.Abs(*n.ClockOffsetMs)
	if off <= wrong {
		return "the same, within " + milliseconds(wrong), "ok"
	}
	side := "ahead"
	if *n.ClockOffsetMs < 0 {
		side = "behind"
	}
	tone = "ok"
	if off-wrong > clockWarnMs {
		tone = "warn"
	}
	return fmt.Sprintf("%s %s, within %s", milliseconds(off), side, milliseconds(wrong)), tone
}

func groupOf(node string, g client.GroupHealth) groupHealth {
	out := groupHealth{NodeID: node, GroupHealth: g, Behind: "–", Contact: "never", ContactTone: "bad"}
	if g.Lag != nil {
		out.Behind = number(*g.Lag)
		if *g.Lag > lagWarn {
			out.BehindTone = "warn"
		}
	}
	if g.LeaderContactMs != nil {
		out.Contact, out.ContactTone = milliseconds(*g.LeaderContactMs)+" ago", ""
		if *g.LeaderContactMs > contactWarnMs {
			out.ContactTone = "warn"
		}
	}
	return out
}

// bytesOf shows a number of bytes in the largest unit that it fills.
func bytesOf(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	x, i := float64(n), 0
	for x >= 1024 && i < len(units)-1 {
		x, i = x/1024, i+1
	}
	if i == 0 || x >= 100 {
		return fmt.Sprintf("%.0f %s", x, units[i])
	}
	return fmt.Sprintf("%.1f %s", x, units[i])
}

// digestGroup is one kind of state with the digests of the nodes.
type digestGroup struct {
	Title  string
	Rows   []digestRow
	Tone   string
	Result string
	// Unreachable nodes gave no answer; Missing is why there is none at all.
	Unreachable []string
	Missing     string
}

type digestRow struct {
	client.Digest
	Same string // in words
	Tone string
}

// digestsView compares the states of the nodes.
type digestsView struct{ Groups []digestGroup }

func showDigests(v *visit) (*answer, error) {
	var view digestsView
	for _, g := range []option{{client.GroupConfig, "The configuration"}, {client.GroupEvents, "What is owed and what was given up"}} {
		d, err := v.api.Digests(v.ctx(), g.Value, "")
		row := digestGroup{Title: g.Label, Unreachable: d.Unreachable}
		if err != nil {
			row.Missing, row.Tone = err.Error(), "warn"
		} else {
			row.compare(d.Digests)
		}
		view.Groups = append(view.Groups, row)
	}
	return v.show(view).under("Cluster", at("/cluster")), nil
}

// compare says of each digest whether others of its index are equal. Which of
// two is right, nobody can tell of two nodes alone.
func (g *digestGroup) compare(ds []client.Digest) {
	equal, differ, alone := 0, 0, 0
	for _, d := range ds {
		row := digestRow{Digest: d}
		same, other := 0, 0
		for _, o := range ds {
			if d.NodeID == o.NodeID || d.Index != o.Index || d.SHA256 == "" || o.SHA256 == "" {
				continue
			}
			if d.SHA256 == o.SHA256 {
				same++
			} else {
				other++
			}
		}
		switch {
		case d.SHA256 == "":
			row.Same, row.Tone = d.Error, "warn"
		case other > 0:
			row.Same, row.Tone = fmt.Sprintf("differs from %s", plural(other, "node", "nodes")), "bad"
			differ++
		case same > 0:
			row.Same, row.Tone = fmt.Sprintf("equal to %s", plural(same, "other", "others")), "ok"
			equal++
		default:
			row.Same = "no other node is at this index"
			alone++
		}
		g.Rows = append(g.Rows, row)
	}
	switch {
	case differ > 0:
		g.Tone, g.Result = "bad", "Nodes at one index have different states. One of them is damaged: stop the one that differs from most, and let it join again with an empty data directory."
	case equal > 0 && alone == 0 && len(g.Unreachable) == 0 && equal == len(ds):
		g.Tone, g.Result = "ok", "All nodes have the same state."
	case equal > 0:
		g.Tone, g.Result = "info", strings.TrimSpace(fmt.Sprintf("%s at one index have the same state; the others could not be compared.", plural(equal, "node", "nodes")))
	default:
		g.Tone, g.Result = "info", "No two nodes were at one index, so nothing could be compared. Reload to try again."
	}
}
