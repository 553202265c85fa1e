package check

import (
	"cmp"
	"slices"
	"sort"

	"example.com/belfry/chaos/history"
)

// pace is how fast a run went: without faults, and at any time.
type pace struct {
	h       *History
	arrived tally // events answered 2xx by receivers
	// Of acknowledged events, by the time of their answer: deliveries that their
	// receipts promise, and those of them that came within Options.Prompt.
	owed, prompt tally
	posts        []poster
	quiet        []int64 // when the seconds begin in which events were posted and no fault was, or had just been

	deliveries  float64 // per quiet second, the median
	promptShare float64 // of what was owed in quiet seconds, at most 1
	within      int64   // Options.Prompt
}

// tally is how many of something there were by when.
type tally struct {
	at  []int64 // sorted
	sum []int64 // of the first; one longer than at
}

// between is how many there were in [from, to).
func (t *tally) between(from, to int64) float64 {
	k := func(x int64) int { return sort.Search(len(t.at), func(i int) bool { return t.at[i] >= x }) }
	if to <= from || len(t.at) == 0 {
		return 0
	}
	return float64(t.sum[k(to)] - t.sum[k(from)])
}

// count is n of something at a time.
type count struct{ at, n int64 }

func tallied(cs []count) tally {
	slices.SortFunc(cs, func(a, b count) int { return cmp.Compare(a.at, b.at) })
	t := tally{sum: make([]int64, 1, len(cs)+1)}
	for _, c := range cs {
		t.at = append(t.at, c.at)
		t.sum = append(t.sum, t.sum[len(t.sum)-1]+c.n)
	}
	return t
}

// poster is the posts of one producer, which it makes one after the other.
type poster struct {
	tries []try   // in order of call
	acked []int64 // when those were answered that were taken, sorted
	quiet float64 // of acked per quiet second
}

func (h *History) pace(posts *acks, o Options) *pace {
	p := &pace{h: h, within: int64(o.Prompt), promptShare: 1}
	p.tallyEvents()
	if len(posts.calls) > 0 {
		first, last := posts.calls[0], posts.calls[len(posts.calls)-1]
		for t := (first/second + 1) * second; t+second <= last; t += second {
			if t >= first+second && !h.faulty(t, t+second, int64(o.Settled), nil) {
				p.quiet = append(p.quiet, t)
			}
		}
	}
	var perSecond []float64
	var owed, prompt float64
	for _, t := range p.quiet {
		perSecond = append(perSecond, p.arrived.between(t, t+second))
		owed, prompt = owed+p.owed.between(t, t+second), prompt+p.prompt.between(t, t+second)
	}
	p.deliveries = quantile(perSecond, 0.5)
	if owed > 0 {
		p.promptShare = min(1, prompt/owed)
	}
	for i := range h.producers {
		p.posts = append(p.posts, p.poster(&h.producers[i]))
	}
	return p
}

// tallyEvents goes through all events and arrivals.
func (p *pace) tallyEvents() {
	h := p.h
	var owed, prompt, arrived []count
	for i := range h.producers {
		for j := range h.producers[i].batches {
			if b := &h.producers[i].batches[j]; b.acked {
				owed = append(owed, count{b.done, b.owed()})
			}
		}
	}
	for i := range h.arrivals {
		a := &h.arrivals[i]
		if a.outcome != history.OK {
			continue
		}
		arrived = append(arrived, count{a.ret, int64(a.events)})
		for _, r := range a.runs {
			for n := r.from; n < r.from+int64(r.n); n++ {
				if int(h.dests[a.dest].cell(r.producer, n).first) != i+1 {
					continue // a repetition
				}
				if b := h.producers[r.producer].batchOf(n); b != nil && b.owed() > 0 && a.ret < b.done+p.within {
					prompt = append(prompt, count{b.done, 1})
				}
			}
		}
	}
	p.arrived, p.owed, p.prompt = tallied(arrived), tallied(owed), tallied(prompt)
}

// owed is how many deliveries the receipts of a batch promise. Those that were
// answered DUPLICATE were taken before, nobody knows when, and do not count.
func (b *batch) owed() int64 {
	for i := range b.tries {
		t := &b.tries[i]
		switch {
		case t.outcome != history.OK:
		case t.duplicates > 0:
			return 0
		case t.deliveries >= 0:
			return int64(t.deliveries) * int64(b.n)
		default:
			var n int64
			for _, x := range t.each {
				n += int64(x)
			}
			return n
		}
	}
	return 0
}

func (p *pace) poster(of *producer) poster {
	var x poster
	for i := range of.batches {
		x.tries = append(x.tries, of.batches[i].tries...)
	}
	slices.SortStableFunc(x.tries, func(a, b try) int { return cmp.Compare(a.call, b.call) })
	for _, t := range x.tries {
		if t.outcome == history.OK {
			x.acked = append(x.acked, t.ret)
		}
	}
	slices.Sort(x.acked)
	for _, t := range p.quiet {
		x.quiet += float64(between(x.acked, t, t+second)) / float64(len(p.quiet))
	}
	return x
}

// spared reports whether a producer had only to do with other nodes than the
// victims in [from, to), and posted before and afterwards too: one that did not
// has no more to post.
func (x *poster) spared(from, to int64, victims map[string]bool) bool {
	if len(x.tries) == 0 || x.tries[0].call >= from || x.tries[len(x.tries)-1].call < to {
		return false
	}
	// Who gets no answer, or waits for something before the next post, is where
	// it last was.
	k := sort.Search(len(x.tries), func(i int) bool { return x.tries[i].call >= from }) - 1
	for ; k < len(x.tries) && x.tries[k].call < to; k++ {
		if victims[x.tries[k].node] {
			return false
		}
	}
	return true
}

// deliveryShare is how much of what they should get receivers get in [from, to):
// of the rate without faults, or of what there is to deliver, whichever is
// more. The second counts what was acknowledged early enough to have come by to.
// ok is false when there was nothing to deliver.
func (p *pace) deliveryShare(from, to int64) (share float64, ok bool) {
	owed := p.owed.between(from, to-p.within)
	if owed == 0 {
		return 0, false
	}
	share = p.arrived.between(from, to) * float64(second) / float64(to-from) / p.deliveries
	if p.promptShare > 0 {
		share = max(share, p.prompt.between(from, to-p.within)/(owed*p.promptShare))
	}
	return share, true
}

// fewestPosts is how many posts must be expected of a time to judge by them how
// many there were. A client waits half to one and a half times its interval
// before the next, so of n there are at least two thirds, rounded down: with
// four not fewer than half, whatever chance does.
const fewestPosts = 4

// postShare is how many posts of spared producers were acknowledged in [from,
// to), and how many are without faults in such a time. ok is false where that
// is too few to tell.
func (p *pace) postShare(from, to int64, victims map[string]bool) (acked, usual float64, ok bool) {
	for i := range p.posts {
		if x := &p.posts[i]; x.spared(from, to, victims) {
			acked += float64(between(x.acked, from, to))
			usual += x.quiet * float64(to-from) / float64(second)
		}
	}
	return acked, usual, usual >= fewestPosts
}
