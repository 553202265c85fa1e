package webhook

import (
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // the contract offers it
	"crypto/sha1" //nolint:gosec // the contract offers it
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/fsm/model"
)

// The encodings of the HMAC signature.
const (
	encodingHex    = "hex"
	encodingBase64 = "base64"
)

// hashOf returns the hash of an algorithm of the contract and the name it has
// in the header's value.
func hashOf(a model.HMACAlgorithm) (name string, newHash func() hash.Hash) {
	switch a {
	case model.HMACMD5:
		return "MD5", md5.New
	case model.HMACSHA1:
		return "SHA1", sha1.New
	case model.HMACSHA224:
		return "SHA224", sha256.New224
	case model.HMACSHA256:
		return "SHA256", sha256.New
	case model.HMACSHA384:
		return "SHA384", sha512.New384
	case model.HMACSHA512:
		return "SHA512", sha512.New
	}
	return "", nil
}

// bodySignature is "<ALG>=<signature>" over the exact body, under the bytes of
// the secret as it was configured.
//
// INV webhook-8: what is signed is the slice that is sent.
func bodySignature(a model.HMACAlgorithm, encoding string, secret model.Secret, body []byte) (string, *failure) {
	name, newHash := hashOf(a)
	if newHash == nil {
		return "", failed(ClassAuth, "the HMAC algorithm of the security setting is unknown")
	}
	mac := hmac.New(newHash, []byte(secret.Reveal()))
	mac.Write(body)
	switch sum := mac.Sum(nil); encoding {
	case encodingHex:
		return name + "=" + hex.EncodeToString(sum), nil
	case encodingBase64:
		return name + "=" + base64.StdEncoding.EncodeToString(sum), nil
	}
	return "", failed(ClassAuth, "the HMAC encoding of the security setting is unknown")
}

// secretPrefix marks a secret in the serialised form of Standard Webhooks.
const secretPrefix = "whsec_"

// standardKey returns the key for webhook-signature: a secret that begins with
// whsec_ is base64 behind that, any other is used as it is.
func standardKey(secret model.Secret) ([]byte, bool) {
	encoded, ok := strings.CutPrefix(secret.Reveal(), secretPrefix)
	if !ok {
		return []byte(secret.Reveal()), true
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	return key, err == nil && len(key) > 0
}

// standardSignature is the value of webhook-signature: one signature for the
// secret, and one for the previous one as long as that counts.
func standardSignature(a *Auth, id string, at time.Time, body []byte) (string, *failure) {
	key, ok := standardKey(a.SecretKey)
	if !ok {
		return "", failed(ClassAuth, "the secret key begins with %s and is not base64 behind it", secretPrefix)
	}
	value := signV1(key, id, at, body)
	if !a.PreviousSecretKey.IsZero() && at.Before(a.PreviousUntil) {
		// One that does not decode could not have signed anything before.
		if previous, ok := standardKey(a.PreviousSecretKey); ok {
			value += " " + signV1(previous, id, at, body)
		}
	}
	return value, nil
}

func signV1(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
