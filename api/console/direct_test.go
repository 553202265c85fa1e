package console

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// A stream is there as soon as it begins, and ends with the one who reads it.
func TestDirect_stream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := false
		d := &direct{api: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-A", r.RemoteAddr)
			rc := http.NewResponseController(w)
			_, _ = io.WriteString(w, "one\n")
			if err := rc.Flush(); err != nil {
				t.Errorf("a stream cannot be flushed: %v", err)
			}
			<-r.Context().Done()
			ended = true
		}), remote: "192.0.2.9:1"}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, nodeURL+"/x", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		resp, err := d.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(resp.Body).ReadString('\n')
		if err != nil || line != "one\n" || resp.Header.Get("X-A") != "192.0.2.9:1" || ended {
			t.Errorf("%q, %v, %v", line, err, resp.Header)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !ended {
			t.Error("the handler goes on")
		}
	})
}

// A handler that aborts ends its stream with an error, not the process.
func TestDirect_abort(t *testing.T) {
	t.Parallel()
	d := &direct{api: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	})}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, nodeURL+"/x", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := d.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, err := io.ReadAll(resp.Body); string(b) != "half" || err == nil {
		t.Errorf("%q, %v", b, err)
	}
}

// The client's tail works over direct.
func TestDirect_tail(t *testing.T) {
	t.Parallel()
	d := &direct{api: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "event: accepted\ndata: {\"kind\":\"accepted\",\"eventId\":\"e1\"}\n\n")
	})}
	c, err := client.New(client.Options{BaseURLs: []string{nodeURL}, Transport: d})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := c.Tail(t.Context(), event.TailFilter{}, func(b event.TailBatch) error {
		got = append(got, b.Entries[0].EventID)
		return nil
	}); err != nil || strings.Join(got, " ") != "e1" {
		t.Errorf("%v, %v", got, err)
	}
}

// A write is made once, whatever comes of it; a request that its caller gives
// up is an error.
func TestDirect_once(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("POST /subscriptions/1/profiles", model.Errorf(model.CodeUnavailable, "no leader"))
	d := &direct{api: api}
	c, err := client.New(client.Options{BaseURLs: []string{nodeURL}, Token: model.NewSecret(testToken), Transport: d})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateProfile(t.Context(), client.Profile{}); model.CodeOf(err) != model.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	if n := len(api.seen("POST ")); n != 1 {
		t.Errorf("the write was made %d times", n)
	}
	if _, old := d.staleness(); old {
		t.Error("a write counts as a stale read")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Profiles(ctx, client.ProfileFilter{}, client.Read{}); err == nil {
		t.Error("a request that was given up has an answer")
	}
}
