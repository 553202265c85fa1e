package api

import (
	"crypto"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/youmark/pkcs8"
)

// Algorithms that the tests name.
var (
	oidAES256CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	oidAES256GCM  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 46}
	oidHMACSHA512 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}
)

// bomb is an encrypted key with parameters of the test's choice and data of
// nothing.
type bomb struct {
	scheme, kdf, cipher asn1.ObjectIdentifier
	params              any
	iv, data            []byte
}

func (b bomb) der() []byte {
	raw := func(v any) asn1.RawValue { return asn1.RawValue{FullBytes: must(asn1.Marshal(v))} }
	return must(asn1.Marshal(encryptedKeyInfo{
		Algorithm: pkix.AlgorithmIdentifier{Algorithm: b.scheme, Parameters: raw(pbes2Params{
			KDF:    pkix.AlgorithmIdentifier{Algorithm: b.kdf, Parameters: raw(b.params)},
			Cipher: pkix.AlgorithmIdentifier{Algorithm: b.cipher, Parameters: raw(b.iv)},
		})},
		Data: b.data,
	}))
}

// INV api-8: work and shape that the decrypting package does not bound itself.
func TestCheckEncryption(t *testing.T) {
	t.Parallel()
	prf := func(oid asn1.ObjectIdentifier) pkix.AlgorithmIdentifier {
		return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.NullRawValue}
	}
	const ok, work, unsupported = "", "more work", "not supported"
	iterations := func(n int) any { return pbkdf2Params{Salt: make([]byte, 8), Iterations: n, PRF: prf(oidHMACSHA256)} }
	scrypt := func(n, r, p int) any { return scryptParams{Salt: make([]byte, 8), N: n, R: r, P: p} }
	const huge = 1<<62 - 1
	tests := map[string]struct {
		kdf    asn1.ObjectIdentifier
		params any
		change func(*bomb)
		want   string
	}{
		"pbkdf2 at the limit": {oidPBKDF2, iterations(maxPBKDF2Iterations), nil, ok},
		"pbkdf2 one above":    {oidPBKDF2, iterations(maxPBKDF2Iterations + 1), nil, work},
		"pbkdf2, 2^62":        {oidPBKDF2, iterations(huge), nil, work},
		"pbkdf2, none":        {oidPBKDF2, iterations(0), nil, work},
		"pbkdf2, negative":    {oidPBKDF2, iterations(-1), nil, work},
		"pbkdf2, sha-1 by default": {oidPBKDF2, struct {
			Salt []byte
			N    int
		}{make([]byte, 8), 2048}, nil, ok},
		"pbkdf2, sha-512":            {oidPBKDF2, pbkdf2Params{Salt: make([]byte, 8), Iterations: 1, PRF: prf(oidHMACSHA512)}, nil, unsupported},
		"salt at the limit":          {oidPBKDF2, pbkdf2Params{Salt: make([]byte, maxSaltBytes), Iterations: 1, PRF: prf(oidHMACSHA1)}, nil, ok},
		"salt one above":             {oidPBKDF2, pbkdf2Params{Salt: make([]byte, maxSaltBytes+1), Iterations: 1, PRF: prf(oidHMACSHA1)}, nil, work},
		"parameters of another type": {oidPBKDF2, "hello", nil, unsupported},
		"scrypt at the limit":        {oidScrypt, scrypt(1<<15, 8, 1), nil, ok},
		"scrypt one above in p":      {oidScrypt, scrypt(1<<15, 8, 2), nil, work},
		"scrypt, large N":            {oidScrypt, scrypt(1<<19, 1, 1), nil, work},
		"scrypt, large r":            {oidScrypt, scrypt(2, huge, 1), nil, work},
		"scrypt, product overflows":  {oidScrypt, scrypt(2, 1<<62, 1<<62), nil, work},
		"scrypt, zero":               {oidScrypt, scrypt(0, 8, 1), nil, work},
		"scrypt, negative":           {oidScrypt, scrypt(-2, -8, 1), nil, work},
		"scrypt salt one above":      {oidScrypt, scryptParams{Salt: make([]byte, maxSaltBytes+1), N: 2, R: 1, P: 1}, nil, work},
		"unknown kdf":                {oidHMACSHA256, iterations(1), nil, unsupported},
		"pbes1":                      {oidPBKDF2, iterations(1), func(b *bomb) { b.scheme = oidPBKDF2 }, unsupported},
		"gcm":                        {oidPBKDF2, iterations(1), func(b *bomb) { b.cipher = oidAES256GCM }, unsupported},
		"iv too short":               {oidPBKDF2, iterations(1), func(b *bomb) { b.iv = b.iv[1:] }, unsupported},
		"iv too long":                {oidPBKDF2, iterations(1), func(b *bomb) { b.iv = make([]byte, 17) }, unsupported},
		"no data":                    {oidPBKDF2, iterations(1), func(b *bomb) { b.data = nil }, unsupported},
		"part of a block":            {oidPBKDF2, iterations(1), func(b *bomb) { b.data = make([]byte, 33) }, unsupported},
	}
	for name, tt := range tests {
		b := bomb{scheme: oidPBES2, kdf: tt.kdf, cipher: oidAES256CBC, params: tt.params, iv: make([]byte, 16), data: make([]byte, 32)}
		if tt.change != nil {
			tt.change(&b)
		}
		switch err := checkEncryption(b.der()); {
		case tt.want != ok:
			checkFieldError(t, err, atContent, tt.want)
			if _, _, err := parseCertificate([]byte(pemBlock("ENCRYPTED PRIVATE KEY", b.der())+certPEM(fixtures().leaf)), []byte("secret")); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: parseCertificate = %v", name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkEncryption(append(bomb{scheme: oidPBES2, kdf: oidPBKDF2, cipher: oidAES256CBC, params: iterations(1), iv: make([]byte, 16), data: make([]byte, 32)}.der(), 0)); err == nil {
		t.Error("bytes after the key are taken")
	}
}

// What is let through really decrypts, at the limit of scrypt too.
func TestParseKey_atTheLimitOfWork(t *testing.T) {
	t.Parallel()
	f := fixtures()
	for name, kdf := range map[string]pkcs8.KDFOpts{
		"scrypt": pkcs8.ScryptOpts{SaltSize: 16, CostParameter: 1 << 15, BlockSize: 8, ParallelizationParameter: 1},
		"pbkdf2": pkcs8.PBKDF2Opts{SaltSize: 16, IterationCount: 100_000, HMACHash: crypto.SHA256},
	} {
		if _, _, err := parseCertificate([]byte(encryptedPEM(f.key, kdf, pkcs8.AES256CBC)+certPEM(f.leaf)), []byte("secret")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
