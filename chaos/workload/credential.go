package workload

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/belfry/chaos/history"
)

// headerCustom carries the credential of the settings of type CUSTOM.
const headerCustom = "X-Chaos-Credential"

// secretOf is the secret of one version of a setting. It follows from both, so
// that a receiver can tell versions apart without being told of each.
func secretOf(auth string, version int) string {
	sum := sha256.Sum256([]byte(auth + "\x00" + strconv.Itoa(version)))
	return hex.EncodeToString(sum[:])
}

// versionText shows a version in a name or a header.
func versionText(auth string, version int) string { return auth + ".v" + strconv.Itoa(version) }

// versionOf reads the version in what versionText made, or -1.
func versionOf(text string) int {
	i := strings.LastIndex(text, ".v")
	if i < 0 {
		return -1
	}
	v, err := strconv.Atoi(text[i+2:])
	if err != nil || v < 0 {
		return -1
	}
	return v
}

// credentials are what a setting of this version is given to belfry.
func credentials(auth string, s history.Security) map[string]any {
	secret := secretOf(auth, s.Version)
	switch s.Type {
	case typeBasic:
		return map[string]any{"username": versionText(auth, s.Version), "password": secret}
	case typeHMAC:
		return map[string]any{"secretKey": secret, "algorithm": hmacAlgorithm}
	}
	return map[string]any{"headers": map[string]string{headerCustom: versionText(auth, s.Version) + "." + secret}}
}

// keyring knows which settings the destinations had, and the last version that
// each was given. It is safe for concurrent use.
type keyring struct {
	mu   sync.Mutex
	auth map[string][]*ringEntry // by destination
}

type ringEntry struct {
	auth   string
	newest int
}

// give notes that a destination is about to get a version of a setting. It must
// be called before the change is sent.
func (k *keyring) give(dest, auth string, version int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.auth == nil {
		k.auth = map[string][]*ringEntry{}
	}
	for _, e := range k.auth[dest] {
		if e.auth == auth {
			e.newest = max(e.newest, version)
			return
		}
	}
	k.auth[dest] = append(k.auth[dest], &ringEntry{auth, version})
}

// settings are those a destination had, the last first.
func (k *keyring) settings(dest string) []ringEntry {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []ringEntry
	for _, e := range slices.Backward(k.auth[dest]) {
		out = append(out, *e)
	}
	return out
}

// recognise says which credential a request to a destination carries. An empty
// type is none; version -1 is one that the destination was never given, or a
// signature that does not fit.
func (k *keyring) recognise(dest string, h http.Header, body []byte) (kind string, version int) {
	user, password, basic := (&http.Request{Header: h}).BasicAuth()
	custom := h.Get(headerCustom)
	signature := h.Get("X-Ib-Hmac-Signature")
	for _, e := range k.settings(dest) {
		switch {
		case basic:
			kind, version = typeBasic, versionOf(user)
			if user != versionText(e.auth, version) || password != secretOf(e.auth, version) {
				version = -1
			}
		case custom != "":
			kind, version = typeCustom, -1
			if i := strings.LastIndexByte(custom, '.'); i > 0 {
				if v := versionOf(custom[:i]); custom == versionText(e.auth, v)+"."+secretOf(e.auth, v) {
					version = v
				}
			}
		case signature != "":
			kind, version = typeHMAC, e.signed(signature, h, body)
		default:
			return "", 0
		}
		if version >= 0 && version <= e.newest {
			return kind, version
		}
	}
	switch {
	case basic:
		return typeBasic, -1
	case custom != "":
		return typeCustom, -1
	case signature != "":
		return typeHMAC, -1
	}
	return "", 0
}

// signed finds the version whose secret both signatures of a request were made
// with, or -1.
func (e *ringEntry) signed(signature string, h http.Header, body []byte) int {
	for v := e.newest; v >= 0; v-- {
		secret := []byte(secretOf(e.auth, v))
		if signature != "SHA256="+hex.EncodeToString(mac(secret, body)) {
			continue
		}
		signed := h.Get("Webhook-Id") + "." + h.Get("Webhook-Timestamp") + "."
		if h.Get("Webhook-Signature") != "v1,"+base64.StdEncoding.EncodeToString(mac(secret, []byte(signed), body)) {
			return -1
		}
		return v
	}
	return -1
}

func mac(secret []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, secret)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// newCertificate makes a certificate that signs itself, valid from an hour ago
// for the given time.
func newCertificate(valid time.Duration) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a key: %w", err)
	}
	from := time.Now().Add(-time.Hour)
	t := &x509.Certificate{
		SerialNumber: big.NewInt(from.UnixNano()), Subject: pkix.Name{CommonName: "chaos"},
		NotBefore: from, NotAfter: from.Add(valid), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// uploadContent is a certificate as the config API takes it.
func uploadContent() (string, error) {
	c, err := newCertificate(48 * time.Hour)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return "", fmt.Errorf("encode a key: %w", err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	return base64.StdEncoding.EncodeToString(text), nil
}
