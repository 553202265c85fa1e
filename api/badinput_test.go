package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/fsm/model"
)

// jsonWriters are the routes that take JSON of their own decoding; events have
// a decoder of their own with tests of its own.
func jsonWriters(h *harness) []route {
	var out []route
	for _, r := range h.table {
		if hasBody(r.method) && slices.Equal(r.media, jsonMedia) {
			out = append(out, r)
		}
	}
	return out
}

func (h *harness) sendBody(t *testing.T, r *route, url, media string, body io.Reader, length int64) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), r.method, url, body)
	req.ContentLength = length
	req.Header.Set("Content-Type", media)
	req.Header.Set("Authorization", "App "+keyEverything)
	res := httptest.NewRecorder()
	h.ServeHTTP(res, req)
	return res
}

// keyEverything holds every scope in account acme.
const keyEverything = "everything-key-of-acme-tests"

// refusedBody checks a 4xx in the model of the route's surface and returns
// the fields that it names.
func refusedBody(t *testing.T, r *route, what string, res *httptest.ResponseRecorder, code model.Code) []string {
	t.Helper()
	if got := model.Code(res.Header().Get(headerErrorCode)); got != code {
		t.Errorf("%s: code %s, want %s\n%s", what, got, code, res.Body)
	}
	if bytes.Contains(res.Body.Bytes(), []byte(canary)) {
		t.Errorf("%s: the answer repeats what was sent\n%s", what, res.Body)
	}
	m := meanings[code]
	if r.surface == surfaceContract {
		if res.Code != m.contract {
			t.Errorf("%s: %d, want %d", what, res.Code, m.contract)
		}
		return slices.Sorted(maps.Keys(readContractError(t, res.Body.String()).Errors))
	}
	var p problem
	if err := json.Unmarshal(res.Body.Bytes(), &p); err != nil || res.Code != m.own || p.Status != res.Code || res.Header().Get("Content-Type") != typeProblem {
		t.Errorf("%s: %d is not a problem: %v\n%s", what, res.Code, err, res.Body)
	}
	var fields []string
	for _, e := range p.Errors {
		fields = append(fields, e.Pointer)
	}
	return fields
}

// Bodies that no operation takes: each is answered with what is wrong, changes
// nothing, and is neither repeated nor logged.
func TestBadInput_everyWritingOperation(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	bodies := map[string]string{
		"empty": "", "spaces": " \n", "cut": `{"a":"` + canary, "cut after a name": `{"a"`, "cut list": `[`, "word": canary, "two values": `{} {"a":"` + canary + `"}`, "comma": `{"a":1,}`,
		"single quotes": `{'a':'` + canary + `'}`, "comment": `{/* ` + canary + ` */}`, "NaN": `{"a":NaN}`, "leading zero": `{"a":01}`, "broken UTF-8": "{\"a\":\"" + canary + "\xff\"}",
		"byte order mark": "\ufeff{}", "raw control": "{\"a\":\"" + canary + "\n\"}", "closing": `}`, "name of a number": `{1:2}`,
		"list": `["` + canary + `"]`, "string": `"` + canary + `"`, "number": `7`, "null": `null`, "true": `true`, "33 levels": deep(33),
		"given twice": `{"a":"` + canary + `","a":1}`, "given twice below": `{"x":{"` + strings.Repeat("n", 100) + `":1,"` + strings.Repeat("n", 100) + `":2}}`,
		"too many values": `{"a":` + repeat("0", maxJSONMembers) + `}`,
	}
	for _, r := range jsonWriters(newHarness(t)) {
		t.Run(r.method+" "+r.path, func(t *testing.T) {
			t.Parallel()
			h := sampleHarness(t)
			h.addKey(t, keyEverything, model.Key{Account: accAcme, Scopes: model.AllScopes()})
			url := samples()[r.method+" "+r.path].url
			before := h.config.changes()
			for name, body := range bodies {
				if samples()[r.method+" "+r.path].body == "{}" && name == "empty" {
					continue // nothing is asked for, so that the body may be absent
				}
				refusedBody(t, &r, name, h.sendBody(t, &r, url, typeJSON, strings.NewReader(body), int64(len(body))), model.CodeInvalid)
			}
			for _, media := range []string{"text/plain", "application/xml", "application/json-seq", "json", ""} {
				refusedBody(t, &r, media, h.sendBody(t, &r, url, media, strings.NewReader("{}"), 2), codeMediaType)
			}
			big := int64(10 << 20)
			unread := &countingReader{r: zeros{}}
			refusedBody(t, &r, "10 MB", h.sendBody(t, &r, url, typeJSON, unread, big), model.CodeTooLarge)
			if unread.n > 0 {
				t.Errorf("%d bytes were read of a body that said it was too large", unread.n)
			}
			// INV api-3: nothing beyond the limit is read of one that does not say.
			refusedBody(t, &r, "10 MB in chunks", h.sendBody(t, &r, url, typeJSON, unread, -1), model.CodeTooLarge)
			if limit := int64(defaultConfigBody); unread.n > limit+4096 {
				t.Errorf("%d bytes were read, the limit is %d", unread.n, limit)
			}
			for name, err := range map[string]error{"stalled": os.ErrDeadlineExceeded, "broken off": io.ErrUnexpectedEOF} {
				body := io.MultiReader(strings.NewReader(`{"a":"`+canary), failingReader{err})
				refusedBody(t, &r, name, h.sendBody(t, &r, url, typeJSON, body, -1), model.CodeInvalid)
			}
			if h.config.changes() != before || h.cluster.calls() > 0 {
				t.Error("something was changed")
			}
			if strings.Contains(h.log.String(), canary) {
				t.Error("what was sent is in the log")
			}
		})
	}
}

// Each member of each body with a value of another type: refused by its name.
func TestBadInput_wrongTypes(t *testing.T) {
	t.Parallel()
	for _, r := range jsonWriters(newHarness(t)) {
		t.Run(r.method+" "+r.path, func(t *testing.T) {
			t.Parallel()
			h := sampleHarness(t)
			h.addKey(t, keyEverything, model.Key{Account: accAcme, Scopes: model.AllScopes()})
			s := samples()[r.method+" "+r.path]
			var members map[string]json.RawMessage
			if err := json.Unmarshal([]byte(s.body), &members); err != nil {
				t.Fatal(err)
			}
			before := h.config.changes()
			for name, good := range members {
				wrong := []string{`7`, `{"` + canary + `":1}`, `["` + canary + `"]`, `"` + canary + `"`, `true`}
				wrong = slices.DeleteFunc(wrong, func(w string) bool { return w[0] == good[0] || w == "true" && string(good) == "true" })
				if good[0] == '[' {
					wrong = append(wrong, `[["`+canary+`"]]`, `[null]`)
				}
				for _, w := range wrong {
					if good[0] >= '0' && good[0] <= '9' && w == `7` {
						continue
					}
					bad := maps.Clone(members)
					bad[name] = json.RawMessage(w)
					body := string(must(json.Marshal(bad)))
					fields := refusedBody(t, &r, name+" as "+w, h.sendBody(t, &r, s.url, typeJSON, strings.NewReader(body), int64(len(body))), model.CodeInvalid)
					if len(fields) != 1 || !strings.HasPrefix(strings.TrimPrefix(fields[0], "/"), name) {
						t.Errorf("%s as %s names %v", name, w, fields)
					}
				}
			}
			if h.config.changes() != before {
				t.Error("something was changed")
			}
			if strings.Contains(h.log.String(), canary) {
				t.Error("what was sent is in the log")
			}
		})
	}
}

// The limits of decoding, at them and one above.
func TestDecode_limits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	body := func(pad string) string { return `{"profileId":"p",` + hook + `,"ignored":` + pad + `}` }
	list := strings.Repeat("[", maxJSONDepth-1) + strings.Repeat("]", maxJSONDepth-1)
	h.must(t, "POST", profiles, keyManage, body(list), 201)
	h.must(t, "POST", profiles, keyManage, strings.Replace(body("["+list+"]"), `"p"`, `"q"`, 1), 400)
	fits := defaultConfigBody - len(body(`""`))
	h.must(t, "PUT", profiles+"/p", keyManage, body(`"`+strings.Repeat("x", fits)+`"`), 200)
	e := readContractError(t, h.must(t, "PUT", profiles+"/p", keyManage, body(`"`+strings.Repeat("x", fits+1)+`"`), 400))
	if !strings.Contains(e.Text, "262144 bytes") {
		t.Errorf("the text does not name the limit: %s", e.Text)
	}
	// An answer names at most 32 of the violations.
	many := readContractError(t, h.must(t, "POST", subsSMS, keyManage, `{"subscriptionId":"s","profile":{"profileId":"p"},"events":`+repeat("7", 200)+`}`, 400))
	if len(many.Errors) != model.MaxViolations {
		t.Errorf("%d violations are named, want %d", len(many.Errors), model.MaxViolations)
	}
}

// Unknown members are ignored on the contract and refused elsewhere; names
// count with their case.
func TestDecode_unknownMembers(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.must(t, "POST", profiles, keyManage, `{"profileId":"p",`+hook+`,"x":{"y":[1]},"WEBHOOK":7}`, 201)
	e := readContractError(t, h.must(t, "POST", profiles, keyManage, `{"profileid":"p",`+hook+`}`, 400))
	if d := cmp.Diff(map[string][]string{"profileId": {"must not be empty"}}, e.Errors); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	scenario{method: "POST", url: accountsPath, key: keyAdmin, body: `{"accountId":"a","Name":"x"}`, status: 400, has: []string{`"/Name"`}}.on(t, h)
}

// A client that sends its body too slowly is cut off with an answer.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, func(o *Options) { o.Now = nil })
		server, client := net.Pipe()
		srv := h.HTTPServer("")
		done := make(chan error, 1)
		go func() { done <- srv.Serve(&oneConn{c: server, closed: make(chan struct{})}) }()
		head := "POST " + profiles + " HTTP/1.1\r\nHost: x\r\nAuthorization: App " + keyManage + "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
		if _, err := client.Write([]byte(head)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		answer, err := io.ReadAll(client)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), "did not arrive in time") {
			t.Errorf("answer %q, %v", answer, err)
		}
		if took := time.Since(start); took < 30*time.Second || took > time.Minute {
			t.Errorf("it took %v, the limit is 30 s", took)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// oneConn is a listener of one connection.
type oneConn struct {
	c      net.Conn
	given  bool
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.given {
		l.given = true
		return l.c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.c.LocalAddr() }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }
