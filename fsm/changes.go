package fsm

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"example.com/belfry/fsm/model"
)

// Bounds of what an audit record says of the members that changed.
const (
	maxAuditRows    = 16 // rows of one command that are looked at
	maxAuditChanges = 64
	maxAuditValue   = 200 // characters of one value
)

// touched is a row that a command writes, as it was before; nil: it was not
// there.
type touched struct{ bucket, key, before []byte }

// auditedBuckets hold what people change, and are compared for the audit log.
var auditedBuckets = [][]byte{bAccount, bKey, bUser, bSecurity, bCertificate, bProfile, bSubscription}

// touch remembers a row before it is written for the first time.
func (t *txn) touch(bucket, k []byte) {
	same := func(x touched) bool { return bytes.Equal(x.bucket, bucket) && bytes.Equal(x.key, k) }
	switch {
	case !slices.ContainsFunc(auditedBuckets, func(b []byte) bool { return bytes.Equal(b, bucket) }):
	case slices.ContainsFunc(t.rows, same):
	case len(t.rows) == maxAuditRows:
		t.rowsCut = true
	default:
		t.rows = append(t.rows, touched{bucket, bytes.Clone(k), bytes.Clone(t.tx.Bucket(bucket).Get(k))})
	}
}

// differences are the members that the command changed. cut: there are more.
func (t *txn) differences() (out []model.AuditChange, cut bool) {
	for _, x := range t.rows {
		out = append(out, compareRows(string(x.bucket), x.before, t.tx.Bucket(x.bucket).Get(x.key))...)
	}
	if len(out) > maxAuditChanges {
		return out[:maxAuditChanges], true
	}
	return out, t.rowsCut
}

// compareRows lists the members in which two versions of a row differ, by
// name. nil is a row that is not there.
func compareRows(kind string, before, after []byte) []model.AuditChange {
	old, now := membersOf(before), membersOf(after)
	object := kind + " " + rowName(old, now)
	names := maps.Clone(old)
	maps.Copy(names, now)
	var out []model.AuditChange
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if unsaid[name] || bytes.Equal(old[name], now[name]) {
			continue
		}
		out = append(out, model.AuditChange{Object: object, Member: name, Before: memberText(name, old[name]), After: memberText(name, now[name])})
	}
	return out
}

func membersOf(row []byte) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	if row != nil {
		m = decodeRow[map[string]json.RawMessage](nil, row)
	}
	maps.DeleteFunc(m, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	return m
}

// rowName is the id of a row, with its channel before it if it has one.
func rowName(versions ...map[string]json.RawMessage) string {
	for _, m := range versions {
		name := memberText("", m["id"])
		if name == "" {
			name = memberText("", m["username"])
		}
		if channel := memberText("", m["channel"]); channel != "" {
			name = channel + "/" + name
		}
		if name != "" {
			return name
		}
	}
	return ""
}

// unsaid are members that say nothing to a reader of the audit log: what the
// record says anyway, and what is derived or unreadable.
var unsaid = map[string]bool{
	"id": true, "account": true, "channel": true, "createdAt": true, "updatedAt": true, "createdIndex": true, "updatedIndex": true, "dataKey": true, "chainPem": true,
}

// masked are members whose value nobody may read, sealed or hashed as it is.
var masked = map[string]bool{"hash": true, "passwordHash": true, "secrets": true}

// memberText is a value for people: text as it is, anything else as JSON.
// INV fsm-7: no secret gets into the audit log, not even in its sealed form.
func memberText(name string, v json.RawMessage) string {
	if v == nil {
		return ""
	}
	if masked[name] {
		return model.AuditMask
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		s = string(v)
	}
	if r := []rune(s); len(r) > maxAuditValue {
		return string(r[:maxAuditValue]) + "…"
	}
	return s
}
