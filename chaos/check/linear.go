package check

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"example.com/belfry/chaos/history"
)

// groupKey names a group of objects that is linearizable for itself.
type groupKey struct{ account, group string }

func (k groupKey) String() string { return k.account + "/" + k.group }

func linearizable(h *History, o Options, v *Verdict) {
	groups := map[groupKey][]*configOp{}
	for i := range h.config {
		if op := &h.config[i]; op.in.Group != "" && !op.stale && op.what != "key" && op.what != "barrier" {
			k := groupKey{op.in.Account, op.in.Group}
			groups[k] = append(groups[k], op)
		}
	}
	keys := slices.SortedFunc(maps.Keys(groups), func(a, b groupKey) int {
		return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.group, b.group))
	})
	var slowest time.Duration
	longest, ops, hard, closed := 0, 0, 0, 0
	records := h.recorder()
	for _, k := range keys {
		v.Checked++
		all := groups[k]
		timeout := o.LinearizeTimeout
		if hard > 20 { // the run is beyond what can be decided: do not take hours to say so
			timeout /= 10
		}
		began := time.Now()
		// Most groups take no time. One that does is tried again with what the
		// audit log says of its unknown operations.
		known := operations(all, nil)
		result := linearize(known, timeout/20, o.MaxGroupOps)
		if result == porcupine.Unknown {
			if with := operations(all, records.of(k.account)); len(with) < len(known) {
				closed++
				known = with
			}
			result = linearize(known, timeout, o.MaxGroupOps)
		}
		switch result {
		case porcupine.Illegal:
			draw(v, k, known, timeout)
		case porcupine.Unknown:
			hard++
			undecided(v, k, all, len(known), timeout)
		case porcupine.Ok:
		}
		slowest = max(slowest, time.Since(began))
		longest, ops = max(longest, len(all)), ops+len(all)
	}
	v.figure("histories", float64(len(keys)))
	v.figure("operations", float64(ops))
	v.figure("longest", float64(longest))
	v.figure("slowest_seconds", slowest.Seconds())
	v.figure("closed_by_audit", float64(closed))
	h.stale(o, v)
}

func linearize(ops []porcupine.Operation, timeout time.Duration, most int) porcupine.CheckResult {
	if len(ops) > most {
		return porcupine.Unknown
	}
	return porcupine.CheckOperationsTimeout(hierarchy(), ops, timeout)
}

// undecided looks for what can be seen without a search: that is a violation
// still. Else the group is unknown.
func undecided(v *Verdict, k groupKey, all []*configOp, n int, timeout time.Duration) {
	before := v.Total
	for _, reg := range registers(all) {
		reg.judge(v)
	}
	if v.Total == before {
		v.Unknown++
		v.note("%s: %d operations could not be decided in %v", k, n, timeout)
	}
}

// draw notes a group that is not linearizable, with a drawing.
func draw(v *Verdict, k groupKey, ops []porcupine.Operation, timeout time.Duration) {
	model := hierarchy()
	_, info := porcupine.CheckOperationsVerbose(model, ops, timeout)
	var b bytes.Buffer
	if err := porcupine.Visualize(model, info, &b); err == nil {
		v.artifact(fmt.Sprintf("linearizable-%s-%s.html", fileName(k.account), fileName(k.group)), b.Bytes())
	}
	v.violate(Violation{What: fmt.Sprintf("%s is not linearizable (%d operations); no place for: %s", k, len(ops), stuck(ops, info)), At: ops[0].Call, Key: k.String()})
}

// stuck describes the first operation that no partial linearization has room
// for.
func stuck(ops []porcupine.Operation, info porcupine.LinearizationInfo) string {
	longest := 0
	var placed map[int]bool
	for _, part := range info.PartialLinearizations() {
		for _, seq := range part {
			if len(seq) <= longest {
				continue
			}
			longest, placed = len(seq), map[int]bool{}
			for _, id := range seq {
				placed[id] = true
			}
		}
	}
	best := -1
	for i := range ops {
		if !placed[i] && ops[i].Return < math.MaxInt64 && (best < 0 || ops[i].Return < ops[best].Return) {
			best = i
		}
	}
	if best < 0 {
		return "none found in time"
	}
	return fmt.Sprintf("%s at %v", describe(ops[best].Input.(*configOp)), time.Duration(ops[best].Call))
}

// fileName is s without what a file's name should not have.
func fileName(s string) string {
	b := []byte(s)
	for i, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.':
		default:
			b[i] = '_'
		}
	}
	return string(b)
}

// operations are the operations that say or may do something. Those with an
// unknown outcome have no end. An unknown change of a URL that nobody read is
// left out: with it and without it, the same is linearizable. So is one that l,
// if given, has no record of: it never happened.
func operations(all []*configOp, l *auditLog) []porcupine.Operation {
	read := map[string]bool{}
	for _, op := range all {
		if op.state != nil && op.state.Profile != nil {
			read[op.state.Profile.URL] = true
		}
	}
	clients := map[string]int{}
	var ops []porcupine.Operation
	for _, op := range all {
		end := op.Return
		switch {
		case op.Outcome == history.Fail && (op.verb == "get" || telling(op) == ""):
			continue
		case op.Outcome == history.Unknown:
			if op.verb == "get" || onlyURL(op) && !read[op.in.Profile.URL] || l.excludes(op) {
				continue
			}
			end = math.MaxInt64
		}
		id, ok := clients[op.Process]
		if !ok {
			id = len(clients)
			clients[op.Process] = id
		}
		ops = append(ops, porcupine.Operation{ClientId: id, Input: op, Output: nil, Call: op.Call, Return: end})
	}
	return ops
}

func onlyURL(op *configOp) bool {
	return op.what == "profile" && op.verb == "put" && op.in.Profile != nil && len(op.in.Profile.Set) == 1 && op.in.Profile.Set[0] == "url"
}
