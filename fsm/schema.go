package fsm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"iter"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"example.com/belfry/fsm/model"
)

// Every bucket of the state file. The order of this list is that of the
// snapshot stream and of the digest: append only.
var buckets = [][]byte{
	bAccount, bAccountSeq, bKey, bKeySeq, bAdminKey, bUser, bUserSeq,
	bSecurity, bSecuritySeq, bCertificate, bCertificateSeq, bProfile, bProfileSeq,
	bSubscription, bSubscriptionSeq, bRef, bCount, bToken, bTokenUntil, bAudit, bCluster,
}

var (
	bMeta            = []byte("meta") // not part of the stream: format and applied index
	bAccount         = []byte("account")
	bAccountSeq      = []byte("account.seq")
	bKey             = []byte("key")
	bKeySeq          = []byte("key.seq")
	bAdminKey        = []byte("key.admin") // ids of keys that hold admin:accounts
	bUser            = []byte("user")
	bUserSeq         = []byte("user.seq")
	bSecurity        = []byte("security")
	bSecuritySeq     = []byte("security.seq")
	bCertificate     = []byte("certificate")
	bCertificateSeq  = []byte("certificate.seq")
	bProfile         = []byte("profile")
	bProfileSeq      = []byte("profile.seq")
	bSubscription    = []byte("subscription")
	bSubscriptionSeq = []byte("subscription.seq")
	bRef             = []byte("ref")   // kind 0 account 0 target 0 referrer
	bCount           = []byte("count") // table 0 scope -> rows
	bToken           = []byte("token")
	bTokenUntil      = []byte("token.until") // until(ms) id
	bAudit           = []byte("audit")       // account 0 index
	bCluster         = []byte("cluster")

	kFormat     = []byte("format")
	kApplied    = []byte("applied")
	kPartitions = []byte("partitions")
	kFeature    = []byte("feature")
)

// storeFormat is the version of the layout above. A file with another one is
// refused.
const storeFormat = 1

// The kinds of references in bRef.
const (
	refProfile     = "profile"     // by subscriptions: channel 0 id
	refSecurity    = "security"    // by profiles
	refCertificate = "certificate" // by profiles
)

// key joins the parts with 0, which no id can contain.
func key(parts ...string) []byte { return []byte(strings.Join(parts, "\x00")) }

// prefix is the common beginning of all keys below the parts.
func prefix(parts ...string) []byte {
	if len(parts) == 0 {
		return nil
	}
	return append(key(parts...), 0)
}

func be64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// seqKey puts a row of scope at the log index that created it.
func seqKey(scope []byte, index uint64) []byte {
	return binary.BigEndian.AppendUint64(slices.Clip(scope), index)
}

func readUint(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// table is one kind of object: its rows by key, and the keys by the log index
// that created them, so that a page of a list decodes the rows it shows only.
type table[T any] struct {
	name      string
	rows, seq []byte
	key       func(*T) []byte
	scope     func(*T) []byte // what a list of it runs over
	total     func(*T) []byte // what its quota counts over; nil: as scope
	meta      func(*T) *model.Meta
}

func within[T any](account func(*T) string) func(*T) []byte {
	return func(v *T) []byte { return prefix(account(v)) }
}

var (
	accounts = table[model.Account]{
		name: "account", rows: bAccount, seq: bAccountSeq,
		key:   func(a *model.Account) []byte { return key(a.ID) },
		scope: func(*model.Account) []byte { return nil },
		meta:  func(a *model.Account) *model.Meta { return &a.Meta },
	}
	keys = table[model.Key]{
		name: "key", rows: bKey, seq: bKeySeq,
		key:   func(k *model.Key) []byte { return key(k.ID) },
		scope: within(func(k *model.Key) string { return k.Account }),
		meta:  func(k *model.Key) *model.Meta { return &k.Meta },
	}
	users = table[model.User]{
		name: "user", rows: bUser, seq: bUserSeq,
		key:   func(u *model.User) []byte { return key(u.Username) },
		scope: within(func(u *model.User) string { return u.Account }),
		meta:  func(u *model.User) *model.Meta { return &u.Meta },
	}
	securities = table[model.Security]{
		name: "security", rows: bSecurity, seq: bSecuritySeq,
		key:   func(s *model.Security) []byte { return key(s.Account, s.ID) },
		scope: within(func(s *model.Security) string { return s.Account }),
		meta:  func(s *model.Security) *model.Meta { return &s.Meta },
	}
	certificates = table[model.Certificate]{
		name: "certificate", rows: bCertificate, seq: bCertificateSeq,
		key:   func(c *model.Certificate) []byte { return key(c.Account, c.ID) },
		scope: within(func(c *model.Certificate) string { return c.Account }),
		meta:  func(c *model.Certificate) *model.Meta { return &c.Meta },
	}
	profiles = table[model.Profile]{
		name: "profile", rows: bProfile, seq: bProfileSeq,
		key:   func(p *model.Profile) []byte { return key(p.Account, p.ID) },
		scope: within(func(p *model.Profile) string { return p.Account }),
		meta:  func(p *model.Profile) *model.Meta { return &p.Meta },
	}
	subscriptions = table[model.Subscription]{
		name: "subscription", rows: bSubscription, seq: bSubscriptionSeq,
		key:   func(s *model.Subscription) []byte { return key(s.Account, s.Channel, s.ID) },
		scope: func(s *model.Subscription) []byte { return prefix(s.Account, s.Channel) },
		total: within(func(s *model.Subscription) string { return s.Account }),
		meta:  func(s *model.Subscription) *model.Meta { return &s.Meta },
	}
)

// decodeRow panics on a row that is not what this package wrote: the file is
// damaged, and going on would spread it.
func decodeRow[T any](bucket, v []byte) T {
	var row T
	if err := json.Unmarshal(v, &row); err != nil {
		panic("fsm: damaged row in bucket " + string(bucket) + ": restore this node from a snapshot")
	}
	return row
}

func encodeRow(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("fsm: encode row: " + err.Error())
	}
	return b
}

func (t table[T]) has(tx *bbolt.Tx, k []byte) bool { return tx.Bucket(t.rows).Get(k) != nil }

func (t table[T]) get(tx *bbolt.Tx, k []byte) (T, bool) {
	v := tx.Bucket(t.rows).Get(k)
	if v == nil {
		var zero T
		return zero, false
	}
	return decodeRow[T](t.rows, v), true
}

// all runs over the rows below pre in key order.
func (t table[T]) all(tx *bbolt.Tx, pre []byte) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, v := range scan(tx, t.rows, pre) {
			if !yield(decodeRow[T](t.rows, v)) {
				return
			}
		}
	}
}

func (t table[T]) count(tx *bbolt.Tx, scope []byte) int {
	return int(readUint(tx.Bucket(bCount).Get(countKey(t.name, scope)))) //nolint:gosec // far below the largest int
}

func countKey(name string, scope []byte) []byte { return append(prefix(name), scope...) }

// scan runs over the keys of a bucket that begin with pre, ascending.
func scan(tx *bbolt.Tx, bucket, pre []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		c := tx.Bucket(bucket).Cursor()
		for k, v := c.Seek(pre); k != nil && bytes.HasPrefix(k, pre); k, v = c.Next() {
			if !yield(k, v) {
				return
			}
		}
	}
}

// scanBack runs over the keys of a bucket that begin with pre, descending.
func scanBack(tx *bbolt.Tx, bucket, pre []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		c := tx.Bucket(bucket).Cursor()
		var k, v []byte
		if len(pre) == 0 {
			k, v = c.Last()
		} else {
			// All prefixes end with 0: the next one up is the same with a 1.
			end := bytes.Clone(pre)
			end[len(end)-1]++
			if after, _ := c.Seek(end); after == nil {
				k, v = c.Last()
			} else {
				k, v = c.Prev()
			}
		}
		for ; k != nil && bytes.HasPrefix(k, pre); k, v = c.Prev() {
			if !yield(k, v) {
				return
			}
		}
	}
}
