package fsm

import (
	"go.etcd.io/bbolt"

	"example.com/belfry/fsm/model"
)

// one reads a row or answers CodeNotFound.
func one[T any](s *Store, tb table[T], what, id string, k []byte) (v T, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		var ok bool
		if v, ok = tb.get(tx, k); !ok {
			return notFound(what, id)
		}
		return nil
	})
	return v, err
}

func checkPage(page, size int) error {
	switch {
	case page < 0:
		return model.Invalid("page", "must be 0 or more")
	case size < 1 || size > model.MaxPageSize:
		return model.Invalid("size", "must be between 1 and %d", model.MaxPageSize)
	}
	return nil
}

// pager collects one page of what it is offered.
type pager[T any] struct {
	page model.Page[T]
	skip int
}

func newPager[T any](page, size, total int) *pager[T] {
	p := &pager[T]{page: model.Page[T]{Items: []T{}, Page: page, Size: size, Total: total}}
	p.skip = total // past the end, also where page*size would overflow
	if page <= total/size {
		p.skip = page * size
	}
	return p
}

func (p *pager[T]) full() bool { return len(p.page.Items) == p.page.Size }

// wants reports whether the next row belongs on the page.
func (p *pager[T]) wants() bool {
	if p.skip > 0 {
		p.skip--
		return false
	}
	return !p.full()
}

// newest lists a scope from the newest row to the oldest. It decodes the rows
// of the page only.
func newest[T any](s *Store, tb table[T], scope []byte, page, size int) (out model.Page[T], err error) {
	if err := checkPage(page, size); err != nil {
		return out, err
	}
	err = s.view(func(tx *bbolt.Tx) error {
		p := newPager[T](page, size, tb.count(tx, scope))
		if p.skip < p.page.Total {
			for _, k := range scanBack(tx, tb.seq, scope) {
				if p.wants() {
					v, _ := tb.get(tx, k)
					p.page.Items = append(p.page.Items, v)
				}
				if p.full() {
					break
				}
			}
		}
		out = p.page
		return nil
	})
	return out, err
}

// chosen lists the rows that match, in the order of rows, and counts them all.
func chosen[T any](page, size int, rows func(yield func(T) bool)) (model.Page[T], error) {
	if err := checkPage(page, size); err != nil {
		return model.Page[T]{}, err
	}
	const unknown = int(^uint(0) >> 1)
	p := newPager[T](page, size, unknown)
	n := 0
	for v := range rows {
		n++
		if p.wants() {
			p.page.Items = append(p.page.Items, v)
		}
	}
	p.page.Total = n
	return p.page, nil
}

// Subscription reads one subscription.
func (s *Store) Subscription(account, channel, id string) (model.Subscription, error) {
	return one(s, subscriptions, "subscription", id, key(account, channel, id))
}

// Profile reads one profile.
func (s *Store) Profile(account, id string) (model.Profile, error) {
	return one(s, profiles, "profile", id, key(account, id))
}

// Security reads one security setting; its secrets are sealed.
func (s *Store) Security(account, id string) (model.Security, error) {
	return one(s, securities, "security setting", id, key(account, id))
}

// Certificate reads one certificate; its key is sealed.
func (s *Store) Certificate(account, id string) (model.Certificate, error) {
	return one(s, certificates, "certificate", id, key(account, id))
}

// Account reads one account.
func (s *Store) Account(id string) (model.Account, error) {
	return one(s, accounts, "account", id, key(id))
}

// ListAccounts lists from the newest to the oldest.
func (s *Store) ListAccounts(page, size int) (model.Page[model.Account], error) {
	return newest(s, accounts, nil, page, size)
}

// Key reads one API key of any account.
func (s *Store) Key(id string) (model.Key, error) { return one(s, keys, "key", id, key(id)) }

// ListKeys lists from the newest to the oldest.
func (s *Store) ListKeys(account string, page, size int) (model.Page[model.Key], error) {
	return newest(s, keys, prefix(account), page, size)
}

// User reads one user of any account.
func (s *Store) User(username string) (model.User, error) {
	return one(s, users, "user", username, key(username))
}

// ListUsers lists from the newest to the oldest.
func (s *Store) ListUsers(account string, page, size int) (model.Page[model.User], error) {
	return newest(s, users, prefix(account), page, size)
}

// TokenRevoked reports whether a token was ended early. It fails closed: a
// store that cannot be read calls every token revoked.
func (s *Store) TokenRevoked(id string) bool {
	revoked := true
	_ = s.view(func(tx *bbolt.Tx) error { // the answer is "revoked" then
		revoked = tx.Bucket(bToken).Get(key(id)) != nil
		return nil
	})
	return revoked
}

// ListAudit lists from the newest record to the oldest.
func (s *Store) ListAudit(account string, page, size int) (out model.Page[model.AuditRecord], err error) {
	if err := checkPage(page, size); err != nil {
		return out, err
	}
	pre := prefix(account)
	err = s.view(func(tx *bbolt.Tx) error {
		p := newPager[model.AuditRecord](page, size, int(readUint(tx.Bucket(bCount).Get(countKey("audit", pre))))) //nolint:gosec // bounded
		if p.skip < p.page.Total {
			for _, v := range scanBack(tx, bAudit, pre) {
				if p.wants() {
					p.page.Items = append(p.page.Items, decodeRow[model.AuditRecord](bAudit, v))
				}
				if p.full() {
					break
				}
			}
		}
		out = p.page
		return nil
	})
	return out, err
}

// DataKey gives the wrapped data key of an account, for seal.NewSealer.
func (s *Store) DataKey(account string) (model.Sealed, bool) {
	a, err := s.Account(account)
	return a.DataKey, err == nil && len(a.DataKey) > 0
}

// FeatureLevel is the level that the cluster was raised to, 0 at first.
func (s *Store) FeatureLevel() (level uint64, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		level = readUint(tx.Bucket(bCluster).Get(kFeature))
		return nil
	})
	return level, err
}
