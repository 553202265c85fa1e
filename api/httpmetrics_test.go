package api

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/belfry/fsm/model"
)

// scrape reads the series of the HTTP layer from the page: name and labels.
func (h *harness) scrape(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(h.must(t, "GET", "/metrics", "", "", 200)) {
		if series, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(series, "belfry_http_") {
			out[series] = value
		}
	}
	return out
}

// Every series is there before the first request, and no request makes one.
func TestMetrics_closedLabels(t *testing.T) {
	t.Parallel()
	h, _ := eventsHarness(t)
	before := h.scrape(t)
	for _, r := range h.table {
		for _, class := range []string{"2xx", "4xx", "5xx"} {
			if s := fmt.Sprintf(`belfry_http_requests_total{class=%q,method=%q,route=%q}`, class, r.method, r.path); before[s] != "0" {
				t.Errorf("%s is %q before the first request", s, before[s])
			}
		}
		if s := fmt.Sprintf(`belfry_http_request_duration_seconds_count{route=%q}`, r.path); before[s] != "0" {
			t.Errorf("%s is %q before the first request", s, before[s])
		}
	}
	h.publish(t, typeJSON, least, 202)
	h.publish(t, typeJSON, "x", 400)
	h.must(t, "GET", "/subscriptions/v1/profiles", keyManage, "", 200)
	h.must(t, "GET", "/nowhere/"+canary, keyManage, "", 404)
	h.must(t, "PATCH", eventsPath, keyManage, "", 405)
	for range 2 {
		h.do(t, scenario{method: "BREW", url: "/" + canary})
	}
	h.config.fail = model.Errorf(model.CodeUnavailable, "there is no leader right now")
	h.must(t, "DELETE", profiles+"/"+canary, keyManage, "", 503)
	after := h.scrape(t)
	for series, want := range map[string]string{
		`belfry_http_requests_total{class="2xx",method="POST",route="/events/1/events"}`:                        "1",
		`belfry_http_requests_total{class="4xx",method="POST",route="/events/1/events"}`:                        "1",
		`belfry_http_request_duration_seconds_count{route="/events/1/events"}`:                                  "2",
		`belfry_http_requests_total{class="2xx",method="GET",route="/subscriptions/1/profiles"}`:                "1",
		`belfry_http_requests_total{class="5xx",method="DELETE",route="/subscriptions/1/profiles/{profileId}"}`: "1",
		`belfry_http_requests_total{class="4xx",method="GET",route="none"}`:                                     "1",
		`belfry_http_requests_total{class="4xx",method="PATCH",route="none"}`:                                   "1",
		`belfry_http_requests_total{class="4xx",method="other",route="none"}`:                                   "2",
		`belfry_http_requests_total{class="2xx",method="GET",route="/metrics"}`:                                 "1",
	} {
		if after[series] != want {
			t.Errorf("%s is %q, want %s", series, after[series], want)
		}
	}
	for series := range after {
		if _, known := before[series]; !known {
			t.Errorf("a request made the series %s", series)
		}
		if strings.Contains(series, canary) || strings.Contains(series, accAcme) {
			t.Errorf("a label holds a value of a request: %s", series)
		}
	}
}

// slowCollector gives its metrics when its gate is open.
type slowCollector chan struct{}

func (slowCollector) Describe(chan<- *prometheus.Desc)   {}
func (c slowCollector) Collect(chan<- prometheus.Metric) { <-c }

// A node without a registry answers, and so does one that is asked too often
// at once.
func TestMetrics_page(t *testing.T) {
	t.Parallel()
	newHarness(t, func(o *Options) { o.Gatherer, o.Registerer = nil, nil }).must(t, "GET", "/metrics", "", "", 503)
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		h := newHarness(t)
		h.reg.MustRegister(slowCollector(gate))
		var wg sync.WaitGroup
		for range maxScrapes {
			wg.Go(func() {
				if res := h.do(t, scenario{method: "GET", url: "/metrics"}); res.Code != 200 || !strings.HasPrefix(res.Header().Get("Content-Type"), "text/plain") {
					t.Errorf("within the limit: %d %v", res.Code, res.Header())
				}
			})
		}
		synctest.Wait()
		h.must(t, "GET", "/metrics", "", "", 503)
		close(gate)
		wg.Wait()
		h.must(t, "GET", "/metrics", "", "", 200)
	})
}

// logged are the levels of the access log lines since the last call.
func logged(b *bytes.Buffer) []string {
	defer b.Reset()
	var out []string
	for _, m := range regexp.MustCompile(`\[(\w+)\] *api: request: method=(\w+) path=(\S+) status=(\d+)`).FindAllStringSubmatch(b.String(), -1) {
		out = append(out, strings.Join(m[1:], " "))
	}
	return out
}

// The access log has every request at info, but probes and events that were
// taken.
func TestAccessLog_levels(t *testing.T) {
	t.Parallel()
	for level, want := range map[hclog.Level][]string{
		hclog.Debug: {
			"DEBUG POST /events/1/events 202", "INFO POST /events/1/events 400", "INFO POST /events/1/events 401", "INFO POST /events/1/events 503", "INFO GET /events/1/events/none 404",
			"DEBUG GET /livez 200", "DEBUG GET /metrics 200", "INFO GET /subscriptions/1/profiles 200", "INFO GET /nowhere 404",
		},
		hclog.Info: {
			"INFO POST /events/1/events 400", "INFO POST /events/1/events 401", "INFO POST /events/1/events 503", "INFO GET /events/1/events/none 404",
			"INFO GET /subscriptions/1/profiles 200", "INFO GET /nowhere 404",
		},
		hclog.Warn: nil,
	} {
		var log bytes.Buffer
		h, plane := eventsHarness(t, func(o *Options) { o.Logger = hclog.New(&hclog.LoggerOptions{Output: &log, Level: level}) })
		h.publish(t, typeJSON, least, 202)
		h.publish(t, typeJSON, "x", 400)
		h.must(t, "POST", eventsPath, "", least, 401)
		plane.fail = model.Errorf(model.CodeUnavailable, "there is no leader right now")
		h.publish(t, typeJSON, least, 503)
		plane.fail = nil
		h.must(t, "GET", eventsPath+"/none", keyFull, "", 404)
		for _, url := range []string{"/livez", "/metrics", profiles + "?size=7", "/nowhere"} {
			h.do(t, scenario{method: "GET", url: url, key: keyManage})
		}
		if strings.Contains(log.String(), "size=7") {
			t.Error("the log holds a query string")
		}
		if got := logged(&log); !slices.Equal(got, want) {
			t.Errorf("at %s:\n%s\nwant\n%s", level, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
