package api

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/youmark/pkcs8"

	"example.com/belfry/fsm/model"
)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

// selfSigned is a certificate of key by itself.
func selfSigned(key crypto.Signer) string {
	return certPEM(certificate(certTemplate("self", 7, true), nil, key.Public(), key))
}

// encryptedPEM is a PKCS#8 key encrypted with the passphrase "secret".
func encryptedPEM(key any, kdf pkcs8.KDFOpts, cipher pkcs8.Cipher) string {
	return pemBlock("ENCRYPTED PRIVATE KEY", must(pkcs8.MarshalPrivateKey(key, []byte("secret"), &pkcs8.Opts{Cipher: cipher, KDFOpts: kdf})))
}

// legacyPEM is a key in the old form with a Proc-Type header.
func legacyPEM(typ string, der []byte) string {
	b := must(x509.EncryptPEMBlock(rand.Reader, typ, der, []byte("secret"), x509.PEMCipherAES256)) //nolint:staticcheck // what old files hold
	return string(pem.EncodeToMemory(b))
}

func TestParseCertificate(t *testing.T) {
	t.Parallel()
	f, rk := fixtures(), rsaKey()
	leaf, inter, root := certPEM(f.leaf), certPEM(f.inter), certPEM(f.root)
	pbkdf2 := pkcs8.PBKDF2Opts{SaltSize: 16, IterationCount: 2048, HMACHash: crypto.SHA256}
	scrypt := pkcs8.ScryptOpts{SaltSize: 16, CostParameter: 1 << 14, BlockSize: 8, ParallelizationParameter: 1}
	sec1 := pemBlock("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(f.key)))
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	p224, p384 := ecKey(elliptic.P224()), ecKey(elliptic.P384())
	weak := must(rsa.GenerateKey(rand.Reader, 1024)) // made to be refused
	serial := func(bits uint) string {
		tpl := certTemplate("serial", 1, true)
		tpl.SerialNumber = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1))
		return certPEM(certificate(tpl, nil, f.key.Public(), f.key))
	}
	tests := map[string]struct {
		content, passphrase string
		field, says         string // of the refusal
		chain               int    // certificates that come back
	}{
		"pkcs8, in order":           {content: keyPEM(f.key) + leaf + inter + root, chain: 3},
		"out of order":              {content: root + leaf + keyPEM(f.key) + inter, chain: 3},
		"leaf alone":                {content: leaf + keyPEM(f.key), chain: 1},
		"comments and carriage":     {content: strings.ReplaceAll("# the key\n"+keyPEM(f.key)+"\n# leaf: CN=x\n"+leaf+"text\n", "\n", "\r\n"), chain: 1},
		"sec1":                      {content: sec1 + leaf, chain: 1},
		"sec1 with parameters":      {content: pemBlock("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}) + sec1 + leaf, chain: 1},
		"pkcs1":                     {content: pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rk)) + selfSigned(rk), chain: 1},
		"ed25519":                   {content: keyPEM(edKey) + selfSigned(edKey), chain: 1},
		"p-384":                     {content: keyPEM(p384) + selfSigned(p384), chain: 1},
		"encrypted, pbkdf2":         {content: encryptedPEM(f.key, pbkdf2, pkcs8.AES256CBC) + leaf, passphrase: "secret", chain: 1},
		"encrypted, scrypt":         {content: encryptedPEM(rk, scrypt, pkcs8.AES128CBC) + selfSigned(rk), passphrase: "secret", chain: 1},
		"encrypted, 3des":           {content: encryptedPEM(f.key, pkcs8.PBKDF2Opts{SaltSize: 8, IterationCount: 1, HMACHash: crypto.SHA1}, pkcs8.TripleDESCBC) + leaf, passphrase: "secret", chain: 1},
		"encrypted in the old form": {content: legacyPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rk)) + selfSigned(rk), passphrase: "secret", chain: 1},
		"passphrase for nothing":    {content: keyPEM(f.key) + leaf, passphrase: "secret", chain: 1},
		"serial of 160 bits":        {content: keyPEM(f.key) + serial(160), chain: 1},
		"root twice":                {content: keyPEM(f.key) + leaf + inter + root + root, chain: 4},

		"empty":                        {field: atContent, says: "no PEM block"},
		"no PEM":                       {content: "hello", field: atContent, says: "no PEM block"},
		"DER":                          {content: string(f.leaf), field: atContent, says: "no PEM block"},
		"no key":                       {content: leaf, field: atContent, says: "no private key"},
		"no certificate":               {content: keyPEM(f.key), field: atContent, says: "no certificate"},
		"two keys":                     {content: keyPEM(f.key) + keyPEM(f.key) + leaf, field: atContent, says: "exactly one private key"},
		"key that fits none":           {content: keyPEM(f.rootKey) + leaf + inter, field: atContent, says: "fits none"},
		"key of the intermediate":      {content: keyPEM(f.interKey) + leaf + inter, field: atContent, says: "do not form a chain"},
		"gap in the chain":             {content: keyPEM(f.key) + leaf + root, field: atContent, says: "do not form a chain"},
		"stranger in the chain":        {content: keyPEM(f.key) + leaf + selfSigned(edKey), field: atContent, says: "do not form a chain"},
		"certificate that is none":     {content: keyPEM(f.key) + leaf + pemBlock("CERTIFICATE", []byte("x")), field: atContent, says: "number 2"},
		"key that is none":             {content: pemBlock("PRIVATE KEY", []byte("x")) + leaf, field: atContent, says: "private key that cannot be read"},
		"other block":                  {content: keyPEM(f.key) + leaf + pemBlock("PUBLIC KEY", []byte("x")), field: atContent, says: "neither a certificate nor a private key"},
		"weak rsa":                     {content: keyPEM(weak) + selfSigned(weak), field: atContent, says: "1024 bits"},
		"p-224":                        {content: keyPEM(p224) + selfSigned(p224), field: atContent, says: "less than 256 bits"},
		"x25519":                       {content: keyPEM(must(ecdh.X25519().GenerateKey(rand.Reader))) + leaf, field: atContent, says: "neither RSA"},
		"serial of 161 bits":           {content: keyPEM(f.key) + serial(161), field: atContent, says: "160 bits"},
		"encrypted, no passphrase":     {content: encryptedPEM(f.key, pbkdf2, pkcs8.AES256CBC) + leaf, field: atPassphrase, says: "must be given"},
		"encrypted, wrong passphrase":  {content: encryptedPEM(f.key, pbkdf2, pkcs8.AES256CBC) + leaf, passphrase: "wrong", field: atPassphrase, says: "does not decrypt"},
		"old form, no passphrase":      {content: legacyPEM("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(f.key))) + leaf, field: atPassphrase, says: "must be given"},
		"old form, wrong passphrase":   {content: legacyPEM("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(f.key))) + leaf, passphrase: "wrong", field: atPassphrase, says: "does not decrypt"},
		"passphrase that is too long":  {content: keyPEM(f.key) + leaf, passphrase: strings.Repeat("x", maxPassphrase+1), field: atPassphrase, says: "1024 bytes"},
		"encrypted with what we lack":  {content: pemBlock("ENCRYPTED PRIVATE KEY", f.leaf) + leaf, passphrase: "secret", field: atContent, says: "not supported"},
		"key block that is too large":  {content: pemBlock("PRIVATE KEY", make([]byte, maxKeyBytes+1)) + leaf, field: atContent, says: "8192 bytes"},
		"one certificate too many":     {content: keyPEM(f.key) + strings.Repeat(leaf, maxChain+1), field: atContent, says: "at most 10 certificates"},
		"one byte too many":            {content: keyPEM(f.key) + leaf + strings.Repeat("#", maxCertificateBytes), field: atContent, says: "65536 bytes"},
		"certificate of a large key":   {content: keyPEM(f.key) + leaf + certPEM(largeRSA(maxRSABits+1)), field: atContent, says: "more than 8192 bits"},
		"key cut short":                {content: keyPEM(f.key)[:60] + "\n" + leaf, field: atContent, says: "no private key"},
		"null bytes and binary before": {content: "\x00\xff\xfe\n" + keyPEM(f.key), field: atContent, says: "no certificate"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, key, err := parseCertificate([]byte(tt.content), []byte(tt.passphrase))
			if tt.says != "" {
				checkFieldError(t, err, tt.field, tt.says)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkParsed(t, c, key, tt.chain)
		})
	}
}

// checkFieldError wants a refusal of one field with a text.
func checkFieldError(t *testing.T, err error, field, says string) {
	t.Helper()
	e, internal := asError(err)
	if internal || e.Code != model.CodeInvalid || e.Field != field || !strings.Contains(e.Message, says) {
		t.Errorf("got %v, want a complaint about %s: %s", err, field, says)
	}
}

// checkParsed wants a chain of n that begins with the key's certificate.
func checkParsed(t *testing.T, c model.Certificate, key model.Secret, n int) {
	t.Helper()
	k, err := x509.ParsePKCS8PrivateKey([]byte(key.Reveal()))
	if err != nil {
		t.Fatalf("the key that came back: %v", err)
	}
	var list []*x509.Certificate
	for rest := c.ChainPEM; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		list = append(list, must(x509.ParseCertificate(b.Bytes)))
	}
	if len(list) != n || strings.Contains(string(c.ChainPEM), "PRIVATE") {
		t.Fatalf("%d certificates in\n%s\nwant %d and no key", len(list), c.ChainPEM, n)
	}
	pub, ok := k.(crypto.Signer).Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(list[0].PublicKey) {
		t.Error("the first certificate is not the key's")
	}
	for i := range n - 1 {
		if err := list[i].CheckSignatureFrom(list[i+1]); err != nil {
			t.Errorf("certificate %d is not signed by the next: %v", i, err)
		}
	}
	if want := list[0]; c.SerialNumber != want.SerialNumber.String() || !c.ValidFrom.Equal(want.NotBefore) || !c.ValidUntil.Equal(want.NotAfter) {
		t.Errorf("serial %s, %v to %v; want those of the leaf", c.SerialNumber, c.ValidFrom, c.ValidUntil)
	}
}

// largeRSA is a certificate whose subject has an RSA key of n bits that no one
// holds; it is signed by the root of the fixture.
func largeRSA(n uint) []byte {
	f := fixtures()
	pub := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), int(n-1), 1), E: 65537}
	return certificate(certTemplate("large", 9, true), f.root, pub, f.rootKey)
}

func TestDN(t *testing.T) {
	t.Parallel()
	c, _, err := parseCertificate([]byte(testPEM()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := `CN=leaf.acme.example,O=Acme\, Ltd.,C=HR`; c.IssuedTo != want {
		t.Errorf("issuedTo %q, want %q", c.IssuedTo, want)
	}
	if want := `CN=inter.acme.example,O=Acme\, Ltd.,C=HR`; c.IssuedBy != want {
		t.Errorf("issuedBy %q, want %q", c.IssuedBy, want)
	}
	for in, want := range map[string]string{
		"": "", "a": "a", " a ": `\ a\ `, "#a": `\#a`, `a"b\c`: `a\"b\\c`, "a+b;<c>": `a\+b\;\<c\>`, "a\xffb": "a?b", " ": `\ `, "  ": `\ \ `,
	} {
		if got := escapeDN(in); got != want {
			t.Errorf("escapeDN(%q) = %q, want %q", in, got, want)
		}
	}
	if got := dn([]byte{1, 2, 3}); got != "" {
		t.Errorf("dn of nonsense = %q", got)
	}
}
