package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

const (
	allSubs  = contractPrefix + "/subscription"
	subsSMS  = contractPrefix + "/subscription/SMS"
	profiles = contractPrefix + "/profiles"
	security = contractPrefix + "/security"
	certs    = contractPrefix + "/certificates"
	hook     = `"webhook":{"notifyUrl":"https://hooks.acme.example/in"}`
	canary   = "canary-8d1f0c" // part of every secret that tests send
)

// contractHarness is a harness whose account acme has one of everything:
// subscription sub-1 → profile prof-1 → setting sec-1 and certificate cert-1,
// and prof-free, sec-free and cert-free that nothing uses.
func contractHarness(t *testing.T, change ...func(*Options)) *harness {
	t.Helper()
	h := newHarness(t, append([]func(*Options){func(o *Options) { o.Tester = &fakeTester{result: ConnectionTest{Success: true}} }}, change...)...)
	for _, id := range []string{"cert-1", "cert-free"} {
		c := model.Certificate{
			Account: accAcme, ID: id, ChainPEM: []byte("chain"), IssuedBy: "CN=ca.acme.example", IssuedTo: "CN=" + id + ".acme.example",
			ValidFrom: h.o.Now().Add(-time.Hour), ValidUntil: h.o.Now().Add(time.Hour), SerialNumber: "4711",
		}
		if _, err := h.config.CreateCertificate(t.Context(), model.Actor{Name: "system"}, c, model.NewSecret(canary)); err != nil {
			t.Fatal(err)
		}
	}
	hmac := `"type":"HMAC","credentials":{"secretKey":"` + canary + `","algorithm":"HMAC_SHA_256"}`
	h.must(t, "POST", subsSMS, keyManage, `{"subscriptionId":"sub-1","name":"One","events":["DELIVERY"],"profile":{"profileId":"prof-1",`+hook+
		`,"clientCertificateId":"cert-1","security":{"authId":"sec-1",`+hmac+`}}}`, 201)
	h.must(t, "POST", profiles, keyManage, `{"profileId":"prof-free",`+hook+`}`, 201)
	h.must(t, "POST", security, keyManage, `{"authId":"sec-free",`+hmac+`}`, 201)
	return h
}

// contractOp is one of the 22 operations, or of ours beside them, with a request of each kind.
type contractOp struct {
	method, path string // as in the table
	url, body    string // taken
	status       int
	answer       string // exact, when not empty
	badURL, bad  string // refused with 400, naming field
	field        string
	missing      string // URL or body of an object that is not there; "": none can be
	ours         bool   // an addition to the contract, on its paths
}

func contractOps() []contractOp {
	const chain = contractPrefix + "/subscription/{channel}"
	ids := `{"subscriptionId":"sub-1","profile":{"profileId":"prof-1","security":{"authId":"sec-1"}}}`
	put := `{"events":["DELIVERY"],"profile":{"profileId":"prof-1"}}`
	return []contractOp{
		{method: "GET", path: allSubs, url: allSubs, status: 200, badURL: allSubs + "?event=NONE", field: "event", ours: true},
		{method: "GET", path: chain, url: subsSMS, status: 200, badURL: subsSMS + "?size=0", field: "size"},
		{
			method: "POST", path: chain, url: subsSMS, body: `{"subscriptionId":"new","events":[],"profile":{"profileId":"prof-1"}}`, status: 201,
			answer: `{"subscriptionId":"new","profile":{"profileId":"prof-1","security":{"authId":"sec-1"}}}`,
			bad:    `{"subscriptionId":"new","profile":{"profileId":"prof-1"}}`, field: "events",
		},
		{
			method: "GET", path: chain + "/{subscriptionId}", url: subsSMS + "/sub-1", status: 200,
			answer: `{"subscriptionId":"sub-1","name":"One","profile":{"profileId":"prof-1","security":{"authId":"sec-1"}},"events":["DELIVERY"],"criteria":[],"resources":[],"users":[]}`,
			badURL: contractPrefix + "/subscription/PIGEON/sub-1", field: "channel", missing: subsSMS + "/none",
		},
		{
			method: "PUT", path: chain + "/{subscriptionId}", url: subsSMS + "/sub-1", body: put, status: 200, answer: ids,
			bad: `{"events":[],"profile":{}}`, field: "profile.profileId", missing: subsSMS + "/none",
		},
		{
			method: "DELETE", path: chain + "/{subscriptionId}", url: subsSMS + "/sub-1", status: 200, answer: ids,
			badURL: contractPrefix + "/subscription/sms/sub-1", field: "channel", missing: subsSMS + "/none",
		},
		{method: "GET", path: profiles, url: profiles, status: 200, badURL: profiles + "?page=-1", field: "page"},
		{
			method: "POST", path: profiles, url: profiles, body: `{"profileId":"new",` + hook + `,"security":{"authId":"sec-1"}}`, status: 201,
			answer: `{"profileId":"new","security":{"authId":"sec-1"}}`, bad: `{"profileId":"new"}`, field: "webhook.notifyUrl",
		},
		{
			method: "GET", path: profiles + "/{profileId}", url: profiles + "/prof-1", status: 200,
			badURL: profiles + "/prof-1?consistency=maybe", field: "consistency", missing: profiles + "/none",
		},
		{
			method: "PUT", path: profiles + "/{profileId}", url: profiles + "/prof-1", body: `{"windowSize":50}`, status: 200,
			answer: `{"profileId":"prof-1","security":{"authId":"sec-1"}}`, bad: `{"windowSize":19}`, field: "windowSize", missing: profiles + "/none",
		},
		{
			method: "DELETE", path: profiles + "/{profileId}", url: profiles + "/prof-free", status: 200, answer: `{"profileId":"prof-free"}`,
			badURL: profiles + "/prof-1", missing: profiles + "/none", // in use: no field
		},
		{method: "GET", path: security, url: security, status: 200, badURL: security + "?size=101", field: "size"},
		{
			method: "POST", path: security, url: security, body: `{"authId":"new","type":"BASIC","credentials":{"username":"u","password":"p"}}`, status: 201,
			answer: `{"authId":"new"}`, bad: `{"authId":"new","type":"BASIC","credentials":{"username":"u"}}`, field: "credentials.password",
		},
		{
			method: "GET", path: security + "/{authId}", url: security + "/sec-1", status: 200,
			answer: `{"authId":"sec-1","type":"HMAC","credentials":{"secretKey":"********","algorithm":"HMAC_SHA_256"}}`,
			badURL: security + "/sec-1?reveal=yes", field: "reveal", missing: security + "/none",
		},
		{
			method: "PUT", path: security + "/{authId}", url: security + "/sec-1", body: `{"credentials":{"algorithm":"HMAC_SHA_512"}}`, status: 200,
			answer: `{"authId":"sec-1"}`, bad: `{"credentials":{"algorithm":"ROT13"}}`, field: "credentials.algorithm", missing: security + "/none",
		},
		{
			method: "DELETE", path: security + "/{authId}", url: security + "/sec-free", status: 200, answer: `{"authId":"sec-free"}`,
			badURL: security + "/sec-1", missing: security + "/none",
		},
		{method: "GET", path: certs, url: certs, status: 200, badURL: certs + "?sortBy=NAME", field: "sortBy"},
		{
			method: "POST", path: certs, url: certs, body: uploadBody("new", testPEM(), ""), status: 201, answer: `{"certificateId":"new","status":"READY"}`,
			bad: `{"certificateId":"new","certificateContent":"%"}`, field: "certificateContent",
		},
		{
			method: "GET", path: certs + "/{certificateId}", url: certs + "/cert-1", status: 200,
			answer: `{"certificateId":"cert-1","issuedBy":"CN=ca.acme.example","issuedTo":"CN=cert-1.acme.example","validFrom":1795424400000,"validUntil":1795431600000,"certificateStatus":"READY","serialNumber":"4711"}`,
			badURL: certs + "/cert-1?consistency=", field: "consistency", missing: certs + "/none",
		},
		{
			method: "DELETE", path: certs + "/{certificateId}", url: certs + "/cert-free", status: 200, answer: `{"certificateId":"cert-free"}`,
			badURL: certs + "/cert-1", missing: certs + "/none",
		},
		{method: "GET", path: certs + "/status", url: certs + "/status", status: 200, badURL: certs + "/status?direction=UP", field: "direction"},
		{
			method: "GET", path: certs + "/status/{certificateId}", url: certs + "/status/cert-1", status: 200, answer: `{"certificateId":"cert-1","status":"READY"}`,
			badURL: certs + "/status/cert-1?consistency=x", field: "consistency", missing: certs + "/status/none",
		},
		{
			method: "POST", path: certs + "/test/webhook", url: certs + "/test/webhook", body: `{"certificateId":"cert-1","webhookUrl":"https://hooks.acme.example/"}`, status: 200,
			answer: `{"certificateId":"cert-1","webhookUrl":"https://hooks.acme.example/","result":"SUCCESS","failReasons":[]}`,
			bad:    `{"certificateId":"cert-1"}`, field: "webhookUrl", missing: `{"certificateId":"none","webhookUrl":"https://hooks.acme.example/"}`,
		},
	}
}

// Every operation of the contract: taken, invalid, forbidden, not there, no
// leader. Only the first changes anything.
func TestContract_everyOperation(t *testing.T) {
	t.Parallel()
	for _, op := range contractOps() {
		t.Run(op.method+" "+strings.TrimPrefix(op.path, contractPrefix), func(t *testing.T) {
			t.Parallel()
			h := contractHarness(t)
			before := h.config.changes()
			refused := func(status int, messageID, field string, sc scenario) {
				t.Helper()
				if sc.method = op.method; sc.key == "" {
					sc.key = keyManage
				}
				sc.status = status
				e := readContractError(t, sc.on(t, h))
				if e.MessageID != messageID {
					t.Errorf("messageId %q, want %q", e.MessageID, messageID)
				}
				if field != "" && len(e.Errors[field]) != 1 {
					t.Errorf("validationErrors %v do not name %s once", e.Errors, field)
				}
				if field == "" && len(e.Errors) > 0 {
					t.Errorf("validationErrors %v, want none", e.Errors)
				}
			}
			bad := scenario{url: op.url, body: op.bad}
			if op.badURL != "" {
				bad = scenario{url: op.badURL, body: op.body}
			}
			refused(400, "BAD_REQUEST", op.field, bad)
			switch {
			case strings.HasPrefix(op.missing, "{"):
				refused(404, "NOT_FOUND", "", scenario{url: op.url, body: op.missing})
			case op.missing != "":
				refused(404, "NOT_FOUND", "", scenario{url: op.missing, body: op.body})
			}
			refused(403, "FORBIDDEN", "", scenario{url: op.url, body: op.body, key: keyNone})
			if op.method != http.MethodGet {
				refused(403, "FORBIDDEN", "", scenario{url: op.url, body: op.body, key: keyRead})
			}
			noLeader := model.Errorf(model.CodeUnavailable, "there is no leader right now")
			h.config.fail, h.cluster.err = noLeader, noLeader
			refused(503, "SERVICE_UNAVAILABLE", "", scenario{
				url: op.url, body: op.body, headers: map[string]string{"Retry-After": "1", headerErrorCode: "unavailable", "Location": ""},
			})
			h.config.fail, h.cluster.err = nil, nil
			if after := h.config.changes(); after != before {
				t.Errorf("%d changes by requests that were refused", after-before)
			}
			key := keyManage
			if op.method == http.MethodGet {
				key = keyRead // reading is included in managing, not the other way round
			}
			body := scenario{method: op.method, url: op.url, key: key, body: op.body, status: op.status, headers: map[string]string{"Content-Type": "application/json"}}.on(t, h)
			if op.answer != "" && body != op.answer {
				t.Errorf("the answer is\n%s\nwant\n%s", body, op.answer)
			}
			if strings.Contains(h.log.String(), canary) {
				t.Error("a secret is in the log")
			}
		})
	}
}

// The table above has every route of the contract.
func TestContract_tableIsComplete(t *testing.T) {
	t.Parallel()
	covered, ours := map[string]bool{}, 0
	for _, op := range contractOps() {
		if covered[op.method+" "+op.path] = true; op.ours {
			ours++
		}
	}
	n := 0
	for _, r := range newHarness(t).table {
		if r.surface != surfaceContract {
			continue
		}
		if n++; !covered[r.method+" "+r.path] {
			t.Errorf("%s %s has no row", r.method, r.path)
		}
	}
	if n -= ours; n != 22 || len(covered)-ours != 22 {
		t.Errorf("%d routes and %d rows beside %d of ours, want 22 of both", n, len(covered)-ours, ours)
	}
}

// readContractError reads the error model and refuses anything else in it.
func readContractError(t *testing.T, body string) serviceException {
	t.Helper()
	var e contractError
	dec := json.NewDecoder(strings.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		t.Fatalf("not the error model of the contract: %v\n%s", err, body)
	}
	if e.Request.Service.Text == "" {
		t.Error("the error has no text")
	}
	return e.Request.Service
}

// changes counts what was written.
func (f *fakeConfig) changes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.audit)
}
