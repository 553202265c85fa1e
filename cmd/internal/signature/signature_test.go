package signature

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// The values are those of RFC 2202 and RFC 4231, test case 2: key "Jefe".
func TestHMAC_vectors(t *testing.T) {
	t.Parallel()
	body := []byte("what do ya want for nothing?")
	secret := model.NewSecret("Jefe")
	for alg, value := range map[string]string{
		"HMAC_MD5":     "MD5=750c783e6ab0b503eaa86e310a5db738",
		"HMAC_SHA_1":   "SHA1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
		"HMAC_SHA_224": "SHA224=a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44",
		"HMAC_SHA_256": "SHA256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		"HMAC_SHA_384": "SHA384=af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
		"HMAC_SHA_512": "SHA512=164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
	} {
		h := headers(DefaultHeader, value)
		if err := HMAC(h, DefaultHeader, alg, secret, body); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if err := HMAC(h, DefaultHeader, alg, secret, append(body, '\n')); err == nil {
			t.Errorf("%s: a changed body passes", alg)
		}
		if err := HMAC(h, DefaultHeader, alg, model.NewSecret("jefe"), body); err == nil {
			t.Errorf("%s: another secret passes", alg)
		}
	}
	b64 := headers("X-Sig", "SHA256=W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=")
	if err := HMAC(b64, "X-Sig", "HMAC_SHA_256", secret, body); err != nil {
		t.Errorf("base64: %v", err)
	}
}

func TestHMAC_refuses(t *testing.T) {
	t.Parallel()
	secret := model.NewSecret("CANARY-secret")
	for want, h := range map[string]http.Header{
		"there is no X-Ib-Hmac-Signature": headers(),
		"must begin with SHA256=":         headers(DefaultHeader, "SHA512=00"),
		"neither hex nor base64":          headers(DefaultHeader, "SHA256=zz!"),
		"does not fit the body":           headers(DefaultHeader, "SHA256="+strings.Repeat("0", 64)),
	} {
		err := HMAC(h, DefaultHeader, "HMAC_SHA_256", secret, []byte("x"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := HMAC(headers(DefaultHeader, "X=1"), DefaultHeader, "SHA256", secret, nil); err == nil {
		t.Error("an unknown algorithm passes")
	}
}

// The vector is the one that the libraries of Standard Webhooks share.
func TestStandard(t *testing.T) {
	t.Parallel()
	const vector = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	secret := model.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	body := []byte(`{"test": 2432232314}`)
	at := time.Unix(1614265330, 0)
	with := func(sig string) http.Header {
		return headers(HeaderID, "msg_p5jXN8AQM9LWM0D4loKWxJek", HeaderTimestamp, "1614265330", HeaderSignature, sig)
	}
	tests := []struct {
		name string
		h    http.Header
		now  time.Time
		body []byte
		want string
	}{
		{"vector", with(vector), at, body, ""},
		{"second of two", with("v1,AAAA v1a,xyz " + vector), at, body, ""},
		{"clock at the limit", with(vector), at.Add(Tolerance), body, ""},
		{"clock behind at the limit", with(vector), at.Add(-Tolerance), body, ""},
		{"clock above the limit", with(vector), at.Add(Tolerance + time.Second), body, "more than 5m0s away"},
		{"clock behind above the limit", with(vector), at.Add(-Tolerance - time.Second), body, "more than 5m0s away"},
		{"another body", with(vector), at, []byte("{}"), "does not fit"},
		{"another version only", with("v2," + vector[3:]), at, body, "does not fit"},
		{"no signature", headers(HeaderID, "a", HeaderTimestamp, "1"), at, body, "must all be there"},
		{"bad timestamp", headers(HeaderID, "a", HeaderTimestamp, "now", HeaderSignature, vector), at, body, "must be a number"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := Standard(tt.h, secret, tt.body, tt.now)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if err := Standard(with(vector), model.NewSecret("whsec_!"), body, at); err == nil {
		t.Error("a secret that is no base64 passes")
	}
}

func TestBasic(t *testing.T) {
	t.Parallel()
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth("ops", "pa:ss")
	if err := Basic(r.Header, "ops", model.NewSecret("pa:ss")); err != nil {
		t.Error(err)
	}
	for _, other := range [][2]string{{"ops", "pa"}, {"op", "pa:ss"}, {"", ""}} {
		if err := Basic(r.Header, other[0], model.NewSecret(other[1])); err == nil {
			t.Errorf("%q passes", other)
		}
	}
	if err := Basic(http.Header{}, "", model.NewSecret("")); err == nil {
		t.Error("no header passes")
	}
}
