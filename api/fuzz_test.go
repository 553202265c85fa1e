package api

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/youmark/pkcs8"

	"example.com/belfry/fsm/model"
)

// wantOurError: whatever comes in, only errors that a client may see go out.
func wantOurError(t *testing.T, err error) {
	t.Helper()
	t.Helper()
	e, ok := errors.AsType[*model.Error](err)
	if err == nil || !ok {
		if err != nil {
			t.Errorf("an error of another kind: %v", err)
		}
		return
	}
	if len(e.Violations()) > model.MaxViolations || len(e.Message) > 4096 {
		t.Errorf("an error that is too large: %d violations, %d bytes", len(e.Violations()), len(e.Message))
	}
	for _, v := range e.Violations() {
		if strings.ContainsFunc(v.Field, func(r rune) bool { return r < 0x20 || r >= 0x7f }) {
			t.Errorf("the field %q is not plain", v.Field)
		}
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for _, op := range contractOps() {
		f.Add([]byte(op.body), false)
	}
	for _, s := range []string{`{"a":{"b":[1,null]}}`, `{"profileId":"p","windowSize":2e1,"retry":{"schedule":[1]}}`, `[`, `{"a":1,"a":2}`, `"\ud800"`, `{"events":["A",{"event":"B","format":"C"}]}`, "\xff"} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, strict bool) {
		for _, dst := range []any{&subscriptionIn{}, &profileIn{}, &securityIn{}, &certificateIn{}, &keyPatchIn{}} {
			wantOurError(t, decodeJSON(b, dst, strict))
		}
		tree, err := parseJSON(b)
		if err != nil {
			wantOurError(t, err)
			return
		}
		// What is taken is JSON to everybody, and stays the same when it is
		// written again.
		if !json.Valid(b) {
			t.Fatalf("taken, but not JSON: %q", b)
		}
		again, err := parseJSON(encodeNode(tree))
		if err != nil || !bytes.Equal(encodeNode(again), encodeNode(tree)) {
			t.Errorf("%q is written as %q: %v", b, encodeNode(tree), err)
		}
	})
}

func FuzzParseCertificate(f *testing.F) {
	x := fixtures()
	leaf := certPEM(x.leaf)
	f.Add([]byte(testPEM()), []byte(""))
	f.Add([]byte(leaf+encryptedPEM(x.key, pkcs8.PBKDF2Opts{SaltSize: 8, IterationCount: 1, HMACHash: crypto.SHA256}, pkcs8.AES128CBC)), []byte("secret"))
	f.Add([]byte(leaf+encryptedPEM(x.key, pkcs8.ScryptOpts{SaltSize: 8, CostParameter: 2, BlockSize: 1, ParallelizationParameter: 1}, pkcs8.TripleDESCBC)), []byte("secret"))
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n"+leaf), []byte("secret"))
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAwAA==\n-----END ENCRYPTED PRIVATE KEY-----\n"+leaf), []byte("x"))
	f.Fuzz(func(t *testing.T, content, passphrase []byte) {
		c, key, err := parseCertificate(content, passphrase)
		if err != nil {
			wantOurError(t, err)
			return
		}
		if len(c.ChainPEM) == 0 || key.IsZero() || len(c.SerialNumber) > 50 || bytes.Contains(c.ChainPEM, []byte("PRIVATE")) {
			t.Errorf("taken, but not complete: %+v", c)
		}
	})
}

// A token is taken only with the body that was signed. Base64 leaves bits of
// the last character open, so that a signature has several spellings.
func FuzzToken(f *testing.F) {
	s := newTokenSigner(bytes.Repeat([]byte("k"), minTokenKey), func() time.Time { return time.Unix(1_800_000_000, 0) })
	want := claims{ID: "fixed", Kind: tokenBearer, Subject: "key:abc", Generation: 7, Expires: 1_800_000_001}
	body := base64.RawURLEncoding.EncodeToString(must(json.Marshal(want)))
	good := body + "." + base64.RawURLEncoding.EncodeToString(s.sign(body))
	for _, seed := range []string{good, good + ".", "." + good, good[:len(good)-1], strings.ToUpper(good), "", ".", "a.b", "e30.", strings.Replace(good, ".", "..", 1), good + "\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, ok := s.parse(token)
		if token == good && !ok {
			t.Error("the token that was made is refused")
		}
		if ok && (c != want || !strings.HasPrefix(token, body+".")) {
			t.Errorf("parse(%q) = %+v", token, c)
		}
	})
}

func FuzzCredentials(f *testing.F) {
	for _, seed := range []string{"App " + keyAdmin, "app  x ", "Basic YTpi", "Basic ", "Bearer a.b", "IBSSO", "App blf_000000000000_" + strings.Repeat("a", 43), "Basic " + strings.Repeat("A", 6000), "\x00 \x00", "Basic OnA="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		scheme, cred, ok := splitAuthorization(header)
		if !ok {
			return
		}
		if scheme == "" || cred == "" || scheme != strings.ToLower(scheme) || len(header) > maxAuthorization || strings.HasPrefix(cred, " ") {
			t.Errorf("%q is split into %q and %q", header, scheme, cred)
		}
		if name, password, ok := splitBasic(cred); ok && (name == "" || strings.Contains(name, ":") || len(name) > model.MaxIDLength || len(password) > maxPassword) {
			t.Errorf("%q gives the name %q", cred, name)
		}
		if id, hash := HashKey(cred); model.CheckID(id) != "" || len(hash) != 32 {
			t.Errorf("%q has the id %q", cred, id)
		}
	})
}

// Paging and filters take what is within the limits, whatever the query says.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"", "page=0&size=20", "page=-1", "size=101", "size=1&size=2", "page=%31", "page=9223372036854775807", "applicationId=a&applicationId=b", "applicationId=%00", "reveal=true", "a;b", "%zz", "size=+5", "size=%2B5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		r := &request{query: q}
		page, size, err := r.page()
		wantOurError(t, err)
		if err == nil && (page < 0 || page > math.MaxInt32 || size < 1 || size > model.MaxPageSize) {
			t.Errorf("%q: page %d, size %d", raw, page, size)
		}
		var v model.Violations
		for _, s := range r.textParams("applicationId", model.MaxIDLength, &v) {
			if model.CheckText(s, 1, model.MaxIDLength) != "" && v.Empty() {
				t.Errorf("%q: the filter %q is taken", raw, s)
			}
		}
		_, err = r.flagParam("reveal")
		wantOurError(t, err)
	})
}
