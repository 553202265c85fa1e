package fsm

import (
	"fmt"
	"math/rand/v2"
	"time"

	"example.com/belfry/fsm/model"
)

// generator makes commands over so few ids that they keep colliding.
type generator struct {
	*rand.Rand
	now time.Time
}

func (g *generator) pick(list ...string) string { return list[g.IntN(len(list))] }
func (g *generator) account() string            { return g.pick("default", "default", "a", "a", "b", "none") }
func (g *generator) id(kind string) string      { return fmt.Sprintf("%s%d", kind, g.IntN(6)) }
func (g *generator) chance(n int) bool          { return g.IntN(n) == 0 }

func (g *generator) opt(kind string) (o model.Opt[string]) {
	switch g.IntN(4) {
	case 0:
		return model.Null[string]()
	case 1:
		return o
	}
	return model.Some(g.id(kind))
}

func (g *generator) newProfile(account string) NewProfile {
	np := newProfile(testProfile(account, g.id("p")), nil)
	if g.chance(20) {
		np.Profile.WindowSize = model.MinWindowSize - 1
	}
	if g.chance(2) {
		np.Profile.CertificateID = g.id("c")
	}
	switch g.IntN(3) {
	case 0:
		np.Profile.SecurityID = g.id("s")
	case 1:
		s := testSecurity(account, g.id("s"))
		np.Security = &s
	}
	return np
}

func (g *generator) securityPatch() model.SecurityPatch {
	p := model.SecurityPatch{Sealed: map[model.SecretField]model.Opt[model.Sealed]{}}
	if g.chance(3) {
		p.Type = model.Some(model.CredentialsHMAC)
		p.Algorithm = model.Some(model.HMACSHA256)
		if g.chance(2) {
			p.Sealed[model.FieldSecretKey] = model.Some(model.Sealed("k"))
		}
	} else if g.chance(2) {
		p.Type = model.Some(model.CredentialsBasic)
		p.Username = model.Some("x")
	}
	// A patch without a type could meet either: it then carries nothing that
	// only one of them has.
	if p.Type.Value == model.CredentialsBasic {
		switch g.IntN(3) {
		case 0:
			p.Sealed[model.FieldPassword] = model.Some(model.Sealed("p"))
		case 1:
			p.Sealed[model.FieldPassword] = model.Null[model.Sealed]()
		}
	}
	return p
}

func (g *generator) next() Command {
	g.now = g.now.Add(time.Duration(g.IntN(50)) * time.Millisecond)
	h, a := head(g.now), g.account()
	switch g.IntN(10) {
	case 0:
		h.By.Name = "key:" + g.id("k")
	case 1:
		h.By.Name = "user:" + g.id("u")
	}
	scopes := [][]model.Scope{{model.ScopeAdminAccounts}, {model.ScopeEventsRead}}[g.IntN(2)]
	ch := g.pick("SMS", "RCS")
	switch g.IntN(40) {
	case 0, 1, 2, 3, 4:
		c := CreateSubscription{Header: h, Subscription: testSub(a, g.id("x"), g.id("p"))}
		c.Subscription.Channel = ch
		if g.chance(2) {
			np := g.newProfile(a)
			c.Profile, c.Subscription.ProfileID = &np, ""
		}
		return c
	case 5, 6:
		s := testSub(a, g.id("x"), g.id("p"))
		s.Channel = ch
		return ReplaceSubscription{h, s}
	case 7, 8, 9:
		return DeleteSubscription{h, a, ch, g.id("x")}
	case 10, 11, 12:
		return CreateProfile{h, g.newProfile(a)}
	case 13, 14, 15:
		p := model.ProfilePatch{SecurityID: g.opt("s"), CertificateID: g.opt("c")}
		if g.chance(10) {
			p.WindowSize = model.Some(1)
		}
		return UpdateProfile{h, a, g.id("p"), p}
	case 16, 17, 18:
		return DeleteProfile{h, a, g.id("p")}
	case 19, 20:
		return CreateSecurity{h, testSecurity(a, g.id("s"))}
	case 21, 22:
		return UpdateSecurity{Header: h, Account: a, ID: g.id("s"), Patch: g.securityPatch()}
	case 23, 24:
		return DeleteSecurity{h, a, g.id("s")}
	case 25:
		return CreateCertificate{h, testCertificate(a, g.id("c"))}
	case 26, 27:
		return DeleteCertificate{h, a, g.id("c")}
	case 28:
		return AuditReveal{h, a, g.id("s")}
	case 29:
		return CreateAccount{h, testAccount(g.pick("a", "b", "d"))}
	case 30:
		return UpdateAccount{h, a, model.AccountPatch{Disabled: model.Some(g.chance(2))}}
	case 31:
		return DeleteAccount{h, a}
	case 32:
		return Bootstrap{h, testAccount("default"), testKey("default", g.id("k"), model.ScopeAdminAccounts)}
	case 33:
		return CreateKey{h, testKey(a, g.id("k"), scopes...)}
	case 34:
		p := model.KeyPatch{Scopes: model.Some(scopes)}
		switch g.IntN(4) {
		case 0:
			p.Disabled = model.Some(g.chance(2))
		case 1:
			p.ExpiresMs = model.Some(g.now.UnixMilli())
		case 2:
			p.ExpiresMs = model.Null[int64]()
		}
		return UpdateKey{h, a, g.id("k"), p}
	case 35:
		return DeleteKey{h, a, g.id("k")}
	case 36:
		if g.chance(2) {
			return DeleteUser{h, a, g.id("u")}
		}
		return CreateUser{h, testUser(a, g.id("u"))}
	case 37:
		return UpdateUser{h, a, g.id("u"), model.UserPatch{Disabled: model.Some(g.chance(2))}}
	case 38:
		return RevokeToken{h, a, model.RevokedToken{ID: fmt.Sprintf("t%d", g.IntN(1000)), Until: g.now.Add(time.Second)}}
	default:
		if g.chance(50) {
			return SetFeatureLevel{h, 1}
		}
		v := g.Uint64N(40)
		return SetPartitions{h, v, model.PartitionTable{Version: v + g.Uint64N(3)}}
	}
}
