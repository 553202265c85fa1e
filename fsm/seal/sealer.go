package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"example.com/belfry/fsm/model"
)

// MaxSecretSize is how long one secret may be, in bytes.
const MaxSecretSize = 64 << 10

const (
	version  = 1
	dekIDLen = 8
	nonceLen = 12
	tagLen   = 16

	wrappedHead  = 1 + 4 + dekIDLen
	envelopeHead = 1 + dekIDLen

	maxCachedKeys = 10_000
)

// The errors of this package. None carries a value.
var (
	// ErrNoDataKey is returned for an account that has no data key.
	ErrNoDataKey = errors.New("the account has no data key")
	// ErrUnknownKey is returned when the master key that wrapped a data key is
	// not in this node's ring.
	ErrUnknownKey = errors.New("the master key that is needed is not in the key ring of this node")
	// ErrOpen is returned for an envelope that is damaged, was altered, or was
	// sealed for another place or under another key.
	ErrOpen = errors.New("the sealed value cannot be opened")
	// ErrTooLong is returned for a secret over MaxSecretSize.
	ErrTooLong = fmt.Errorf("a secret has at most %d bytes", MaxSecretSize)
)

// Sealer seals and opens secrets under the data keys of accounts. It is safe
// for concurrent use.
type Sealer struct {
	ring    *Ring
	dataKey func(account string) (model.Sealed, bool)

	mu    sync.Mutex
	cache map[string]*dataKey // by account
}

type dataKey struct {
	wrapped model.Sealed
	id      [dekIDLen]byte
	gcm     cipher.AEAD
}

// NewSealer makes a Sealer. The function dataKey gives the wrapped data key of
// an account; its answer is not kept beyond the next change of it.
func NewSealer(r *Ring, dataKey func(account string) (model.Sealed, bool)) *Sealer {
	return &Sealer{ring: r, dataKey: dataKey, cache: newCache()}
}

func newCache() map[string]*dataKey { return make(map[string]*dataKey) }

// NewDataKey makes a random data key for account, wrapped by the newest master
// key. It becomes the account's once it is stored as Account.DataKey.
func (s *Sealer) NewDataKey(account string) (model.Sealed, error) {
	var plain [keySize]byte
	defer wipe(plain[:])
	k := s.ring.newest()
	head := make([]byte, wrappedHead, wrappedHead+nonceLen+keySize+tagLen)
	head[0] = version
	binary.BigEndian.PutUint32(head[1:], k.id)
	_, _ = rand.Read(head[5:]) // never fails
	_, _ = rand.Read(plain[:])
	return k.gcm.Seal(head, nil, plain[:], wrapData(account, head)), nil //nolint:gosec // the AEAD makes a random nonce itself
}

// Seal encrypts one secret for one place: the field of the object id of kind
// in account.
func (s *Sealer) Seal(account string, kind model.Entity, id string, field model.SecretField, plain model.Secret) (model.Sealed, error) {
	text := plain.Reveal()
	if len(text) > MaxSecretSize {
		return nil, ErrTooLong
	}
	k, err := s.key(account)
	if err != nil {
		return nil, err
	}
	head := make([]byte, 0, envelopeHead+nonceLen+len(text)+tagLen)
	head = append(append(head, version), k.id[:]...)
	return k.gcm.Seal(head, nil, []byte(text), placeData(account, kind, id, field)), nil //nolint:gosec // the AEAD makes a random nonce itself
}

// Open decrypts what Seal made for the same place. INV seal-1, seal-2: an
// envelope from elsewhere, and anything damaged, is ErrOpen.
func (s *Sealer) Open(account string, kind model.Entity, id string, field model.SecretField, sealed model.Sealed) (model.Secret, error) {
	if len(sealed) < envelopeHead+nonceLen+tagLen || sealed[0] != version {
		return model.Secret{}, ErrOpen
	}
	k, err := s.key(account)
	if err != nil {
		return model.Secret{}, err
	}
	if !bytes.Equal(sealed[1:envelopeHead], k.id[:]) {
		return model.Secret{}, ErrOpen
	}
	b, err := k.gcm.Open(nil, nil, sealed[envelopeHead:], placeData(account, kind, id, field))
	if err != nil {
		return model.Secret{}, ErrOpen
	}
	defer wipe(b)
	return model.NewSecret(string(b)), nil
}

// key returns the account's data key, unwrapped.
func (s *Sealer) key(account string) (*dataKey, error) {
	wrapped, ok := s.dataKey(account)
	if !ok || len(wrapped) == 0 {
		return nil, ErrNoDataKey
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.cache[account]; k != nil && bytes.Equal(k.wrapped, wrapped) {
		return k, nil
	}
	k, err := s.unwrap(account, wrapped)
	if err != nil {
		return nil, err
	}
	if len(s.cache) >= maxCachedKeys {
		s.cache = newCache()
	}
	s.cache[account] = k
	return k, nil
}

func (s *Sealer) unwrap(account string, wrapped model.Sealed) (*dataKey, error) {
	if len(wrapped) != wrappedHead+nonceLen+keySize+tagLen || wrapped[0] != version {
		return nil, ErrOpen
	}
	kek, ok := s.ring.byID(binary.BigEndian.Uint32(wrapped[1:5]))
	if !ok {
		return nil, ErrUnknownKey
	}
	head := wrapped[:wrappedHead]
	plain, err := kek.gcm.Open(nil, nil, wrapped[wrappedHead:], wrapData(account, head))
	if err != nil {
		return nil, ErrOpen
	}
	defer wipe(plain)
	gcm, err := newGCM(plain)
	if err != nil {
		return nil, ErrOpen
	}
	return &dataKey{wrapped: bytes.Clone(wrapped), id: [dekIDLen]byte(head[5:]), gcm: gcm}, nil
}

func wrapData(account string, head []byte) []byte {
	return additional("belfry data key", account, string(head))
}

func placeData(account string, kind model.Entity, id string, field model.SecretField) []byte {
	return additional("belfry field", account, string(kind), id, string(field), string([]byte{version}))
}

// additional joins the parts with their lengths, so that no two lists of parts
// give the same bytes.
func additional(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

func wipe(b []byte) {
	for i := range b {
		b[i] = 0
	}
}
