package fsm

import (
	"maps"
	"slices"
	"time"

	"example.com/belfry/fsm/model"
)

// The commands of security settings and certificates.
type (
	// CreateSecurity creates a setting whose secrets are sealed already.
	CreateSecurity struct {
		Header
		Security model.Security `json:"security"`
	}
	// UpdateSecurity changes a setting. IfUpdatedIndex, when not 0, is the
	// index of the last change the proposer saw: CodeConflict when it is
	// another one.
	UpdateSecurity struct {
		Header
		Account        string              `json:"account"`
		ID             string              `json:"id"`
		IfUpdatedIndex uint64              `json:"ifUpdatedIndex,omitempty"`
		Patch          model.SecurityPatch `json:"patch"`
	}
	// DeleteSecurity deletes a setting that no profile uses.
	DeleteSecurity struct {
		Header
		Account string `json:"account"`
		ID      string `json:"id"`
	}
	// AuditReveal writes that somebody saw the secrets of a setting.
	AuditReveal struct {
		Header
		Account string `json:"account"`
		ID      string `json:"id"`
	}
	// CreateCertificate creates a certificate whose key is sealed already.
	CreateCertificate struct {
		Header
		Certificate model.Certificate `json:"certificate"`
	}
	// DeleteCertificate deletes a certificate that no profile uses.
	DeleteCertificate struct {
		Header
		Account string `json:"account"`
		ID      string `json:"id"`
	}
)

func (CreateSecurity) tag() tag    { return tagCreateSecurity }
func (UpdateSecurity) tag() tag    { return tagUpdateSecurity }
func (DeleteSecurity) tag() tag    { return tagDeleteSecurity }
func (AuditReveal) tag() tag       { return tagAuditReveal }
func (CreateCertificate) tag() tag { return tagCreateCertificate }
func (DeleteCertificate) tag() tag { return tagDeleteCertificate }

func (c CreateSecurity) record() (account, action, object string) {
	return c.Security.Account, "security.create", c.Security.ID
}

func (c UpdateSecurity) record() (account, action, object string) {
	return c.Account, "security.update", c.ID
}

func (c DeleteSecurity) record() (account, action, object string) {
	return c.Account, "security.delete", c.ID
}

func (c AuditReveal) record() (account, action, object string) {
	return c.Account, "security.reveal", c.ID
}

func (c CreateCertificate) record() (account, action, object string) {
	return c.Certificate.Account, "certificate.create", c.Certificate.ID
}

func (c DeleteCertificate) record() (account, action, object string) {
	return c.Account, "certificate.delete", c.ID
}

func (c CreateSecurity) apply(t *txn) (any, error) {
	if err := t.account(c.Security.Account); err != nil {
		return nil, err
	}
	var v model.Violations
	model.ValidateSecurity(c.Security, nil, "", &v)
	if err := v.Err(); err != nil {
		return nil, err
	}
	if err := t.checkNewSecurity(c.Security, ""); err != nil {
		return nil, err
	}
	t.insertSecurity(c.Security)
	return model.Refs{SecurityID: c.Security.ID}, nil
}

func (t *txn) checkNewSecurity(s model.Security, path string) error {
	if securities.has(t.tx, securities.key(&s)) {
		return &model.Error{Code: model.CodeExists, Field: at(path, "authId"), Message: "security settings with this id exist: to use them, give their id and nothing else"}
	}
	return room(t, securities, prefix(s.Account), t.limits.security, at(path, "authId"), "security settings")
}

func (t *txn) insertSecurity(s model.Security) {
	insert(t, securities, &s)
	t.changed(model.EntitySecurity, s.Account, "", s.ID, false)
}

func (c UpdateSecurity) apply(t *txn) (any, error) {
	old, ok := securities.get(t.tx, key(c.Account, c.ID))
	if !ok {
		return nil, notFound("security setting", c.ID)
	}
	if c.IfUpdatedIndex != 0 && c.IfUpdatedIndex != old.UpdatedIndex {
		return nil, model.Errorf(model.CodeConflict, "the security setting %s was changed at the same time", c.ID)
	}
	var v model.Violations
	s := patchSecurity(old, c.Patch, &v)
	model.ValidateSecurity(s, nil, "", &v)
	if err := v.Err(); err != nil {
		return nil, err
	}
	update(t, securities, &s, old.Meta)
	t.changed(model.EntitySecurity, s.Account, "", s.ID, false)
	return model.Refs{SecurityID: s.ID}, nil
}

func patchSecurity(s model.Security, c model.SecurityPatch, v *model.Violations) model.Security {
	if c.Type.Set && !c.Type.Null && c.Type.Value != s.Type {
		// Nothing of the old type stays: the new credentials must be complete.
		s = model.Security{Account: s.Account, ID: s.ID, Meta: s.Meta}
	}
	c.Type.ApplyTo(&s.Type)
	s.Secrets = maps.Clone(s.Secrets)
	if s.Secrets == nil {
		s.Secrets = map[model.SecretField]model.Sealed{}
	}
	c.Username.ApplyTo(&s.Username)
	c.Algorithm.ApplyTo(&s.Algorithm)
	c.HeaderName.ApplyTo(&s.HeaderName)
	c.Encoding.ApplyTo(&s.Encoding)
	c.TokenURL.ApplyTo(&s.TokenURL)
	c.GrantType.ApplyTo(&s.GrantType)
	c.ClientID.ApplyTo(&s.ClientID)
	c.Scope.ApplyTo(&s.Scope)
	c.Resource.ApplyTo(&s.Resource)
	if c.PreviousUntilMs.Set {
		s.PreviousUntil = time.Time{}
		if c.PreviousUntilMs.Null {
			delete(s.Secrets, model.FieldPreviousSecretKey)
		} else {
			s.PreviousUntil = time.UnixMilli(c.PreviousUntilMs.Value).UTC()
		}
	}
	if c.Headers.Set {
		maps.DeleteFunc(s.Secrets, func(f model.SecretField, _ model.Sealed) bool {
			name, isHeader := f.HeaderName()
			return isHeader && !slices.Contains(c.Headers.Value, name)
		})
	}
	for f, x := range c.Sealed {
		if x.Null || len(x.Value) == 0 {
			delete(s.Secrets, f)
		} else {
			s.Secrets[f] = x.Value
		}
	}
	for _, name := range c.Headers.Value {
		if _, ok := s.Secrets[model.HeaderField(name)]; !ok {
			v.Add("credentials.headers", "every header must have a value")
			break
		}
	}
	if len(s.Secrets[model.FieldPreviousSecretKey]) == 0 {
		s.PreviousUntil = time.Time{}
	}
	s.DropForeign()
	return s
}

func (c DeleteSecurity) apply(t *txn) (any, error) {
	s, ok := securities.get(t.tx, key(c.Account, c.ID))
	if !ok {
		return nil, notFound("security setting", c.ID)
	}
	if err := t.unused(refSecurity, s.Account, s.ID, "profile"); err != nil {
		return nil, err
	}
	remove(t, securities, &s)
	t.changed(model.EntitySecurity, s.Account, "", s.ID, true)
	return model.Refs{SecurityID: s.ID}, nil
}

func (c AuditReveal) apply(t *txn) (any, error) {
	if !securities.has(t.tx, key(c.Account, c.ID)) {
		return nil, notFound("security setting", c.ID)
	}
	return nil, nil
}

func (c CreateCertificate) apply(t *txn) (any, error) {
	x := c.Certificate
	if err := t.account(x.Account); err != nil {
		return nil, err
	}
	msg := model.CheckID(x.ID)
	if x.ID == "status" || x.ID == "test" {
		msg = "must not be status or test, which are paths of the API"
	}
	switch {
	case msg != "":
		return nil, model.Invalid("certificateId", "%s", msg)
	case len(x.ChainPEM) == 0 || len(x.Secrets[model.FieldPrivateKey]) == 0:
		return nil, model.Invalid("certificateContent", "must hold a certificate and its key")
	case certificates.has(t.tx, certificates.key(&x)):
		return nil, &model.Error{Code: model.CodeExists, Field: "certificateId", Message: "a certificate with this id exists"}
	}
	if err := room(t, certificates, prefix(x.Account), t.limits.certificates, "certificateId", "certificates"); err != nil {
		return nil, err
	}
	insert(t, certificates, &x)
	t.changed(model.EntityCertificate, x.Account, "", x.ID, false)
	return x.Meta, nil
}

func (c DeleteCertificate) apply(t *txn) (any, error) {
	x, ok := certificates.get(t.tx, key(c.Account, c.ID))
	if !ok {
		return nil, notFound("certificate", c.ID)
	}
	if err := t.unused(refCertificate, x.Account, x.ID, "profile"); err != nil {
		return nil, err
	}
	remove(t, certificates, &x)
	t.changed(model.EntityCertificate, x.Account, "", x.ID, true)
	return nil, nil
}
