package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

// fakeConfig serves a map of objects and counts the reads of profiles.
type fakeConfig struct {
	profiles map[string]model.Profile
	security map[string]model.Security
	certs    map[string]model.Certificate
	reads    int
	onRead   func()
}

func find[T any](m map[string]T, id string) (T, error) {
	v, ok := m[id]
	if !ok {
		return v, model.Errorf(model.CodeNotFound, "there is no %s", id)
	}
	return v, nil
}

func (f *fakeConfig) Profile(_, id string) (model.Profile, error) {
	f.reads++
	if f.onRead != nil {
		f.onRead()
	}
	return find(f.profiles, id)
}

func (f *fakeConfig) Security(_, id string) (model.Security, error) { return find(f.security, id) }

func (f *fakeConfig) Certificate(_, id string) (model.Certificate, error) { return find(f.certs, id) }

// openAsIs treats the envelope as the clear text and refuses "broken".
type openAsIs struct{}

func (openAsIs) Open(_ string, _ model.Entity, _ string, _ model.SecretField, s model.Sealed) (model.Secret, error) {
	if string(s) == "broken" {
		return model.Secret{}, errors.New("the envelope does not open")
	}
	return model.NewSecret(string(s)), nil
}

func selfSigned(t *testing.T) (chainPEM, keyDER []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err = x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyDER
}

func TestResolver_Resolve(t *testing.T) {
	t.Parallel()
	chain, key := selfSigned(t)
	cfg := &fakeConfig{
		profiles: map[string]model.Profile{
			"plain":      {ID: "plain", URL: "http://hook.test/", Meta: model.Meta{UpdatedIndex: 3}},
			"full":       {ID: "full", URL: "https://hook.test/", SecurityID: "s", CertificateID: "c", RateLimit: 5, ConnectTimeoutMs: 300, EnabledSSLProtocols: []string{"TLSv1.3"}},
			"broken":     {ID: "broken", SecurityID: "bad"},
			"dangling":   {ID: "dangling", SecurityID: "nowhere"},
			"brokencert": {ID: "brokencert", CertificateID: "nokey"},
		},
		security: map[string]model.Security{
			"s": {ID: "s", Type: model.CredentialsOAuth, TokenURL: "https://id.test/token", Secrets: map[model.SecretField]model.Sealed{
				model.FieldClientSecret: []byte("cs"), model.HeaderField("X-Tenant"): []byte("t1"),
			}, Meta: model.Meta{UpdatedIndex: 9}},
			"bad": {ID: "bad", Type: model.CredentialsBasic, Secrets: map[model.SecretField]model.Sealed{model.FieldPassword: []byte("broken")}},
		},
		certs: map[string]model.Certificate{
			"c":     {Account: "a", ID: "c", ChainPEM: chain, Secrets: map[model.SecretField]model.Sealed{model.FieldPrivateKey: key}},
			"nokey": {Account: "a", ID: "nokey", ChainPEM: chain},
		},
	}
	r := newResolver(cfg, openAsIs{})

	d, err := r.Resolve("a", "plain")
	if err != nil {
		t.Fatal(err)
	}
	if d.ConnectTimeout != 10*time.Second || d.ReadTimeout != 10*time.Second || d.ContentType != "application/json" || d.Auth != nil || d.Version != 3 {
		t.Errorf("plain profile resolved without its defaults: %+v", d)
	}

	d, err = r.Resolve("a", "full")
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Auth.ClientSecret.Reveal(); got != "cs" {
		t.Errorf("client secret = %q, want cs", got)
	}
	if got := d.Auth.Headers["X-Tenant"].Reveal(); got != "t1" {
		t.Errorf("secret header = %q, want t1", got)
	}
	if d.MinTLS != tls.VersionTLS13 || d.MaxTLS != tls.VersionTLS13 {
		t.Errorf("TLS range = %x..%x, want 1.3 only", d.MinTLS, d.MaxTLS)
	}
	if d.Certificate == nil || d.Certificate.Leaf.SerialNumber.Int64() != 7 || d.CertificateKey == "" {
		t.Errorf("client certificate is missing: %+v", d.Certificate)
	}
	if d.Version != 9 {
		t.Errorf("version = %d, want that of the newest object, 9", d.Version)
	}

	// Everything fails closed: an error, never a destination without its
	// credentials, and never "not found" for a profile that exists.
	for _, id := range []string{"broken", "dangling", "brokencert"} {
		d, err := r.Resolve("a", id)
		if err == nil || d != nil || model.CodeOf(err) == model.CodeNotFound {
			t.Errorf("Resolve(%s) = %v, %v; want an internal error and nothing else", id, d, err)
		}
	}
	if _, err := r.Resolve("a", "none"); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("Resolve(none) = %v, want not_found", err)
	}
}

// INV node-1.
func TestResolver_Invalidate_forgetsWhatACommitChanged(t *testing.T) {
	t.Parallel()
	cfg := &fakeConfig{profiles: map[string]model.Profile{"p": {ID: "p", URL: "http://old.test/"}}}
	r := newResolver(cfg, openAsIs{})
	if _, err := r.Resolve("a", "p"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resolve("a", "p"); err != nil || cfg.reads != 1 {
		t.Fatalf("second Resolve read the config again: reads = %d, err = %v", cfg.reads, err)
	}

	cfg.profiles["p"] = model.Profile{ID: "p", URL: "http://new.test/"}
	r.Invalidate()
	d, err := r.Resolve("a", "p")
	if err != nil || d.URL != "http://new.test/" {
		t.Fatalf("after Invalidate: %v, %v; want the new URL", d, err)
	}

	// A commit that lands while a resolution runs: the old answer may be used
	// by that one attempt, which began before, but is not kept.
	r.Invalidate()
	cfg.onRead = func() { cfg.onRead = nil; r.Invalidate() }
	if _, err := r.Resolve("a", "p"); err != nil {
		t.Fatal(err)
	}
	before := cfg.reads
	if _, err := r.Resolve("a", "p"); err != nil || cfg.reads != before+1 {
		t.Errorf("an answer that raced with a commit was cached: reads = %d, want %d", cfg.reads, before+1)
	}
}

func TestResolver_cacheIsBounded(t *testing.T) {
	t.Parallel()
	r := newResolver(&fakeConfig{profiles: map[string]model.Profile{"p": {ID: "p"}}}, openAsIs{})
	for i := range maxResolved + 1 {
		if _, err := r.Resolve(big.NewInt(int64(i)).String(), "p"); err != nil {
			t.Fatal(err)
		}
		if len(r.cache) > maxResolved {
			t.Fatalf("the cache holds %d destinations, limit %d", len(r.cache), maxResolved)
		}
	}
	if len(r.cache) != 1 {
		t.Errorf("one above the limit the cache holds %d, want 1", len(r.cache))
	}
}
