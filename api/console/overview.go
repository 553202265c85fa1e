package console

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// What the overview looks at.
const (
	overviewWindow = 5 * time.Minute
	worstMost      = 8
	recentMost     = 8
	expiryMost     = 20
	// expiringWithin is when a certificate is shown as about to expire.
	expiringWithin = 30 * 24 * time.Hour
)

func overviewScreens() []screen {
	return []screen{{
		path: "/", file: "overview.html", title: "Overview", scripts: chartScripts, nav: &navItem{group: navTop, label: "Overview", icon: "gauge", key: 'o'}, get: showOverview,
	}}
}

// overviewView is the health of the account's deliveries and of the cluster,
// as far as the caller may see them. What could not be read is nil.
type overviewView struct {
	Stats  *event.Stats
	Tiles  []tile
	Worst  []destination
	Expiry []expiring
	// ExpiryMore counts the certificates about to expire that are not shown.
	ExpiryMore int
	Nodes      []client.Node
	Leader     string
	// Live and Voters count the nodes; Lag is how many entries the last one is
	// behind.
	Live, Voters int
	Lag          uint64
	Partitions   int
	// Disk is the fullest one; nil: not known.
	Disk   *nodeDisk
	Recent []auditRow
	// Missing says what could not be read, and why.
	Missing []string
	// Series are the last hour by the minute, for the charts; nil: not known.
	Series *event.Series
	// Fresh: nothing has been set up yet.
	Fresh bool
}

// tile is one figure of the health strip.
type tile struct {
	Label, Value, Note string
	Tone               string // ok, warn, bad or empty
	// Spark is the last hour as points of a sparkline; empty: not known.
	Spark string
}

// destination is a profile with its figures.
type destination struct {
	event.ProfileStats
	Tone string
	// Failing counts the attempts that did not succeed.
	Failing int64
	// Oldest is how long what it is owed for longest waits; empty: nothing does.
	Oldest string
}

type expiring struct {
	client.Certificate
	Left string
	Tone string
}

func showOverview(v *visit) (*answer, error) {
	var o overviewView
	events, operator := v.can(model.ScopeEventsRead), v.can(model.ScopeAdminCluster)
	var stats func() (client.Stats, error)
	var series func() (event.Series, error)
	var health func() (client.ClusterHealth, error)
	if events {
		stats = ahead(func() (client.Stats, error) {
			return v.api.Stats(v.ctx(), overviewWindow, client.StatsFilter{Sort: "failing", Size: worstMost})
		})
		series = ahead(func() (event.Series, error) { return v.api.Series(v.ctx(), "", time.Hour) })
	}
	if operator {
		health = ahead(func() (client.ClusterHealth, error) { return v.api.ClusterHealth(v.ctx()) })
	}
	if events {
		o.addStats(v, stats)
		o.addSeries(series)
	}
	if v.can(model.ScopeSubscriptionsRead) {
		o.addCertificates(v)
		o.addFresh(v)
	}
	if operator {
		o.addCluster(v)
		o.addDisk(health)
	}
	if v.can(model.ScopeAuditRead) {
		p, err := v.api.Audit(v.ctx(), v.caller.AccountID, client.Read{Size: recentMost})
		if o.missing("the audit log", err) {
			for _, r := range p.Results {
				o.Recent = append(o.Recent, newAuditRow(r))
			}
		}
	}
	return v.show(&o), nil
}

// missing notes what could not be read. It reports whether it could.
func (o *overviewView) missing(what string, err error) bool {
	if err != nil {
		o.Missing = append(o.Missing, what+": "+err.Error())
	}
	return err == nil
}

func (o *overviewView) addStats(v *visit, read func() (client.Stats, error)) {
	st, err := read()
	if !o.missing("the figures of deliveries", err) {
		return
	}
	o.Stats = &st.Stats
	o.Tiles = healthTiles(st.Total, v.c.now())
	for _, p := range st.Profiles {
		d := rowOfStats(p, v.c.now())
		if d.Failing > 0 || p.Backlog > 0 {
			o.Worst = append(o.Worst, d)
		}
	}
	if len(st.Unreachable) > 0 {
		o.Missing = append(o.Missing, fmt.Sprintf("the figures of %s: not reachable", plural(len(st.Unreachable), "node", "nodes")))
	}
}

// addSeries reads the last hour, and puts what was accepted before the other
// figures.
func (o *overviewView) addSeries(read func() (event.Series, error)) {
	s, err := read()
	if !o.missing("the figures of the last hour", err) {
		return
	}
	o.Series = &s
	var accepted int64
	from := s.To.Add(-overviewWindow)
	for _, p := range s.Points {
		if !p.At.Before(from.Truncate(time.Minute)) {
			accepted += p.Accepted
		}
	}
	t := tile{Label: "Accepted", Value: perSecond(float64(accepted) / overviewWindow.Seconds()), Note: plural(accepted, "event", "events")}
	o.Tiles = append([]tile{t}, o.Tiles...)
	of := map[string]func(event.SeriesPoint) int64{
		"Accepted":  func(p event.SeriesPoint) int64 { return p.Accepted },
		"Delivered": func(p event.SeriesPoint) int64 { return p.Delivered },
		"Retried":   func(p event.SeriesPoint) int64 { return p.Retried },
		"Given up":  func(p event.SeriesPoint) int64 { return p.Dead },
	}
	for i := range o.Tiles {
		if pick := of[o.Tiles[i].Label]; pick != nil {
			o.Tiles[i].Spark = sparkline(s.Points, pick)
		}
	}
}

// healthTiles are the figures of an account in the order of what an operator
// asks first.
func healthTiles(t event.ProfileStats, now time.Time) []tile {
	tiles := []tile{
		{Label: "Delivered", Value: perSecond(t.RatePerSecond), Note: plural(t.Delivered, "delivery", "deliveries")},
		{Label: "Success", Value: percent(t.SuccessRate), Note: plural(t.Attempts, "attempt", "attempts"), Tone: rateTone(t.SuccessRate)},
		{Label: "Latency p50", Value: "–", Note: "of an attempt"},
		{Label: "Backlog", Value: number(t.Backlog), Note: "nothing waits"},
		{Label: "Retried", Value: number(t.Retried), Note: "postponed"},
		{Label: "Given up", Value: number(t.Dead), Note: "dead letters"},
	}
	if q := t.LatencyMs; q != nil {
		tiles[2].Value, tiles[2].Note = milliseconds(q.P50), "p99 "+milliseconds(q.P99)
	}
	if t.OldestPendingAt != nil {
		age := now.Sub(*t.OldestPendingAt)
		tiles[3].Note = "oldest " + duration(age)
		if age > time.Minute {
			tiles[3].Tone = "warn"
		}
	}
	if t.Dead > 0 {
		tiles[5].Tone = "bad"
	}
	return tiles
}

func perSecond(rate float64) string {
	if rate > 0 && rate < 10 {
		return fmt.Sprintf("%.2f /s", rate)
	}
	return number(fmt.Sprintf("%.0f", rate)) + " /s"
}

// rateTone says how a success rate looks.
func rateTone(rate *float64) string {
	switch {
	case rate == nil:
		return ""
	case *rate >= 0.99:
		return "ok"
	case *rate >= 0.9:
		return "warn"
	}
	return "bad"
}

func (o *overviewView) addCertificates(v *visit) {
	until := v.c.now().Add(expiringWithin)
	p, err := v.api.Certificates(v.ctx(), url.Values{"expiresBefore": {until.UTC().Format(time.RFC3339)}}, client.Read{Size: model.MaxPageSize})
	if !o.missing("the certificates", err) {
		return
	}
	for _, k := range p.Results {
		left := time.UnixMilli(k.ValidUntil).Sub(v.c.now())
		e := expiring{Certificate: k, Left: "expires in " + duration(left), Tone: "warn"}
		if left <= 0 {
			e.Left, e.Tone = "expired", "bad"
		}
		o.Expiry = append(o.Expiry, e)
	}
	slices.SortFunc(o.Expiry, func(a, b expiring) int { return cmp.Compare(a.ValidUntil, b.ValidUntil) })
	o.Expiry = o.Expiry[:min(len(o.Expiry), expiryMost)]
	o.ExpiryMore = p.Paging.TotalResults - len(o.Expiry)
}

// addFresh finds out whether there is anything yet.
func (o *overviewView) addFresh(v *visit) {
	p, err := v.api.Profiles(v.ctx(), client.ProfileFilter{}, client.Read{Size: 1})
	o.Fresh = o.missing("the profiles", err) && p.Paging.TotalResults == 0
}

func (o *overviewView) addCluster(v *visit) {
	nodes, err := v.api.Nodes(v.ctx())
	if o.missing("the nodes", err) {
		o.Nodes = nodes
	}
	var first, last uint64
	for i, n := range nodes {
		if n.Voter {
			o.Voters++
			if n.Live {
				o.Live++
			}
		}
		if n.Role == "LEADER" {
			o.Leader = n.NodeID
		}
		if i == 0 || n.AppliedIndex < first {
			first = n.AppliedIndex
		}
		last = max(last, n.AppliedIndex)
	}
	o.Lag = last - first
	if ps, err := v.api.Partitions(v.ctx()); o.missing("the partitions", err) {
		o.Partitions = len(ps)
	}
}

// addDisk finds the node whose disk has least room. The nodes that did not
// answer are among those that the page shows as not reachable.
func (o *overviewView) addDisk(read func() (client.ClusterHealth, error)) {
	h, err := read()
	if !o.missing("the disks of the nodes", err) {
		return
	}
	worse := []string{"ok", "warn", "bad"}
	for _, n := range h.Nodes {
		d := nodeDisk{n.NodeID, diskOf(n.Disk)}
		if d.Error != "" {
			d.Tone = "bad"
		}
		if o.Disk == nil || cmp.Or(cmp.Compare(slices.Index(worse, d.Tone), slices.Index(worse, o.Disk.Tone)), cmp.Compare(d.Used, o.Disk.Used)) > 0 {
			o.Disk = &d
		}
	}
}

// nodeDisk is the disk of a node.
type nodeDisk struct {
	NodeID string
	diskView
}

// Quorum reports whether enough voters are alive.
func (o *overviewView) Quorum() bool { return o.Live > o.Voters/2 }
