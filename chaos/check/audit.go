package check

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"example.com/belfry/chaos/history"
)

// auditLog is the audit log of an account as one node gave it.
type auditLog struct {
	records map[string][]history.Audit // by request
	count   int
	parts   int
	whole   bool
	oldest  int64 // the Call of the first change with a record
}

// auditLogs are the logs that were read whole, by account and node.
func (h *History) auditLogs() map[[2]string]*auditLog {
	logs := map[[2]string]*auditLog{}
	for i := range h.finals {
		op := &h.finals[i]
		var q history.FinalQuery
		if op.Kind != history.FinalAudit || decode(op.In, &q) != nil {
			continue
		}
		k := [2]string{q.Account, op.Node}
		if logs[k] == nil {
			logs[k] = &auditLog{records: map[string][]history.Audit{}, whole: true, oldest: math.MaxInt64}
		}
		l := logs[k]
		var out []history.Audit
		if op.Outcome != history.OK || decode(op.Out, &out) != nil || q.Part != l.parts {
			l.whole = false
			continue
		}
		l.parts++
		for _, r := range out {
			l.records[r.Request] = append(l.records[r.Request], r)
			l.count++
		}
	}
	maps.DeleteFunc(logs, func(_ [2]string, l *auditLog) bool { return !l.whole })
	return logs
}

// recorder gives the audit log of an account.
type recorder map[[2]string]*auditLog

func (h *History) recorder() recorder {
	logs := recorder(h.auditLogs())
	for i := range h.config {
		op := &h.config[i]
		for k, l := range logs {
			if k[0] == op.in.Account && len(l.records[op.in.Request]) > 0 {
				l.oldest = min(l.oldest, op.Call)
			}
		}
	}
	return logs
}

// of is a log of the account that was read whole, or nil. All nodes have the
// same; the checker of replicas looks at that.
func (r recorder) of(account string) *auditLog {
	for k, l := range r {
		if k[0] == account {
			return l
		}
	}
	return nil
}

// excludes reports whether the change of op surely never happened: it has no
// record, though older ones do.
func (l *auditLog) excludes(op *configOp) bool {
	return l != nil && op.in.Request != "" && op.Call >= l.oldest && len(l.records[op.in.Request]) == 0
}

// audit looks for the record of each change. The log has a bound: what is older
// than the oldest record of a change of this run is not judged.
func audit(h *History, _ Options, v *Verdict) {
	logs := h.recorder()
	if len(logs) == 0 {
		return
	}
	byAccount := map[string][]*configOp{}
	for i := range h.config {
		op := &h.config[i]
		if op.verb == "get" || op.verb == "use" || op.in.Request == "" {
			continue
		}
		byAccount[op.in.Account] = append(byAccount[op.in.Account], op)
	}
	for _, k := range slices.SortedFunc(maps.Keys(logs), func(a, b [2]string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) }) {
		v.figure("records", v.Figures["records"]+float64(logs[k].count))
		h.judgeAudit(v, k[1], logs[k], byAccount[k[0]])
	}
}

func (h *History) judgeAudit(v *Verdict, node string, l *auditLog, ops []*configOp) {
	byObject := map[string][]recorded{}
	for _, op := range ops {
		rs := l.records[op.in.Request]
		bad := func(format string, args ...any) {
			v.violate(Violation{What: fmt.Sprintf("the audit log of %s: ", op.in.Account) + fmt.Sprintf(format, args...), At: op.Return, Node: node, Key: op.Key})
		}
		v.Checked++
		switch {
		case len(rs) > 1:
			bad("%d records of one change, %s %s", len(rs), op.Kind, op.Key)
		case op.Outcome == history.OK && len(rs) == 0 && (op.Return >= l.oldest || l.oldest == math.MaxInt64 && l.count < history.FinalPart):
			bad("no record of an acknowledged change, %s %s", op.Kind, op.Key)
		case op.Outcome == history.OK && len(rs) == 0:
			v.Unknown++
		case op.Outcome == history.Fail && len(rs) > 0:
			bad("a record of a change that was refused (%s), %s %s", op.Error, op.Kind, op.Key)
		}
		if len(rs) != 1 || op.Outcome == history.Fail {
			continue
		}
		action := op.what + "." + map[string]string{"create": "create", "put": "update", "delete": "delete"}[op.verb]
		if r := rs[0]; r.Action != action || op.what != "key" && r.Object != op.Key && !strings.HasSuffix(r.Object, "/"+op.Key) {
			bad("the record of %s %s says %s %s", op.Kind, op.Key, r.Action, r.Object)
		}
		k := objectKey(op)
		byObject[k] = append(byObject[k], recorded{op, rs[0].Index})
	}
	for k, ks := range byObject {
		orderOfRecords(v, node, k, ks)
	}
}

// recorded is a change and the index of its record.
type recorded struct {
	op    *configOp
	index uint64
}

// orderOfRecords: a change that was asked for after another was answered has
// the later record.
func orderOfRecords(v *Verdict, node, object string, ks []recorded) {
	answered := slices.DeleteFunc(slices.Clone(ks), func(x recorded) bool { return x.op.Outcome != history.OK })
	slices.SortFunc(answered, func(a, b recorded) int { return cmp.Compare(a.op.Return, b.op.Return) })
	next, latest := 0, uint64(0)
	for _, x := range ks { // in order of Call
		for ; next < len(answered) && answered[next].op.Return < x.op.Call; next++ {
			latest = max(latest, answered[next].index)
		}
		if x.index <= latest {
			v.violate(Violation{
				What: fmt.Sprintf("the audit log has changes of %s in the wrong order: %d was answered before %d was asked for", object, latest, x.index),
				At:   x.op.Return, Node: node, Key: x.op.Key,
			})
		}
	}
}
