package webhook

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/fsm/model"
)

// DefaultHMACHeader and DefaultHMACEncoding are used where neither the node
// nor the security setting names others.
const (
	DefaultHMACHeader   = "X-Ib-Hmac-Signature"
	DefaultHMACEncoding = encodingHex
)

// The headers of Standard Webhooks 1.0.0.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
	webhookPrefix   = "Webhook-"
)

// reserved are set by HTTP or by this package; configured headers of these
// names are left out. What is hop by hop (RFC 9110, section 7.6.1) could make
// one request two.
var reserved = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Proxy-Authenticate": true, "Proxy-Authorization": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "Expect": true,
	"Host": true, "Content-Length": true, "Content-Type": true,
}

func isReserved(canonical string) bool {
	return reserved[canonical] || strings.HasPrefix(canonical, webhookPrefix)
}

// header puts the headers of an attempt together. at is the time of signing,
// bearer the access token of an OAUTH setting.
//
// INV webhook-3: what a setting asks for is in the result, or there is a
// failure and nothing is sent.
func (s *Sender) header(r *Request, at time.Time, bearer model.Secret) (http.Header, *failure) {
	d := r.Destination
	signature := s.signatureHeader(d.Auth)
	h := make(http.Header, len(d.Headers)+len(r.Headers)+8)
	for _, source := range []map[string]string{d.Headers, r.Headers} {
		for name, value := range source {
			canonical := http.CanonicalHeaderKey(name)
			if !validHeader(name, value) {
				return nil, failed(ClassTemporary, "a configured header has a name or a value that cannot be sent")
			}
			// Nobody else may look as if he had signed.
			if !isReserved(canonical) && canonical != signature && canonical != s.hmacHeader {
				h[canonical] = []string{value}
			}
		}
	}
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", s.opts.UserAgent)
	}
	contentType := d.ContentType
	if contentType == "" {
		contentType = model.DefaultContentType
	}
	if !validHeader("Content-Type", contentType) || !validHeader(headerID, r.WebhookID) {
		return nil, failed(ClassTemporary, "the content type or the webhook id cannot be sent")
	}
	h.Set("Content-Type", contentType)
	h.Set(headerID, r.WebhookID)
	h.Set(headerTimestamp, strconv.FormatInt(at.Unix(), 10))
	if d.Auth == nil {
		return h, nil
	}
	if f := s.authenticate(h, r, at, bearer, signature); f != nil {
		return nil, f
	}
	return h, nil
}

// signatureHeader is the header of the HMAC signature.
func (s *Sender) signatureHeader(a *Auth) string {
	if a != nil && a.Type == model.CredentialsHMAC && a.HeaderName != "" {
		return http.CanonicalHeaderKey(a.HeaderName)
	}
	return s.hmacHeader
}

// authenticate adds what the security setting asks for.
func (s *Sender) authenticate(h http.Header, r *Request, at time.Time, bearer model.Secret, signature string) *failure {
	a := r.Destination.Auth
	switch a.Type {
	case model.CredentialsBasic:
		if a.Username == "" || a.Password.IsZero() {
			return failed(ClassAuth, "the security setting lacks its user name or password")
		}
		if strings.Contains(a.Username, ":") {
			return failed(ClassAuth, "a user name with a colon cannot be sent in Basic authentication")
		}
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password.Reveal())))
	case model.CredentialsHMAC:
		return s.sign(h, r, at, signature)
	case model.CredentialsOAuth:
		if bearer.IsZero() {
			return failed(ClassAuth, "there is no access token")
		}
		h.Set("Authorization", "Bearer "+bearer.Reveal())
	case model.CredentialsCustom:
		if len(a.Headers) == 0 {
			return failed(ClassAuth, "the security setting lacks its headers")
		}
		for name, value := range a.Headers {
			if value.IsZero() || !validHeader(name, value.Reveal()) || isReserved(http.CanonicalHeaderKey(name)) {
				return failed(ClassAuth, "a header of the security setting is empty or cannot be sent")
			}
			h.Set(name, value.Reveal())
		}
	default:
		return failed(ClassAuth, "the type of the security setting is unknown to this version")
	}
	return nil
}

func (s *Sender) sign(h http.Header, r *Request, at time.Time, name string) *failure {
	a := r.Destination.Auth
	if a.SecretKey.IsZero() {
		return failed(ClassAuth, "the security setting lacks its secret key")
	}
	encoding := a.Encoding
	if encoding == "" {
		encoding = s.opts.HMACEncoding
	}
	value, f := bodySignature(a.Algorithm, encoding, a.SecretKey, r.Body)
	if f != nil {
		return f
	}
	standard, f := standardSignature(a, r.WebhookID, at, r.Body)
	if f != nil {
		return f
	}
	if !validHeader(name, value) || isReserved(name) {
		return failed(ClassAuth, "the header of the HMAC signature has a name that cannot be sent")
	}
	h.Set(name, value)
	h.Set(headerSignature, standard)
	return nil
}

// validHeader follows RFC 9110, section 5: net/http would refuse others too,
// and name the header.
func validHeader(name, value string) bool {
	if name == "" {
		return false
	}
	for i := range len(name) {
		c := name[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
