package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"example.com/belfry/fsm/model"
)

// headerRegister is where the profile "register" keeps its value.
const headerRegister = "X-Register"

// simGrown bounds the subscriptions of channelGrowing.
const simGrown = 12

// register is one writer and one reader of a value in the config, each at any
// node. What is read is the last value that was acknowledged, or one whose
// outcome is not known.
func (l *simLoad) register(rng *rand.Rand) {
	w := l.s.truth
	for l.sleep(l.s.knobs.between(rng, 50, 300)) {
		l.value++
		n := l.s.anyNode(rng)
		err := n.at(l.s.t.Context(), func(ctx context.Context) error {
			_, err := n.writer.UpdateProfile(ctx, system, "acme", "register",
				model.ProfilePatch{Headers: model.Some(map[string]string{headerRegister: strconv.Itoa(l.value)})})
			return err
		})
		switch model.CodeOf(err) { //nolint:exhaustive // nothing else may come
		case "":
			l.acked = l.value
		case model.CodeUnavailable: // nothing was appended
		case model.CodeUnknownOutcome:
			l.unknown = append(l.unknown, l.value)
		default:
			w.mu.Lock()
			w.violated("register: %v", err)
			w.mu.Unlock()
		}
		n = l.s.anyNode(rng)
		got := 0
		err = n.at(l.s.t.Context(), func(ctx context.Context) (err error) {
			if err = n.cluster.Group(groupConfig).Linearize(ctx); err == nil {
				got, err = n.register()
			}
			return err
		})
		if err == nil && !l.legal(got) {
			w.mu.Lock()
			w.violated("%s reads %d, the last acknowledged value is %d, %v are unknown", n.id, got, l.acked, l.unknown)
			w.mu.Unlock()
		}
	}
}

func (l *simLoad) legal(got int) bool { return got == l.acked || slices.Contains(l.unknown, got) }

func (n *simNode) register() (int, error) {
	p, err := n.store.Profile("acme", "register")
	if err != nil || p.Headers[headerRegister] == "" {
		return 0, err
	}
	return strconv.Atoi(p.Headers[headerRegister])
}

// grow makes one subscription after another, each with a profile of its own.
func (l *simLoad) grow(rng *rand.Rand) {
	for k := len(l.growing); k < simGrown && l.sleep(time.Duration(200+rng.IntN(2500))*time.Millisecond); k++ {
		l.mu.Lock()
		l.begun = k + 1
		l.mu.Unlock()
		for _, account := range simAccounts {
			if !l.must(rng, func(ctx context.Context, n *simNode) error {
				return n.subscribe(ctx, account, channelGrowing, "DELIVERY", fmt.Sprint("grown-", k), fmt.Sprint("ok-grown-", k), true)
			}, model.CodeExists) {
				return
			}
		}
		l.mu.Lock()
		l.growing = append(l.growing, time.Now())
		l.mu.Unlock()
	}
}

// pass makes and deletes a subscription whose webhook fails, again and again:
// what it is owed by then is dropped.
func (l *simLoad) pass(rng *rand.Rand) {
	for l.sleep(time.Duration(100+rng.IntN(1000)) * time.Millisecond) {
		ok := l.must(rng, func(ctx context.Context, n *simNode) error {
			return n.subscribe(ctx, "acme", channelPassing, "DELIVERY", "passing", "dead-1", false)
		}, model.CodeExists)
		if !ok || !l.sleep(time.Duration(rng.IntN(3000))*time.Millisecond) {
			return
		}
		if !l.must(rng, func(ctx context.Context, n *simNode) error {
			_, err := n.writer.DeleteSubscription(ctx, system, "acme", channelPassing, "passing")
			return err
		}, model.CodeNotFound) {
			return
		}
	}
}

// must changes the config at one node after another until it is done. done is
// the answer when an earlier try did it.
func (l *simLoad) must(rng *rand.Rand, f func(ctx context.Context, n *simNode) error, done model.Code) bool {
	for {
		n := l.s.anyNode(rng)
		err := n.at(l.s.t.Context(), func(ctx context.Context) error { return f(ctx, n) })
		switch model.CodeOf(err) { //nolint:exhaustive // nothing else may come
		case "", done:
			return true
		case model.CodeUnknownOutcome, model.CodeUnavailable:
		default:
			w := l.s.truth
			w.mu.Lock()
			w.violated("config at %s: %v", n.id, err)
			w.mu.Unlock()
			return false
		}
		if !l.sleep(time.Duration(100+rng.IntN(200)) * time.Millisecond) {
			return false
		}
	}
}

// revive enables the profiles that 410 has disabled, again and again.
func (l *simLoad) revive(rng *rand.Rand) {
	for l.sleep(time.Duration(1000+rng.IntN(4000)) * time.Millisecond) {
		for _, account := range simAccounts {
			l.enable(rng, account)
		}
	}
}

// enable enables the profile of an account that 410 disables.
func (l *simLoad) enable(rng *rand.Rand, account string) {
	answered := l.s.truth.enabling(account, "gone-1")
	n := l.s.anyNode(rng)
	answered(n.at(l.s.t.Context(), func(ctx context.Context) error {
		_, err := n.writer.UpdateProfile(ctx, system, account, "gone-1", model.ProfilePatch{Enabled: model.Some(true)})
		return err
	}))
}

// channelTangled has the subscriptions of tangle.
const channelTangled = "WEB_PUSH"

// tangle makes and deletes objects that refer to each other. There are so few
// names that most of it meets what others do; whether the hierarchy is whole is
// seen in the state (I5).
func (l *simLoad) tangle(rng *rand.Rand) {
	for l.sleep(l.s.knobs.between(rng, 50, 450)) {
		n := l.s.anyNode(rng)
		err := n.at(l.s.t.Context(), func(ctx context.Context) error { return n.tangle(ctx, rng) })
		switch model.CodeOf(err) { //nolint:exhaustive // nothing else may come
		case "", model.CodeExists, model.CodeNotFound, model.CodeInUse, model.CodeUnavailable, model.CodeUnknownOutcome,
			model.CodeInvalid: // the object that is referred to does not exist
		default:
			w := l.s.truth
			w.mu.Lock()
			w.violated("hierarchy at %s: %v", n.id, err)
			w.mu.Unlock()
		}
	}
}

func (n *simNode) tangle(ctx context.Context, rng *rand.Rand) (err error) {
	const account = "bolt"
	security, profile, sub := fmt.Sprint("t-sec-", rng.IntN(2)), fmt.Sprint("t-prof-", rng.IntN(3)), fmt.Sprint("t-sub-", rng.IntN(2))
	credentials := model.SecurityDraft{
		Security: model.Security{Account: account, ID: security, Type: model.CredentialsBasic, Username: "u"},
		Clear:    map[model.SecretField]model.Secret{model.FieldPassword: model.NewSecret("p")},
	}
	referring := simProfile(account, profile)
	switch rng.IntN(9) {
	case 0:
		_, err = n.writer.CreateSecurity(ctx, system, credentials)
	case 1:
		_, err = n.writer.CreateProfile(ctx, system, model.ProfileDraft{Profile: referring, Security: &credentials})
	case 2:
		referring.SecurityID = security
		_, err = n.writer.CreateProfile(ctx, system, model.ProfileDraft{Profile: referring})
	case 3:
		_, err = n.writer.UpdateProfile(ctx, system, account, profile, model.ProfilePatch{SecurityID: model.Some(security)})
	case 4:
		err = n.subscribe(ctx, account, channelTangled, "DELIVERY", sub, profile, false)
	case 5:
		err = n.subscribe(ctx, account, channelTangled, "DELIVERY", sub, profile, true)
	case 6:
		_, err = n.writer.DeleteSecurity(ctx, system, account, security)
	case 7:
		_, err = n.writer.DeleteProfile(ctx, system, account, profile)
	case 8:
		_, err = n.writer.DeleteSubscription(ctx, system, account, channelTangled, sub)
	}
	return err
}

// dangling lists what a state refers to and does not have (I5).
func dangling(v model.View) (out []string) {
	miss := func(what, id, refers, to string) {
		out = append(out, fmt.Sprintf("%s %s refers to %s %s", what, id, refers, to))
	}
	for s := range v.Subscriptions("") {
		if _, ok := v.Profile(s.Account, s.ProfileID); !ok {
			miss("subscription", s.ID, "profile", s.ProfileID)
		}
	}
	for p := range v.Profiles("") {
		if p.SecurityID != "" {
			if _, ok := v.Security(p.Account, p.SecurityID); !ok {
				miss("profile", p.ID, "security setting", p.SecurityID)
			}
		}
		if p.CertificateID != "" {
			if _, ok := v.Certificate(p.Account, p.CertificateID); !ok {
				miss("profile", p.ID, "certificate", p.CertificateID)
			}
		}
	}
	return out
}
