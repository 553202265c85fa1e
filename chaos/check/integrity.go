package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"example.com/belfry/chaos/history"
)

// listKey is one list of the config API as one node gave it at the end.
type listKey struct{ node, account, what, channel string }

// finalLists are the lists that were read whole, by id.
func (h *History) finalLists() map[listKey]map[string]history.State {
	lists := map[listKey]map[string]history.State{}
	broken := map[listKey]bool{}
	for i := range h.finals {
		op := &h.finals[i]
		if op.Kind != history.FinalConfig {
			continue
		}
		var q history.FinalQuery
		var states []history.State
		if decode(op.In, &q) != nil {
			continue
		}
		k := listKey{op.Node, q.Account, q.What, q.Channel}
		if op.Outcome != history.OK || decode(op.Out, &states) != nil {
			broken[k] = true
			continue
		}
		if lists[k] == nil {
			lists[k] = map[string]history.State{}
		}
		for _, s := range states {
			s.Staleness = 0
			lists[k][s.ID] = s
		}
	}
	for k := range broken {
		delete(lists, k)
	}
	return lists
}

// integrity looks for references to nothing in the lists of the end, and for
// acknowledged changes that must have been refused.
func integrity(h *History, _ Options, v *Verdict) {
	lists := h.finalLists()
	for _, k := range slices.SortedFunc(maps.Keys(lists), compareLists) {
		refer := func(from, what, id string) {
			if id == "" {
				return
			}
			there, ok := lists[listKey{k.node, k.account, what, ""}]
			if !ok {
				v.Unknown++
				return
			}
			v.Checked++
			if _, ok := there[id]; !ok {
				v.violate(Violation{What: fmt.Sprintf("on %s the %s %s refers to the %s %s, which is not there", k.node, k.what, from, what, id), At: h.end, Node: k.node, Key: k.account + "/" + from})
			}
		}
		for id, s := range lists[k] {
			if s.Profile != nil && k.what == "profile" {
				refer(id, "security", s.Profile.Auth)
				refer(id, "certificate", s.Profile.Certificate)
			}
			if s.Subscription != nil && k.what == "subscription" {
				refer(id, "profile", s.Subscription.Profile)
			}
		}
	}
	h.acknowledgedBreaks(v)
}

func compareLists(a, b listKey) int {
	return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.what, b.what), cmp.Compare(a.channel, b.channel), cmp.Compare(a.node, b.node))
}

// objectID names an object of an account.
type objectID struct{ account, what, channel, id string }

// objectOps is what may have happened to one object, in order of Call.
func (h *History) objectOps() map[objectID][]*configOp {
	by := map[objectID][]*configOp{}
	put := func(id objectID, op *configOp) { by[id] = append(by[id], op) }
	for i := range h.config {
		op := &h.config[i]
		if op.verb == "get" || op.verb == "use" || op.Outcome == history.Fail {
			continue
		}
		put(objectID{op.in.Account, op.what, op.in.Channel, op.Key}, op)
		if op.verb != "create" || op.what == "security" {
			continue
		}
		auth := ""
		if p := op.in.Profile; p != nil {
			auth = p.Auth
			if op.what == "subscription" && op.in.Subscription != nil {
				put(objectID{op.in.Account, "profile", "", op.in.Subscription.Profile}, op)
			}
		}
		if s := op.in.Security; s != nil {
			put(objectID{op.in.Account, "security", "", orElse(s.ID, auth)}, op)
		}
	}
	return by
}

// acknowledgedBreaks finds acknowledged deletes of what was surely in use, and
// acknowledged changes that refer to what was never made. The checker of
// linearizability finds more, where it can decide; this needs no search.
func (h *History) acknowledgedBreaks(v *Verdict) {
	by := h.objectOps()
	for id, ops := range by {
		for k, op := range ops {
			if op.Outcome != history.OK || id.what != op.what {
				continue
			}
			for _, ref := range references(op) {
				ref.account = id.account
				v.Checked++
				if !mayExist(by[ref], op) {
					v.violate(Violation{What: fmt.Sprintf("acknowledged: %s, but the %s %s was never there", describe(op), ref.what, ref.id), At: op.Return, Node: op.Node, Key: op.Key})
					continue
				}
				// What was asked for before and may have come after leaves open what
				// the object refers to.
				if !slices.ContainsFunc(ops[:k], func(e *configOp) bool { return e.Outcome != history.OK || e.Return >= op.Call }) {
					h.deletedInUse(v, ops[k:], by[ref], ref)
				}
			}
		}
	}
}

// references are the objects that must exist for a change to be made.
func references(op *configOp) (refs []objectID) {
	if s := op.in.Subscription; s != nil && op.what == "subscription" && op.in.Profile == nil {
		refs = append(refs, objectID{what: "profile", id: s.Profile})
	}
	if p := op.in.Profile; p != nil && op.what == "profile" {
		if p.Auth != "" && op.in.Security == nil && (op.verb == "create" || slices.Contains(p.Set, "auth")) {
			refs = append(refs, objectID{what: "security", id: p.Auth})
		}
		if p.Certificate != "" && (op.verb == "create" || slices.Contains(p.Set, "certificate")) {
			refs = append(refs, objectID{what: "certificate", id: p.Certificate})
		}
	}
	return refs
}

// mayExist reports whether a create of the object can have come before op.
func mayExist(ops []*configOp, op *configOp) bool {
	return slices.ContainsFunc(ops, func(c *configOp) bool { return c.verb == "create" && c.Call <= op.Return })
}

// deletedInUse finds acknowledged deletes of ref between the change ops[0],
// which refers to it, and whatever may have ended the reference.
func (h *History) deletedInUse(v *Verdict, ops, of []*configOp, ref objectID) {
	until := h.end + 1
	if len(ops) > 1 {
		until = ops[1].Call
	}
	use := ops[0]
	for _, d := range of {
		if d.verb == "delete" && d.what == ref.what && d.Outcome == history.OK && d.Call > use.Return && d.Return < until {
			v.violate(Violation{What: fmt.Sprintf("the delete of the %s %s was acknowledged while the %s %s referred to it", ref.what, ref.id, use.what, use.Key), At: d.Return, Node: d.Node, Key: ref.id})
		}
	}
}

// replicas compares what the nodes say at the end.
func replicas(h *History, _ Options, v *Verdict) {
	digests, compared := h.digests(v)
	lists := h.finalLists()
	var first listKey
	for _, k := range slices.SortedFunc(maps.Keys(lists), compareLists) {
		same := k
		same.node = first.node
		if same != first {
			first = k
			continue
		}
		v.Checked++
		if d := difference(lists[first], lists[k]); d != "" {
			v.violate(Violation{What: fmt.Sprintf("%s and %s have different lists of %s %s: %s", first.node, k.node, k.what, k.channel, d), At: h.end, Node: k.node, Key: k.account})
		}
	}
	h.owners(v)
	switch {
	case digests == 0:
		v.note("no digests were recorded: the lists of the config API and the owners of the partitions were compared")
	case compared == 0:
		v.note("%d digests were recorded, none of them at the index of another", digests)
	}
}

// difference names an object that a and b do not have alike.
func difference(a, b map[string]history.State) string {
	for _, id := range slices.Sorted(maps.Keys(a)) {
		x, _ := json.Marshal(a[id])
		y, _ := json.Marshal(b[id])
		if _, ok := b[id]; !ok {
			return id + " is missing in the second"
		} else if string(x) != string(y) {
			return fmt.Sprintf("%s is %s and %s", id, x, y)
		}
	}
	for id := range b {
		if _, ok := a[id]; !ok {
			return id + " is missing in the first"
		}
	}
	return ""
}

// digests compares what is of one group and index. It returns how many digests
// there are, and how many of them had another to compare with.
func (h *History) digests(v *Verdict) (n, compared int) {
	type at struct {
		group string
		index uint64
	}
	seen := map[at]history.Op{}
	for _, op := range h.finals {
		var d history.Digest
		if op.Kind != history.FinalDigest || op.Outcome != history.OK || decode(op.Out, &d) != nil {
			continue
		}
		n++
		k := at{d.Group, d.Index}
		other, ok := seen[k]
		if !ok {
			seen[k] = op
			continue
		}
		var o history.Digest
		_ = decode(other.Out, &o)
		v.Checked++
		compared++
		if o.SHA256 != d.SHA256 {
			v.violate(Violation{What: fmt.Sprintf("at index %d of %s the digest of %s is %s, that of %s %s", d.Index, d.Group, other.Node, o.SHA256, op.Node, d.SHA256), At: op.Return, Node: op.Node})
		}
	}
	return n, compared
}

// owners compares the owners of partitions as the nodes know them.
func (h *History) owners(v *Verdict) {
	var first *history.Op
	var want []history.Owner
	for i := range h.finals {
		op := &h.finals[i]
		var got []history.Owner
		if op.Kind != history.FinalPartitions || op.Outcome != history.OK || decode(op.Out, &got) != nil {
			continue
		}
		if first == nil {
			first, want = op, got
			continue
		}
		v.Checked++
		if !slices.Equal(want, got) {
			v.violate(Violation{What: fmt.Sprintf("%s and %s know different owners of partitions", first.Node, op.Node), At: op.Return, Node: op.Node})
		}
	}
}
