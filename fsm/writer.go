package fsm

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"example.com/belfry/fsm/model"
)

// Proposer replicates commands.
type Proposer interface {
	// Propose returns the index cmd was applied at and the bytes that Apply
	// answered; the local state has reached that index. Errors are
	// *model.Error: CodeUnavailable when provably nothing was appended,
	// CodeUnknownOutcome when it may still be applied, or what Apply refused.
	Propose(ctx context.Context, cmd []byte) (index uint64, resp []byte, err error)
}

// Sealer encrypts secrets before they are proposed.
type Sealer interface {
	NewDataKey(account string) (model.Sealed, error)
	Seal(account string, kind model.Entity, id string, field model.SecretField, plain model.Secret) (model.Sealed, error)
	Open(account string, kind model.Entity, id string, field model.SecretField, sealed model.Sealed) (model.Secret, error)
}

const (
	// DefaultWriteTimeout bounds a write whose context has no deadline.
	DefaultWriteTimeout = 10 * time.Second
	// maxConflictTries is how often a change that depends on what is stored is
	// tried when others change the same object.
	maxConflictTries = 4
)

// WriterOptions of a Writer. All but Timeout are required.
type WriterOptions struct {
	Proposer Proposer
	Sealer   Sealer
	Store    *Store
	Now      func() time.Time
	// CatchUp returns when Store has all that was acknowledged anywhere before
	// the call. CodeUnavailable: it cannot have.
	CatchUp func(ctx context.Context) error
	// Timeout bounds a write whose context has no deadline; 0:
	// DefaultWriteTimeout.
	Timeout time.Duration
}

// Writer turns requests into commands: it stamps time and actor, seals
// secrets, proposes and waits. Every method returns after the change is applied
// on this node. It is safe for concurrent use.
type Writer struct{ o WriterOptions }

// NewWriter makes a Writer. It panics when a required option is missing, which
// is a programming error.
func NewWriter(o WriterOptions) *Writer {
	if o.Proposer == nil || o.Sealer == nil || o.Store == nil || o.Now == nil || o.CatchUp == nil {
		panic("fsm: WriterOptions need a Proposer, a Sealer, a Store, Now and CatchUp")
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultWriteTimeout
	}
	return &Writer{o: o}
}

func (w *Writer) head(by model.Actor) Header {
	return Header{At: w.o.Now().UTC().Truncate(time.Millisecond), By: by}
}

func (w *Writer) propose(ctx context.Context, c Command, out any) error {
	b, err := Encode(c)
	if err != nil {
		return err
	}
	ctx, cancel := w.bound(ctx)
	defer cancel()
	_, resp, err := w.o.Proposer.Propose(ctx, b)
	if err != nil || out == nil || len(resp) == 0 {
		return err
	}
	if err := json.Unmarshal(resp, out); err != nil {
		return model.Errorf(model.CodeInternal, "the answer of the state machine cannot be read").WithCause(err)
	}
	return nil
}

// bound gives a context without a deadline the default one.
func (w *Writer) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, w.o.Timeout)
}

// find looks up what a change needs on this side of the log. What is not there
// may have been made on another node a moment ago: this one is brought up to
// date before it says so.
func find[T any](ctx context.Context, w *Writer, look func() (T, error)) (T, error) {
	got, err := look()
	if model.CodeOf(err) != model.CodeNotFound {
		return got, err
	}
	ctx, cancel := w.bound(ctx)
	defer cancel()
	if err := w.o.CatchUp(ctx); err != nil {
		return got, err
	}
	return look()
}

func ask[T any](ctx context.Context, w *Writer, c Command) (out T, err error) {
	err = w.propose(ctx, c, &out)
	return out, err
}

// sealError hides why sealing failed from the client: the cause is the
// operator's business.
func sealError(err error) error {
	return model.Errorf(model.CodeInternal, "a secret cannot be sealed").WithCause(err)
}

// sealSecurity checks a new setting with its clear secrets, which Apply cannot
// see, and seals them.
func (w *Writer) sealSecurity(ctx context.Context, d model.SecurityDraft, path string) (model.Security, error) {
	s := d.Security
	var v model.Violations
	model.ValidateSecurity(s, d.Clear, path, &v)
	if err := v.Err(); err != nil {
		return s, err
	}
	if err := w.owner(ctx, s.Account); err != nil {
		return s, err
	}
	s.Secrets = make(map[model.SecretField]model.Sealed, len(d.Clear))
	for _, f := range slices.Sorted(maps.Keys(d.Clear)) {
		plain := d.Clear[f]
		if _, isHeader := f.HeaderName(); plain.IsZero() && !isHeader {
			continue
		}
		e, err := w.o.Sealer.Seal(s.Account, model.EntitySecurity, s.ID, f, plain)
		if err != nil {
			return s, sealError(err)
		}
		s.Secrets[f] = e
	}
	s.DropForeign()
	return s, nil
}

// owner says early and by name that an account is missing: sealing would fail
// with less to go by.
func (w *Writer) owner(ctx context.Context, account string) error {
	_, err := find(ctx, w, func() (model.Account, error) { return w.o.Store.Account(account) })
	return err
}

func (w *Writer) newProfile(ctx context.Context, d model.ProfileDraft, path string) (NewProfile, error) {
	np := NewProfile{Profile: d.Profile}
	if d.Security == nil {
		return np, nil
	}
	s, err := w.sealSecurity(ctx, *d.Security, at(path, "security"))
	np.Security = &s
	return np, err
}

// CreateSubscription creates a subscription and what it brings with it.
func (w *Writer) CreateSubscription(ctx context.Context, by model.Actor, d model.SubscriptionDraft) (model.Refs, error) {
	c := CreateSubscription{Header: w.head(by), Subscription: d.Subscription}
	if d.Profile != nil {
		np, err := w.newProfile(ctx, *d.Profile, "profile")
		if err != nil {
			return model.Refs{}, err
		}
		c.Profile = &np
	}
	return ask[model.Refs](ctx, w, c)
}

// ReplaceSubscription replaces all but the identity of a subscription.
func (w *Writer) ReplaceSubscription(ctx context.Context, by model.Actor, s model.Subscription) (model.Refs, error) {
	return ask[model.Refs](ctx, w, ReplaceSubscription{Header: w.head(by), Subscription: s})
}

// DeleteSubscription deletes a subscription and leaves its profile.
func (w *Writer) DeleteSubscription(ctx context.Context, by model.Actor, account, channel, id string) (model.Refs, error) {
	return ask[model.Refs](ctx, w, DeleteSubscription{Header: w.head(by), Account: account, Channel: channel, ID: id})
}

// CreateProfile creates a profile, with its security setting when given.
func (w *Writer) CreateProfile(ctx context.Context, by model.Actor, d model.ProfileDraft) (model.Refs, error) {
	np, err := w.newProfile(ctx, d, "")
	if err != nil {
		return model.Refs{}, err
	}
	return ask[model.Refs](ctx, w, CreateProfile{Header: w.head(by), NewProfile: np})
}

// UpdateProfile changes a profile: absent members stay, null clears.
func (w *Writer) UpdateProfile(ctx context.Context, by model.Actor, account, id string, p model.ProfilePatch) (model.Refs, error) {
	return ask[model.Refs](ctx, w, UpdateProfile{Header: w.head(by), Account: account, ID: id, Patch: p})
}

// DeleteProfile deletes a profile that no subscription uses.
func (w *Writer) DeleteProfile(ctx context.Context, by model.Actor, account, id string) (model.Refs, error) {
	return ask[model.Refs](ctx, w, DeleteProfile{Header: w.head(by), Account: account, ID: id})
}

// CreateSecurity creates a security setting.
func (w *Writer) CreateSecurity(ctx context.Context, by model.Actor, d model.SecurityDraft) (model.Refs, error) {
	s, err := w.sealSecurity(ctx, d, "")
	if err != nil {
		return model.Refs{}, err
	}
	return ask[model.Refs](ctx, w, CreateSecurity{Header: w.head(by), Security: s})
}

// UpdateSecurity changes a security setting: absent members stay, null clears.
// When the patch brings a new secret key with PreviousUntilMs and without a
// previous key, the key it replaces becomes the previous one.
func (w *Writer) UpdateSecurity(ctx context.Context, by model.Actor, account, id string, p model.SecurityPatch) (model.Refs, error) {
	if err := w.owner(ctx, account); err != nil {
		return model.Refs{}, err
	}
	sealed := make(map[model.SecretField]model.Opt[model.Sealed], len(p.Clear)+1)
	for _, f := range slices.Sorted(maps.Keys(p.Clear)) {
		if err := w.sealOpt(account, id, f, p.Clear[f], sealed); err != nil {
			return model.Refs{}, err
		}
	}
	p.Sealed, p.Clear = sealed, nil
	key, newKey := sealed[model.FieldSecretKey]
	_, previous := sealed[model.FieldPreviousSecretKey]
	if !newKey || key.Null || previous || !p.PreviousUntilMs.Set || p.PreviousUntilMs.Null {
		return ask[model.Refs](ctx, w, UpdateSecurity{Header: w.head(by), Account: account, ID: id, Patch: p})
	}
	// The envelope of the old key is bound to its field: only this side of the
	// log can make the previous key of it. The index guards against a change
	// in between.
	var refs model.Refs
	var err error
	for range maxConflictTries {
		var cur model.Security
		if cur, err = find(ctx, w, func() (model.Security, error) { return w.o.Store.Security(account, id) }); err != nil {
			return refs, err
		}
		delete(sealed, model.FieldPreviousSecretKey)
		if old := cur.Secrets[model.FieldSecretKey]; len(old) > 0 {
			plain, err := w.o.Sealer.Open(account, model.EntitySecurity, id, model.FieldSecretKey, old)
			if err != nil {
				return refs, sealError(err)
			}
			if err := w.sealOpt(account, id, model.FieldPreviousSecretKey, model.Some(plain), sealed); err != nil {
				return refs, err
			}
		}
		refs, err = ask[model.Refs](ctx, w, UpdateSecurity{Header: w.head(by), Account: account, ID: id, IfUpdatedIndex: cur.UpdatedIndex, Patch: p})
		if model.CodeOf(err) != model.CodeConflict {
			return refs, err
		}
	}
	// Nothing was changed: the client may try again.
	return refs, model.Errorf(model.CodeUnavailable, "the security setting %s is being changed by others", id).WithCause(err)
}

func (w *Writer) sealOpt(account, id string, f model.SecretField, plain model.Opt[model.Secret], into map[model.SecretField]model.Opt[model.Sealed]) error {
	if plain.Null || !plain.Set {
		into[f] = model.Null[model.Sealed]()
		return nil
	}
	var v model.Violations
	model.ValidateSecretValue(f, plain.Value, "credentials", &v)
	if err := v.Err(); err != nil {
		return err
	}
	e, err := w.o.Sealer.Seal(account, model.EntitySecurity, id, f, plain.Value)
	if err != nil {
		return sealError(err)
	}
	into[f] = model.Some(e)
	return nil
}

// DeleteSecurity deletes a setting that no profile uses.
func (w *Writer) DeleteSecurity(ctx context.Context, by model.Actor, account, id string) (model.Refs, error) {
	return ask[model.Refs](ctx, w, DeleteSecurity{Header: w.head(by), Account: account, ID: id})
}

// AuditReveal records that by saw the clear text of a security setting.
func (w *Writer) AuditReveal(ctx context.Context, by model.Actor, account, authID string) error {
	return w.propose(ctx, AuditReveal{Header: w.head(by), Account: account, ID: authID}, nil)
}

// CreateCertificate seals the private key (PKCS#8 DER) and stores it with c.
func (w *Writer) CreateCertificate(ctx context.Context, by model.Actor, c model.Certificate, key model.Secret) (model.Certificate, error) {
	if err := w.owner(ctx, c.Account); err != nil {
		return c, err
	}
	if key.IsZero() {
		return c, model.Invalid("certificateContent", "must hold a certificate and its key")
	}
	e, err := w.o.Sealer.Seal(c.Account, model.EntityCertificate, c.ID, model.FieldPrivateKey, key)
	if err != nil {
		return c, sealError(err)
	}
	c.Secrets = map[model.SecretField]model.Sealed{model.FieldPrivateKey: e}
	c.Meta, err = ask[model.Meta](ctx, w, CreateCertificate{Header: w.head(by), Certificate: c})
	return c, err
}

// DeleteCertificate deletes a certificate that no profile uses.
func (w *Writer) DeleteCertificate(ctx context.Context, by model.Actor, account, id string) error {
	return w.propose(ctx, DeleteCertificate{Header: w.head(by), Account: account, ID: id}, nil)
}

// CreateAccount creates an account with a data key of its own.
func (w *Writer) CreateAccount(ctx context.Context, by model.Actor, a model.Account) (model.Account, error) {
	var err error
	if a.DataKey, err = w.o.Sealer.NewDataKey(a.ID); err != nil {
		return a, sealError(err)
	}
	return ask[model.Account](ctx, w, CreateAccount{Header: w.head(by), Account: a})
}

// UpdateAccount changes an account.
func (w *Writer) UpdateAccount(ctx context.Context, by model.Actor, id string, p model.AccountPatch) (model.Account, error) {
	return ask[model.Account](ctx, w, UpdateAccount{Header: w.head(by), ID: id, Patch: p})
}

// DeleteAccount deletes an account that owns no configuration, with its keys
// and users.
func (w *Writer) DeleteAccount(ctx context.Context, by model.Actor, id string) error {
	return w.propose(ctx, DeleteAccount{Header: w.head(by), ID: id}, nil)
}

// CreateKey creates an API key.
func (w *Writer) CreateKey(ctx context.Context, by model.Actor, k model.Key) (model.Key, error) {
	return ask[model.Key](ctx, w, CreateKey{Header: w.head(by), Key: k})
}

// UpdateKey changes an API key.
func (w *Writer) UpdateKey(ctx context.Context, by model.Actor, account, id string, p model.KeyPatch) (model.Key, error) {
	return ask[model.Key](ctx, w, UpdateKey{Header: w.head(by), Account: account, ID: id, Patch: p})
}

// DeleteKey deletes an API key.
func (w *Writer) DeleteKey(ctx context.Context, by model.Actor, account, id string) error {
	return w.propose(ctx, DeleteKey{Header: w.head(by), Account: account, ID: id}, nil)
}

// CreateUser creates a user.
func (w *Writer) CreateUser(ctx context.Context, by model.Actor, u model.User) (model.User, error) {
	return ask[model.User](ctx, w, CreateUser{Header: w.head(by), User: u})
}

// UpdateUser changes a user.
func (w *Writer) UpdateUser(ctx context.Context, by model.Actor, account, username string, p model.UserPatch) (model.User, error) {
	return ask[model.User](ctx, w, UpdateUser{Header: w.head(by), Account: account, Username: username, Patch: p})
}

// DeleteUser deletes a user.
func (w *Writer) DeleteUser(ctx context.Context, by model.Actor, account, username string) error {
	return w.propose(ctx, DeleteUser{Header: w.head(by), Account: account, Username: username}, nil)
}

// RevokeToken ends a token early, on every node.
func (w *Writer) RevokeToken(ctx context.Context, by model.Actor, account string, t model.RevokedToken) error {
	t.Until = t.Until.UTC().Truncate(time.Millisecond)
	return w.propose(ctx, RevokeToken{Header: w.head(by), Account: account, Token: t}, nil)
}

// Bootstrap creates the default account and its first key. It changes nothing
// when the account and a key that administers accounts exist.
func (w *Writer) Bootstrap(ctx context.Context, by model.Actor, acct model.Account, k model.Key) error {
	var err error
	if acct.DataKey, err = w.o.Sealer.NewDataKey(acct.ID); err != nil {
		return sealError(err)
	}
	return w.propose(ctx, Bootstrap{Header: w.head(by), Account: acct, Key: k}, nil)
}

// SetPartitions replaces the partition table when its version is still
// prevVersion, else CodeConflict.
func (w *Writer) SetPartitions(ctx context.Context, prevVersion uint64, t model.PartitionTable) error {
	return w.propose(ctx, SetPartitions{Header: w.head(model.Actor{Name: "system"}), PrevVersion: prevVersion, Table: t}, nil)
}

// SetFeatureLevel raises the cluster's feature level. Every node must run a
// version that supports it: older ones stop.
func (w *Writer) SetFeatureLevel(ctx context.Context, by model.Actor, level uint64) error {
	if level > SupportedFeatureLevel {
		return model.Invalid("level", "must be at most %d", SupportedFeatureLevel)
	}
	return w.propose(ctx, SetFeatureLevel{Header: w.head(by), Level: level}, nil)
}
