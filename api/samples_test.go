package api

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// fakeEvents keeps events in memory, by account.
type fakeEvents struct {
	mu     sync.Mutex
	events map[string]*event.Event // account/id
	// fail, when set, is what Publish and Event answer.
	fail error
	// records are what Event shows in place of the bare event.
	records map[string]event.Record
}

func (f *fakeEvents) Publish(ctx context.Context, es []*event.Event) ([]event.Receipt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, bounded := ctx.Deadline(); !bounded {
		return nil, errors.New("a change without a limit of time")
	}
	if f.fail != nil {
		return nil, f.fail
	}
	out := make([]event.Receipt, len(es))
	for i, e := range es {
		f.events[path(e.Account, e.ID)] = e
		out[i] = event.Receipt{EventID: e.ID, Status: event.Accepted}
	}
	return out, nil
}

func (f *fakeEvents) Event(_ context.Context, account, id string) (event.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return event.Record{}, f.fail
	}
	if rec, ok := f.records[path(account, id)]; ok {
		return rec, nil
	}
	e, ok := f.events[path(account, id)]
	if !ok {
		return event.Record{}, model.Errorf(model.CodeNotFound, "there is no such event")
	}
	return event.Record{Event: *e}, nil
}

// sample is a request of a route that is taken when a caller of account acme
// with exactly the scope of the route makes it.
type sample struct {
	url, body, media string
	status           int
	// other is the status for the same scope in another account; 0: the
	// scope rules over all accounts.
	other int
	// token: the route wants a token, not a key.
	token bool
	// ownAuth: the route reads Authorization itself.
	ownAuth bool
}

// samples has one request for every route, by method and path.
func samples() map[string]sample {
	const acct, own = accountsPath + "/acme", accountsPath + "/{accountId}"
	keyID, _ := HashKey(keyNone)
	m := map[string]sample{
		"GET /openapi.yaml": {status: 200}, "GET /": {status: 200}, "GET /docs": {status: 200}, "GET /livez": {status: 200}, "GET /readyz": {status: 200}, "GET /metrics": {status: 200},

		"POST /auth/1/session":           {body: `{"username":"ana","password":"` + canary + `-password"}`, status: 200},
		"GET /auth/1/session":            {status: 200, token: true},
		"POST /auth/1/session/renewal":   {body: "{}", status: 200, token: true},
		"DELETE /auth/1/session":         {status: 204, token: true},
		"POST /auth/1/oauth2/token":      {body: "grant_type=client_credentials&client_id=" + keyID + "&client_secret=" + keyNone, media: typeForm, status: 200, ownAuth: true},
		"GET /accounts/1/accounts":       {status: 200},
		"POST /accounts/1/accounts":      {body: `{"accountId":"new"}`, status: 201},
		"GET " + own:                     {url: acct, status: 200, other: 404},
		"PUT " + own:                     {url: acct, body: `{"name":"Acme"}`, status: 200},
		"DELETE " + own:                  {url: accountsPath + "/spare", status: 204},
		"GET " + own + "/keys":           {url: acct + "/keys", status: 200, other: 404},
		"POST " + own + "/keys":          {url: acct + "/keys", body: `{"scopes":[]}`, status: 201, other: 404},
		"GET " + own + "/audit":          {url: acct + "/audit", status: 200, other: 404},
		"GET " + own + "/users":          {url: acct + "/users", status: 200, other: 404},
		"POST " + own + "/users":         {url: acct + "/users", body: `{"username":"new","password":"` + canary + `-password","scopes":[]}`, status: 201, other: 404},
		"GET /cluster/1/nodes":           {status: 200},
		"GET /cluster/1/partitions":      {status: 200},
		"GET /cluster/1/backup":          {status: 200},
		"GET /cluster/1/health":          {status: 200},
		"GET /cluster/1/digests":         {url: "/cluster/1/digests?group=events&nodeId=n2", status: 200},
		"POST /events/1/events":          {body: `{"eventId":"e2","channel":"SMS","event":"DELIVERY","payload":{"text":"` + canary + `"}}`, status: 202, other: 202},
		"GET /events/1/events/{eventId}": {url: eventsPath + "/e1", status: 200, other: 404},

		"GET /events/1/events":                            {url: eventsPath + "?channel=SMS&limit=1", status: 200, other: 200},
		"GET /events/1/dead-letters":                      {url: deadLettersPath + "?profileId=prof-1", status: 200, other: 200},
		"GET /events/1/dead-letters/{deliveryId}":         {url: deadLettersPath + "/d1", status: 200, other: 404},
		"POST /events/1/dead-letters/{deliveryId}/replay": {url: deadLettersPath + "/d1/replay", body: `{}`, status: 202, other: 404},
		"POST /events/1/replays":                          {body: `{"filter":{"profileId":"prof-1"},"rate":5,"all":false}`, status: 202, other: 202},
		"GET /events/1/replays":                           {status: 200, other: 200},
		"GET /events/1/replays/{replayId}":                {url: replaysPath + "/r1", status: 200, other: 404},
		"POST /events/1/replays/{replayId}/cancel":        {url: replaysPath + "/r1/cancel", body: `{}`, status: 200, other: 404},
		"GET /events/1/tail":                              {url: tailPath + "?kind=accepted", status: 200, other: 200},
		"POST /events/1/match":                            {body: `{"channel":"SMS","event":"DELIVERY","applicationId":"app"}`, status: 200, other: 200},
		"POST /events/1/profiles/{profileId}/test":        {url: "/events/1/profiles/prof-1/test", body: `{"channel":"SMS","event":"DELIVERY"}`, status: 200, other: 404},
		"GET /events/1/stats/series":                      {url: seriesPath + "?window=1m&profileId=p", status: 200, other: 200},
		"GET /events/1/destinations":                      {url: destinationsPath + "?profileId=p&profileId=q", status: 200, other: 200},
		"GET /events/1/stats":                             {url: statsPath + "?window=1m", status: 200, other: 200},

		"POST /cluster/1/leader/transfer":        {body: `{}`, status: 204},
		"POST /cluster/1/nodes/{nodeId}/drain":   {url: "/cluster/1/nodes/n2/drain", body: `{}`, status: 204},
		"DELETE /cluster/1/nodes/{nodeId}/drain": {url: "/cluster/1/nodes/n2/drain", status: 204},
		"DELETE /cluster/1/nodes/{nodeId}":       {url: "/cluster/1/nodes/n2", status: 204},
	}
	for what, id := range map[string]string{"/keys/{keyId}": "/keys/" + keyID, "/users/{username}": "/users/ana"} {
		m["GET "+own+what] = sample{url: acct + id, status: 200, other: 404}
		m["PUT "+own+what] = sample{url: acct + id, body: `{"disabled":true}`, status: 200, other: 404}
		m["DELETE "+own+what] = sample{url: acct + id, status: 204, other: 404}
	}
	for _, op := range contractOps() {
		s := sample{url: op.url, body: op.body, status: op.status, other: 404}
		if !strings.HasSuffix(op.path, "Id}") {
			switch op.method + " " + strings.TrimPrefix(op.path, contractPrefix) {
			case "POST /certificates/test/webhook":
			case "POST /subscription/{channel}", "POST /profiles":
				s.other = 400 // they name objects of acme
			case "POST /security", "POST /certificates":
				s.other = 201 // in the caller's account, whatever acme has
			default:
				s.other = 200 // an empty list
			}
		}
		m[op.method+" "+op.path] = s
	}
	for k, s := range m {
		if s.url == "" {
			_, s.url, _ = strings.Cut(k, " ")
		}
		m[k] = s
	}
	return m
}

// sampleHarness has everything that samples asks for.
func sampleHarness(t *testing.T) *harness {
	t.Helper()
	events := &fakeEvents{events: map[string]*event.Event{"acme/e1": {
		Account: accAcme, ID: "e1", Channel: "SMS", Name: "DELIVERY", Payload: []byte(`{"text":"of acme.example"}`), ReceivedAt: time.Unix(0, 0).UTC(), OccurredAt: time.Unix(0, 0).UTC(),
	}}}
	archive := newFakeArchive()
	archive.dead[accAcme] = []event.DeadLetter{sampleDead()}
	archive.jobs[accAcme] = []event.ReplayJob{{ID: "r1", Rate: 1, Filter: event.DeadFilter{ProfileID: "sub-1"}, State: event.ReplayRunning, CreatedBy: "user:ana"}}
	archive.page[accAcme] = event.Page{Records: []event.Record{{Event: *events.events["acme/e1"]}}}
	watcher := &fakeWatcher{result: event.TestReport{Attempt: event.Attempt{Attempt: 1, Outcome: "ok", NodeID: "n1"}, URL: "https://hooks.acme.example/in", Payload: []byte(`{}`)}}
	h := contractHarness(t, func(o *Options) {
		o.Events, o.Archive, o.Watcher, o.Fleet, o.Destinations = events, archive, watcher, &fakeFleet{}, &fakeDestinations{}
		o.Backup = fakeBackup{"a backup"}
	})
	ctx, by := t.Context(), model.Actor{Name: "system"}
	if _, err := h.config.CreateAccount(ctx, by, model.Account{ID: "spare"}); err != nil {
		t.Fatal(err)
	}
	u := model.User{Account: accAcme, Username: "ana", PasswordHash: sampleHash()}
	if _, err := h.config.CreateUser(ctx, by, u); err != nil {
		t.Fatal(err)
	}
	h.cluster.nodes = []NodeStatus{{NodeID: "n1", Role: "LEADER"}, {NodeID: "n2", Role: "FOLLOWER"}}
	return h
}

var sampleHash = sync.OnceValue(func() string { return HashPassword(canary + "-password") })

// send makes the sample's request with an Authorization header, "" for none.
func (h *harness) send(t *testing.T, r *route, s sample, authorization, remote string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), r.method, s.url, strings.NewReader(s.body))
	if remote != "" {
		req.RemoteAddr = remote
	}
	if s.body != "" {
		req.Header.Set("Content-Type", typeJSON)
	}
	if s.media != "" {
		req.Header.Set("Content-Type", s.media)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res := httptest.NewRecorder()
	h.ServeHTTP(res, req)
	checkAgainstDocument(t, req, []byte(s.body), res, false)
	return res
}

// Every route has a sample, and every sample a route.
func TestSamples_areComplete(t *testing.T) {
	t.Parallel()
	all := samples()
	for _, r := range newHarness(t).table {
		k := r.method + " " + r.path
		if _, ok := all[k]; !ok {
			t.Errorf("%s has no sample, so that no credentials are tried on it", k)
		}
		delete(all, k)
	}
	for k := range all {
		t.Errorf("%s is a sample of no route", k)
	}
}
