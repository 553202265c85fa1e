package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

type fakeDestinations struct {
	answer event.DestinationStates
	err    error
	asked  []string // account and ids of the last question
}

func (f *fakeDestinations) Destinations(_ context.Context, account string, ids []string) (event.DestinationStates, error) {
	f.asked = append([]string{account}, ids...)
	return f.answer, f.err
}

func TestDestinations(t *testing.T) {
	t.Parallel()
	f := &fakeDestinations{}
	h := newHarness(t, func(o *Options) { o.Destinations = f })
	if got := h.must(t, "GET", destinationsPath+"?profileId=p", keyFull, "", 200); got != `{"destinations":[],"unreachableNodes":[]}` {
		t.Errorf("nothing is %s", got)
	}
	at := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	f.answer = event.DestinationStates{Unreachable: []string{"n3"}, Destinations: []event.DestinationState{
		{ProfileID: "p", NodeID: "n1", Partition: 5, Breaker: event.BreakerOpen, BreakerUntil: &at, Failed: 7, Unanswered: 5, HeldUntil: &at, Gone: true, Disabled: true, Window: 1, WindowSize: 20, InFlight: 1, Queued: 3, RateLimit: 9, Throttled: true},
		{ProfileID: "q", NodeID: "n2", Breaker: event.BreakerClosed, Window: 2, WindowSize: 20},
	}}
	want := `{"destinations":[{"profileId":"p","nodeId":"n1","partition":5,"breaker":"open","breakerUntil":"2026-11-26T10:00:00Z","failedInRow":7,"unansweredInRow":5,` +
		`"heldUntil":"2026-11-26T10:00:00Z","gone":true,"disabled":true,"window":1,"windowSize":20,"inFlight":1,"queued":3,"rateLimit":9,"throttled":true},` +
		`{"profileId":"q","nodeId":"n2","partition":0,"breaker":"closed","failedInRow":0,"unansweredInRow":0,"gone":false,"disabled":false,"window":2,"windowSize":20,` +
		`"inFlight":0,"queued":0,"throttled":false}],"unreachableNodes":["n3"]}`
	if got := h.must(t, "GET", destinationsPath+"?profileId=p&profileId=q", keyFull, "", 200); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !slices.Equal(f.asked, []string{accAcme, "p", "q"}) {
		t.Errorf("asked for %v", f.asked)
	}
	h.must(t, "GET", destinationsPath+"?profileId=p", keyManage, "", 403)
	f.err = errors.New("secret place")
	h.must(t, "GET", destinationsPath+"?profileId=p", keyFull, "", 500)
	f.err = model.Errorf(model.CodeUnavailable, "this node is stopping")
	h.must(t, "GET", destinationsPath+"?profileId=p", keyFull, "", 503)
}

func TestDestinations_limits(t *testing.T) {
	t.Parallel()
	f := &fakeDestinations{}
	h := newHarness(t, func(o *Options) { o.Destinations = f })
	query := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "&profileId=p%d", i)
		}
		return destinationsPath + "?" + b.String()[1:]
	}
	h.must(t, "GET", query(event.MaxDestinations), keyFull, "", 200)
	if len(f.asked) != 1+event.MaxDestinations {
		t.Errorf("asked for %d", len(f.asked))
	}
	for what, url := range map[string]string{
		"one too many": query(event.MaxDestinations + 1), "none": destinationsPath, "no id": destinationsPath + "?profileId=", "not an id": destinationsPath + "?profileId=p&profileId=a%2Fb",
	} {
		if _, at := refusal(t, h.must(t, "GET", url, keyFull, "", 400)); at["/profileId"] == "" && at["profileId"] == "" {
			t.Errorf("%s: the answer names %v", what, at)
		}
	}
	h.must(t, "GET", destinationsPath+"?profileId=p&profile=q", keyFull, "", 400)
	h.must(t, "GET", destinationsPath+"?profileId=p", keyAdmin, "", 200)
	newHarness(t).must(t, "GET", destinationsPath+"?profileId=p", keyFull, "", 503)
}
