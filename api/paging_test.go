package api

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/fsm/model"
)

// results reads the ids of a page under the member id.
func results(t *testing.T, body, id string) ([]string, paging) {
	t.Helper()
	var p struct {
		Results []map[string]any `json:"results"`
		Paging  paging           `json:"paging"`
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil || p.Results == nil {
		t.Fatalf("not a page: %v\n%s", err, body)
	}
	ids := make([]string, len(p.Results))
	for i, r := range p.Results {
		ids[i], _ = r[id].(string)
	}
	return ids, p.Paging
}

// The six lists share the limits of page and size.
func TestLists_pageLimits(t *testing.T) {
	t.Parallel()
	h := contractHarness(t)
	lists := []string{allSubs, subsSMS, profiles, security, certs, certs + "/status"}
	for _, l := range lists {
		for query, field := range map[string]string{
			"size=0": "size", "size=101": "size", "size=-1": "size", "size=ten": "size", "size=": "size", "size=1.0": "size", "size=9223372036854775808": "size",
			"size=1&size=2": "size", "page=-1": "page", "page=x": "page", "page=": "page", "page=2147483648": "page", "page=0&page=0": "page",
		} {
			e := readContractError(t, h.must(t, "GET", l+"?"+query, keyRead, "", 400))
			if len(e.Errors) != 1 || len(e.Errors[field]) != 1 {
				t.Errorf("%s?%s names %v, want %s", l, query, e.Errors, field)
			}
		}
		for query, want := range map[string]paging{
			"":                          {Page: 0, Size: 20},
			"?size=1":                   {Page: 0, Size: 1},
			"?size=100":                 {Page: 0, Size: 100},
			"?page=0&size=20":           {Page: 0, Size: 20},
			"?page=2147483647&size=100": {Page: 2147483647, Size: 100},
		} {
			_, got := results(t, h.must(t, "GET", l+query, keyRead, "", 200), "")
			got.TotalPages, got.TotalResults = 0, 0
			if got != want {
				t.Errorf("%s%s: paging %+v, want %+v", l, query, got, want)
			}
		}
		if body := h.must(t, "GET", l, keyOther, "", 200); body != `{"results":[],"paging":{"page":0,"size":20,"totalPages":0,"totalResults":0}}` {
			t.Errorf("%s of an account that owns nothing: %s", l, body)
		}
		h.advance(time.Minute) // the certificate rate
	}
}

func TestLists_newestFirstAndPaged(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for i := range 5 {
		h.must(t, "POST", profiles, keyManage, jsonf(`{"profileId":"p%d",%s}`, i, hook), 201)
	}
	for page, want := range [][]string{{"p4", "p3"}, {"p2", "p1"}, {"p0"}, {}} {
		ids, got := results(t, h.must(t, "GET", fmt.Sprintf("%s?size=2&page=%d", profiles, page), keyManage, "", 200), "profileId")
		if !slices.Equal(ids, want) || got != (paging{Page: page, Size: 2, TotalPages: 3, TotalResults: 5}) {
			t.Errorf("page %d: %v %+v, want %v", page, ids, got, want)
		}
	}
}

// Filters are ANDed, repeats of one name included: a subscription must name
// every value.
func TestListSubscriptions_filters(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.must(t, "POST", profiles, keyManage, `{"profileId":"p",`+hook+`}`, 201)
	for id, members := range map[string]string{
		"a":    `"criteria":[{"applicationId":"app1","entityId":"e1"}],"resources":["r1"]`,
		"ab":   `"criteria":[{"applicationId":"app1"},{"applicationId":"app 2/ü"}],"resources":["r1","r2"],"users":["u1"]`,
		"call": `"criteria":[{"callsConfigurationId":"cc"}]`,
		"all":  `"users":["u1","u2"]`,
	} {
		h.must(t, "POST", subsSMS, keyManage, jsonf(`{"subscriptionId":%q,"events":[],"profile":{"profileId":"p"},%s}`, id, members), 201)
	}
	h.must(t, "POST", contractPrefix+"/subscription/MMS", keyManage, `{"subscriptionId":"mms","events":[],"profile":{"profileId":"p"}}`, 201)
	for query, want := range map[string][]string{
		"": {"a", "ab", "all", "call"}, "applicationId=app1": {"a", "ab"}, "applicationId=app1&applicationId=app+2%2F%C3%BC": {"ab"}, "applicationId=app1&entityId=e1": {"a"},
		"resource=r1": {"a", "ab"}, "resource=r1&resource=r2": {"ab"}, "user=u1": {"ab", "all"}, "user=u1&user=u2": {"all"}, "callsConfigurationId=cc": {"call"},
		"applicationId=APP1": {}, "applicationId=app1&user=u2": {}, "unknown=x&user=u2": {"all"},
	} {
		ids, got := results(t, h.must(t, "GET", subsSMS+"?"+query, keyRead, "", 200), "subscriptionId")
		slices.Sort(ids)
		if !slices.Equal(ids, want) || got.TotalResults != len(want) {
			t.Errorf("%s: %v, want %v", query, ids, want)
		}
	}
}

func TestListSubscriptions_filterLimits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for name, limit := range map[string]int{"applicationId": 255, "entityId": 255, "callsConfigurationId": 128, "resource": 255, "user": 255} {
		h.must(t, "GET", subsSMS+"?"+name+"="+strings.Repeat("x", limit), keyRead, "", 200)
		h.must(t, "GET", subsSMS+"?"+name+"="+url.QueryEscape(strings.Repeat("ü", limit)), keyRead, "", 200)
		h.must(t, "GET", subsSMS+"?"+strings.TrimSuffix(strings.Repeat(name+"=x&", 255), "&"), keyRead, "", 200)
		for _, query := range []string{
			name + "=" + strings.Repeat("x", limit+1), name + "=", name + "=ok&" + name + "=", name + "=%00", name + "=%ff", strings.Repeat(name+"=x&", 256),
		} {
			e := readContractError(t, h.must(t, "GET", subsSMS+"?"+query, keyRead, "", 400))
			if len(e.Errors[name]) != 1 {
				t.Errorf("%.40s names %v", query, e.Errors)
			}
		}
	}
	h.must(t, "GET", subsSMS+"?applicationId=%zz", keyRead, "", 400)
}

func TestListCertificates_searchAndSort(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) { o.Limits.CertificateRequests = 1000 })
	for _, id := range []string{"b-web", "a-web", "c-app"} {
		c := model.Certificate{Account: accAcme, ID: id, ValidUntil: h.o.Now().Add(time.Hour)}
		if id == "a-web" {
			c.ValidUntil = c.ValidUntil.Add(time.Hour)
		}
		if _, err := h.config.CreateCertificate(t.Context(), model.Actor{}, c, model.NewSecret("k")); err != nil {
			t.Fatal(err)
		}
	}
	soon := h.o.Now().Add(90 * time.Minute).UTC().Format(time.RFC3339)
	for _, l := range []string{certs, certs + "/status"} {
		for query, want := range map[string][]string{
			"":                                     {"c-app", "a-web", "b-web"},
			"?search=web":                          {"a-web", "b-web"},
			"?search=":                             {"c-app", "a-web", "b-web"},
			"?search=WEB":                          {"a-web", "b-web"},
			"?sortBy=CERTIFICATE_ID":               {"a-web", "b-web", "c-app"},
			"?sortBy=CERTIFICATE_ID&direction=ASC": {"a-web", "b-web", "c-app"},
			"?direction=DESC&search=web":           {"b-web", "a-web"},
			"?direction=DESC&size=1&page=1":        {"b-web"},
			"?search=" + strings.Repeat("x", 255):  {},
			"?expiresBefore=" + soon:               {"c-app", "b-web"},
			"?search=web&expiresBefore=" + soon:    {"b-web"},
			"?expiresBefore=2026-01-31T12:00:00Z":  {},
		} {
			ids, _ := results(t, h.must(t, "GET", l+query, keyRead, "", 200), "certificateId")
			if d := cmp.Diff(want, ids); d != "" {
				t.Errorf("%s%s (-want +got):\n%s", l, query, d)
			}
		}
		for query, field := range map[string]string{
			"sortBy=NAME": "sortBy", "sortBy=certificate_id": "sortBy", "sortBy=": "sortBy", "sortBy=CERTIFICATE_ID&sortBy=CERTIFICATE_ID": "sortBy",
			"direction=desc": "direction", "direction=": "direction", "direction=ASC&direction=DESC": "direction",
			"expiresBefore=": "expiresBefore", "expiresBefore=tomorrow": "expiresBefore", "expiresBefore=2026-01-31": "expiresBefore", "expiresBefore=1750000000000": "expiresBefore",
			"search=a&search=b": "search", "search=%0A": "search", "search=" + strings.Repeat("x", 256): "search",
		} {
			e := readContractError(t, h.must(t, "GET", l+"?"+query, keyRead, "", 400))
			if len(e.Errors[field]) != 1 {
				t.Errorf("%s?%.40s names %v", l, query, e.Errors)
			}
		}
	}
}
