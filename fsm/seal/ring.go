// Package seal encrypts the secrets of accounts before they are proposed and
// decrypts them where they are used. It holds the node's master key ring; it
// does not know Raft, the store or the commands. See DESIGN.md.
package seal

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Limits of a key ring.
const (
	MaxRingKeys = 64
	MaxRingSize = 16 << 10 // bytes of the file

	keySize    = 32
	ringHeader = "belfry-master-keys 1"
)

// Ring is a master key ring: numbered AES-256 keys, of which the highest
// number wraps new data keys and all unwrap. It does not change after it was
// made and is safe for concurrent use. It prints as [redacted].
type Ring struct {
	keys []ringKey // by id, ascending; at least one
}

type ringKey struct {
	id  uint32
	key []byte
	gcm cipher.AEAD
}

// NewRing makes a ring with one new random key.
func NewRing() (*Ring, error) { return (&Ring{}).Rotated() }

// Rotated returns a ring with one more random key, which wraps from then on.
func (r *Ring) Rotated() (*Ring, error) {
	next := uint32(1)
	if n := len(r.keys); n >= MaxRingKeys {
		return nil, fmt.Errorf("the key ring is full: it holds at most %d keys", MaxRingKeys)
	} else if n > 0 {
		next = r.keys[n-1].id + 1
	}
	if next == 0 {
		return nil, errors.New("the numbers of the key ring are used up")
	}
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails: crypto/rand stops the program instead
	k, err := newRingKey(next, key)
	if err != nil {
		return nil, err
	}
	return &Ring{keys: append(append([]ringKey(nil), r.keys...), k)}, nil
}

func newRingKey(id uint32, key []byte) (ringKey, error) {
	gcm, err := newGCM(key)
	return ringKey{id: id, key: key, gcm: gcm}, err
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// ParseRing reads the text form of a ring: a header line, then one line
// "<number> <base64 of 32 bytes>" per key in ascending order. Empty lines and
// lines that begin with # are skipped. Errors name the line, never its text.
func ParseRing(b []byte) (*Ring, error) {
	if len(b) > MaxRingSize {
		return nil, fmt.Errorf("a key ring has at most %d bytes", MaxRingSize)
	}
	var r Ring
	header := false
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(make([]byte, 0, 1024), MaxRingSize+1)
	for line := 1; sc.Scan(); line++ {
		text := strings.TrimSpace(sc.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		if !header {
			if text != ringHeader {
				return nil, fmt.Errorf("line %d: a key ring begins with the line %q", line, ringHeader)
			}
			header = true
			continue
		}
		k, err := parseKey(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		switch n := len(r.keys); {
		case n > 0 && r.keys[n-1].id >= k.id:
			return nil, fmt.Errorf("line %d: the numbers of the keys must ascend", line)
		case n >= MaxRingKeys:
			return nil, fmt.Errorf("line %d: a key ring holds at most %d keys", line, MaxRingKeys)
		}
		r.keys = append(r.keys, k)
	}
	if err := sc.Err(); err != nil {
		return nil, errors.New("a line of the key ring is too long")
	}
	if len(r.keys) == 0 {
		return nil, errors.New("the key ring holds no key")
	}
	return &r, nil
}

func parseKey(text string) (ringKey, error) {
	num, enc, ok := strings.Cut(text, " ")
	if !ok {
		return ringKey{}, errors.New("a key is written as \"<number> <base64>\"")
	}
	id, err := strconv.ParseUint(num, 10, 32)
	if err != nil || id == 0 {
		return ringKey{}, errors.New("the number of a key must be between 1 and 4294967295")
	}
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(enc))
	if err != nil || len(key) != keySize {
		return ringKey{}, fmt.Errorf("a key must be the base64 of %d bytes", keySize)
	}
	return newRingKey(uint32(id), key)
}

// Bytes returns the text form, which ParseRing reads. It holds the keys in
// the clear: it belongs in a file with mode 0600 and nowhere else.
func (r *Ring) Bytes() []byte {
	var b bytes.Buffer
	b.WriteString(ringHeader + "\n# Keep this file secret and backed up: without it no stored secret can be read.\n")
	for _, k := range r.keys {
		fmt.Fprintf(&b, "%d %s\n", k.id, base64.StdEncoding.EncodeToString(k.key))
	}
	return b.Bytes()
}

// LoadRing reads a ring from a file, which only its owner may read or write.
// The error wraps fs.ErrNotExist when there is none.
func LoadRing(path string) (*Ring, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's own setting
	if err != nil {
		return nil, fmt.Errorf("open the key ring: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat the key ring: %w", err)
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return nil, fmt.Errorf("the key ring %s is not a regular file", path)
	case mode.Perm()&0o077 != 0:
		return nil, fmt.Errorf("the key ring %s has mode %04o, so others can read or change it: run \"chmod 600 %s\"", path, mode.Perm(), path)
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxRingSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the key ring: %w", err)
	}
	r, err := ParseRing(b)
	if err != nil {
		return nil, fmt.Errorf("key ring %s: %w", path, err)
	}
	return r, nil
}

// CreateRing makes a ring with one new key and writes it as WriteRing does.
func CreateRing(path string) (*Ring, error) {
	r, err := NewRing()
	if err != nil {
		return nil, err
	}
	return r, WriteRing(path, r)
}

// WriteRing writes r to a new file with mode 0600: all of it or nothing, on
// disk when it returns. It never overwrites; the error wraps fs.ErrExist.
func WriteRing(path string, r *Ring) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".master-keys-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write the key ring: %w", err)
	}
	defer func() {
		_ = tmp.Close()
		err = errors.Join(err, os.Remove(tmp.Name()))
	}()
	if _, err := tmp.Write(r.Bytes()); err != nil {
		return fmt.Errorf("write the key ring: %w", err)
	}
	if err := tmp.Sync(); err != nil {
		return fmt.Errorf("sync the key ring: %w", err)
	}
	// A link, unlike a rename, fails when the name is taken.
	if err := os.Link(tmp.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("the key ring %s exists already and is not overwritten: %w", path, fs.ErrExist)
		}
		return fmt.Errorf("write the key ring: %w", err)
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator's own directory
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// MaxDerived is how many bytes Derive can make.
const MaxDerived = 255 * sha256.Size

// Derive makes n bytes (1 to MaxDerived) that depend on the oldest key of the
// ring and on label. Every node with the same ring derives the same, and
// adding a key changes nothing. It panics when n is out of range.
func (r *Ring) Derive(label string, n int) []byte {
	if n < 1 || n > MaxDerived {
		panic("seal: Derive makes 1 to " + strconv.Itoa(MaxDerived) + " bytes")
	}
	b, err := hkdf.Key(sha256.New, r.keys[0].key, []byte("belfry derive v1"), label, n)
	if err != nil {
		panic("seal: derive: " + err.Error())
	}
	return b
}

// String implements fmt.Stringer with the redacted form.
func (*Ring) String() string { return "[redacted]" }

// Format implements fmt.Formatter so that no verb prints a key.
func (*Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

func (r *Ring) newest() ringKey { return r.keys[len(r.keys)-1] }

func (r *Ring) byID(id uint32) (ringKey, bool) {
	for _, k := range r.keys {
		if k.id == id {
			return k, true
		}
	}
	return ringKey{}, false
}
