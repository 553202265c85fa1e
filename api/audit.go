package api

import (
	"net/http"

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
