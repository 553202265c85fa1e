package index

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

func TestExplain_sentences(t *testing.T) {
	t.Parallel()
	refs := func(names ...string) (out []model.EventRef) {
		for _, n := range names {
			out = append(out, model.EventRef{Event: n})
		}
		return out
	}
	e := &event.Event{Account: "acme", Channel: "SMS", Name: "CLICK", ApplicationID: "shop", Resource: "Acme"}
	bare := &event.Event{Account: "acme", Channel: "SMS", Name: "CLICK"}
	for name, tt := range map[string]struct {
		change func(*model.Subscription)
		event  *event.Event
		want   []string
	}{
		"matches": {func(*model.Subscription) {}, e, nil},
		"account": {func(s *model.Subscription) { s.Account, s.Users = "other", []string{"secret"} }, e, []string{"account: belongs to another account"}},
		"channel": {func(s *model.Subscription) { s.Channel = "EMAIL" }, e, []string{"channel: wants EMAIL; this is SMS"}},
		"events":  {func(s *model.Subscription) { s.Events = refs("DELIVERY", "SEEN") }, e, []string{"events: wants DELIVERY, SEEN; this is CLICK"}},
		"two formats": {func(s *model.Subscription) {
			s.Events = []model.EventRef{{Event: "SEEN", Format: "A"}, {Event: "SEEN", Format: "B"}}
		}, e, []string{"events: wants SEEN; this is CLICK"}},
		"at the limit":  {func(s *model.Subscription) { s.Events = refs("A", "B", "C", "D", "E") }, e, []string{"events: wants A, B, C, D, E; this is CLICK"}},
		"one above":     {func(s *model.Subscription) { s.Events = refs("A", "B", "C", "D", "E", "F") }, e, []string{"events: wants A, B, C, D, E and 1 more; this is CLICK"}},
		"open criteria": {func(s *model.Subscription) { s.Criteria = []model.Criterion{{ApplicationID: "x"}, {}} }, e, nil},
		"criteria": {
			func(s *model.Subscription) {
				s.Criteria = []model.Criterion{{ApplicationID: "shop", EntityID: "eu"}, {CallsConfigurationID: "c"}}
			},
			e,
			[]string{`criteria: wants applicationId "shop" with entityId "eu" or callsConfigurationId "c"; this has applicationId "shop"`},
		},
		"criteria, none": {func(s *model.Subscription) { s.Criteria = []model.Criterion{{EntityID: "eu"}} }, bare, []string{`criteria: wants entityId "eu"; this has none of them`}},
		"resources":      {func(s *model.Subscription) { s.Resources = []string{"a, b", ""} }, e, []string{`resources: wants "a, b", none; this has "Acme"`}},
		"users":          {func(s *model.Subscription) { s.Users = []string{"ana"} }, e, []string{`users: wants "ana"; this has none`}},
		"several parts": {
			func(s *model.Subscription) {
				s.Events, s.Resources, s.Users = refs("SEEN"), []string{"r"}, []string{"u"}
			}, e,
			[]string{"events: wants SEEN; this is CLICK", `resources: wants "r"; this has "Acme"`, `users: wants "u"; this has none`},
		},
	} {
		s := model.Subscription{Account: "acme", Channel: "SMS", ID: "s", ProfileID: "p"}
		tt.change(&s)
		if diff := cmp.Diff(tt.want, Explain(&s, tt.event)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// agree holds Explain against a table of the one subscription.
func agree(t *testing.T, s model.Subscription, e *event.Event) {
	t.Helper()
	c, x := newConfig(), New()
	c.commit(x, c.put(s))
	reasons := Explain(&s, e)
	if matches := len(x.Match(nil, e)) > 0; matches != (len(reasons) == 0) {
		t.Fatalf("the table says %v, the reasons are %q\n%+v\n%+v", matches, reasons, s, e)
	}
	for _, r := range reasons {
		if part, rest, ok := strings.Cut(r, ": "); !ok || part == "" || rest == "" {
			t.Fatalf("%q names no part", r)
		}
	}
}

// INV index-5: there are no reasons exactly when the table matches.
func TestExplain_agreesWithTheTable(t *testing.T) {
	t.Parallel()
	matched := 0
	for seed := range uint64(3000) {
		r := random(seed)
		s, e := r.subscription(), r.event()
		if seed%2 == 0 {
			e.Account, e.Channel = s.Account, s.Channel // or hardly any pair would come to the lists
		}
		agree(t, s, e)
		if len(Explain(&s, e)) == 0 {
			matched++
		}
	}
	if matched < 30 {
		t.Errorf("only %d of the random pairs match: the test says little", matched)
	}
}

// FuzzExplain lets the fuzzer choose what TestExplain_agreesWithTheTable draws
// at random.
func FuzzExplain(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("\x01\x00\x02\x03\x00\x01\x02\x00\x01\x00\x02\x03\x04\x05\x06\x07"))
	f.Add([]byte("a subscription and an event of few values, so that they often fit"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := source{func(below int) int {
			if len(data) == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return int(b) % below
		}}
		agree(t, r.subscription(), r.event())
	})
}
