package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"example.com/belfry/fsm/model"
)

func (s *Server) auditRoutes() []route {
	return []route{{
		method: http.MethodGet, path: accountPath + "/audit", scope: model.ScopeAuditRead, read: true, handle: s.listAudit,
	}}
}

// listAudit shows who changed what in an account, newest first.
func (s *Server) listAudit(r *request) error {
	account, err := r.account()
	if err != nil {
		return err
	}
	if form := r.exportForm(); form != formPage {
		return s.exportAudit(r, form, account)
	}
	page, size, err := r.page()
	if err != nil {
		return err
	}
	p, err := s.o.Reader.ListAudit(account, page, size)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, envelope(p, auditWire))
}

// exportAudit sends the records of an account, a line for every member that was
// changed. Those that come meanwhile move the pages, so a record that was seen
// is passed over.
func (s *Server) exportAudit(r *request, form exportForm, account string) error {
	var v model.Violations
	for _, name := range []string{"page", "size"} {
		if r.query.Has(name) {
			v.Add(name, "does not go together with an export, which has up to %d rows", s.o.Limits.ExportRows)
		}
	}
	if err := v.Err(); err != nil {
		return err
	}
	number, last := 0, uint64(0)
	return r.export(export{
		form: form, name: "audit", columns: []string{"at", "index", "actor", "actorFrom", "requestId", "action", "object", "member", "before", "after"},
		next: func(_ context.Context, limit int) (out exportPart, err error) {
			p, err := s.o.Reader.ListAudit(account, number, model.MaxPageSize)
			if err != nil {
				return out, err
			}
			number++
			for _, a := range p.Items {
				if last != 0 && a.Index >= last {
					continue
				}
				if len(out.rows) == limit {
					out.more = true // it ends here
					return out, nil
				}
				last = a.Index
				out.rows = append(out.rows, exportRow{auditWire(a), auditLines(auditWire(a))})
			}
			out.more = number*model.MaxPageSize < p.Total
			return out, nil
		},
	})
}

func auditLines(a auditOut) (lines [][]string) {
	begin := []string{cellOf(a.At), strconv.FormatUint(a.Index, 10), a.Actor, a.ActorFrom, a.RequestID, a.Action, a.Object}
	for _, c := range a.Changes {
		lines = append(lines, append(slices.Clip(begin), c.Member, c.Before, c.After))
	}
	if len(lines) == 0 {
		lines = [][]string{append(begin, "", "", "")}
	}
	return lines
}
