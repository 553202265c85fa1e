package report

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"example.com/belfry/chaos/history"
)

// Summary is what a history comes to.
type Summary struct {
	// Length is the time of the last operation, ns since the run began.
	Length int64 `json:"length"`
	// Step is the length of one of Points, ns.
	Step   int64   `json:"step"`
	Points []Point `json:"points,omitempty"`
	// Kinds are the operations of clients, by kind.
	Kinds []Kind `json:"kinds,omitempty"`
	// Events are how many events were acknowledged.
	Events int64 `json:"events"`
	// Arrivals are the requests at receivers, and Taken those answered with 2xx.
	Arrivals int64   `json:"arrivals"`
	Taken    int64   `json:"taken"`
	Faults   []Fault `json:"faults,omitempty"`
	// Quiet is the longest silence outside of faults.
	Quiet Gaps `json:"quiet"`
}

// Point is a moment of the timeline. The counts are per second.
type Point struct {
	Acked    float64 `json:"acked"`    // operations of clients that were acknowledged
	Not      float64 `json:"not"`      // that were refused or have no known outcome
	Arrivals float64 `json:"arrivals"` // requests at receivers
	// P50 and P99 are latencies of the acknowledged ones, ms; 0: there are none.
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// Kind counts the operations of one kind. The times are of the acknowledged, ms.
type Kind struct {
	Kind    string  `json:"kind"`
	OK      int     `json:"ok"`
	Fail    int     `json:"fail"`
	Unknown int     `json:"unknown"`
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
	Max     float64 `json:"max"`
}

// Gaps are the longest times without an acknowledgement anywhere, ns.
type Gaps struct {
	Changes int64 `json:"changes"` // of the config
	Reads   int64 `json:"reads"`
	Events  int64 `json:"events"`
}

// Fault is one that was played.
type Fault struct {
	history.Fault

	Begin int64 `json:"begin"` // ns since the run began
	End   int64 `json:"end"`
	// Gaps are the longest silences from Begin until ten seconds after End, or
	// until the next fault.
	Gaps Gaps `json:"gaps"`
	// Converged is how long after End all nodes were at one index, ns; -1: they
	// were not, or nobody looked.
	Converged int64  `json:"converged"`
	Error     string `json:"error,omitempty"` // it could not be made
}

const (
	// maxPoints bounds the timeline, so that a long run can be looked at.
	maxPoints = 240
	// aftermath is how long after a fault a silence is still laid to it.
	aftermath = 10 * time.Second
)

// use is what an operation of a client is for.
type use int

const (
	useNone use = iota
	useChange
	useRead
	useEvent
	uses
)

// useOf sorts the kinds of operations of clients.
func useOf(kind string) use {
	switch kind {
	case history.EventPost:
		return useEvent
	case history.Arrival, history.FaultBegin, history.FaultEnd, history.FaultConverge, history.Drain, history.KeyUse, history.LeaderTransfer:
		return useNone
	}
	what, verb, _ := strings.Cut(kind, ".")
	switch {
	case what == "final" || strings.HasSuffix(kind, ".stale"):
		return useNone
	case verb == "create" || verb == "put" || verb == "delete":
		return useChange
	case verb == "get" || verb == "list" || kind == history.Barrier:
		return useRead
	}
	return useNone
}

// ofClient reports whether an operation belongs to the load: what is read at
// the end to check the state does not.
func ofClient(kind string) bool {
	switch kind {
	case history.Arrival, history.FaultBegin, history.FaultEnd, history.FaultConverge, history.Drain:
		return false
	}
	return !strings.HasPrefix(kind, "final.")
}

// Summarize reads a history that is in the order of Call.
func Summarize(ops []history.Op) Summary {
	var s Summary
	for i := range ops {
		s.Length = max(s.Length, ops[i].Return)
	}
	s.Faults = faults(ops, s.Length)
	s.timeline(ops)
	s.kinds(ops)
	s.silences(ops)
	for i := range ops {
		switch op := &ops[i]; {
		case op.Kind == history.EventPost && op.Outcome == history.OK:
			var in history.Post
			if json.Unmarshal(op.In, &in) == nil {
				s.Events += int64(in.N)
			}
		case op.Kind == history.Arrival:
			s.Arrivals++
			if op.Outcome == history.OK {
				s.Taken++
			}
		}
	}
	return s
}

func faults(ops []history.Op, length int64) []Fault {
	var out []Fault
	open := map[string]int{} // by number
	for i := range ops {
		op := &ops[i]
		switch op.Kind {
		case history.FaultBegin:
			f := Fault{Begin: op.Call, End: length, Converged: -1}
			if err := json.Unmarshal(op.In, &f.Fault); err != nil {
				f.Name = op.Key
			}
			if op.Outcome == history.Fail {
				f.End, f.Error = op.Return, op.Error
			} else {
				open[op.Key] = len(out)
			}
			out = append(out, f)
		case history.FaultEnd:
			if k, ok := open[op.Key]; ok {
				out[k].End = op.Return
			}
		case history.FaultConverge:
			if k, ok := open[op.Key]; ok && op.Outcome == history.OK {
				out[k].Converged = op.Return - op.Call
			}
		}
	}
	return out
}

func (s *Summary) timeline(ops []history.Op) {
	s.Step = int64(time.Second)
	for s.Length/s.Step >= maxPoints {
		s.Step += int64(time.Second)
	}
	if s.Length == 0 {
		return
	}
	// What is left at the end is no step: it would look like a fall.
	s.Points = make([]Point, max(1, (s.Length+s.Step/10)/s.Step))
	took := make([][]int64, len(s.Points))
	per := float64(time.Second) / float64(min(s.Step, s.Length))
	for i := range ops {
		op := &ops[i]
		at := op.Return / s.Step
		switch {
		case at >= int64(len(s.Points)):
		case op.Kind == history.Arrival:
			s.Points[at].Arrivals += per
		case !ofClient(op.Kind):
		case op.Outcome == history.OK:
			s.Points[at].Acked += per
			took[at] = append(took[at], op.Return-op.Call)
		default:
			s.Points[at].Not += per
		}
	}
	for i := range s.Points {
		s.Points[i].P50, s.Points[i].P99, _ = quantiles(took[i])
	}
}

func (s *Summary) kinds(ops []history.Op) {
	byKind := map[string]*Kind{}
	took := map[string][]int64{}
	for i := range ops {
		op := &ops[i]
		if !ofClient(op.Kind) {
			continue
		}
		k := byKind[op.Kind]
		if k == nil {
			k = &Kind{Kind: op.Kind}
			byKind[op.Kind] = k
		}
		switch op.Outcome {
		case history.OK:
			k.OK++
			took[op.Kind] = append(took[op.Kind], op.Return-op.Call)
		case history.Fail:
			k.Fail++
		case history.Unknown:
			k.Unknown++
		}
	}
	for name, k := range byKind {
		k.P50, k.P99, k.Max = quantiles(took[name])
		s.Kinds = append(s.Kinds, *k)
	}
	slices.SortFunc(s.Kinds, func(a, b Kind) int { return strings.Compare(a.Kind, b.Kind) })
}

// quantiles of durations in ns, in ms. It sorts them.
func quantiles(ns []int64) (p50, p99, most float64) {
	if len(ns) == 0 {
		return 0, 0, 0
	}
	slices.Sort(ns)
	at := func(q float64) float64 {
		return float64(ns[min(len(ns)-1, int(q*float64(len(ns))))]) / float64(time.Millisecond)
	}
	return at(0.50), at(0.99), at(1)
}

// silences finds the longest times without an acknowledgement, for each fault
// and outside of them. A silence begins when somebody asks, or with the last
// acknowledgement if somebody is waiting then.
func (s *Summary) silences(ops []history.Op) {
	var asked [uses][]*history.Op
	for i := range ops {
		if u := useOf(ops[i].Kind); u != useNone {
			asked[u] = append(asked[u], &ops[i])
		}
	}
	var quiet [uses][]silence
	for u := range asked {
		quiet[u] = silencesOf(asked[u])
	}
	gaps := func(length func(silence) int64) Gaps {
		longest := func(u use) (most int64) {
			for _, x := range quiet[u] {
				most = max(most, length(x))
			}
			return most
		}
		return Gaps{Changes: longest(useChange), Reads: longest(useRead), Events: longest(useEvent)}
	}
	for i := range s.Faults {
		f := &s.Faults[i]
		until := f.End + int64(aftermath)
		for j := range s.Faults { // what the next one does is laid to that
			if next := s.Faults[j].Begin; next >= f.End {
				until = min(until, next)
			}
		}
		f.Gaps = gaps(func(x silence) int64 { return min(x.to, until) - max(x.from, f.Begin) })
	}
	s.Quiet = gaps(func(x silence) int64 {
		for i := range s.Faults {
			if x.from < s.Faults[i].End+int64(aftermath) && x.to > s.Faults[i].Begin {
				return 0
			}
		}
		return x.to - x.from
	})
}

// silence is a time in which somebody waited and nobody was answered.
type silence struct{ from, to int64 }

// silencesOf takes the operations of one use. The last silence may have no end
// but that of the waiting. Before the first acknowledgement there is none: what
// is asked for may not be there yet.
func silencesOf(ops []*history.Op) []silence {
	slices.SortFunc(ops, func(a, b *history.Op) int { return cmp.Compare(a.Return, b.Return) })
	// waiting has, for each operation, the first call of it and all that return
	// after it.
	waiting := make([]int64, len(ops)+1)
	waiting[len(ops)] = math.MaxInt64
	for i, op := range slices.Backward(ops) {
		waiting[i] = min(op.Call, waiting[i+1])
	}
	var out []silence
	before := int64(-1) // the last acknowledgement, and where it is in ops
	at := 0
	for i, op := range ops {
		if op.Outcome != history.OK && i < len(ops)-1 {
			continue
		}
		if before >= 0 && i > at {
			out = append(out, silence{max(before, waiting[at+1]), op.Return})
		}
		if op.Outcome == history.OK {
			before, at = op.Return, i
		}
	}
	return out
}
