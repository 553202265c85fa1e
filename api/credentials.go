package api

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"example.com/belfry/fsm/model"
)

const (
	keyPrefix    = "blf_"
	keyIDLength  = 12
	secretLength = 43 // base62 digits of 32 bytes
	// MinAdminKey is the least length of a key that was not made by NewKey.
	MinAdminKey = 16
)

var keyForm = regexp.MustCompile(`^blf_([0-9a-z]{12})_([0-9A-Za-z]{43})$`)

// HashKey gives the id that finds the row of an API key and the SHA-256 that
// proves it. Keys made by NewKey carry their id; any other string gets the
// first 16 hex digits of its SHA-256 as id.
func HashKey(key string) (id string, hash []byte) {
	sum := sha256.Sum256([]byte(key))
	if m := keyForm.FindStringSubmatch(key); m != nil {
		return m[1], sum[:]
	}
	return hex.EncodeToString(sum[:8]), sum[:]
}

// NewKey makes an API key of 256 random bits: blf_<id>_<secret>. The key is to
// be shown once; only id and hash are stored.
func NewKey() (key, id string, hash []byte) {
	var idBytes [8]byte
	var secret [32]byte
	_, _ = rand.Read(idBytes[:]) // never fails
	_, _ = rand.Read(secret[:])
	id = pad(new(big.Int).SetBytes(idBytes[:]).Text(36), keyIDLength)
	key = keyPrefix + id + "_" + pad(new(big.Int).SetBytes(secret[:]).Text(62), secretLength)
	id, hash = HashKey(key)
	return key, id, hash
}

// pad brings a number to exactly n digits, dropping high ones.
func pad(s string, n int) string {
	if len(s) >= n {
		return s[len(s)-n:]
	}
	return strings.Repeat("0", n-len(s)) + s
}

// Parameters of argon2id for new passwords (OWASP's second choice), and bounds
// on what a stored hash may ask for.
const (
	argonTime, argonMemoryKiB, argonThreads = 2, 19 << 10, 1
	argonKeyLength, argonSaltLength         = 32, 16
	maxArgonTime, maxArgonMemoryKiB         = 16, 256 << 10
	maxPassword                             = 1024 // bytes
)

// HashPassword hashes a password with argon2id and returns the PHC string.
func HashPassword(password string) string {
	var salt [argonSaltLength]byte
	_, _ = rand.Read(salt[:]) // never fails
	sum := argon2.IDKey([]byte(password), salt[:], argonTime, argonMemoryKiB, argonThreads, argonKeyLength)
	return formatHash(salt[:], sum)
}

// formatHash writes the PHC string with the parameters of new passwords.
func formatHash(salt, sum []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemoryKiB, argonTime, argonThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))
}

var errHash = errors.New("not an argon2id hash in PHC form")

func verifyPassword(stored, password string) (bool, error) {
	parts := strings.Split(stored, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return false, errHash
	}
	var m, t uint32
	var p uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &m, &t, &p); err != nil {
		return false, errHash
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(sum) < 16 || len(sum) > 64 || len(salt) < 8 ||
		t == 0 || t > maxArgonTime || m == 0 || m > maxArgonMemoryKiB || p == 0 {
		return false, errHash
	}
	got := argon2.IDKey([]byte(password), salt, t, m, p, uint32(len(sum))) //nolint:gosec // bounded above
	return subtle.ConstantTimeCompare(got, sum) == 1, nil
}

const (
	passwordCacheSize = 4096
	passwordCacheTTL  = 5 * time.Minute
	passwordQueue     = 64 // callers that may wait for a hash
)

// passwordChecker verifies passwords: at most n hashes at once, and a
// remembered success for a while.
type passwordChecker struct {
	dummy string // hash that unknown users are checked against
	key   []byte
	slots chan struct{}
	queue chan struct{}
	now   func() time.Time

	mu   sync.Mutex
	seen map[[32]byte]time.Time // success, until
}

// dummyHash is a stored hash that no password fits: its sum is chance. Checking
// against it costs what checking against any other does.
func dummyHash() string {
	var salt [argonSaltLength]byte
	var sum [argonKeyLength]byte
	_, _ = rand.Read(salt[:]) // never fails
	_, _ = rand.Read(sum[:])
	return formatHash(salt[:], sum[:])
}

func newPasswordChecker(n int, now func() time.Time, key []byte) (*passwordChecker, error) {
	if n < 1 {
		return nil, errors.New("password hashes at once must be at least 1")
	}
	return &passwordChecker{
		dummy: dummyHash(), key: key, slots: make(chan struct{}, n), queue: make(chan struct{}, passwordQueue),
		now: now, seen: map[[32]byte]time.Time{},
	}, nil
}

// check reports whether password fits stored. An empty stored hash stands for
// an unknown user: it costs the same and is never right.
func (c *passwordChecker) check(ctx context.Context, username, password, stored string) (bool, error) {
	unknown := stored == ""
	if unknown {
		stored = c.dummy
	}
	k := c.cacheKey(username, password, stored)
	if !unknown && c.remembered(k) {
		return true, nil
	}
	done, err := c.turn(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	ok, err := verifyPassword(stored, password)
	if err != nil {
		return false, fmt.Errorf("stored password hash: %w", err)
	}
	if ok = ok && !unknown; ok {
		c.remember(k)
	}
	return ok, nil
}

// turn waits for one of the slots; done gives it back.
func (c *passwordChecker) turn(ctx context.Context) (done func(), err error) {
	select {
	case c.queue <- struct{}{}:
	default:
		return nil, model.Errorf(model.CodeLimit, "too many sign-ins at once")
	}
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots; <-c.queue }, nil
	case <-ctx.Done():
		<-c.queue
		return nil, model.Errorf(model.CodeUnavailable, "the sign-in did not get its turn in time")
	}
}

// cacheKey is keyed per process, so that a memory dump gives no fast hash of a
// password that another process could test.
func (c *passwordChecker) cacheKey(parts ...string) (k [32]byte) {
	m := hmac.New(sha256.New, c.key)
	for _, p := range parts {
		fmt.Fprintf(m, "%d:%s", len(p), p)
	}
	m.Sum(k[:0])
	return k
}

func (c *passwordChecker) remembered(k [32]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.seen[k]
	return ok && c.now().Before(until)
}

func (c *passwordChecker) remember(k [32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.seen) >= passwordCacheSize {
		clear(c.seen)
	}
	c.seen[k] = c.now().Add(passwordCacheTTL)
}
