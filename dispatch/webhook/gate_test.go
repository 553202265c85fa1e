package webhook

import (
	"fmt"
	"net/http/httptrace"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"example.com/belfry/dispatch/dispatchtest"
)

// INV webhook-13: a request whose permit is withdrawn at the last moment is not
// written, over a new connection or a used one, and the next one goes out. On
// HTTP/1 the moment is when its headers lie in the buffer of the connection.
func TestSend_permit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ tls, http1, used bool }{
		{false, true, false}, {false, true, true}, {true, true, false}, {true, true, true}, {true, false, false}, {true, false, true},
	} {
		t.Run(fmt.Sprintf("tls=%t http1=%t used=%t", tt.tls, tt.http1, tt.used), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ca := dispatchtest.NewCA(t)
				r, change := newMemory(t), func(*SenderOptions) {}
				if tt.tls {
					r, change = secure(t, ca, tt.http1), trust(ca)
				}
				s := newSender(t, r, change)
				sent := 0
				if tt.used {
					wantClass(t, send(t, s, destination(r)), ClassOK)
					sent++
				}
				var leased atomic.Bool
				leased.Store(tt.http1)
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteHeaders: func() { leased.Store(false) }})
				req := request(destination(r))
				req.Permit = leased.Load
				wantError(t, s.Send(ctx, req), ClassTemporary, "the attempt was cut off")
				synctest.Wait() // whatever was written has been read
				if n := len(r.Arrivals()); n != sent {
					t.Errorf("%d requests arrived, want %d", n, sent)
				}
				leased.Store(true)
				wantClass(t, s.Send(t.Context(), req), ClassOK)
				if n := len(r.Arrivals()); n != sent+1 {
					t.Errorf("%d requests arrived in the end, want %d", n, sent+1)
				}
			})
		})
	}
}
