package index

import (
	"cmp"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// config is a config state in maps; it is the model.View that the index reads.
type config struct {
	model.View // what the index must not ask for is nil

	index         uint64
	subscriptions map[subKey]model.Subscription
	profiles      map[profileKey]model.Profile
}

type subKey struct{ account, channel, id string }

func newConfig() *config {
	return &config{subscriptions: map[subKey]model.Subscription{}, profiles: map[profileKey]model.Profile{}}
}

func (c *config) Index() uint64 { return c.index }

func (c *config) Subscription(account, channel, id string) (model.Subscription, bool) {
	s, ok := c.subscriptions[subKey{account, channel, id}]
	return s, ok
}

func (c *config) Subscriptions(account string) iter.Seq[model.Subscription] {
	return func(yield func(model.Subscription) bool) {
		for k, s := range c.subscriptions {
			if (account == "" || account == k.account) && !yield(s) {
				return
			}
		}
	}
}

func (c *config) Profile(account, id string) (model.Profile, bool) {
	p, ok := c.profiles[profileKey{account, id}]
	return p, ok
}

func (c *config) Profiles(account string) iter.Seq[model.Profile] {
	return func(yield func(model.Profile) bool) {
		for k, p := range c.profiles {
			if (account == "" || account == k.account) && !yield(p) {
				return
			}
		}
	}
}

func (c *config) put(s model.Subscription) model.Change {
	c.subscriptions[subKey{s.Account, s.Channel, s.ID}] = s
	return model.Change{Entity: model.EntitySubscription, Account: s.Account, Channel: s.Channel, ID: s.ID}
}

func (c *config) remove(account, channel, id string) model.Change {
	delete(c.subscriptions, subKey{account, channel, id})
	return model.Change{Entity: model.EntitySubscription, Account: account, Channel: channel, ID: id, Deleted: true}
}

func (c *config) putProfile(p model.Profile) model.Change {
	c.profiles[profileKey{p.Account, p.ID}] = p
	return model.Change{Entity: model.EntityProfile, Account: p.Account, ID: p.ID}
}

func (c *config) commit(x *Index, changes ...model.Change) {
	c.index++
	x.Committed(c, model.ChangeSet{Index: c.index, Changes: changes})
}

// scan is the plain reading of the contract, against which the index is held.
func (c *config) scan(e *event.Event) []Target {
	byProfile := map[string][]string{}
	for _, s := range c.subscriptions {
		if s.Account != e.Account || s.Channel != e.Channel || c.profiles[profileKey{s.Account, s.ProfileID}].Disabled {
			continue
		}
		names := len(s.Events) == 0
		for _, r := range s.Events {
			names = names || r.Event == e.Name
		}
		criteria := len(s.Criteria) == 0
		for _, t := range s.Criteria {
			criteria = criteria || (t.ApplicationID == "" || t.ApplicationID == e.ApplicationID) &&
				(t.EntityID == "" || t.EntityID == e.EntityID) &&
				(t.CallsConfigurationID == "" || t.CallsConfigurationID == e.CallsConfigurationID)
		}
		if names && criteria &&
			(len(s.Resources) == 0 || slices.Contains(s.Resources, e.Resource)) &&
			(len(s.Users) == 0 || slices.Contains(s.Users, e.User)) {
			byProfile[s.ProfileID] = append(byProfile[s.ProfileID], s.ID)
		}
	}
	var ts []Target
	for p, ids := range byProfile {
		slices.Sort(ids)
		ts = append(ts, Target{ProfileID: p, SubscriptionIDs: ids})
	}
	slices.SortFunc(ts, func(a, b Target) int { return cmp.Compare(a.ProfileID, b.ProfileID) })
	return ts
}

// source makes random objects out of few values, so that they collide.
type source struct{ n func(below int) int }

func random(seed uint64) source {
	r := rand.New(rand.NewPCG(seed, 1))
	return source{r.IntN}
}

func (r source) of(kind string, n int) string { return kind + strconv.Itoa(r.n(n)) }

// maybe is a value that is often empty.
func (r source) maybe(kind string, n int) string {
	if r.n(3) == 0 {
		return ""
	}
	return r.of(kind, n)
}

func (r source) list(kind string, n int) []string {
	if r.n(2) == 0 {
		return nil
	}
	l := []string{}
	for range r.n(4) {
		l = append(l, r.maybe(kind, n))
	}
	if r.n(40) == 0 {
		for i := range 255 {
			l = append(l, kind+strconv.Itoa(i))
		}
	}
	return l
}

func (r source) account() string { return r.of("account", 3) }
func (r source) channel() string { return []string{"SMS", "EMAIL"}[r.n(2)] }

func (r source) subscription() model.Subscription {
	s := model.Subscription{
		Account: r.account(), Channel: r.channel(), ID: r.of("sub", 60), ProfileID: r.of("profile", 8),
		Resources: r.list("r", 4), Users: r.list("u", 4),
	}
	for range r.n(4) {
		s.Events = append(s.Events, model.EventRef{Event: r.of("EVENT", 4), Format: r.maybe("F", 2)})
	}
	if r.n(30) == 0 {
		for i := range 60 {
			s.Events = append(s.Events, model.EventRef{Event: "EVENT" + strconv.Itoa(i)})
		}
	}
	for range r.n(4) {
		s.Criteria = append(s.Criteria, model.Criterion{
			ApplicationID: r.maybe("a", 4), EntityID: r.maybe("e", 4), CallsConfigurationID: r.maybe("c", 3),
		})
	}
	return s
}

func (r source) event() *event.Event {
	return &event.Event{
		Account: r.account(), Channel: r.channel(), Name: r.of("EVENT", 5),
		ApplicationID: r.maybe("a", 5), EntityID: r.maybe("e", 5), CallsConfigurationID: r.maybe("c", 4),
		Resource: r.maybe("r", 5), User: r.maybe("u", 5),
	}
}

// change makes one random change of the config.
func (r source) change(c *config) model.Change {
	switch r.n(8) {
	case 0:
		return c.putProfile(model.Profile{Account: r.account(), ID: r.of("profile", 8), Disabled: r.n(2) == 0})
	case 1:
		k := profileKey{r.account(), r.of("profile", 8)}
		delete(c.profiles, k)
		return model.Change{Entity: model.EntityProfile, Account: k.account, ID: k.id, Deleted: true}
	case 2, 3, 4:
		return c.remove(r.account(), r.channel(), r.of("sub", 60))
	}
	return c.put(r.subscription())
}
