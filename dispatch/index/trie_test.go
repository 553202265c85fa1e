package index

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// TestTrie holds the trie against a map, with hashes that collide in all bits,
// in their low bits and not at all, and checks that versions before stay.
func TestTrie(t *testing.T) {
	t.Parallel()
	for _, mask := range []uint32{0, 0x3, 0xff, 0xf000_0000, 0xffff_ffff} {
		r := rand.New(rand.NewPCG(uint64(mask), 2))
		have := map[entry]bool{}
		var root trie
		type version struct {
			root trie
			have map[entry]bool
		}
		var versions []version
		for range 60 {
			ed := &edit{}
			add := r.IntN(3) > 0
			for range r.IntN(60) {
				if add || len(have) == 0 {
					e := entry{r.Uint32() & mask, r.Uint32N(1000)}
					if !have[e] {
						root.insert(ed, e)
						have[e] = true
					}
					continue
				}
				for e := range have {
					root.remove(ed, e)
					delete(have, e)
					break
				}
			}
			versions = append(versions, version{root, maps.Clone(have)})
		}
		for i, v := range versions {
			got := map[entry]bool{}
			v.root.root.walk(func(e entry) { got[e] = true })
			if !maps.Equal(got, v.have) {
				t.Fatalf("mask %x: version %d walks over %d entries, want %d", mask, i, len(got), len(v.have))
			}
			for e := range v.have {
				found := false
				for _, f := range v.root.find(e.hash) {
					found = found || f == e
				}
				if !found {
					t.Fatalf("mask %x: version %d does not find %v", mask, i, e)
				}
			}
		}
		ed := &edit{}
		for e := range have {
			root.remove(ed, e)
		}
		if root.root.kid != nil || root.root.leaf != nil {
			t.Errorf("mask %x: something is left when nothing is in it", mask)
		}
	}
}

func TestPoolUsesRefsAgain(t *testing.T) {
	t.Parallel()
	var p pool[int]
	first := &edit{}
	for i := range 2*chunkSize + 1 {
		if ref := p.put(first, i); ref != uint32(i) {
			t.Fatalf("ref %d for item %d", ref, i)
		}
	}
	before := p
	second := &edit{}
	p.drop(second, 70)
	if ref := p.put(second, -1); ref != 70 {
		t.Errorf("ref %d, want the one that was dropped", ref)
	}
	if p.at(70) != -1 || before.at(70) != 70 {
		t.Errorf("the new version holds %d, the one before %d", p.at(70), before.at(70))
	}
	if &before.chunks[0][0] != &p.chunks[0][0] {
		t.Error("a chunk that did not change was copied")
	}
}
