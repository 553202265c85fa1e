package index

import (
	"cmp"
	"hash/maphash"
	"slices"
)

// maxPostings bounds the postings of one subscription. It is above the longest
// list, so that one list can always be part of the key.
const maxPostings = 256

// pattern says which members of an event are part of a key.
type pattern uint8

const (
	byEvent pattern = 1 << iota
	byApplication
	byEntity
	byCalls
	byResource
	byUser

	// byID marks the entry that finds a subscription by its id.
	byID pattern = 1 << 7

	members = 6
)

// values are the hashes of an event's members, in the order of the patterns.
type values [members]uint64

// hasher hashes texts under a seed of the process: tenants choose the texts.
type hasher struct{ seed maphash.Seed }

func (h hasher) text(s string) uint64 { return maphash.String(h.seed, s) }

const mixer = 0x9e3779b97f4a7c15

func mix(h, v uint64) uint64 {
	h = (h ^ v) * mixer
	return h ^ h>>29
}

func folded(h uint64) uint32 { return uint32(h>>32) ^ uint32(h) } //nolint:gosec // a hash

// key is the hash of the members that the pattern names.
func (v *values) key(p pattern) uint32 {
	h := mix(mixer, uint64(p))
	for i := range members {
		if p&(1<<i) != 0 {
			h = mix(h, v[i])
		}
	}
	return folded(h)
}

func (h hasher) idKey(id string) uint32 {
	return folded(mix(mix(mixer, uint64(byID)), h.text(id)))
}

// posting is one key under which a subscription is found.
type posting struct {
	pattern pattern
	hash    uint32
}

// groups are the lists of a subscription as bits, in the order in which they
// are left out when there are too many combinations.
const (
	groupEvents = 1 << iota
	groupUsers
	groupResources
	groupCriteria

	groupsAll = 1<<4 - 1
)

// keyed chooses the lists that become part of the key: as many of criteria,
// resources and users as there may be combinations of, the events if there is
// room for them too; of equals the choice with the fewest combinations.
func (p *packer) keyed() int {
	sizes := [...]int{len(p.events), len(p.users), len(p.resources), len(p.criteria)}
	best, bestScore, bestN := 0, -1, 0
	for groups := range groupsAll + 1 {
		n, score := 1, 0
		for i, size := range sizes {
			if groups&(1<<i) == 0 || n > maxPostings {
				continue
			}
			n *= max(size, 1)
			if size > 0 {
				score += 2
				if 1<<i == groupEvents {
					score--
				}
			}
		}
		if n <= maxPostings && (score > bestScore || score == bestScore && n < bestN) {
			best, bestScore, bestN = groups, score, n
		}
	}
	return best
}

// postings appends the keys of the subscription that was packed or unpacked
// last, sorted and without repetitions. They depend on the record alone, so
// they can be made again to take them out.
func (p *packer) postings(h hasher, dst []posting) []posting {
	groups := p.keyed()
	var v values
	events := group(groups&groupEvents != 0, p.events)
	resources := group(groups&groupResources != 0, p.resources)
	users := group(groups&groupUsers != 0, p.users)
	var one pattern
	for i := range max(len(events), 1) {
		one = set(one, &v, h, 0, events, i)
		for j := range max(len(resources), 1) {
			one = set(one, &v, h, 4, resources, j)
			for k := range max(len(users), 1) {
				one = set(one, &v, h, 5, users, k)
				if groups&groupCriteria == 0 || len(p.criteria) == 0 {
					dst = append(dst, posting{one, v.key(one)})
					continue
				}
				for _, c := range p.criteria {
					all := one
					for m, t := range [...]string{c.ApplicationID, c.EntityID, c.CallsConfigurationID} {
						if t != "" {
							v[1+m] = h.text(t)
							all |= byApplication << m
						}
					}
					dst = append(dst, posting{all, v.key(all)})
				}
			}
		}
	}
	slices.SortFunc(dst, func(a, b posting) int {
		return cmp.Or(cmp.Compare(a.pattern, b.pattern), cmp.Compare(a.hash, b.hash))
	})
	return slices.Compact(dst)
}

// group is the list when it is part of the key.
func group(keyed bool, list []string) []string {
	if !keyed {
		return nil
	}
	return list
}

// set puts item i of a list that is part of the key into member m of v.
func set(p pattern, v *values, h hasher, m int, list []string, i int) pattern {
	if len(list) == 0 {
		return p
	}
	v[m] = h.text(list[i])
	return p | 1<<m
}
