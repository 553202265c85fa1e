package console

import (
	"net/http"
	"strings"
	"testing"

	"example.com/belfry/fsm/model"
)

// octets is an answer of bytes.
type octets string

// A backup is downloaded from the cluster's page; without a quorum it is of
// what the node has, and for who may not there is neither button nor file.
func TestBackup_download(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("GET /cluster/1/backup", octets("\x00bytes of a backup"))
	clusterOf(threeNodes()...)(api)
	c := newConsole(t, api)
	if body := get(t, c, "/cluster").Body.String(); !strings.Contains(body, Prefix+"/cluster/backup") || !strings.Contains(body, "Backup now") {
		t.Error("the page of the cluster has no button")
	}
	res := get(t, c, "/cluster/backup")
	if res.Code != http.StatusOK || res.Body.String() != "\x00bytes of a backup" || !strings.HasPrefix(res.Header().Get("Content-Type"), "application/octet-stream") ||
		res.Header().Get("Content-Disposition") != `attachment; filename="belfry-20261126T120000Z.backup"` {
		t.Errorf("%d %q %v", res.Code, res.Body, res.Header())
	}
	api.noQuorum = true
	if res := get(t, newConsole(t, api), "/cluster/backup"); res.Code != http.StatusOK {
		t.Errorf("without a quorum: %d", res.Code)
	}
	calls := api.seen("GET /cluster/1/backup")
	if len(calls) != 2 || calls[0].Query != "" || calls[1].Query != "consistency=stale" {
		t.Errorf("asked by %v", calls)
	}
	api.noQuorum = false
	api.set("GET /cluster/1/backup", model.Errorf(model.CodeLimit, "this node makes a backup already; one at a time"))
	if res := get(t, newConsole(t, api), "/cluster/backup"); res.Code != http.StatusTooManyRequests || !strings.Contains(res.Body.String(), "makes a backup already") {
		t.Errorf("a refusal is %d\n%s", res.Code, res.Body)
	}
	api.caller.Scopes = []model.Scope{model.ScopeEventsRead}
	if res := get(t, newConsole(t, api), "/cluster/backup"); res.Code != http.StatusForbidden {
		t.Errorf("without the scope: %d", res.Code)
	}
}
