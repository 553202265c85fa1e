package webhook

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"example.com/belfry/fsm/model"
)

// The vector of the specification.
func TestSignV1_publishedVector(t *testing.T) {
	t.Parallel()
	key, ok := standardKey(model.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	if !ok {
		t.Fatal("the secret does not decode")
	}
	got := signV1(key, testWebhookID, time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// INV webhook-8: the library of Standard Webhooks takes our signatures.
func TestStandardSignature(t *testing.T) {
	t.Parallel()
	const whsec, plain = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a secret as people write them"
	now := time.Now()
	body := []byte(`{"results":[{"messageId":"m-1"}]}`)
	for _, tt := range []struct {
		name             string
		secret, previous string
		until            time.Time
		signatures       int
		takenBy, refused []string
	}{
		{name: "serialised", secret: whsec, signatures: 1, takenBy: []string{whsec}},
		{name: "plain", secret: plain, signatures: 1, takenBy: []string{plain}, refused: []string{whsec}},
		{name: "rotation", secret: plain, previous: whsec, until: now.Add(time.Second), signatures: 2, takenBy: []string{plain, whsec}},
		{name: "rotation over", secret: plain, previous: whsec, until: now, signatures: 1, takenBy: []string{plain}, refused: []string{whsec}},
		{name: "previous does not decode", secret: plain, previous: "whsec_?", until: now.Add(time.Hour), signatures: 1, takenBy: []string{plain}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			value, f := standardSignature(&Auth{
				SecretKey: model.NewSecret(tt.secret), PreviousSecretKey: model.NewSecret(tt.previous), PreviousUntil: tt.until,
			}, testWebhookID, now, body)
			if f != nil {
				t.Fatal(f)
			}
			if n := len(strings.Fields(value)); n != tt.signatures {
				t.Errorf("%d signatures in %q, want %d", n, value, tt.signatures)
			}
			h := http.Header{}
			h.Set(headerID, testWebhookID)
			h.Set(headerTimestamp, strconv.FormatInt(now.Unix(), 10))
			h.Set(headerSignature, value)
			for _, secret := range tt.takenBy {
				if err := verifier(t, secret).Verify(body, h); err != nil {
					t.Errorf("%s: %v", secret, err)
				}
				if err := verifier(t, secret).Verify(append(slices.Clip(body), ' '), h); err == nil {
					t.Errorf("%s: another body verifies", secret)
				}
			}
			for _, secret := range tt.refused {
				if err := verifier(t, secret).Verify(body, h); err == nil {
					t.Errorf("%s verifies", secret)
				}
			}
		})
	}
	for _, secret := range []string{"whsec_", "whsec_not base64", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS"} {
		_, f := standardSignature(&Auth{SecretKey: model.NewSecret(secret)}, testWebhookID, now, body)
		if f == nil || f.class != ClassAuth || strings.Contains(f.text, "MfKQ") {
			t.Errorf("%q: %v", secret, f)
		}
	}
}

func verifier(tb testing.TB, secret string) *standardwebhooks.Webhook {
	tb.Helper()
	if strings.HasPrefix(secret, secretPrefix) {
		w, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			tb.Fatal(err)
		}
		return w
	}
	w, err := standardwebhooks.NewWebhookRaw([]byte(secret))
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

// Values computed with the tool "openssl dgst -<hash> -hmac key".
func TestBodySignature(t *testing.T) {
	t.Parallel()
	body := []byte("The quick brown fox jumps over the lazy dog")
	for alg, want := range map[model.HMACAlgorithm]string{
		model.HMACMD5:    "MD5=80070713463e7749b90c2dc24911e275",
		model.HMACSHA1:   "SHA1=de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9",
		model.HMACSHA224: "SHA224=88ff8b54675d39b8f72322e65ff945c52d96379988ada25639747e69",
		model.HMACSHA256: "SHA256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8",
		model.HMACSHA384: "SHA384=d7f4727e2c0b39ae0f1e40cc96f60242d5b7801841cea6fc592c5d3e1ae50700582a96cf35e1e554995fe4e03381c237",
		model.HMACSHA512: "SHA512=b42af09057bac1e2d41708e48a902e09b5ff7f12ab428a4fe86653c73dd248fb82f948a549f7b791a5b41915ee4d1ec3935357e4e2317250d0372afa2ebeeb3a",
	} {
		got, f := bodySignature(alg, encodingHex, model.NewSecret("key"), body)
		if f != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", alg, got, f, want)
		}
	}
	if got, f := bodySignature(model.HMACSHA256, encodingBase64, model.NewSecret("key"), body); f != nil || got != "SHA256=97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNg=" {
		t.Errorf("base64: %s, %v", got, f)
	}
	for _, tt := range []struct {
		alg      model.HMACAlgorithm
		encoding string
	}{{"HMAC_CRC", encodingHex}, {"", encodingHex}, {model.HMACMD5, "base32"}, {model.HMACMD5, ""}} {
		if got, f := bodySignature(tt.alg, tt.encoding, model.NewSecret("key"), body); f == nil || f.class != ClassAuth || got != "" {
			t.Errorf("%+v: %q, %v", tt, got, f)
		}
	}
	// A whsec_ secret is used as it is written here: what the contract calls
	// the secret key are its characters.
	sum, _ := bodySignature(model.HMACSHA256, encodingHex, model.NewSecret("whsec_a2V5"), body)
	if sum == "SHA256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8" {
		t.Errorf("the serialised secret was decoded: %s", sum)
	}
}
