package index

import (
	"encoding/binary"
	"slices"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// record is a subscription in packed form: texts with their length before
// them, lists with their count before them, in the order id, profile, events,
// criteria (three texts each), resources, users. Lists are sorted and without
// repetitions, so equal subscriptions are equal strings.
type record string

// number reads a count or length at the head of s.
func number(s string) (n int, rest string) {
	if s[0] < 0x80 {
		return int(s[0]), s[1:]
	}
	shift := 0
	for i := range len(s) {
		n |= int(s[i]&0x7f) << shift
		if s[i] < 0x80 {
			return n, s[i+1:]
		}
		shift += 7
	}
	panic("index: a packed subscription ends inside of a number")
}

func text(s string) (t, rest string) {
	n, s := number(s)
	return s[:n], s[n:]
}

func (r record) id() string {
	id, _ := text(string(r))
	return id
}

func (r record) target() (profile, id string) {
	id, rest := text(string(r))
	profile, _ = text(rest)
	return profile, id
}

// matches decides exactly.
//
// INV index-2: a match is decided by exact comparison, never by a hash.
func (r record) matches(e *event.Event) bool {
	_, s := text(string(r))
	_, s = text(s)
	ok, s := contains(s, e.Name)
	if !ok {
		return false
	}
	n, s := number(s)
	ok = n == 0
	for range n {
		var app, entity, calls string
		app, s = text(s)
		entity, s = text(s)
		calls, s = text(s)
		ok = ok || (app == "" || app == e.ApplicationID) &&
			(entity == "" || entity == e.EntityID) &&
			(calls == "" || calls == e.CallsConfigurationID)
	}
	if !ok {
		return false
	}
	if ok, s = contains(s, e.Resource); !ok {
		return false
	}
	ok, _ = contains(s, e.User)
	return ok
}

// contains reads a list and reports whether it is open or holds v.
func contains(s, v string) (ok bool, rest string) {
	n, s := number(s)
	ok = n == 0
	for range n {
		var t string
		t, s = text(s)
		ok = ok || t == v
	}
	return ok, s
}

// packer packs and unpacks subscriptions. It keeps its buffers.
type packer struct {
	buf       []byte
	events    []string
	criteria  []model.Criterion
	resources []string
	users     []string
}

// pack gives the record of s, which shares no memory with s.
func (p *packer) pack(s *model.Subscription) record {
	p.normalize(s)
	b := p.buf[:0]
	b = appendText(b, s.ID)
	b = appendText(b, s.ProfileID)
	b = appendList(b, p.events)
	b = binary.AppendUvarint(b, uint64(len(p.criteria)))
	for _, c := range p.criteria {
		b = appendText(b, c.ApplicationID)
		b = appendText(b, c.EntityID)
		b = appendText(b, c.CallsConfigurationID)
	}
	b = appendList(b, p.resources)
	b = appendList(b, p.users)
	p.buf = b
	return record(b)
}

// normalize fills the lists of p with those of s.
func (p *packer) normalize(s *model.Subscription) {
	p.events = p.events[:0]
	for _, e := range s.Events {
		p.events = append(p.events, e.Event)
	}
	p.events = sorted(p.events)
	p.resources = sorted(append(p.resources[:0], s.Resources...))
	p.users = sorted(append(p.users[:0], s.Users...))
	p.criteria = append(p.criteria[:0], s.Criteria...)
	if slices.Contains(p.criteria, model.Criterion{}) { // one tuple that matches anything
		p.criteria = p.criteria[:0]
		return
	}
	slices.SortFunc(p.criteria, compareCriteria)
	p.criteria = slices.Compact(p.criteria)
}

func compareCriteria(a, b model.Criterion) int {
	switch {
	case a == b:
		return 0
	case a.ApplicationID != b.ApplicationID:
		return less(a.ApplicationID < b.ApplicationID)
	case a.EntityID != b.EntityID:
		return less(a.EntityID < b.EntityID)
	}
	return less(a.CallsConfigurationID < b.CallsConfigurationID)
}

func less(is bool) int {
	if is {
		return -1
	}
	return 1
}

func sorted(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendList(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

// unpack fills the lists of p from r.
func (p *packer) unpack(r record) {
	_, s := text(string(r))
	_, s = text(s)
	p.events, s = readList(p.events[:0], s)
	n, s := number(s)
	p.criteria = p.criteria[:0]
	for range n {
		var c model.Criterion
		c.ApplicationID, s = text(s)
		c.EntityID, s = text(s)
		c.CallsConfigurationID, s = text(s)
		p.criteria = append(p.criteria, c)
	}
	p.resources, s = readList(p.resources[:0], s)
	p.users, _ = readList(p.users[:0], s)
}

func readList(dst []string, s string) (list []string, rest string) {
	n, s := number(s)
	for range n {
		var t string
		t, s = text(s)
		dst = append(dst, t)
	}
	return dst, s
}
