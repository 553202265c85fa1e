package api

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"slices"
	"strings"

	"github.com/youmark/pkcs8"

	"example.com/belfry/fsm/model"
)

const (
	maxCertificateBytes = 64 << 10
	maxChain            = 10 // certificates in one file
	minRSABits          = 2048
	maxRSABits          = 8192
	maxKeyBytes         = 8 << 10 // one key block; 8192 bits take less than 5 KiB
	maxSerialBits       = 160     // RFC 5280, section 4.1.2.2
	maxPassphrase       = 1024
)

const (
	atContent    = "certificateContent"
	atPassphrase = "passphrase"
)

// parseCertificate reads a PEM file with one private key, its certificate and
// optionally the chain, in any order, and returns the entity (without account
// and id) and the key as PKCS#8 DER. Errors name certificateContent or
// passphrase and hold nothing of the file.
func parseCertificate(content, passphrase []byte) (model.Certificate, model.Secret, error) {
	none := func(err error) (model.Certificate, model.Secret, error) {
		return model.Certificate{}, model.Secret{}, err
	}
	switch {
	case len(content) > maxCertificateBytes:
		return none(model.Invalid(atContent, "must be at most %d bytes of PEM", maxCertificateBytes))
	case len(passphrase) > maxPassphrase:
		return none(model.Invalid(atPassphrase, "must be at most %d bytes", maxPassphrase))
	}
	certs, keyBlock, err := splitPEM(content)
	if err != nil {
		return none(err)
	}
	key, err := parseKey(keyBlock, passphrase)
	if err != nil {
		return none(err)
	}
	leaf, chain, err := orderChain(certs, key)
	if err != nil {
		return none(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return none(model.Invalid(atContent, "holds a private key of a kind that is not supported"))
	}
	var out bytes.Buffer
	for _, c := range chain {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a bytes.Buffer never fails
	}
	return model.Certificate{
		ChainPEM: out.Bytes(), IssuedBy: dn(leaf.RawIssuer), IssuedTo: dn(leaf.RawSubject),
		ValidFrom: leaf.NotBefore.UTC(), ValidUntil: leaf.NotAfter.UTC(), SerialNumber: leaf.SerialNumber.String(),
	}, model.NewSecret(string(der)), nil
}

// splitPEM finds the certificates and the one key block.
func splitPEM(content []byte) (certs []*x509.Certificate, key *pem.Block, err error) {
	for rest := content; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		switch {
		case b.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				return nil, nil, model.Invalid(atContent, "holds a CERTIFICATE block, number %d, that cannot be read", len(certs)+1)
			}
			if err := checkCertificate(c); err != nil {
				return nil, nil, err
			}
			if certs = append(certs, c); len(certs) > maxChain {
				return nil, nil, model.Invalid(atContent, "must hold at most %d certificates", maxChain)
			}
		case strings.HasSuffix(b.Type, "PRIVATE KEY"):
			if key != nil {
				return nil, nil, model.Invalid(atContent, "must hold exactly one private key")
			}
			key = b
		case b.Type == "EC PARAMETERS":
		default:
			return nil, nil, model.Invalid(atContent, "holds a PEM block that is neither a certificate nor a private key")
		}
	}
	switch {
	case len(certs) == 0 && key == nil:
		return nil, nil, model.Invalid(atContent, "holds no PEM block; it must hold a certificate and its private key")
	case len(certs) == 0:
		return nil, nil, model.Invalid(atContent, "holds no certificate")
	case key == nil:
		return nil, nil, model.Invalid(atContent, "holds no private key")
	}
	return certs, key, nil
}

// checkCertificate bounds what a certificate of the file costs: its signature
// is checked with its issuer's key, and its number is shown in decimal.
func checkCertificate(c *x509.Certificate) error {
	if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
		return model.Invalid(atContent, "holds a certificate with an RSA key of more than %d bits", maxRSABits)
	}
	if c.SerialNumber.BitLen() > maxSerialBits {
		return model.Invalid(atContent, "holds a certificate whose serial number has more than %d bits", maxSerialBits)
	}
	return nil
}

// parseKey reads PKCS#1, SEC1 and PKCS#8 keys, the latter also encrypted, and
// the old form with a Proc-Type header.
func parseKey(b *pem.Block, passphrase []byte) (crypto.Signer, error) {
	der, encrypted := b.Bytes, b.Type == "ENCRYPTED PRIVATE KEY"
	legacy := x509.IsEncryptedPEMBlock(b) //nolint:staticcheck // customers still have such files; we re-encrypt at once
	if (encrypted || legacy) && len(passphrase) == 0 {
		return nil, model.Invalid(atPassphrase, "must be given: the private key is encrypted")
	}
	if len(der) > maxKeyBytes {
		return nil, model.Invalid(atContent, "holds a private key of more than %d bytes", maxKeyBytes)
	}
	wrong := model.Invalid(atPassphrase, "does not decrypt the private key")
	var key any
	var err error
	switch {
	case encrypted:
		if err = checkEncryption(der); err != nil {
			return nil, err
		}
		if key, err = pkcs8.ParsePKCS8PrivateKey(der, passphrase); err != nil {
			return nil, wrong
		}
	case legacy:
		if der, err = x509.DecryptPEMBlock(b, passphrase); err != nil { //nolint:staticcheck // see above
			return nil, wrong
		}
		if key, err = parsePlainKey(der); err != nil {
			return nil, wrong // a wrong passphrase can pass the padding check
		}
	default:
		if key, err = parsePlainKey(der); err != nil {
			return nil, err
		}
	}
	return checkKey(key)
}

func parsePlainKey(der []byte) (any, error) {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, nil
	}
	return nil, model.Invalid(atContent, "holds a private key that cannot be read")
}

// checkKey refuses keys that are too weak or of another kind.
func checkKey(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return nil, model.Invalid(atContent, "holds an RSA key of %d bits; it must have between %d and %d", n, minRSABits, maxRSABits)
		}
		return k, nil
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P224() {
			return nil, model.Invalid(atContent, "holds an EC key of less than 256 bits")
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	default:
		return nil, model.Invalid(atContent, "holds a private key that is neither RSA, ECDSA nor Ed25519")
	}
}

// orderChain finds the certificate that the key belongs to and puts the rest
// behind it, each issuer after what it issued.
func orderChain(certs []*x509.Certificate, key crypto.Signer) (leaf *x509.Certificate, chain []*x509.Certificate, err error) {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, nil, model.Invalid(atContent, "holds a private key of a kind that is not supported")
	}
	at := -1
	for i, c := range certs {
		if pub.Equal(c.PublicKey) {
			at = i
			break
		}
	}
	if at < 0 {
		return nil, nil, model.Invalid(atContent, "holds a private key that fits none of its certificates")
	}
	leaf = certs[at]
	chain = []*x509.Certificate{leaf}
	rest := append(append([]*x509.Certificate(nil), certs[:at]...), certs[at+1:]...)
	for last := leaf; len(rest) > 0; {
		next := -1
		for i, c := range rest {
			if bytes.Equal(last.RawIssuer, c.RawSubject) && last.CheckSignatureFrom(c) == nil {
				next = i
				break
			}
		}
		if next < 0 {
			return nil, nil, model.Invalid(atContent, "holds certificates that do not form a chain from the key's certificate")
		}
		last = rest[next]
		chain = append(chain, last)
		rest = append(rest[:next:next], rest[next+1:]...)
	}
	return leaf, chain, nil
}

// attributeNames are the short names that customers see in a DN.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.5": "SERIALNUMBER", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET",
	"2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.17": "POSTALCODE", "0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID",
	"1.2.840.113549.1.9.1": "EMAILADDRESS",
}

// dn writes a name as CN=...,O=...,C=...: most specific first, comma without a
// space, values escaped as RFC 2253 says.
func dn(raw []byte) string {
	var seq pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &seq); err != nil || len(rest) > 0 {
		return ""
	}
	var parts []string
	for _, rdn := range slices.Backward(seq) {
		var set []string
		for _, a := range rdn {
			name, ok := attributeNames[a.Type.String()]
			if !ok {
				name = a.Type.String()
			}
			value, ok := a.Value.(string)
			if !ok {
				continue
			}
			set = append(set, name+"="+escapeDN(value))
		}
		if len(set) > 0 {
			parts = append(parts, strings.Join(set, "+"))
		}
	}
	return strings.Join(parts, ",")
}

var dnEscaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `+`, `\+`, `"`, `\"`, `<`, `\<`, `>`, `\>`, `;`, `\;`)

func escapeDN(s string) string {
	s = dnEscaper.Replace(strings.ToValidUTF8(s, "?"))
	if len(s) > 1 && strings.HasSuffix(s, " ") {
		s = s[:len(s)-1] + `\ `
	}
	if strings.HasPrefix(s, " ") || strings.HasPrefix(s, "#") {
		s = `\` + s
	}
	return s
}
