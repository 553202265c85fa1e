package rest

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/belfry/fsm/model"
)

func serve(tb testing.TB, h http.HandlerFunc) *Client {
	tb.Helper()
	srv := httptest.NewServer(h)
	tb.Cleanup(srv.Close)
	c, err := New(Options{URL: srv.URL + "/", Key: model.NewSecret("the-key")})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestClient_JSON(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if got := r.Header.Get("Authorization") + " " + r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + string(b); got != `App the-key POST /a/b application/json {"x":1}` {
			t.Errorf("request: %s", got)
		}
		_, _ = io.WriteString(w, `{"y":2}`)
	})
	var out struct{ Y int }
	if err := c.JSON(t.Context(), http.MethodPost, "/a/b", map[string]int{"x": 1}, &out); err != nil || out.Y != 2 {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestClient_errors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		code int
		body string
		want string
	}{
		{"config API", 400, `{"requestError":{"serviceException":{"messageId":"BAD_REQUEST","text":"Bad request","validationErrors":{"b":["is late"],"a":["is bad","is long"]}}}}`, "the node answered 400: Bad request; a: is bad, is long; b: is late"},
		{"problem", 409, `{"title":"Conflict","detail":"the same id with another content","errors":[{"pointer":"/0/eventId","detail":"was used"}]}`, "the node answered 409: Conflict; the same id with another content; /0/eventId was used"},
		{"text", 502, "bad\ngateway\x1b[31m", "the node answered 502: bad gateway [31m"},
		{"empty", 503, "", "the node answered 503: (no text)"},
		{"redirect is not followed", 302, "", "the node answered 302: (no text)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.code)
				_, _ = io.WriteString(w, tt.body)
			})
			err := c.JSON(t.Context(), http.MethodGet, "/", nil, nil)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if se, ok := errors.AsType[*StatusError](err); !ok || se.Status != tt.code {
				t.Errorf("status of %v, want %d", err, tt.code)
			}
		})
	}
}

func TestClient_limits(t *testing.T) {
	t.Parallel()
	for _, n := range []int{maxAnswer, maxAnswer + 1} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, n)) })
		b, err := c.Raw(t.Context(), http.MethodGet, "/", "", nil)
		if (err != nil) != (n > maxAnswer) || err == nil && len(b) != n {
			t.Errorf("%d bytes: got %d, %v", n, len(b), err)
		}
	}
}

func TestNew_refuses(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"", "127.0.0.1:8600", "ftp://a", "http://", "http://u:p@host"} {
		if _, err := New(Options{URL: u}); err == nil || !strings.Contains(err.Error(), "such as http://") {
			t.Errorf("%q: %v", u, err)
		}
	}
}
