package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// Credentials of a simulation are user names with a number. A profile gets
// higher ones all the time: those of its setting change, or it gets another
// setting and the one before is deleted, or none for a while.

// sharedAuth is the setting of the profiles that share one; it only changes.
const sharedAuth = "shared"

var (
	sharingProfiles = []string{"slow-1", "ok-1", "flaky-1"}
	owningProfiles  = []string{"slow-2", "busy-1"}
)

func versionName(v int) string { return "v" + strconv.Itoa(v) }

// simCredentials is a draft of a setting.
func simCredentials(account, id string, version int) model.SecurityDraft {
	return model.SecurityDraft{
		Security: model.Security{Account: account, ID: id, Type: model.CredentialsBasic, Username: versionName(version)},
		Clear:    map[model.SecretField]model.Secret{model.FieldPassword: model.NewSecret("p")},
	}
}

// credential is what is known of those of one profile.
type credential struct {
	given   int               // the highest version that was sent to belfry
	revoked map[int]time.Time // since when versions are not in force any more, by answers
	none    time.Time         // since when the profile has a credential for sure; zero: it may have none
	// loose are versions that may come into force at any later time, as the
	// outcome of a change was not known.
	loose map[int]bool
}

// credentials of a profile. w.mu is held.
func (w *truth) credentials(account, profile string) *credential {
	k := lineName{account: account, destination: "p:" + profile}
	if w.creds[k] == nil {
		w.creds[k] = &credential{revoked: map[int]time.Time{}, loose: map[int]bool{}}
	}
	return w.creds[k]
}

// giving notes that a version is about to be given to profiles.
func (w *truth) giving(account string, profiles []string, version int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range profiles {
		c := w.credentials(account, p)
		c.given = max(c.given, version)
	}
}

// gave notes the answer: all versions below are out of force, and so is to
// have none. Those that were out of force before stay so since then.
func (w *truth) gave(account string, profiles []string, below int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range profiles {
		c := w.credentials(account, p)
		for v := range below {
			if _, ok := c.revoked[v]; !ok {
				c.revoked[v] = time.Now()
			}
		}
	}
}

// bare notes that a profile is about to have no credential, or has one again
// for sure.
func (w *truth) bare(account, profile string, bare bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.credentials(account, profile)
	if c.none = time.Now(); bare {
		c.none = time.Time{}
	}
}

// current checks the credential that a request carries (I7). w.mu is held.
func (w *truth) current(r *webhook.Request, destination string, s sighting) {
	c := w.creds[lineName{account: r.Destination.Account, destination: destination}]
	if c == nil {
		return
	}
	if r.Destination.Auth == nil {
		if !c.none.IsZero() && time.Since(c.none) > w.lease {
			w.violated("I7: %s sends %s to %s without a credential, %v after it was given one", s.node, r.WebhookID, destination, time.Since(c.none))
		}
		return
	}
	version, err := strconv.Atoi(strings.TrimPrefix(r.Destination.Auth.Username, "v"))
	if err != nil || version > c.given {
		w.violated("I7: %s carries %q to %s, which was given up to v%d", r.WebhookID, r.Destination.Auth.Username, destination, c.given)
		return
	}
	w.counts.credentials++
	if at, ok := c.revoked[version]; ok && !c.loose[version] {
		w.counts.old++
		if time.Since(at) > w.lease {
			w.violated("I7: %s starts %s to %s with v%d, %v after that was replaced", s.node, r.WebhookID, destination, version, time.Since(at))
		}
	}
}

// secure gives the profiles their first credentials.
func (s *sim) secure(account string) {
	s.t.Helper()
	first := func(auth string, profiles ...string) {
		s.truth.giving(account, profiles, 1)
		s.config(func(ctx context.Context, n *simNode) error {
			if _, err := n.writer.CreateSecurity(ctx, system, simCredentials(account, auth, 1)); err != nil {
				return err
			}
			for _, p := range profiles {
				if _, err := n.writer.UpdateProfile(ctx, system, account, p, model.ProfilePatch{SecurityID: model.Some(auth)}); err != nil {
					return err
				}
				s.truth.bare(account, p, false)
			}
			return nil
		})
	}
	first(sharedAuth, sharingProfiles...)
	for _, p := range owningProfiles {
		first(p+"-0", p)
	}
}

// loosen notes that a version may come back.
func (w *truth) loosen(account string, profiles []string, version int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range profiles {
		w.credentials(account, p).loose[version] = true
	}
}

// rotator changes the credentials of one setting or of one profile.
type rotator struct {
	l        *simLoad
	account  string
	profiles []string
	auth     string
	own      bool // the setting may be replaced
	version  int
	settings int
	lost     bool // the profile may have this setting or that, or none
}

func (l *simLoad) newRotators() (all []*rotator) {
	for _, account := range simAccounts {
		all = append(all, &rotator{l: l, account: account, profiles: sharingProfiles, auth: sharedAuth, version: 1})
		for _, p := range owningProfiles {
			all = append(all, &rotator{l: l, account: account, profiles: []string{p}, auth: p + "-0", own: true, version: 1})
		}
	}
	return all
}

func (r *rotator) run(rng *rand.Rand) {
	for !r.lost && r.l.sleep(r.l.s.knobs.between(rng, 200, 1500)) {
		if !r.own || rng.IntN(3) > 0 {
			r.change(rng)
		} else {
			r.lost = !r.replace(rng)
		}
	}
}

// insist changes the config until that is done, at one node after another.
// known: no try may still come into force later. done: it was carried out.
func (r *rotator) insist(rng *rand.Rand, f func(ctx context.Context, n *simNode) error, or model.Code) (done, known bool) {
	known = true
	done = r.l.must(rng, func(ctx context.Context, n *simNode) error {
		err := f(ctx, n)
		known = known && model.CodeOf(err) != model.CodeUnknownOutcome && n.runs(ctx)
		return err
	}, or)
	return done, known
}

// change gives the setting the next version.
func (r *rotator) change(rng *rand.Rand) {
	r.version++
	version := r.version
	r.l.s.truth.giving(r.account, r.profiles, version)
	done, known := r.insist(rng, func(ctx context.Context, n *simNode) error {
		_, err := n.writer.UpdateSecurity(ctx, system, r.account, r.auth, model.SecurityPatch{Username: model.Some(versionName(version))})
		return err
	}, "")
	if !done || !known {
		r.l.s.truth.loosen(r.account, r.profiles, version)
	}
	if done {
		r.l.s.truth.gave(r.account, r.profiles, version)
	}
}

func (r *rotator) point(auth string) func(context.Context, *simNode) error {
	return func(ctx context.Context, n *simNode) error {
		_, err := n.writer.UpdateProfile(ctx, system, r.account, r.profiles[0], model.ProfilePatch{SecurityID: model.Some(auth)})
		return err
	}
}

// replace takes the setting from the profile, deletes it, and gives the profile
// another. false: from some step on nobody knows what the profile has; what
// was out of force by then stays so all the same, but for the last version.
func (r *rotator) replace(rng *rand.Rand) bool {
	w, profile := r.l.s.truth, r.profiles[0]
	w.bare(r.account, profile, true)
	if done, known := r.insist(rng, r.point(""), ""); !done || !known {
		return false
	}
	w.gave(r.account, r.profiles, r.version+1)
	if done, _ := r.insist(rng, func(ctx context.Context, n *simNode) error {
		_, err := n.writer.DeleteSecurity(ctx, system, r.account, r.auth)
		return err
	}, model.CodeNotFound); !done || !r.l.sleep(r.l.s.knobs.between(rng, 100, 1000)) {
		return false
	}
	return r.renew(func(f func(context.Context, *simNode) error) bool {
		done, known := r.insist(rng, f, model.CodeExists)
		return done && known
	})
}

// renew gives the profile a setting of its own that it never had.
func (r *rotator) renew(do func(f func(context.Context, *simNode) error) bool) bool {
	w := r.l.s.truth
	r.version++
	r.settings++
	r.auth = fmt.Sprintf("%s-%d", r.profiles[0], r.settings)
	draft := simCredentials(r.account, r.auth, r.version)
	w.giving(r.account, r.profiles, r.version)
	if !do(func(ctx context.Context, n *simNode) error {
		_, err := n.writer.CreateSecurity(ctx, system, draft)
		return err
	}) || !do(r.point(r.auth)) {
		return false
	}
	w.gave(r.account, r.profiles, r.version)
	w.bare(r.account, r.profiles[0], false)
	return true
}

// resume makes clear again what a profile has, when the cluster is whole and
// nothing is under way.
func (r *rotator) resume() {
	if !r.lost {
		return
	}
	r.lost = !r.renew(func(f func(context.Context, *simNode) error) bool { r.l.s.config(f); return true })
}

// TestSim_cutOff: a node that hears nothing of the others starts nothing when
// its lease has run out, though much is owed by what it knows; nor does one that
// goes on after a pause, until it has heard of them again. What it has not
// heard of meanwhile is that others own its partitions, and that its credentials
// are not in force any more.
func TestSim_cutOff(t *testing.T) {
	t.Parallel()
	simulate(t, 3, []uint64{1}, func(s *sim) {
		s.knobs.calm = 1
		s.setUp()
		s.truth.faults()
		l := s.newLoad(simClients)
		for round, id := range s.ids {
			l.begin(round)
			time.Sleep(5 * time.Second)
			pause := round == 1
			if pause {
				s.node(id).pause()
			} else {
				s.Net.Isolate(id, s.ids...)
			}
			time.Sleep(8 * s.knobs.lease)
			if pause { // it goes on before it can hear anybody
				s.node(id).goOn()
				time.Sleep(s.knobs.lease)
			}
			healed := s.heal()
			time.Sleep(2 * time.Second)
			l.end()
			s.check(l, round, healed)
		}
	})
}
