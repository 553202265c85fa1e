package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"example.com/belfry/chaos/history"
)

// object is one object of the config API as far as the workloads vary it.
type object struct {
	url, auth, certificate        string // of a profile
	events, applications, profile string // of a subscription
	kind                          string // of a security setting
	version                       int
}

// tree is the state of a group of objects. It is never changed; key tells two
// of them apart.
type tree struct {
	objects map[string]object // by what and id
	key     string
}

func newTree(objects map[string]object) tree {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(objects)) {
		fmt.Fprintf(&b, "%s=%+v;", k, objects[k])
	}
	return tree{objects, b.String()}
}

// hierarchy is the sequential specification of the config API: what the FSM's
// commands do, without its limits. It is deterministic: an unknown operation
// that has no place in a linearization stands at its end, where nothing sees
// it.
func hierarchy() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return newTree(nil) },
		Step: func(state, input, _ any) (bool, any) {
			t, op := state.(tree), input.(*configOp)
			return t.step(op)
		},
		Equal:             func(a, b any) bool { return a.(tree).key == b.(tree).key },
		Hash:              func(s any) uint64 { return hash(s.(tree).key) },
		DescribeOperation: func(input, _ any) string { return describe(input.(*configOp)) },
		DescribeState:     func(s any) string { return s.(tree).key },
	}
}

// step reports whether op may have had its answer in t, and the state after.
func (t tree) step(op *configOp) (bool, tree) {
	if op.verb == "get" {
		return t.reads(op), t
	}
	refusals, change := t.apply(op)
	switch op.Outcome {
	case history.OK:
		return len(refusals) == 0, t.with(change)
	case history.Unknown:
		if len(refusals) > 0 {
			return true, t
		}
		return true, t.with(change)
	case history.Fail:
	}
	return slices.Contains(refusals, telling(op)), t
}

// with is t after a change: objects by key, nil for those that go.
func (t tree) with(change map[string]*object) tree {
	if len(change) == 0 {
		return t
	}
	next := maps.Clone(t.objects)
	if next == nil {
		next = map[string]object{}
	}
	for k, o := range change {
		if o == nil {
			delete(next, k)
		} else {
			next[k] = *o
		}
	}
	return newTree(next)
}

// telling is the code of a refusal that says something about the state, or "".
func telling(op *configOp) string {
	switch c := op.Code(); c {
	case "not_found", "already_exists":
		return c
	case "in_use": // of accounts it may be keys and users, which are not in a tree
		if op.what != "account" {
			return c
		}
	case "invalid":
		if strings.Contains(op.Error, "there is no") || strings.Contains(op.Error, "there are no") {
			return c
		}
	}
	return ""
}

// objectKey is where an operation's object stands in a tree.
func objectKey(op *configOp) string {
	if op.what == "subscription" {
		return "subscription/" + op.in.Channel + "/" + op.Key
	}
	return op.what + "/" + op.Key
}

// apply gives the reasons for which op is refused in t, in no order, and what
// it changes when there is none.
func (t tree) apply(op *configOp) (refusals []string, change map[string]*object) {
	refuse := func(code string) { refusals = append(refusals, code) }
	key := objectKey(op)
	old, exists := t.objects[key]
	change = map[string]*object{}
	switch op.verb {
	case "create":
		if exists {
			refuse("already_exists")
		}
	default:
		if !exists {
			refuse("not_found")
		}
	}
	if op.verb == "delete" {
		if t.used(op.what, op.Key) {
			refuse("in_use")
		}
		change[key] = nil
		return refusals, change
	}
	o := old
	switch op.what {
	case "subscription":
		o = t.subscription(op, change, refuse)
	case "profile":
		o = t.profile(old, op, change, refuse)
	case "security":
		if s := op.in.Security; s != nil {
			o.kind, o.version = orElse(s.Type, o.kind), s.Version
		}
	}
	change[key] = &o
	return refusals, change
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (t tree) subscription(op *configOp, change map[string]*object, refuse func(string)) object {
	s := op.in.Subscription
	if s == nil {
		return object{}
	}
	if p := op.in.Profile; p != nil && op.verb == "create" {
		key := "profile/" + s.Profile
		if _, ok := t.objects[key]; ok {
			refuse("already_exists")
		}
		o := t.newProfile(*p, op.in.Security, change, refuse)
		change[key] = &o
	} else if _, ok := t.objects["profile/"+s.Profile]; !ok {
		refuse("invalid")
	}
	return object{events: strings.Join(s.Events, ","), applications: strings.Join(s.Applications, ","), profile: s.Profile}
}

func (t tree) profile(old object, op *configOp, change map[string]*object, refuse func(string)) object {
	p := op.in.Profile
	if p == nil {
		return old
	}
	if op.verb == "create" {
		return t.newProfile(*p, op.in.Security, change, refuse)
	}
	o := old
	if slices.Contains(p.Set, "url") {
		o.url = p.URL
	}
	if slices.Contains(p.Set, "auth") {
		o.auth = p.Auth
	}
	if slices.Contains(p.Set, "certificate") {
		o.certificate = p.Certificate
	}
	t.referred(o, refuse)
	return o
}

func (t tree) newProfile(p history.Profile, s *history.Security, change map[string]*object, refuse func(string)) object {
	o := object{url: p.URL, auth: p.Auth, certificate: p.Certificate}
	if s == nil {
		t.referred(o, refuse)
		return o
	}
	o.auth = orElse(s.ID, p.Auth)
	key := "security/" + o.auth
	if _, ok := t.objects[key]; ok {
		refuse("already_exists")
	}
	change[key] = &object{kind: s.Type, version: s.Version}
	t.referred(object{certificate: o.certificate}, refuse)
	return o
}

func (t tree) referred(o object, refuse func(string)) {
	_, auth := t.objects["security/"+o.auth]
	_, cert := t.objects["certificate/"+o.certificate]
	if o.auth != "" && !auth || o.certificate != "" && !cert {
		refuse("invalid")
	}
}

// used reports whether an object of t refers to the one of that kind and id.
func (t tree) used(what, id string) bool {
	for _, o := range t.objects {
		if what == "profile" && o.profile == id || what == "security" && o.auth == id || what == "certificate" && o.certificate == id {
			return true
		}
	}
	return false
}

// reads reports whether the answer of a read fits t.
func (t tree) reads(op *configOp) bool {
	o, exists := t.objects[objectKey(op)]
	s := op.state
	if s.Absent || !exists {
		return s.Absent && !exists
	}
	switch {
	case s.Profile != nil:
		return s.Profile.URL == o.url && s.Profile.Auth == o.auth && s.Profile.Certificate == o.certificate
	case s.Subscription != nil:
		return s.Subscription.Profile == o.profile && strings.Join(s.Subscription.Events, ",") == o.events &&
			strings.Join(s.Subscription.Applications, ",") == o.applications
	case s.Security != nil:
		return s.Security.Type == o.kind && (s.Security.Version == 0 || s.Security.Version == o.version)
	}
	return true
}

// describe is op in a line, for drawings and reports.
func describe(op *configOp) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", op.Kind, op.Key, op.Node)
	if p := op.in.Profile; p != nil {
		fmt.Fprintf(&b, " profile{%s auth=%s cert=%s set=%v}", p.URL, p.Auth, p.Certificate, p.Set)
	}
	if s := op.in.Subscription; s != nil {
		fmt.Fprintf(&b, " subscription{%v %v profile=%s}", s.Events, s.Applications, s.Profile)
	}
	if s := op.in.Security; s != nil {
		fmt.Fprintf(&b, " security{%s %s %d}", s.ID, s.Type, s.Version)
	}
	fmt.Fprintf(&b, " → %s %s", op.Outcome, op.Error)
	if s := op.state; s != nil {
		switch {
		case s.Absent:
			b.WriteString(" absent")
		case s.Profile != nil:
			fmt.Fprintf(&b, " %+v", *s.Profile)
		case s.Subscription != nil:
			fmt.Fprintf(&b, " %+v", *s.Subscription)
		case s.Security != nil:
			fmt.Fprintf(&b, " %+v", *s.Security)
		}
	}
	return b.String()
}
