package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// The tail prints what a node streams, for people or as JSON, begins again when
// the node ends the stream, and ends without an error when it is asked to.
func TestTail(t *testing.T) {
	t.Parallel()
	const entry = `{"kind":"attempt","at":"2026-01-02T03:04:05Z","nodeId":"n1","eventId":"e1","channel":"SMS","event":"CLICK","profileId":"p","status":"RETRYING","attempt":{"attempt":2,"at":"2026-01-02T03:04:05Z","durationMs":7,"statusCode":503,"outcome":"temporary","error":"the receiver answered 503","nodeId":"n1"}}`
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"lines", nil, `^\d\d:\d\d:05.000 n1 attempt SMS CLICK e1 profile=p RETRYING attempt=2 7ms status=503 error="the receiver answered 503"\n$`},
		{"json", []string{"--json"}, `^` + regexp.QuoteMeta(entry) + `\n$`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			streams := 0
			node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/events/1/tail" || r.URL.Query().Get("channel") != "SMS" || r.Header.Get("Authorization") != "App a-key-of-sixteen" {
					t.Errorf("asked for %s with %q", r.URL, r.Header.Get("Authorization"))
				}
				w.Header().Set("Content-Type", "text/event-stream")
				if streams++; streams == 1 {
					fmt.Fprintf(w, "event: dropped\ndata: {\"dropped\":3}\n\n")
					return // the node stops
				}
				fmt.Fprintf(w, "event: attempt\ndata: %s\n\n", entry)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}))
			defer node.Close()
			out := &signalBuffer{written: make(chan struct{}, 10)}
			var errs strings.Builder
			o := Options{
				Stdout: out, Stderr: &errs,
				Environ: []string{envAPIKey + "=a-key-of-sixteen", envURL + "=" + node.URL},
			}
			ended := make(chan int, 1)
			go func() { ended <- Run(ctx, o, append([]string{"tail", "--channel", "SMS"}, tc.args...)) }()
			<-out.written
			cancel()
			if code := <-ended; code != 0 {
				t.Errorf("exit code %d, want 0; stderr %s", code, errs.String())
			}
			if got := out.String(); !regexp.MustCompile(tc.want).MatchString(got) {
				t.Errorf("printed %q, want %s", got, tc.want)
			}
			if !strings.Contains(errs.String(), "3 entries were left out") {
				t.Errorf("stderr: %q", errs.String())
			}
		})
	}
}

// signalBuffer tells of every write.
type signalBuffer struct {
	strings.Builder
	written chan struct{}
}

func (b *signalBuffer) Write(p []byte) (int, error) {
	n, err := b.Builder.Write(p)
	b.written <- struct{}{}
	return n, err
}
