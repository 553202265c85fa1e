package api

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/belfry/fsm/model"
)

const sealedPrefix = "sealed:"

func (f *fakeConfig) putSecurity(d model.SecurityDraft, m model.Meta, prefix string) error {
	var v model.Violations
	model.ValidateSecurity(d.Security, d.Clear, prefix, &v)
	if err := v.Err(); err != nil {
		return err
	}
	if _, ok := f.security[path(d.Account, d.ID)]; ok {
		return taken(prefix + "authId")
	}
	d.Secrets = map[model.SecretField]model.Sealed{}
	for k, v := range d.Clear {
		d.Secrets[k] = model.Sealed(sealedPrefix + v.Reveal())
	}
	d.Meta = m
	f.security[path(d.Account, d.ID)] = d.Security
	return nil
}

func (f *fakeConfig) CreateSecurity(_ context.Context, by model.Actor, d model.SecurityDraft) (refs model.Refs, err error) {
	err = f.change(by, d.Account, "security.create", d.ID, func(m model.Meta) error {
		refs = model.Refs{SecurityID: d.ID}
		return f.putSecurity(d, m, "")
	})
	return refs, err
}

// patchSecurity does what the state machine does with a patch.
func (f *fakeConfig) patchSecurity(o *model.Security, p model.SecurityPatch, v *model.Violations) {
	if p.Type.Set && p.Type.Value != o.Type {
		*o = model.Security{Account: o.Account, ID: o.ID, Meta: o.Meta}
	}
	o.Secrets = maps.Clone(o.Secrets)
	if o.Secrets == nil {
		o.Secrets = map[model.SecretField]model.Sealed{}
	}
	p.Type.ApplyTo(&o.Type)
	p.Username.ApplyTo(&o.Username)
	p.Algorithm.ApplyTo(&o.Algorithm)
	p.HeaderName.ApplyTo(&o.HeaderName)
	p.Encoding.ApplyTo(&o.Encoding)
	p.TokenURL.ApplyTo(&o.TokenURL)
	p.GrantType.ApplyTo(&o.GrantType)
	p.ClientID.ApplyTo(&o.ClientID)
	p.Scope.ApplyTo(&o.Scope)
	p.Resource.ApplyTo(&o.Resource)
	if p.PreviousUntilMs.Set {
		o.PreviousUntil = time.Time{}
		if p.PreviousUntilMs.Null {
			delete(o.Secrets, model.FieldPreviousSecretKey)
		} else {
			o.PreviousUntil = time.UnixMilli(p.PreviousUntilMs.Value).UTC()
		}
	}
	if p.Headers.Set {
		maps.DeleteFunc(o.Secrets, func(k model.SecretField, _ model.Sealed) bool {
			n, ok := k.HeaderName()
			return ok && !slices.Contains(p.Headers.Value, n)
		})
	}
	for k, x := range p.Clear {
		if x.Null {
			delete(o.Secrets, k)
			continue
		}
		model.ValidateSecretValue(k, x.Value, "credentials", v)
		o.Secrets[k] = model.Sealed(sealedPrefix + x.Value.Reveal())
	}
	for _, n := range p.Headers.Value {
		if _, ok := o.Secrets[model.HeaderField(n)]; !ok {
			v.Add("credentials.headers", "every header must have a value")
		}
	}
	o.DropForeign()
}

func (f *fakeConfig) UpdateSecurity(_ context.Context, by model.Actor, account, id string, p model.SecurityPatch) (refs model.Refs, err error) {
	err = f.change(by, account, "security.update", id, func(m model.Meta) error {
		o, ok := f.security[path(account, id)]
		if !ok {
			return model.Errorf(model.CodeNotFound, "there is no security setting %s", id)
		}
		var v model.Violations
		f.patchSecurity(&o, p, &v)
		model.ValidateSecurity(o, nil, "", &v)
		if err := v.Err(); err != nil {
			return err
		}
		o.UpdatedAt, o.UpdatedIndex = m.UpdatedAt, m.UpdatedIndex
		f.security[path(account, id)] = o
		refs = model.Refs{SecurityID: id}
		return nil
	})
	return refs, err
}

func (f *fakeConfig) DeleteSecurity(_ context.Context, by model.Actor, account, id string) (refs model.Refs, err error) {
	err = f.change(by, account, "security.delete", id, func(model.Meta) error {
		if _, ok := f.security[path(account, id)]; !ok {
			return model.Errorf(model.CodeNotFound, "there is no security setting %s", id)
		}
		for _, p := range f.profiles {
			if p.Account == account && p.SecurityID == id {
				return model.Errorf(model.CodeInUse, "the security setting %s is used by the profile %s", id, p.ID)
			}
		}
		delete(f.security, path(account, id))
		refs = model.Refs{SecurityID: id}
		return nil
	})
	return refs, err
}

func (f *fakeConfig) CreateCertificate(_ context.Context, by model.Actor, c model.Certificate, key model.Secret) (model.Certificate, error) {
	err := f.change(by, c.Account, "certificate.create", c.ID, func(m model.Meta) error {
		if _, ok := f.certs[path(c.Account, c.ID)]; ok {
			return taken("certificateId")
		}
		c.Meta = m
		c.Secrets = map[model.SecretField]model.Sealed{model.FieldPrivateKey: model.Sealed(sealedPrefix + key.Reveal())}
		f.certs[path(c.Account, c.ID)] = c
		return nil
	})
	return c, err
}

func (f *fakeConfig) DeleteCertificate(_ context.Context, by model.Actor, account, id string) error {
	return f.change(by, account, "certificate.delete", id, func(model.Meta) error {
		if _, ok := f.certs[path(account, id)]; !ok {
			return model.Errorf(model.CodeNotFound, "there is no certificate %s", id)
		}
		for _, p := range f.profiles {
			if p.Account == account && p.CertificateID == id {
				return model.Errorf(model.CodeInUse, "the certificate %s is used by the profile %s", id, p.ID)
			}
		}
		delete(f.certs, path(account, id))
		return nil
	})
}

func (f *fakeConfig) AuditReveal(_ context.Context, by model.Actor, account, authID string) error {
	return f.change(by, account, "security.reveal", authID, func(model.Meta) error {
		f.reveals = append(f.reveals, authID)
		return nil
	})
}

// Open implements Opener.
func (f *fakeConfig) Open(_ string, _ model.Entity, _ string, _ model.SecretField, s model.Sealed) (model.Secret, error) {
	return model.NewSecret(strings.TrimPrefix(string(s), sealedPrefix)), nil
}
