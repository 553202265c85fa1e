package model

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCatalogue_isSortedAndComplete(t *testing.T) {
	t.Parallel()
	if n := len(Channels()); n != 25 {
		t.Errorf("the catalogue has %d channels, want 25", n)
	}
	if !slices.IsSortedFunc(Channels(), func(a, b Channel) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("channels are not in alphabetical order: ChannelByName relies on it")
	}
	total := 0
	for _, c := range Channels() {
		total += len(c.Events)
		if len(c.Events) == 0 {
			t.Errorf("%s has no events", c.Name)
		}
		if !slices.IsSorted(c.Events) || len(slices.Compact(slices.Clone(c.Events))) != len(c.Events) {
			t.Errorf("events of %s are not sorted and distinct: Has relies on it", c.Name)
		}
		got, ok := ChannelByName(c.Name)
		if !ok || got.Name != c.Name {
			t.Errorf("ChannelByName(%s) = %v, %v", c.Name, got.Name, ok)
		}
	}
	if total != 171 {
		t.Errorf("the catalogue has %d events, want 171", total)
	}
	for _, name := range []string{"", "sms", "SMS ", "TELEX"} {
		if _, ok := ChannelByName(name); ok {
			t.Errorf("ChannelByName(%q) found a channel", name)
		}
	}
	// Only our own channel is reserved.
	for _, c := range Channels() {
		if c.Reserved != (c.Name == "BELFRY") {
			t.Errorf("%s: reserved is %v", c.Name, c.Reserved)
		}
	}
	// The format-aware ones of the contract, section 1.7.
	var aware []string
	for _, c := range Channels() {
		if c.FormatAware {
			aware = append(aware, c.Name)
		}
	}
	want := []string{"APPLE_MESSAGES_FOR_BUSINESS", "BLOCKLIST", "FACEBOOK", "MMS", "MOBILE_IDENTITY", "OPEN_CHANNEL", "SMS"}
	if diff := cmp.Diff(want, aware); diff != "" {
		t.Errorf("format-aware channels (-want +got):\n%s", diff)
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"SMS/DELIVERY": true, "SMS/INBOUND_MESSAGE": true, "SMS/CLICK": false,
		"EMAIL/DELIVERY": true, "EMAIL/OPEN": false, "EMAIL/HIGH_BOUNCE_RATE_WARNING": false,
		"WHATSAPP/SEEN": true, "WHATSAPP/TEMPLATE_UPDATE": false, "WHATSAPP/PAYMENT_STATUS": false,
		"VOICE_VIDEO/DELIVERY": true, "VOICE_VIDEO/CALL_RECEIVED": false,
		"RCS/CAP_CHECK": false, "RCS/SUGGESTION": true, "BLOCKLIST/BLOCK": true, "REGISTRATION/BRAND_STATUS_UPDATE": true,
		"MOBILE_IDENTITY/SILENT_VERIFICATION": false, "AGENT_OS/CONVERSATION_CREATED": false, "FACEBOOK/CONSENT_UPDATE": true,
		"BELFRY/delivery.dead": false,
	} {
		channel, event, _ := strings.Cut(name, "/")
		if got := Batches(channel, event); got != want {
			t.Errorf("Batches(%s) = %v, want %v", name, got, want)
		}
	}
	// Every name in the two tables must exist, or a typo would turn a family.
	for _, table := range []map[string]string{flat, batching} {
		for channel, events := range table {
			c, ok := ChannelByName(channel)
			if !ok {
				t.Errorf("table names unknown channel %s", channel)
			}
			for e := range strings.FieldsSeq(events) {
				if e != "*" && !c.Has(e) {
					t.Errorf("table names unknown event %s of %s", e, channel)
				}
			}
		}
	}
}

func TestSecret_neverPrints(t *testing.T) {
	t.Parallel()
	const canary = "canary-7f3a"
	s := NewSecret(canary)
	nested := struct {
		S Secret
		P *Secret
		M map[string]Secret
	}{s, &s, map[string]Secret{"k": s}}
	j, err := json.Marshal(nested)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	slog.New(slog.NewJSONHandler(&text, nil)).Info("m", "s", s, "n", nested)
	outs := []string{string(j), text.String(), s.String(), s.GoString(), fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprintf("%v %+v %#v", nested, nested, nested)}
	for _, out := range outs {
		if strings.Contains(out, canary) || strings.Contains(out, fmt.Sprintf("%x", canary)) {
			t.Errorf("the secret leaked: %s", out)
		}
	}
	if s.Reveal() != canary || s.IsZero() || !(Secret{}).IsZero() {
		t.Error("Reveal and IsZero do not see the value")
	}
}

func TestOpt_tellsAbsentNullAndValue(t *testing.T) {
	t.Parallel()
	type doc struct {
		A Opt[string] `json:"a,omitzero"`
		B Opt[int]    `json:"b,omitzero"`
	}
	for in, want := range map[string]doc{
		`{}`:               {},
		`{"a":null,"b":1}`: {A: Null[string](), B: Some(1)},
		`{"a":"","b":0}`:   {A: Some(""), B: Some(0)},
	} {
		var got doc
		if err := json.Unmarshal([]byte(in), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("decode %s (-want +got):\n%s", in, diff)
		}
		out, err := json.Marshal(got)
		if err != nil || string(out) != in {
			t.Errorf("encode = %s, %v; want %s", out, err, in)
		}
	}
	v := "old"
	Opt[string]{}.ApplyTo(&v)
	if v != "old" {
		t.Errorf("absent changed the value to %q", v)
	}
	Some("new").ApplyTo(&v)
	if v != "new" {
		t.Errorf("value = %q, want new", v)
	}
	Null[string]().ApplyTo(&v)
	if v != "" {
		t.Errorf("null left %q", v)
	}
}

func TestCheckID(t *testing.T) {
	t.Parallel()
	good := []string{"a", "A-Z_0.9~", strings.Repeat("x", 255), "..."}
	bad := []string{"", ".", "..", strings.Repeat("x", 256), strings.Repeat("x", 4096), "a b", "a/b", "a%41", "ä", "a\x00", "a\n", "a?b", "a+b", "a:b"}
	for _, id := range good {
		if msg := CheckID(id); msg != "" {
			t.Errorf("CheckID(%.20q) = %q, want fine", id, msg)
		}
	}
	for _, id := range bad {
		if CheckID(id) == "" {
			t.Errorf("CheckID(%.20q) is fine, want a complaint", id)
		}
	}
}

func TestCheckText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		s        string
		min, max int
		ok       bool
	}{
		{"at the limit, in characters", strings.Repeat("é", 255), 1, 255, true},
		{"one above", strings.Repeat("é", 256), 1, 255, false},
		{"empty allowed", "", 0, 255, true},
		{"empty refused", "", 1, 255, false},
		{"control character", "a\tb", 0, 255, false},
		{"delete character", "a\x7f", 0, 255, false},
		{"broken UTF-8", "a\xff", 0, 255, false},
	}
	for _, tt := range tests {
		if got := CheckText(tt.s, tt.min, tt.max); (got == "") != tt.ok {
			t.Errorf("%s: CheckText = %q, want ok %v", tt.name, got, tt.ok)
		}
	}
}

func TestScope_Allows(t *testing.T) {
	t.Parallel()
	tests := []struct {
		need Scope
		have []Scope
		want bool
	}{
		{ScopeSubscriptionsRead, []Scope{ScopeSubscriptionsManage}, true},
		{ScopeSubscriptionsManage, []Scope{ScopeSubscriptionsRead}, false},
		{ScopeAccountsManage, []Scope{ScopeAdminAccounts}, true},
		{ScopeAuditRead, []Scope{ScopeAdminAccounts}, true},
		{ScopeAdminAccounts, []Scope{ScopeAccountsManage}, false},
		{ScopeAdminCluster, []Scope{ScopeAdminAccounts}, false},
		{ScopeSecurityReveal, []Scope{ScopeSubscriptionsManage, ScopeAdminAccounts}, false},
		{ScopeEventsRead, nil, false},
	}
	for _, tt := range tests {
		if got := tt.need.Allows(tt.have); got != tt.want {
			t.Errorf("%s with %v = %v, want %v", tt.need, tt.have, got, tt.want)
		}
	}
	for _, s := range AllScopes() {
		if !s.Known() || !s.Allows([]Scope{s}) {
			t.Errorf("%s is not known or does not allow itself", s)
		}
	}
	if Scope("root").Known() {
		t.Error("an invented scope is known")
	}
}

func TestError_violationsAndCodes(t *testing.T) {
	t.Parallel()
	var v Violations
	for i := range MaxViolations + 1 {
		v.Add(fmt.Sprintf("f%d", i), "is bad")
	}
	err := v.Err()
	var list []FieldError
	if e, ok := err.(*Error); ok { //nolint:errorlint // the concrete type is what is asked here
		list = e.Violations()
	}
	if len(list) != MaxViolations || CodeOf(err) != CodeInvalid {
		t.Errorf("%d violations, code %s; want the bound %d and %s", len(list), CodeOf(err), MaxViolations, CodeInvalid)
	}
	if (&Violations{}).Err() != nil {
		t.Error("no violation gives an error")
	}
	wrapped := fmt.Errorf("while: %w", Invalid("a.b", "must be %d", 3))
	if CodeOf(wrapped) != CodeInvalid || CodeOf(nil) != "" || CodeOf(fmt.Errorf("x")) != CodeInternal {
		t.Error("CodeOf does not see through wrapping")
	}
}

func TestProfile_Effective(t *testing.T) {
	t.Parallel()
	got := Profile{ID: "p", RateLimit: 7, WindowSize: 50}.Effective()
	want := Profile{
		ID: "p", RateLimit: 7, WindowSize: 50, MaxBucketSize: 100, ConnectTimeoutMs: 10000, ReadTimeoutMs: 10000,
		ContentType: "application/json", Ordering: OrderingNone,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Effective (-want +got):\n%s", diff)
	}
}
