package index

// The trie is a persistent multimap from 32-bit hashes to refs: branches of
// 16, four bits of the hash per level, lowest bits first. Leaves lie in the
// slots of their branch, so that a lookup follows one pointer per level.
const (
	trieBits = 4
	trieFan  = 1 << trieBits
	// maxLeaf is how many entries a leaf holds before it becomes a branch.
	// Entries of one hash stay together however many they are.
	maxLeaf = 32
	// foldLeaf is how few entries make a branch of leaves a leaf again.
	foldLeaf = maxLeaf / 4
)

// edit is the right to change nodes in place: those that carry it were made
// by the edit that holds it and are not published yet. It is compared by
// address, so it must not be of size zero.
type edit struct{ _ byte }

// entry points from a hash to an item of a pool.
type entry struct{ hash, ref uint32 }

// trie is the root. The zero value is empty.
type trie struct {
	edit *edit // who may change the leaf in root, if root is one
	root slot
}

// slot is a branch, or else a leaf, possibly an empty one.
type slot struct {
	kid  *branch
	leaf []entry
}

type branch struct {
	edit  *edit
	mine  uint16 // slots whose leaf was made by edit
	slots [trieFan]slot
}

// find returns the entries among which those with the hash are.
func (t *trie) find(hash uint32) []entry {
	s := &t.root
	for h := hash; s.kid != nil; h >>= trieBits {
		s = &s.kid.slots[h%trieFan]
	}
	return s.leaf
}

// insert adds an entry that is not there.
func (t *trie) insert(ed *edit, e entry) {
	t.root.insert(ed, t.edit == ed, 0, e)
	t.edit = ed
}

// remove takes out an entry that is there.
func (t *trie) remove(ed *edit, e entry) {
	t.root.remove(ed, t.edit == ed, 0, e)
	t.edit = ed
}

// own returns b itself when ed may change it, else a copy that ed may change.
func (b *branch) own(ed *edit) *branch {
	if b.edit == ed {
		return b
	}
	return &branch{edit: ed, slots: b.slots}
}

// grown is the capacity for n entries and some more: less slack than append
// would leave.
func grown(n int) int { return n + max(2, n/8) }

// insert adds an entry below s, whose level starts at bit shift. mine says
// that ed made the leaf; afterwards it has.
func (s *slot) insert(ed *edit, mine bool, shift uint, e entry) {
	if s.kid == nil {
		if !s.full(e.hash) {
			if !mine || len(s.leaf) == cap(s.leaf) {
				size := 1
				if len(s.leaf) > 0 {
					size = grown(len(s.leaf))
				}
				s.leaf = append(make([]entry, 0, size), s.leaf...)
			}
			s.leaf = append(s.leaf, e)
			return
		}
		s.split(ed, mine, shift)
	}
	b := s.kid.own(ed)
	s.kid = b
	i := e.hash >> shift % trieFan
	b.slots[i].insert(ed, b.mine&(1<<i) != 0, shift+trieBits, e)
	b.mine |= 1 << i
}

// full reports whether a leaf must be split before it takes another entry. A
// leaf is longer than maxLeaf only when all its entries have one hash, so
// there is none at the end of the hash's bits that is full.
func (s *slot) full(hash uint32) bool {
	switch {
	case len(s.leaf) < maxLeaf:
		return false
	case len(s.leaf) > maxLeaf:
		return s.leaf[0].hash != hash
	}
	for _, e := range s.leaf {
		if e.hash != hash {
			return true
		}
	}
	return false
}

func (s *slot) split(ed *edit, mine bool, shift uint) {
	leaf := s.leaf
	b := &branch{edit: ed}
	s.kid, s.leaf = b, nil
	if len(leaf) > maxLeaf { // one hash: it moves as a whole
		i := leaf[0].hash >> shift % trieFan
		b.slots[i].leaf = leaf
		if mine {
			b.mine = 1 << i
		}
		return
	}
	b.mine = 1<<trieFan - 1
	for _, e := range leaf {
		b.slots[e.hash>>shift%trieFan].insert(ed, true, shift+trieBits, e)
	}
}

// remove takes out an entry below s.
func (s *slot) remove(ed *edit, mine bool, shift uint, e entry) {
	if s.kid == nil {
		if !mine {
			s.leaf = append(make([]entry, 0, len(s.leaf)), s.leaf...)
		}
		for i, have := range s.leaf {
			if have == e {
				last := len(s.leaf) - 1
				s.leaf[i] = s.leaf[last]
				s.leaf = s.leaf[:last]
				break
			}
		}
		if len(s.leaf) == 0 {
			s.leaf = nil
		}
		return
	}
	b := s.kid.own(ed)
	s.kid = b
	i := e.hash >> shift % trieFan
	b.slots[i].remove(ed, b.mine&(1<<i) != 0, shift+trieBits, e)
	b.mine |= 1 << i
	s.fold()
}

// fold makes a branch whose leaves hold little a leaf again. The leaf is new,
// so it belongs to the edit that took something out.
func (s *slot) fold() {
	total := 0
	for i := range s.kid.slots {
		k := &s.kid.slots[i]
		if total += len(k.leaf); k.kid != nil || total > foldLeaf {
			return
		}
	}
	var leaf []entry
	if total > 0 {
		leaf = make([]entry, 0, grown(total))
	}
	for i := range s.kid.slots {
		leaf = append(leaf, s.kid.slots[i].leaf...)
	}
	s.kid, s.leaf = nil, leaf
}
