package api

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"example.com/belfry/dispatch/event"
)

// instantEvents takes everything and keeps nothing.
type instantEvents struct{ Events }

func (instantEvents) Publish(_ context.Context, es []*event.Event) ([]event.Receipt, error) {
	return []event.Receipt{{EventID: es[0].ID, Status: event.Accepted, Deliveries: 1}}, nil
}

// BenchmarkPublish is the whole chain for one event, with the access log that
// a node has by default and with none.
func BenchmarkPublish(b *testing.B) {
	for name, level := range map[string]hclog.Level{"info": hclog.Info, "debug": hclog.Debug, "off": hclog.Off} {
		b.Run(name, func(b *testing.B) {
			h := benchHarness(b, level)
			body := `{"eventId":"e-1","channel":"SMS","event":"DELIVERY","payload":{"text":"` + strings.Repeat("x", 900) + `"}}`
			b.ReportAllocs()
			for b.Loop() {
				req := httptest.NewRequest(http.MethodPost, eventsPath, strings.NewReader(body))
				req.Header.Set("Content-Type", typeJSON)
				req.Header.Set("Authorization", "App "+keyFull)
				res := httptest.NewRecorder()
				if h.ServeHTTP(res, req); res.Code != http.StatusAccepted {
					b.Fatalf("%d\n%s", res.Code, res.Body)
				}
			}
		})
	}
}

func benchHarness(b *testing.B, level hclog.Level) *harness {
	b.Helper()
	return newHarness(b, func(o *Options) {
		o.Events = instantEvents{}
		o.Logger = hclog.New(&hclog.LoggerOptions{Output: io.Discard, Level: level})
		o.Limits.KeyRequests = 1 << 40
	})
}
