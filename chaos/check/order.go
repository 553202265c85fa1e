package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"example.com/belfry/chaos/history"
)

// sequence names events that must arrive in order of acceptance: all of a
// STRICT destination, or those with one key of a KEY destination. Keys of two
// producers differ.
type sequence struct {
	dest     int32
	producer int32 // of a key; -1: all
	key      int64
}

// place is an event in a sequence.
type place struct {
	p           int32
	n           int64
	start, done int64 // when it was accepted
	first       int32 // 1 + index of the first arrival answered 2xx; 0: none
	at          int32 // its place within that request
}

// before reports whether a was surely accepted before b: it was answered
// before b was posted, or stands before it in one request.
func (a *place) before(b *place) bool {
	return a.done < b.start || a.p == b.p && a.n < b.n && a.start == b.start && a.done == b.done
}

// ordering is that of a destination while nothing changes it; "" otherwise.
func (d *dest) ordering() string {
	got := ""
	for _, op := range d.profile {
		p := op.in.Profile
		if p == nil || op.verb == "delete" || op.verb != "create" && p.Ordering == "" {
			continue
		}
		if got != "" && got != p.Ordering {
			return ""
		}
		got = p.Ordering
	}
	return got
}

func order(h *History, _ Options, v *Verdict) {
	sequences := map[sequence][]place{}
	h.obligations(h.matcher(), func(o owed) {
		kind := h.dests[o.dest].ordering()
		if kind != "STRICT" && (kind != "KEY" || o.b.keys == 0) {
			return
		}
		for n := o.b.from; n < o.b.from+int64(o.b.n); n++ {
			s := sequence{o.dest, -1, 0}
			if kind == "KEY" {
				s.producer, s.key = o.p, n%int64(o.b.keys)
			}
			sequences[s] = append(sequences[s], place{p: o.p, n: n, start: o.b.start, done: o.b.done, first: h.dests[o.dest].cell(o.p, n).first})
		}
	})
	for s, ps := range sequences {
		v.Checked += len(ps)
		h.judgeOrder(v, s, ps)
	}
	v.figure("sequences", float64(len(sequences)))
	h.oneAtATime(v)
}

// judgeOrder goes through what arrived in order of arrival, and keeps what was
// accepted latest of it. What arrives after that and was surely accepted before
// was overtaken.
func (h *History) judgeOrder(v *Verdict, s sequence, ps []place) {
	d := &h.dests[s.dest]
	var arrived, open []place
	for _, x := range ps {
		switch {
		case h.letters[letter{s.dest, x.p, x.n}]: // a dead letter holds up nothing, and comes late
		case x.first > 0:
			x.at = h.position(x)
			arrived = append(arrived, x)
		case h.deadKnown[d.account] && !h.replayed[d.account]:
			open = append(open, x)
		default:
			v.Unknown++
		}
	}
	slices.SortFunc(arrived, func(a, b place) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.at, b.at)) })
	latest := map[int32]place{} // by producer: the highest n
	var newest *place           // of all: the latest start
	overtaken := func(x, by *place, how string) {
		v.violate(Violation{
			What: fmt.Sprintf("event %s.%d, accepted by %v, %s event %s.%d, accepted from %v", h.producers[x.p].name, x.n, time.Duration(x.done), how,
				h.producers[by.p].name, by.n, time.Duration(by.start)),
			At: h.arrivals[by.first-1].call, Key: d.account + "/" + d.name,
		})
	}
	for i := range arrived {
		x := &arrived[i]
		if y, ok := latest[x.p]; ok && x.before(&y) {
			overtaken(x, &y, "arrived after")
		} else if newest != nil && x.before(newest) {
			overtaken(x, newest, "arrived after")
		}
		if y, ok := latest[x.p]; !ok || y.n < x.n {
			latest[x.p] = *x
		}
		if newest == nil || newest.start < x.start {
			newest = x
		}
	}
	for i := range open {
		x := &open[i]
		if y, ok := latest[x.p]; ok && x.before(&y) {
			overtaken(x, &y, "has not arrived but")
		} else if newest != nil && x.before(newest) {
			overtaken(x, newest, "has not arrived but")
		}
	}
}

// position is the place of x within the request that brought it.
func (h *History) position(x place) (at int32) {
	for _, r := range h.arrivals[x.first-1].runs {
		if r.producer == x.p && x.n >= r.from && x.n < r.from+int64(r.n) {
			return at + int32(x.n-r.from) //nolint:gosec // within a request
		}
		at += r.n
	}
	return at
}

// oneAtATime looks for requests to a STRICT destination that overlap, where
// the first was answered whole and no fault may have moved the destination.
func (h *History) oneAtATime(v *Verdict) {
	for di := range h.dests {
		d := &h.dests[di]
		if d.ordering() != "STRICT" {
			continue
		}
		for k := 1; k < len(d.arrivals); k++ {
			a, b := &h.arrivals[d.arrivals[k-1]], &h.arrivals[d.arrivals[k]]
			answered := a.outcome != history.Unknown
			if answered && b.call < a.ret && !h.faulty(a.call, b.call, int64(10*time.Second), nil) {
				// The receiver notes its answer after it is on its way.
				if a.ret-b.call > int64(overlap) {
					v.violate(Violation{What: fmt.Sprintf("two requests at one time: the second began %v before the first was answered", time.Duration(a.ret-b.call)), At: b.call, Key: d.account + "/" + d.name})
				}
			}
		}
	}
}

// overlap is how much later than on the wire an answer may be noted.
const overlap = 20 * time.Millisecond
