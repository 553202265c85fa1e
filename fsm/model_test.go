package fsm

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"example.com/belfry/fsm/model"
)

// reference is the state machine once more, written from the rules and not
// from the code: plain maps, no indexes, no counters.
type reference struct {
	accounts map[string]bool         // id -> disabled
	subs     map[[3]string]string    // account, channel, id -> profile
	profiles map[[2]string][2]string // account, id -> security, certificate
	security map[[2]string]model.CredentialsType
	certs    map[[2]string]bool
	keys     map[string]refKey
	users    map[string]refUser // by name
	tokens   map[string]time.Time
	version  uint64
	level    uint64
	audit    map[string]int
	lim      limits
}

type refKey struct {
	account                  string
	admin, disabled, expires bool
}

type refUser struct {
	account  string
	disabled bool
}

func newReference(l limits) *reference {
	return &reference{
		map[string]bool{},
		map[[3]string]string{},
		map[[2]string][2]string{},
		map[[2]string]model.CredentialsType{},
		map[[2]string]bool{},
		map[string]refKey{},
		map[string]refUser{},
		map[string]time.Time{},
		0, 0,
		map[string]int{},
		l,
	}
}

func count[K comparable, V any](m map[K]V, is func(K, V) bool) (n int) {
	for k, v := range m {
		if is(k, v) {
			n++
		}
	}
	return n
}

func of[V any](account string) func([2]string, V) bool {
	return func(k [2]string, _ V) bool { return k[0] == account }
}

func (r *reference) admins(but func(string, refKey) bool) int {
	return count(r.keys, func(id string, k refKey) bool {
		return k.admin && !k.disabled && !k.expires && !r.accounts[k.account] && !but(id, k)
	})
}

func (r *reference) locksOut(but func(string, refKey) bool) bool {
	return r.admins(func(string, refKey) bool { return false }) > 0 && r.admins(but) == 0
}

// newProfileCode answers for a profile that is to be created, and carries it
// out when the code is empty.
func (r *reference) newProfile(np NewProfile, write bool) model.Code {
	p := np.Profile
	id := [2]string{p.Account, p.ID}
	if p.WindowSize != 0 && p.WindowSize < model.MinWindowSize {
		return model.CodeInvalid
	}
	if _, ok := r.profiles[id]; ok {
		return model.CodeExists
	}
	if count(r.profiles, of[[2]string](p.Account)) >= r.lim.profiles {
		return model.CodeQuota
	}
	sec := p.SecurityID
	if np.Security != nil {
		sec = np.Security.ID
		if c := r.newSecurity(*np.Security, false); c != "" {
			return c
		}
	} else if _, ok := r.security[[2]string{p.Account, sec}]; sec != "" && !ok {
		return model.CodeInvalid
	}
	if p.CertificateID != "" && !r.certs[[2]string{p.Account, p.CertificateID}] {
		return model.CodeInvalid
	}
	if write {
		if np.Security != nil {
			r.newSecurity(*np.Security, true)
		}
		r.profiles[id] = [2]string{sec, p.CertificateID}
	}
	return ""
}

func (r *reference) newSecurity(s model.Security, write bool) model.Code {
	id := [2]string{s.Account, s.ID}
	if _, ok := r.security[id]; ok {
		return model.CodeExists
	}
	if count(r.security, of[model.CredentialsType](s.Account)) >= r.lim.security {
		return model.CodeQuota
	}
	if write {
		r.security[id] = s.Type
	}
	return ""
}

func (r *reference) has(account string) bool { _, ok := r.accounts[account]; return ok }

func (r *reference) apply(c Command) model.Code {
	code := model.CodeUnauthorized
	if r.acts(c.header().By.Name) {
		code = r.run(c)
	}
	if account, action, _ := c.record(); code == "" && action != "" {
		r.audit[account] = min(r.audit[account]+1, r.lim.audit)
	}
	return code
}

// acts reports whether changes may be made in that name. INV fsm-10.
func (r *reference) acts(actor string) bool {
	if id, ok := strings.CutPrefix(actor, "key:"); ok {
		k, found := r.keys[id]
		return found && !k.disabled && !r.accounts[k.account]
	}
	if name, ok := strings.CutPrefix(actor, "user:"); ok {
		u, found := r.users[name]
		return found && !u.disabled && !r.accounts[u.account]
	}
	return true
}

func (r *reference) run(c Command) model.Code {
	switch c := c.(type) {
	case CreateSubscription:
		s := c.Subscription
		id := [3]string{s.Account, s.Channel, s.ID}
		if !r.has(s.Account) {
			return model.CodeNotFound
		}
		if _, ok := r.subs[id]; ok {
			return model.CodeExists
		}
		if count(r.subs, func(k [3]string, _ string) bool { return k[0] == s.Account }) >= r.lim.subscriptions {
			return model.CodeQuota
		}
		prof := s.ProfileID
		if c.Profile != nil {
			prof = c.Profile.Profile.ID
			if code := r.newProfile(*c.Profile, true); code != "" {
				return code
			}
		} else if _, ok := r.profiles[[2]string{s.Account, prof}]; !ok {
			return model.CodeInvalid
		}
		r.subs[id] = prof
	case ReplaceSubscription:
		s := c.Subscription
		id := [3]string{s.Account, s.Channel, s.ID}
		if _, ok := r.subs[id]; !ok {
			return model.CodeNotFound
		}
		if _, ok := r.profiles[[2]string{s.Account, s.ProfileID}]; !ok {
			return model.CodeInvalid
		}
		r.subs[id] = s.ProfileID
	case DeleteSubscription:
		id := [3]string{c.Account, c.Channel, c.ID}
		if _, ok := r.subs[id]; !ok {
			return model.CodeNotFound
		}
		delete(r.subs, id)
	case CreateProfile:
		if !r.has(c.Profile.Account) {
			return model.CodeNotFound
		}
		return r.newProfile(c.NewProfile, true)
	case UpdateProfile:
		id := [2]string{c.Account, c.ID}
		p, ok := r.profiles[id]
		if !ok {
			return model.CodeNotFound
		}
		if c.Patch.WindowSize.Value != 0 && c.Patch.WindowSize.Value < model.MinWindowSize {
			return model.CodeInvalid
		}
		for i, o := range []model.Opt[string]{c.Patch.SecurityID, c.Patch.CertificateID} {
			o.ApplyTo(&p[i])
		}
		if _, ok := r.security[[2]string{c.Account, p[0]}]; p[0] != "" && !ok {
			return model.CodeInvalid
		}
		if p[1] != "" && !r.certs[[2]string{c.Account, p[1]}] {
			return model.CodeInvalid
		}
		r.profiles[id] = p
	case DeleteProfile:
		id := [2]string{c.Account, c.ID}
		if _, ok := r.profiles[id]; !ok {
			return model.CodeNotFound
		}
		if count(r.subs, func(k [3]string, p string) bool { return k[0] == c.Account && p == c.ID }) > 0 {
			return model.CodeInUse
		}
		delete(r.profiles, id)
	case CreateSecurity:
		if !r.has(c.Security.Account) {
			return model.CodeNotFound
		}
		return r.newSecurity(c.Security, true)
	case UpdateSecurity:
		id := [2]string{c.Account, c.ID}
		t, ok := r.security[id]
		if !ok {
			return model.CodeNotFound
		}
		to := t
		c.Patch.Type.ApplyTo(&to)
		// The generator gives HMAC its key or not; all else is complete.
		if to == model.CredentialsHMAC && t != to && len(c.Patch.Sealed[model.FieldSecretKey].Value) == 0 {
			return model.CodeInvalid
		}
		if to == model.CredentialsBasic && (t != to || c.Patch.Sealed[model.FieldPassword].Null) && len(c.Patch.Sealed[model.FieldPassword].Value) == 0 {
			return model.CodeInvalid
		}
		r.security[id] = to
	case DeleteSecurity:
		return deleteReferred(r, r.security, c.Account, c.ID, 0)
	case CreateCertificate:
		id := [2]string{c.Certificate.Account, c.Certificate.ID}
		switch {
		case !r.has(id[0]):
			return model.CodeNotFound
		case r.certs[id]:
			return model.CodeExists
		case count(r.certs, of[bool](id[0])) >= r.lim.certificates:
			return model.CodeQuota
		}
		r.certs[id] = true
	case DeleteCertificate:
		return deleteReferred(r, r.certs, c.Account, c.ID, 1)
	case AuditReveal:
		if _, ok := r.security[[2]string{c.Account, c.ID}]; !ok {
			return model.CodeNotFound
		}
	case CreateAccount:
		if r.has(c.Account.ID) {
			return model.CodeExists
		}
		if len(r.accounts) >= r.lim.accounts {
			return model.CodeQuota
		}
		r.accounts[c.Account.ID] = false
	default:
		return r.runRest(c)
	}
	return ""
}

func deleteReferred[V any](r *reference, m map[[2]string]V, account, id string, member int) model.Code {
	if _, ok := m[[2]string{account, id}]; !ok {
		return model.CodeNotFound
	}
	if count(r.profiles, func(k, p [2]string) bool { return k[0] == account && p[member] == id }) > 0 {
		return model.CodeInUse
	}
	delete(m, [2]string{account, id})
	return ""
}

func (r *reference) runRest(c Command) model.Code {
	switch c := any(c).(type) { // any: the other half of the commands is in run
	case UpdateAccount:
		was, ok := r.accounts[c.ID]
		if !ok {
			return model.CodeNotFound
		}
		now := was
		c.Patch.Disabled.ApplyTo(&now)
		if now && !was && r.locksOut(func(_ string, k refKey) bool { return k.account == c.ID }) {
			return model.CodeInUse
		}
		r.accounts[c.ID] = now
	case DeleteAccount:
		switch owns := func(k [2]string) bool { return k[0] == c.ID }; {
		case !r.has(c.ID):
			return model.CodeNotFound
		case c.ID == "default",
			count(r.subs, func(k [3]string, _ string) bool { return k[0] == c.ID }) > 0,
			count(r.profiles, func(k, _ [2]string) bool { return owns(k) }) > 0,
			count(r.security, of[model.CredentialsType](c.ID)) > 0, count(r.certs, of[bool](c.ID)) > 0,
			r.locksOut(func(_ string, k refKey) bool { return k.account == c.ID }):
			return model.CodeInUse
		}
		maps.DeleteFunc(r.keys, func(_ string, k refKey) bool { return k.account == c.ID })
		maps.DeleteFunc(r.users, func(_ string, u refUser) bool { return u.account == c.ID })
		delete(r.accounts, c.ID)
	case Bootstrap:
		exists := r.has("default")
		if !exists || r.admins(func(string, refKey) bool { return false }) == 0 {
			if _, ok := r.keys[c.Key.ID]; ok {
				return model.CodeExists
			}
			r.keys[c.Key.ID] = refKey{account: "default", admin: true}
		}
		if !exists {
			r.accounts["default"] = false
		}
	case CreateKey:
		k := c.Key
		if !r.has(k.Account) {
			return model.CodeNotFound
		}
		if _, ok := r.keys[k.ID]; ok {
			return model.CodeExists
		}
		if count(r.keys, func(_ string, o refKey) bool { return o.account == k.Account }) >= r.lim.keys {
			return model.CodeQuota
		}
		r.keys[k.ID] = refKey{k.Account, slices.Contains(k.Scopes, model.ScopeAdminAccounts), k.Disabled, !k.ExpiresAt.IsZero()}
	case UpdateKey:
		k, ok := r.keys[c.ID]
		if !ok || k.account != c.Account {
			return model.CodeNotFound
		}
		if c.Patch.Scopes.Set {
			k.admin = slices.Contains(c.Patch.Scopes.Value, model.ScopeAdminAccounts)
		}
		c.Patch.Disabled.ApplyTo(&k.disabled)
		if c.Patch.ExpiresMs.Set {
			k.expires = !c.Patch.ExpiresMs.Null
		}
		old := r.keys[c.ID]
		before := r.admins(func(string, refKey) bool { return false })
		r.keys[c.ID] = k
		if before > 0 && r.admins(func(string, refKey) bool { return false }) == 0 {
			r.keys[c.ID] = old
			return model.CodeInUse
		}
	case DeleteKey:
		if k, ok := r.keys[c.ID]; !ok || k.account != c.Account {
			return model.CodeNotFound
		}
		if r.locksOut(func(id string, _ refKey) bool { return id == c.ID }) {
			return model.CodeInUse
		}
		delete(r.keys, c.ID)
	case CreateUser:
		u := c.User
		if !r.has(u.Account) {
			return model.CodeNotFound
		}
		if _, ok := r.users[u.Username]; ok {
			return model.CodeExists
		}
		if count(r.users, func(_ string, o refUser) bool { return o.account == u.Account }) >= r.lim.users {
			return model.CodeQuota
		}
		r.users[u.Username] = refUser{u.Account, u.Disabled}
	case UpdateUser:
		u := r.users[c.Username]
		if u.account != c.Account || !r.has(c.Account) {
			return model.CodeNotFound
		}
		u.disabled = c.Patch.Disabled.Value
		r.users[c.Username] = u
	case DeleteUser:
		if r.users[c.Username].account != c.Account || !r.has(c.Account) {
			return model.CodeNotFound
		}
		delete(r.users, c.Username)
	case RevokeToken:
		if !r.has(c.Account) {
			return model.CodeNotFound
		}
		if _, ok := r.tokens[c.Token.ID]; ok {
			return ""
		}
		live := count(r.tokens, func(_ string, until time.Time) bool { return !until.Before(c.At) })
		if live >= r.lim.tokens {
			return model.CodeQuota
		}
		maps.DeleteFunc(r.tokens, func(_ string, until time.Time) bool { return until.Before(c.At) })
		r.tokens[c.Token.ID] = c.Token.Until
	case SetPartitions:
		if r.version != c.PrevVersion {
			return model.CodeConflict
		}
		if c.Table.Version <= r.version {
			return model.CodeInvalid
		}
		r.version = c.Table.Version
	case SetFeatureLevel:
		if c.Level <= r.level {
			return model.CodeConflict
		}
		r.level = c.Level
	default:
		panic(fmt.Sprintf("reference does not know %T", c))
	}
	return ""
}

// check compares the whole state with the store's.
func (r *reference) check(t *testing.T, s *Store) {
	t.Helper()
	got := newReference(r.lim)
	err := s.View(func(v model.View) error {
		for a := range v.Accounts() {
			got.accounts[a.ID] = a.Disabled
			if p, err := s.ListAudit(a.ID, 0, 1); err != nil {
				return err
			} else if p.Total != r.audit[a.ID] {
				t.Errorf("audit of %s: got %d records, want %d", a.ID, p.Total, r.audit[a.ID])
			}
			for page := range 2 {
				ks, err := s.ListKeys(a.ID, page, 100)
				if err != nil {
					return err
				}
				for _, k := range ks.Items {
					got.keys[k.ID] = refKey{k.Account, slices.Contains(k.Scopes, model.ScopeAdminAccounts), k.Disabled, !k.ExpiresAt.IsZero()}
				}
				us, err := s.ListUsers(a.ID, page, 100)
				if err != nil {
					return err
				}
				for _, u := range us.Items {
					got.users[u.Username] = refUser{u.Account, u.Disabled}
				}
			}
		}
		for p := range v.Profiles("") {
			got.profiles[[2]string{p.Account, p.ID}] = [2]string{p.SecurityID, p.CertificateID}
		}
		for x := range v.Subscriptions("") {
			got.subs[[3]string{x.Account, x.Channel, x.ID}] = x.ProfileID
		}
		r.checkLists(t, s)
		got.version = v.Partitions().Version
		for id := range r.security {
			if x, ok := v.Security(id[0], id[1]); ok {
				got.security[id] = x.Type
			}
		}
		for id := range r.certs {
			if _, ok := v.Certificate(id[0], id[1]); ok {
				got.certs[id] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id := range r.tokens {
		if !s.TokenRevoked(id) {
			t.Errorf("token %s is not revoked", id)
		}
	}
	got.tokens, got.audit = r.tokens, r.audit
	if got.level, err = s.FeatureLevel(); err != nil {
		t.Fatal(err)
	}
	opts := cmp.AllowUnexported(reference{}, refKey{}, refUser{}, limits{})
	if d := cmp.Diff(r, got, opts); d != "" {
		t.Fatalf("state differs (-reference +store):\n%s", d)
	}
}

func smallLimits() limits {
	return limits{subscriptions: 7, profiles: 5, security: 4, certificates: 3, keys: 3, users: 3, tokens: 20, accounts: 4, audit: 50}
}

// TestStore_reference runs random streams through the store and the reference:
// every answer, the whole state and the digests must agree, through restarts,
// replays, snapshots and batches of any size (INV fsm-1 to fsm-5).
func TestStore_reference(t *testing.T) {
	t.Parallel()
	perSeed := 15_000
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			runReference(t, seed, perSeed)
		})
	}
}

func runReference(t *testing.T, seed uint64, total int) {
	t.Helper()
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 7)), now: epoch}
	dir := t.TempDir()
	open := func(name string) *Store {
		s := openStore(t, filepath.Join(dir, name))
		s.limits = smallLimits()
		return s
	}
	s, other := open("one.db"), open("two.db") // other: batches of another size
	ref := newReference(smallLimits())
	codes := map[model.Code]int{}
	var log []*raft.Log
	fed := 0 // how much of log other has seen
	for done, round := 0, 0; done < total; round++ {
		n := 1 + g.IntN(400)
		done += n
		batch := make([]*raft.Log, n)
		want := make([]model.Code, n)
		for i := range batch {
			index := uint64(len(log) + 1)
			if g.chance(100) {
				batch[i] = &raft.Log{Index: index, Type: raft.LogConfiguration, Data: []byte("not a command")}
			} else {
				c := g.next()
				batch[i], want[i] = entry(t, index, c), ref.apply(c)
			}
			log = append(log, batch[i])
		}
		for i, a := range s.ApplyBatch(batch) {
			err := answerError(t, a)
			if got := model.CodeOf(err); got != want[i] {
				c, _ := Decode(batch[i].Data)
				t.Fatalf("seed %d entry %d: got %q (%v), want %q for %T %+v", seed, batch[i].Index, got, err, want[i], c, c)
			}
			codes[want[i]]++
		}
		if s.AppliedIndex() != uint64(len(log)) {
			t.Fatalf("applied index: got %d, want %d", s.AppliedIndex(), len(log))
		}
		switch g.IntN(12) {
		case 0: // the same entries again, also after a restart
			before := digest(t, s)
			if g.chance(2) {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open("one.db")
			}
			s.ApplyBatch(log[g.IntN(len(log)):])
			if digest(t, s) != before {
				t.Fatalf("seed %d: entries were applied twice", seed)
			}
		case 1: // a snapshot into the other store, overlapping entries after it
			b := snapshotOf(t, s)
			if err := restore(other, b); err != nil {
				t.Fatal(err)
			}
			if again := snapshotOf(t, other); !bytes.Equal(again, b) {
				t.Fatal("a restored store gives another snapshot")
			}
			fed = len(log)
		case 2:
			for k := max(0, fed-g.IntN(50)); k < len(log); {
				end := min(len(log), k+1+g.IntN(300))
				other.ApplyBatch(log[k:end])
				k = end
			}
			fed = len(log)
			if digest(t, s) != digest(t, other) {
				t.Fatalf("seed %d entry %d: digests differ between batch sizes", seed, len(log))
			}
			ref.check(t, s)
		}
	}
	ref.check(t, s)
	for _, c := range []model.Code{"", model.CodeInvalid, model.CodeNotFound, model.CodeExists, model.CodeInUse, model.CodeQuota, model.CodeConflict, model.CodeUnauthorized} {
		if codes[c] < 20 {
			t.Errorf("only %d answers with code %q: the stream does not exercise it", codes[c], c)
		}
	}
}
