// Package signature checks the credentials of a webhook request from the
// receiver's side: Basic, the HMAC header and Standard Webhooks. It is written
// from the description of the headers and shares no code with the sender, so
// that the two check each other.
package signature

import (
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // the contract offers it
	"crypto/sha1" //nolint:gosec // the contract offers it
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/fsm/model"
)

// DefaultHeader is the header of the HMAC signature where a security setting
// names none.
const DefaultHeader = "X-Ib-Hmac-Signature"

// Tolerance is how far webhook-timestamp may be from the receiver's clock.
const Tolerance = 5 * time.Minute

// The headers of Standard Webhooks 1.0.0.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

var algorithms = map[string]struct {
	prefix string
	make   func() hash.Hash
}{
	"HMAC_MD5":     {"MD5", md5.New},
	"HMAC_SHA_1":   {"SHA1", sha1.New},
	"HMAC_SHA_224": {"SHA224", sha256.New224},
	"HMAC_SHA_256": {"SHA256", sha256.New},
	"HMAC_SHA_384": {"SHA384", sha512.New384},
	"HMAC_SHA_512": {"SHA512", sha512.New},
}

// ErrMismatch says that a signature is well formed and not that of the body
// under the given secret.
var ErrMismatch = errors.New("does not fit the body: another secret was used, or the body was changed on the way")

// Basic checks Authorization: Basic.
func Basic(h http.Header, username string, password model.Secret) error {
	r := http.Request{Header: h}
	u, p, ok := r.BasicAuth()
	if !ok {
		return errors.New("there is no Authorization: Basic header")
	}
	sameUser := subtle.ConstantTimeCompare([]byte(u), []byte(username))
	samePassword := subtle.ConstantTimeCompare([]byte(p), []byte(password.Reveal()))
	if sameUser&samePassword != 1 {
		return errors.New("the user name or the password is another one")
	}
	return nil
}

// HMAC checks "<ALG>=<signature>" over the exact body. The algorithm is the
// one of the security setting (HMAC_SHA_256); the prefix of the value must
// agree with it. Hex and base64 are told apart by the length of the value.
func HMAC(h http.Header, header, algorithm string, secret model.Secret, body []byte) error {
	alg, ok := algorithms[algorithm]
	if !ok {
		return fmt.Errorf("the algorithm %q is none of HMAC_MD5, HMAC_SHA_1, HMAC_SHA_224, HMAC_SHA_256, HMAC_SHA_384, HMAC_SHA_512", algorithm)
	}
	value := h.Get(header)
	if value == "" {
		return fmt.Errorf("there is no %s header", header)
	}
	prefix, sig, ok := strings.Cut(value, "=")
	if !ok || prefix != alg.prefix {
		return fmt.Errorf("%s must begin with %s=", header, alg.prefix)
	}
	mac := hmac.New(alg.make, []byte(secret.Reveal()))
	mac.Write(body)
	want := mac.Sum(nil)
	got, err := hex.DecodeString(sig)
	if len(sig) != 2*len(want) {
		got, err = base64.StdEncoding.DecodeString(sig)
	}
	if err != nil {
		return fmt.Errorf("%s is neither hex nor base64", header)
	}
	if !hmac.Equal(got, want) {
		return fmt.Errorf("%s %w", header, ErrMismatch)
	}
	return nil
}

// Standard checks the Standard Webhooks headers: one of the v1 signatures must
// be that of id.timestamp.body, and the timestamp must be within Tolerance of
// now. A secret that begins with whsec_ is decoded, any other is used as it is.
func Standard(h http.Header, secret model.Secret, body []byte, now time.Time) error {
	id, ts, sigs := h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	if id == "" || ts == "" || sigs == "" {
		return errors.New("webhook-id, webhook-timestamp and webhook-signature must all be there")
	}
	sec, err := strconv.ParseInt(ts, 10, 64)
	if err != nil {
		return errors.New("webhook-timestamp must be a number of seconds")
	}
	if d := now.Sub(time.Unix(sec, 0)); d < -Tolerance || d > Tolerance {
		return fmt.Errorf("webhook-timestamp is more than %s away from this clock", Tolerance)
	}
	key := []byte(secret.Reveal())
	if enc, ok := strings.CutPrefix(secret.Reveal(), "whsec_"); ok {
		if key, err = base64.StdEncoding.DecodeString(enc); err != nil {
			return errors.New("the secret begins with whsec_ and is not base64 behind it")
		}
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, ts)
	mac.Write(body)
	want := mac.Sum(nil)
	for s := range strings.FieldsSeq(sigs) {
		enc, ok := strings.CutPrefix(s, "v1,")
		if !ok {
			continue
		}
		if got, err := base64.StdEncoding.DecodeString(enc); err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return fmt.Errorf("webhook-signature %w", ErrMismatch)
}
