package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
)

// The profiles of the figures can be chosen, put in order and read page by
// page; the counts say how many there are.
func TestStats_choice(t *testing.T) {
	t.Parallel()
	h, _, watcher := watchHarness(t)
	row := func(id string, failed, backlog int, delivered int64, p99 float64) event.ProfileStats {
		p := event.ProfileStats{ProfileID: id, Attempts: delivered + int64(failed), Outcomes: map[string]int64{"ok": delivered}, Delivered: delivered, Backlog: backlog}
		if p99 > 0 {
			p.LatencyMs = &event.Quantile{P99: p99}
		}
		return p
	}
	watcher.stats = event.Stats{Total: event.ProfileStats{Attempts: 99}, Profiles: []event.ProfileStats{row("", 0, 0, 0, 0), row("Ab", 2, 1, 3, 2), row("b", 1, 3, 1, 0), row("cb", 2, 2, 2, 9)}}
	for query, want := range map[string]string{
		"":                            " Ab b cb/4/4",
		"?sort=name":                  " Ab b cb/4/4",
		"?sort=failing":               "cb Ab b /4/4",
		"?sort=backlog":               "b cb Ab /4/4",
		"?sort=delivered":             "Ab cb b /4/4",
		"?sort=latency":               "cb Ab  b/4/4",
		"?search=":                    " Ab b cb/4/4",
		"?search=B&sort=failing":      "cb Ab b/3/4",
		"?search=aB":                  "Ab/1/4",
		"?profileId=b":                "b/1/4",
		"?profileId=B":                "/0/4",
		"?profileId=cb&search=a":      "/0/4",
		"?sort=failing&size=1":        "cb/4/4",
		"?size=3":                     " Ab b/4/4",
		"?size=3&page=1":              "cb/4/4",
		"?size=4&page=0":              " Ab b cb/4/4",
		"?size=4&page=1":              "/4/4",
		"?size=100&page=2147483647":   "/4/4",
		"?search=b&size=2&page=1":     "cb/3/4",
		"?window=1m&size=2&sort=name": " Ab/4/4",
	} {
		var got statsWire
		if err := json.Unmarshal([]byte(h.must(t, "GET", statsPath+query, keyFull, "", 200)), &got); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, p := range got.Profiles {
			ids = append(ids, p.ProfileID)
		}
		if s := fmt.Sprintf("%s/%d/%d", strings.Join(ids, " "), got.ProfilesFound, got.ProfilesTotal); s != want || got.Total.Attempts != 99 {
			t.Errorf("%q: %q, want %q; the total has %d attempts", query, s, want, got.Total.Attempts)
		}
	}
	if len(watcher.stats.Profiles) != 4 || watcher.stats.Profiles[3].ProfileID != "cb" {
		t.Errorf("what the watcher gave was changed: %v", watcher.stats.Profiles)
	}
	for query, field := range map[string]string{
		"sort=worst": "/sort", "sort=": "/sort", "size=0": "/size", "size=101": "/size", "size=x": "/size", "page=-1&size=1": "/page", "page=0": "/page",
		"profileId=": "/profileId", "profileId=a%20b": "/profileId", "search=" + strings.Repeat("x", MaxSearchText+1): "/search", "search=a&search=b": "/search",
	} {
		_, at := refusal(t, h.must(t, "GET", statsPath+"?"+query, keyFull, "", 400))
		if at[field] == "" || len(at) != 1 {
			t.Errorf("%s: %v", query, cmp.Diff(map[string]string{}, at))
		}
	}
}
