package node

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// maxResolved is how many destinations the resolver keeps before it starts
// anew; it bounds memory, not correctness.
const maxResolved = 10_000

// configSource is what the resolver reads.
type configSource interface {
	Profile(account, id string) (model.Profile, error)
	Security(account, id string) (model.Security, error)
	Certificate(account, id string) (model.Certificate, error)
}

// opener opens sealed secrets.
type opener interface {
	Open(account string, kind model.Entity, id string, field model.SecretField, s model.Sealed) (model.Secret, error)
}

// resolver joins a profile with its security setting and certificate as they
// are in the current config state, with the secrets opened.
//
// INV node-1: no attempt starts with a destination that was resolved before a
// commit that this node has applied. Invalidate runs on the apply goroutine
// after the commit, and a resolution that raced with it is not stored.
type resolver struct {
	config configSource
	opener opener // set before the first Resolve

	mu    sync.Mutex
	gen   uint64
	cache map[resolveKey]*webhook.Destination
}

type resolveKey struct{ account, profile string }

func newResolver(c configSource, o opener) *resolver {
	return &resolver{config: c, opener: o, cache: map[resolveKey]*webhook.Destination{}}
}

// Invalidate forgets every resolved destination.
func (r *resolver) Invalidate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gen++
	clear(r.cache)
}

// Profile returns the profile's knobs. CodeNotFound: it is gone.
func (r *resolver) Profile(account, profileID string) (model.Profile, error) {
	return r.config.Profile(account, profileID)
}

// Resolve returns the destination of a profile. CodeNotFound: the profile is
// gone. A profile that is disabled resolves; the caller looks at Disabled.
// Any other error means that the destination cannot be used as configured (a
// secret that does not open, a key that does not parse): the attempt fails
// and nothing is sent.
func (r *resolver) Resolve(account, profileID string) (*webhook.Destination, error) {
	key := resolveKey{account, profileID}
	r.mu.Lock()
	d, ok := r.cache[key]
	gen := r.gen
	r.mu.Unlock()
	if ok {
		return d, nil
	}
	d, err := r.resolve(account, profileID)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gen == gen {
		if len(r.cache) >= maxResolved {
			clear(r.cache)
		}
		r.cache[key] = d
	}
	return d, nil
}

func (r *resolver) resolve(account, profileID string) (*webhook.Destination, error) {
	p, err := r.config.Profile(account, profileID)
	if err != nil {
		return nil, err
	}
	e := p.Effective()
	d := &webhook.Destination{
		Account:           account,
		ProfileID:         profileID,
		Version:           p.UpdatedIndex,
		URL:               e.URL,
		ContentType:       e.ContentType,
		ConnectTimeout:    time.Duration(e.ConnectTimeoutMs) * time.Millisecond,
		ReadTimeout:       time.Duration(e.ReadTimeoutMs) * time.Millisecond,
		Headers:           e.Headers,
		ResponseRegex:     e.ResponseRegex,
		ResponseBodyRegex: e.ResponseBodyRegex,
	}
	d.MinTLS, d.MaxTLS = tlsRange(e.EnabledSSLProtocols)
	if p.SecurityID != "" {
		s, err := r.config.Security(account, p.SecurityID)
		if err != nil {
			return nil, fmt.Errorf("security setting %s of profile %s: %w", p.SecurityID, profileID, brokenReference(err))
		}
		d.Version = max(d.Version, s.UpdatedIndex)
		if d.Auth, err = r.auth(s); err != nil {
			return nil, fmt.Errorf("security setting %s of profile %s: %w", p.SecurityID, profileID, err)
		}
	}
	if p.CertificateID != "" {
		c, err := r.config.Certificate(account, p.CertificateID)
		if err != nil {
			return nil, fmt.Errorf("certificate %s of profile %s: %w", p.CertificateID, profileID, brokenReference(err))
		}
		d.Version = max(d.Version, c.UpdatedIndex)
		if err := r.attachCertificate(d, c); err != nil {
			return nil, fmt.Errorf("certificate %s of profile %s: %w", p.CertificateID, profileID, err)
		}
	}
	return d, nil
}

// brokenReference hides the not-found code of a referred object: the hierarchy
// forbids it, so it must not look as if the profile itself were gone.
func brokenReference(err error) error {
	return model.Errorf(model.CodeInternal, "referred object is missing").WithCause(err)
}

// attachCertificate parses the chain and opens the private key of c.
func (r *resolver) attachCertificate(d *webhook.Destination, c model.Certificate) error {
	cert, err := clientCertificate(r.opener, c)
	if err != nil {
		return err
	}
	d.Certificate = cert
	d.CertificateKey = certificateKey(c)
	return nil
}

func certificateKey(c model.Certificate) string {
	return fmt.Sprintf("%s/%s/%d", c.Account, c.ID, c.UpdatedIndex)
}

func clientCertificate(o opener, c model.Certificate) (*tls.Certificate, error) {
	sealed, ok := c.Secrets[model.FieldPrivateKey]
	if !ok {
		return nil, errors.New("the private key is missing")
	}
	der, err := o.Open(c.Account, model.EntityCertificate, c.ID, model.FieldPrivateKey, sealed)
	if err != nil {
		return nil, fmt.Errorf("open private key: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey([]byte(der.Reveal()))
	if err != nil {
		return nil, errors.New("the stored private key cannot be parsed")
	}
	cert := &tls.Certificate{PrivateKey: key}
	for rest := c.ChainPEM; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert.Certificate = append(cert.Certificate, block.Bytes)
	}
	if len(cert.Certificate) == 0 {
		return nil, errors.New("the stored certificate chain is empty")
	}
	if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
		return nil, fmt.Errorf("parse stored certificate: %w", err)
	}
	return cert, nil
}

// auth opens the secrets of a security setting.
func (r *resolver) auth(s model.Security) (*webhook.Auth, error) {
	a := &webhook.Auth{
		Type:          s.Type,
		Username:      s.Username,
		Algorithm:     s.Algorithm,
		HeaderName:    s.HeaderName,
		Encoding:      s.Encoding,
		PreviousUntil: s.PreviousUntil,
		TokenURL:      s.TokenURL,
		GrantType:     s.GrantType,
		ClientID:      s.ClientID,
		Scope:         s.Scope,
		Resource:      s.Resource,
	}
	named := map[model.SecretField]*model.Secret{
		model.FieldPassword:          &a.Password,
		model.FieldSecretKey:         &a.SecretKey,
		model.FieldPreviousSecretKey: &a.PreviousSecretKey,
		model.FieldClientSecret:      &a.ClientSecret,
		model.FieldRefreshToken:      &a.RefreshToken,
	}
	for field, sealed := range s.Secrets {
		plain, err := r.opener.Open(s.Account, model.EntitySecurity, s.ID, field, sealed)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", field, err)
		}
		if name, ok := field.HeaderName(); ok {
			if a.Headers == nil {
				a.Headers = map[string]model.Secret{}
			}
			a.Headers[name] = plain
			continue
		}
		dst, ok := named[field]
		if !ok {
			return nil, fmt.Errorf("secret field %s is unknown to this version", field)
		}
		*dst = plain
	}
	return a, nil
}

// tlsRange turns the contract's list of protocols into a version range.
func tlsRange(protocols []string) (minVersion, maxVersion uint16) {
	for _, p := range protocols {
		v := uint16(tls.VersionTLS12)
		if p == "TLSv1.3" {
			v = tls.VersionTLS13
		}
		if minVersion == 0 || v < minVersion {
			minVersion = v
		}
		maxVersion = max(maxVersion, v)
	}
	return minVersion, maxVersion
}
