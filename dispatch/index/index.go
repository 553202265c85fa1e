package index

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// Index is the table of the newest config state that this node has applied.
// It is an observer of the config store: Committed and Restored are called on
// the apply goroutine, everything else from anywhere.
type Index struct {
	current atomic.Pointer[Table]
	mu      sync.Mutex // one writer at a time
	packer  packer
	keys    []posting
}

// New returns an index of nothing, at config index 0.
func New() *Index {
	x := &Index{}
	x.current.Store(&Table{hash: hasher{maphash.MakeSeed()}})
	return x
}

// Snapshot returns the table of now. Use one snapshot for everything that must
// agree, such as the targets of an event and the config index they came from.
func (x *Index) Snapshot() *Table { return x.current.Load() }

// ConfigIndex is Snapshot().ConfigIndex().
func (x *Index) ConfigIndex() uint64 { return x.Snapshot().ConfigIndex() }

// Match is Snapshot().Match(dst, e).
func (x *Index) Match(dst []Target, e *event.Event) []Target { return x.Snapshot().Match(dst, e) }

// Alive is Snapshot().Alive(account, channel, subscriptionIDs).
func (x *Index) Alive(account, channel string, subscriptionIDs []string) bool {
	return x.Snapshot().Alive(account, channel, subscriptionIDs)
}

// Committed applies what one batch changed. The objects are read from v, so
// only the state at the end of the batch counts.
func (x *Index) Committed(v model.View, ch model.ChangeSet) {
	x.mu.Lock()
	defer x.mu.Unlock()
	u := x.update()
	for _, c := range ch.Changes {
		switch c.Entity { //nolint:exhaustive // nothing else is matched against
		case model.EntitySubscription:
			if s, ok := v.Subscription(c.Account, c.Channel, c.ID); ok {
				u.put(&s)
			} else {
				u.remove(c.Account, c.Channel, c.ID)
			}
		case model.EntityProfile:
			p, ok := v.Profile(c.Account, c.ID)
			u.disable(c.Account, c.ID, ok && p.Disabled)
		}
	}
	u.t.index = ch.Index
	x.current.Store(&u.t)
}

// Restored builds the table anew from v.
func (x *Index) Restored(v model.View) {
	x.mu.Lock()
	defer x.mu.Unlock()
	u := x.update()
	u.t = Table{hash: u.t.hash, index: v.Index()}
	for s := range v.Subscriptions("") {
		u.put(&s)
	}
	for p := range v.Profiles("") {
		u.disable(p.Account, p.ID, p.Disabled)
	}
	x.current.Store(&u.t)
}

// update starts an edit of a copy of the current table.
func (x *Index) update() *update {
	return &update{t: *x.current.Load(), edit: &edit{}, x: x}
}

// update is one edit. Its table is not seen by readers before it is stored.
type update struct {
	t    Table
	edit *edit
	x    *Index
}

// put adds a subscription or replaces the one of its id.
func (u *update) put(s *model.Subscription) {
	rec := u.x.packer.pack(s)
	sh, ref := u.t.shard(s.Account, s.Channel)
	if sh != nil {
		old, oldRef, ok := sh.record(u.t.hash, s.ID)
		if ok && old == rec {
			return
		}
		if ok {
			sh = u.own(sh, ref)
			u.take(sh, old, oldRef)
			u.x.packer.unpack(rec)
		}
	} else {
		sh = &shard{edit: u.edit, name: shardName(s.Account, s.Channel)}
		ref = u.t.shards.put(u.edit, sh)
		u.t.directory.insert(u.edit, entry{u.t.shardKey(s.Account, s.Channel), ref})
	}
	u.add(u.own(sh, ref), rec)
}

// remove takes a subscription out, if it is there.
func (u *update) remove(account, channel, id string) {
	sh, ref := u.t.shard(account, channel)
	if sh == nil {
		return
	}
	rec, recRef, ok := sh.record(u.t.hash, id)
	if !ok {
		return
	}
	sh = u.own(sh, ref)
	u.take(sh, rec, recRef)
	if sh.size == 0 {
		u.t.shards.drop(u.edit, ref)
		u.t.directory.remove(u.edit, entry{u.t.shardKey(account, channel), ref})
	}
}

// own returns the shard at ref as one that this edit may change.
func (u *update) own(sh *shard, ref uint32) *shard {
	if sh.edit == u.edit {
		return sh
	}
	c := *sh
	c.edit = u.edit
	c.patterns = slices.Clone(sh.patterns)
	u.t.shards.set(u.edit, ref, &c)
	return &c
}

// add inserts the record that the packer packed or unpacked last.
func (u *update) add(sh *shard, rec record) {
	ref := sh.records.put(u.edit, rec)
	sh.entries.insert(u.edit, entry{u.t.hash.idKey(rec.id()), ref})
	u.x.keys = u.x.packer.postings(u.t.hash, u.x.keys[:0])
	for _, k := range u.x.keys {
		sh.entries.insert(u.edit, entry{k.hash, ref})
		sh.count(k.pattern, 1)
	}
	sh.size++
	u.t.size++
}

// take removes a record with everything that points to it.
func (u *update) take(sh *shard, rec record, ref uint32) {
	u.x.packer.unpack(rec)
	u.x.keys = u.x.packer.postings(u.t.hash, u.x.keys[:0])
	for _, k := range u.x.keys {
		sh.entries.remove(u.edit, entry{k.hash, ref})
		sh.count(k.pattern, -1)
	}
	sh.entries.remove(u.edit, entry{u.t.hash.idKey(rec.id()), ref})
	sh.records.drop(u.edit, ref)
	sh.size--
	u.t.size--
}

func (s *shard) count(p pattern, n int) {
	for i := range s.patterns {
		if pc := &s.patterns[i]; pc.pattern == p {
			pc.count += n
			if pc.count == 0 {
				s.patterns = slices.Delete(s.patterns, i, i+1)
			}
			return
		}
	}
	s.patterns = append(s.patterns, patternCount{p, n})
}

// disable notes whether a profile is disabled.
func (u *update) disable(account, id string, disabled bool) {
	ref, is := u.t.disabledRef(account, id)
	if is == disabled {
		return
	}
	hash := u.t.profileHash(account, id)
	if disabled {
		ref = u.t.profiles.put(u.edit, profileKey{string([]byte(account)), string([]byte(id))})
		u.t.disabled.insert(u.edit, entry{hash, ref})
		u.t.off++
		return
	}
	u.t.profiles.drop(u.edit, ref)
	u.t.disabled.remove(u.edit, entry{hash, ref})
	u.t.off--
}

func sortRecords(rs []record) { slices.SortFunc(rs, compareRecords) }
