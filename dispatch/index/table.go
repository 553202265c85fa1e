package index

import (
	"strings"

	"example.com/belfry/dispatch/event"
)

// Target is one profile that an event goes to.
type Target struct {
	ProfileID string
	// SubscriptionIDs are those that matched, in alphabetical order.
	SubscriptionIDs []string
}

// Table is what one state of the config says. It never changes, so it may be
// read by any number of goroutines and kept as long as wanted.
//
// INV index-1: a published table never changes; readers take no lock.
// INV index-3: ConfigIndex, Match and Alive of one Table agree.
type Table struct {
	hash  hasher
	index uint64
	size  int // subscriptions

	directory trie // of shards, by account and channel
	shards    pool[*shard]

	disabled trie // of profiles
	profiles pool[profileKey]
	off      int // disabled profiles
}

type profileKey struct{ account, id string }

// shard holds the subscriptions of one account and channel.
type shard struct {
	name     string // packed account and channel
	entries  trie
	records  pool[record]
	patterns []patternCount
	size     int
	edit     *edit
}

// patternCount says how many postings have a pattern.
type patternCount struct {
	pattern pattern
	count   int
}

// ConfigIndex is the index of the config state that the table shows.
func (t *Table) ConfigIndex() uint64 { return t.index }

// Len is how many subscriptions the table holds.
func (t *Table) Len() int { return t.size }

func (t *Table) shardKey(account, channel string) uint32 {
	return folded(mix(mix(mixer, t.hash.text(account)), t.hash.text(channel)))
}

func (t *Table) shard(account, channel string) (s *shard, ref uint32) {
	hash := t.shardKey(account, channel)
	for _, e := range t.directory.find(hash) {
		if e.hash != hash {
			continue
		}
		if s := t.shards.at(e.ref); s.is(account, channel) {
			return s, e.ref
		}
	}
	return nil, 0
}

func shardName(account, channel string) string {
	return string(appendText(appendText(nil, account), channel))
}

func (s *shard) is(account, channel string) bool {
	a, rest := text(s.name)
	c, _ := text(rest)
	return a == account && c == channel
}

// record finds a subscription by its id.
func (s *shard) record(h hasher, id string) (r record, ref uint32, ok bool) {
	hash := h.idKey(id)
	for _, e := range s.entries.find(hash) {
		if e.hash != hash {
			continue
		}
		if r := s.records.at(e.ref); r.id() == id {
			return r, e.ref, true
		}
	}
	return "", 0, false
}

// Alive reports whether one of the subscriptions exists, whatever it asks for
// now and whether or not its profile is disabled.
func (t *Table) Alive(account, channel string, subscriptionIDs []string) bool {
	s, _ := t.shard(account, channel)
	if s == nil {
		return false
	}
	for _, id := range subscriptionIDs {
		if _, _, ok := s.record(t.hash, id); ok {
			return true
		}
	}
	return false
}

// Match appends the targets of an event to dst, one per profile, in the order
// of their ids, and returns it. It looks at the account, channel, name and the
// five members that criteria can name; it allocates nothing when nothing
// matches. The strings in the targets belong to the table and keep a few bytes
// of it in memory.
func (t *Table) Match(dst []Target, e *event.Event) []Target {
	s, _ := t.shard(e.Account, e.Channel)
	if s == nil {
		return dst
	}
	var buf [16]record
	found := s.candidates(buf[:0], t.hash, e)
	switch len(found) {
	case 0:
		return dst
	case 1:
	default:
		sortRecords(found)
	}
	return t.targets(dst, e.Account, found)
}

// candidates appends the matching records, possibly one several times.
func (s *shard) candidates(found []record, h hasher, e *event.Event) []record {
	var used pattern
	for _, pc := range s.patterns {
		used |= pc.pattern
	}
	var v values
	has := byEvent | byResource | byUser
	for i, t := range [members]*string{&e.Name, &e.ApplicationID, &e.EntityID, &e.CallsConfigurationID, &e.Resource, &e.User} {
		p := pattern(1) << i
		if *t != "" { // a tuple has no key for an open member
			has |= p
		}
		if used&has&p != 0 {
			v[i] = h.text(*t)
		}
	}
	for _, pc := range s.patterns {
		if pc.pattern&^has != 0 {
			continue
		}
		hash := v.key(pc.pattern)
		for _, en := range s.entries.find(hash) {
			if en.hash != hash {
				continue
			}
			if r := s.records.at(en.ref); r.matches(e) {
				found = append(found, r)
			}
		}
	}
	return found
}

// targets groups sorted records by profile.
func (t *Table) targets(dst []Target, account string, found []record) []Target {
	ids := make([]string, 0, len(found))
	for i := 0; i < len(found); {
		profile, _ := found[i].target()
		from := len(ids)
		for ; i < len(found); i++ {
			p, id := found[i].target()
			if p != profile {
				break
			}
			if len(ids) == from || ids[len(ids)-1] != id {
				ids = append(ids, id)
			}
		}
		if t.off > 0 && t.isDisabled(account, profile) {
			ids = ids[:from]
			continue
		}
		dst = append(dst, Target{ProfileID: profile, SubscriptionIDs: ids[from:len(ids):len(ids)]})
	}
	return dst
}

func (t *Table) profileHash(account, id string) uint32 { return t.shardKey(account, id) }

func (t *Table) isDisabled(account, id string) bool {
	_, ok := t.disabledRef(account, id)
	return ok
}

func (t *Table) disabledRef(account, id string) (ref uint32, ok bool) {
	hash := t.profileHash(account, id)
	for _, e := range t.disabled.find(hash) {
		if e.hash == hash && t.profiles.at(e.ref) == (profileKey{account, id}) {
			return e.ref, true
		}
	}
	return 0, false
}

// compareRecords orders by profile, then by id.
func compareRecords(a, b record) int {
	ap, ai := a.target()
	bp, bi := b.target()
	if c := strings.Compare(ap, bp); c != 0 {
		return c
	}
	return strings.Compare(ai, bi)
}
