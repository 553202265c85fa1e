// Package partition maps destinations to partitions and partitions to nodes,
// and holds the duty by which the leader keeps the partition table right.
//
// It does not decide who is alive, and it sends nothing. See DESIGN.md.
package partition

import (
	"cmp"
	"slices"

	"example.com/belfry/fsm/model"
)

// Of returns the partition of a destination, from 0 to model.Partitions-1. It
// is part of the data format: it never changes.
func Of(account, destination string) int {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a, 64 bits
	h := uint64(offset)
	for i := range len(account) {
		h = (h ^ uint64(account[i])) * prime
	}
	h *= prime // a zero byte: account ids hold none
	for i := range len(destination) {
		h = (h ^ uint64(destination[i])) * prime
	}
	return int((h ^ h>>32) % model.Partitions)
}

// Member is a node as the leader sees it.
type Member struct {
	NodeID string
	// Live: the leader hears from it.
	Live bool
	// Draining: it asked to own nothing.
	Draining bool
	// LeaseExpired: it is not Live, and so long that it cannot hold a lease
	// any more, whatever its clock says.
	LeaseExpired bool
}

// Assign returns the table that should follow prev: prev itself when nothing
// is to change. members must name every node that may still hold a lease; an
// owner that is not named holds none. The order of members does not matter.
func Assign(prev model.PartitionTable, members []Member) model.PartitionTable {
	members = slices.Clone(members)
	slices.SortStableFunc(members, func(a, b Member) int { return cmp.Compare(a.NodeID, b.NodeID) })
	members = slices.CompactFunc(members, func(a, b Member) bool { return a.NodeID == b.NodeID })

	owners := owners(members)
	if len(owners) == 0 {
		return prev
	}
	var free []int
	held := 0 // slots of silent nodes whose lease may be valid
	for slot, a := range prev.Slots {
		if i := slices.IndexFunc(owners, func(o *owner) bool { return o.id == a.Owner }); i >= 0 {
			owners[i].slots = append(owners[i].slots, slot)
			continue
		}
		// INV partition-1: the slots of a silent node move only when its
		// lease has run out.
		if slices.ContainsFunc(members, func(m Member) bool { return m.NodeID == a.Owner && !m.Live && !m.LeaseExpired }) {
			held++
			continue
		}
		free = append(free, slot)
	}
	setShares(owners, model.Partitions-held)

	// INV partition-4: only what is above a share moves, and the odd slots are
	// where they save the most.
	for _, o := range owners {
		if len(o.slots) > o.share {
			free = append(free, o.slots[o.share:]...)
			o.slots = o.slots[:o.share]
		}
	}
	slices.Sort(free)
	next := prev
	for _, o := range owners {
		n := o.share - len(o.slots)
		for _, slot := range free[:n] {
			// INV partition-2: the epoch rises when the owner changes.
			next.Slots[slot] = model.Assignment{Owner: o.id, Epoch: prev.Slots[slot].Epoch + 1}
		}
		free = free[n:]
	}
	if next != prev {
		next.Version++
	}
	return next
}

// owner is a node that can own slots.
type owner struct {
	id    string
	slots []int
	share int
}

func owners(members []Member) []*owner {
	var os []*owner
	for _, m := range members {
		if m.Live && !m.Draining && m.NodeID != "" {
			os = append(os, &owner{id: m.NodeID})
		}
	}
	return os
}

// setShares deals total slots out evenly; those who have the most get the odd
// ones.
//
// INV partition-3: shares differ by one at most.
func setShares(os []*owner, total int) {
	most := slices.Clone(os)
	slices.SortStableFunc(most, func(a, b *owner) int { return cmp.Compare(len(b.slots), len(a.slots)) })
	for i, o := range most {
		o.share = total / len(os)
		if i < total%len(os) {
			o.share++
		}
	}
}
