package api

import (
	"encoding/base64"
	"net/http"

	"example.com/belfry/fsm/model"
)

func (s *Server) certificateRoutes() []route {
	const list = contractPrefix + "/certificates"
	const one, status, oneStatus = list + "/{certificateId}", list + "/status", list + "/status/{certificateId}"
	row := func(method, path string, read bool, handle func(*request) error) route {
		r := route{method: method, path: path, scope: model.ScopeSubscriptionsManage, surface: surfaceContract, read: read, certificates: true, handle: handle}
		if method == http.MethodGet {
			r.scope = model.ScopeSubscriptionsRead
		}
		return r
	}
	return []route{
		row(http.MethodGet, list, true, func(r *request) error { return listCertificates(r, s.certificateDetails) }),
		row(http.MethodPost, list, false, s.uploadCertificate),
		row(http.MethodGet, status, true, func(r *request) error { return listCertificates(r, s.certificateStatus) }),
		row(http.MethodGet, oneStatus, true, func(r *request) error { return getCertificate(r, s.certificateStatus) }),
		row(http.MethodPost, list+"/test/webhook", true, s.testConnection),
		row(http.MethodGet, one, true, func(r *request) error { return getCertificate(r, s.certificateDetails) }),
		row(http.MethodDelete, one, false, s.deleteCertificate),
	}
}

type (
	certificateIn struct {
		CertificateID string       `json:"certificateId"`
		Content       string       `json:"certificateContent" api:"required"`
		Passphrase    model.Secret `json:"passphrase"`
	}

	certificateStatusOut struct {
		CertificateID string                  `json:"certificateId"`
		Status        model.CertificateStatus `json:"status"`
	}

	certificateOut struct {
		CertificateID string                  `json:"certificateId"`
		IssuedBy      string                  `json:"issuedBy"`
		IssuedTo      string                  `json:"issuedTo"`
		ValidFrom     int64                   `json:"validFrom"`  // Unix ms
		ValidUntil    int64                   `json:"validUntil"` // Unix ms
		Status        model.CertificateStatus `json:"certificateStatus"`
		SerialNumber  string                  `json:"serialNumber"`
	}

	idOnlyCertificate struct {
		CertificateID string `json:"certificateId"`
	}

	connectionTestIn struct {
		CertificateID string `json:"certificateId"`
		WebhookURL    string `json:"webhookUrl" api:"required"`
	}

	connectionTestOut struct {
		CertificateID string   `json:"certificateId"`
		WebhookURL    string   `json:"webhookUrl"`
		Result        string   `json:"result"`
		FailReasons   []string `json:"failReasons"`
		Hint          string   `json:"hint,omitempty"`
	}
)

// statusOf derives the status: EXPIRED by its dates, PROCESSING until every
// voter has it.
func (s *Server) statusOf(c model.Certificate) model.CertificateStatus {
	switch {
	case s.o.Now().After(c.ValidUntil):
		return model.CertificateExpired
	case !s.o.Cluster.AppliedEverywhere(c.CreatedIndex):
		return model.CertificateProcessing
	default:
		return model.CertificateReady
	}
}

func (s *Server) certificateStatus(c model.Certificate) certificateStatusOut {
	return certificateStatusOut{CertificateID: c.ID, Status: s.statusOf(c)}
}

func (s *Server) certificateDetails(c model.Certificate) certificateOut {
	return certificateOut{
		CertificateID: c.ID, IssuedBy: c.IssuedBy, IssuedTo: c.IssuedTo, ValidFrom: c.ValidFrom.UnixMilli(), ValidUntil: c.ValidUntil.UnixMilli(),
		Status: s.statusOf(c), SerialNumber: c.SerialNumber,
	}
}

func listCertificates[W any](r *request, wire func(model.Certificate) W) error {
	page, size, err := r.page()
	if err != nil {
		return err
	}
	var v model.Violations
	f := model.CertificateFilter{Search: r.search(&v), ExpiresBefore: r.timeFilter("expiresBefore", &v)}
	if q, ok := r.query["sortBy"]; ok {
		f.SortByID = len(q) == 1 && q[0] == "CERTIFICATE_ID"
		if !f.SortByID {
			v.Add("sortBy", "must be CERTIFICATE_ID")
		}
	}
	if q, ok := r.query["direction"]; ok {
		f.SortByID = true // the only thing there is to sort by
		f.Descending = len(q) == 1 && q[0] == "DESC"
		if !f.Descending && (len(q) != 1 || q[0] != "ASC") {
			v.Add("direction", "must be ASC or DESC")
		}
	}
	if err := v.Err(); err != nil {
		return err
	}
	p, err := r.s.o.Reader.ListCertificates(r.caller.account, f, page, size)
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, envelope(p, wire))
}

func getCertificate[W any](r *request, wire func(model.Certificate) W) error {
	c, err := r.s.o.Reader.Certificate(r.caller.account, r.param("certificateId"))
	if err != nil {
		return err
	}
	return r.json(http.StatusOK, wire(c))
}

func (s *Server) uploadCertificate(r *request) error {
	var in certificateIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	checkNewID(&v, "certificateId", in.CertificateID)
	if in.CertificateID == "status" || in.CertificateID == "test" {
		v.Add("certificateId", "must not be status or test: these are paths of this API")
	}
	content, ok := decodeBase64(in.Content)
	if !ok {
		v.Add("certificateContent", "must be the Base64 of a PEM file")
	}
	passphrase, ok := decodeBase64(in.Passphrase.Reveal())
	if !ok {
		v.Add("passphrase", "must be Base64")
	}
	if err := v.Err(); err != nil {
		return err
	}
	c, key, err := parseCertificate(content, passphrase)
	if err != nil {
		return err
	}
	c.Account, c.ID = r.caller.account, in.CertificateID
	ctx, cancel := r.writeCtx()
	defer cancel()
	if c, err = s.o.Writer.CreateCertificate(ctx, r.caller.actor, c, key); err != nil {
		return err
	}
	r.header().Set("Location", contractPrefix+"/certificates/"+c.ID)
	return r.json(http.StatusCreated, s.certificateStatus(c))
}

func (s *Server) deleteCertificate(r *request) error {
	ctx, cancel := r.writeCtx()
	defer cancel()
	id := r.param("certificateId")
	if err := s.o.Writer.DeleteCertificate(ctx, r.caller.actor, r.caller.account, id); err != nil {
		return err
	}
	return r.json(http.StatusOK, idOnlyCertificate{CertificateID: id})
}

func (s *Server) testConnection(r *request) error {
	var in connectionTestIn
	if err := r.decode(&in); err != nil {
		return err
	}
	var v model.Violations
	checkNewID(&v, "certificateId", in.CertificateID)
	if s.checkURL(in.WebhookURL, "webhookUrl", &v) {
		if msg := model.CheckURL(in.WebhookURL, model.MaxURLLength); msg != "" {
			v.Add("webhookUrl", "%s", msg)
		}
	}
	if err := v.Err(); err != nil {
		return err
	}
	if _, err := s.o.Reader.Certificate(r.caller.account, in.CertificateID); err != nil {
		return err
	}
	if s.o.Tester == nil {
		return model.Errorf(model.CodeUnavailable, "this node cannot test connections")
	}
	ctx, cancel := r.writeCtx()
	defer cancel()
	res, err := s.o.Tester.TestConnection(ctx, r.caller.account, in.CertificateID, in.WebhookURL)
	if err != nil {
		return err
	}
	out := connectionTestOut{CertificateID: in.CertificateID, WebhookURL: in.WebhookURL, Result: "FAIL", FailReasons: append([]string{}, res.FailReasons...), Hint: res.Hint}
	if res.Success {
		out.Result = "SUCCESS"
	}
	return r.json(http.StatusOK, out)
}

// decodeBase64 takes the standard and the URL alphabet, with or without
// padding and line breaks; "" is nothing.
func decodeBase64(s string) ([]byte, bool) {
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := e.DecodeString(s); err == nil {
			return b, true
		}
	}
	return nil, false
}
