package console

import (
	"strings"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

func auditScreens() []screen {
	return []screen{{
		path: "/audit", file: "audit.html", title: "Audit log", scope: model.ScopeAuditRead, get: listAudit,
		nav: &navItem{group: navAccess, label: "Audit log", icon: "audit", key: 'l', order: 4},
	}}
}

type auditView struct {
	owned
	Days  []auditDay
	Pager pager
	// Export writes the log into a file.
	Export []exportLink
}

// auditDay are the records of one day in UTC.
type auditDay struct {
	Day     string
	Records []auditRow
}

type auditRow struct {
	client.AuditRecord
	// What was done, in words, and how it is coloured.
	What, Tone string
	// Who did it, without the kind, and the kind.
	Who, Kind string
	// Groups are the changes by the object that they were made to.
	Groups []auditGroup
}

// auditGroup are the members of one object that a change gave other values.
type auditGroup struct {
	Object  string
	Changes []client.AuditChange
}

// verbTones colours what a record says: made, changed, destroyed or seen.
var verbTones = map[string]string{"create": "ok", "update": "info", "delete": "bad", "reveal": "warn"}

func newAuditRow(r client.AuditRecord) auditRow {
	row := auditRow{AuditRecord: r, What: r.Action, Who: r.Actor}
	if object, verb, ok := strings.Cut(r.Action, "."); ok {
		row.What, row.Tone = object+" "+verb, verbTones[verb]
	}
	if kind, who, ok := strings.Cut(r.Actor, ":"); ok {
		row.Kind, row.Who = kind, who
	}
	for _, c := range r.Changes {
		if n := len(row.Groups); n == 0 || row.Groups[n-1].Object != c.Object {
			row.Groups = append(row.Groups, auditGroup{Object: c.Object})
		}
		g := &row.Groups[len(row.Groups)-1]
		g.Changes = append(g.Changes, c)
	}
	return row
}

func listAudit(v *visit) (*answer, error) {
	o := v.owned()
	p, err := v.api.Audit(v.ctx(), o.Account, v.read())
	if err != nil {
		return nil, err
	}
	view := auditView{owned: o, Pager: pagerOf(p), Export: exportLinks("audit", v.filters("account"), []string{"account"})}
	for _, r := range p.Results {
		day := r.At.UTC().Format("Monday, 2 January 2006")
		if n := len(view.Days); n == 0 || view.Days[n-1].Day != day {
			view.Days = append(view.Days, auditDay{Day: day})
		}
		d := &view.Days[len(view.Days)-1]
		d.Records = append(d.Records, newAuditRow(r))
	}
	return o.above(v.show(view), "", ""), nil
}
