package workload

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/chaos/history"
)

func sumOf(secret, text string) []byte {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(text))
	return m.Sum(nil)
}

func hexMAC(secret, text string) string { return hex.EncodeToString(sumOf(secret, text)) }

func base64MAC(secret, text string) string {
	return base64.StdEncoding.EncodeToString(sumOf(secret, text))
}

// receiptsFor answers a post as a node does, with the status and the number of
// deliveries that the events get in turn.
func receiptsFor(t *testing.T, body []byte, status string, deliveries ...int) string {
	t.Helper()
	if body[0] == '{' {
		body = append(append([]byte("["), body...), ']')
	}
	var out []string
	for i, e := range into[[]struct {
		EventID string `json:"eventId"`
	}](t, body) {
		out = append(out, fmt.Sprintf(`{"eventId":%q,"status":%q,"deliveries":%d}`, e.EventID, status, deliveries[i%len(deliveries)]))
	}
	return `{"events":[` + strings.Join(out, ",") + `]}`
}

// A post whose outcome is not known, or that was refused for now, is made again
// with the same bytes; each try is in the history.
func TestStream_postsAgainUnderTheSameIDs(t *testing.T) {
	t.Parallel()
	var bodies []string
	e, ops := testEnv(t, fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(b))
		switch len(bodies) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			w.Header().Set("Belfry-Error-Code", "unavailable")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, receiptsFor(t, b, "DUPLICATE", 2))
		case 4:
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, receiptsFor(t, b, "ACCEPTED", 1, 0))
		case 5:
			w.WriteHeader(http.StatusConflict)
		default:
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"events":[{"eventId":"x"}]}`)
		}
	}))
	s := e.stream(Account{ID: "acct", Key: "key"}, "1", 0, true, channelSMS)
	s.app, s.keys, s.pad = "app", 2, 3
	for i, want := range []bool{true, true, false, true} {
		if got := s.post(t.Context(), 3-min(i, 2)); got != want {
			t.Errorf("post %d: %t, want %t", i+1, got, want)
		}
	}
	if len(bodies) != 6 || bodies[0] != bodies[1] || bodies[1] != bodies[2] {
		t.Fatalf("the tries differ:\n%s", strings.Join(bodies, "\n"))
	}
	events := into[[]map[string]any](t, json.RawMessage(bodies[0]))
	want := map[string]any{
		"eventId": "wx-1.1", "channel": "SMS", "event": "DELIVERY", "applicationId": "app", "orderingKey": "wx-1.1",
		"payload": map[string]any{"a": "acct", "p": "wx-1", "n": 1.0, "size": 3.0, "pad": events[1]["payload"].(map[string]any)["pad"]},
	}
	if d := cmp.Diff(want, events[1]); d != "" || len(events) != 3 {
		t.Errorf("%d events; the second (-want +got):\n%s", len(events), d)
	}
	if one := into[map[string]any](t, json.RawMessage(bodies[4])); one["eventId"] != "wx-1.5" {
		t.Errorf("one event is posted as %s", bodies[4])
	}
	checkPosts(t, ops())
}

func checkPosts(t *testing.T, ops []history.Op) {
	t.Helper()
	base := history.Post{Account: "acct", Producer: "wx-1", Channel: "SMS", Event: "DELIVERY", Application: "app", Pad: 3, Keys: 2}
	type row struct {
		From    int64
		N, Try  int
		Outcome history.Outcome
		Out     string
		Error   string
	}
	want := []row{
		{0, 3, 1, history.Unknown, "", "no answer: EOF"},
		{0, 3, 2, history.Fail, "", "unavailable: "},
		{0, 3, 3, history.OK, `{"duplicates":3,"deliveries":2}`, ""},
		{3, 2, 1, history.OK, `{"deliveries":-1,"each":[1,0]}`, ""},
		{5, 1, 1, history.Fail, "", ""},
		{6, 1, 1, history.OK, "", `answer: receipt 0 is for "x", not wx-1.6`},
	}
	var got []row
	for _, op := range ops {
		in := into[history.Post](t, op.In)
		got = append(got, row{in.From, in.N, in.Try, op.Outcome, string(op.Out), op.Error})
		in.From, in.N, in.Try = 0, 0, 0
		if d := cmp.Diff(base, in); d != "" || op.Kind != history.EventPost || op.Key != "wx-1" {
			t.Errorf("%s %s (-want +got):\n%s", op.Kind, op.Key, d)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("history (-want +got):\n%s", d)
	}
}

func TestParseMetrics(t *testing.T) {
	t.Parallel()
	got := parseMetrics([]byte(`# HELP belfry_raft_leader 1 while it leads
# TYPE belfry_raft_leader gauge
belfry_raft_leader{group="config"} 1
# TYPE belfry_x_seconds histogram
belfry_x_seconds_bucket{le="1"} 3
belfry_x_seconds_sum 2.5
belfry_x_seconds_count 3
# TYPE belfry_y_count gauge
belfry_y_count 1.5e+06
go_goroutines 7
broken
`))
	if d := cmp.Diff(history.Metrics{`belfry_raft_leader{group="config"}`: 1, "belfry_y_count": 1_500_000}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	var r rotation
	var got []string
	for range 5 {
		got = append(got, r.name("x", 2))
	}
	if d := cmp.Diff([]string{"x-0", "x-0", "x-1", "x-1", "x-2"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestNew_refuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := Options{Target: nowhere, Dir: dir, Clock: history.NewClock()}
	for name, o := range map[string]Options{"no target": {Dir: dir}, "no nodes": {Target: fakeNodes{}, Dir: dir}, "no directory": {Target: nowhere, Dir: dir + "/none"}} {
		if _, err := New("w1", o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := New("w0", good); err == nil {
		t.Error("there is a workload w0")
	}
	for _, name := range Names() {
		w, err := New(name, good)
		if err != nil {
			t.Fatal(err)
		}
		if w.Name() != name {
			t.Errorf("%s is called %s", name, w.Name())
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if every(4, 8) != 500*time.Millisecond {
		t.Errorf("one of 4 clients that make 8 a second has its turn every %v", every(4, 8))
	}
}
