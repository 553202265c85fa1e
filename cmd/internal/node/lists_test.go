package node

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/api"
	"example.com/belfry/api/console"
	"example.com/belfry/dispatch/index"
	"example.com/belfry/fsm"
	"example.com/belfry/fsm/model"
)

// counted is an API that notes how often it is asked and how much it answers.
type counted struct {
	http.Handler
	requests, bytes atomic.Int64
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.requests.Add(1)
	c.Handler.ServeHTTP(&countedWriter{w, c}, r)
}

type countedWriter struct {
	http.ResponseWriter
	c *counted
}

func (w *countedWriter) Write(b []byte) (int, error) {
	w.c.bytes.Add(int64(len(b)))
	return w.ResponseWriter.Write(b)
}

// quorum is the cluster of a node that is never asked for more than to read.
type quorum struct{ api.Cluster }

func (quorum) Linearize(context.Context) error { return nil }
func (quorum) StateAge() (time.Duration, bool) { return 0, true }
func (quorum) AppliedEverywhere(uint64) bool   { return true }
func (quorum) NodeID() string                  { return "n1" }

// crowdedPages are the console, the real API under it and the real state
// machine under that, with n subscriptions, n profiles, n authentication
// settings, and figures of all profiles. Profile p00000 has every other
// subscription, and setting a00000 every other profile.
type crowdedPages struct {
	pages  *console.Console
	api    *counted
	cookie *http.Cookie
}

func newCrowdedPages(tb testing.TB, n int) *crowdedPages {
	tb.Helper()
	table := index.New()
	store, err := fsm.Open(fsm.Options{Path: filepath.Join(tb.TempDir(), "config.db"), NoSync: true, Observers: []fsm.Observer{table}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = store.Close() }) // it is thrown away
	crowd(tb, store, n)
	watch, records, states := crowdedFigures(tb, n)
	watch.index, watch.config = table, store
	srv, err := api.New(api.Options{
		Reader: store, Writer: struct{ api.ConfigWriter }{}, Cluster: quorum{}, Events: &events{local: records.local, peers: records.peers}, Archive: records, Watcher: watch, Destinations: states, TokenKey: []byte(strings.Repeat("k", 32)),
	})
	if err != nil {
		tb.Fatal(err)
	}
	c := &crowdedPages{api: &counted{Handler: srv}}
	if c.pages, err = console.New(console.Options{API: c.api, Version: "test"}); err != nil {
		tb.Fatal(err)
	}
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, console.Prefix+"/sign-in", strings.NewReader(url.Values{"way": {"key"}, "key": {testKey}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	c.pages.ServeHTTP(w, r)
	for _, k := range w.Result().Cookies() {
		if k.Value != "" && k.HttpOnly {
			c.cookie = k
		}
	}
	if c.cookie == nil {
		tb.Fatalf("the sign-in answered %d\n%s", w.Code, w.Body)
	}
	return c
}

// crowd fills a store, a thousand commands a batch.
func crowd(tb testing.TB, store *fsm.Store, n int) {
	tb.Helper()
	id, hash := api.HashKey(testKey)
	head, account := fsm.Header{At: time.Unix(1_800_000_000, 0).UTC(), By: model.Actor{Name: "system"}}, model.DefaultAccount
	commands := []fsm.Command{fsm.Bootstrap{Header: head, Account: model.Account{ID: account, DataKey: model.Sealed("wrapped")}, Key: model.Key{Account: account, ID: id, Hash: hash, Scopes: model.AllScopes()}}}
	channels := []string{"SMS", "EMAIL", "RCS", "WHATSAPP", "VIBER"}
	for i := range n {
		auth, profile := fmt.Sprintf("a%05d", i), model.Profile{Account: account, ID: fmt.Sprintf("p%05d", i), URL: fmt.Sprintf("https://hooks%d.example.com/in", i%97)}
		if i%2 == 0 {
			profile.SecurityID = "a00000"
		}
		sub := model.Subscription{
			Account: account, Channel: channels[i%len(channels)], ID: fmt.Sprintf("s%05d", i), Name: "Orders of shop " + fmt.Sprint(i%1000), Events: []model.EventRef{{Event: "DELIVERY"}},
			Criteria: []model.Criterion{{ApplicationID: "shop", EntityID: fmt.Sprint(i % 10)}}, Resources: []string{"ShopSender"}, ProfileID: profile.ID,
		}
		if i%2 == 0 {
			sub.ProfileID = "p00000"
		}
		setting := model.Security{Account: account, ID: auth, Type: model.CredentialsBasic, Username: "u", Secrets: map[model.SecretField]model.Sealed{model.FieldPassword: model.Sealed("sealed")}}
		commands = append(commands, fsm.CreateSecurity{Header: head, Security: setting}, fsm.CreateProfile{Header: head, NewProfile: fsm.NewProfile{Profile: profile}}, fsm.CreateSubscription{Header: head, Subscription: sub})
	}
	for len(commands) > 0 {
		batch := commands[:min(1000, len(commands))]
		commands = commands[len(batch):]
		logs := make([]*raft.Log, len(batch))
		for i, c := range batch {
			b, err := fsm.Encode(c)
			if err != nil {
				tb.Fatal(err)
			}
			logs[i] = &raft.Log{Index: store.AppliedIndex() + uint64(i) + 1, Type: raft.LogCommand, Data: b}
		}
		for _, a := range store.ApplyBatch(logs) {
			if err, failed := a.(error); failed {
				tb.Fatal(err)
			}
		}
	}
}

// get asks for a page of the console.
func (c *crowdedPages) get(tb testing.TB, path string) string {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodGet, console.Prefix+path, http.NoBody)
	r.AddCookie(c.cookie)
	w := httptest.NewRecorder()
	c.pages.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		tb.Fatalf("%s: %d\n%s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// crowdedPaths are pages with something that is in them.
func crowdedPaths(n int) map[string]string {
	last := n - 1
	return map[string]string{
		"/":             "/profiles/p00000/health",
		"/destinations": ">p00000<",
		fmt.Sprintf("/destinations?sort=name&page=%d", n/50):             fmt.Sprintf(">p%05d<", last),
		fmt.Sprintf("/destinations?sort=latency&window=1h&q=%05d", last): fmt.Sprintf(">p%05d<", last),
		"/destinations?sort=backlog":                                     ">p00000<",
		"/profiles/p00000/health":                                        "takes requests",
		"/subscriptions":                                                 fmt.Sprintf(">s%05d<", last),
		fmt.Sprintf("/subscriptions?page=%d", n/50):                      ">s00000<",
		fmt.Sprintf("/subscriptions?q=S%05d", last):                      fmt.Sprintf(">s%05d<", last),
		"/subscriptions?q=orders":                                        fmt.Sprintf(">s%05d<", last),
		"/subscriptions?entityId=7&resource=ShopSender":                  ">s",
		"/subscriptions?event=DELIVERY&channel=SMS":                      ">s",
		"/subscriptions?profileId=p00000":                                fmt.Sprintf(">s%05d<", n-2),
		"/subscriptions/SMS/s00000":                                      ">s00000<",
		"/subscriptions/SMS/s00000/delete":                               ">s00000<",
		"/new-subscription?channel=SMS":                                  "INBOUND_MESSAGE",
		"/profiles":                                                      fmt.Sprintf(">p%05d<", last),
		"/profiles?q=hooks7.EXAMPLE":                                     fmt.Sprintf(">p%05d<", (last-7)/97*97+7),
		"/profiles?authId=a00000":                                        fmt.Sprintf(">p%05d<", n-2),
		"/profiles/p00000":                                               fmt.Sprintf(">s%05d<", n-2),
		"/profiles/p00000/delete":                                        "subscriptions go through this one",
		"/profiles/p00000/test":                                          "VIBER DELIVERY",
		"/authentication?q=basic":                                        fmt.Sprintf(">a%05d<", last),
		"/authentication/a00000":                                         fmt.Sprintf(">p%05d<", n-2),
		"/authentication/a00000/delete":                                  "authenticate their requests",
		"/hierarchy":                                                     fmt.Sprintf("Profile p%05d", last),
		fmt.Sprintf("/hierarchy?page=%d", n/40):                          "Profile p00000",
		"/hierarchy?q=a00000":                                            fmt.Sprintf("Profile p%05d", n-2),
		"/hierarchy?q=viber":                                             "Profile p00000",
	}
}

// What a page may take with 10,000 rows of each kind behind it: questions to
// the API, bytes of its answers, and pieces of memory. None of them depends on
// what else the machine does; decoding 10,000 rows once takes twice as many
// pieces. BenchmarkPages has the time.
const (
	pageRequests = 90
	pageBytes    = 96 << 10
	pageMallocs  = 100_000
)

// The console over the real API and the real state machine does not read lists
// to their end.
func TestNode_crowdedPages(t *testing.T) { //nolint:paralleltest // it counts what the process allocates
	n := 10_000
	if testing.Short() { // the race detector is slow at filling the store
		n = 1_000
	}
	c := newCrowdedPages(t, n)
	for path, has := range crowdedPaths(n) {
		c.get(t, path) // templates and caches are made
		c.api.requests.Store(0)
		c.api.bytes.Store(0)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		body := c.get(t, path)
		runtime.ReadMemStats(&after)
		mallocs, requests, size := after.Mallocs-before.Mallocs, c.api.requests.Load(), c.api.bytes.Load()
		t.Logf("%-50s %3d requests, %6d bytes, %6d mallocs", path, requests, size, mallocs)
		if !strings.Contains(body, has) {
			t.Errorf("%s lacks %q", path, has)
		}
		if requests > pageRequests || size > pageBytes || mallocs > pageMallocs {
			t.Errorf("%s: %d requests, %d bytes, %d mallocs; at most %d, %d, %d", path, requests, size, mallocs, pageRequests, pageBytes, pageMallocs)
		}
	}
}

// BenchmarkPages measures the pages of TestNode_crowdedPages.
func BenchmarkPages(b *testing.B) {
	const n = 10_000
	c := newCrowdedPages(b, n)
	for path := range crowdedPaths(n) {
		b.Run(strings.Trim(path, "/"), func(b *testing.B) {
			for b.Loop() {
				c.get(b, path)
			}
		})
	}
}
