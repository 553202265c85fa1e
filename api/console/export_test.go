package console

import (
	"net/http"
	"strings"
	"testing"

	"example.com/belfry/fsm/model"
)

// A list is written into a file with the filters of its page, and the browser
// gets it as the API sends it.
func TestExport_files(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, api, query, accept, name string }{
		{"/export/events?form=csv&channel=SMS&user=u&within=1h", "GET /events/1/events", "channel=SMS&from=2026-11-26T11%3A00%3A00Z&user=u", "text/csv", "belfry-events-20261126T120000Z.csv"},
		{"/export/events?form=ndjson", "GET /events/1/events", "", "application/x-ndjson", "belfry-events-20261126T120000Z.ndjson"},
		{"/export/dead-letters?form=csv&profileId=p&to=2026-11-26T10:00", "GET /events/1/dead-letters", "profileId=p&to=2026-11-26T10%3A00%3A00Z", "text/csv", "belfry-dead-letters-20261126T120000Z.csv"},
		{"/export/audit?form=else", "GET /accounts/1/accounts/acme/audit", "", "text/csv", "belfry-audit-20261126T120000Z.csv"},
		{"/export/audit?form=ndjson&account=other", "GET /accounts/1/accounts/other/audit", "", "application/x-ndjson", "belfry-audit-20261126T120000Z.ndjson"},
	} {
		api := newFakeAPI().set(tt.api, streamed{lines: "one\r\ntwo\r\n"})
		res := get(t, newConsole(t, api), tt.path)
		if res.Code != http.StatusOK || res.Body.String() != "one\r\ntwo\r\n" || res.Header().Get("Content-Disposition") != `attachment; filename="`+tt.name+`"` ||
			res.Header().Get("Content-Type") != tt.accept+"; charset=utf-8" {
			t.Errorf("%s: %d %v\n%s", tt.path, res.Code, res.Header(), res.Body)
		}
		calls := api.seen(tt.api)
		if len(calls) != 1 || calls[0].Query != tt.query || calls[0].Auth != "IBSSO "+testToken || calls[0].Accept != tt.accept {
			t.Errorf("%s asks for %v", tt.path, calls)
		}
	}
}

// What the API refuses becomes a page, and a filter that cannot be read leads
// back to where it was typed.
func TestExport_refused(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("GET /events/1/events", model.Errorf(model.CodeUnavailable, "no node answers"))
	c := newConsole(t, api)
	if res := get(t, c, "/export/events?form=csv"); res.Code != http.StatusServiceUnavailable || res.Header().Get("Content-Disposition") != "" || !strings.Contains(res.Body.String(), "No node answers") {
		t.Errorf("%d %v\n%s", res.Code, res.Header(), res.Body)
	}
	for path, want := range map[string]string{
		"/export/events?form=csv&from=soon&channel=SMS": Prefix + "/events?channel=SMS&form=csv&from=soon", "/export/dead-letters?form=csv&to=soon": Prefix + "/dead-letters?form=csv&to=soon",
	} {
		if res := get(t, c, path); res.Header().Get("Location") != want {
			t.Errorf("%s: %d %q", path, res.Code, res.Header().Get("Location"))
		}
	}
}

// A file that breaks off is not taken for a whole one: the connection ends.
func TestExport_breaksOff(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	broken := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/events/1/events" {
			api.ServeHTTP(w, r)
			return
		}
		_, _ = w.Write([]byte("one\r\n"))
		panic(http.ErrAbortHandler)
	})
	c := newConsole(t, broken)
	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // a panic value that net/http compares the same way
			t.Errorf("recovered %v", p)
		}
	}()
	get(t, c, "/export/events?form=csv")
	t.Error("it was taken for whole")
}
