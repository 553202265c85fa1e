package fsm

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"example.com/belfry/fsm/model"
)

// Quotas of one account, and bounds of what the whole cluster keeps.
const (
	MaxSubscriptions = 100_000
	MaxProfiles      = 10_000
	MaxSecurity      = 10_000
	MaxCertificates  = 1_000
	MaxKeys          = 1_000
	MaxUsers         = 1_000
	MaxRevokedTokens = 100_000 // of the cluster
	MaxAccounts      = 10_000
	MaxAuditRecords  = 100_000 // the oldest make room

	// maxNamedReferrers is how many referrers an error text names.
	maxNamedReferrers = 100
	// maxForgottenTokens is how many outdated tokens one command forgets.
	maxForgottenTokens = 1_000
)

// txn is the transaction of a batch as one command sees it. Rules read from
// it, then writes go to it; a command that breaks a rule writes nothing.
type txn struct {
	tx      *bbolt.Tx
	index   uint64
	head    Header
	limits  limits
	changes []model.Change
	writes  int
	rows    []touched // by the command, as they were
	rowsCut bool      // it wrote more
	sum     uint64    // of all rows, see filesum.go
}

// limits are the quotas as variables, so that tests reach them.
type limits struct {
	subscriptions, profiles, security, certificates, keys, users, tokens, accounts, audit int
}

func defaultLimits() limits {
	return limits{
		MaxSubscriptions, MaxProfiles, MaxSecurity, MaxCertificates, MaxKeys, MaxUsers, MaxRevokedTokens, MaxAccounts, MaxAuditRecords,
	}
}

func (t *txn) at() time.Time { return t.head.At }

// must stops the node: a bucket that cannot be written is a damaged file or a
// full disk, and going on would lose a committed change.
func must(err error) {
	if err != nil {
		panic("fsm: write state: " + err.Error())
	}
}

func (t *txn) put(bucket, k, v []byte) {
	t.writes++
	t.touch(bucket, k)
	t.replaced(bucket, k, v, false)
	must(t.tx.Bucket(bucket).Put(k, v))
}

func (t *txn) del(bucket, k []byte) {
	t.writes++
	t.touch(bucket, k)
	t.replaced(bucket, k, nil, true)
	must(t.tx.Bucket(bucket).Delete(k))
}

func (t *txn) bump(name string, scope []byte, by int) {
	k := countKey(name, scope)
	n := int(readUint(t.tx.Bucket(bCount).Get(k))) + by //nolint:gosec // far below the largest int
	if n == 0 {
		t.del(bCount, k)
		return
	}
	t.put(bCount, k, be64(uint64(n))) //nolint:gosec // never negative: rows are counted as they come and go
}

func (t *txn) changed(e model.Entity, account, channel, id string, deleted bool) {
	t.changes = append(t.changes, model.Change{Entity: e, Account: account, Channel: channel, ID: id, Deleted: deleted})
}

// insert stamps and stores a new row. At most one row of a table is created
// by one command, so the index makes it unique in the table's sequence.
func insert[T any](t *txn, tb table[T], v *T) {
	m := tb.meta(v)
	*m = model.Meta{CreatedAt: t.at(), UpdatedAt: t.at(), CreatedIndex: t.index, UpdatedIndex: t.index}
	k := tb.key(v)
	t.put(tb.rows, k, encodeRow(v))
	t.put(tb.seq, seqKey(tb.scope(v), t.index), k)
	t.bump(tb.name, tb.scope(v), 1)
	if tb.total != nil {
		t.bump(tb.name, tb.total(v), 1)
	}
}

// update stores a changed row, keeping what says when it was created.
func update[T any](t *txn, tb table[T], v *T, created model.Meta) {
	m := tb.meta(v)
	*m = model.Meta{CreatedAt: created.CreatedAt, UpdatedAt: t.at(), CreatedIndex: created.CreatedIndex, UpdatedIndex: t.index}
	t.put(tb.rows, tb.key(v), encodeRow(v))
}

func remove[T any](t *txn, tb table[T], v *T) {
	t.del(tb.rows, tb.key(v))
	t.del(tb.seq, seqKey(tb.scope(v), tb.meta(v).CreatedIndex))
	t.bump(tb.name, tb.scope(v), -1)
	if tb.total != nil {
		t.bump(tb.name, tb.total(v), -1)
	}
}

func (t *txn) link(kind, account, target, referrer string) {
	if target != "" {
		t.put(bRef, key(kind, account, target, referrer), nil)
	}
}

func (t *txn) unlink(kind, account, target, referrer string) {
	if target != "" {
		t.del(bRef, key(kind, account, target, referrer))
	}
}

// unused refuses to delete what is referred to. It names the first
// maxNamedReferrers referrers and counts the rest.
func (t *txn) unused(kind, account, id, by string) error {
	pre := prefix(kind, account, id)
	var names []string
	n := 0
	for k := range scan(t.tx, bRef, pre) {
		if n++; n <= maxNamedReferrers {
			names = append(names, strings.ReplaceAll(string(bytes.TrimPrefix(k, pre)), "\x00", "/"))
		}
	}
	if n == 0 {
		return nil
	}
	more := ""
	if n > maxNamedReferrers {
		more = fmt.Sprintf(" and %d more", n-maxNamedReferrers)
	}
	if n > 1 {
		by += "s"
	}
	what := kind
	if kind == refSecurity {
		what = "security setting"
	}
	return model.Errorf(model.CodeInUse, "the %s %s is used by the %s %s%s", what, id, by, strings.Join(names, ", "), more)
}

func (t *txn) account(id string) error {
	if !accounts.has(t.tx, key(id)) {
		return model.Errorf(model.CodeNotFound, "there is no account %s", id)
	}
	return nil
}

// room refuses one more row than the quota of the account allows.
func room[T any](t *txn, tb table[T], scope []byte, limit int, field, what string) error {
	if tb.count(t.tx, scope) < limit {
		return nil
	}
	return &model.Error{Code: model.CodeQuota, Field: field, Message: fmt.Sprintf("at most %d %s are allowed: delete some first", limit, what)}
}

func notFound(what, id string) error {
	return model.Errorf(model.CodeNotFound, "there is no %s %s", what, id)
}

// audit appends the record of a command that was carried out.
func (t *txn) audit(account, action, object string) {
	pre := prefix(account)
	changes, cut := t.differences()
	t.put(bAudit, seqKey(pre, t.index), encodeRow(model.AuditRecord{
		Index: t.index, At: t.at(), Account: account, Actor: t.head.By.Name, ActorFrom: t.head.By.From,
		RequestID: t.head.By.RequestID, Action: action, Object: object, Changes: changes, ChangesCut: cut,
	}))
	n := int(readUint(t.tx.Bucket(bCount).Get(countKey("audit", pre)))) //nolint:gosec // bounded by the limit
	if n < t.limits.audit {
		t.bump("audit", pre, 1)
		return
	}
	c := t.tx.Bucket(bAudit).Cursor()
	oldest, _ := c.Seek(pre)
	t.del(bAudit, bytes.Clone(oldest))
}
