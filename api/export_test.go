package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// longArchive has as many events and dead letters as it is told, in pages.
type longArchive struct {
	*fakeArchive
	n       int
	perPage int // at most; 0: as many as asked
	slow    time.Duration
	broken  int // the page that fails, from 1; 0: none
	err     error
	away    []string
	looks   int
}

// take gives the rows of the next page, as the place of the first and how many.
func (a *longArchive) take(ctx context.Context, from, limit int) (n int, err error) {
	a.looks++
	if a.slow > 0 {
		select {
		case <-time.After(a.slow):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if a.looks == a.broken {
		return 0, a.err
	}
	if a.perPage > 0 {
		limit = min(limit, a.perPage)
	}
	return min(limit, a.n-from), nil
}

func (a *longArchive) Search(ctx context.Context, _ string, _ event.Filter, after event.Ref, limit int) (event.Page, error) {
	from := 0
	_, _ = fmt.Sscanf(after.EventID, "e-%d", &from)
	n, err := a.take(ctx, from, limit)
	page := event.Page{Unreachable: a.away}
	for i := from + 1; i <= from+n; i++ {
		ref := event.Ref{AcceptedAt: time.Unix(0, 1).UTC(), EventID: fmt.Sprintf("e-%d", i)}
		page.Records = append(page.Records, event.Record{Event: event.Event{ID: ref.EventID, Channel: "SMS", Name: "DELIVERY"}, AcceptedAt: ref.AcceptedAt})
		page.Next = ref
	}
	if from+n >= a.n {
		page.Next = event.Ref{}
	}
	return page, err
}

func (a *longArchive) DeadLetters(ctx context.Context, _ string, _ event.DeadFilter, before time.Time, limit int) (event.DeadPage, error) {
	from := 0
	if !before.IsZero() {
		from = int(-before.Unix())
	}
	n, err := a.take(ctx, from, limit)
	var page event.DeadPage
	for i := from + 1; i <= from+n; i++ {
		d := sampleDead()
		d.DeliveryID, d.DeadAt = fmt.Sprintf("d-%d", i), time.Unix(-int64(i), 0).UTC()
		page.DeadLetters, page.Next = append(page.DeadLetters, d), d.DeadAt
	}
	if from+n >= a.n {
		page.Next = time.Time{}
	}
	return page, err
}

func exportHarness(t *testing.T, a *longArchive, change ...func(*Options)) *harness {
	t.Helper()
	a.fakeArchive = newFakeArchive()
	return newHarness(t, append(change, func(o *Options) { o.Archive = a })...)
}

func asked(form exportForm) map[string]string { return map[string]string{"Accept": string(form)} }

// What a line of an export holds, with what a spreadsheet would calculate in
// front of a text.
func TestExport_lines(t *testing.T) {
	t.Parallel()
	h, archive, _ := watchHarness(t)
	at := time.Date(2026, 11, 23, 9, 0, 0, 5, time.UTC)
	archive.page[accAcme] = event.Page{Records: []event.Record{
		{
			Event: event.Event{
				Account: accAcme, ID: "e,1", Channel: "SMS", Name: "DELIVERY", Resource: "+385", User: `say "=1+1"`, OrderingKey: "=cmd|' /C calc'!A0", ApplicationID: " @x", EntityID: "-1", Format: "\tx",
				ReceivedAt: at, Payload: []byte(`{"text":"` + canary + `"}`),
			},
			AcceptedAt: at,
			Deliveries: []event.Delivery{
				{DeliveryID: "d1", ProfileID: "p", SubscriptionIDs: []string{"s1", "s2"}, URL: "https://a.example/", Status: event.StatusRetrying, NextAttemptAt: &at, Attempts: []event.Attempt{{Attempt: 1, StatusCode: 500, Outcome: "temporary"}}},
				{DeliveryID: "d2", URL: "https://b.example/?a;=1", Status: event.StatusDelivered},
			},
		},
		{Event: event.Event{ID: "e0", Channel: "SMS", Name: "CLICK"}, AcceptedAt: at},
	}, Unreachable: []string{"n3"}}
	body := scenario{
		method: "GET", url: eventsPath + "?channel=SMS", key: keyFull, status: 200, header: asked(formCSV), hasNot: []string{canary},
		headers: map[string]string{"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": `attachment; filename="belfry-events-` + h.o.Now().UTC().Format("20060102T150405Z") + `.csv"`},
	}.on(t, h)
	want := `"acceptedAt","eventId","channel","event","format","applicationId","entityId","callsConfigurationId","resource","user","orderingKey","occurredAt","receivedAt",` +
		`"deliveryId","profileId","subscriptionIds","url","status","attempts","lastStatusCode","lastOutcome","nextAttemptAt"` + "\r\n"
	begin := `"2026-11-23T09:00:00.000000005Z","e,1","SMS","DELIVERY","'` + "\t" + `x","' @x","'-1",,"'+385","say ""=1+1""","'=cmd|' /C calc'!A0",,"2026-11-23T09:00:00.000000005Z",`
	want += begin + `"d1","p","s1 s2","https://a.example/","RETRYING","1","500","temporary","2026-11-23T09:00:00.000000005Z"` + "\r\n" +
		begin + `"d2",,,"https://b.example/?a;=1","DELIVERED","0",,,` + "\r\n" +
		`"2026-11-23T09:00:00.000000005Z","e0","SMS","CLICK",,,,,,,,,,,,,,,,,,` + "\r\n" +
		`"# incomplete: no answer from n3",,,,,,,,,,,,,,,,,,,,,` + "\r\n"
	if d := cmp.Diff(want, body); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if rows, err := csv.NewReader(strings.NewReader(body)).ReadAll(); err != nil || len(rows) != 5 {
		t.Errorf("a reader of CSV gets %d rows, %v", len(rows), err)
	}
	if archive.asked.filter.Channel != "SMS" || archive.asked.account != accAcme || archive.asked.limit != MaxSearch {
		t.Errorf("asked %+v", archive.asked)
	}
	body = scenario{method: "GET", url: eventsPath, key: keyFull, status: 200, header: asked(formNDJSON), hasNot: []string{canary, "payload"}, headers: map[string]string{"Content-Type": "application/x-ndjson; charset=utf-8"}}.on(t, h)
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], `"resource":"+385"`) || !strings.Contains(lines[1], `"deliveries":[]`) || lines[2] != `{"incomplete":{"unreachableNodes":["n3"]}}` {
		t.Errorf("got %s", body)
	}
	for _, l := range lines {
		if !json.Valid([]byte(l)) {
			t.Errorf("no JSON: %s", l)
		}
	}

	archive.dead[accAcme] = []event.DeadLetter{sampleDead()}
	body = scenario{method: "GET", url: deadLettersPath + "?profileId=p", key: keyFull, status: 200, header: asked(formCSV), hasNot: []string{"of acme.example"}}.on(t, h)
	want = `"deadAt","deliveryId","profileId","subscriptionIds","url","acceptedAt","attempts","outcome","statusCode","error","eventId","channel","event","format","applicationId","entityId","callsConfigurationId","resource","user","orderingKey","occurredAt","receivedAt"` + "\r\n" +
		`"2026-11-23T09:01:00Z","d1","prof-1","sub-1",,"2026-11-23T09:00:00Z","3","temporary","503","the receiver answered 503","e1","SMS","DELIVERY",,,,,,,,,"2026-11-23T09:00:00Z"` + "\r\n"
	if d := cmp.Diff(want, body); d != "" || archive.asked.dead.ProfileID != "p" {
		t.Errorf("asked %+v (-want +got):\n%s", archive.asked, d)
	}
	body = scenario{method: "GET", url: deadLettersPath, key: keyFull, status: 200, header: asked(formNDJSON), hasNot: []string{"of acme.example"}}.on(t, h)
	if !strings.HasPrefix(body, `{"deliveryId":"d1",`) || strings.Count(body, "\n") != 1 {
		t.Errorf("got %s", body)
	}
}

// An export has the rows of many pages; at its limit it is whole, above it says
// where the list goes on. INV api-11.
func TestExport_bounded(t *testing.T) {
	t.Parallel()
	for _, path := range []string{eventsPath, deadLettersPath} {
		for _, tt := range []struct{ n, limit, rows int }{{450, 450, 450}, {451, 450, 450}, {0, 450, 0}, {7, 5, 5}} {
			for _, perPage := range []int{0, 30} {
				a := &longArchive{n: tt.n, perPage: perPage}
				h := exportHarness(t, a, func(o *Options) { o.Limits.ExportRows = tt.limit })
				body := scenario{method: "GET", url: path, key: keyFull, status: 200, header: asked(formNDJSON)}.on(t, h)
				rows := strings.Count(body, "\n")
				cut := strings.Contains(body, `{"incomplete":{"reason":"an export has up to `+fmt.Sprint(tt.limit)+` rows","nextCursor":"`)
				if cut {
					rows--
				}
				if rows != tt.rows || cut != (tt.n > tt.limit) {
					t.Errorf("%s, %d of %d in pages of %d: %d rows, cut %v\n%s", path, tt.limit, tt.n, perPage, rows, cut, body[max(0, len(body)-200):])
				}
				if !cut {
					continue
				}
				_, rest, _ := strings.Cut(body, `"nextCursor":"`)
				cursor, _, _ := strings.Cut(rest, `"`)
				body = scenario{method: "GET", url: path + "?cursor=" + cursor, key: keyFull, status: 200, header: asked(formCSV)}.on(t, h)
				if got := strings.Count(body, "\r\n") - 1; got != tt.n-tt.limit || strings.Contains(body, "incomplete") {
					t.Errorf("%s goes on with %d rows, want %d:\n%s", path, got, tt.n-tt.limit, body)
				}
			}
		}
	}
	if h := newHarness(t); h.o.Limits.ExportRows != DefaultExportRows {
		t.Errorf("the default is %d", h.o.Limits.ExportRows)
	}
}

// An export that cannot begin is an error; one that breaks off says so.
func TestExport_breaksOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		a      *longArchive
		status int
		want   string
	}{
		{"at the beginning", &longArchive{n: 500, broken: 1, err: model.Errorf(model.CodeUnavailable, "no node answers")}, 503, "no node answers"},
		{"later", &longArchive{n: 500, broken: 2, err: model.Errorf(model.CodeUnavailable, "no node answers")}, 200, `"# incomplete: the node could not go on; the list goes on with cursor=`},
		{"with a secret", &longArchive{n: 500, broken: 3, err: errors.New(canary)}, 200, `"# incomplete: the node could not go on; the list goes on with cursor=`},
		{"too slow", &longArchive{n: 500, perPage: 1, slow: exportTime / 2}, 200, `"# incomplete: an export takes up to 2m0s; the list goes on with cursor=`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := exportHarness(t, tt.a)
				scenario{method: "GET", url: eventsPath, key: keyFull, status: tt.status, header: asked(formCSV), has: []string{tt.want}, hasNot: []string{canary}}.on(t, h)
			})
		})
	}
	a := &longArchive{n: 500}
	h := exportHarness(t, a)
	scenario{method: "HEAD", url: eventsPath, key: keyFull, status: 200, header: asked(formCSV)}.on(t, h)
	if a.looks != 1 {
		t.Errorf("HEAD looks %d times", a.looks)
	}
	for _, path := range []string{eventsPath, deadLettersPath} {
		body := scenario{method: "GET", url: path + "?limit=5", key: keyFull, status: 400, header: asked(formNDJSON)}.on(t, h)
		if _, at := refusal(t, body); at["/limit"] == "" {
			t.Errorf("%s names %v", path, at)
		}
	}
}

// heldArchive answers a search when it is told to.
type heldArchive struct {
	*fakeArchive
	begun, answer chan struct{}
}

func (a *heldArchive) Search(context.Context, string, event.Filter, event.Ref, int) (event.Page, error) {
	a.begun <- struct{}{}
	<-a.answer
	return event.Page{}, nil
}

// As many exports as the limit says run at a time, one more is refused, and
// every one that ends makes room. Pages of the list are none.
func TestExport_atATime(t *testing.T) {
	t.Parallel()
	const limit = 2
	a := &heldArchive{fakeArchive: newFakeArchive(), begun: make(chan struct{}), answer: make(chan struct{})}
	h := newHarness(t, func(o *Options) { o.Archive, o.Limits.Exports = a, limit })
	var running sync.WaitGroup
	start := func(form exportForm) {
		t.Helper()
		ended := make(chan struct{})
		running.Go(func() {
			defer close(ended)
			scenario{method: "GET", url: eventsPath, key: keyFull, status: 200, header: asked(form)}.on(t, h)
		})
		select {
		case <-a.begun:
		case <-ended:
			t.Fatalf("a request for %q ended before it looked", form)
		}
	}
	for range limit {
		start(formCSV)
	}
	for _, path := range []string{eventsPath, deadLettersPath, accountsPath + "/" + accAcme + "/audit"} {
		scenario{
			method: "GET", url: path, key: keyFull, status: 429, header: asked(formNDJSON), headers: map[string]string{"Retry-After": "10"},
			has: []string{"2 exports already, which is the limit: ask again later, ask another node, or read the list page by page"},
		}.on(t, h)
	}
	start(formPage)
	for range limit + 1 {
		a.answer <- struct{}{}
	}
	running.Wait()
	start(formNDJSON)
	a.answer <- struct{}{}
	running.Wait()
	if h := newHarness(t); h.o.Limits.Exports != DefaultExports {
		t.Errorf("the default is %d", h.o.Limits.Exports)
	}
}

func TestExportForm(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]exportForm{
		"": formPage, "*/*": formPage, "application/json": formPage, "text/csv": formCSV, "application/x-ndjson": formNDJSON, "text/csv, */*;q=0.8": formCSV,
		"text/csv;q=0.5, application/x-ndjson": formNDJSON, "application/json, text/csv": formPage, "application/json;q=0.2, text/csv;q=0.3": formCSV,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": formPage, "text/csv;q=0": formPage, "text/csv;q=x": formPage, ";;": formPage, "text/*": formPage,
	} {
		r := &request{http: &http.Request{Header: http.Header{"Accept": {accept}}}}
		if got := r.exportForm(); got != want {
			t.Errorf("%q: %q, want %q", accept, got, want)
		}
	}
}

func TestUnarmed(t *testing.T) {
	t.Parallel()
	for cell, want := range map[string]string{
		"": "", " ": " ", "a=1": "a=1", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@a": "'@a", "\t=1": "'\t=1", "\rx": "'\rx", "\n=1": "'\n=1", "  =1": "'  =1",
		"＝1": "'＝1", "＋1": "'＋1", "－1": "'－1", "＠a": "'＠a", "'=1": "'=1", "é=1": "é=1", "\xff=1": "\xff=1",
	} {
		if got := unarmed(cell); got != want {
			t.Errorf("%q: %q, want %q", cell, got, want)
		}
	}
}

// The audit log goes out with a line for every member that was changed, whole
// though records come while it does, and cut at the limit.
func TestExport_audit(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) { o.Limits.ExportRows = 120 })
	path := accountsPath + "/" + accAcme + "/audit"
	body := scenario{method: "GET", url: path, key: keyFull, status: 200, header: asked(formCSV)}.on(t, h)
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil || len(rows) < 4 || rows[0][5] != "action" || rows[len(rows)-1][5] != "account.create" || rows[len(rows)-1][6] != accAcme {
		t.Fatalf("%v, %v", rows, err)
	}
	before := strings.Count(scenario{method: "GET", url: path, key: keyFull, status: 200, header: asked(formNDJSON)}.on(t, h), "\n")
	for i := range 120 - before {
		h.must(t, "POST", accountsPath+"/"+accAcme+"/keys", keyAdmin, fmt.Sprintf(`{"name":"k%d","scopes":["events:read"]}`, i), 201)
	}
	for over := range 2 {
		body = scenario{method: "GET", url: path, key: keyFull, status: 200, header: asked(formNDJSON)}.on(t, h)
		indices := map[uint64]bool{}
		for line := range strings.SplitSeq(strings.TrimSpace(body), "\n") {
			var a auditOut
			if err := json.Unmarshal([]byte(line), &a); err != nil {
				t.Fatal(err)
			}
			if a.Index != 0 {
				indices[a.Index] = true
			}
		}
		if cut := strings.Contains(body, `{"incomplete":{"reason":"an export has up to 120 rows"}}`); len(indices) != 120 || cut != (over > 0) {
			t.Errorf("%d records over the limit: %d rows, cut %v", over, len(indices), cut)
		}
		h.must(t, "POST", accountsPath+"/"+accAcme+"/keys", keyAdmin, `{"name":"one more","scopes":["events:read"]}`, 201)
	}
	scenario{method: "GET", url: path + "?size=7", key: keyFull, status: 400, header: asked(formCSV), offSpec: true}.on(t, h)
	scenario{method: "GET", url: path, key: keyManage, status: 403, header: asked(formCSV)}.on(t, h)
}
