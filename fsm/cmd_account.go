package fsm

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"example.com/belfry/fsm/model"
)

// The commands of accounts, keys and users.
type (
	// CreateAccount creates an account with its wrapped data key.
	CreateAccount struct {
		Header
		Account model.Account `json:"account"`
	}
	// UpdateAccount changes an account.
	UpdateAccount struct {
		Header
		ID    string             `json:"id"`
		Patch model.AccountPatch `json:"patch"`
	}
	// DeleteAccount deletes an account that owns no configuration, with its
	// keys and users.
	DeleteAccount struct {
		Header
		ID string `json:"id"`
	}
	// Bootstrap creates the first account and its first key. It changes
	// nothing when they exist: see apply.
	Bootstrap struct {
		Header
		Account model.Account `json:"account"`
		Key     model.Key     `json:"key"`
	}
	// CreateKey creates an API key.
	CreateKey struct {
		Header
		Key model.Key `json:"key"`
	}
	// UpdateKey changes an API key.
	UpdateKey struct {
		Header
		Account string         `json:"account"`
		ID      string         `json:"id"`
		Patch   model.KeyPatch `json:"patch"`
	}
	// DeleteKey deletes an API key.
	DeleteKey struct {
		Header
		Account string `json:"account"`
		ID      string `json:"id"`
	}
	// CreateUser creates a user.
	CreateUser struct {
		Header
		User model.User `json:"user"`
	}
	// UpdateUser changes a user.
	UpdateUser struct {
		Header
		Account  string          `json:"account"`
		Username string          `json:"username"`
		Patch    model.UserPatch `json:"patch"`
	}
	// DeleteUser deletes a user.
	DeleteUser struct {
		Header
		Account  string `json:"account"`
		Username string `json:"username"`
	}
	// RevokeToken ends a token early, and forgets tokens that are out of date
	// by the stamped time.
	RevokeToken struct {
		Header
		Account string             `json:"account"`
		Token   model.RevokedToken `json:"token"`
	}
)

func (CreateAccount) tag() tag { return tagCreateAccount }
func (UpdateAccount) tag() tag { return tagUpdateAccount }
func (DeleteAccount) tag() tag { return tagDeleteAccount }
func (Bootstrap) tag() tag     { return tagBootstrap }
func (CreateKey) tag() tag     { return tagCreateKey }
func (UpdateKey) tag() tag     { return tagUpdateKey }
func (DeleteKey) tag() tag     { return tagDeleteKey }
func (CreateUser) tag() tag    { return tagCreateUser }
func (UpdateUser) tag() tag    { return tagUpdateUser }
func (DeleteUser) tag() tag    { return tagDeleteUser }
func (RevokeToken) tag() tag   { return tagRevokeToken }

// Accounts are objects of the operator: their own changes are in the audit log
// of the default account, so that they outlive the account.
func (c CreateAccount) record() (account, action, object string) {
	return model.DefaultAccount, "account.create", c.Account.ID
}

func (c UpdateAccount) record() (account, action, object string) {
	return model.DefaultAccount, "account.update", c.ID
}

func (c DeleteAccount) record() (account, action, object string) {
	return model.DefaultAccount, "account.delete", c.ID
}

func (c Bootstrap) record() (account, action, object string) {
	return model.DefaultAccount, "cluster.bootstrap", c.Key.ID
}

func (c CreateKey) record() (account, action, object string) {
	return c.Key.Account, "key.create", c.Key.ID
}

func (c UpdateKey) record() (account, action, object string) { return c.Account, "key.update", c.ID }

func (c DeleteKey) record() (account, action, object string) { return c.Account, "key.delete", c.ID }

func (c CreateUser) record() (account, action, object string) {
	return c.User.Account, "user.create", c.User.Username
}

func (c UpdateUser) record() (account, action, object string) {
	return c.Account, "user.update", c.Username
}

func (c DeleteUser) record() (account, action, object string) {
	return c.Account, "user.delete", c.Username
}

func (c RevokeToken) record() (account, action, object string) {
	return c.Account, "token.revoke", c.Token.ID
}

func checkAccount(a model.Account) error {
	if msg := model.CheckID(a.ID); msg != "" {
		return model.Invalid("id", "%s", msg)
	}
	if msg := model.CheckText(a.Name, 0, model.MaxTextLength); msg != "" {
		return model.Invalid("name", "%s", msg)
	}
	return nil
}

func (c CreateAccount) apply(t *txn) (any, error) {
	a := c.Account
	if err := checkAccount(a); err != nil {
		return nil, err
	}
	if len(a.DataKey) == 0 {
		return nil, model.Errorf(model.CodeInternal, "an account needs a data key")
	}
	if accounts.has(t.tx, key(a.ID)) {
		return nil, &model.Error{Code: model.CodeExists, Field: "id", Message: "an account with this id exists"}
	}
	if err := room(t, accounts, nil, t.limits.accounts, "id", "accounts"); err != nil {
		return nil, err
	}
	insert(t, accounts, &a)
	t.changed(model.EntityAccount, a.ID, "", a.ID, false)
	return a, nil
}

func (c UpdateAccount) apply(t *txn) (any, error) {
	a, ok := accounts.get(t.tx, key(c.ID))
	if !ok {
		return nil, notFound("account", c.ID)
	}
	created := a.Meta
	wasDisabled := a.Disabled
	c.Patch.Name.ApplyTo(&a.Name)
	c.Patch.Disabled.ApplyTo(&a.Disabled)
	if err := checkAccount(a); err != nil {
		return nil, err
	}
	if a.Disabled && !wasDisabled {
		if err := t.keepsAdmin(func(k model.Key) bool { return k.Account != a.ID }); err != nil {
			return nil, err
		}
	}
	update(t, accounts, &a, created)
	t.changed(model.EntityAccount, a.ID, "", a.ID, false)
	return a, nil
}

func (c DeleteAccount) apply(t *txn) (any, error) {
	a, ok := accounts.get(t.tx, key(c.ID))
	if !ok {
		return nil, notFound("account", c.ID)
	}
	if a.ID == model.DefaultAccount {
		return nil, model.Errorf(model.CodeInUse, "the account %s cannot be deleted: it is the operator's own", a.ID)
	}
	pre := prefix(a.ID)
	var owned []string
	for _, o := range []struct {
		n    int
		what string
	}{
		{subscriptions.count(t.tx, pre), "subscriptions"},
		{profiles.count(t.tx, pre), "profiles"},
		{securities.count(t.tx, pre), "security settings"},
		{certificates.count(t.tx, pre), "certificates"},
	} {
		if o.n > 0 {
			owned = append(owned, fmt.Sprintf("%d %s", o.n, o.what))
		}
	}
	if len(owned) > 0 {
		return nil, model.Errorf(model.CodeInUse, "the account %s still owns %s: delete them first", a.ID, strings.Join(owned, ", "))
	}
	if err := t.keepsAdmin(func(k model.Key) bool { return k.Account != a.ID }); err != nil {
		return nil, err
	}
	for _, id := range t.listed(bKeySeq, pre) {
		if k, ok := keys.get(t.tx, id); ok {
			t.removeKey(k)
		}
	}
	for _, name := range t.listed(bUserSeq, pre) {
		if u, ok := users.get(t.tx, name); ok {
			remove(t, users, &u)
			t.changed(model.EntityUser, u.Account, "", u.Username, true)
		}
	}
	remove(t, accounts, &a)
	t.changed(model.EntityAccount, a.ID, "", a.ID, true)
	return nil, nil
}

// listed collects the row keys of a sequence, because rows must not be
// deleted under a moving cursor.
func (t *txn) listed(seq, pre []byte) [][]byte {
	var rows [][]byte
	for _, v := range scan(t.tx, seq, pre) {
		rows = append(rows, slices.Clone(v))
	}
	return rows
}

// apply creates the account unless it exists, and the key unless there is a
// key that administers accounts: a node that starts again with the first key
// in its environment must not bring back a key that was deleted since.
func (c Bootstrap) apply(t *txn) (any, error) {
	a, k := c.Account, c.Key
	if err := checkAccount(a); err != nil {
		return nil, err
	}
	exists := accounts.has(t.tx, key(a.ID))
	needKey := !exists || !t.hasAdmin(func(model.Key) bool { return true })
	if a.ID != model.DefaultAccount || k.Account != a.ID || len(a.DataKey) == 0 {
		return nil, model.Errorf(model.CodeInternal, "bootstrap creates the account %s with a data key and a key of its own", model.DefaultAccount)
	}
	if needKey {
		if err := t.checkKey(k); err != nil {
			return nil, err
		}
		if !protects(k) {
			return nil, model.Invalid("scopes", "the first key must hold %s and must not expire", model.ScopeAdminAccounts)
		}
		if keys.has(t.tx, key(k.ID)) {
			return nil, &model.Error{Code: model.CodeExists, Field: "id", Message: "a key with this id exists"}
		}
	}
	if !exists {
		insert(t, accounts, &a)
		t.changed(model.EntityAccount, a.ID, "", a.ID, false)
	}
	if needKey {
		t.insertKey(k)
	}
	return nil, nil
}

// protects reports whether k, as far as it alone decides, keeps the operators
// from locking themselves out: it administers accounts, is enabled and does
// not expire by itself.
func protects(k model.Key) bool {
	return slices.Contains(k.Scopes, model.ScopeAdminAccounts) && !k.Disabled && k.ExpiresAt.IsZero()
}

// hasAdmin reports whether a protecting key of an enabled account is among
// those that count.
func (t *txn) hasAdmin(counts func(model.Key) bool) bool {
	for id := range scan(t.tx, bAdminKey, nil) {
		k, ok := keys.get(t.tx, id)
		if !ok || !protects(k) || !counts(k) {
			continue
		}
		if a, ok := accounts.get(t.tx, key(k.Account)); ok && !a.Disabled {
			return true
		}
	}
	return false
}

// keepsAdmin refuses a change after which only the keys that remain counts
// are protecting, when that leaves none where there was one.
// INV fsm-5: once there is an enabled key with admin:accounts that does not
// expire, there always is one.
func (t *txn) keepsAdmin(remain func(model.Key) bool) error {
	if t.hasAdmin(remain) || !t.hasAdmin(func(model.Key) bool { return true }) {
		return nil
	}
	return model.Errorf(model.CodeInUse, "this would leave no enabled key with the scope %s that does not expire: create another one first", model.ScopeAdminAccounts)
}

func checkScopes(scopes []model.Scope) error {
	for i, s := range scopes {
		if !s.Known() || slices.Contains(scopes[:i], s) {
			return model.Invalid(fmt.Sprintf("scopes[%d]", i), "must be a scope, named once")
		}
	}
	return nil
}

// MaxCIDRs is how many address ranges a key may name.
const MaxCIDRs = 64

func (t *txn) checkKey(k model.Key) error {
	if msg := model.CheckID(k.ID); msg != "" {
		return model.Invalid("id", "%s", msg)
	}
	if msg := model.CheckText(k.Name, 0, model.MaxTextLength); msg != "" {
		return model.Invalid("name", "%s", msg)
	}
	if len(k.Hash) != sha256.Size {
		return model.Errorf(model.CodeInternal, "the hash of a key has %d bytes", sha256.Size)
	}
	if len(k.CIDRs) > MaxCIDRs {
		return model.Invalid("cidrs", "must hold at most %d items", MaxCIDRs)
	}
	return checkScopes(k.Scopes)
}

func (c CreateKey) apply(t *txn) (any, error) {
	k := c.Key
	if err := t.account(k.Account); err != nil {
		return nil, err
	}
	if err := t.checkKey(k); err != nil {
		return nil, err
	}
	if keys.has(t.tx, key(k.ID)) {
		return nil, &model.Error{Code: model.CodeExists, Field: "id", Message: "a key with this id exists"}
	}
	if err := room(t, keys, prefix(k.Account), t.limits.keys, "id", "keys"); err != nil {
		return nil, err
	}
	return t.insertKey(k), nil
}

func (t *txn) insertKey(k model.Key) model.Key {
	insert(t, keys, &k)
	t.noteAdmin(k)
	t.changed(model.EntityKey, k.Account, "", k.ID, false)
	return k
}

func (t *txn) noteAdmin(k model.Key) {
	if slices.Contains(k.Scopes, model.ScopeAdminAccounts) {
		t.put(bAdminKey, key(k.ID), nil)
	} else {
		t.del(bAdminKey, key(k.ID))
	}
}

func (t *txn) removeKey(k model.Key) {
	remove(t, keys, &k)
	t.del(bAdminKey, key(k.ID))
	t.changed(model.EntityKey, k.Account, "", k.ID, true)
}

func (t *txn) ownKey(account, id string) (model.Key, error) {
	k, ok := keys.get(t.tx, key(id))
	if !ok || k.Account != account {
		return k, notFound("key", id)
	}
	return k, nil
}

func (c UpdateKey) apply(t *txn) (any, error) {
	k, err := t.ownKey(c.Account, c.ID)
	if err != nil {
		return nil, err
	}
	created := k.Meta
	protected := protects(k)
	c.Patch.Name.ApplyTo(&k.Name)
	c.Patch.Scopes.ApplyTo(&k.Scopes)
	c.Patch.Disabled.ApplyTo(&k.Disabled)
	if c.Patch.ExpiresMs.Set {
		k.ExpiresAt = time.Time{}
		if !c.Patch.ExpiresMs.Null {
			k.ExpiresAt = time.UnixMilli(c.Patch.ExpiresMs.Value).UTC()
		}
	}
	if c.Patch.CIDRs.Set {
		k.CIDRs = nil
		for i, s := range c.Patch.CIDRs.Value {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return nil, model.Invalid(fmt.Sprintf("cidrs[%d]", i), "must be an address range such as 192.0.2.0/24")
			}
			k.CIDRs = append(k.CIDRs, p)
		}
	}
	if err := t.checkKey(k); err != nil {
		return nil, err
	}
	if protected && !protects(k) {
		if err := t.keepsAdmin(func(o model.Key) bool { return o.ID != k.ID }); err != nil {
			return nil, err
		}
	}
	update(t, keys, &k, created)
	t.noteAdmin(k)
	t.changed(model.EntityKey, k.Account, "", k.ID, false)
	return k, nil
}

func (c DeleteKey) apply(t *txn) (any, error) {
	k, err := t.ownKey(c.Account, c.ID)
	if err != nil {
		return nil, err
	}
	if err := t.keepsAdmin(func(o model.Key) bool { return o.ID != k.ID }); err != nil {
		return nil, err
	}
	t.removeKey(k)
	return nil, nil
}

func checkUser(u model.User) error {
	if msg := model.CheckText(u.Username, 1, model.MaxTextLength); msg != "" {
		return model.Invalid("username", "%s", msg)
	}
	if strings.Contains(u.Username, ":") {
		return model.Invalid("username", "must not contain a colon, which ends the name in Basic authentication")
	}
	if msg := model.CheckText(u.PasswordHash, 1, 1024); msg != "" {
		return model.Errorf(model.CodeInternal, "a user needs the hash of a password")
	}
	return checkScopes(u.Scopes)
}

func (c CreateUser) apply(t *txn) (any, error) {
	u := c.User
	if err := t.account(u.Account); err != nil {
		return nil, err
	}
	if err := checkUser(u); err != nil {
		return nil, err
	}
	if users.has(t.tx, key(u.Username)) {
		return nil, &model.Error{Code: model.CodeExists, Field: "username", Message: "a user with this name exists"}
	}
	if err := room(t, users, prefix(u.Account), t.limits.users, "username", "users"); err != nil {
		return nil, err
	}
	insert(t, users, &u)
	t.changed(model.EntityUser, u.Account, "", u.Username, false)
	return u, nil
}

func (t *txn) ownUser(account, name string) (model.User, error) {
	u, ok := users.get(t.tx, key(name))
	if !ok || u.Account != account {
		return u, notFound("user", name)
	}
	return u, nil
}

func (c UpdateUser) apply(t *txn) (any, error) {
	u, err := t.ownUser(c.Account, c.Username)
	if err != nil {
		return nil, err
	}
	created := u.Meta
	c.Patch.PasswordHash.ApplyTo(&u.PasswordHash)
	c.Patch.Scopes.ApplyTo(&u.Scopes)
	c.Patch.Disabled.ApplyTo(&u.Disabled)
	if err := checkUser(u); err != nil {
		return nil, err
	}
	update(t, users, &u, created)
	t.changed(model.EntityUser, u.Account, "", u.Username, false)
	return u, nil
}

func (c DeleteUser) apply(t *txn) (any, error) {
	u, err := t.ownUser(c.Account, c.Username)
	if err != nil {
		return nil, err
	}
	remove(t, users, &u)
	t.changed(model.EntityUser, u.Account, "", u.Username, true)
	return nil, nil
}

func (c RevokeToken) apply(t *txn) (any, error) {
	if err := t.account(c.Account); err != nil {
		return nil, err
	}
	if msg := model.CheckID(c.Token.ID); msg != "" {
		return nil, model.Invalid("id", "%s", msg)
	}
	if c.Token.Until.Before(time.UnixMilli(0)) {
		return nil, model.Invalid("until", "must be a time after 1970")
	}
	if t.tx.Bucket(bToken).Get(key(c.Token.ID)) != nil {
		return nil, nil
	}
	var old [][]byte
	now := uint64(max(t.at().UnixMilli(), 0))
	for k := range scan(t.tx, bTokenUntil, nil) {
		if readUint(k[:8]) >= now || len(old) == maxForgottenTokens {
			break
		}
		old = append(old, slices.Clone(k))
	}
	if n := int(readUint(t.tx.Bucket(bCount).Get(countKey("token", nil)))); n-len(old) >= t.limits.tokens { //nolint:gosec // bounded
		return nil, model.Errorf(model.CodeQuota, "at most %d tokens can be ended early at a time", t.limits.tokens)
	}
	for _, k := range old {
		t.del(bTokenUntil, k)
		t.del(bToken, k[8:])
	}
	until := uint64(c.Token.Until.UnixMilli())
	t.put(bToken, key(c.Token.ID), encodeRow(c.Token))
	t.put(bTokenUntil, append(be64(until), c.Token.ID...), nil)
	if by := 1 - len(old); by != 0 {
		t.bump("token", nil, by)
	}
	t.changed(model.EntityToken, c.Account, "", c.Token.ID, false)
	return nil, nil
}
