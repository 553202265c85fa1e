package api

import (
	"crypto/aes"
	"crypto/x509/pkix"
	"encoding/asn1"

	"example.com/belfry/fsm/model"
)

const (
	maxPBKDF2Iterations = 1_000_000 // about half a second; openssl's default is 2048
	maxScryptWork       = 1 << 18   // N*r*p, and so 32 MiB; openssl's default is 1<<17
	maxSaltBytes        = 1 << 10
	desBlockSize        = 8
)

// The names of PKCS #5 v2 that github.com/youmark/pkcs8 knows.
var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidHMACSHA1   = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidScrypt     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}

	blockSizes = map[string]int{
		"1.2.840.113549.3.7":      desBlockSize,
		"2.16.840.1.101.3.4.1.2":  aes.BlockSize,
		"2.16.840.1.101.3.4.1.22": aes.BlockSize,
		"2.16.840.1.101.3.4.1.42": aes.BlockSize,
	}
)

type (
	encryptedKeyInfo struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	pbes2Params struct {
		KDF    pkix.AlgorithmIdentifier
		Cipher pkix.AlgorithmIdentifier
	}
	pbkdf2Params struct {
		Salt       []byte
		Iterations int
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	scryptParams struct {
		Salt    []byte
		N, R, P int
	}
)

// checkEncryption refuses an encrypted PKCS#8 key that cannot be decrypted, or
// whose decryption would cost more than a bounded amount of work: the numbers
// come from the file. It also holds what the decrypting package takes for
// granted and panics without: an IV of one block, and data of whole blocks.
//
// INV api-8: decrypting costs a bounded amount of work.
func checkEncryption(der []byte) error {
	var info encryptedKeyInfo
	var params pbes2Params
	if !unmarshalAll(der, &info) || !info.Algorithm.Algorithm.Equal(oidPBES2) || !unmarshalAll(info.Algorithm.Parameters.FullBytes, &params) {
		return errEncryption()
	}
	var iv []byte
	block, known := blockSizes[params.Cipher.Algorithm.String()]
	if !known || !unmarshalAll(params.Cipher.Parameters.FullBytes, &iv) || len(iv) != block || len(info.Data) == 0 || len(info.Data)%block != 0 {
		return errEncryption()
	}
	known, bounded := kdfBounded(params.KDF)
	switch {
	case !known:
		return errEncryption()
	case !bounded:
		return model.Invalid(atContent, "holds an encrypted key whose key derivation asks for more work than is allowed: at most %d iterations of PBKDF2, or N*r*p of scrypt of at most %d",
			maxPBKDF2Iterations, maxScryptWork)
	}
	return nil
}

func errEncryption() error {
	return model.Invalid(atContent, "holds a key that is encrypted in a way that is not supported: use PBES2 with AES-CBC and scrypt, or PBKDF2 with SHA-1 or SHA-256")
}

// kdfBounded tells whether the key derivation is one that is known, and
// whether its work is bounded.
func kdfBounded(kdf pkix.AlgorithmIdentifier) (known, bounded bool) {
	raw := kdf.Parameters.FullBytes
	switch {
	case kdf.Algorithm.Equal(oidPBKDF2):
		var p pbkdf2Params
		if !unmarshalAll(raw, &p) || len(p.PRF.Algorithm) > 0 && !p.PRF.Algorithm.Equal(oidHMACSHA1) && !p.PRF.Algorithm.Equal(oidHMACSHA256) {
			return false, false
		}
		return true, len(p.Salt) <= maxSaltBytes && p.Iterations > 0 && p.Iterations <= maxPBKDF2Iterations
	case kdf.Algorithm.Equal(oidScrypt):
		var p scryptParams
		if !unmarshalAll(raw, &p) {
			return false, false
		}
		return true, len(p.Salt) <= maxSaltBytes && p.bounded()
	default:
		return false, false
	}
}

// bounded divides, as a product of three numbers of the file could overflow.
func (p scryptParams) bounded() bool {
	return p.N > 0 && p.R > 0 && p.P > 0 && p.N <= maxScryptWork && p.R <= maxScryptWork/p.N && p.P <= maxScryptWork/p.N/p.R
}

func unmarshalAll(der []byte, v any) bool {
	rest, err := asn1.Unmarshal(der, v)
	return err == nil && len(rest) == 0
}
